"""No skew at the door: what a device serves from its database is what a replay of its events gives, bit for bit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nearhand.events import RESET, Caps, Event, EventLog, RecordedEvent, caps, log
from nearhand.features import CompiledProgram, FeatureVector, Label, compile_program, fold, read_program, replay_profile
from nearhand.features.cache import PushedFeature, PushedFeatures
from nearhand.features.store import FeatureStore, ProgramCheckpointer
from nearhand.monitoring import Meter
from nearhand.testing import ManualClock
from tests.conformance.compute_features import ABSORBED_MS
from tests.conformance.programs import CANDIDATES, ITEMS, PUSHED, document, everything
from tests.conformance.streams import (
    DAY,
    HOUR,
    LATEST,
    MINUTE,
    SECOND,
    Action,
    Evict,
    Forget,
    Jump,
    Read,
    Record,
    Reset,
    Restart,
    Travel,
    Update,
    offset_minutes,
    overtaken_snapshot,
    streams,
    visible_from,
)

TIGHT, WIDE = Caps(max_bytes=2500, max_age_ms=20 * DAY), Caps()
"""Room for about 10 events, and for all of them."""

PROGRAMS = [
    compile_program(read_program(document("everything", everything(), version), place="everything.json"), ITEMS)
    for version in ("1.0.0", "2.0.0")
]

WATCHED: Sequence[Mapping[str, Any]] = ({"battery": 0.5}, {"battery": "low"})


@pytest.mark.soak
@settings(max_examples=100)
@given(streams, st.sampled_from([TIGHT, WIDE]))
@example(overtaken_snapshot(), TIGHT)
def test_what_is_served_is_what_a_replay_gives(stream: tuple[int, Sequence[Action]], limits: Caps) -> None:
    """Two apps with one profile, real SQLite, real eviction; every operator in one program."""
    check(stream, limits)


@pytest.mark.torture
@settings(max_examples=2000)
@given(streams, st.sampled_from([TIGHT, WIDE]))
def test_what_is_served_is_what_a_replay_gives_2000_times(stream: tuple[int, Sequence[Action]], limits: Caps) -> None:
    check(stream, limits)


def check(stream: tuple[int, Sequence[Action]], limits: Caps) -> None:
    """That a device serves what a replay gives, all through a stream."""
    start, actions = stream
    with (
        TemporaryDirectory() as folder,
        mock.patch.object(caps, "LATEST", LATEST),
        mock.patch.object(log, "CHECK_EVERY", 4),
        mock.patch.object(fold, "_TRIM_EVERY", 3),
        Device(Path(folder), limits, start) as device,
    ):
        for action in [*actions, Read(0)]:
            device.play(action)


class App:
    """A process that has the profile open."""

    def __init__(self, folder: Path, clock: ManualClock, limits: Caps, program: CompiledProgram) -> None:
        meter = Meter(clock)
        checkpointer = ProgramCheckpointer(program, meter)
        self.log = EventLog(
            folder / "events.db", clock=clock, durability="process", caps=limits, checkpointer=checkpointer
        )
        self.pushed = PushedFeatures(folder / "pushed.db", clock=clock, meter=meter, budget_bytes=10_000)
        self.store = FeatureStore(program, self.log, self.pushed, clock=clock, meter=meter)
        self.situations: dict[int, Situation] = {}

    def close(self, *, properly: bool) -> None:
        if properly:
            self.store.close()
        self.pushed.close()
        self.log.close()


@dataclass(frozen=True)
class Situation:
    """For what a vector was computed.

    It may be served again for a minute, if nothing happened since; :attr:`Device.happened` and the clock's nanoseconds
    of its making tell.
    """

    vector: FeatureVector
    offset: int
    context: Mapping[str, Any]
    pushed: dict[str, tuple[float, ...]]
    happened: int
    made_ns: int


class Device:
    """A folder that two apps have open in turn, and what a witness knows who reads nothing but the log.

    Attributes:
        known: sequence → event, of all that counts: what is in the log, and what it let go.
        evicted: for each program, what its checkpoint has of them; none if more was evicted under the other program.
        happened: how often anything happened that features depend on.
        latest: the latest time that the clock has told, ms.
    """

    def __init__(self, folder: Path, limits: Caps, start: int) -> None:
        self.folder = folder
        self.limits = limits
        self.zone = "UTC"
        self.clock = ManualClock(start, utc_offset_minutes=lambda at_ms: offset_minutes(self.zone, at_ms))
        self.program = 0
        self.apps = [self.open(), self.open()]
        self.turn = 0
        self.records = 0
        self.known: dict[int, RecordedEvent] = {}
        self.evicted: list[dict[int, RecordedEvent]] = [{}, {}]
        self.pushed: PushedFeature | None = None
        self.happened = 0
        self.latest = start

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        for app in self.apps:
            app.close(properly=False)

    def open(self) -> App:
        return App(self.folder, self.clock, self.limits, PROGRAMS[self.program])

    def play(self, action: Action) -> None:
        self.turn = 1 - self.turn
        app = self.apps[self.turn]
        match action:
            case Record():
                self.clock.advance(action.gap)
                self.record(app, action, is_watched=0 < action.gap < SECOND)
            case Read():
                self.clock.advance(action.gap)
                self.read_by_both(action.context)
                if action.pushed:
                    self.push(app, action.pushed[PUSHED])
                    self.read(app, action.context, wait=0)
                    self.read_by_both(action.context)
            case Jump():
                self.clock.advance(action.gap)
                self.read(app, {})
                self.clock.jump_to(max(0, self.clock.now_ms() + action.by))
                self.clock.advance(MINUTE)  # for so long a vector may be served again
                self.read(app, {})
            case Travel():
                self.zone = action.zone
            case Reset():
                self.note(app.log.reset())
            case Forget():
                found = [event for event in app.log.since(0) if event.event != RESET]
                if found:
                    event = found[action.which % len(found)]
                    assert app.log.forget(event.event_id)
                    del self.known[event.sequence]
                    self.happened += 1
            case Evict():
                app.log.enforce_caps()
            case Restart():
                app.close(properly=action.how == "closed")
                self.apps[self.turn] = self.open()
            case Update():
                self.update()

    def event(self, action: Record) -> Event:
        """The event of a stream as far as it is a valid one."""
        number = self.records if action.again is None else action.again % (self.records + 1)
        self.records += 1
        timestamp: int | None = max(0, self.clock.now_ms() + action.shift) if action.shift else None
        if action.like is not None and self.known:
            timestamp = list(self.known.values())[action.like % len(self.known)].timestamp
        value = None if isinstance(action.value, float) and math.isnan(action.value) else action.value
        value = 2**63 - 1 if value == 10**20 else value
        return Event(
            action.event,
            item_id=action.item_id or "unknown",
            timestamp=timestamp,
            context={} if action.battery is None else {"battery": action.battery},
            properties={"value": value, "tags": action.tags, "deep": {"value": value}, "query": "q"},
            event_id=f"e{number}",
        )

    def record(self, app: App, action: Record, *, is_watched: bool) -> None:
        """``is_watched``: both apps read just before and just after."""
        event = self.event(action)
        for context in WATCHED if is_watched else ():
            self.read_by_both(context)
        self.note(app.log.append(event))
        if is_watched:
            self.read(app, WATCHED[0], wait=0)
            self.read_by_both(WATCHED[1])

    def push(self, app: App, values: Sequence[float]) -> None:
        self.pushed = app.store.push(PUSHED, values, ttl_seconds=2 * HOUR // SECOND, source="test")
        self.happened += 1

    def note(self, event: RecordedEvent) -> None:
        self.happened += event.sequence not in self.known
        self.known[event.sequence] = event
        self.latest = max(self.latest, self.clock.now_ms())

    def update(self) -> None:
        """Both apps get the other program, whose state begins with what the log holds."""
        stored = {event.sequence: event for event in self.apps[0].log.since(0)}
        for app in self.apps:
            app.close(properly=True)
        evicted = {sequence: event for sequence, event in self.known.items() if sequence not in stored}
        if evicted != self.evicted[self.program]:
            self.evicted = [{}, {}]
            self.evicted[self.program] = evicted
        self.program = 1 - self.program
        self.known = {**self.evicted[self.program], **stored}
        self.apps = [self.open(), self.open()]

    def read_by_both(self, context: Mapping[str, Any]) -> None:
        for app in self.apps:
            self.read(app, context)

    def read(self, app: App, context: Mapping[str, Any], *, wait: int = SECOND) -> None:
        """Compare what is served with a replay, ``wait`` ms later: an app may take a second to notice another one."""
        self.clock.advance(wait)
        self.latest = max(self.latest, self.clock.now_ms())
        vector, found = app.store.candidates(CANDIDATES, context)
        situation = app.situations.get(id(vector))
        if situation is None:
            situation = self.situation(app, vector, context)
            app.situations[id(vector)] = situation  # which keeps the vector, so that no other one has its id
        assert situation.context == context
        assert situation.happened == self.happened
        assert self.clock.monotonic_ns() - situation.made_ns < MINUTE * 1_000_000
        labels = [Label(vector.as_of, situation.offset, item_id, context, situation.pushed) for item_id in CANDIDATES]
        with mock.patch.object(fold, "_TRIM_EVERY", 10**9):
            rows = replay_profile(PROGRAMS[self.program], self.known.values(), labels)
        for row, floats, ints in zip(rows, found.floats, found.ints, strict=True):
            assert row.floats.tobytes() == vector.floats.tobytes() + floats.tobytes()
            assert row.ints.tobytes() == vector.ints.tobytes() + ints.tobytes()

    def situation(self, app: App, vector: FeatureVector, context: Mapping[str, Any]) -> Situation:
        """Of a vector that was computed just now."""
        now = self.clock.now_ms()
        self.check_instant(app, vector.as_of, now)
        pushed = {PUSHED: self.pushed.values} if self.pushed and self.pushed.is_live(now) else {}
        offset = self.clock.utc_offset_minutes(vector.as_of)
        return Situation(vector, offset, context, pushed, self.happened, self.clock.monotonic_ns())

    def check_instant(self, app: App, as_of: int, now: int) -> None:
        """It is now; or, where the clock was set back, when something was seen that cannot be undone."""
        assert now + 1 <= as_of <= self.latest + 1
        newest = max((event.epoch for event in self.known.values()), default=0)
        resets = [visible_from(event) for event in self.known.values() if event.epoch == newest > 0]
        assert as_of >= min(resets, default=0), "a reset holds at once"
        if as_of > now + 1 + ABSORBED_MS:
            stored = {event.sequence for event in app.log.since(0)}
            evicted = [visible_from(event) for sequence, event in self.known.items() if sequence not in stored]
            assert as_of in {*evicted, min(resets, default=0)}
