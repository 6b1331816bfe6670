"""The event log: one SQLite file that keeps every acknowledged event, in the order it was recorded."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nearhand.clock import Clock
from nearhand.config import Durability
from nearhand.errors import StorageError, UsageError
from nearhand.events.event import Event, RecordedEvent, json_text, validate
from nearhand.ids import random_id

APPLICATION_ID = 0x4E484556  # "NHEV"
SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 5.0  # how long a call waits for another process to finish writing
_PAUSE_S = 0.005

_SCHEMA = """
CREATE TABLE event (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, -- AUTOINCREMENT: the number of a deleted last row is not given again
    event_id TEXT NOT NULL UNIQUE,
    timestamp INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    utc_offset_minutes INTEGER NOT NULL,
    event TEXT NOT NULL,
    item_id TEXT,
    user TEXT,
    recommendation_id TEXT,
    context TEXT NOT NULL,
    properties TEXT NOT NULL
) STRICT
"""
_COLUMNS = tuple(column.name for column in fields(RecordedEvent))
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM event"
_SINCE = f"{_SELECT} WHERE sequence > ? ORDER BY sequence"
_BY_ID = f"{_SELECT} WHERE event_id = ?"
_INSERT = f"INSERT INTO event ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"

_MOVE_AWAY = "move it away, with its -wal and -shm files, to start a fresh log"
_REMEDIES = {
    sqlite3.SQLITE_NOTADB: _MOVE_AWAY,
    sqlite3.SQLITE_CORRUPT: _MOVE_AWAY,
    sqlite3.SQLITE_FULL: "free some space and try again",
    sqlite3.SQLITE_BUSY: "another process is writing to it: try again",
}


class EventLog:
    """An append-only log of events in one file. Safe for several threads, and for several processes, at once.

    Args:
        path: the SQLite file. It is made, with its folder, if it is missing.
        clock: tells ``recorded_at``, the offset of local time, and the timestamp of an event that has none.
        durability: what an acknowledged event survives; see :class:`nearhand.config.Config`.
        extension_types: the event types that the bundle declares beside the known ones.

    Raises:
        StorageError: the file is not an event log, is damaged, was written by a newer SDK, or cannot be opened.
            Nothing of it is changed.
    """

    def __init__(
        self, path: Path, *, clock: Clock, durability: Durability, extension_types: Collection[str] = ()
    ) -> None:
        self._path = path.absolute()  # the app may change its working directory, and ":memory:" is a file here
        self._clock = clock
        self._extension_types = frozenset(extension_types)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        try:
            _make_folder(self._path.parent, durable=durability == "power")
            self._connection = sqlite3.connect(
                self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            with self._use() as connection:
                self._prepare(connection, durability)
        except (OSError, sqlite3.Error) as error:
            raise self._storage_error(error) from error
        except BaseException:
            self.close()
            raise

    def append(self, event: Event) -> RecordedEvent:
        """Keep an event. When this returns, it is stored as durably as the log was asked to.

        An ``event_id`` that is in the log already is not stored again: the event stored first is returned.

        Returns:
            the fact as it is stored, with its sequence number, identifier and times.

        Raises:
            EventError: the event is malformed.
            StorageError: it could not be written; nothing of it has been.
            UsageError: the log is closed, or ``event`` is not an :class:`Event`.
        """
        if not isinstance(event, Event):
            raise UsageError(f"{type(event).__name__} is not an Event", place="append", remedy="pass an Event")
        event = replace(event)  # makes it anew: nobody else holds its dicts now, and they are as their checks saw them
        validate(event, self._extension_types)
        recorded_at = self._clock.now_ms()
        timestamp = recorded_at if event.timestamp is None else event.timestamp
        row = (
            event.event_id or random_id(),
            None,
            timestamp,
            recorded_at,
            self._clock.utc_offset_minutes(timestamp),
            event.event,
            event.item_id,
            event.user,
            event.recommendation_id,
            json_text(event.context),
            json_text(event.properties),
        )
        with self._use() as connection, _transaction(connection):
            # Only the app's own identifier can be here already: one made above is 128 random bits.
            stored = connection.execute(_BY_ID, row[:1]).fetchone() if event.event_id else None
            if stored is None:
                stored = (row[0], connection.execute(_INSERT, row).lastrowid, *row[2:])
            return _recorded(stored)

    def since(self, sequence: int) -> list[RecordedEvent]:
        """The events with a greater sequence number, in the order of that number; 0 gives all of them.

        Raises:
            StorageError: the file cannot be read.
            UsageError: the log is closed, or ``sequence`` is not an integer from 0 that fits in 64 bits.
        """
        if not isinstance(sequence, int) or not 0 <= sequence < 2**63:
            raise UsageError(f"{sequence!r} is not a sequence number", place="since", remedy="pass an int from 0")
        with self._use() as connection:
            return [_recorded(row) for row in connection.execute(_SINCE, (sequence,)).fetchall()]

    def count(self) -> int:
        """How many events the log holds.

        Raises:
            StorageError: the file cannot be read.
            UsageError: the log is closed.
        """
        with self._use() as connection:
            return int(connection.execute("SELECT count(*) FROM event").fetchone()[0])

    def bytes_on_disk(self) -> int:
        """The size of the log's files together, in bytes: the database, its write-ahead log and the index of that.

        Raises:
            StorageError: the files cannot be examined.
            UsageError: the log is closed.
        """
        with self._use():
            files = (self._path.with_name(self._path.name + suffix) for suffix in ("", "-wal", "-shm"))
            return sum(file.stat().st_size for file in files if file.exists())

    def close(self) -> None:
        """Close the file. Closing again does nothing; any other call raises :class:`nearhand.errors.UsageError`."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone; whatever goes wrong with it comes out as a StorageError."""
        with self._lock:
            if self._connection is None:
                raise UsageError("the event log is closed", place=str(self._path), remedy="open it again")
            try:
                yield self._connection
            except (OSError, sqlite3.Error, ValueError) as error:
                raise self._storage_error(error) from error

    def _prepare(self, connection: sqlite3.Connection, durability: Durability) -> None:
        # The checks come before anything that writes, so that somebody else's database stays as it is.
        with _transaction(connection, "DEFERRED"):  # one view of the file, even while another process is making it
            fresh = self._is_fresh(connection)
        connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'power' else 'NORMAL'}")
        if durability == "power":
            # On Apple's systems a plain fsync leaves the data in the drive's cache. Elsewhere these do nothing.
            connection.execute("PRAGMA fullfsync = 1")
            connection.execute("PRAGMA checkpoint_fullfsync = 1")
        mode = _switch_to_wal(connection)
        if mode != "wal":
            raise StorageError(
                f"its file system supports the journal mode {mode!r} only, not WAL",
                place=str(self._path),
                remedy="keep the log on a local file system",
            )
        if fresh:
            with _transaction(connection):
                if self._is_fresh(connection):  # another process may have been faster
                    connection.execute(_SCHEMA)
                    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _is_fresh(self, connection: sqlite3.Connection) -> bool:
        """True for an empty database, False for an event log; anything else is refused."""
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (objects,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application == version == objects == 0:
            return True
        if application != APPLICATION_ID or version < 1:
            raise StorageError(
                "is a database of something else, not an event log",
                place=str(self._path),
                remedy="give the log a path of its own",
            )
        if version > SCHEMA_VERSION:
            raise StorageError(
                f"was written by a newer SDK (schema {version}; this one reads {SCHEMA_VERSION})",
                place=str(self._path),
                remedy="update nearhand, or " + _MOVE_AWAY,
            )
        return False

    def _storage_error(self, error: Exception) -> StorageError:
        remedy = _REMEDIES.get(_code(error), "check that the folder and the file can be written")
        return StorageError(str(error), place=str(self._path), remedy=remedy)


@contextmanager
def _transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """All of it or nothing. IMMEDIATE waits for its turn to write at the start, and cannot lose it in the middle."""
    try:
        connection.execute(f"BEGIN {kind}")
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _code(error: Exception) -> int:
    """SQLite's code for the kind of error, or 0."""
    if isinstance(error, ValueError):  # what is stored is not JSON
        return sqlite3.SQLITE_CORRUPT
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF  # the other bytes tell details of the kind


def _switch_to_wal(connection: sqlite3.Connection) -> str:
    """The journal mode after asking for WAL.

    Where two places make one log at once, SQLite itself does not always wait for the other one here.
    """
    deadline_s = time.monotonic() + BUSY_TIMEOUT_S  # of the system's clock, like SQLite's own waiting
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline_s:
                raise
        time.sleep(_PAUSE_S)


def _recorded(row: tuple[Any, ...]) -> RecordedEvent:
    return RecordedEvent(*(*row[:-2], json.loads(row[-2]), json.loads(row[-1])))


def _make_folder(folder: Path, *, durable: bool) -> None:
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    if durable and os.name == "posix":  # elsewhere a folder cannot be opened, and needs no fsync
        for made in missing:
            # A new folder is lost with the power until its parent is on the disk. SQLite does so for its files only.
            descriptor = os.open(made.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
