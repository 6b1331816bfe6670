"""The catalogue as features read it: columns of numbers, texts, or lists of texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TypeAlias

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
        rows: item id → its index.
    """

    item_ids: tuple[str, ...]
    columns: Mapping[str, Sequence[Cell]]
    rows: Mapping[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
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
        return cls(items.item_ids, columns)

    def digest(self, columns: Sequence[str]) -> str:
        """sha256, in hexadecimal, of the item ids and some of the columns: what state that was folded rests on."""
        named = ", ".join(f"{json.dumps(name)}: {_array(self.columns[name])}" for name in sorted(set(columns)))
        content = f"[{_array(self.item_ids)}, {{{named}}}]" if columns else "[]"
        return sha256(content.encode()).hexdigest()


def _array(cells: Sequence[Cell]) -> str:
    """The cells as JSON. Tuples take longest, and many are the same."""
    if not {tuple, type(None)}.issuperset(map(type, cells)):
        return json.dumps(list(cells))
    return "[" + ", ".join(map(_Known().__getitem__, cells)) + "]"


class _Known(dict[Cell, str]):
    """Cell → its JSON, made when it is first asked for."""

    def __missing__(self, cell: Cell) -> str:
        return self.setdefault(cell, json.dumps(cell))
