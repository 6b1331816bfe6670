"""The fallback for a user without a history: what most people liked."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray


class Popularity:
    """The catalogue in order of positive training interactions, most first, ties by row."""

    def __init__(self, counts: Sequence[int]) -> None:
        self._counts = np.asarray(counts, np.int64)
        self._total = max(int(self._counts.sum()), 1)
        self._order = np.lexsort((np.arange(len(self._counts)), -self._counts)).astype(np.int32)

    def top(self, *, exclude: Collection[int], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The ``k`` most popular rows that are not excluded, and their share of all interactions as score."""
        excluded = np.zeros(len(self._counts), np.bool_)
        excluded[np.fromiter(exclude, np.intp, len(exclude))] = True
        rows = self._order[: k + len(exclude)]
        rows = rows[~excluded[rows]][:k]
        return rows, (self._counts[rows] / self._total).astype(np.float32)
