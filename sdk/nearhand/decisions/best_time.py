"""When to notify: in the hour in which this user is most likely to be there, by the user's own rhythm.

The rhythm is how activity spreads over the 168 local hours of the week. Each event counts by its type
(:data:`ENGAGEMENT`) and half as much with every 28 days of its age, in whole hours. Then

* ``S``: the circle of 168 hours, smoothed with the kernel ¼, ½, ¼, so that 23:00 on Monday reaches 0:00 on Tuesday;
* an hour of the day over all days: ``D(h) = (Σ over days of S(day, h) + 5/24) / (Σ S + 5)``;
* an hour of one weekday: ``share(day, h) = (S(day, h) + 20 · D(h) / 7) / (Σ S + 20)``.

So a weekday of which little is known follows the other days, and they what is known of nobody: that all hours are
alike. This is additive smoothing with a mass of 20 and 5 events (MacKay and Peto 1995). The shares of a week add up to
1; an even one is 1/168.

Local time is UTC plus an offset: an event's own at its time, and for the time to notify the one that is given, or what
``offset_at`` says of that moment, which is right across a change of daylight saving time.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, TypeAlias

from nearhand.clock import Clock
from nearhand.errors import UsageError, shown
from nearhand.events import EventLog, RecordedEvent
from nearhand.events.event import END_MS
from nearhand.features.arithmetic import decayed
from nearhand.records import dataclass

#: What an event of each type counts; other types, such as an impression, count nothing.
ENGAGEMENT: Mapping[str, int] = MappingProxyType(
    {
        "notification_opened": 3,
        "item_clicked": 1,
        "item_viewed": 1,
        "item_liked": 1,
        "item_saved": 1,
        "item_purchased": 1,
    }
)
HALF_LIFE_DAYS = 28
DEFAULT_HOUR = 18
FEWEST_EVENTS = 20

_HOUR_MS = 3_600_000
_QUARTER_MS = _HOUR_MS // 4
_WEEK = 168
_MONDAY = 72  # 1 January 1970 was a Thursday: its first hour is the week's number 72
_PRIOR_MASS = 5.0
_ALL_DAYS_MASS = 20.0
_GOOD_MASS = 60.0  # of activity that is not forgotten
_GOOD_SHARE = 2 / _WEEK
_FURTHER_HOURS = 48  # quiet hours and a change of the clocks end long before

Confidence: TypeAlias = Literal["none", "low", "good"]


@dataclass(frozen=True)
class BestTime:
    """A moment to notify at.

    Attributes:
        at_ms: milliseconds since the Unix epoch, UTC.
        local_hour: the hour of the day in local time, 0 to 23.
        weekday: 0 is Monday.
        share: of the activity of a whole week, how much this hour of the week has; 1/168 if all hours are alike.
        confidence: ``none``: fewer than 20 events, so not from the user's rhythm; ``good``: of their activity what
            counts as at least 60 is not forgotten, and the hour has at least twice an even share; else ``low``.
        reason: ``rhythm``; ``default``: too little history; ``quiet``: no allowed moment as early as was asked for, so
            this is the first one after.
    """

    at_ms: int
    local_hour: int
    weekday: int
    share: float
    confidence: Confidence
    reason: Literal["rhythm", "default", "quiet"]


class Rhythm:
    """A user's activity by local hour. The order in which events are folded does not matter.

    A reset of the preferences begins it anew: only events of the latest epoch count. After an event was forgotten,
    make a new one of the events that are left.

    Args:
        events: folded at once.
    """

    def __init__(self, events: Iterable[RecordedEvent] = ()) -> None:
        self._begin(0)
        self.fold(events)

    def _begin(self, epoch: int) -> None:
        self._epoch = epoch
        self._activity: Counter[int] = Counter()  # whole local hours since 1970 → what its events count
        self.events = 0
        """How many events count."""

    def fold(self, events: Iterable[RecordedEvent]) -> None:
        """Take events in, once each."""
        for event in events:
            if event.epoch > self._epoch:
                self._begin(event.epoch)
            counts = ENGAGEMENT.get(event.event, 0)
            if counts and event.epoch == self._epoch:
                self._activity[_local_hour(event.timestamp, event.utc_offset_minutes)] += counts
                self.events += 1

    def shares(self, now_ms: int, utc_offset_minutes: int) -> list[float]:
        """The 168 shares of the week's activity, from Monday 0:00 local time on; see the module for the formula."""
        return self._measured(now_ms, utc_offset_minutes)[0]

    def best_time(
        self,
        now_ms: int,
        utc_offset_minutes: int,
        *,
        within_hours: int = 24,
        quiet: tuple[int, int] | None = (22, 8),
        not_before_ms: int | None = None,
        offset_at: Callable[[int], int] | None = None,
    ) -> BestTime:
        """The moment of the greatest share of activity, the earliest of several: now, or when its local hour begins.

        With fewer than 20 events it is a moment whose local hour is the nearest to 18, the earliest of several.

        Args:
            now_ms: milliseconds since the Unix epoch, UTC.
            utc_offset_minutes: local time minus UTC. All of the time looked at has it, unless ``offset_at`` is given:
                a change of daylight saving time in between is then missed by its hour.
            within_hours: the moment is earlier than so many hours from now, 1 to 168.
            quiet: from which local hour, 0 to 23, to the beginning of which other one never to notify; it may be over
                midnight. None: at any hour. If there is no other moment ``within_hours``, the first one after is
                given, with the reason ``quiet``: look at ``at_ms`` if that would be too late.
            not_before_ms: the earliest moment allowed, same unit as ``now_ms``. If it is later than ``within_hours``
                allow, it wins, in the same way.
            offset_at: gives local time minus UTC, in minutes, at a time in milliseconds, such as
                ``Clock.utc_offset_minutes``.

        Raises:
            UsageError: an argument is out of its range, or by ``offset_at`` quiet hours do not end for two days.
        """
        _check(utc_offset_minutes, within_hours, quiet)
        shares, mass = self._measured(now_ms, utc_offset_minutes)
        start = now_ms if not_before_ms is None else max(now_ms, not_before_ms)
        end = now_ms + within_hours * _HOUR_MS
        known = self.events >= FEWEST_EVENTS
        best: tuple[float, int, int] | None = None  # worth, moment, hour of the week
        at = start
        while at < end or best is None:
            if at >= max(start, end) + _FURTHER_HOURS * _HOUR_MS:
                problem = f"says that the quiet hours {quiet} do not end for {_FURTHER_HOURS} hours"
                raise UsageError(problem, place="best_time(offset_at)", remedy="pass Clock.utc_offset_minutes")
            offset = utc_offset_minutes if offset_at is None else offset_at(at)
            hour = (_local_hour(at, offset) + _MONDAY) % _WEEK
            if not _is_quiet(hour % 24, quiet):
                worth = shares[hour] if known else -_apart(hour % 24, DEFAULT_HOUR)
                if best is None or worth > best[0]:
                    best = (worth, at, hour)
            # Offsets change at a quarter of an hour, of UTC, if at all: no local hour begins unnoticed.
            at += min(_QUARTER_MS - at % _QUARTER_MS, _HOUR_MS - (at + offset * 60_000) % _HOUR_MS)
        _, at, hour = best
        confidence: Confidence = "none"
        if known:
            confidence = "good" if mass >= _GOOD_MASS and shares[hour] >= _GOOD_SHARE else "low"
        reason: Literal["rhythm", "default", "quiet"] = "rhythm" if known else "default"
        return BestTime(at, hour % 24, hour // 24, shares[hour], confidence, "quiet" if at >= end else reason)

    def _measured(self, now_ms: int, utc_offset_minutes: int) -> tuple[list[float], float]:
        """The shares, and the activity that is not forgotten."""
        now = _local_hour(now_ms, utc_offset_minutes)
        week = [0.0] * _WEEK
        for hour, count in sorted(self._activity.items()):  # a sum of floats depends on its order
            # An event from the future is one of a clock that was wrong: it counts as new.
            week[(hour + _MONDAY) % _WEEK] += count * decayed(max(0, now - hour), HALF_LIFE_DAYS * 24)
        smooth = [week[h - 1] / 4 + week[h] / 2 + week[(h + 1) % _WEEK] / 4 for h in range(_WEEK)]
        mass = sum(smooth)
        days = [(sum(smooth[h::24]) + _PRIOR_MASS / 24) / (mass + _PRIOR_MASS) for h in range(24)]
        shares = [(smooth[h] + _ALL_DAYS_MASS * days[h % 24] / 7) / (mass + _ALL_DAYS_MASS) for h in range(_WEEK)]
        return shares, mass


class LoggedRhythm:
    """The rhythm of one profile, kept up to date with its log. Safe for several threads."""

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Drop what is in memory of the profile; it is read again."""
        with self._lock:
            self._rhythm = Rhythm()
            self._through, self._rewrites = 0, -1

    def best_time(
        self,
        *,
        within_hours: int,
        quiet: tuple[int, int] | None,
        not_before_ms: int | None,
        uses_history: bool,
    ) -> BestTime:
        """See :meth:`Rhythm.best_time`; at the clock's time and offsets.

        Args:
            uses_history: False: as for a user of whom nothing is known.

        Raises:
            UsageError: an argument is of the wrong type or out of its range. StorageError: the log cannot be read.
        """
        _check_types(within_hours, quiet, not_before_ms)
        now = self._clock.now_ms()
        with self._lock:
            rhythm = self._caught_up() if uses_history else Rhythm()
            return rhythm.best_time(
                now,
                self._clock.utc_offset_minutes(now),
                within_hours=within_hours,
                quiet=quiet,
                not_before_ms=not_before_ms,
                offset_at=self._clock.utc_offset_minutes,
            )

    def _caught_up(self) -> Rhythm:
        reading = self._log.read("", self._through, self._rewrites)
        if reading.anew:
            self._rhythm = Rhythm()
        self._rhythm.fold(reading.events)
        self._through, self._rewrites = reading.through, reading.rewrites
        return self._rhythm


def _local_hour(at_ms: int, utc_offset_minutes: int) -> int:
    """Whole hours since the beginning of 1970, in local time."""
    return (at_ms + utc_offset_minutes * 60_000) // _HOUR_MS


def _is_quiet(hour: int, quiet: tuple[int, int] | None) -> bool:
    if quiet is None:
        return False
    begin, end = quiet
    return begin <= hour < end if begin < end else hour >= begin or hour < end


def _apart(hour: int, other: int) -> int:
    """How many hours lie between two hours of the day, the shorter way round."""
    return min((hour - other) % 24, (other - hour) % 24)


def _check(utc_offset_minutes: int, within_hours: int, quiet: tuple[int, int] | None) -> None:
    if not -1440 < utc_offset_minutes < 1440:
        raise UsageError(
            f"is {utc_offset_minutes}",
            place="best_time(utc_offset_minutes)",
            remedy="use minutes, from -1439 to 1439",
        )
    if not 1 <= within_hours <= _WEEK:
        raise UsageError(
            f"is {shown(within_hours)}", place="best_time(within_hours)", remedy=f"use a number from 1 to {_WEEK}"
        )
    if quiet is not None and not (len(quiet) == 2 and all(0 <= hour < 24 for hour in quiet) and quiet[0] != quiet[1]):
        raise UsageError(
            f"is {quiet}", place="best_time(quiet)", remedy="use two different hours from 0 to 23, or None for none"
        )


def _check_types(within_hours: object, quiet: object, not_before_ms: object) -> None:
    """How large most of them may be is checked where they are used."""
    numbers: list[tuple[str, object]] = [("within_hours", within_hours)]
    if not_before_ms is not None:
        numbers.append(("not_before_ms", not_before_ms))
    for name, value in numbers:
        if type(value) is not int:
            raise UsageError(f"is {shown(value)}", place=f"best_time({name})", remedy="give a whole number")
    if isinstance(not_before_ms, int) and not 0 <= not_before_ms < END_MS:
        problem = f"{shown(not_before_ms)} is not in the years 1970 to 2199"
        remedy = "give milliseconds since 1970-01-01 UTC, or None"
        raise UsageError(problem, place="best_time(not_before_ms)", remedy=remedy)
    if not (quiet is None or (isinstance(quiet, Sequence) and all(type(hour) is int for hour in quiet))):
        raise UsageError(f"is {shown(quiet)}", place="best_time(quiet)", remedy="give two hours, or None")
