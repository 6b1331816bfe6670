"""A clock for tests."""

from __future__ import annotations

from collections.abc import Callable


class ManualClock:
    """A :class:`nearhand.clock.Clock` that moves only when it is told to.

    Args:
        now_ms: where it starts, milliseconds since the Unix epoch, UTC.
        utc_offset_minutes: gives local time minus UTC, in minutes, for a time in milliseconds since the epoch.
    """

    def __init__(
        self, now_ms: int = 1_700_000_000_000, *, utc_offset_minutes: Callable[[int], int] = lambda at_ms: 0
    ) -> None:
        self._now_ms = now_ms
        self._monotonic_ns = 0
        self._utc_offset_minutes = utc_offset_minutes

    def advance(self, milliseconds: int) -> None:
        """Let time pass, ``milliseconds`` from 0: both clocks go on."""
        self._now_ms += milliseconds
        self._monotonic_ns += milliseconds * 1_000_000

    def jump_to(self, now_ms: int) -> None:
        """Set the wall clock, either way, as a user or a time server does. The monotonic clock is not touched."""
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def utc_offset_minutes(self, at_ms: int) -> int:
        return self._utc_offset_minutes(at_ms)

    def monotonic_ns(self) -> int:
        return self._monotonic_ns
