"""Why each item of a list is in it. Nothing is computed before somebody reads it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import numpy as np

import nearhand.explain as explaining  # most of it is imported when the first reason is read
from nearhand.bundle.schema import Items
from nearhand.errors import NearhandError
from nearhand.events import Scalar
from nearhand.explain import Basis, Explanation, plain
from nearhand.features.store import FeatureStore
from nearhand.monitoring import Meter
from nearhand.ranking import FeatureRows, Listed, Predictor
from nearhand.recommending.pool import Pool
from nearhand.records import dataclass
from nearhand.retrieval import HistoryItem

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

_Losses: TypeAlias = "tuple[Sequence[HistoryItem], NDArray[np.float64]]"
"""Some history items, and what a score loses without each: float64 [1, history items]."""

_MORE = 100
"""How many further history items are looked at, the latest, for an item that no promising one speaks for."""


@dataclass(frozen=True, eq=False)
class _Asked:
    """Ranked items that are explained.

    Attributes:
        context: of the request.
        scores: their retrieval scores, float64 [items]: without the history item of each row, and under None with the
            whole history. None: the ranker does not read them.
    """

    item_ids: tuple[str, ...]
    context: Mapping[str, Scalar]
    scores: Mapping[int | None, NDArray[np.float64]] | None

    def only(self, places: NDArray[np.intp]) -> _Asked:
        """Some of the items."""
        scores = None if self.scores is None else {row: each[places] for row, each in self.scores.items()}
        return _Asked(tuple(self.item_ids[place] for place in places.tolist()), self.context, scores)


class Reasons:
    """Makes the explanations of one profile's lists."""

    def __init__(
        self,
        items: Items,
        verbs: Mapping[str, str],
        locale: str,
        *,
        ranker: Callable[[], AbstractContextManager[tuple[Predictor, FeatureRows]]] | None,
        features: FeatureStore | None,
        meter: Meter,
    ) -> None:
        """
        Args:
            verbs: see :func:`nearhand.explain.explain`.
            ranker, features: what ranked candidates were ranked with; see :class:`Recommender`.
        """
        self._items = items
        self._verbs = verbs
        self._locale = locale
        self._ranker = ranker
        self._features = features
        self._meter = meter

    def plain(self, message: str, **fields: str) -> Explanation:
        """One that does not come from the history."""
        return plain(message, self._locale, **fields)  # type: ignore[arg-type]

    def of_list(self, context: Mapping[str, Scalar], pool: Pool, listed: Listed) -> Sequence[Explanation]:
        """One for each place. Sentences and evidence are made when they are first read."""
        if pool.user is None:
            return [self.plain("popular")] * len(listed)
        made = _Once(lambda: self._made(context, pool, listed))
        basis: Basis = "device" if pool.source == "cloud" else "score"
        return [
            Explanation(lambda at=at: made()[at].text, lambda at=at: made()[at].evidence, basis)  # type: ignore[misc]
            for at in range(len(listed))
        ]

    def _made(self, context: Mapping[str, Scalar], pool: Pool, listed: Listed) -> list[Explanation]:
        """One for each place; if that fails it is counted, and they say less.

        Of scores from the cloud nothing is known but the numbers, and each other question to it would be one more call
        with the user's history: the reasons are those that the device's own models have.
        """
        assert pool.user is not None
        history = pool.history
        confidences = np.array([item.confidence for item in history])
        vectors = pool.vectors[np.maximum(listed.candidates, 0)]
        try:
            parts = explaining.contributions(pool.user.history_vectors[: len(history)], confidences, vectors)
            if not pool.is_ranked or self._ranker is None:
                return explaining.explain(history, parts, self._items, self._verbs, self._locale)
            item_ids = tuple(self._items.item_id(row) for row in listed.rows.tolist())
            asked = _Asked(item_ids, context, self._retrieval_scores(pool, confidences, listed))
            return [
                explaining.explain(examined, lost, self._items, self._verbs, self._locale)[0]
                for examined, lost in self._losses(history, parts, asked)
            ]
        except NearhandError as error:
            self._meter.degraded("an explanation could not be made", error)
            return [self.plain("recent")] * len(listed)

    def _retrieval_scores(
        self, pool: Pool, confidences: NDArray[np.float64], listed: Listed
    ) -> Mapping[int | None, NDArray[np.float64]] | None:
        """See :class:`_Asked`."""
        assert pool.user is not None
        assert self._ranker is not None
        with self._ranker() as (_, rows):
            if not rows.reads_retrieval:
                return None
        at = np.maximum(listed.candidates, 0)
        known = pool.user.history_vectors[: len(pool.history)]
        without = explaining.scores_without(known, confidences, pool.vectors[at])
        if np.count_nonzero(confidences > 0) == 1:
            without[:, confidences > 0] = np.nan  # without it the candidates would be the popular ones
        found: dict[int | None, NDArray[np.float64]] = {None: pool.retrieval_scores[at]}
        found.update((item.row, each) for item, each in zip(pool.history, without.T, strict=True))
        return found

    def _losses(self, history: tuple[HistoryItem, ...], prior: NDArray[np.float64], asked: _Asked) -> list[_Losses]:
        """What each item's score loses without each of the most promising history items.

        For an item that none of these speaks for, the other items of the history are looked at too.
        """
        first = explaining.promising(history, prior=prior)
        lost = self._occluded(first, asked)
        found: list[_Losses] = [(first, lost[[at]]) for at in range(len(asked.item_ids))]
        unexplained = np.flatnonzero(lost.max(axis=1, initial=0.0) <= 0)
        examined = {item.row for item in first}
        rest = tuple(item for item in history if item.row not in examined)[-_MORE:]
        if rest and len(unexplained):
            more = self._occluded(rest, asked.only(unexplained))
            for row, at in enumerate(unexplained.tolist()):
                found[at] = first + rest, np.concatenate([lost[at], more[row]])[None]
        return found

    def _occluded(self, chosen: Sequence[HistoryItem], asked: _Asked) -> NDArray[np.float64]:
        """What the ranker's scores lose without each of some history items: float64 [items, history items]."""
        features, ranking = self._features, self._ranker
        assert features is not None
        assert ranking is not None
        item_ids, context, scores = asked.item_ids, asked.context, asked.scores
        retrieval = None if scores is None else [scores[None], *(scores[item.row] for item in chosen)]

        def score_all(variants: Sequence[frozenset[str]]) -> NDArray[np.float64]:
            with ranking() as (ranker, rows):
                table = rows.variants(*features.without(variants, item_ids, context), context, retrieval)
                return ranker.scores(table).reshape(len(variants), len(item_ids))

        return explaining.occlude(score_all, [explaining.event_ids(item) for item in chosen])


class _Once(Generic[T]):
    """Calls a function once, when its value is first asked for."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: list[T] = []

    def __call__(self) -> T:
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]
