"""Counts decisions, and times the server."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import replace

from nearhand.clock import Clock
from nearhand.hybrid.status import RouteDecision

_LAST = 50
_LATENCIES = 128
_FEW = 5
_RECENT_NS = 60_000_000_000
"""Older latencies say nothing of the server as it is now: a slow one is tried again a minute later."""


class Decided:
    """A decision whose outcome is told once."""

    def __init__(self, decision: RouteDecision) -> None:
        self.decision = decision


class Tally:
    """Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last: deque[Decided] = deque(maxlen=_LAST)
        self._latencies: deque[tuple[int, float]] = deque(maxlen=_LATENCIES)
        self._decisions: dict[str, Counter[str]] = {}
        self._outcomes: Counter[str] = Counter()
        self._sent = [0, 0, 0]

    def decided(self, decision: RouteDecision) -> Decided:
        """Count a decision."""
        made = Decided(decision)
        with self._lock:
            self._last.append(made)
            self._decisions.setdefault(decision.where, Counter())[decision.reason] += 1
            if decision.outcome != "pending":
                self._outcomes[decision.outcome] += 1
        return made

    def ended(self, decided: Decided, outcome: str, waited_ms: float) -> None:
        """Tell the outcome of a decision that was pending."""
        with self._lock:
            decided.decision = replace(decided.decision, outcome=outcome, waited_ms=waited_ms)
            self._outcomes[outcome] += 1

    def left(self, sent_bytes: int) -> None:
        """A request leaves."""
        with self._lock:
            self._sent[0] += 1
            self._sent[1] += sent_bytes

    def came(self, received_bytes: int) -> None:
        """An answer came."""
        with self._lock:
            self._sent[2] += received_bytes

    def took(self, elapsed_ms: float) -> None:
        """The server took so long, or longer."""
        with self._lock:
            self._latencies.append((self._clock.monotonic_ns(), elapsed_ms))

    def percentile_ms(self, share: float) -> float | None:
        """So many of the latest calls took no longer; None: there were none lately."""
        recent = self._recent()
        return recent[round((len(recent) - 1) * share)] if recent else None

    def expected_ms(self) -> float | None:
        """What nine of ten calls do not exceed; None: there were too few lately to tell."""
        recent = self._recent()
        return recent[round((len(recent) - 1) * 0.9)] if len(recent) >= _FEW else None

    def _recent(self) -> list[float]:
        now = self._clock.monotonic_ns()
        with self._lock:
            return sorted(elapsed for at, elapsed in self._latencies if now - at <= _RECENT_NS)

    def decisions(self) -> dict[str, dict[str, int]]:
        with self._lock:
            return {where: dict(reasons) for where, reasons in self._decisions.items()}

    def outcomes(self) -> dict[str, int]:
        with self._lock:
            return dict(self._outcomes)

    def last(self) -> tuple[RouteDecision, ...]:
        with self._lock:
            return tuple(decided.decision for decided in self._last)

    def traffic(self) -> tuple[int, int, int]:
        """Requests, bytes sent, bytes received."""
        with self._lock:
            return self._sent[0], self._sent[1], self._sent[2]
