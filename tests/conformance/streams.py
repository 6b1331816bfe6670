"""Lives of a device as hypothesis makes them up, and what they mean for whoever folds them.

A stream is a list of actions, as a person and a phone do them. :func:`written` turns it into a tape, which says for
every step what the log holds and for every reading at which instant it is made. It knows the rules of time and nothing
of features, so it is an independent witness of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from nearhand.events import RESET, RecordedEvent
from nearhand.features import ReplayEvent
from tests.conformance.compute_features import ABSORBED_MS
from tests.conformance.programs import EVENTS, PUSHED

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
LATEST = 5
"""An eviction takes the time from so many of the latest recordings; the log's own number is 100."""

#: A week before summer time ends in Europe, one before it begins there, and a new year.
STARTS = tuple(
    int(datetime(*day, tzinfo=UTC).timestamp()) * 1000 for day in ((2025, 10, 19), (2026, 3, 22), (2026, 1, 1))
)
ZONES = ("UTC", "Europe/Berlin", "Asia/Tokyo", "America/Los_Angeles", "Asia/Kathmandu")

# Bursts, gaps, and every window and half-life of the programs, to the millisecond.
_GAPS = (
    *(0, 0, 0, 0, 0, 1, 999, MINUTE, 30 * MINUTE - 1, 30 * MINUTE, 30 * MINUTE + 1, HOUR, 2 * HOUR - 1, 2 * HOUR),
    *(5 * HOUR, DAY - 1, DAY, 3 * DAY - 1, 3 * DAY, 9 * DAY, 40 * DAY),
)
_SHIFTS = (0,) * 10 + (
    -1,
    -SECOND,
    -31 * MINUTE,
    -2 * HOUR,
    -26 * HOUR,
    -4 * DAY,
    -50 * DAY,
    1,
    SECOND,
    HOUR,
    2 * DAY,
    30 * DAY,
)
_JUMPS = (-50 * DAY, -3 * DAY, -HOUR, -HOUR, -MINUTE - 1, -MINUTE, -1, HOUR, 60 * DAY)
_TYPES = (*EVENTS, *EVENTS, "search")
_ITEM_IDS = ("a", "a", "b", "b", "c", "d", "e", "unknown", None)
_VALUES = (0, 1, 2, 41, 41.5, 0.1, 3.0005, -7, 1e15, 10**20, -1e300, float("nan"), True, "41", None, [1])
_TAGS: tuple[Any, ...] = (
    "x",
    "y",
    "z",
    "other",
    7,
    "",
    None,
    False,
    ["x", "y"],
    ["z", "z", 7, None],
    ["y", ["x"]],
    [],
    1.5,
)
_BATTERIES = (0.0, 0.5, 1, "full", None)
_CONTEXTS: tuple[dict[str, Any], ...] = ({}, {"battery": 0.7, "device": "phone"}, {"battery": "low", "device": 7})
_PUSHES: tuple[dict[str, list[float]], ...] = ({}, {PUSHED: [0.1, -2.5]})


class Record(NamedTuple):
    """The clock goes on by ``gap`` ms, and the app records an event.

    Attributes:
        shift: the event's timestamp less the clock's, ms: late and future ones.
        like: the number of an earlier event whose timestamp this one has; modulo how many there are.
        again: the number of an earlier event that this one has the id of: nothing new is stored.
    """

    gap: int
    event: str
    item_id: str | None
    value: Any
    tags: Any
    battery: Any
    shift: int = 0
    like: int | None = None
    again: int | None = None


class Read(NamedTuple):
    """The clock goes on, and the features are read."""

    gap: int
    context: Mapping[str, Any] = {}
    pushed: Mapping[str, Sequence[float]] = {}


class Jump(NamedTuple):
    """The clock goes on, the features are read, it is set by so many ms, and they are read again."""

    gap: int
    by: int


class Travel(NamedTuple):
    """The device comes into another time zone."""

    zone: str


class Reset(NamedTuple):
    """The person resets the preferences."""


class Forget(NamedTuple):
    """The person has an event forgotten: the one of this number, modulo how many the log holds beside resets."""

    which: int


class Evict(NamedTuple):
    """The log's caps take the ``oldest`` events, so many, and those recorded more than ``age`` ms before the latest."""

    oldest: int
    age: int


class Restart(NamedTuple):
    """The app is closed and opened again: from a snapshot made at the end, or at some earlier point, or without one."""

    how: str


class Update(NamedTuple):
    """A bundle with another program is installed: the state of the old one is useless."""


Action: TypeAlias = Record | Read | Jump | Travel | Reset | Forget | Evict | Restart | Update

