"""The ledger of one endpoint process, in an SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from nearhand.clock import Clock
from nearhand_cloud.events import install_digest, message_digest
from nearhand_cloud.sinks import rows
from nearhand_cloud.sinks.ledger import Lapsed, Place, claimed_elsewhere
from nearhand_cloud.sinks.sink import Erasure
from nearhand_cloud.sinks.writer import Writer

APPLICATION_ID = 0x4E48434C  # "NHCL"
FILE_NAME = "ledger.db"

_SCHEMA = f"""
    {rows.TABLES};
    CREATE TABLE seen (
        install INTEGER NOT NULL,
        message BLOB NOT NULL, -- 128 bits of the SHA-256 of the event id
        at INTEGER NOT NULL, -- milliseconds
        PRIMARY KEY (install, message)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX seen_at ON seen (at);
    CREATE TABLE claim (
        install INTEGER NOT NULL,
        message BLOB NOT NULL,
        token BLOB NOT NULL,
        partition INTEGER NOT NULL,
        floor INTEGER NOT NULL,
        until INTEGER NOT NULL, -- milliseconds
        PRIMARY KEY (install, message)
    ) STRICT, WITHOUT ROWID
"""
_AT_ONCE = 10_000
_ON_ITS_WAY_MS = 1_000
_TRIM = 2_000  # forgotten at most with each claim, which is more than it adds


class SqliteLedger:
    """See :class:`nearhand_cloud.sinks.ledger.Ledger`.

    Args:
        folder: where the file is. One process at a time has it, so claims that are there when it is opened lapse at
            once.
        clock: the time.
        lease_ms: how long a claim lasts.
        keep_ms: for how long it is remembered that an event is stored.

    Raises:
        UnavailableError: the file cannot be opened, or another endpoint has it.
    """

    def __init__(self, folder: Path, clock: Clock, *, lease_ms: int, keep_ms: int) -> None:
        self._clock = clock
        self._lease_ms = lease_ms
        self._keep_ms = keep_ms
        # What the process before this one has sent may still be on its way.
        lapse = f"UPDATE claim SET until = min(until, {clock.now_ms() + _ON_ITS_WAY_MS})"
        self._writer = Writer(folder / FILE_NAME, APPLICATION_ID, _SCHEMA, lapse)

    async def claim(
        self, install_id: str, install_key: bytes, messages: Sequence[bytes], place: Place, token: bytes
    ) -> Sequence[bytes]:
        """See :meth:`Ledger.claim`."""

        def claim(connection: sqlite3.Connection) -> Sequence[bytes]:
            install = rows.admitted(connection, install_id, install_key)
            now = self._clock.now_ms()
            connection.execute(
                "DELETE FROM seen WHERE (install, message) IN"
                f" (SELECT install, message FROM seen WHERE at < ? LIMIT {_TRIM})",
                (now - self._keep_ms,),
            )
            fresh = []
            for message in messages:
                one = (install, message)
                if connection.execute("SELECT 1 FROM claim WHERE install = ? AND message = ?", one).fetchone():
                    raise claimed_elsewhere()
                if not connection.execute("SELECT 1 FROM seen WHERE install = ? AND message = ?", one).fetchone():
                    fresh.append(message)
            until = now + self._lease_ms
            connection.executemany(
                "INSERT INTO claim VALUES (?, ?, ?, ?, ?, ?)",
                [(install, message, token, place.partition, place.floor, until) for message in fresh],
            )
            return fresh

        return await self._writer.run(claim)

    async def settle(self, install: bytes, token: bytes, *, done: Sequence[bytes], released: Sequence[bytes]) -> None:
        """See :meth:`Ledger.settle`."""

        def settle(connection: sqlite3.Connection) -> None:
            found = connection.execute("SELECT number FROM install WHERE digest = ?", (install,)).fetchone()
            if found is None:
                return
            (number,) = found
            connection.executemany(
                "DELETE FROM claim WHERE install = ? AND message = ? AND token = ?",
                [(number, message, token) for message in (*done, *released)],
            )
            now = self._clock.now_ms()
            connection.executemany(
                "INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", [(number, message, now) for message in done]
            )

        await self._writer.run(settle)

    async def lapsed(self) -> Sequence[Lapsed]:
        """See :meth:`Ledger.lapsed`."""

        def read(connection: sqlite3.Connection) -> Sequence[Lapsed]:
            found = connection.execute(
                "SELECT digest, message, partition, floor, token FROM claim JOIN install ON number = install"
                f" WHERE until <= ? ORDER BY until LIMIT {_AT_ONCE}",
                (self._clock.now_ms(),),
            )
            return [
                Lapsed(install, message, Place(partition, floor), token)
                for install, message, partition, floor, token in found
            ]

        return await self._writer.run(read)

    async def begin_erasure(self, erasure: Erasure) -> int:
        """See :meth:`Ledger.begin_erasure`."""

        def begin(connection: sqlite3.Connection) -> int:
            install = rows.proven(connection, erasure)
            now = self._clock.now_ms()
            claimed = {
                message for (message,) in connection.execute("SELECT message FROM claim WHERE install = ?", (install,))
            }
            if erasure.event_ids is None:
                if claimed:
                    raise claimed_elsewhere()
                connection.execute("UPDATE install SET erased_at = ? WHERE number = ?", (now, install))
                (count,) = connection.execute("SELECT count(*) FROM seen WHERE install = ?", (install,)).fetchone()
                return int(count)
            messages = {message_digest(event_id) for event_id in erasure.event_ids}
            if claimed & messages:
                raise claimed_elsewhere()
            count = 0
            for message in messages:
                one = (install, message)
                found = connection.execute("SELECT 1 FROM seen WHERE install = ? AND message = ?", one).fetchone()
                count += found is not None
                connection.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", (*one, now))
            return count

        return await self._writer.run(begin)

    async def finish_erasure(self, erasure: Erasure) -> None:
        """See :meth:`Ledger.finish_erasure`."""

        def finish(connection: sqlite3.Connection) -> None:
            now = self._clock.now_ms()
            rows.note(connection, erasure, now)
            if erasure.event_ids is None:
                digest = install_digest(erasure.install_id)
                (number,) = connection.execute("SELECT number FROM install WHERE digest = ?", (digest,)).fetchone()
                connection.execute("DELETE FROM seen WHERE install = ?", (number,))
                rows.erase_install(connection, number, now)

        await self._writer.run(finish)

    async def features(self, install_id: str, install_key: bytes) -> str | None:
        """See :meth:`Ledger.features`."""
        return await self._writer.run(rows.features(install_id, install_key))

    async def put_features(self, install_id: str, text: str | None) -> None:
        """See :meth:`Ledger.put_features`."""
        await self._writer.run(rows.put_features(install_id, text))

    async def check(self) -> None:
        """See :meth:`Ledger.check`."""
        await self._writer.run(lambda connection: connection.execute("SELECT 1 FROM upkeep").fetchone())

    async def close(self) -> None:
        """See :meth:`Ledger.close`."""
        await self._writer.close()
