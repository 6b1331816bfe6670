"""The catalogue as features read it: columns of numbers, texts, or lists of texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import field
from types import NoneType
from typing import Any, TypeAlias

from nearhand.bundle.grouped import Grouped, grouped
from nearhand.bundle.schema import Items
from nearhand.errors import UsageError
from nearhand.hashing import sha256
from nearhand.records import dataclass

Cell: TypeAlias = int | float | str | tuple[str, ...] | None


@dataclass(frozen=True, eq=False)
class ItemTable:
    """Items by column; a cell is a finite number, a text, a tuple of texts, or None where it is unknown.

    Attributes:
        item_ids: each once.
        columns: name → one cell for each item.
        rows: item id → its index; made if it is not given.
    """

    item_ids: tuple[str, ...]
    columns: Mapping[str, Sequence[Cell]]
    rows: Mapping[str, int] = field(default_factory=dict, repr=False)
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
    def of_bundle(cls, items: Items) -> ItemTable:
        """A bundle's catalogue: title, year, genres, director and popularity; unknown years and directors as None."""
        columns: dict[str, Sequence[Cell]] = {
            "title": items.titles,
            "year": [year or None for year in items.years],
            "genres": items.genres,
            "director": [director or None for director in items.directors],
            "popularity": items.popularity,
        }
        table = cls(items.item_ids, columns, items.rows)
        table._grouped["genres"] = items.grouped_genres
        return table

    def grouped(self, name: str) -> Grouped[Cell]:
        """A column by its different cells; 1 and 1.0, which are different texts, are two."""
        found = self._grouped.get(name)
        if found is None:
            cells = self.columns[name]
            typed, places = grouped(list(zip(map(type, cells), cells, strict=True)))
            found = self._grouped[name] = Grouped(tuple(cell for _, cell in typed), places)
        return found

    def kinds(self, name: str) -> set[type]:
        """The types of a column's cells."""
        found = self._kinds.get(name)
        if found is None:
            groups = self._grouped.get(name)
            found = self._kinds[name] = set(map(type, self.columns[name] if groups is None else groups.distinct))
        return found

    def digest(self, columns: Sequence[str]) -> str:
        """sha256, in hexadecimal, of the item ids and some of the columns: what state that was folded rests on."""
        named = ", ".join(f"{json.dumps(name)}: {self._array(name)}" for name in sorted(set(columns)))
        content = f"[{json.dumps(self.item_ids)}, {{{named}}}]" if columns else "[]"
        return sha256(content.encode()).hexdigest()

    def _array(self, name: str) -> str:
        """A column as JSON. Tuples take longest, and many are the same."""
        if not {tuple, NoneType}.issuperset(self.kinds(name)):
            return json.dumps(list(self.columns[name]))
        distinct, places = self.grouped(name)
        texts = [json.dumps(cell) for cell in distinct]
        return "[" + ", ".join([texts[place] for place in places.tolist()]) + "]"
