"""What leaves the device, when and how: the outbox over the event log, and the calls that empty it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nearhand.lazily import lazily

if TYPE_CHECKING:
    from nearhand.sync.config import SyncConfig
    from nearhand.sync.identity import ERASURES, part
    from nearhand.sync.report import SyncReport, SyncStatus
    from nearhand.sync.syncer import Syncer
else:
    __getattr__ = lazily(
        __name__,
        {
            "config": ["SyncConfig"],
            "identity": ["ERASURES", "part"],
            "report": ["SyncReport", "SyncStatus"],
            "syncer": ["Syncer"],
        },
    )

__all__ = ["ERASURES", "SyncConfig", "SyncReport", "SyncStatus", "Syncer", "part"]
