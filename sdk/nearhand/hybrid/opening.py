"""The cloud as one profile's lists ask it: its configuration, the bundle, the user's consent and the audit log."""

from __future__ import annotations

from collections.abc import Callable

from nearhand.bundle import BundleFolder
from nearhand.bundle.durable import storage_errors
from nearhand.bundle.schema import MANIFEST_PATH
from nearhand.clock import Clock
from nearhand.events import EventLog
from nearhand.features.store import FeatureStore
from nearhand.hybrid.allowed import Allowed
from nearhand.hybrid.config import HybridConfig
from nearhand.hybrid.reranker import CloudReranker
from nearhand.hybrid.router import Surroundings
from nearhand.monitoring import Meter
from nearhand.network import Transport
from nearhand.privacy import Audit, PreferenceStore
from nearhand.profile import ProfileStore


def open_reranker(
    config: HybridConfig,
    bundle: BundleFolder,
    surroundings: Callable[[], Surroundings] | None,
    preferences: PreferenceStore,
    log: EventLog,
    features: FeatureStore | None,
    store: ProfileStore,
    clock: Clock,
    meter: Meter,
    transport: Transport | None,
) -> CloudReranker:
    """What ranks one profile's lists in the cloud, if its user allows it. Opens no connection.

    Raises:
        StorageError: the bundle's folder cannot be read. UsageError: the bundle makes no recommendations.
    """
    manifest = bundle.manifest
    with storage_errors(str(bundle.folder)):
        installed_at = (bundle.folder / MANIFEST_PATH).stat().st_mtime_ns // 1_000_000
    return CloudReranker(
        config,
        model=manifest.name,
        parameters={
            "bundle_version": manifest.version,
            "catalogue": manifest.retrieval.items.file.sha256,
            "program": "" if manifest.features is None else manifest.features.file.sha256,
        },
        program=None if features is None else features.program,
        allowed=Allowed(log, manifest.retrieval.policy),
        installed_at=installed_at,
        consents=lambda: preferences.current.consent == "sync",
        still_consents=lambda: preferences.fresh().consent == "sync",
        audit=Audit(store, clock),
        surroundings=surroundings,
        clock=clock,
        meter=meter,
        transport=transport,
    )
