"""A list, top to bottom: history → candidates → filter → scores → policy → explanations."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from nearhand.bundle.manifest import Retrieval
from nearhand.bundle.schema import Items
from nearhand.bundle.serving import ListPolicy
from nearhand.clock import Clock
from nearhand.errors import CancelledError, EncryptionError, NearhandError, StorageError, UsageError, shown
from nearhand.events import EventLog, Scalar
from nearhand.explain import Explanation
from nearhand.features.store import FeatureStore
from nearhand.ids import random_id
from nearhand.learning import Exposure, Exposures
from nearhand.monitoring import Meter
from nearhand.privacy import Preferences, PreferenceStore
from nearhand.ranking import AppliedFilter, Catalogue, FeatureRows, Filter, Listed, Listing, Predictor
from nearhand.recommending.adjustments import Adjustments
from nearhand.recommending.pool import Pool
from nearhand.recommending.reasons import Reasons
from nearhand.recommending.request import Request, check_k
from nearhand.recommending.results import Recommendation, Source
from nearhand.recommending.sources import Sources
from nearhand.recommending.stages import Deadline, Stages
from nearhand.records import dataclass
from nearhand.retrieval import HistoryFold, HistoryItem, Retriever, padded

if TYPE_CHECKING:
    from random import Random

    from numpy.typing import NDArray

    from nearhand.learning import Learner
    from nearhand.recommending.reranker import Asked, Reranker

T = TypeVar("T")

_REMEMBERED = 32
"""Latest lists, of which the slowest end is reckoned with."""
_WITHOUT = {"retrieve": "recommend fell back to popularity", "rank": "recommend kept the order of retrieval"}


@dataclass(frozen=True, eq=False)
class _Draft:
    """A list on its way.

    Attributes:
        keep: bool [items], what may be listed of the candidates and the pinned items; pinned: position → row.
        has_history: whether the history could be looked at.
    """

    request: Request
    preferences: Preferences
    pool: Pool
    keep: NDArray[np.bool_]
    pinned: Mapping[int, int]
    has_history: bool

    @property
    def allowed(self) -> NDArray[np.intp]:
        """Places of the candidates that may be listed."""
        return np.flatnonzero(self.keep[self.pool.rows])

    def of(self, pool: Pool) -> _Draft:
        """The same with other candidates, or with these in another order."""
        return _Draft(self.request, self.preferences, pool, self.keep, self.pinned, self.has_history)


@dataclass(frozen=True, eq=False)
class _Standing:
    """What the events and the user's choices leave out of every list, until one of them changes."""

    fold: HistoryFold
    changes: int
    preferences: Preferences
    applied: AppliedFilter


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
        reranker: Reranker | None,
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
            reranker: what may rank the candidates elsewhere; None: nothing does.
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
        self._reranker = reranker
        self._clock = clock
        self._meter = meter
        self._seed = seed
        self._lists = 0
        self._lives = 0
        self._finishing_ms: deque[float] = deque(maxlen=_REMEMBERED)
        self._lock = threading.RLock()
        self._stages = Stages(meter)
        self._catalogue = Catalogue(items)
        self._listing = self._listing_of(policy or ListPolicy())
        self._sources = Sources(items, retriever, retrieval.policy.candidates, is_ranked=ranker is not None)
        self._adjustments = Adjustments(policy, self._catalogue, learner)
        self._reasons = Reasons(items, retrieval.policy.verbs, locale, ranker=ranker, features=features, meter=meter)
        self.forget()

    def forget(self) -> None:
        """Drop what is in memory of the profile; it is read again."""
        with self._lock:
            self._lives += 1
            self._fold = HistoryFold(self._retrieval.policy, self._items.rows)
            self._standing: _Standing | None = None
            self._folded = 0
            self._rewrites: int | None = None
            self._generation = -1

    def catch_up(self) -> HistoryFold:
        """Take in what the log holds beyond what is known, whoever recorded it.

        Raises:
            StorageError, EncryptionError: the log cannot be read.
        """
        with self._lock:
            generation = self._log.generation()  # before reading: what comes in between is read the next time
            if generation == self._generation and not self._log.changed_elsewhere():
                return self._fold
            reading = self._log.read("", self._folded, self._rewrites)
            if reading.anew:
                self._fold = HistoryFold(self._retrieval.policy, self._items.rows)
            self._fold.fold(reading.events)
            self._folded, self._rewrites = reading.through, reading.rewrites
            learner = self._learner
            if learner is not None and (reading.anew or learner.through < reading.through):
                try:
                    learner.follow(self._log)
                except (StorageError, EncryptionError) as error:  # it follows when the store can be used again
                    self._meter.degraded("nothing was learned from the latest events", error)
                    return self._fold
            self._generation = generation
            return self._fold

    def recommend(self, request: Request) -> list[Recommendation]:
        """The best items, best first; fewer than ``k`` if the caps and filters leave no more of the candidates.

        Raises:
            UsageError: the request is wrong. CancelledError: the caller has cancelled.
        """
        deadline = Deadline(self._clock, request.deadline_ms, request.cancelled)
        return self._recommend(request, deadline, self._reranker)

    def _recommend(self, request: Request, deadline: Deadline, reranker: Reranker | None) -> list[Recommendation]:
        with self._turn(deadline) as is_ours:
            life = self._lives
            draft = self._draft(request, is_ours, deadline)
            asked = None if reranker is None else self._ask(reranker, draft, deadline)
            if asked is None or not asked.is_alone:
                draft = self._ranked(draft, deadline)
            if asked is None:
                return self._finished(draft, deadline)
        found = asked.wait(request.cancelled)  # other lists are made meanwhile, and the profile may be erased
        deadline.check_cancelled()
        with self._turn(deadline, counts=False):
            if self._lives != life:
                return self._recommend(request, deadline, None)
            if found is not None:
                draft = draft.of(draft.pool.reranked(draft.allowed[found.at], found.scores))
            elif asked.is_alone:
                draft = self._ranked(draft, deadline)
            return self._finished(draft, deadline)

    def _draft(self, request: Request, is_ours: bool, deadline: Deadline) -> _Draft:
        """The list's candidates, as they were retrieved."""
        preferences = self._preferences.current
        fold = self._history() if is_ours and preferences.uses_history else None
        history = () if fold is None else fold.history().items
        pinned = {place: self.row(item_id, "pinned") for place, item_id in request.pinned.items() if place < request.k}
        applied = self._filter(request, preferences, fold, history)
        passed = self._passed(request.candidates)
        pool = None
        if any(item.confidence > 0 for item in history):
            less = self._catalogue.rows(preferences.less_like)
            pool = self._try(
                "retrieve", lambda: self._sources.of_history(request.k, history, applied, passed, less), deadline
            )
        if pool is None:
            pool = self._sources.popular(request.k, applied, passed)
        keep = applied.mask if request.predicate is None else self._kept(applied, pool.rows)
        if pinned:  # they may have been seen
            rows = np.array([*pinned.values()], np.int32)
            keep = keep | self._kept(self._filter(request, preferences, None, ()), rows)
        return _Draft(request, preferences, pool, keep, pinned, has_history=fold is not None)

    def _ask(self, reranker: Reranker, draft: _Draft, deadline: Deadline) -> Asked | None:
        pool, features, context = draft.pool, self._features, draft.request.context
        left = deadline.left_s()
        try:
            return reranker.ask(
                k=draft.request.k,
                history=pool.history,
                candidates=pool.rows[draft.allowed],
                scores=pool.scores[draft.allowed],
                features=None if features is None else lambda: features.vector(context),
                left_ms=None if left is None else max(0.0, left * 1000 - max(self._finishing_ms, default=0.0)),
            )
        except (StorageError, EncryptionError) as error:
            self._meter.degraded("recommend did not ask the cloud: what may be sent is not known", error)
            return None

    def _ranked(self, draft: _Draft, deadline: Deadline) -> _Draft:
        """The same, ranked on the device if there is a ranker and time for it."""
        if self._ranker is None or not draft.has_history or not len(draft.pool.rows):
            return draft
        pool = self._try("rank", partial(self._rank, draft.pool, draft.request.context), deadline)
        return draft if pool is None else draft.of(pool)

    def _finished(self, draft: _Draft, deadline: Deadline) -> list[Recommendation]:
        """The list; how long this takes is kept of a deadline when the cloud is waited for."""
        start = self._clock.monotonic_ns()
        listed = self._list(draft.request.k, draft.preferences, draft.pool, draft.keep, draft.pinned, deadline)
        deadline.check_cancelled()
        found = self._recommendations(draft.request, draft.pool, listed, frozenset(draft.pinned.values()))
        self._finishing_ms.append((self._clock.monotonic_ns() - start) / 1e6)
        return found

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
        explanation = self._reasons.plain("similar", title=self._items.title(row))
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
        if not isinstance(item_id, str) or item_id not in self._items.rows:
            problem = f"item {shown(item_id)} is not in the catalogue of {self._name}"
            raise UsageError(problem, place=place, remedy="use an item id of this bundle")
        return self._items.rows[item_id]

    @contextmanager
    def between_lists(self) -> Iterator[None]:
        """While this is held no list is made."""
        with self._lock:
            yield

    def close(self) -> None:
        """Let a stage that was left behind end by itself."""
        self._stages.close()

    @contextmanager
    def _turn(self, deadline: Deadline, *, counts: bool = True) -> Iterator[bool]:
        """Wait until no other list is being made, as long as the deadline allows; whether it is ours now.

        Args:
            counts: whether the history is left out if it is not, which is counted.
        """
        left = deadline.left_s()
        is_ours = self._lock.acquire(timeout=-1 if left is None else left)
        if not is_ours and counts:
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
        if fold is None or request.leaves_out:
            return self._applied(request, preferences, fold, history)
        known = self._standing
        if known is None or known.fold is not fold or (known.changes, known.preferences) != (fold.changes, preferences):
            applied = self._applied(request, preferences, fold, history)
            self._standing = known = _Standing(fold, fold.changes, preferences, applied)
        return known.applied

    def _applied(
        self, request: Request, preferences: Preferences, fold: HistoryFold | None, history: Sequence[HistoryItem]
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

    def _passed(self, item_ids: Sequence[str]) -> list[int]:
        rows = self._catalogue.rows(item_ids)
        if len(rows) < len(item_ids):
            self._meter.skipped("a candidate that was passed is not in the catalogue")
        return rows

    def _rank(self, pool: Pool, context: Mapping[str, Scalar]) -> Pool:
        assert self._ranker is not None
        assert self._features is not None  # a ranker reads features
        with self._ranker() as (ranker, rows):
            item_ids = self._catalogue.item_ids(pool.rows)
            vector, candidates = self._features.candidates(item_ids, context, rows=pool.rows)
            scores = ranker.scores(rows.rows(vector, candidates, context, pool.retrieval_scores))
        return pool.ranked(scores)

    def _list(
        self,
        k: int,
        preferences: Preferences,
        pool: Pool,
        keep: NDArray[np.bool_],
        pinned: Mapping[int, int],
        deadline: Deadline,
    ) -> Listed:
        now_ms = self._clock.now_ms()
        if (left := deadline.left_s()) is not None and left <= 0:
            self._meter.skipped("the deadline left out the stage 'policy'")
            return self._capped.make(pool.rows, pool.scores, pool.vectors, k=k, now_ms=now_ms, keep=keep, pinned=pinned)
        less = self._catalogue.rows(preferences.less_like) if preferences.uses_history else ()
        return self._listing.make(
            pool.rows,
            pool.scores,
            pool.vectors,
            k=k,
            now_ms=now_ms,
            keep=keep,
            learned=self._adjustments.learned(pool),
            adjustment=self._adjustments.of_likes(pool, less),
            pinned=pinned,
            random=self._random(),
        )

    @cached_property
    def _capped(self) -> Listing:
        """By score alone, when there is no time for more; the caps always hold."""
        policy = self._policy or ListPolicy()
        return self._listing_of(ListPolicy(category=policy.category, category_cap=policy.category_cap))

    def _listing_of(self, policy: ListPolicy) -> Listing:
        categories = getattr(self._catalogue, policy.category) if policy.category_cap else None
        return Listing(self._items, policy, categories)

    def _random(self) -> Random | None:
        if self._policy is None or self._policy.exploration is None:
            return None
        from random import Random  # few policies explore

        self._lists += 1
        return Random() if self._seed is None else Random(self._seed * 1_000_003 + self._lists)

    def _recommendations(
        self, request: Request, pool: Pool, listed: Listed, pinned: Collection[int]
    ) -> list[Recommendation]:
        list_id = random_id()
        why = self._reasons.of_list(request.context, pool, listed)
        found = []
        for place, (row, at, propensity) in enumerate(
            zip(listed.rows.tolist(), listed.candidates.tolist(), listed.propensities.tolist(), strict=True)
        ):
            explanation = self._reasons.plain("pinned") if row in pinned else why[place]
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
            item_id=self._catalogue.item_id(row),
            title=self._items.title(row),
            score=score,
            explanation=explanation,
            source=source,
            recommendation_id=list_id,
            position=place,
            propensity=chance,
        )

    def _expose(self, request: Request, pool: Pool, listed: Listed, found: Sequence[Recommendation]) -> None:
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
