"""The outbox: no copy of events, but how far the log was sent, what never will be, and what is to be deleted elsewhere.

An event is in a lane from the moment it is recorded. Each lane has a cursor, which moves when the endpoint has
answered, never back and never past an event that was not dealt with. A marker moves before events are handed out: an
event that is forgotten later may have been sent, and its deletion is noted, in the transaction that deletes it here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from nearhand.cipher import Cipher
from nearhand.events.database import truncate
from nearhand.events.event import MAX_ID_CHARACTERS, RESET, RecordedEvent, is_name
from nearhand.events.rows import ALLOWED, COLUMNS, CONSENTED, STAYS, recorded
from nearhand.events.schema import transaction
from nearhand.records import dataclass

T = TypeVar("T")
_AT_ONCE = 500
_WAITING = [f"lane = {lane} AND sequence > (SELECT sent FROM lane WHERE number = {lane})" for lane in (1, 2)]
"""SQL: the events of a lane that its cursor has not reached."""
_TEXTS = [COLUMNS.index(name) for name in ("event_id", "event", "item_id", "context", "properties")]


@dataclass(frozen=True)
class Parcel:
    """Events that are handed out to be sent; they may be sent, and forgotten, from now on.

    Attributes:
        events: in the order of their sequence numbers; there may be none, if there were only markers of resets.
        through: the sequence number up to which the lane is in it.
        is_cut: whether there are more of them, for which there was no room.
        lane, log: where they come from.
    """

    events: Sequence[RecordedEvent]
    through: int
    is_cut: bool
    lane: int
    log: int


class Use(Protocol):
    """What runs some work on the log's connection."""

    def __call__(self, work: Callable[[sqlite3.Connection], T]) -> T: ...


