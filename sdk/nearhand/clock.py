"""The device clock, behind one Protocol so that tests can move it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where the SDK reads the time. All of its reads go through here."""

    def now_ms(self) -> int:
        """Wall clock, milliseconds since the Unix epoch, UTC. May jump either way."""
        ...

    def utc_offset_minutes(self, at_ms: int) -> int:
        """Local time minus UTC at ``at_ms``, in minutes (daylight saving time included)."""
        ...

    def monotonic_ns(self) -> int:
        """A clock that never goes back, for measuring durations, in nanoseconds."""
        ...


class SystemClock:
    """The clock of the operating system."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    _offset = (-1, 0)  # of a minute: within one nobody's changes, and the system's answer takes its time

    def utc_offset_minutes(self, at_ms: int) -> int:
        minute, offset = self._offset
        if minute != at_ms // 60_000:
            offset = time.localtime(at_ms / 1000).tm_gmtoff // 60
            self._offset = (at_ms // 60_000, offset)
        return offset

    def monotonic_ns(self) -> int:
        return time.perf_counter_ns()
