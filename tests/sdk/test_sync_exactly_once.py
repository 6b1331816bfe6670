"""Whatever happens, in whatever order: what may leave is stored once in the end, and nothing else ever leaves."""

from __future__ import annotations

import gzip
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from nearhand.events import RESET, Event
from nearhand.network import Call
from nearhand.sync import ERASURES, part
from nearhand.testing import LATE, LOST, TWICE, UNANSWERED, Fault, FaultyTransport, ManualClock
from tests.sdk.sync_device import CONFIG, Device, MemoryEndpoint, said


class KilledError(BaseException):
    """The process ends here: nothing handles it."""


FAULTS = {
    "none": None,
    "lost": LOST,
    "unanswered": UNANSWERED,
    "late": LATE,
    "twice": TWICE,
    "busy": Fault(0, answer=said(503)),
    "stored, and busy": Fault(1, answer=said(503)),
    "too large": Fault(0, answer=said(413)),
    "hotel": Fault(0, answer=said(200)),
    "wrong": Fault(0, answer=said(400)),
    "killed before": Fault(0, error=KilledError()),
    "killed after": Fault(1, error=KilledError()),
    "killed, and late": Fault(0, is_late=True, error=KilledError()),
}
NUMBERS = st.integers(0, 1000)
STEPS = st.one_of(
    st.tuples(st.just("record"), st.integers(1, 7)),
    st.tuples(st.just("forget"), NUMBERS),
    st.tuples(st.just("consent"), st.sampled_from(["off", "local", "sync", "sync", "past"])),
    # During the n-th call of the sync something else happens too, as it does in other threads.
    st.tuples(
        st.just("sync"),
        st.lists(st.sampled_from(sorted(FAULTS)), max_size=4),
        st.sampled_from(["nothing", "record", "forget", "consent", "erase"]),
        st.integers(1, 3),
        NUMBERS,
    ),
    st.tuples(st.just("reopen")),
    st.tuples(st.just("reset")),
    st.tuples(st.just("erase")),
)


class World:
    """A device, an endpoint, the way between them, and what the one may know of the other.

    Attributes:
        allowed: the events that the user has allowed to leave, so far.
        gone: those that were forgotten or erased.
        dropped: those that the endpoint called too large.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.endpoint = MemoryEndpoint()
        self.wire = FaultyTransport(self.endpoint, self.fault)
        self.script: list[str] = []
        self.meanwhile: Any = None
        self.recorded: list[str] = []
        self.allowed: set[str] = set()
        self.gone: set[str] = set()
        self.dropped: set[str] = set()
        self.erasures = 0
        self.device = self.opened()
        self.device.consent("sync")

    def opened(self) -> Device:
        config = replace(CONFIG, max_events=3, attempts=3, format=("segment", "cloudevents")[len(self.recorded) % 2])
        return Device(self.folder, self.wire, clock=self.clock, config=config)

    def fault(self, number: int, call: Call) -> Fault | None:
        sent = self.check(call)
        if self.meanwhile is not None and number == self.meanwhile[0]:
            self.step(self.meanwhile[1:])
        self.clock.advance(1)
        name = self.script.pop(0) if self.script else "none"
        if name == "too large" and len(sent) == 1:
            self.dropped |= set(sent)
        return FAULTS[name]

    def check(self, call: Call) -> list[str]:
        """What is sent. Nothing is on its way that may not be, at the moment when it is sent."""
        if call.url.endswith("/erasures"):
            return []
        assert self.device.preferences.current.consent == "sync"
        if call.body is None:
            return []
        content = json.loads(gzip.decompress(call.body))
        sent = [each["messageId"] for each in content["batch"]] if "batch" in content else [e["id"] for e in content]
        assert set(sent) <= self.allowed
        assert not set(sent) & self.gone
        assert len(sent) == len(set(sent))
        assert b"anna" not in gzip.decompress(call.body)
        return sent

    def step(self, step: tuple[Any, ...]) -> None:
        getattr(self, step[0])(*step[1:])

    def nothing(self, number: int) -> None:
        """Only the sync."""

    def record(self, count: int) -> None:
        consent = self.device.preferences.current.consent
        if consent != "off":
            events = [Event("item_viewed", "m_1", user="anna") for _ in range(count % 8)]
            ids = [each.event_id for each in self.device.log.append_many(events, sendable=consent == "sync")]
            self.recorded += ids
            if consent == "sync":
                self.allowed |= set(ids)

    def forget(self, number: int) -> None:
        if self.recorded:
            name = self.recorded[number % len(self.recorded)]
            self.device.log.forget(name)
            self.gone.add(name)

    def consent(self, level: str | int) -> None:
        level = ("off", "local")[level % 2] if isinstance(level, int) else level
        if level == "past":
            self.device.consent("sync")
            self.device.log.outbox.allow_past()
            self.allowed |= {each.event_id for each in self.device.log.since(0) if each.event != RESET}
        else:
            self.device.consent(level)

    def sync(self, script: list[str], meanwhile: str, call: int, number: int) -> None:
        self.script = list(script)
        self.meanwhile = (len(self.wire.calls) + call, meanwhile, number)
        try:
            self.device.sync()
        except KilledError:
            event("killed in a sync")
            self.reopen()
        finally:
            self.script, self.meanwhile = [], None

    def reopen(self) -> None:
        self.device.close()
        self.device = self.opened()

    def reset(self) -> None:
        self.device.log.reset()

    def erase(self, number: int = 0) -> None:
        """As :meth:`nearhand.privacy.Privacy.erase` does it."""
        self.erasures += 1
        self.device.log.erase()
        part(self.device.store)
        self.device.store.clear(keep=[ERASURES])
        self.device.preferences.fresh()
        self.gone |= set(self.recorded)


def live(steps: list[tuple[Any, ...]]) -> None:
    """Take the steps, and compare what there is in the end."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        cursors = [0, 0]
        for step in steps:
            world.step(step)
            after = world.device.log.outbox._read(lambda c: [row[0] for row in c.execute("SELECT sent FROM lane")])
            assert all(now >= before for now, before in zip(after, cursors, strict=True))
            cursors = after
        world.wire.deliver_late()
        world.consent("sync")
        world.clock.advance(86_400_000)
        report = world.device.sync()
        assert (report.is_complete, report.pending) == (True, 0), report
        may_be_there = world.allowed - world.gone
        assert may_be_there - world.dropped <= set(world.endpoint.stored) <= may_be_there
        assert set(world.endpoint.seen) <= world.allowed
        assert report.dropped.get("too large", 0) == len(world.dropped) or world.erasures
        world.device.close()


@given(st.lists(STEPS, min_size=4, max_size=20))
@settings(max_examples=80)
def test_what_may_leave_is_stored_once_and_nothing_else_ever_leaves(steps: list[tuple[Any, ...]]) -> None:
    live(steps)


@pytest.mark.soak
@given(st.lists(STEPS, min_size=8, max_size=40))
@settings(max_examples=300)
def test_the_same_in_longer_lives(steps: list[tuple[Any, ...]]) -> None:
    live(steps)
