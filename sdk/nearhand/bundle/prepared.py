"""What a slot's documents come to, beside them and ready to be used: a start of the app parses nothing it has parsed.

The file is made of a bundle that was verified, belongs to that bundle and to this version of the SDK, and appears in
the slot whole or not at all. It holds nothing that the bundle does not say: where it is missing, of another version or
damaged, the same is made of the bundle's own files again, which takes longer.

::

    8 bytes    NHPREP and the format, 04
    4 bytes    CRC-32 of all that follows, little-endian
    4 bytes    the length of the head, little-endian
    head       JSON: the SDK's version, the bundle's digest, and [name, length] of each section
    sections   one after the other, each from a multiple of 8 bytes on
"""

from __future__ import annotations

import json
from binascii import crc32
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from inspect import get_annotations
from pathlib import Path
from struct import Struct
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from nearhand.bundle.grouped import Grouped
from nearhand.bundle.schema import Items, NumberColumn
from nearhand.errors import BundleIntegrityError
from nearhand.records import field_names
from nearhand.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

PREPARED_PATH = "+prepared"
"""Its name in the slot, which no file of a bundle can have."""

MAGIC = b"NHPREP04"
START, LENGTH = Struct("<8sI"), Struct("<I")
_ALIGNED = 8
_MANY = 512
"""So many ids are looked up one by one; for more of them a dict pays."""

_Kind: TypeAlias = tuple[type, list[str], bool]
"""A dataclass of a document, its fields, and whether all of them are scalars."""


class Prepared:
    """The sections of a prepared file.

    Args:
        sections: name → contents.
    """

    def __init__(self, sections: Mapping[str, memoryview]) -> None:
        self._sections = sections

    def __contains__(self, name: str) -> bool:
        return name in self._sections

    def json(self, name: str) -> Any:
        """A section of JSON."""
        return json.loads(bytes(self._sections[name]))

    def texts(self, name: str) -> tuple[str, ...]:
        """A section that :func:`pack_texts` made."""
        text = str(self._sections[name], "utf-8")
        return tuple(text[1:].split("\n") if text[0] == "\n" else json.loads(text))

    def text(self, name: str, begin: int, end: int) -> str:
        """Some of a section's bytes as a text."""
        return str(self._sections[name][begin:end], "utf-8")

    def lines(self, name: str, starts: Sequence[int], next_starts: Sequence[int]) -> list[str]:
        """Some of a section's lines as texts."""
        section = self._sections[name]
        return [str(section[start : after - 1], "utf-8") for start, after in zip(starts, next_starts, strict=True)]

    def numbers(self, name: str) -> NDArray[np.integer[Any]]:
        """A section that :func:`pack_numbers` made, of whatever width; not to be changed."""
        section = self._sections[name]
        return np.frombuffer(section, f"<i{section[0]}", offset=8)

    def document(self, name: str, modules: Iterable[ModuleType]) -> Any:
        """A section that :func:`pack_document` made, of dataclasses of some modules.

        Its invariants are not checked again: they were when it was made.

        Raises:
            BundleIntegrityError: one of the dataclasses is not there, or has other fields.
        """
        try:
            content = json.loads(bytes(self._sections[name]), parse_float=Decimal)
            plain = frozenset(content["plain"])
            kinds = {
                kind: (_known(kind, names, modules), names, kind in plain) for kind, names in content["fields"].items()
            }
            return _restored(content["value"], kinds)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            raise _damaged(f"{name} is none of this SDK ({error!r})", PREPARED_PATH) from error


