"""Latencies and degradations. Nothing here leaves the device by itself."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from nearhand.clock import Clock
from nearhand.records import dataclass

_KEPT = 512


@dataclass(frozen=True)
class Latency:
    """Percentiles of the latest calls (at most 512), in milliseconds, and the number of calls since opening."""

    calls: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


class Meter:
    """Counts what was swallowed and times what was done. Safe to call from several threads."""

    raise_swallowed: ClassVar[bool] = False
    """Tests set this: an error that the host app would not see is then raised."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._durations: dict[str, deque[int]] = {}
        self._calls: Counter[str] = Counter()
        self._degradations: Counter[str] = Counter()

    @contextmanager
    def timed(self, verb: str) -> Iterator[None]:
        """Time the block as one call of ``verb``, if it does not raise."""
        start = self._clock.monotonic_ns()
        yield
        duration = self._clock.monotonic_ns() - start
        with self._lock:
            self._durations.setdefault(verb, deque(maxlen=_KEPT)).append(duration)
            self._calls[verb] += 1

    def degraded(self, reason: str, error: Exception) -> None:
        """Count an error that is handled by giving less than was asked."""
        if self.raise_swallowed:
            raise error
        with self._lock:
            self._degradations[f"{reason}: {error}"] += 1

    def skipped(self, reason: str) -> None:
        """Count something that was left out on purpose, such as a stage that a deadline did not allow."""
        with self._lock:
            self._degradations[reason] += 1

    def degradations(self) -> dict[str, int]:
        """Reason → count, since opening."""
        with self._lock:
            return dict(self._degradations)

    def latencies(self) -> dict[str, Latency]:
        """Verb → its latency, for the verbs that were called."""
        with self._lock:
            return {verb: _latency(self._calls[verb], list(kept)) for verb, kept in self._durations.items()}


def _latency(calls: int, durations_ns: list[int]) -> Latency:
    ordered = sorted(durations_ns)
    last = len(ordered) - 1
    p50, p95, p99 = (ordered[round(last * share)] / 1e6 for share in (0.50, 0.95, 0.99))
    return Latency(calls, p50, p95, p99)
