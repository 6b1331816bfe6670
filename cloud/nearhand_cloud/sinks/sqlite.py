"""The embedded sink: one SQLite file has the events and what is known of them, so that both change together."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from nearhand.clock import Clock
from nearhand_cloud.events import message_digest
from nearhand_cloud.sinks import rows
from nearhand_cloud.sinks.sink import Batch, Erasure, Kept
from nearhand_cloud.sinks.writer import Writer

APPLICATION_ID = 0x4E484345  # "NHCE"
FILE_NAME = "events.db"

# Events are only appended: SQLite moves them to another page, and leaves a copy behind, when others are deleted only.
# That is why what finds them has no id that could be left behind in a page of an index.
_SCHEMA = f"""
    {rows.TABLES};
    CREATE TABLE event (
        number INTEGER PRIMARY KEY,
        install_id TEXT NOT NULL,
        event_id TEXT NOT NULL,
        event TEXT NOT NULL,
        item_id TEXT,
        timestamp INTEGER NOT NULL, -- milliseconds since the Unix epoch, by the device's clock; so is recorded_at
        recorded_at INTEGER NOT NULL,
        utc_offset_minutes INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        recommendation_id TEXT,
        context TEXT NOT NULL, -- JSON
        properties TEXT NOT NULL, -- JSON
        received_at INTEGER NOT NULL -- milliseconds, by the endpoint's clock
    ) STRICT;
    CREATE TABLE seen (
        install INTEGER NOT NULL,
        message BLOB NOT NULL, -- 128 bits of the SHA-256 of the event id
        event INTEGER, -- its number; NULL: it was erased
        PRIMARY KEY (install, message)
    ) STRICT, WITHOUT ROWID
"""
_INSERT = f"INSERT INTO event VALUES ({', '.join('?' * 14)})"


class SqliteSink:
    """See :class:`nearhand_cloud.sinks.sink.Sink`.

    Args:
        folder: where the file is, and is made if need be.
        clock: what ``received_at`` is read from.

    Raises:
        UnavailableError: the file cannot be opened, or is a database of something else.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._clock = clock
        self._writer = Writer(folder / FILE_NAME, APPLICATION_ID, _SCHEMA)

    async def keep(self, batch: Batch) -> Kept:
        """See :meth:`Sink.keep`."""
        return await self._writer.run(lambda connection: self._keep(connection, batch))

    async def erase(self, erasure: Erasure) -> int:
        """See :meth:`Sink.erase`."""
        return await self._writer.run(lambda connection: self._erase(connection, erasure))

    async def features(self, install_id: str, install_key: bytes) -> str | None:
        """See :meth:`Sink.features`."""
        return await self._writer.run(rows.features(install_id, install_key))

    async def put_features(self, install_id: str, text: str | None) -> None:
        """See :meth:`Sink.put_features`."""
        await self._writer.run(rows.put_features(install_id, text))

    async def check(self) -> None:
        """See :meth:`Sink.check`."""
        await self._writer.run(lambda connection: connection.execute("SELECT 1 FROM upkeep").fetchone())

    async def close(self) -> None:
        """See :meth:`Sink.close`."""
        await self._writer.close()

    def _keep(self, connection: sqlite3.Connection, batch: Batch) -> Kept:
        install = rows.admitted(connection, batch.install_id, batch.install_key)
        (number,) = connection.execute("SELECT coalesce(max(number), 0) FROM event").fetchone()
        received_at = self._clock.now_ms()
        mark = connection.cursor()
        new = []
        for event in batch.events:
            mark.execute(
                "INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (install, message_digest(event.event_id), number + 1)
            )
            if mark.rowcount:
                number += 1
                new.append(
                    (
                        number,
                        batch.install_id,
                        event.event_id,
                        event.event,
                        event.item_id,
                        event.timestamp,
                        event.recorded_at,
                        event.utc_offset_minutes,
                        event.sequence,
                        event.epoch,
                        event.recommendation_id,
                        event.context,
                        event.properties,
                        received_at,
                    )
                )
        connection.executemany(_INSERT, new)
        return Kept(len(new), len(batch.events) - len(new))

    def _erase(self, connection: sqlite3.Connection, erasure: Erasure) -> int:
        now = self._clock.now_ms()
        install = rows.proven(connection, erasure)
        rows.note(connection, erasure, now)
        if erasure.event_ids is not None:
            return _erase_events(connection, install, erasure.event_ids)
        erased = connection.execute(
            "DELETE FROM event WHERE number IN (SELECT event FROM seen WHERE install = ?)", (install,)
        ).rowcount
        connection.execute("DELETE FROM seen WHERE install = ?", (install,))
        rows.erase_install(connection, install, now)
        return erased


def _erase_events(connection: sqlite3.Connection, install: int, event_ids: Sequence[str]) -> int:
    erased = 0
    for event_id in event_ids:
        message = message_digest(event_id)
        found = connection.execute(
            "SELECT event FROM seen WHERE install = ? AND message = ?", (install, message)
        ).fetchone()
        if found is not None and found[0] is not None:
            erased += connection.execute("DELETE FROM event WHERE number = ?", found).rowcount
        connection.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, NULL)", (install, message))
    connection.execute("UPDATE upkeep SET wipe_due = 1")
    return erased