class PreparedItems(Items):
    """A catalogue whose columns are decoded when they are asked for."""

    def __init__(self, prepared: Prepared) -> None:
        vars(self)["_prepared"] = prepared

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Items):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in field_names(Items))

    __hash__ = Items.__hash__

    @cached_property
    def item_ids(self) -> tuple[str, ...]:
        return self._texts("item_ids")

    @cached_property
    def titles(self) -> tuple[str, ...]:
        return self._texts("titles")

    @cached_property
    def directors(self) -> tuple[str, ...]:
        prepared: Prepared = vars(self)["_prepared"]
        distinct = prepared.texts("items.directors")
        return tuple([distinct[place] for place in prepared.numbers("items.directors.places").tolist()])

    @cached_property
    def years(self) -> tuple[int, ...]:
        return tuple(self.numbers("years").tolist())

    @cached_property
    def popularity(self) -> tuple[int, ...]:
        return tuple(self.numbers("popularity").tolist())

    @cached_property
    def min_ages(self) -> tuple[int, ...]:
        return tuple(self.numbers("min_ages").tolist())

    @cached_property
    def added_at(self) -> tuple[int, ...]:
        return tuple(self.numbers("added_at").tolist())

    @cached_property
    def genres(self) -> tuple[tuple[str, ...], ...]:
        groups = self.grouped_genres
        return tuple([groups.distinct[place] for place in groups.places.tolist()])

    @cached_property
    def grouped_genres(self) -> Grouped[tuple[str, ...]]:
        prepared: Prepared = vars(self)["_prepared"]
        distinct = tuple(map(tuple, prepared.json("items.genres")))
        return Grouped(distinct, prepared.numbers("items.genres.places"))

    @cached_property
    def rows(self) -> Mapping[str, int]:
        prepared: Prepared = vars(self)["_prepared"]
        if len(self._id_starts) <= self.count:  # an id is of several lines
            return dict(zip(self.item_ids, range(self.count), strict=True))
        return PreparedRows(self, prepared.numbers("items.rows"))

    @cached_property
    def by_popularity(self) -> NDArray[np.int32]:
        return self._numbers("by_popularity").astype(np.int32)

    @property
    def count(self) -> int:
        return len(self._numbers("popularity"))

    def item_id(self, row: int) -> str:
        """See the base class."""
        starts = self._id_starts
        if "item_ids" in vars(self) or not 0 <= row < len(starts) - 1:
            return self.item_ids[row]
        return self._line("item_ids", int(starts[row]), int(starts[row + 1]))

    def ids_of(self, rows: NDArray[np.intp]) -> list[str]:
        """See the base class. A list asks for a hundred of ten thousand."""
        starts = self._id_starts
        if "item_ids" in vars(self) or len(starts) <= self.count:
            return super().ids_of(rows)
        prepared: Prepared = vars(self)["_prepared"]
        return prepared.lines("items.item_ids", starts.take(rows).tolist(), starts.take(rows + 1).tolist())

    def title(self, row: int) -> str:
        """See the base class. What a list names is as a rule in the next one too."""
        known = self._known_titles.get(row)
        if known is None:
            starts = self._title_starts
            if "titles" in vars(self) or not 0 <= row < len(starts) - 1:
                return self.titles[row]
            known = self._known_titles[row] = self._line("titles", int(starts[row]), int(starts[row + 1]))
        return known

    @cached_property
    def _known_titles(self) -> dict[int, str]:
        return {}

    @cached_property
    def _id_starts(self) -> NDArray[np.integer[Any]]:
        return self._numbers("item_ids.starts")

    @cached_property
    def _title_starts(self) -> NDArray[np.integer[Any]]:
        return self._numbers("titles.starts")

    def numbers(self, name: NumberColumn, rows: NDArray[np.intp] | None = None) -> NDArray[np.int64]:
        """See the base class."""
        known = self._numbers(name)
        return (known if rows is None else known.take(rows)).astype(np.int64)

    def _numbers(self, name: str) -> NDArray[np.integer[Any]]:
        prepared: Prepared = vars(self)["_prepared"]
        return prepared.numbers(f"items.{name}")

    def _texts(self, name: str) -> tuple[str, ...]:
        prepared: Prepared = vars(self)["_prepared"]
        return prepared.texts(f"items.{name}")

    def _line(self, name: str, start: int, next_start: int) -> str:
        prepared: Prepared = vars(self)["_prepared"]
        return prepared.text(f"items.{name}", start, next_start - 1)


