"""The best time to notify: the user's own rhythm is found, quiet hours are kept, and a change of the clocks is met."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearhand.decisions import BestTime, Rhythm
from nearhand.decisions.best_time import ENGAGEMENT
from nearhand.errors import UsageError
from nearhand.events import EVENT_TYPES, RESET, RecordedEvent

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MONDAY = datetime(2024, 6, 3, tzinfo=UTC)
EVEN = 1 / 168


def ms(when: datetime) -> int:
    return int(when.timestamp()) * 1000


def make_event(
    sequence: int, at_ms: int, event: str = "item_viewed", *, offset: int = 0, epoch: int = 0
) -> RecordedEvent:
    return RecordedEvent(f"e{sequence}", sequence, at_ms, at_ms, offset, event, "m_1", None, None, epoch, {}, {})


def planted(weeks: int = 8, *, offset: int = 120, until: datetime = MONDAY) -> list[RecordedEvent]:
    """Active from 20 to 21 on weekdays and from 10 to 11 at weekends, in local time, with a little at any hour."""
    rng = Random(7)
    events = []
    for day in range(weeks * 7):
        midnight = ms(until - timedelta(days=day + 1)) - offset * 60_000
        weekday = (until - timedelta(days=day + 1)).weekday()
        hour = 20 if weekday < 5 else 10
        minutes = [hour * 60 + rng.randrange(60) for _ in range(6)] + [rng.randrange(24 * 60) for _ in range(2)]
        events += [make_event(day * 10 + n, midnight + each * 60_000, offset=offset) for n, each in enumerate(minutes)]
    return events


def local(best: BestTime, offset: int) -> datetime:
    return datetime.fromtimestamp(best.at_ms / 1000, UTC) + timedelta(minutes=offset)


# The rhythm


@pytest.mark.parametrize("offset", [120, -480, 345, 840])
def test_the_planted_rhythm_is_found_on_every_day(offset: int) -> None:
    rhythm = Rhythm(planted(offset=offset))
    for day in range(7):
        morning = MONDAY + timedelta(days=day, hours=6)
        best = rhythm.best_time(ms(morning) - offset * 60_000, offset)
        expected = 20 if day < 5 else 10
        assert local(best, offset) == MONDAY + timedelta(days=day, hours=expected)
        assert (best.local_hour, best.weekday, best.confidence, best.reason) == (expected, day, "good", "rhythm")
        assert best.share > 6 * EVEN


def test_within_a_good_hour_the_time_is_now() -> None:
    now = MONDAY + timedelta(hours=20, minutes=17, seconds=5)
    best = Rhythm(planted(offset=0)).best_time(ms(now), 0, within_hours=12)
    assert (best.at_ms, best.local_hour) == (ms(now), 20)


def test_a_weekday_that_was_never_seen_follows_the_others() -> None:
    events = [event for event in planted(offset=0) if datetime.fromtimestamp(event.timestamp / 1000, UTC).weekday()]
    best = Rhythm(events).best_time(ms(MONDAY + timedelta(hours=6)), 0, within_hours=18)
    assert (best.weekday, best.local_hour, best.confidence) == (0, 20, "low")
    assert best.share < 2 * EVEN


def test_the_shares_follow_their_formula() -> None:
    now = ms(MONDAY)
    events = [make_event(n, now - 28 * DAY_MS, "item_liked") for n in range(8)]  # Monday 0:00, half forgotten
    events += [make_event(8, now - 2 * HOUR_MS, "impression"), make_event(9, now, "notification_opened")]
    shares = Rhythm(events).shares(now, 0)
    mass = 8 / 2 + 3  # at Monday 0:00: half of it stays, a quarter goes to each neighbour
    for hour, part in ((0, 1 / 2), (1, 1 / 4), (167, 1 / 4), (24, 0), (12, 0)):
        of_all_days = {0: 1 / 2, 1: 1 / 4, 23: 1 / 4}.get(hour % 24, 0.0) * mass
        day = (of_all_days + 5 / 24) / (mass + 5)
        assert shares[hour] == pytest.approx((part * mass + 20 * day / 7) / (mass + 20), rel=1e-12)
    assert sum(shares) == pytest.approx(1, rel=1e-12)


def test_old_habits_fade() -> None:
    new = [make_event(1000 + n, event.timestamp + 26 * 7 * DAY_MS - 9 * HOUR_MS) for n, event in enumerate(planted(2))]
    rhythm = Rhythm(planted(8, offset=0) + new)
    best = rhythm.best_time(ms(MONDAY + timedelta(weeks=26, hours=6)), 0)
    assert best.local_hour == 9  # 20:00 in a place two hours ahead is 18:00; nine hours earlier


_ONE = {"item_clicked", "item_viewed", "item_liked", "item_saved", "item_purchased"}


@pytest.mark.parametrize("kind", [*EVENT_TYPES, RESET, "declared"])
def test_an_event_counts_what_its_type_does(kind: str) -> None:
    rhythm = Rhythm([make_event(n, ms(MONDAY), kind) for n in range(3)])
    counts = {"notification_opened": 3}.get(kind, kind in _ONE)
    mass = 3 * counts
    day = (mass / 2 + 5 / 24) / (mass + 5)
    assert rhythm.events == (3 if counts else 0)
    assert rhythm.shares(ms(MONDAY), 0)[0] == pytest.approx((mass / 2 + 20 * day / 7) / (mass + 20), rel=1e-12)


# Little history


@pytest.mark.parametrize("count", [0, 19])
def test_with_little_history_it_is_the_default_hour(count: int) -> None:
    rhythm = Rhythm([make_event(n, ms(MONDAY) - n) for n in range(count)])
    best = rhythm.best_time(ms(MONDAY + timedelta(hours=9)), 0)
    assert (best.at_ms, best.confidence, best.reason) == (ms(MONDAY + timedelta(hours=18)), "none", "default")
    for quiet, hour in (((18, 19), 17), ((17, 8), 16), ((16, 20), 20), ((8, 19), 19), (None, 18)):
        assert rhythm.best_time(ms(MONDAY), 0, quiet=quiet).local_hour == hour
    rhythm.fold([make_event(n, ms(MONDAY) - n) for n in range(count, 20)])
    assert rhythm.best_time(ms(MONDAY), 0).reason == "rhythm"


def test_a_reset_begins_anew() -> None:
    old, now = planted(offset=0), ms(MONDAY + timedelta(hours=6))
    marker = make_event(5000, ms(MONDAY), RESET, epoch=1)
    rhythm = Rhythm([*old, marker])
    assert rhythm.events == 0
    assert rhythm.best_time(now, 0) == Rhythm().best_time(now, 0)
    rhythm.fold(old)  # they are of the epoch before
    assert rhythm.events == 0


# Properties


_OFFSETS = st.integers(-1439, 1439) | st.sampled_from([-210, 0, 60, 330, 345, 840])
_QUIET = st.none() | st.tuples(st.integers(0, 23), st.integers(0, 23)).filter(lambda pair: pair[0] != pair[1])


@st.composite
def logs(draw: st.DrawFn) -> list[RecordedEvent]:
    each = st.tuples(
        st.integers(-200 * 24, 24), st.sampled_from([*ENGAGEMENT, "impression"]), _OFFSETS, st.integers(0, 1)
    )
    return [
        make_event(n, ms(MONDAY) + hours * HOUR_MS + n, kind, offset=offset, epoch=epoch)
        for n, (hours, kind, offset, epoch) in enumerate(draw(st.lists(each, max_size=60)))
    ]


@given(logs(), st.data())
def test_the_order_of_the_events_does_not_matter(events: list[RecordedEvent], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(events))
    split = data.draw(st.integers(0, len(events)))
    one, other = Rhythm(events), Rhythm(shuffled[:split])
    other.fold(shuffled[split:])
    assert one.shares(ms(MONDAY), 60) == other.shares(ms(MONDAY), 60)
    assert one.events == other.events
    assert one.best_time(ms(MONDAY), 60) == other.best_time(ms(MONDAY), 60)


def test_the_sums_do_not_depend_on_the_order_in_the_last_bit() -> None:
    events = planted()
    shares = Rhythm(events).shares(ms(MONDAY), 120)
    for seed in range(5):
        Random(seed).shuffle(events)
        assert Rhythm(events).shares(ms(MONDAY), 120) == shares


def random_rhythm(seed: int) -> Rhythm:
    """Too few events for a rhythm in every fourth one."""
    rng = Random(seed)
    count = 60 if seed % 4 else 10
    return Rhythm([make_event(n, ms(MONDAY) - rng.randrange(60 * DAY_MS)) for n in range(count)])


@given(
    st.integers(0, 30),
    st.integers(0, 7 * DAY_MS),
    _OFFSETS,
    _QUIET,
    st.integers(1, 30) | st.just(168),
    st.none() | st.integers(-2 * DAY_MS, 2 * DAY_MS),
    # So many quarters of an hour are put forward, so many quarters of an hour after the beginning.
    st.none() | st.tuples(st.integers(-12, 12), st.integers(0, 8 * 96)),
)
@settings(max_examples=300)
def test_quiet_hours_and_bounds_are_kept(
    seed: int,
    since: int,
    offset: int,
    quiet: tuple[int, int] | None,
    within: int,
    wait: int | None,
    change: tuple[int, int] | None,
) -> None:
    now = ms(MONDAY) + since

    begins, later = (0, offset) if change is None else (ms(MONDAY) + change[1] * HOUR_MS // 4, offset + 15 * change[0])
    rhythm = random_rhythm(seed)
    best = rhythm.best_time(
        now,
        offset,
        within_hours=within,
        quiet=quiet,
        not_before_ms=None if wait is None else now + wait,
        offset_at=None if change is None else lambda at_ms: offset if at_ms < begins else later,
    )
    start, end = max(now, now + (wait or 0)), now + within * HOUR_MS
    shares = np.array(rhythm.shares(now, offset))
    # Every minute from the first allowed one to the end, or to what was found if that is later.
    minutes = np.array([start, *range(start - start % 60_000 + 60_000, max(end, best.at_ms + 1), 60_000)])
    offsets = np.where(minutes < begins, offset, later) if change else np.full(len(minutes), offset)
    hours = ((minutes + offsets * 60_000) // HOUR_MS + 72) % 168
    if quiet is not None:
        loud = np.isin(hours % 24, [(quiet[1] + n) % 24 for n in range((quiet[0] - quiet[1]) % 24)])
        minutes, hours = minutes[loud], hours[loud]
    (found,) = np.flatnonzero(minutes == best.at_ms)  # so it is allowed
    assert hours[found] == best.weekday * 24 + best.local_hour
    assert shares[hours[found]] == best.share
    # No minute is better, and none as good is earlier.
    assert (best.reason == "quiet") is (best.at_ms >= end)
    if best.reason == "quiet":
        assert found == 0
    elif best.reason == "rhythm":
        assert found == np.argmax(shares[hours])
    else:
        assert found == np.argmin(np.abs((hours % 24 - 18 + 12) % 24 - 12))


# Quiet hours, bounds, and changes of the clocks, by example


def test_a_quiet_horizon_gives_the_first_moment_after_it() -> None:
    rhythm = Rhythm(planted(offset=0))
    night = ms(MONDAY + timedelta(hours=23))
    best = rhythm.best_time(night, 0, within_hours=6)
    assert (best.at_ms, best.reason) == (ms(MONDAY + timedelta(days=1, hours=8)), "quiet")
    assert rhythm.best_time(night, 0, within_hours=10).reason == "rhythm"
    later = ms(MONDAY + timedelta(days=3, hours=9, minutes=1))
    best = rhythm.best_time(night, 0, not_before_ms=later)
    assert (best.at_ms, best.reason) == (later, "quiet")


def test_not_before_leaves_out_what_is_earlier() -> None:
    rhythm = Rhythm(planted(offset=0))
    now, later = ms(MONDAY + timedelta(hours=9)), ms(MONDAY + timedelta(hours=21))
    assert rhythm.best_time(now, 0, not_before_ms=later, within_hours=48).at_ms == ms(
        MONDAY + timedelta(days=1, hours=20)
    )
    assert rhythm.best_time(now, 0, not_before_ms=now - DAY_MS) == rhythm.best_time(now, 0)


def berlin(at_ms: int) -> int:
    """Summer time from the last Sunday of March to that of October, 2024."""
    summer = ms(datetime(2024, 3, 31, 1, tzinfo=UTC)) <= at_ms < ms(datetime(2024, 10, 27, 1, tzinfo=UTC))
    return 120 if summer else 60


@pytest.mark.parametrize(
    ("now", "first", "then"),
    [
        (datetime(2024, 10, 26, 20, tzinfo=UTC), 120, 60),
        (datetime(2024, 3, 30, 20, tzinfo=UTC), 60, 120),
    ],
)
def test_the_clocks_change_before_the_best_time(now: datetime, first: int, then: int) -> None:
    monday = datetime(now.year, now.month, now.day, tzinfo=UTC) - timedelta(days=5)
    rhythm = Rhythm(planted(until=monday, offset=first))
    offset_at: Callable[[int], int]
    for offset_at, offset in ((berlin, then), (lambda at_ms: first, first)):
        best = rhythm.best_time(ms(now), first, offset_at=offset_at)
        assert (best.weekday, best.local_hour) == (6, 10)
        assert local(best, offset) == monday + timedelta(days=6, hours=10)
    assert rhythm.best_time(ms(now), first, offset_at=None) == best
    # The night is an hour longer or shorter too.
    woken = rhythm.best_time(ms(now + timedelta(hours=2)), first, within_hours=1, offset_at=berlin)
    assert local(woken, then) == monday + timedelta(days=6, hours=8)


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"within_hours": 0}, "within_hours"),
        ({"within_hours": 169}, "within_hours"),
        ({"quiet": (22, 22)}, "quiet"),
        ({"quiet": (22, 24)}, "quiet"),
        ({"quiet": (-1, 3)}, "quiet"),
        ({"utc_offset_minutes": 1440}, "utc_offset_minutes"),
        # Local time that stands still at midnight.
        ({"offset_at": lambda at_ms: -(at_ms // 60_000) % 1440}, "offset_at"),
    ],
)
def test_what_is_refused_is_named(arguments: dict[str, Any], place: str) -> None:
    with pytest.raises(UsageError, match=rf"best_time\({place}\)"):
        Rhythm().best_time(**{"now_ms": ms(MONDAY), "utc_offset_minutes": 0, **arguments})
