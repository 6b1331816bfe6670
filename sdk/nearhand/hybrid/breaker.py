"""A circuit breaker: a server that fails is left alone for a while, longer each time, and then tried with one call."""

from __future__ import annotations

import threading
from typing import Literal, TypeAlias

from nearhand.clock import Clock

BreakerState: TypeAlias = Literal["closed", "open", "half_open"]

_LONGEST_PAUSE_MS = 3_600_000
"""However long a server asks to be left alone, an hour later it is tried."""


class Breaker:
    """Closed: calls are made. Open: none is. Half-open: one may be made, and its outcome decides. Thread-safe."""

    def __init__(self, clock: Clock, *, failures: int, first_ms: int, longest_ms: int) -> None:
        """
        Args:
            clock: whose monotonic time is used.
            failures: so many one after the other open it.
            first_ms, longest_ms: how long it is open, at first and at most; twice as long each time a trial fails.
        """
        self._clock = clock
        self._limit = failures
        self._first_ms = first_ms
        self._longest_ms = longest_ms
        self._lock = threading.Lock()
        self._failures = 0
        self._openings = 0
        self._open_until_ns: int | None = None
        self._trial: int | None = None
        self._calls = 0

    @property
    def state(self) -> BreakerState:
        """How it is now."""
        with self._lock:
            return self._state()

    @property
    def opens_in_ms(self) -> int:
        """How long it stays open; 0: it is not."""
        with self._lock:
            left = 0 if self._open_until_ns is None else self._open_until_ns - self._clock.monotonic_ns()
            return max(0, -(-left // 1_000_000))

    def begin(self) -> int | None:
        """A number for a call that may be made now, whose outcome has to be told; None: none may."""
        with self._lock:
            state = self._state()
            if state == "open" or (state == "half_open" and self._trial is not None):
                return None
            self._calls += 1
            if state == "half_open":
                self._trial = self._calls
            return self._calls

    def succeeded(self, call: int) -> None:
        """A call had an answer that can be used."""
        with self._lock:
            if self._state() == "closed" or call == self._trial:
                self._failures = self._openings = 0
                self._open_until_ns = self._trial = None

    def failed(self, call: int, *, pause_ms: float | None = None, at_once: bool = False) -> None:
        """A call had none.

        Args:
            pause_ms: how long the server asked to be left alone: it is open for that long, an hour at the most.
            at_once: it is open from now on, for the next call could not do better.
        """
        with self._lock:
            was_trial = call == self._trial
            if self._state() != "closed" and not was_trial:
                return  # a straggler of before, of which nothing new is learned
            self._failures += 1
            self._trial = None
            if was_trial or at_once or pause_ms is not None or self._failures >= self._limit:
                backoff = min(self._longest_ms, self._first_ms * 2 ** min(self._openings, 30))
                self._openings += 1
                self._failures = 0
                pause = round(max(backoff, min(pause_ms or 0, _LONGEST_PAUSE_MS)))
                self._open_until_ns = self._clock.monotonic_ns() + pause * 1_000_000

    def dropped(self, call: int) -> None:
        """A call was not made after all, or says nothing of the server."""
        with self._lock:
            if call == self._trial:
                self._trial = None

    def _state(self) -> BreakerState:
        if self._open_until_ns is None:
            return "closed"
        return "open" if self._clock.monotonic_ns() < self._open_until_ns else "half_open"
