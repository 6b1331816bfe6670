"""The categories of a catalogue's items as codes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from nearhand.bundle.schema import Items
from nearhand.bundle.serving import CategoryKind


class Categories:
    """Each item's categories, each once.

    Attributes:
        names: the categories; a code is a place in them.
        codes: int32 [items, most categories of one item]; -1 where an item has fewer, at whatever place.
    """

    def __init__(self, items: Items, category: CategoryKind) -> None:
        """
        Args:
            category: ``genres`` or ``directors``; an unknown director is none.
        """
        of_items: Sequence[Sequence[str]] = items.genres
        if category == "directors":
            of_items = [(director,) if director else () for director in items.directors]
        # A catalogue has ten thousands of items, and each start waits for this: no loop over them in Python.
        lengths = np.fromiter(map(len, of_items), np.intp, len(of_items))
        texts = list(chain.from_iterable(of_items))
        self.names: tuple[str, ...] = tuple(dict.fromkeys(texts))
        code_of = {name: code for code, name in enumerate(self.names)}
        ends = np.cumsum(lengths)
        places = np.arange(len(texts)) - np.repeat(ends - lengths, lengths)
        self.codes: NDArray[np.int32] = np.full((len(of_items), int(lengths.max(initial=0))), -1, np.int32)
        self.codes[np.repeat(np.arange(len(of_items)), lengths), places] = np.fromiter(
            map(code_of.__getitem__, texts), np.int32, len(texts)
        )
        for place in range(1, self.codes.shape[1]):  # what is named twice counts once
            twice = (self.codes[:, :place] == self.codes[:, [place]]).any(axis=1)
            self.codes[twice, place] = -1

    def of(self, rows: Sequence[int] | NDArray[np.int32]) -> NDArray[np.float64]:
        """float64 [rows, categories], 1 where the item is of the category."""
        codes = self.codes[rows]
        found = np.zeros((len(codes), len(self.names) + 1))
        found[np.arange(len(codes))[:, None], codes] = 1.0  # the last column is for -1
        return found[:, :-1]

    def rows(self, name: str) -> NDArray[np.intp]:
        """intp: the rows of the items of a category, ascending; none if no item has it."""
        if name not in self.names:
            return np.empty(0, np.intp)
        return np.flatnonzero((self.codes == self.names.index(name)).any(axis=1))
