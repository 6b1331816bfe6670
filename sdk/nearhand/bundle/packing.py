"""What a slot's documents come to as the bytes of :mod:`nearhand.bundle.prepared`."""

from __future__ import annotations

import json
from binascii import crc32
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from nearhand.bundle.grouped import grouped
from nearhand.bundle.prepared import LENGTH, MAGIC, START, gap
from nearhand.bundle.schema import Items, NumberColumn
from nearhand.records import field_names
from nearhand.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TEXTS = ("item_ids", "titles")
_NUMBERS: tuple[NumberColumn, ...] = ("years", "popularity", "min_ages", "added_at")


def pack(digest: str, sections: Mapping[str, bytes]) -> bytes:
    """The file's bytes. Same sections, same bytes."""
    lengths = [[name, len(section)] for name, section in sections.items()]
    head = json.dumps({"sdk": __version__, "bundle": digest, "sections": lengths}).encode()
    rest = LENGTH.pack(len(head)) + b"".join(_padded(each) for each in (head, *sections.values()))
    return START.pack(MAGIC, crc32(rest)) + rest


def pack_items(items: Items) -> dict[str, bytes]:
    """A catalogue as sections, for :class:`PreparedItems`."""
    genres, directors = items.grouped_genres, grouped(items.directors)
    found: dict[str, bytes] = {}
    for name in _TEXTS:
        texts = getattr(items, name)
        section = found[f"items.{name}"] = pack_texts(texts)
        lengths = [1 + len(text.encode()) for text in texts] if section.startswith(b"\n") else []
        found[f"items.{name}.starts"] = pack_numbers(np.cumsum([1, *lengths], dtype=np.int64))
    return {
        **found,
        **{f"items.{name}": pack_numbers(items.numbers(name)) for name in _NUMBERS},
        "items.rows": pack_numbers(_hashed(items.item_ids)),
        "items.by_popularity": pack_numbers(items.by_popularity),
        "items.genres": json.dumps(genres.distinct).encode(),
        "items.genres.places": pack_numbers(genres.places),
        "items.directors": pack_texts(directors.distinct),
        "items.directors.places": pack_numbers(directors.places),
    }


def pack_texts(texts: tuple[str, ...]) -> bytes:
    """Texts as a section: lines, which are read in a third of the time of JSON, unless one of them is more than one."""
    lines = "\n".join(("", *texts))
    return (lines if texts and lines.count("\n") == len(texts) else json.dumps(texts)).encode()


def pack_numbers(numbers: NDArray[np.integer[Any]]) -> bytes:
    """Integers as a section: 8 bytes that say how many bytes a number has, and the numbers: as few as hold them all."""
    least, most = (int(numbers.min()), int(numbers.max())) if numbers.size else (0, 0)
    bounds = ((width, 1 << (8 * width - 1)) for width in (1, 2, 4, 8))
    width = next(width for width, bound in bounds if -bound <= least and most < bound)
    return width.to_bytes(8, "little") + numbers.astype(f"<i{width}").tobytes()


def _hashed(item_ids: tuple[str, ...]) -> NDArray[np.int64]:
    """The rows of the ids in a table of hashes; see :class:`nearhand.bundle.prepared.PreparedRows`."""
    size = 1 << (len(item_ids) + len(item_ids) // 2).bit_length()
    table = [-1] * size
    for row, item_id in enumerate(item_ids):
        place = crc32(item_id.encode()) % size
        while table[place] >= 0:
            place = (place + 1) % size
        table[place] = row
    return np.array(table, np.int64)


def pack_document(document: Any) -> bytes:
    """A tree of dataclasses, tuples, mappings, decimals and scalars as a section.

    A dataclass is a list of its name and its fields' values, a tuple one that begins with ``()``, or with ``[]`` if it
    is of scalars. A decimal is a number with a point or an exponent. Of the dataclasses in ``plain`` all fields are
    scalars, always.
    """
    fields: dict[str, list[str]] = {}
    nested: set[str] = set()

    def text(value: Any) -> str:
        if isinstance(value, Decimal):
            digits = str(value)
            return digits if "." in digits or "E" in digits else f"{digits}E0"
        if isinstance(value, tuple):
            tag = "[]" if all(map(_is_scalar, value)) else "()"
            return f"[{', '.join([json.dumps(tag), *map(text, value)])}]"
        if isinstance(value, Mapping):
            return f"{{{', '.join(f'{json.dumps(key)}: {text(each)}' for key, each in value.items())}}}"
        if _is_scalar(value):
            return json.dumps(value)
        name = type(value).__name__
        values = [getattr(value, field) for field in fields.setdefault(name, list(field_names(type(value))))]
        if not all(map(_is_scalar, values)):
            nested.add(name)
        return f"[{', '.join([json.dumps(name), *map(text, values)])}]"

    content = text(document)
    plain = [name for name in fields if name not in nested]
    return f'{{"fields": {json.dumps(fields)}, "plain": {json.dumps(plain)}, "value": {content}}}'.encode()


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, Decimal))


def _padded(section: bytes) -> bytes:
    return section + bytes(gap(len(section)))
