"""A training row knows nothing that was recorded at or after its label, and tells local time as a calendar does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearhand.features import FeatureVector, Label, ReplayEvent, compile_program, read_program, replay_profile
from tests.conformance.programs import CANDIDATES, ITEMS, PUSHED, compiled, document, everything
from tests.conformance.streams import DAY, HOUR, Action, streams, written

EVERY_VIEW = compile_program(read_program(document("everything", everything()), place="everything.json"), ITEMS)
NOON = int(datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp()) * 1000


def row(events: Sequence[ReplayEvent], at: int, item_id: str = "a") -> bytes:
    """The training row of every view for a label, to the bit."""
    label = Label(at, 60, item_id, {"battery": 0.5}, {PUSHED: [1.0, 2.0]})
    (vector,) = replay_profile(EVERY_VIEW, events, [label])
    return vector.floats.tobytes() + vector.ints.tobytes()


def viewed(at: int, sequence: int = 1, **fields: Any) -> ReplayEvent:
    """An event that feeds most views."""
    properties = {"value": 3, "tags": ["x"], "deep": {"value": 2}}
    event = ReplayEvent(at, sequence, at, 0, 0, "item_viewed", "a", {"battery": 0.5}, properties)
    return event._replace(**fields)


# What the label does not know


@settings(max_examples=100)
@given(
    stream=streams, at=st.floats(0, 1), item_id=st.sampled_from(CANDIDATES), chance=st.randoms(use_true_random=False)
)
def test_what_is_recorded_at_or_after_the_label_changes_nothing(
    stream: tuple[int, Sequence[Action]], at: float, item_id: str, chance: Any
) -> None:
    events = written(*stream).eras[-1].events
    instants = sorted({event.recorded_at + shift for event in events for shift in (0, 1)} | {stream[0]})
    label = instants[round(at * (len(instants) - 1))]
    before = row(events, label, item_id)
    unknown = [event for event in events if event.recorded_at >= label]
    kept = [event for event in events if event.recorded_at < label]
    assert row(kept, label, item_id) == before
    assert row([*kept, *(altered(event, label, chance) for event in unknown)], label, item_id) == before
    inserted = [altered(viewed(label, 10**6 + n), label, chance) for n in range(5)]
    assert row([*inserted, *events], label, item_id) == before
    # Nor does what has been announced, and has not happened yet.
    assert row([event for event in events if event.timestamp <= label], label, item_id) == before


def altered(event: ReplayEvent, label: int, chance: Any) -> ReplayEvent:
    """Another event that was recorded at or after the label."""
    return event._replace(
        timestamp=max(0, label + chance.choice((-40 * DAY, -HOUR, -1, 0, HOUR))),
        recorded_at=label + chance.choice((0, 0, 1, DAY)),
        epoch=chance.choice((event.epoch, event.epoch + 1, 100)),
        event=chance.choice(("item_viewed", "item_purchased")),
        item_id=chance.choice(CANDIDATES),
        properties={"value": chance.randint(-9, 9), "tags": ["y"], "deep": {"value": 5}},
    )


@pytest.mark.parametrize(
    ("event", "is_seen"),
    [
        pytest.param(viewed(NOON, timestamp=NOON - HOUR), False, id="recorded at the label"),
        pytest.param(viewed(NOON - 1), True, id="recorded a millisecond before"),
        pytest.param(viewed(NOON - HOUR, timestamp=NOON), True, id="announced, and happening now"),
        pytest.param(viewed(NOON - HOUR, timestamp=NOON + 1), False, id="announced, a millisecond ahead"),
    ],
)
def test_where_the_line_is(event: ReplayEvent, is_seen: bool) -> None:
    assert (row([event], NOON) != row([], NOON)) == is_seen


def test_a_reset_counts_from_when_it_was_recorded() -> None:
    events = [viewed(NOON - HOUR), viewed(NOON, 2, event="preferences_reset", epoch=1)]
    assert row(events, NOON) == row(events[:1], NOON)
    assert row(events, NOON + 1) == row([], NOON + 1)


# Local time


def at_local(zone: str, *when: int, fold: int = 0) -> datetime:
    """A wall clock's time in a zone; ``fold`` tells the two hours apart in which summer time ends."""
    return datetime(*when, tzinfo=ZoneInfo(zone), fold=fold)  # type: ignore[arg-type, misc]


def milliseconds(when: datetime) -> int:
    return int(when.timestamp()) * 1000


def minutes_east(when: datetime) -> int:
    offset = when.utcoffset()
    assert offset is not None
    return int(offset.total_seconds()) // 60


def event_at(when: datetime, sequence: int) -> ReplayEvent:
    return viewed(milliseconds(when), sequence, utc_offset_minutes=minutes_east(when))


def read(name: str, events: Sequence[ReplayEvent], when: datetime) -> FeatureVector:
    """A program's row for a label at an instant, in the time zone of that."""
    (vector,) = replay_profile(compiled(name), events, [Label(milliseconds(when), minutes_east(when))])
    return vector


