"""What left the device, when and why: a journal that the user can read."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, replace

from nearhand.clock import Clock
from nearhand.ids import random_id
from nearhand.profile import ProfileStore
from nearhand.records import dataclass

JOURNAL = "audit"
_KEPT = 2000
_MINUTE_MS = 60_000


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
        self._lock = threading.Lock()
        self._growing: tuple[str, AuditEntry] | None = None

    def note(self, what: str, *, count: int, size: int, to: str, why: str) -> AuditEntry:
        """Write an entry; to be called before the data leaves, so that nothing leaves without one.

        Raises:
            StorageError: it could not be written: then nothing may leave.
        """
        entry = AuditEntry(self._clock.now_ms(), what, count, size, to, why)
        self._write(random_id(), entry)
        return entry

    def note_more(self, what: str, *, count: int, size: int, to: str, why: str) -> AuditEntry:
        """:meth:`note` for what leaves often: what has the same kind, place and reason within a minute is one entry.

        The entry grows before each of them leaves, as durably; all of them together stay few, and do not push older
        entries out.
        """
        with self._lock:
            now = self._clock.now_ms()
            name, entry = self._growing or ("", None)
            key = (what, to, why)
            if entry is None or (entry.what, entry.to, entry.why) != key or not 0 <= now - entry.at < _MINUTE_MS:
                name, entry = random_id(), AuditEntry(now, what, 0, 0, to, why)
            entry = replace(entry, count=entry.count + count, bytes=entry.bytes + size)
            self._write(name, entry)
            self._growing = name, entry
            return entry

    def forget(self) -> None:
        """After the journal was cleared: begin a new entry."""
        with self._lock:
            self._growing = None

    def entries(self) -> list[AuditEntry]:
        """The latest last.

        Raises:
            StorageError: they cannot be read.
        """
        return [AuditEntry(**json.loads(entry.content)) for entry in self._store.entries(JOURNAL)]

    def _write(self, name: str, entry: AuditEntry) -> None:
        content = json.dumps(asdict(entry), sort_keys=True).encode()
        self._store.append(JOURNAL, name, entry.at, content, keep=_KEPT)
