"""The features of one profile on the device: the fold over its event log, with a cache in front of it.

The state is materialized in the log's own file, so that opening does not fold everything again, and what the log's caps
let go stays in the features: the log folds it into a checkpoint in the transaction that deletes it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from nearhand.clock import Clock
from nearhand.errors import EncryptionError, ProgramError, StorageError, UsageError, shown
from nearhand.events import EventLog, Reading, RecordedEvent, Scalar, Snapshot
from nearhand.events.event import is_text
from nearhand.features.cache import CacheStatus, PushedFeature, PushedFeatures
from nearhand.features.fold import CandidateFeatures, CompiledProgram, FeatureFold, FeatureVector
from nearhand.features.parts import milliseconds
from nearhand.monitoring import Meter
from nearhand.records import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nearhand.features.without import RemovableFold

_ABSORBED_MS = 60_000
_KEPT_EVENTS = 5_000
"""Of a longer log no fold is kept for the next explanation: it would hold all of its events, about a kilobyte each."""
_ELSEWHERE_NS = 1_000_000_000
_KEPT_VECTORS = 64
_LONGEST_TTL_S = 3_155_760_000  # a hundred years
_SNAPSHOT_AFTER = 200
Fold = TypeVar("Fold", bound=FeatureFold)


@dataclass(frozen=True)
class FeatureStatus:
    """How the features are served.

    Attributes:
        program, version: of the feature program.
        events: how many events are in the state; ahead: known ones that lie ahead of the clock and wait.
        hits, misses: readings served from memory, and computed; since opening.
        staleness_ms: how far behind the clock the vector was that was served last; None before the first.
        refolds: how often the state was folded again from the log: an event was forgotten, the clock was set back, or
            the program is new.
        pushed: the features that were pushed from outside.
    """

    program: str
    version: str
    events: int
    ahead: int
    hits: int
    misses: int
    staleness_ms: int | None
    refolds: int
    pushed: CacheStatus

    @property
    def hit_rate(self) -> float:
        """The share of readings that were served from memory; 0 before the first."""
        return self.hits / max(self.hits + self.misses, 1)


class _Entry:
    def __init__(
        self, vector: FeatureVector, generation: int, pushed_version: int, fresh_until_ns: int, expires_ns: int
    ) -> None:
        self.vector = vector
        self.generation = generation
        self.pushed_version = pushed_version
        self.fresh_until_ns = fresh_until_ns
        self.expires_ns = expires_ns


class ProgramCheckpointer:
    """Folds what the log lets go; see :class:`nearhand.events.Checkpointer`."""

    def __init__(self, program: CompiledProgram, meter: Meter) -> None:
        self._program = program
        self._meter = meter
        self.fingerprint = program.fingerprint

    def fold(self, state: bytes | None, events: Sequence[RecordedEvent], as_of: int) -> bytes:
        """The state after these events too; those not visible at ``as_of`` wait in it."""
        try:
            fold = FeatureFold(self._program) if state is None else FeatureFold.load(self._program, state)
        except ProgramError as error:  # damaged: this must not keep the log from letting events go
            self._meter.degraded("the features lost what the log no longer holds", error)
            fold = FeatureFold(self._program)
        for event in events:
            fold.offer(event)
        fold.advance(as_of)
        return fold.dump()


class FeatureStore:
    """Serves a profile's features. Safe for several threads.

    A vector is served from memory until an event is recorded, forgotten or reset, a feature is pushed, or the program's
    time to live has passed; what other processes record is noticed within a second.

    Args:
        program: the compiled program.
        log: the profile's log, opened with a :class:`ProgramCheckpointer` of the same program.
        pushed: the store of pushed features.
    """

    def __init__(
        self, program: CompiledProgram, log: EventLog, pushed: PushedFeatures, *, clock: Clock, meter: Meter
    ) -> None:
        self.program = program
        self._log = log
        self._pushed = pushed
        self._clock = clock
        self._meter = meter
        self._generation, self._now_ns = log.generation, clock.monotonic_ns  # asked at every reading
        self._lock = threading.RLock()
        self._context_keys = sorted(program.context_keys)
        self._ttl_ns = milliseconds(program.program.ttl) * 1_000_000
        self._entries: dict[tuple[Scalar, ...], _Entry] = {}
        self._last_removable: tuple[int, RemovableFold] | None = None  # with the log's generation
        self._hits = self._misses = self._refolds = 0
        self._served: FeatureVector | None = None
        self._fold: FeatureFold
        self._caught_up = -1  # the log's generation then
        self._through = 0
        self._rewrites: int | None = None
        self._catch_up()
        if self._fold.pending >= _SNAPSHOT_AFTER:
            try:
                self._save()
            except StorageError as error:
                self._meter.degraded("features were not materialized", error)

    def vector(self, context: Mapping[str, Scalar] | None = None) -> FeatureVector:
        """The profile's features now, at most the program's time to live old.

        Raises:
            StorageError: the log cannot be read.
            UsageError: a value of the context is not a text, a number, true, false or None.
        """
        _check_mapping(context)
        with self._lock:
            key = self._key(context) if context and self._context_keys else ()
            entry = self._entries.get(key)
            if entry is not None and self._is_fresh(entry):
                self._hits += 1
            else:
                self._misses += 1
                entry = self._compute(key, context)
            self._served = vector = entry.vector
            return vector

    def of_nobody(self, context: Mapping[str, Scalar] | None = None) -> FeatureVector:
        """What :meth:`vector` would be now for a profile of which nothing is known.

        Raises:
            UsageError: a value of the context is not a text, a number, true, false or None.
        """
        _check_mapping(context)
        self._key(context)
        as_of = self._clock.now_ms() + 1
        return FeatureFold(self.program).read(as_of, self._clock.utc_offset_minutes(as_of), context)

    def candidates(
        self,
        item_ids: Sequence[str],
        context: Mapping[str, Scalar] | None = None,
        *,
        rows: NDArray[np.int32] | None = None,
    ) -> tuple[FeatureVector, CandidateFeatures]:
        """The profile's features and those of candidates, of one instant.

        Args:
            rows: int32 [n], those of the catalogue that the items have, where they are known.

        Raises:
            StorageError: the log cannot be read.
            UsageError: the ids are no sequence of texts, or a value of the context is not a text, a number, true, false
                or None.
        """
        if rows is None:
            _check_ids(item_ids)
        with self._lock:
            vector = self._readable(context)
            offset = self._clock.utc_offset_minutes(vector.as_of)
            found = self._fold.candidates(vector.as_of, item_ids, offset, context, self._live(), rows)
            return vector, found

    def without(
        self,
        occluded: Sequence[frozenset[str]],
        item_ids: Sequence[str] = (),
        context: Mapping[str, Scalar] | None = None,
    ) -> tuple[list[FeatureVector], list[CandidateFeatures]]:
        """What the features would be if some events had not happened: for explaining, nothing is changed.

        Each is, bit for bit, what :meth:`candidates` would give at this instant had just these events been forgotten.
        What the log's caps have let go is no event any more, and stays in the features; its ids, and others that the
        log does not hold, change nothing.

        Args:
            occluded: for each variant, the ids of the events that it lacks; none: the features as they are.
            item_ids, context: as for :meth:`candidates`, whose instant the variants have.

        Returns:
            for each variant, the profile's features, and those of the candidates.

        Raises:
            StorageError: the log cannot be read.
            UsageError: one of the events is a reset, which holds back what came before it, or a value of the context is
                not a text, a number, true, false or None.
        """
        with self._lock:
            as_of = self._readable(context).as_of
            fold = self._removable(as_of)
            as_of = max(as_of, fold.earliest)  # another process may have let more of the log go since
            named = frozenset[str]().union(*occluded)
            if resets := sorted(named & fold.resets):
                remedy = "name the events themselves"
                raise UsageError(f"{resets[0]!r} is a reset", place="without", remedy=remedy)
            offset, pushed = self._clock.utc_offset_minutes(as_of), self._live()
            return fold.features_without(occluded, as_of, item_ids, offset, context, pushed)

    def push(self, name: str, values: Sequence[float], *, ttl_seconds: float, source: str) -> PushedFeature:
        """Give a ``pushed`` view its values.

        Args:
            values: as many finite numbers as the view is wide.
            ttl_seconds: how long they may be served, above 0 and up to a hundred years.
            source: where they come from, for ``status`` and people.

        Raises:
            UsageError: the program has no such view, or another width, or an argument is wrong.
            StorageError: they could not be stored.
        """
        width = self.program.pushed.get(name) if isinstance(name, str) else None
        if width is None:
            known = ", ".join(self.program.pushed)
            remedy = f"use one of {known}" if known else "add a view with the op pushed to the program"
            problem = f"{shown(name)} is not a pushed view of {self.program.program.name}"
            raise UsageError(problem, place="push(name)", remedy=remedy)
        place = f"push({name!r})"
        if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
            raise UsageError(f"a {type(values).__name__} as values", place=place, remedy="push a list of numbers")
        if len(values) != width:
            raise UsageError(f"{len(values)} values", place=place, remedy=f"push {width}, the width of the view")
        if type(ttl_seconds) not in (int, float) or not 0 < ttl_seconds <= _LONGEST_TTL_S:
            problem = f"a time to live of {shown(ttl_seconds)} seconds"
            raise UsageError(problem, place=place, remedy=f"give a number above 0 and up to {_LONGEST_TTL_S:,}")
        if not (isinstance(source, str) and is_text(source)):
            problem = f"the source {shown(source)}"
            raise UsageError(problem, place=place, remedy="say in a text where the values come from")
        return self._pushed.put(name, values, ttl_ms=round(ttl_seconds * 1000), source=source)

    def status(self) -> FeatureStatus:
        """How the features are served.

        Raises:
            StorageError: the log cannot be read.
        """
        with self._lock:
            self._catch_up()
            served = self._served
            return FeatureStatus(
                program=self.program.program.name,
                version=self.program.program.version,
                events=self._fold.events,
                ahead=self._fold.pending,
                hits=self._hits,
                misses=self._misses,
                staleness_ms=None if served is None else max(0, self._clock.now_ms() + 1 - served.as_of),
                refolds=self._refolds,
                pushed=self._pushed.status(),
            )

    def save(self) -> None:
        """Materialize the state in the log's file, so that opening it again folds little. A failure is only counted."""
        with self._lock:
            try:
                self._catch_up()
                self._save()
            except (StorageError, EncryptionError) as error:  # what was recorded is safe, and is folded the next time
                self._meter.degraded("features were not materialized", error)

    def shed(self) -> None:
        """Drop the vectors that are in memory; they are computed again."""
        with self._lock:
            self._entries.clear()
            self._last_removable = None

    def close(self) -> None:
        """Materialize the state in the log's file, which stays open, and close the store of pushed features."""
        with self._lock:
            try:
                self.save()
            finally:
                self._pushed.close()

    def _readable(self, context: Mapping[str, Scalar] | None) -> FeatureVector:
        """The profile's features now, of an instant that the state can still be read at."""
        vector = self.vector(context)
        if vector.as_of < self._fold.earliest:  # read before others, for another context, moved the state on
            vector = self._compute(self._key(context), context).vector
        return vector

    def _key(self, context: Mapping[str, Scalar] | None) -> tuple[Scalar, ...]:
        key = tuple([context.get(name) for name in self._context_keys] if context else ())
        for name, value in zip(self._context_keys, key, strict=False):
            if value is not None and not isinstance(value, str | int | float):
                raise UsageError(
                    f"a value of type {type(value).__name__}",
                    place=f"context[{name!r}]",
                    remedy="give a text, a number, true, false or None",
                )
        return key

    def _is_fresh(self, entry: _Entry) -> bool:
        if entry.generation != self._generation() or entry.pushed_version != self._pushed.version:
            return False
        now_ns = self._now_ns()
        if now_ns < entry.fresh_until_ns:
            return True
        if now_ns >= entry.expires_ns or self._log.changed_elsewhere():
            return False
        if self.program.pushed:
            self._pushed.refresh()
        entry.fresh_until_ns = min(now_ns + _ELSEWHERE_NS, entry.expires_ns)
        return entry.pushed_version == self._pushed.version

    def _compute(self, key: tuple[Scalar, ...], context: Mapping[str, Scalar] | None) -> _Entry:
        generation = self._log.generation()  # before reading: what comes in between makes the entry old
        if self.program.pushed:
            self._pushed.refresh()
        pushed_version = self._pushed.version
        self._catch_up()
        as_of = self._as_of()
        offset = self._clock.utc_offset_minutes(as_of)
        vector = self._fold.read(as_of, offset, context, self._live())
        now_ns = self._clock.monotonic_ns()
        expires_ns = now_ns + min(self._ttl_ns, self._pushed_life_ns())
        entry = _Entry(vector, generation, pushed_version, min(now_ns + _ELSEWHERE_NS, expires_ns), expires_ns)
        self._entries.pop(key, None)
        if len(self._entries) >= _KEPT_VECTORS:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = entry
        return entry

    def _as_of(self) -> int:
        """The instant of a reading: the end of this millisecond, and never before what cannot be undone."""
        as_of = self._clock.now_ms() + 1
        if as_of < self._fold.earliest - _ABSORBED_MS:
            # The clock was set back: what was recorded by a later clock is ahead of it now.
            self._refold()
        # A reset holds at once, whatever the clock says. Small corrections of the clock are not followed.
        return max(as_of, self._fold.newest_epoch_from, self._fold.earliest)

    def _catch_up(self) -> None:
        """Take in what the log holds beyond what is known, whoever recorded it."""
        generation = self._generation()  # before reading: what comes in between is read the next time
        if generation == self._caught_up and not self._log.changed_elsewhere():
            return
        reading = self._log.read(self.program.fingerprint, self._through, self._rewrites)
        if reading.anew:  # the first time; an event was taken out; or some left the log before they were seen
            self._refolds += self._rewrites is not None
            try:
                self._fold = self._loaded(FeatureFold, reading.state)
            except ProgramError as error:
                self._meter.degraded("materialized features were damaged, and folded again", error)
                self._refold()
                return
        self._take(reading)
        self._caught_up = generation

    def _refold(self) -> None:
        """Fold the whole log again, on top of what it has let go."""
        self._refolds += 1
        self._entries.clear()
        self._fold, reading = self._anew(FeatureFold)
        self._take(reading)

    def _removable(self, as_of: int) -> RemovableFold:
        """All events, folded so that they can be taken out: the fold of the last time, if they are the same."""
        from nearhand.features.without import RemovableFold  # only explanations need it

        generation = self._log.generation()
        if self._last_removable is not None:
            folded, fold = self._last_removable
            if folded == generation and fold.is_whole and fold.as_of <= as_of:
                return fold
        fold, reading = self._anew(RemovableFold)
        fold.begin(reading.events, max(as_of, fold.earliest))
        self._last_removable = (generation, fold) if len(reading.events) <= _KEPT_EVENTS else None
        return fold

    def _anew(self, kind: type[Fold]) -> tuple[Fold, Reading]:
        """The fold of what the log has let go, and all that the log holds, to be folded on top."""
        reading = self._log.read(self.program.fingerprint, 0, None, materialized=False)
        try:
            return self._loaded(kind, reading.state), reading
        except ProgramError as error:
            self._meter.degraded("the features lost what the log no longer holds", error)
            return kind(self.program), reading

    def _loaded(self, kind: type[Fold], state: bytes | None) -> Fold:
        return kind(self.program) if state is None else kind.load(self.program, state)

    def _take(self, reading: Reading) -> None:
        for event in reading.events:
            self._fold.offer(event)
        self._through, self._rewrites = reading.through, reading.rewrites

    def _save(self) -> None:
        assert self._rewrites is not None
        self._fold.advance(self._clock.now_ms() + 1)
        snapshot = Snapshot(self._fold.dump(), self._through, self._rewrites)
        self._log.save_snapshot(self.program.fingerprint, snapshot)

    def _live(self) -> dict[str, tuple[float, ...]]:
        if not self.program.pushed:
            return {}
        found = {name: self._pushed.get(name) for name in self.program.pushed}
        widths = self.program.pushed
        return {
            name: feature.values
            for name, feature in found.items()
            if feature is not None and len(feature.values) == widths[name]
        }

    def _pushed_life_ns(self) -> int:
        if not self.program.pushed:
            return self._ttl_ns
        now = self._clock.now_ms()
        found = [feature for name in self.program.pushed if (feature := self._pushed.get(name)) is not None]
        return min((max(0, feature.expires_at - now) * 1_000_000 for feature in found), default=self._ttl_ns)


def _check_ids(item_ids: Any) -> None:
    is_list = isinstance(item_ids, Sequence) and not isinstance(item_ids, str)
    if not is_list or not all(isinstance(each, str) for each in item_ids):
        raise UsageError(f"is {shown(item_ids)}", place="candidates(item_ids)", remedy="give a list of item ids")


def _check_mapping(context: object) -> None:
    if not isinstance(context, Mapping | None):
        remedy = "give names with a text, a number, true, false or None"
        raise UsageError(f"is a {type(context).__name__}", place="context", remedy=remedy)
