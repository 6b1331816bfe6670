"""A list, top to bottom: history → candidates → filter → scores → policy → explanations."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cached_property, partial
from random import Random
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from nearhand.bundle.manifest import Retrieval
from nearhand.bundle.schema import Items
from nearhand.bundle.serving import ListPolicy
from nearhand.clock import Clock
from nearhand.errors import CancelledError, EncryptionError, ModelError, NearhandError, StorageError, UsageError
from nearhand.events import EventLog, Scalar
from nearhand.explain import Explanation, contributions, event_ids, explain, occlude, plain, promising
from nearhand.features.store import FeatureStore
from nearhand.ids import random_id
from nearhand.learning import Exposure, Exposures, Learner
from nearhand.monitoring import Meter
from nearhand.privacy import Preferences, PreferenceStore
from nearhand.ranking import AppliedFilter, Catalogue, FeatureRows, Filter, Listed, Listing, Predictor
from nearhand.recommending.request import Request, check_k
from nearhand.recommending.results import Recommendation, Source
from nearhand.recommending.stages import Deadline, Stages
from nearhand.records import dataclass
from nearhand.retrieval import HistoryFold, HistoryItem, Popularity, Retriever, User, padded

T = TypeVar("T")

_EXTRA = 20
"""Candidates that each other source than the encoder adds where a ranker tells them apart."""
_SEEDS = 2
"""The latest liked items, whose likes are candidates."""
_KNOWN_VECTORS = 2000
"""Item vectors that stay in memory, about half a megabyte: popular items are candidates of every list."""
_LESS = 3.0
"""By how many spreads of the scores an item is lowered that is wholly like one that less is wanted of."""


_WITHOUT = {"retrieve": "recommend fell back to popularity", "rank": "recommend kept the order of retrieval"}


@dataclass(frozen=True)
class _Pool:
    """Candidates, in any order.

    Attributes:
        rows: int32 [n]; scores: float64 [n], higher is better; vectors: float32 [n, factors], factors 0 if unknown.
        source: of those that are not among ``passed``, the rows that the app passed.
        history, user: what the encoder read and gave; None: the candidates do not come from the history.
        less: float32 [m, factors], the vectors of the items of which less is wanted; read with ``user`` only.
        is_ranked: whether the scores are a ranker's.
    """

    rows: NDArray[np.int32]
    scores: NDArray[np.float64]
    vectors: NDArray[np.float32]
    source: Source
    history: tuple[HistoryItem, ...] = ()
    user: User | None = None
    less: NDArray[np.float32] | None = None
    passed: frozenset[int] = frozenset()
    is_ranked: bool = False


class Recommender:
    """Makes lists for one profile. Safe for several threads; one list is made at a time."""

    def __init__(
        self,
        *,
        retrieval: Retrieval,
        policy: ListPolicy | None,
        name: str,
        items: Items,
        space: str,
        retriever: Callable[[], Retriever],
        ranker: Callable[[], AbstractContextManager[tuple[Predictor, FeatureRows]]] | None,
        log: EventLog,
        features: FeatureStore | None,
        preferences: PreferenceStore,
        exposures: Exposures,
        learner: Learner | None,
        clock: Clock,
        meter: Meter,
        locale: str,
        seed: int | None,
    ) -> None:
        """
        Args:
            name: the bundle's.
            space: what item vectors mean; see :class:`nearhand.learning.Exposure`.
            retriever: gives the loaded models.
            ranker: keeps the ranker loaded, and gives what makes its rows too; None: the policy has no ranker.
            seed: of what is drawn; None: another one each time.
        """
        self._retrieval = retrieval
        self._name = name
        self._policy = policy
        self._items = items
        self._space = space
        self._retriever = retriever
        self._ranker = ranker
        self._log = log
        self._features = features
        self._preferences = preferences
        self._exposures = exposures
        self._learner = learner
        self._clock = clock
        self._meter = meter
        self._locale = locale
        self._seed = seed
        self._lists = 0
        self._lock = threading.RLock()
        self._stages = Stages(meter)
        self.rows: Mapping[str, int] = {item_id: row for row, item_id in enumerate(items.item_ids)}
        self._catalogue = Catalogue(items)
        self._listing = Listing(items, policy or ListPolicy())
        self._popularity = Popularity(items.popularity)
        self._known_vectors: dict[int, NDArray[np.float32]] = {}
        self.forget()

    def forget(self) -> None:
        """Drop what is in memory of the profile; it is read again."""
        with self._lock:
            self._fold = HistoryFold(self._retrieval.policy, self.rows)
            self._folded = 0
            self._rewrites: int | None = None

    def catch_up(self) -> HistoryFold:
        """Take in what the log holds beyond what is known, whoever recorded it.

        Raises:
            StorageError, EncryptionError: the log cannot be read.
        """
        with self._lock:
            reading = self._log.read("", self._folded, self._rewrites)
            if reading.anew:
                self._fold = HistoryFold(self._retrieval.policy, self.rows)
            self._fold.fold(reading.events)
            self._folded, self._rewrites = reading.through, reading.rewrites
            learner = self._learner
            if learner is not None and (reading.anew or learner.through < reading.through):
                try:
                    learner.follow(self._log)
                except (StorageError, EncryptionError) as error:  # it follows when the store can be used again
                    self._meter.degraded("nothing was learned from the latest events", error)
            return self._fold

    def recommend(self, request: Request) -> list[Recommendation]:
        """The best items, best first; fewer than ``k`` if the caps and filters leave no more of the candidates.

        Raises:
            UsageError: the request is wrong. CancelledError: the caller has cancelled.
        """
        deadline = Deadline(self._clock, request.deadline_ms, request.cancelled)
        preferences = self._preferences.current
        with self._turn(deadline) as is_ours:
            fold = self._history() if is_ours and preferences.uses_history else None
            history = () if fold is None else fold.history().items
            pinned = {
                place: self.row(item_id, "pinned") for place, item_id in request.pinned.items() if place < request.k
            }
            applied = self._filter(request, preferences, fold, history)
            passed = self._passed(request.candidates)
            pool = None
            if any(item.confidence > 0 for item in history):
                less = preferences.less_like
                pool = self._try(
                    "retrieve", lambda: self._retrieve(request.k, history, applied, passed, less), deadline
                )
            if pool is None:
                pool = self._popular(request.k, applied, passed)
            keep = self._kept(applied, pool.rows)
            if pinned:  # they may have been seen
                keep |= self._kept(self._filter(request, preferences, None, ()), np.array([*pinned.values()], np.int32))
            if self._ranker is not None and fold is not None and len(pool.rows):
                pool = self._try("rank", partial(self._rank, pool, request.context), deadline) or pool
            listed = self._list(request.k, preferences, pool, keep, pinned, deadline)
            deadline.check_cancelled()
            return self._recommendations(request, pool, listed, frozenset(pinned.values()))

    def similar(self, item_id: str, k: int) -> list[Recommendation]:
        """See :meth:`nearhand.Personalizer.similar`."""
        check_k(k)
        row = self.row(item_id, "similar(item_id)")
        with self._lock:
            # With a single event of confidence 1 the fold-in's matrix is I: the user vector is the item's own row.
            retriever = self._retriever()
            vector = retriever.encode(*padded([row], [1.0], retriever.window)).vector
            blocked = self._filter(Request(), self._preferences.current, None, ()).excluded_rows()
            found = retriever.retrieve(vector, exclude={row, *blocked}, k=k)
        lengths = np.linalg.norm(found.vectors, axis=1) * np.linalg.norm(vector)
        cosines = (found.scores / np.maximum(lengths, 1e-30)).astype(np.float32)
        best = np.lexsort((found.rows, -cosines))[:k]
        explanation = plain("similar", self._locale, title=self._items.titles[row])
        list_id = random_id()
        return [
            self._recommendation(int(found.rows[at]), float(cosines[at]), explanation, "local", list_id, place, 1.0)
            for place, at in enumerate(best.tolist())
        ]

    def row(self, item_id: str, place: str) -> int:
        """The item's row.

        Raises:
            UsageError: the catalogue does not have it.
        """
        if not isinstance(item_id, str) or item_id not in self.rows:
            problem = f"item {item_id!r} is not in the catalogue of {self._name}"
            raise UsageError(problem, place=place, remedy="use an item id of this bundle")
        return self.rows[item_id]

    @contextmanager
    def between_lists(self) -> Iterator[None]:
        """While this is held no list is made."""
        with self._lock:
            yield

    def close(self) -> None:
        """Let a stage that was left behind end by itself."""
        self._stages.close()

    @contextmanager
    def _turn(self, deadline: Deadline) -> Iterator[bool]:
        """Wait until no other list is being made, as long as the deadline allows; whether it is ours now."""
        left = deadline.left_s()
        is_ours = self._lock.acquire(timeout=-1 if left is None else left)
        if not is_ours:
            self._meter.skipped("the deadline left out the history: another list was being made")
        try:
            yield is_ours
        finally:
            if is_ours:
                self._lock.release()

    def _history(self) -> HistoryFold | None:
        """The history; None if the log cannot be read, which is counted."""
        try:
            return self.catch_up()
        except (StorageError, EncryptionError) as error:
            self._meter.degraded("recommend made a list without the history", error)
            return None

    def _try(self, stage: str, work: Callable[[], T], deadline: Deadline) -> T | None:
        """What a stage gives; None if it failed or there was no time for it: both are counted."""
        try:
            return self._stages.run(stage, work, deadline)
        except (UsageError, CancelledError):
            raise
        except NearhandError as error:
            self._meter.degraded(_WITHOUT[stage], error)
            return None

    def _filter(
        self,
        request: Request,
        preferences: Preferences,
        fold: HistoryFold | None,
        history: Sequence[HistoryItem],
    ) -> AppliedFilter:
        seen = set() if fold is None else {*fold.seen, *(item.row for item in history)}
        return Filter(
            seen=seen,
            blocked_items={*preferences.blocked_items, *preferences.less_like},
            blocked_categories=preferences.blocked_categories,
            unavailable=request.unavailable,
            user_age=request.user_age,
            only=request.only,
            predicate=request.predicate,
        ).over(self._catalogue)

    def _kept(self, applied: AppliedFilter, rows: NDArray[np.int32]) -> NDArray[np.bool_]:
        """bool [items]: what of these rows may be listed. An item on which the app's predicate fails is not."""
        kept = applied.keep(rows)
        for failure in kept.failures:
            self._meter.degraded("the app's predicate failed, and the item was left out", failure)
        return kept.mask

    def _retrieve(
        self,
        k: int,
        history: tuple[HistoryItem, ...],
        applied: AppliedFilter,
        passed: Sequence[int],
        less_like: Sequence[str],
    ) -> _Pool:
        """Candidates of several sources, each with the inner product of its vector and the user's.

        Raises:
            ModelError: a model fails, or gives a number that is not finite.
        """
        retriever = self._retriever()
        window = retriever.window
        confidences = [item.confidence for item in history]
        user = retriever.encode(*padded([item.row for item in history], confidences, window))
        exclude = applied.excluded_rows()
        found = retriever.retrieve(user.vector, exclude=exclude, k=k)
        rows, vectors = [found.rows], [found.vectors]
        named = set(passed)
        if self._ranker is not None:
            # Without a ranker they could not come up: the encoder's candidates have the greatest inner products.
            for place in [place for place, item in enumerate(history) if item.confidence > 0][: -_SEEDS - 1 : -1]:
                alike = retriever.retrieve(user.history_vectors[[place]], exclude=exclude, k=_EXTRA)
                rows.append(alike.rows[:_EXTRA])
                vectors.append(alike.vectors[:_EXTRA])
            named.update(self._popularity.top(exclude=exclude, k=_EXTRA)[0].tolist())
        if more := [row for row in sorted(named) if applied.mask[row]]:
            rows.append(np.array(more, np.int32))
            vectors.append(self._vectors(retriever, more))
        _, first = np.unique(np.concatenate(rows), return_index=True)
        first.sort()  # the encoder's candidates stay as they were scored
        own = len(found.rows)
        all_rows, all_vectors = np.concatenate(rows)[first], np.concatenate(vectors)[first]
        _check_finite(user.vector, all_vectors)
        scores = np.concatenate([found.scores, all_vectors[own:] @ user.vector[0]])
        _check_finite(scores)
        disliked = self._catalogue.rows(less_like)
        less = self._vectors(retriever, disliked) if disliked else None
        return _Pool(all_rows, scores.astype(np.float64), all_vectors, "local", history, user, less, frozenset(passed))

    def _passed(self, item_ids: Sequence[str]) -> list[int]:
        rows = self._catalogue.rows(item_ids)
        if len(rows) < len(item_ids):
            self._meter.skipped("a candidate that was passed is not in the catalogue")
        return rows

    def _vectors(self, retriever: Retriever, rows: Sequence[int]) -> NDArray[np.float32]:
        """The item vectors, float32 [n, factors]: the encoder gives those of the items that it reads."""
        known = self._known_vectors
        # A copy: a stage that was left behind may make room in `known` meanwhile.
        found = {row: vector for row in rows if (vector := known.get(row)) is not None}
        missing = [row for row in rows if row not in found]
        for start in range(0, len(missing), retriever.window):
            chunk = missing[start : start + retriever.window]
            read = retriever.encode(*padded(chunk, [1.0] * len(chunk), retriever.window))
            found.update(zip(chunk, read.history_vectors[: len(chunk)].copy(), strict=True))
        vectors = np.array([found[row] for row in rows])
        _check_finite(vectors)  # before they are kept
        if len(known) + len(missing) > _KNOWN_VECTORS:
            known.clear()
        known.update(found)
        return vectors

    def _popular(self, k: int, applied: AppliedFilter, passed: Sequence[int]) -> _Pool:
        exclude = applied.excluded_rows()
        rows, scores = self._popularity.top(exclude=exclude, k=max(k, self._retrieval.policy.candidates))
        more = sorted(row for row in set(passed).difference(rows.tolist()) if applied.mask[row])
        counts = self._items.popularity
        shares = np.array([counts[row] for row in more], np.float64) / max(sum(counts), 1)
        rows, scores = np.concatenate([rows, np.array(more, np.int32)]), np.concatenate([scores, shares])
        vectors = np.empty((len(rows), 0), np.float32)
        return _Pool(rows, scores.astype(np.float64), vectors, "fallback", passed=frozenset(passed))

    def _rank(self, pool: _Pool, context: Mapping[str, Scalar]) -> _Pool:
        assert self._ranker is not None
        assert self._features is not None  # a ranker reads features
        with self._ranker() as (ranker, rows):
            vector, candidates = self._features.candidates(self._ids(pool.rows), context)
            scores = ranker.scores(rows.rows(vector, candidates, context))
        return replace(pool, scores=scores, is_ranked=True)

    def _ids(self, rows: NDArray[np.int32]) -> list[str]:
        item_ids = self._items.item_ids
        return [item_ids[row] for row in rows.tolist()]

    def _list(
        self,
        k: int,
        preferences: Preferences,
        pool: _Pool,
        keep: NDArray[np.bool_],
        pinned: Mapping[int, int],
        deadline: Deadline,
    ) -> Listed:
        now_ms = self._clock.now_ms()
        if (left := deadline.left_s()) is not None and left <= 0:
            self._meter.skipped("the deadline left out the stage 'policy'")
            return self._capped.make(pool.rows, pool.scores, pool.vectors, k=k, now_ms=now_ms, keep=keep, pinned=pinned)
        learned = None
        if self._learner is not None and self._policy is not None and self._policy.learning and pool.vectors.size:
            bonus = self._learner.bonus(self._learner.features(pool.vectors))
            learned = float(self._policy.learning.weight) * bonus
        less = preferences.less_like if preferences.uses_history else ()
        moved = [each for each in (self._lowered(pool, less), self._lifted(pool)) if each is not None]
        return self._listing.make(
            pool.rows,
            pool.scores,
            pool.vectors,
            k=k,
            now_ms=now_ms,
            keep=keep,
            learned=learned,
            adjustment=np.sum(moved, axis=0) if moved else None,
            pinned=pinned,
            random=self._random(),
        )

    def _lowered(self, pool: _Pool, less_like: Sequence[str]) -> NDArray[np.float64] | None:
        """How much each candidate is lowered for being like items that less is wanted of, in spreads; below 0."""
        disliked = self._catalogue.rows(less_like)
        if not disliked or not len(pool.rows):
            return None
        lowered: NDArray[np.float64] = -_LESS * self._likeness(pool, disliked, pool.less).max(axis=1)
        return lowered

    def _lifted(self, pool: _Pool) -> NDArray[np.float64] | None:
        """How much each candidate is lifted for being like the latest likes, in spreads; from 0."""
        reaction = None if self._policy is None else self._policy.reaction
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

    def _likeness(self, pool: _Pool, rows: Sequence[int], vectors: NDArray[np.float32] | None) -> NDArray[np.float64]:
        """How like each of some items each candidate is: float64 [n, items], 0 to 1.

        Likeness is the mean of the vectors' cosine, if it is above 0, and of the genres that are shared among all
        genres of the two.

        Args:
            vectors: of the items; None: unknown, and only genres count.
        """
        genres = self._genres
        shared = genres[pool.rows] @ genres[rows].T
        union = genres[pool.rows].sum(1)[:, None] + genres[rows].sum(1) - shared
        alike = shared / np.maximum(union, 1.0)
        if vectors is not None and pool.vectors.shape[1]:
            alike = (alike + np.maximum(_normalized(pool.vectors) @ _normalized(vectors).T, 0.0)) / 2
        found: NDArray[np.float64] = alike.astype(np.float64)
        return found

    @cached_property
    def _capped(self) -> Listing:
        """By score alone, when there is no time for more; the caps always hold."""
        policy = self._policy or ListPolicy()
        return Listing(self._items, ListPolicy(category=policy.category, category_cap=policy.category_cap))

    @cached_property
    def _genres(self) -> NDArray[np.float64]:
        """float64 [items, genres], 1 where the item is of the genre."""
        codes = {genre: code for code, genre in enumerate(sorted({g for genres in self._items.genres for g in genres}))}
        matrix = np.zeros((len(self._items.genres), len(codes)))
        for row, genres in enumerate(self._items.genres):
            matrix[row, [codes[genre] for genre in genres]] = 1.0
        return matrix

    def _random(self) -> Random | None:
        if self._policy is None or self._policy.exploration is None:
            return None
        self._lists += 1
        return Random() if self._seed is None else Random(self._seed * 1_000_003 + self._lists)

    def _recommendations(
        self, request: Request, pool: _Pool, listed: Listed, pinned: Collection[int]
    ) -> list[Recommendation]:
        list_id = random_id()
        why = self._explanations(request, pool, listed)
        found = []
        for place, (row, at, propensity) in enumerate(
            zip(listed.rows.tolist(), listed.candidates.tolist(), listed.propensities.tolist(), strict=True)
        ):
            explanation = plain("pinned", self._locale) if row in pinned else why[place]
            score = float(pool.scores[at]) if at >= 0 else 0.0
            source: Source = "cloud" if row in pool.passed else pool.source
            found.append(self._recommendation(row, score, explanation, source, list_id, place, propensity))
        if found and self._policy is not None:
            self._expose(request, pool, listed, found)
        return found

    def _recommendation(
        self, row: int, score: float, explanation: Explanation, source: Source, list_id: str, place: int, chance: float
    ) -> Recommendation:
        return Recommendation(
            item_id=self._items.item_ids[row],
            title=self._items.titles[row],
            score=score,
            explanation=explanation,
            source=source,
            recommendation_id=list_id,
            position=place,
            propensity=chance,
        )

    def _expose(self, request: Request, pool: _Pool, listed: Listed, found: Sequence[Recommendation]) -> None:
        """Note what was given, so that what comes of it can be told. A list is given even if it cannot be noted.

        With the consent ``off`` nothing is noted.
        """
        if self._preferences.current.consent == "off":
            return
        features = np.empty((len(found), 0), np.float32)
        if self._learner is not None and pool.vectors.shape[1] and (listed.candidates >= 0).all():
            features = self._learner.features(pool.vectors[listed.candidates])
        try:
            self._exposures.log(
                Exposure(
                    recommendation_id=found[0].recommendation_id,
                    at=self._clock.now_ms(),
                    source=pool.source,
                    item_ids=tuple(one.item_id for one in found),
                    propensities=tuple(one.propensity for one in found),
                    scores=tuple(one.score for one in found),
                    features=features,
                    context=request.context,
                    space=self._space,
                )
            )
        except (StorageError, EncryptionError) as error:
            self._meter.degraded("a list was not noted, and nothing can be learned from it", error)

    def _explanations(self, request: Request, pool: _Pool, listed: Listed) -> Sequence[Explanation]:
        """One for each place. Sentences and evidence are made when they are first read."""
        if pool.user is None:
            return [plain("popular", self._locale)] * len(listed)
        verbs = self._retrieval.policy.verbs
        places = np.maximum(listed.candidates, 0)
        confidences = np.array([item.confidence for item in pool.history])
        vectors = pool.user.history_vectors[: len(pool.history)]
        parts = _Once(lambda: contributions(vectors, confidences, pool.vectors[places]))
        if not pool.is_ranked:
            history, items, locale = pool.history, self._items, self._locale
            return [
                self._lazy(lambda at: explain(history, parts()[[at]], items, verbs, locale)[0], at)
                for at in range(len(listed))
            ]
        item_ids = self._ids(listed.rows)
        occluded = _Once(lambda: self._occluded(pool.history, parts(), item_ids, request.context))

        def of_place(at: int) -> Explanation:
            items, lost = occluded()
            return explain(items, lost[[at]], self._items, verbs, self._locale)[0]

        return [self._lazy(of_place, at) for at in range(len(listed))]

    def _lazy(self, make: Callable[[int], Explanation], at: int) -> Explanation:
        """An explanation that is made when it is first read; what fails then is counted, and it says less."""

        def made() -> Explanation:
            try:
                return make(at)
            except NearhandError as error:
                self._meter.degraded("an explanation could not be made", error)
                return plain("recent", self._locale)

        once = _Once(made)
        return Explanation(lambda: once().text, lambda: once().evidence)

    def _occluded(
        self,
        history: tuple[HistoryItem, ...],
        prior: NDArray[np.float64],
        item_ids: Sequence[str],
        context: Mapping[str, Scalar],
    ) -> tuple[tuple[HistoryItem, ...], NDArray[np.float64]]:
        """What the ranker's scores lose without each of the most promising history items: float64 [items, history]."""
        features, ranking = self._features, self._ranker
        assert features is not None
        assert ranking is not None
        chosen = promising(history, prior=prior)

        def score_all(variants: Sequence[frozenset[str]]) -> NDArray[np.float64]:
            with ranking() as (ranker, rows):
                tables = [
                    rows.rows(vector, candidates, context)
                    for vector, candidates in zip(*features.without(variants, item_ids, context), strict=True)
                ]
                stacked = type(tables[0])(
                    np.concatenate([table.numbers for table in tables]),
                    np.concatenate([table.categories for table in tables]),
                )
                return ranker.scores(stacked).reshape(len(variants), len(item_ids))

        return chosen, occlude(score_all, [event_ids(item) for item in chosen])


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


def _normalized(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: NDArray[np.float32] = vectors / np.maximum(lengths, np.float32(1e-30))
    return found


def _check_finite(*numbers: NDArray[np.float32] | NDArray[np.float64]) -> None:
    """
    Raises:
        ModelError: one is not.
    """
    if not all(np.isfinite(each).all() for each in numbers):
        remedy = "use another variant or rebuild the bundle"
        raise ModelError("gives a number that is not finite", place="encoder or index", remedy=remedy)
