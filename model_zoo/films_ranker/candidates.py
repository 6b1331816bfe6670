"""The candidates that a device would give its ranker, from the trained factors themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_zoo.replays import Viewers
from nearhand.bundle.schema import Policy
from nearhand.retrieval import HistoryFold
from nearhand_converters.graph.fold_in import whiten
from nearhand_converters.parity.source import SourceModel, top_rows
from nearhand_converters.sources.factors import FactorModel

EXTRA, SEEDS = 20, 2
"""As on the device: what popularity, and what is like each of the latest liked items, add to the candidates."""


@dataclass(frozen=True)
class Pool:
    """What may be listed for one user at one instant.

    Attributes:
        rows: int32 [n] item rows: first those of the encoder, best first.
        scores: float64 [n], those with which they were retrieved, of what was known at that instant.
        retrieved: how many those are; the device lists them in this order where there is no ranker.
    """

    rows: NDArray[np.int32]
    scores: NDArray[np.float64]
    retrieved: int


class CandidateSource:
    """Makes pools from a factor model."""

    def __init__(self, model: FactorModel, policy: Policy, viewers: Viewers, item_ids: Sequence[str]) -> None:
        self._source = SourceModel(model)
        self._table = whiten(model.item_factors, model.regularization)
        self._policy = policy
        self._viewers = viewers
        self._rows = {item_id: row for row, item_id in enumerate(item_ids)}

    def pool(self, user: int, before: int, popularity: NDArray[np.float64]) -> Pool | None:
        """The candidates as of an instant (ms); None: nothing was liked before it, and popular items are listed."""
        fold = HistoryFold(self._policy, self._rows)
        fold.fold(self._viewers.events(user, before))
        history = fold.history().items
        liked = [item.row for item in history if item.confidence > 0]
        if not liked:
            return None
        seen = {*fold.seen, *(item.row for item in history)}
        rows = np.array([item.row for item in history], np.int32)
        scores = self._source.scores(rows, np.array([item.confidence for item in history]))
        best = top_rows(scores, seen, self._policy.candidates)
        alike = [top_rows(self._table @ self._table[row], seen, EXTRA) for row in liked[: -SEEDS - 1 : -1]]
        every = np.concatenate([best, *alike, top_rows(popularity, seen, EXTRA)])
        _, first = np.unique(every, return_index=True)
        chosen = every[np.sort(first)]
        return Pool(chosen, scores[chosen], len(best))
