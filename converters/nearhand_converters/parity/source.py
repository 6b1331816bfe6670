"""The trained model itself, in float64 and in its own (unwhitened) terms: what every variant is compared with."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.sources.factors import FactorModel


class SourceModel:
    """Exact implicit ALS over a history: solves the normal equations of Hu, Koren, Volinsky (2008) for each user."""

    def __init__(self, model: FactorModel) -> None:
        self._factors = model.item_factors
        width = self._factors.shape[1]
        self._gram = self._factors.T @ self._factors + model.regularization * np.eye(width)

    def scores(
        self, rows: NDArray[np.int32], confidences: NDArray[np.float64], items: NDArray[np.int32] | None = None
    ) -> NDArray[np.float64]:
        """float64 [items] for a history of distinct rows.

        Args:
            items: the rows to score; None: all.
        """
        history = self._factors[rows]
        matrix = self._gram + (history.T * (np.abs(confidences) - 1)) @ history
        scored = self._factors if items is None else self._factors[items]
        scores: NDArray[np.float64] = scored @ np.linalg.solve(matrix, np.maximum(confidences, 0) @ history)
        return scores


def top_rows(scores: NDArray[np.floating], exclude: Collection[int], k: int) -> NDArray[np.int32]:
    """The ``k`` rows with the highest scores, equal scores by lower row, without those excluded; int32 [<= k]."""
    allowed = np.ones(len(scores), np.bool_)
    allowed[np.fromiter(exclude, np.int64, len(exclude))] = False
    count = min(k, int(allowed.sum()))
    if count == 0:
        return np.empty(0, np.int32)
    # Everything not below the count-th score, so that ties at the edge are all there to be ordered by row.
    left = np.where(allowed, scores, -np.inf)
    edge = np.partition(left, len(left) - count)[len(left) - count]
    rows = np.flatnonzero(allowed & (scores >= edge))
    return rows[np.lexsort((rows, -scores[rows]))][:k].astype(np.int32)
