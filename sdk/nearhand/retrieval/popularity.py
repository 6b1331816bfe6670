"""The fallback for a user without a history: what most people liked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nearhand.retrieval.retriever import Excluded, as_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Popularity:
    """The catalogue in order of positive training interactions, most first, ties by row."""

    def __init__(
        self, counts: Sequence[int] | NDArray[np.int64], by_popularity: NDArray[np.int32] | None = None
    ) -> None:
        """
        Args:
            by_popularity: the rows in that order, where it is known.
        """
        self._counts = np.asarray(counts, np.int64)
        self._total = max(int(self._counts.sum()), 1)
        if by_popularity is None:
            by_popularity = np.argsort(-self._counts, kind="stable").astype(np.int32)
        self._order = by_popularity

    def top(self, *, exclude: Excluded, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The ``k`` most popular rows that are not excluded, and their share of all interactions as score."""
        rows = self.rows(exclude=exclude, k=k)
        return rows, (self._counts[rows] / self._total).astype(np.float32)

    def rows(self, *, exclude: Excluded, k: int) -> NDArray[np.int32]:
        """The ``k`` most popular rows that are not excluded."""
        excluded, count = as_mask(exclude, len(self._counts))
        rows = self._order[: k + count]
        return rows.compress(~excluded.take(rows))[:k]
