"""What leaves the device, when and how: the outbox over the event log, and the calls that empty it."""

from nearhand.sync.config import SyncConfig
from nearhand.sync.identity import ERASURES, part
from nearhand.sync.report import SyncReport, SyncStatus
from nearhand.sync.syncer import Syncer

__all__ = ["ERASURES", "SyncConfig", "SyncReport", "SyncStatus", "Syncer", "part"]