_number = st.integers(0, 30)
_records = st.builds(
    Record,
    gap=st.sampled_from(_GAPS),
    event=st.sampled_from(_TYPES),
    item_id=st.sampled_from(_ITEM_IDS),
    value=st.sampled_from(_VALUES),
    tags=st.sampled_from(_TAGS),
    battery=st.sampled_from(_BATTERIES),
    shift=st.sampled_from(_SHIFTS),
    like=st.none(),
    again=st.none(),
)
_odd_records = st.builds(Record._replace, _records, like=st.none() | _number, again=st.none() | _number)
_reads = st.builds(Read, st.sampled_from(_GAPS), st.sampled_from(_CONTEXTS), st.sampled_from(_PUSHES))
_others = st.one_of(
    st.builds(Jump, st.sampled_from(_GAPS), st.sampled_from(_JUMPS)),
    st.builds(Travel, st.sampled_from(ZONES)),
    st.builds(Reset),
    st.builds(Forget, _number),
    st.builds(Evict, st.integers(0, 12), st.sampled_from((HOUR, 2 * DAY, 1000 * DAY))),
    *(st.just(Restart(how)) for how in ("closed", "killed", "cold")),
    st.builds(Update),
)
_kinds = {**dict.fromkeys(range(8), _records), 8: _odd_records, 9: _reads, 10: _reads, 11: _others, 12: _others}
_actions = st.sampled_from(sorted(_kinds)).flatmap(_kinds.__getitem__)

streams = st.tuples(st.sampled_from(STARTS), st.lists(_actions, min_size=20, max_size=60))
"""(where the clock starts, actions)."""


def long_session() -> tuple[int, list[Action]]:
    """A session that outlasts its windows, and the state that is kept of it."""
    steady = [Record(29 * MINUTE, "item_viewed", "a", 1, "x", 0.5)] * 60
    return STARTS[0], [*steady, Read(0), *steady, Read(MINUTE)]


def clock_set_back() -> tuple[int, list[Action]]:
    """An event that has left a window comes back into it, a restart does not undo what was seen, a reset holds."""
    record = Record(0, "item_viewed", "a", 1, "x", 0.5)
    seen: list[Action] = [record, Read(0), Restart("killed"), Jump(0, -MINUTE), record, Read(0), Read(0)]
    return STARTS[0], [record, Jump(2 * HOUR, -HOUR), *seen, Reset(), Jump(0, -HOUR)]


def overtaken_snapshot() -> tuple[int, list[Action]]:
    """A snapshot, evictions of what came after it, and a start for which nothing better is there."""
    steady = [Record(MINUTE, "item_viewed", "a", 1, "x", 0.5)] * 30
    return STARTS[0], [*steady[:3], Restart("closed"), *steady, Restart("killed"), Read(0)]


# --- what they mean --------------------------------------------------------------------------------------------------

Step: TypeAlias = list[Any]
"""What a device does, in JSON: see :mod:`tests.conformance.compute_features`, which does it."""


class Reading(NamedTuple):
    """A reading: when, and for which situation."""

    as_of: int
    utc_offset_minutes: int
    context: Mapping[str, Any]
    pushed: Mapping[str, Sequence[float]]


@dataclass
class Era:
    """Readings that one log explains: what was recorded after them, they could not have seen.

    What is forgotten, or recorded by a clock that was set back to before a reading, or in the very millisecond of one,
    is seen by a replay and was not by the reading, or the other way round. There begins a new era.
    """

    readings: list[Reading] = field(default_factory=list)
    events: list[ReplayEvent] = field(default_factory=list)


