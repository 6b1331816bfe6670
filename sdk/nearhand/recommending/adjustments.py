"""What lifts or lowers candidates beside their scores: the latest likes, what less is wanted of, what was learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nearhand.bundle.serving import ListPolicy
from nearhand.ranking import Catalogue
from nearhand.recommending.pool import Pool

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nearhand.learning import Learner

_LESS = 3.0
"""By how many spreads of the scores an item is lowered that is wholly like one that less is wanted of."""


class Adjustments:
    """What a policy adds to the scores of one profile's candidates, in spreads of these scores."""

    def __init__(self, policy: ListPolicy | None, catalogue: Catalogue, learner: Learner | None) -> None:
        self._reaction = None if policy is None else policy.reaction
        self._learning = None if policy is None else policy.learning
        self._catalogue = catalogue
        self._learner = learner

    def learned(self, pool: Pool) -> NDArray[np.float64] | None:
        """What the bandit adds; None: there is none, or it does not know the candidates' vectors."""
        if self._learner is None or self._learning is None or not pool.vectors.size:
            return None
        learned: NDArray[np.float64] = float(self._learning.weight) * self._learner.bonus(
            self._learner.features(pool.vectors)
        )
        return learned

    def of_likes(self, pool: Pool, less_like: Sequence[int]) -> NDArray[np.float64] | None:
        """What the latest likes add, and the rows of which less is wanted take off; None: nothing."""
        moved = [each for each in (self._lowered(pool, less_like), self._lifted(pool)) if each is not None]
        total: NDArray[np.float64] | None = np.sum(moved, axis=0) if moved else None
        return total

    def _lowered(self, pool: Pool, disliked: Sequence[int]) -> NDArray[np.float64] | None:
        """How much each candidate is lowered for being like items that less is wanted of; below 0."""
        if not disliked or not len(pool.rows):
            return None
        lowered: NDArray[np.float64] = -_LESS * self._likeness(pool, disliked, pool.less).max(axis=1)
        return lowered

    def _lifted(self, pool: Pool) -> NDArray[np.float64] | None:
        """How much each candidate is lifted for being like the latest likes; from 0."""
        reaction = self._reaction
        if reaction is None or pool.user is None:
            return None
        liked = [
            place
            for place, item in enumerate(pool.history)
            if item.confidence > 0 and any(event.event in reaction.events for event in item.events)
        ][-reaction.latest :]
        if not liked:
            return None
        rows = [pool.history[place].row for place in liked]
        # The mean: what several of them have in common counts most.
        alike = self._likeness(pool, rows, pool.user.history_vectors[liked])
        lifted: NDArray[np.float64] = float(reaction.weight) * alike.mean(axis=1)
        return lifted

    def _likeness(self, pool: Pool, rows: Sequence[int], vectors: NDArray[np.float32] | None) -> NDArray[np.float64]:
        """How like each of some items each candidate is: float64 [n, items], 0 to 1.

        Likeness is the mean of the vectors' cosine, if it is above 0, and of the genres that are shared among all
        genres of the two.

        Args:
            vectors: of the items; None: unknown, and only genres count.
        """
        genres, others = self._catalogue.genres.of(pool.rows), self._catalogue.genres.of(rows)
        shared = genres @ others.T
        union = genres.sum(1)[:, None] + others.sum(1) - shared
        alike = shared / np.maximum(union, 1.0)
        if vectors is not None and pool.vectors.shape[1]:
            alike = (alike + np.maximum(_normalized(pool.vectors) @ _normalized(vectors).T, 0.0)) / 2
        found: NDArray[np.float64] = alike.astype(np.float64)
        return found


def _normalized(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: NDArray[np.float32] = vectors / np.maximum(lengths, np.float32(1e-30))
    return found
