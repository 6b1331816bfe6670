"""Where a list is ranked: a pure function of a policy and of what is known at the moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from nearhand.errors import UsageError, shown
from nearhand.hybrid.breaker import BreakerState
from nearhand.records import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

Network: TypeAlias = Literal["unmetered", "metered", "none", "unknown"]
Where: TypeAlias = Literal["local", "cloud", "both"]
Reason: TypeAlias = Literal[
    "consent",
    "no_history",
    "no_candidates",
    "offline",
    "metered",
    "unknown_network",
    "battery",
    "breaker_open",
    "busy",
    "too_many",
    "deadline",
    "confident",
    "probe",
    "stale",
    "short_history",
    "unsure",
]
"""Why: of ``local`` those up to ``confident``, the first that holds; of ``cloud`` and ``both`` the others."""

_NETWORKS = ("unmetered", "metered", "none", "unknown")


@dataclass(frozen=True)
class Surroundings:
    """What the app knows of the device just now.

    Attributes:
        network: ``metered``: bytes cost money; ``none``: there is no network; ``unknown``: the app cannot tell.
        battery: 0 to 1; None: unknown, or there is none.
        is_charging: None: unknown.
    """

    network: Network = "unknown"
    battery: float | None = None
    is_charging: bool | None = None

    def __post_init__(self) -> None:
        if self.network not in _NETWORKS:
            remedy = f"use one of {', '.join(map(repr, _NETWORKS))}"
            raise UsageError(
                f"{shown(self.network)} is no kind of network", place="Surroundings.network", remedy=remedy
            )
        if self.battery is not None and not (type(self.battery) in (int, float) and 0 <= self.battery <= 1):
            raise UsageError(f"is {shown(self.battery)}", place="Surroundings.battery", remedy="give 0 to 1, or None")


@dataclass(frozen=True)
class RoutePolicy:
    """When the cloud is asked.

    Attributes:
        metered: whether on a metered network. unknown_network: whether when the app cannot tell what network it is.
        min_battery: a charge below it, 0 to 1, while not charging, keeps the list on the device.
        confident_from: from this :func:`confidence` on, with ``enough_history`` items or more, the device's own order
            will do. Above 1: never.
        stale_after_days: a bundle that was installed longer ago is asked about however confident it is.
        min_left_ms: with less time left than this, or than nine of ten recent calls took, no call is begun.
        reserve_ms: what is kept of a deadline beyond what the ends of recent lists took, for a busy device.
        alone_from_ms: with this much time, or with no deadline, the device does not rank at the same time: it does if
            the cloud fails. It saves the device's ranker, and costs nothing but a wait when the cloud fails.
        timeout_ms: how long a call may take at the most.
        breaker_failures, breaker_first_ms, breaker_longest_ms: see :class:`nearhand.hybrid.breaker.Breaker`.
    """

    metered: bool = False
    unknown_network: bool = True
    min_battery: float = 0.15
    confident_from: float = 0.9
    enough_history: int = 20
    stale_after_days: float = 30.0
    min_left_ms: float = 40.0
    reserve_ms: float = 20.0
    alone_from_ms: float = 1_500.0
    timeout_ms: float = 1_000.0
    breaker_failures: int = 3
    breaker_first_ms: int = 1_000
    breaker_longest_ms: int = 300_000

    def __post_init__(self) -> None:
        for name, choice in (("metered", self.metered), ("unknown_network", self.unknown_network)):
            if type(choice) is not bool:
                raise UsageError(f"is {shown(choice)}", place=f"RoutePolicy.{name}", remedy="use True or False")
        for field, lowest in (
            ("min_battery", 0),
            ("confident_from", 0),
            ("enough_history", 0),
            ("stale_after_days", 0),
            ("min_left_ms", 0),
            ("reserve_ms", 0),
            ("alone_from_ms", 0),
            ("timeout_ms", 1),
            ("breaker_failures", 1),
            ("breaker_first_ms", 1),
            ("breaker_longest_ms", self.breaker_first_ms),
        ):
            number = getattr(self, field)
            if type(number) not in (int, float) or not lowest <= number < float("inf"):
                remedy = f"use a number from {lowest} on"
                raise UsageError(f"is {shown(number)}", place=f"RoutePolicy.{field}", remedy=remedy)


@dataclass(frozen=True)
class Facts:
    """What is known when a list is asked for.

    Attributes:
        consent: whether the user allows that something of the profile is sent (``sync``).
        history: number of items in the history; confidence: see :func:`confidence`.
        candidates: how many there are.
        left_ms: of the deadline; None: there is none.
        bundle_age_days: since it was installed here.
        breaker: its state; a half-open one whose trial is under way counts as open.
        is_busy: whether as many calls are under way as there may be.
        is_too_many: whether more items are wanted than may be sent.
        p90_ms: nine of ten recent calls took no longer; None: there were too few lately to tell.
    """

    consent: bool
    history: int
    confidence: float
    candidates: int
    left_ms: float | None
    surroundings: Surroundings
    bundle_age_days: float
    breaker: BreakerState
    is_busy: bool
    is_too_many: bool
    p90_ms: float | None


@dataclass(frozen=True)
class Route:
    """Where a list is ranked, and why there."""

    where: Where
    reason: Reason


def decide(policy: RoutePolicy, facts: Facts) -> Route:
    """Where to rank: the first of these that holds keeps the list on the device; see :data:`Reason`."""
    local = _local_reason(policy, facts)
    if local is not None:
        return Route("local", local)
    is_alone = facts.left_ms is None or facts.left_ms >= policy.alone_from_ms
    return Route("cloud" if is_alone else "both", _cloud_reason(policy, facts) or "unsure")


def confidence(scores: NDArray[np.float64]) -> float:
    """How clearly some candidates stand out by their scores, 0 (all alike) to 1 (one of them alone).

    1 − H(p) / ln n, where p is the softmax of the n standardized scores and H its entropy (Shannon 1948). The scores
    are those of retrieval, which are there before anything is ranked or asked.
    """
    if len(scores) < 2 or not (spread := float(scores.std())):
        return 0.0
    z = (scores - scores.max()) / spread
    p = np.exp(z)
    p /= p.sum()
    entropy = -float((p * np.log(np.maximum(p, 1e-300))).sum())
    return min(1.0, max(0.0, 1.0 - entropy / float(np.log(len(scores)))))


def _local_reason(policy: RoutePolicy, facts: Facts) -> Reason | None:
    around = facts.surroundings
    least = policy.min_left_ms if facts.p90_ms is None else max(policy.min_left_ms, facts.p90_ms)
    checks: tuple[tuple[Reason, bool], ...] = (
        ("consent", not facts.consent),
        ("no_history", facts.history == 0),
        ("no_candidates", facts.candidates < 2),  # one alone is in order already
        ("offline", around.network == "none"),
        ("metered", around.network == "metered" and not policy.metered),
        ("unknown_network", around.network == "unknown" and not policy.unknown_network),
        ("battery", around.battery is not None and around.battery < policy.min_battery and not around.is_charging),
        ("breaker_open", facts.breaker == "open"),
        ("busy", facts.is_busy),
        ("too_many", facts.is_too_many),
        ("deadline", facts.left_ms is not None and facts.left_ms - policy.reserve_ms < least),
        ("confident", facts.breaker == "closed" and _cloud_reason(policy, facts) is None),
    )
    return next((reason for reason, holds in checks if holds), None)


def _cloud_reason(policy: RoutePolicy, facts: Facts) -> Reason | None:
    if facts.breaker == "half_open":
        return "probe"
    if facts.bundle_age_days > policy.stale_after_days:
        return "stale"
    if facts.history < policy.enough_history:
        return "short_history"
    return "unsure" if facts.confidence < policy.confident_from else None
