"""The categories of a catalogue's items as codes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from nearhand.bundle.grouped import Grouped, grouped
from nearhand.bundle.schema import Items
from nearhand.bundle.serving import CategoryKind

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Categories:
    """Each item's categories, each once.

    Attributes:
        names: the categories; a code is a place in them.
    """

    def __init__(self, items: Items, category: CategoryKind) -> None:
        """
        Args:
            category: ``genres`` or ``directors``; an unknown director is none.
        """
        groups: Grouped[tuple[str, ...]] = items.grouped_genres
        if category == "directors":
            groups = grouped([(director,) if director else () for director in items.directors])
        named = [tuple(dict.fromkeys(texts)) for texts in groups.distinct]  # what is named twice counts once
        self.names: tuple[str, ...] = tuple(dict.fromkeys(chain.from_iterable(named)))
        code_of = {name: code for code, name in enumerate(self.names)}
        most = max(map(len, named), default=0)
        codes = [[code_of[text] for text in texts] + [-1] * (most - len(texts)) for texts in named]
        self._codes = np.array(codes, np.int32).reshape(len(named), most)
        self._listed_codes = codes
        self._places = groups.places

    def codes(self, rows: Sequence[int] | NDArray[np.int32]) -> NDArray[np.int32]:
        """int32 [rows, most categories of one item]; -1 where an item has fewer, at whatever place."""
        return self._codes.take(self._places[rows], axis=0)

    def codes_of(self, row: int) -> list[int]:
        """Those of one item; -1 is none."""
        return self._listed_codes[self._places[row]]

    def of(self, rows: Sequence[int] | NDArray[np.int32]) -> NDArray[np.float64]:
        """float64 [rows, categories], 1 where the item is of the category."""
        codes = self.codes(rows)
        found = np.zeros((len(codes), len(self.names) + 1))
        found[np.arange(len(codes))[:, None], codes] = 1.0  # the last column is for -1
        return found[:, :-1]

    def rows(self, name: str) -> NDArray[np.intp]:
        """intp: the rows of the items of a category, ascending; none if no item has it."""
        if name not in self.names:
            return np.empty(0, np.intp)
        return np.flatnonzero((self._codes == self.names.index(name)).any(axis=1).take(self._places))
