"""The catalogue as features read it: columns of numbers, texts, or lists of texts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from nearhand.bundle.grouped import Grouped, grouped
from nearhand.bundle.schema import Items, NumberColumn
from nearhand.errors import UsageError
from nearhand.features.parts import MAX_VALUE
from nearhand.features.steps import bound_number
from nearhand.hashing import sha256
from nearhand.records import dataclass, field

if TYPE_CHECKING:
    from numpy.typing import NDArray

Cell: TypeAlias = int | float | str | tuple[str, ...] | None


@dataclass(frozen=True, eq=False)
class ItemTable:
    """Items by column; a cell is a finite number, a text, a tuple of texts, or None where it is unknown.

    Attributes:
        item_ids: each once.
        columns: name → one cell for each item.
        rows: item id → its index; made if it is not given.
        digests: columns → :meth:`digest` of them, where it is known already.
    """

    item_ids: tuple[str, ...]
    columns: Mapping[str, Sequence[Cell]]
    rows: Mapping[str, int] = field(default_factory=dict, repr=False)
    digests: dict[tuple[str, ...], str] = field(repr=False, default_factory=dict)
    _grouped: dict[str, Grouped[Any]] = field(init=False, repr=False, default_factory=dict)
    _kinds: dict[str, set[type]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        if not self.rows:
            object.__setattr__(self, "rows", dict(zip(self.item_ids, range(len(self.item_ids)), strict=True)))
        if len(self.rows) != len(self.item_ids):
            raise UsageError("an item id stands twice", place="ItemTable.item_ids", remedy="give every item one row")
        for name, cells in self.columns.items():
            if len(cells) != len(self.item_ids):
                raise UsageError(
                    f"has {len(cells)} cells for {len(self.item_ids)} items",
                    place=f"ItemTable.columns[{name!r}]",
                    remedy="give every item one cell",
                )

    @classmethod
    def empty(cls) -> ItemTable:
        """No items: for a program that reads nothing of the catalogue."""
        return cls((), {})

    @classmethod
    def of_bundle(cls, items: Items, digests: dict[tuple[str, ...], str] | None = None) -> ItemTable:
        """A bundle's catalogue: title, year, genres, director and popularity; unknown years and directors as None.

        Args:
            digests: see the attribute.
        """
        return _BundleTable(items, {} if digests is None else digests)

    def grouped(self, name: str) -> Grouped[Cell]:
        """A column by its different cells; 1 and 1.0, which are different texts, are two."""
        found = self._grouped.get(name)
        if found is None:
            cells = self.columns[name]
            if isinstance(cells, _Spread):
                return cells.groups
            typed = grouped(list(zip(map(type, cells), cells, strict=True)))
            found = self._grouped[name] = Grouped(tuple(cell for _, cell in typed.distinct), typed.places)
        return found

    def kinds(self, name: str) -> set[type]:
        """The types of a column's cells."""
        found = self._kinds.get(name)
        if found is None:
            groups = self._grouped.get(name)
            found = self._kinds[name] = set(map(type, self.columns[name] if groups is None else groups.distinct))
        return found

    def numbers(self, name: str, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Of the cells of some rows of a column the :func:`bound_number`, or NaN: float64 [n], for n rows.

        Args:
            rows: intp; −1: of no item.
        """
        if isinstance(self.columns, _BundleColumns) and name in _BUNDLE_NUMBERS:
            found = np.full(len(rows), np.nan)
            has = rows >= 0
            found[has] = self.columns.numbers(name, rows[has])
            return found
        cells = self.columns[name]
        return np.array([None if row < 0 else bound_number(cells[row]) for row in rows.tolist()], np.float64)

    def digest(self, columns: Sequence[str]) -> str:
        """sha256, in hexadecimal, of the item ids and some of the columns: what state that was folded rests on."""
        names = tuple(sorted(set(columns)))
        found = self.digests.get(names)
        if found is None:
            named = ", ".join(f"{json.dumps(name)}: {self._array(name)}" for name in names)
            content = f"[{json.dumps(self.item_ids)}, {{{named}}}]" if columns else "[]"
            found = self.digests[names] = sha256(content.encode()).hexdigest()
        return found

    def _array(self, name: str) -> str:
        """A column as JSON. Tuples take longest, and many are the same."""
        if not {tuple, NoneType}.issuperset(self.kinds(name)):
            return json.dumps(list(self.columns[name]))
        groups = self.grouped(name)
        texts = [json.dumps(cell) for cell in groups.distinct]
        return "[" + ", ".join([texts[place] for place in groups.places.tolist()]) + "]"


_BUNDLE_KINDS: Mapping[str, set[type]] = {
    "title": {str},
    "year": {int, NoneType},
    "genres": {tuple},
    "director": {str, NoneType},
    "popularity": {int},
}
_BUNDLE_NUMBERS: Mapping[str, NumberColumn] = {"year": "years", "popularity": "popularity"}


class _BundleTable(ItemTable):
    """Of a bundle, which was checked; its item ids are made when they are asked for."""

    def __init__(self, items: Items, digests: dict[tuple[str, ...], str]) -> None:
        vars(self).update(
            columns=_BundleColumns(items),
            rows=items.rows,
            digests=digests,
            _grouped={},
            _kinds={**_BUNDLE_KINDS},
            _items=items,
        )

    @cached_property
    def item_ids(self) -> tuple[str, ...]:
        items: Items = vars(self)["_items"]
        return items.item_ids


class _BundleColumns(Mapping[str, Sequence[Cell]]):
    """A bundle's columns, each made when it is asked for: a program reads few of them."""

    def __init__(self, items: Items) -> None:
        self._items = items
        self._made: dict[str, Sequence[Cell]] = {}

    def __getitem__(self, name: str) -> Sequence[Cell]:
        found = self._made.get(name)
        if found is None:
            found = self._made[name] = self._make(name)
        return found

    def __contains__(self, name: object) -> bool:
        return name in _BUNDLE_KINDS

    def __iter__(self) -> Iterator[str]:
        return iter(_BUNDLE_KINDS)

    def __len__(self) -> int:
        return len(_BUNDLE_KINDS)

    def numbers(self, name: str, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """See :meth:`ItemTable.numbers`, of a column in ``_BUNDLE_NUMBERS`` and of rows that there are."""
        chosen = self._items.numbers(_BUNDLE_NUMBERS[name], rows)
        found = chosen.astype(np.float64).clip(-MAX_VALUE, MAX_VALUE)
        if name == "year":
            found[chosen == 0] = np.nan
        return found

    def _make(self, name: str) -> Sequence[Cell]:
        items = self._items
        match name:
            case "title":
                return items.titles
            case "year":
                return [year or None for year in items.years]
            case "genres":
                return _Spread(items.grouped_genres)
            case "director":
                return [director or None for director in items.directors]
            case "popularity":
                return items.popularity
            case _:
                raise KeyError(name)


class _Spread(Sequence[Cell]):
    """A column that is kept by its different cells."""

    def __init__(self, groups: Grouped[Any]) -> None:
        self.groups = groups

    def __len__(self) -> int:
        return len(self.groups.places)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[each] for each in range(*row.indices(len(self)))]
        return self.groups.distinct[self.groups.places[row]]
