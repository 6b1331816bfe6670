"""What is told of the lists that were, or could have been, ranked in the cloud."""

from __future__ import annotations

from collections.abc import Mapping

from nearhand.hybrid.breaker import BreakerState
from nearhand.hybrid.router import Reason, Where
from nearhand.records import dataclass


@dataclass(frozen=True)
class RouteDecision:
    """One list's way.

    Attributes:
        at: when it was decided, ms since the epoch by the device's clock.
        where, reason: see :class:`nearhand.hybrid.Route`.
        outcome: ``local``: the cloud was not asked; ``cloud``: its scores were used; ``pending``: it is being waited
            for; else why they were not: ``late``, ``timeout``, ``network``, ``status_503`` (or another status),
            ``catalogue`` (the server has another one), ``features`` (the model reads some that the device does not
            have, or that rest on events without consent), ``malformed``, ``too_large``, ``consent`` (withdrawn in the
            meantime), ``not_noted`` (the audit log cannot be written), ``not_sent``, ``closed``.
        left_ms: of the deadline, when it was decided; None: there was none.
        confidence: of the local answer; see :func:`nearhand.hybrid.confidence`.
        waited_ms: for the cloud, beyond the device's own ranking.
    """

    at: int
    where: Where
    reason: Reason
    outcome: str
    left_ms: float | None
    confidence: float
    waited_ms: float


@dataclass(frozen=True)
class HybridStatus:
    """The cloud as it is seen from here, since opening.

    Attributes:
        breaker: the circuit breaker's state; opens_in_ms: until it lets a call through again, 0: it does.
        decisions: where → reason → how many lists; outcomes: outcome → how many lists.
        last: the latest decisions, at most 50, the latest last.
        calls: how many requests left the device; sent_bytes, received_bytes: of their bodies.
        in_flight: calls under way, those that nobody waits for any more included; abandoned: how many became such.
        p50_ms, p90_ms, p99_ms: how long the server took lately, None: there were no calls in the last minute.
    """

    endpoint: str
    model: str
    breaker: BreakerState
    opens_in_ms: int
    decisions: Mapping[str, Mapping[str, int]]
    outcomes: Mapping[str, int]
    last: tuple[RouteDecision, ...]
    calls: int
    sent_bytes: int
    received_bytes: int
    in_flight: int
    abandoned: int
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
