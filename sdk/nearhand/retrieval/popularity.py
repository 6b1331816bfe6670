"""The fallback for a user without a history: what most people liked."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray


class Popularity:
    """The catalogue in order of positive training interactions, most first, ties by row."""

    def __init__(self, counts: Sequence[int]) -> None:
        self._counts = np.asarray(counts, np.int64)
        self._order = np.lexsort((np.arange(len(self._counts)), -self._counts)).astype(np.int32)

    def top(self, *, exclude: Collection[int], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The ``k`` most popular rows that are not excluded, and their share of all interactions as score."""
        rows = self._order[: k + len(exclude)]
        rows = rows[~np.isin(rows, np.fromiter(exclude, np.int32, len(exclude)))][:k]
        return rows, (self._counts[rows] / max(int(self._counts.sum()), 1)).astype(np.float32)
