"""Where candidates come from: the history's encoder, what is like the latest likes, what is popular, and the app."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nearhand.bundle.schema import Items
from nearhand.errors import ModelError
from nearhand.ranking import AppliedFilter
from nearhand.recommending.pool import Pool
from nearhand.retrieval import Candidates, HistoryItem, Popularity, Retriever, padded

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXTRA = 20
"""Candidates that each other source than the encoder adds where a ranker tells them apart."""
_SEEDS = 2
"""The latest liked items, whose likes are candidates."""
_MANY = 1000
"""So many items that are not allowed cost more in the index than reading the vectors of some that are."""
_KNOWN_VECTORS = 2000
"""Item vectors that stay in memory, about half a megabyte: popular items are candidates of every list."""


class Sources:
    """Makes pools of candidates. For one thread at a time."""

    def __init__(self, items: Items, retriever: Callable[[], Retriever], candidates: int, *, is_ranked: bool) -> None:
        """
        Args:
            retriever: gives the loaded models.
            candidates: how many are wanted at the least.
            is_ranked: whether a ranker orders the candidates, so that more sources than the encoder's pay.
        """
        self._counts = items.numbers("popularity")
        self._retriever = retriever
        self._candidates = candidates
        self._is_ranked = is_ranked
        self._popularity = Popularity(self._counts, items.by_popularity)
        self._known_vectors: dict[int, NDArray[np.float32]] = {}
        self._last_vectors: tuple[list[int], NDArray[np.float32]] = ([], np.empty((0, 0), np.float32))

    def of_history(
        self,
        k: int,
        history: tuple[HistoryItem, ...],
        applied: AppliedFilter,
        passed: Sequence[int],
        less_like: Sequence[int],
    ) -> Pool:
        """Candidates of several sources, each with the inner product of its vector and the user's.

        Args:
            passed, less_like: rows.

        Raises:
            ModelError: a model fails, or gives a number that is not finite.
        """
        retriever = self._retriever()
        user = retriever.encode(
            *padded([item.row for item in history], [item.confidence for item in history], retriever.window)
        )
        exclude = applied.excluded
        if (allowed := self._few(applied, retriever.window)) is not None:
            vectors_of_all = self._vectors(retriever, allowed.tolist())
            found = Candidates(allowed, vectors_of_all @ user.vector[0], vectors_of_all)
        else:
            found = retriever.retrieve(user.vector, exclude=exclude, k=k)
        rows: list[NDArray[np.int32]] = []
        vectors: list[NDArray[np.float32]] = []
        more = {row for row in passed if applied.mask[row]}
        if self._is_ranked and allowed is None:
            # Without a ranker they could not come up: the encoder's candidates have the greatest inner products.
            for place in [place for place, item in enumerate(history) if item.confidence > 0][: -_SEEDS - 1 : -1]:
                liked = user.history_vectors[place : place + 1]
                alike = retriever.retrieve(liked, exclude=exclude, k=_EXTRA)
                rows.append(alike.rows[:_EXTRA])
                vectors.append(alike.vectors[:_EXTRA])
            more.update(self._popularity.rows(exclude=exclude, k=_EXTRA).tolist())
        if more:
            others = sorted(more)
            rows.append(np.array(others, np.int32))
            vectors.append(self._vectors(retriever, others))
        all_rows, all_vectors = found.rows, found.vectors
        if rows:
            other_rows = np.concatenate(rows)
            first = _first(other_rows.tolist(), set(found.rows.tolist()))
            all_rows = np.concatenate([all_rows, other_rows.take(first)])
            all_vectors = np.concatenate([all_vectors, np.concatenate(vectors).take(first, axis=0)])
        _check_finite(user.vector, all_vectors)
        # The encoder's candidates stay as they were scored.
        scores = np.concatenate([found.scores, all_vectors[len(found.rows) :] @ user.vector[0]])
        _check_finite(scores)
        less = self._vectors(retriever, less_like) if less_like else None
        return Pool(all_rows, scores.astype(np.float64), all_vectors, "local", history, user, less, frozenset(passed))

    def popular(self, k: int, applied: AppliedFilter, passed: Sequence[int]) -> Pool:
        """The candidates that need no history and no model, each with its share of all interactions."""
        exclude = applied.excluded
        rows, scores = self._popularity.top(exclude=exclude, k=max(k, self._candidates))
        more = sorted(row for row in set(passed).difference(rows.tolist()) if applied.mask[row])
        shares = np.array([self._counts[row] for row in more], np.float64) / max(int(self._counts.sum()), 1)
        rows, scores = np.concatenate([rows, np.array(more, np.int32)]), np.concatenate([scores, shares])
        vectors = np.empty((len(rows), 0), np.float32)
        return Pool(rows, scores.astype(np.float64), vectors, "fallback", passed=frozenset(passed))

    def _few(self, applied: AppliedFilter, window: int) -> NDArray[np.int32] | None:
        """The allowed rows, int32, if they are few of many: the index would have to give nearly all of them."""
        count = int(np.count_nonzero(applied.mask))
        if 0 < count <= window and len(applied.mask) - count > _MANY:
            return np.flatnonzero(applied.mask).astype(np.int32)
        return None

    def _vectors(self, retriever: Retriever, rows: Sequence[int]) -> NDArray[np.float32]:
        """The item vectors, float32 [n, factors]: the encoder gives those of the items that it reads."""
        last, vectors = self._last_vectors
        if rows == last:  # the popular ones, as a rule
            return vectors
        known = self._known_vectors
        # A copy: a stage that was left behind may make room in `known` meanwhile.
        found = {row: vector for row in rows if (vector := known.get(row)) is not None}
        missing = [row for row in rows if row not in found]
        for start in range(0, len(missing), retriever.window):
            chunk = missing[start : start + retriever.window]
            read = retriever.encode(*padded(chunk, [1.0] * len(chunk), retriever.window))
            found.update(zip(chunk, read.history_vectors[: len(chunk)].copy(), strict=True))
        vectors = np.array([found[row] for row in rows])
        if missing:
            _check_finite(vectors)  # before they are kept
            if len(known) + len(missing) > _KNOWN_VECTORS:
                known.clear()
            known.update(found)
        self._last_vectors = list(rows), vectors
        return vectors


def _first(rows: Sequence[int], known: set[int]) -> NDArray[np.intp]:
    """intp: the places at which rows stand for the first time that are not known; then all of them are known."""
    places = []
    for place, row in enumerate(rows):
        if row not in known:
            known.add(row)
            places.append(place)
    return np.array(places, np.intp)


def _check_finite(*numbers: NDArray[np.float32]) -> None:
    """
    Raises:
        ModelError: one is not.
    """
    if not all(np.isfinite(each).all() for each in numbers):
        remedy = "use another variant or rebuild the bundle"
        raise ModelError("gives a number that is not finite", place="encoder or index", remedy=remedy)