@dataclass
class Tape:
    """A stream as its steps, and the eras that they fall into."""

    steps: list[Step]
    eras: list[Era]


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def offset_minutes(zone: str, at_ms: int) -> int:
    """Local time minus UTC in a time zone at an instant."""
    offset = datetime.fromtimestamp(at_ms // 1000, _zone(zone)).utcoffset()
    assert offset is not None
    return int(offset.total_seconds()) // 60


def visible_from(event: ReplayEvent | RecordedEvent) -> int:
    """The first instant at which the event counts: it has been recorded before, and it has happened."""
    return max(event.recorded_at + 1, event.timestamp)


class _Writer:
    """Follows the log and the clock through a stream."""

    def __init__(self, start: int) -> None:
        self.now = start
        self.zone = "UTC"
        self.log: dict[int, ReplayEvent] = {}
        self.evicted: list[ReplayEvent] = []
        self.recorded: list[ReplayEvent] = []
        self.ids: dict[int, int] = {}  # number of the record → sequence of what is stored under its id
        self.epoch = 0
        self.evicted_until = 0  # the earliest reading after a start from the checkpoint
        self.seen_until = 0  # the earliest reading that the state in memory allows
        self.steps: list[Step] = []
        self.eras = [Era()]

    def known(self) -> list[ReplayEvent]:
        """What counts: the log and what it let go, for as long as a checkpoint remembers it."""
        return [*self.evicted, *self.log.values()]

    def write(self, action: Action) -> None:
        match action:
            case Record():
                self.record(action)
            case Read():
                self.now += action.gap
                self.read(action)
            case Jump():
                self.now += action.gap
                self.read(Read(0))
                self.now = max(0, self.now + action.by)
                self.read(Read(0))
            case Travel():
                self.zone = action.zone
            case Reset():
                self.epoch += 1
                self.append(ReplayEvent(*self.times(self.now), self.epoch, RESET, None, {}, {}))
            case Forget():
                found = [event.sequence for event in self.log.values() if event.event != RESET]
                if found:
                    self.forget(found[action.which % len(found)])
            case Evict():
                self.evict(action)
            case Restart(how="closed"):
                self.steps.append(["close", self.now + 1])
                self.advance(self.now + 1)
            case Restart(how="killed"):
                self.steps.append(["restart"])
            case Restart():
                self.steps.append(["rebuild"])
                self.seen_until = self.evicted_until
            case Update():
                self.new_era()
                self.evicted, self.evicted_until, self.seen_until = [], 0, 0
                self.steps.append(["update"])

    def times(self, timestamp: int) -> tuple[int, int, int, int]:
        return timestamp, len(self.recorded) + 1, self.now, offset_minutes(self.zone, timestamp)

    def record(self, action: Record) -> None:
        self.now += action.gap
        number, count = len(self.ids), len(self.recorded)
        if action.again is not None and number:
            stored = self.ids[action.again % number]
            if stored in self.log:
                self.ids[number] = stored
                return
        timestamp = max(0, self.now + action.shift)
        if action.like is not None and count:
            timestamp = self.recorded[action.like % count].timestamp
        properties = {"value": action.value, "tags": action.tags, "deep": {"value": action.value}}
        context = {} if action.battery is None else {"battery": action.battery}
        self.ids[number] = count + 1
        self.append(ReplayEvent(*self.times(timestamp), self.epoch, action.event, action.item_id, context, properties))

    def append(self, event: ReplayEvent) -> None:
        latest = max((reading.as_of for reading in self.eras[-1].readings), default=-1)
        if visible_from(event) <= latest:
            self.new_era()
        self.recorded.append(event)
        self.log[event.sequence] = event
        self.steps.append(["record", list(event)])

    def forget(self, sequence: int) -> None:
        self.new_era()
        del self.log[sequence]
        self.steps.append(["forget", sequence])
        self.seen_until = self.evicted_until

    def evict(self, action: Evict) -> None:
        stored = list(self.log.values())
        if not stored:
            return
        reference = min(event.recorded_at for event in stored[-LATEST:])
        going = stored[: action.oldest]
        going += [event for event in stored[action.oldest :] if event.recorded_at < reference - action.age]
        self.evicted += going
        for event in going:
            del self.log[event.sequence]
        self.steps.append(["evict", [event.sequence for event in going], reference + 1])
        times = [visible_from(event) for event in self.evicted]
        self.evicted_until = max([self.evicted_until, *(at for at in times if at <= reference + 1)])

    def advance(self, as_of: int) -> None:
        times = [visible_from(event) for event in self.known()]
        self.seen_until = max([self.seen_until, *(at for at in times if at <= as_of)])

    def read(self, action: Read) -> None:
        as_of = self.now + 1
        if as_of < self.seen_until - ABSORBED_MS:  # the clock was set back: the device begins again
            self.seen_until = self.evicted_until
        known = self.known()
        newest = max((event.epoch for event in known), default=0)
        of_newest = min((visible_from(event) for event in known if event.epoch == newest), default=0)
        as_of = max(as_of, self.seen_until, of_newest if newest else 0)
        self.advance(as_of)
        reading = Reading(as_of, offset_minutes(self.zone, as_of), action.context, action.pushed)
        self.eras[-1].readings.append(reading)
        self.steps.append(["read", self.now, *reading])

    def new_era(self) -> None:
        self.eras[-1].events = self.known()
        self.eras.append(Era())

    def tape(self) -> Tape:
        self.eras[-1].events = self.known()
        return Tape(self.steps, [era for era in self.eras if era.readings])


def written(start: int, actions: Sequence[Action]) -> Tape:
    """What happens in a stream; a reading ends it."""
    writer = _Writer(start)
    for action in actions:
        writer.write(action)
    writer.write(Read(0))
    return writer.tape()
