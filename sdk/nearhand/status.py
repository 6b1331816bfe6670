"""What a Personalizer says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nearhand.bundle.schema import Precision, RuntimeName
from nearhand.features.store import FeatureStatus
from nearhand.monitoring import Latency
from nearhand.privacy import Consent
from nearhand.records import dataclass
from nearhand.sync import SyncStatus

if TYPE_CHECKING:
    from nearhand.hybrid import HybridStatus


@dataclass(frozen=True)
class Status:
    """What is loaded, how it performs, and what was degraded since opening.

    Attributes:
        slot: the folder of the unpacked bundle.
        runtime, runtime_version, precision: of the retrieval model; None: the bundle has none, or it is not loaded
            because the app is paused.
        consent: what the user allows.
        events: number of events in the profile's log; log_bytes: its size on disk.
        not_recorded: events that were not kept, since opening, because the user does not allow it.
        unknown_items: events whose item this bundle's catalogue does not have.
        drops: reason → how many events left the log by its caps, ever.
        eviction_failures: how often, since opening, the caps could not be enforced; it is tried again.
        quarantined: the files that a damaged log, or a damaged store of the profile's choices, was moved to.
        features: how features are served; None: the bundle has no feature program.
        hybrid: how lists were ranked in the cloud; None: the app has not set it up.
        learned: how many answers the bandit has learned from; None: the bundle has no bandit.
        is_paused: whether the models are unloaded until they are asked for.
        latencies: verb → latency.
        degradations: reason → how often less was given than was asked; at most 101 of them, the last for all others.
        sync: how the outbox is doing; None: there is no endpoint.
    """

    bundle: str
    bundle_version: str
    digest: str
    slot: str
    runtime: RuntimeName | None
    runtime_version: str | None
    precision: Precision | None
    profile: str
    consent: Consent
    is_encrypted: bool
    items: int
    events: int
    log_bytes: int
    not_recorded: int
    unknown_items: int
    drops: Mapping[str, int]
    eviction_failures: int
    quarantined: tuple[str, ...]
    features: FeatureStatus | None
    hybrid: HybridStatus | None
    learned: int | None
    is_paused: bool
    latencies: Mapping[str, Latency]
    degradations: Mapping[str, int]
    sync: SyncStatus | None