class Outbox:
    """What of a log is still to be sent; :attr:`nearhand.events.EventLog.outbox`. Safe for threads and processes.

    Every method raises StorageError if the file cannot be read or written, EncryptionError if the key cannot be used,
    and UsageError if the log is closed.
    """

    def __init__(self, read: Use, write: Use, cipher: Cipher | None) -> None:
        self._read = read
        self._write = write
        self._cipher = cipher

    def take(self, limit: int, max_bytes: int) -> Parcel | None:
        """The next events to send, again and again the same until they are settled; None: there are none.

        Args:
            limit: how many at most, from 1.
            max_bytes: about how many bytes of texts; one event may be more.
        """

        def take(connection: sqlite3.Connection) -> Parcel | None:
            with transaction(connection):
                for lane in (ALLOWED, CONSENTED):  # what was recorded earlier first
                    log, sent, last = connection.execute(
                        "SELECT log, sent, last FROM lane WHERE number = ?", (lane,)
                    ).fetchone()
                    rows, is_cut = _rows(connection, lane, sent, last, limit, max_bytes) if sent < last else ([], False)
                    if rows:
                        events = [recorded(row, self._cipher) for row in rows]
                        through = events[-1].sequence
                        connection.execute(
                            "UPDATE lane SET sending = max(sending, ?) WHERE number = ?", (through, lane)
                        )
                        events = [event for event in events if event.event != RESET]
                        return Parcel(events, through, is_cut, lane, log)
            return None

        return self._write(take)

    def settle(self, parcel: Parcel, through: int, unsent: Mapping[str, int]) -> bool:
        """Note that the events of a parcel up to a sequence number have been dealt with.

        Args:
            unsent: reason → how many of them are not kept at the endpoint, and never will be.

        Returns:
            False: the log has been replaced since, and nothing was noted.
        """

        def settle(connection: sqlite3.Connection) -> bool:
            with transaction(connection):
                moved = connection.execute(
                    "UPDATE lane SET sent = ? WHERE number = ? AND log = ? AND sent < ? AND sending >= ?",
                    (through, parcel.lane, parcel.log, through, through),
                ).rowcount
                if moved:
                    _count(connection, unsent)
            return bool(moved)

        return self._write(settle)

    def allow_past(self) -> int:
        """Let everything be sent that was recorded without consent to send it, resets excepted; how many events.

        All of it is later than what was let go so before.
        """

        def allow(connection: sqlite3.Connection) -> int:
            with transaction(connection):
                changed = connection.execute("UPDATE event SET lane = ? WHERE lane = ?", (ALLOWED, STAYS)).rowcount
                connection.execute(
                    "UPDATE lane SET last = (SELECT ifnull(max(sequence), 0) FROM event) WHERE number = ?", (ALLOWED,)
                )
            return changed

        return self._write(allow)

    def sendable(self, event_ids: Sequence[str]) -> set[str]:
        """Which of some events are in the log, and may leave the device."""
        names = {self._name(event_id): event_id for event_id in event_ids}
        asked = list(names)

        def find(connection: sqlite3.Connection) -> set[str]:
            found: set[str] = set()
            for start in range(0, len(asked), _AT_ONCE):
                part = asked[start : start + _AT_ONCE]
                marks = ", ".join("?" * len(part))
                rows = connection.execute(f"SELECT event_id FROM event WHERE lane > 0 AND event_id IN ({marks})", part)
                found.update(names[name] for (name,) in rows)
            return found

        return self._read(find)

    def stays(self, after: int) -> tuple[bool, int]:
        """Whether an event since the latest reset, the reset's own marker excepted, must stay on the device.

        Args:
            after: only events with a greater sequence number are looked at; they are read one by one.

        Returns:
            that, and the log's last sequence number.
        """
        (found, last) = self._read(
            lambda connection: connection.execute(
                """
                SELECT EXISTS (
                    SELECT 1 FROM event AS one WHERE sequence > ? AND lane = 0 AND epoch = (SELECT epoch FROM ledger)
                        AND (epoch = 0 OR EXISTS (
                            SELECT 1 FROM event WHERE epoch = one.epoch AND sequence < one.sequence))
                ), (SELECT ifnull(max(sequence), 0) FROM event)
                """,
                (after,),
            ).fetchone()
        )
        return bool(found), int(last)

    def pending(self) -> int:
        """How many events are still to be sent."""

        def count(connection: sqlite3.Connection) -> int:
            counts = [f"(SELECT count(*) FROM event WHERE {waiting})" for waiting in _WAITING]
            return int(connection.execute(f"SELECT {' + '.join(counts)}").fetchone()[0])

        return self._read(count)

    def unsent(self) -> dict[str, int]:
        """Reason → how many events never got to the endpoint, since the log was made or erased."""
        return self._read(
            lambda connection: dict(connection.execute("SELECT reason, events FROM unsent ORDER BY reason").fetchall())
        )

    def deletions(self, limit: int) -> list[str]:
        """The identifiers of forgotten events that the endpoint may have."""
        rows = self._read(
            lambda connection: connection.execute("SELECT name, event_id FROM deletion LIMIT ?", (limit,)).fetchall()
        )
        if self._cipher is None:
            return [event_id.decode() for _, event_id in rows]
        return [self._cipher.open(event_id, _place(name)).decode() for name, event_id in rows]

    def deleted(self, event_ids: Sequence[str]) -> None:
        """Note that the endpoint has deleted them; their identifiers go, and their bytes too if nobody is reading."""
        names = [(self._name(event_id),) for event_id in event_ids]

        def delete(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                connection.executemany("DELETE FROM deletion WHERE name = ?", names)
            truncate(connection)

        self._write(delete)

    def _name(self, event_id: str) -> str:
        return event_id if self._cipher is None else self._cipher.index(event_id)


def note_forgotten(connection: sqlite3.Connection, event_id: str, name: str, cipher: Cipher | None) -> None:
    """In the transaction that forgets an event, before it goes: note its deletion, unless it surely was never sent.

    What is not in the log may have been evicted after it was sent.

    Args:
        name: under which the log stores it.
    """
    (maybe_sent,) = connection.execute(
        """
        SELECT EXISTS (SELECT 1 FROM event JOIN lane ON number = event.lane WHERE event_id = ?1 AND sequence <= sending)
            OR NOT EXISTS (SELECT 1 FROM event WHERE event_id = ?1) AND EXISTS (SELECT 1 FROM lane WHERE sending > 0)
        """,
        (name,),
    ).fetchone()
    if maybe_sent and is_name(event_id, MAX_ID_CHARACTERS):
        content = event_id.encode()
        sealed = content if cipher is None else cipher.seal(content, _place(name))
        connection.execute("INSERT OR IGNORE INTO deletion VALUES (?, ?)", (name, sealed))


def note_evicted(connection: sqlite3.Connection, cutoff: int, through: int) -> None:
    """In the transaction that evicts events, before they go: count those that have not been sent.

    Args:
        cutoff, through: those recorded before the one go by their age; the others, up to the other, by their bytes.
    """
    waiting = f"SELECT count(*) FROM event WHERE (({') OR ('.join(_WAITING)}))"
    (aged,) = connection.execute(f"{waiting} AND recorded_at < ?", (cutoff,)).fetchone()
    (surplus,) = connection.execute(f"{waiting} AND recorded_at >= ? AND sequence <= ?", (cutoff, through)).fetchone()
    _count(connection, {"log_days": aged, "log_bytes": surplus})


def _rows(
    connection: sqlite3.Connection, lane: int, sent: int, last: int, limit: int, max_bytes: int
) -> tuple[list[tuple[Any, ...]], bool]:
    """Rows of a lane, and whether there are more, for which there was no room."""
    rows: list[tuple[Any, ...]] = []
    found = connection.execute(
        f"SELECT {', '.join(COLUMNS)} FROM event WHERE lane = ? AND sequence > ? AND sequence <= ? ORDER BY sequence",
        (lane, sent, last),
    )
    try:
        for row in found:
            if len(rows) == limit or max_bytes <= 0:
                return rows, True
            rows.append(row)
            max_bytes -= sum(len(row[text] or "") for text in _TEXTS)
        return rows, False
    finally:
        found.close()


def _count(connection: sqlite3.Connection, unsent: Mapping[str, int]) -> None:
    connection.executemany(
        "INSERT INTO unsent VALUES (?, ?) ON CONFLICT (reason) DO UPDATE SET events = events + excluded.events",
        [(reason, events) for reason, events in unsent.items() if events],
    )


def _place(name: str) -> str:
    return f"deletion {name}"