class PreparedRows(Mapping[str, int]):
    """Item id → row, without a dict of all items until many are asked for. Safe for several threads.

    The table has the row of an id at the place that its CRC-32 says, modulo the table's length, or at the first one
    after it that was free; −1 is a free place, of which there are some.
    """

    def __init__(self, items: PreparedItems, table: NDArray[np.integer[Any]]) -> None:
        self._items = items
        self._table = table
        self._known: dict[object, int] = {}
        self._is_whole = False
        self._looked_up = 0

    def get(self, item_id: object, default: Any = None) -> Any:
        """See ``dict.get``."""
        row = self._known.get(item_id)
        if row is None:
            row = self._find(item_id)
        return default if row is None else row

    def __getitem__(self, item_id: str) -> int:
        row: int | None = self.get(item_id)
        if row is None:
            raise KeyError(item_id)
        return row

    def __contains__(self, item_id: object) -> bool:
        return self.get(item_id) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._items.item_ids)

    def __len__(self) -> int:
        return self._items.count

    def _find(self, item_id: object) -> int | None:
        if self._is_whole or not isinstance(item_id, str):
            return self._known.get(item_id)  # again: another thread may just have put all of them there
        count = self._looked_up = self._looked_up + 1
        if count == _MANY:
            self._known = dict(zip(self._items.item_ids, range(len(self)), strict=True))
            self._is_whole = True  # and not before: what other threads do not find meanwhile, they look up
            return self._known.get(item_id)
        try:
            place = crc32(item_id.encode())
        except UnicodeEncodeError:  # no id is like that
            return None
        while (row := int(self._table[place % len(self._table)])) >= 0:
            if self._items.item_id(row) == item_id:
                self._known[item_id] = row
                return row
            place += 1
        return None


def read_prepared(slot: Path, digest: str) -> Prepared | None:
    """What was prepared of a slot; None: nothing was, or by another version of the SDK.

    Args:
        digest: the bundle's.

    Raises:
        BundleIntegrityError: the file is damaged, or of another bundle.
    """
    try:
        data = (slot / PREPARED_PATH).read_bytes()
    except OSError:
        return None
    return unpack(data, digest, place=f"{slot.name}: {PREPARED_PATH}")


def unpack(data: bytes, digest: str, *, place: str) -> Prepared | None:
    """The sections of a file's bytes; None: they are of another version of the SDK.

    Raises:
        BundleIntegrityError: they are damaged, or of another bundle.
    """
    begins = START.size + LENGTH.size
    if len(data) < begins or data[:6] != MAGIC[:6]:
        raise _damaged("is no prepared file", place)
    magic, checksum = START.unpack_from(data)
    if magic != MAGIC:
        return None
    whole = memoryview(data)
    if crc32(whole[START.size :]) != checksum:
        raise _damaged("contents differ from their checksum", place)
    (length,) = LENGTH.unpack_from(data, START.size)
    head = json.loads(data[begins : begins + length])
    if head["sdk"] != __version__:
        return None
    if head["bundle"] != digest:
        raise _damaged("is of another bundle", place)
    sections: dict[str, memoryview] = {}
    start = begins + length + gap(length)
    for name, size in head["sections"]:
        sections[name] = whole[start : start + size]
        start += size + gap(size)
    return Prepared(sections)


def _restored(value: Any, kinds: Mapping[str, _Kind]) -> Any:
    if type(value) is list:
        tag, values = value[0], value[1:]
        if tag == "[]":
            return tuple(values)
        if tag == "()":
            return tuple([_restored(each, kinds) for each in values])
        kind, names, is_plain = kinds[tag]
        if not is_plain:
            values = [_restored(each, kinds) for each in values]
        if len(values) != len(names):
            raise ValueError(f"a {tag} has {len(values)} fields")
        made: Any = object.__new__(kind)
        made.__dict__.update(zip(names, values))  # noqa: B905 - the keyword takes as long as all the rest
        return made
    if type(value) is dict:
        return {key: _restored(each, kinds) for key, each in value.items()}
    return value


def _known(name: str, fields: list[str], modules: Iterable[ModuleType]) -> type:
    """A dataclass of some modules, if its fields still are those that were kept."""
    kind = next((vars(module)[name] for module in modules if name in vars(module)), None)
    own = {} if kind is None else vars(kind)
    if (
        kind is None
        or "__dataclass_fields__" not in own
        or list(own.get("__annotations__") or get_annotations(kind)) != fields
    ):
        raise ValueError(f"{name} has other fields")
    found: type = kind
    return found


def gap(length: int) -> int:
    """How many bytes are between a section of this length and the next one."""
    return -length % _ALIGNED


def _damaged(problem: str, place: str) -> BundleIntegrityError:
    return BundleIntegrityError(problem, place=place, remedy="open the bundle again; it is made anew")
