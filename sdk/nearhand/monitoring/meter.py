"""Latencies and degradations. Nothing here leaves the device by itself."""

from __future__ import annotations

import threading
from collections import Counter, deque
from contextlib import AbstractContextManager
from types import TracebackType
from typing import ClassVar

from nearhand.clock import Clock
from nearhand.records import dataclass

_KEPT = 512
_REASONS = 100
MORE_REASONS = "for more reasons than are told apart"
"""Under which is counted what happens for yet another reason: some name what they met, and an app runs for months."""


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

    def timed(self, verb: str) -> AbstractContextManager[None]:
        """Time the block as one call of ``verb``, if it does not raise."""
        return _Timed(self, verb, self._clock)

    def took(self, verb: str, duration_ns: int) -> None:
        """Note one call of ``verb``."""
        with self._lock:
            kept = self._durations.get(verb)
            if kept is None:
                kept = self._durations[verb] = deque(maxlen=_KEPT)
            kept.append(duration_ns)
            self._calls[verb] += 1

    def degraded(self, reason: str, error: Exception) -> None:
        """Count an error that is handled by giving less than was asked."""
        if self.raise_swallowed:
            raise error
        self.skipped(f"{reason}: {error}")

    def skipped(self, reason: str) -> None:
        """Count something that was left out on purpose, such as a stage that a deadline did not allow."""
        with self._lock:
            is_told = reason in self._degradations or len(self._degradations) < _REASONS
            self._degradations[reason if is_told else MORE_REASONS] += 1

    def degradations(self) -> dict[str, int]:
        """Reason → count, since opening: the first 100 reasons, and :data:`MORE_REASONS`."""
        with self._lock:
            return dict(self._degradations)

    def latencies(self) -> dict[str, Latency]:
        """Verb → its latency, for the verbs that were called."""
        with self._lock:
            return {verb: _latency(self._calls[verb], list(kept)) for verb, kept in self._durations.items()}


class _Timed(AbstractContextManager[None]):
    """A block whose time is noted. Each call of the device's verbs is one, so it is no generator, which costs more."""

    __slots__ = ("_clock", "_meter", "_start_ns", "_verb")

    def __init__(self, meter: Meter, verb: str, clock: Clock) -> None:
        self._meter = meter
        self._verb = verb
        self._clock = clock

    def __enter__(self) -> None:
        self._start_ns = self._clock.monotonic_ns()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._meter.took(self._verb, self._clock.monotonic_ns() - self._start_ns)


def _latency(calls: int, durations_ns: list[int]) -> Latency:
    ordered = sorted(durations_ns)
    last = len(ordered) - 1
    p50, p95, p99 = (ordered[round(last * share)] / 1e6 for share in (0.50, 0.95, 0.99))
    return Latency(calls, p50, p95, p99)
