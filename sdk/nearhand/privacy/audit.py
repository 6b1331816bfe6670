"""What left the device, when and why: a journal that the user can read."""

from __future__ import annotations

import json
from dataclasses import asdict

from nearhand.clock import Clock
from nearhand.ids import random_id
from nearhand.profile import ProfileStore
from nearhand.records import dataclass

JOURNAL = "audit"
_KEPT = 2000


@dataclass(frozen=True)
class AuditEntry:
    """Something that left the device.

    Attributes:
        at: when, ms since the epoch by the device's clock.
        what: such as ``events`` or ``profile``; count: how many records; bytes: how many bytes went.
        to: where it went, such as an endpoint's address or ``a file``.
        why: such as ``sync`` or ``export``.
    """

    at: int
    what: str
    count: int
    bytes: int
    to: str
    why: str


class Audit:
    """The journal of one profile, its latest 2,000 entries. No entry has an identifier of an event or an item."""

    def __init__(self, store: ProfileStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def note(self, what: str, *, count: int, size: int, to: str, why: str) -> AuditEntry:
        """Write an entry; to be called before the data leaves, so that nothing leaves without one.

        Raises:
            StorageError: it could not be written: then nothing may leave.
        """
        entry = AuditEntry(self._clock.now_ms(), what, count, size, to, why)
        content = json.dumps(asdict(entry), sort_keys=True).encode()
        self._store.append(JOURNAL, random_id(), entry.at, content, keep=_KEPT)
        return entry

    def entries(self) -> list[AuditEntry]:
        """The latest last.

        Raises:
            StorageError: they cannot be read.
        """
        return [AuditEntry(**json.loads(entry.content)) for entry in self._store.entries(JOURNAL)]
