"""A profile with features: its log, the features that are pushed, and the fold over the log, opened as the SDK does."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

from nearhand.clock import Clock
from nearhand.config import Durability
from nearhand.events import Caps, EventLog, RecordedEvent
from nearhand.features import ItemTable, Label, compile_program, read_program, replay_profile
from nearhand.features.cache import PushedFeatures
from nearhand.features.store import FeatureStore, ProgramCheckpointer
from nearhand.monitoring import Meter
from nearhand.testing import ManualClock
from tests.faults.story import Told

_VIEWS = [
    {"op": "count", "name": "hours", "events": ["item_viewed"], "window": "3h"},
    {"op": "count", "name": "ever", "events": ["item_viewed"]},
    {"op": "decay", "name": "decayed", "events": ["item_viewed"], "half_life": "2h"},
    {"op": "distinct", "name": "texts", "events": ["item_viewed"], "of": "properties.text"},
    {"op": "last_n", "name": "last", "events": ["item_viewed"], "of": "item_id", "n": 3, "encode": {"buckets": 99}},
    {"op": "session", "name": "length", "events": ["item_viewed"], "measure": "length"},
    {"op": "pushed", "name": "value", "width": 2, "default": -1},
]
_PROGRAM = compile_program(
    read_program(json.dumps({"format": 1, "name": "p", "version": "1.0.0", "views": _VIEWS}).encode(), place="p.json"),
    ItemTable.empty(),
)


class Profile:
    """See :meth:`nearhand.Personalizer.open`, which does the same with a bundle's program."""

    def __init__(
        self, folder: Path, *, clock: Clock, durability: Durability = "process", max_bytes: int = 16_000_000
    ) -> None:
        meter = Meter(clock)
        with ExitStack() as closing:
            self.log = EventLog(
                folder / "events.db",
                clock=clock,
                durability=durability,
                caps=Caps(max_bytes=max_bytes),
                checkpointer=ProgramCheckpointer(_PROGRAM, meter),
            )
            closing.callback(self.log.close)
            pushed = PushedFeatures(folder / "pushed.db", clock=clock, meter=meter, budget_bytes=10_000)
            closing.callback(pushed.close)
            self.store = FeatureStore(_PROGRAM, self.log, pushed, clock=clock, meter=meter)
            closing.callback(self.store.close)
            self._closing = closing.pop_all()

    def close(self) -> None:
        self._closing.close()


def check_features(folder: Path, told: Told, now_ms: int) -> None:
    """Open a profile that nobody uses any more, and compare its features with a replay of all that it was given.

    Raises:
        AssertionError: they differ.
    """
    profile = Profile(folder, clock=ManualClock(now_ms))
    found = profile.store.vector()
    stored = {event.event_id: event for event in profile.log.since(0)}
    evicted = sum(profile.log.drops().values())
    profile.close()
    gone = told.forgotten | told.perhaps_forgotten - stored.keys()
    if told.forgiven:
        newest = max((event.sequence for event in stored.values()), default=0)
        gone |= {name for name, event in told.acknowledged.items() if event.sequence > newest}
    missing = told.acknowledged.keys() - gone - stored.keys()
    assert len(missing) <= evicted, f"{missing} were acknowledged, and only {evicted} events were evicted"
    events = {**told.acknowledged, **stored}
    history = sorted((event for name, event in events.items() if name not in gone), key=_sequence)
    labels = [Label(found.as_of), Label(found.as_of, pushed={"value": (0.5, -7.0)})]  # the push may have been lost
    expected = [vector.floats.tobytes() + vector.ints.tobytes() for vector in replay_profile(_PROGRAM, history, labels)]
    assert found.floats.tobytes() + found.ints.tobytes() in expected, f"{found} is not that of {len(history)} events"


def _sequence(event: RecordedEvent) -> int:
    return event.sequence
