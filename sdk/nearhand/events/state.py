"""What is derived from the events and kept beside them, so that it commits with them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Protocol

from nearhand.cipher import Cipher
from nearhand.events.event import RecordedEvent
from nearhand.events.rows import SELECT, recorded
from nearhand.events.schema import transaction
from nearhand.records import dataclass


class Checkpointer(Protocol):
    """Folds events into a state, so that what an evicted event has done to it stays."""

    @property
    def fingerprint(self) -> str:
        """Of all that the fold depends on. The state of another fingerprint is useless, and is deleted."""
        ...

    def fold(self, state: bytes | None, events: Sequence[RecordedEvent], as_of: int) -> bytes:
        """The state that ``state`` becomes when ``events`` have left the log.

        Args:
            state: what the last fold gave; None: there was none.
            events: in the order of their sequence numbers; not necessarily in that of their timestamps, and events
                that stay in the log may lie between them. At most 1,000, so that an eviction is several folds.
            as_of: no later read has an earlier one: the smallest ``recorded_at`` of the 100 latest recordings, plus 1.
        """
        ...


@dataclass(frozen=True)
class Snapshot:
    """A state, for opening fast.

    It is right for as long as it is kept: it is the fold of all evicted events and of the stored ones up to
    ``through``. An eviction up to there only moves events from the one part to the other. An eviction beyond, or an
    event removed from the middle, would make it wrong, and deletes it in the same transaction.

    Attributes:
        state: the state.
        through: the sequence number of the last event in it.
        rewrites: what :meth:`nearhand.events.EventLog.rewrites` gave before the events were read.
    """

    state: bytes
    through: int
    rewrites: int


@dataclass(frozen=True)
class Reading:
    """What a reader needs to be up to date, as it was at one instant.

    Attributes:
        anew: whether to begin again, from ``state``; False: go on from what the reader has.
        state: if ``anew``, the fold of all events that are not in ``events``; None: there are no others.
        events: what to fold next, in the order of their sequence numbers.
        through, rewrites: what to ask with the next time, and what a :class:`Snapshot` of the result has.
    """

    anew: bool
    state: bytes | None
    events: list[RecordedEvent]
    through: int
    rewrites: int


def read(
    connection: sqlite3.Connection,
    fingerprint: str,
    through: int,
    rewrites: int | None,
    cipher: Cipher | None,
    *,
    materialized: bool,
) -> Reading:
    """See :meth:`nearhand.events.EventLog.read`."""
    with transaction(connection, "DEFERRED"):
        current, evicted_through = connection.execute("SELECT rewrites, evicted_through FROM ledger").fetchone()
        anew = rewrites != current or through < evicted_through
        state = None
        if anew:
            snapshot = load_snapshot(connection, fingerprint, cipher) if materialized else None
            state, through = (
                (snapshot.state, snapshot.through) if snapshot else (checkpoint(connection, fingerprint, cipher), 0)
            )
        events = since(connection, through, cipher)
    return Reading(anew, state, events, max(events[-1].sequence if events else through, evicted_through), current)


def since(connection: sqlite3.Connection, sequence: int, cipher: Cipher | None, limit: int = -1) -> list[RecordedEvent]:
    """The events with a greater sequence number, in the order of that number; at most ``limit``, -1: all."""
    found = connection.execute(f"{SELECT} WHERE sequence > ? ORDER BY sequence LIMIT ?", (sequence, limit))
    return [recorded(row, cipher) for row in found.fetchall()]


def checkpoint(connection: sqlite3.Connection, fingerprint: str, cipher: Cipher | None) -> bytes | None:
    """The fold of what was evicted, if there is one of this fingerprint."""
    row = connection.execute("SELECT state FROM checkpoint WHERE fingerprint = ?", (fingerprint,)).fetchone()
    return _opened(bytes(row[0]), f"checkpoint {fingerprint}", cipher) if row else None


def save_checkpoint(connection: sqlite3.Connection, fingerprint: str, state: bytes, cipher: Cipher | None) -> None:
    """Keep the fold of what was evicted. No other one may be there."""
    content = _sealed(state, f"checkpoint {fingerprint}", cipher)
    connection.execute("INSERT INTO checkpoint VALUES (?, ?)", (fingerprint, content))


def load_snapshot(connection: sqlite3.Connection, fingerprint: str, cipher: Cipher | None) -> Snapshot | None:
    """The snapshot of this fingerprint, if there is one."""
    row = connection.execute(
        "SELECT state, through, rewrites FROM snapshot, ledger WHERE fingerprint = ?", (fingerprint,)
    ).fetchone()
    if row is None:
        return None
    state, through, rewrites = row
    return Snapshot(_opened(state, f"snapshot {fingerprint} {through}", cipher), through, rewrites)


def save_snapshot(connection: sqlite3.Connection, fingerprint: str, snapshot: Snapshot, cipher: Cipher | None) -> bool:
    """Keep a snapshot in place of all others; False: it is not right any more, and was not kept."""
    content = _sealed(snapshot.state, f"snapshot {fingerprint} {snapshot.through}", cipher)
    with transaction(connection):
        rewrites, evicted_through = connection.execute("SELECT rewrites, evicted_through FROM ledger").fetchone()
        if snapshot.rewrites != rewrites or snapshot.through < evicted_through:
            return False
        connection.execute("DELETE FROM snapshot")
        connection.execute("INSERT INTO snapshot VALUES (?, ?, ?)", (fingerprint, content, snapshot.through))
        return True


def _sealed(state: bytes, place: str, cipher: Cipher | None) -> bytes:
    return state if cipher is None else cipher.seal(state, place)


def _opened(content: bytes, place: str, cipher: Cipher | None) -> bytes:
    return content if cipher is None else cipher.open(content, place)
