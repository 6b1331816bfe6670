"""The candidates of one list on their way through its stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nearhand.recommending.results import Source
from nearhand.records import dataclass
from nearhand.retrieval import HistoryItem, User

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Pool:
    """Candidates, in any order.

    Attributes:
        rows: int32 [n]; scores: float64 [n], higher is better; vectors: float32 [n, factors], factors 0 if unknown.
        source: of those that are not among ``passed``, the rows that the app passed.
        history, user: what the encoder read and gave; None: the candidates do not come from the history.
        less: float32 [m, factors], the vectors of the items of which less is wanted; read with ``user`` only.
        unranked: float64 [n], the scores as they were before a ranker, here or in the cloud, gave these; None: none
            did.
    """

    rows: NDArray[np.int32]
    scores: NDArray[np.float64]
    vectors: NDArray[np.float32]
    source: Source
    history: tuple[HistoryItem, ...] = ()
    user: User | None = None
    less: NDArray[np.float32] | None = None
    passed: frozenset[int] = frozenset()
    unranked: NDArray[np.float64] | None = None

    @property
    def is_ranked(self) -> bool:
        """Whether the scores are a ranker's."""
        return self.unranked is not None

    @property
    def retrieval_scores(self) -> NDArray[np.float64]:
        """float64 [n]: the inner products with the user's vector; NaN where the history gave no such vector."""
        if self.user is None:
            return np.full(len(self.rows), np.nan)
        return self.scores if self.unranked is None else self.unranked

    def ranked(self, scores: NDArray[np.float64]) -> Pool:
        """The same candidates with a ranker's scores, float64 [n]."""
        passed, known = self.passed, (self.history, self.user, self.less)
        return Pool(self.rows, scores, self.vectors, self.source, *known, passed, unranked=self.scores)

    def reranked(self, at: NDArray[np.intp], scores: NDArray[np.float64]) -> Pool:
        """The candidates at some places, intp [n], with the scores that the cloud gives them, float64 [n]."""
        passed, known, before = self.passed, (self.history, self.user, self.less), self.retrieval_scores[at]
        return Pool(self.rows[at], scores, self.vectors[at], "cloud", *known, passed, unranked=before)