BERLIN = "Europe/Berlin"
AROUND_CHANGES = [
    *(at_local(BERLIN, 2026, 3, 29, hour, 30) for hour in (0, 1, 3, 4)),  # there is no 02:30
    *(at_local(BERLIN, 2026, 10, 25, 2, 30, fold=fold) for fold in (0, 1)),  # and here there are two
    *(at_local(BERLIN, 2026, 10, 25, hour, 59) for hour in (0, 1, 3, 23)),
    at_local("Asia/Kathmandu", 2026, 5, 4, 0, 10),
    at_local("America/Los_Angeles", 2026, 3, 8, 3, 5),
    at_local("Asia/Tokyo", 2026, 1, 1, 0, 0),
]


@pytest.mark.parametrize("when", AROUND_CHANGES, ids=lambda when: f"{when.tzinfo.key} {when:%m-%d %H:%M %z}")
def test_local_hour_and_weekday_are_the_wall_clocks(when: datetime) -> None:
    assert read("local_hour", [], when).floats.tolist() == [when.hour]
    assert read("weekday", [], when).floats.tolist() == [when.weekday()]


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.timezones(), allow_imaginary=False),
)
def test_local_hour_and_weekday_are_the_wall_clocks_anywhere(when: datetime) -> None:
    when = when.astimezone(UTC).astimezone(when.tzinfo)  # the same instant, by whichever of two names for it
    assert read("local_hour", [], when).floats.tolist() == [when.hour]
    assert read("weekday", [], when).floats.tolist() == [when.weekday()]


def test_affinities_for_hours_and_days_are_those_of_the_events_own_clocks() -> None:
    """A week in Tokyo, then one in San Francisco, where summer time begins; read in Berlin."""
    journey = [at_local("Asia/Tokyo", 2026, 3, day, 7, 45) for day in range(1, 7)]
    journey += [at_local("America/Los_Angeles", 2026, 3, day, 21, 15) for day in range(6, 14)]
    events = [event_at(when, number) for number, when in enumerate(journey, 1)]
    now = at_local(BERLIN, 2026, 3, 14, 12)
    shares = Counter(when.hour for when in journey)
    expected = [shares[hour] / len(journey) for hour in range(24)]
    assert read("affinity_hours", events, now).floats.tolist() == pytest.approx(expected)
    recent = [when for when in journey if now - when < timedelta(days=9)]
    days = Counter(when.weekday() for when in recent)
    expected = [days[day] / len(recent) for day in range(7)]
    assert read("affinity_days", events, now).floats.tolist() == pytest.approx(expected)


def expected_streak(days: Sequence[date], today: date) -> int:
    """How many of the days are in a row up to tomorrow, today or yesterday, whichever is the latest there is."""
    recent = [day for day in (today + timedelta(1), today, today - timedelta(1)) if day in days]
    count = 0
    while recent and recent[0] - timedelta(count) in days:
        count += 1
    return count


EVENINGS = [at_local(BERLIN, 2026, 3, day, 23, 40) for day in range(24, 32)]
AUTUMN = [at_local(BERLIN, 2026, 10, day, 0, 10) for day in range(20, 30)]
MORNINGS = [at_local("Asia/Tokyo", 2026, 3, day, 10) for day in range(1, 6)]
EASTWARD = [
    *(at_local("Asia/Tokyo", 2026, 3, day, 21) for day in range(1, 6)),
    *(at_local("America/Los_Angeles", 2026, 3, day, 6) for day in range(5, 12)),
]


@pytest.mark.parametrize(
    ("journey", "now", "streak"),
    [
        pytest.param(EVENINGS, at_local(BERLIN, 2026, 3, 31, 23, 50), 8, id="summer time begins"),
        pytest.param(EVENINGS, at_local(BERLIN, 2026, 4, 1, 23, 59), 8, id="until the end of the next day"),
        pytest.param(EVENINGS, at_local(BERLIN, 2026, 4, 2, 0, 1), 0, id="and no longer"),
        pytest.param(AUTUMN, at_local(BERLIN, 2026, 10, 29, 0, 20), 10, id="summer time ends"),
        pytest.param(EASTWARD, at_local("America/Los_Angeles", 2026, 3, 11, 7), 11, id="Tokyo to San Francisco"),
        pytest.param(
            MORNINGS, at_local("America/Los_Angeles", 2026, 3, 4, 19), 5, id="in San Francisco it is yesterday"
        ),
    ],
)
def test_a_streak_counts_the_days_of_each_place(journey: Sequence[datetime], now: datetime, streak: int) -> None:
    events = [event_at(when, number) for number, when in enumerate(journey, 1)]
    assert read("streak", events, now).floats.tolist() == [streak]
    assert expected_streak([when.date() for when in journey], now.date()) == streak


@given(
    st.lists(st.tuples(st.integers(0, 40 * 24), st.sampled_from((BERLIN, "Asia/Tokyo", "America/Los_Angeles")))),
    st.integers(0, 48),
)
def test_a_streak_is_the_calendars(hops: Sequence[tuple[int, str]], hours_later: int) -> None:
    start = datetime(2026, 3, 10, tzinfo=UTC)
    journey = sorted((start + timedelta(hours=hours)).astimezone(ZoneInfo(zone)) for hours, zone in hops)
    last = journey[-1] if journey else start.astimezone(ZoneInfo(BERLIN))
    local = (last.astimezone(UTC) + timedelta(hours=hours_later, seconds=1)).astimezone(last.tzinfo)
    events = [event_at(when, number) for number, when in enumerate(journey, 1)]
    expected = expected_streak([when.date() for when in journey], local.date())
    assert read("streak", events, local).floats.tolist() == [expected]
