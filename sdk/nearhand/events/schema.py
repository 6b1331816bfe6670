"""The tables of an event log, and the steps that made them what they are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from nearhand.cipher import Cipher, note_key, require_key
from nearhand.errors import StorageError

APPLICATION_ID = 0x4E484556  # "NHEV"

# Step n makes version n of version n - 1, and is never changed once it has been released. Version 0 is an empty file.
_STEPS = (
    (
        """
        CREATE TABLE event (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT, -- AUTOINCREMENT: a deleted row's number is not given again
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
        """,
        f"PRAGMA application_id = {APPLICATION_ID}",
    ),
    (
        "ALTER TABLE event ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0",
        """
        CREATE TABLE ledger ( -- one row: what has to change in the transaction that changes the events
            epoch INTEGER NOT NULL, -- resets so far
            rewrites INTEGER NOT NULL, -- grows when an event is removed other than by eviction
            wiped INTEGER NOT NULL, -- the rewrites whose bytes are known to be in no file any more
            evicted_through INTEGER NOT NULL, -- the largest sequence number that was evicted
            dropped_log_bytes INTEGER NOT NULL,
            dropped_log_days INTEGER NOT NULL,
            measured_through INTEGER NOT NULL, -- the events up to here are in the two that follow
            measured_bytes INTEGER NOT NULL,
            measured_oldest INTEGER NOT NULL -- no stored recorded_at among them is smaller
        ) STRICT
        """,
        # A log that replaces another one is told from it by its rewrites: they start anywhere.
        "INSERT INTO ledger SELECT 0, start, start, 0, 0, 0, 0, 0, 9223372036854775807"
        " FROM (SELECT abs(random() >> 2) AS start)",
        "CREATE TABLE checkpoint (fingerprint TEXT PRIMARY KEY, state BLOB NOT NULL) STRICT",
        "CREATE TABLE snapshot (fingerprint TEXT PRIMARY KEY, state BLOB NOT NULL, through INTEGER NOT NULL) STRICT",
    ),
    (
        "ALTER TABLE event ADD COLUMN lane INTEGER NOT NULL DEFAULT 0",  # in the outbox; 0: it stays on the device
        """
        CREATE TABLE lane ( -- one row for each lane of the outbox: how far it was emptied
            number INTEGER PRIMARY KEY,
            log INTEGER NOT NULL, -- random: a cursor of another log, which this one has replaced, is none of this one
            sending INTEGER NOT NULL, -- no event with a greater sequence number was ever handed out
            sent INTEGER NOT NULL, -- all events up to this sequence number have been dealt with
            last INTEGER NOT NULL -- no event of the lane has a greater sequence number
        ) STRICT
        """,
        "INSERT INTO lane VALUES (1, abs(random() >> 1), 0, 0, 9223372036854775807)",
        "INSERT INTO lane SELECT 2, log, 0, 0, 0 FROM lane",
        "CREATE TABLE unsent (reason TEXT PRIMARY KEY, events INTEGER NOT NULL) STRICT",
        "CREATE TABLE deletion (name TEXT PRIMARY KEY, event_id BLOB NOT NULL) STRICT",
    ),
)
VERSION = len(_STEPS)
_TABLES = {1: {"event"}, 2: {"event", "ledger", "checkpoint", "snapshot", "migration"}}
_TABLES[3] = _TABLES[2] | {"lane", "unsent", "deletion"}


class DamagedError(Exception):
    """What is stored cannot be what was written."""


@contextmanager
def transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """All of it or nothing. IMMEDIATE waits for its turn to write at the start, and cannot lose it in the middle."""
    try:
        connection.execute(f"BEGIN {kind}")
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def check(connection: sqlite3.Connection, place: str, cipher: Cipher | None = None) -> int:
    """The version of the log, 0 for an empty database; changes nothing.

    Raises:
        StorageError: it is a database of something else, or of a newer SDK.
        EncryptionError: it is encrypted and this is not its key, or it is not encrypted and there is one.
        DamagedError: it is a log, and tables are missing.
    """
    with transaction(connection, "DEFERRED"):  # one view of the file, even while another process is making it
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if application == version == len(tables) == 0:
        return 0
    if application != APPLICATION_ID or version < 1:
        raise StorageError(
            "is a database of something else, not an event log",
            place=place,
            remedy="give the log a path of its own",
        )
    if version > VERSION:
        raise StorageError(
            f"was written by a newer SDK (schema {version}; this one reads {VERSION})",
            place=place,
            remedy="update nearhand, or move the file away, with its -wal and -shm files, to start a fresh log",
        )
    require_key(connection, cipher, place)
    if missing := _TABLES[version] - tables:
        raise DamagedError(f"table {min(missing)} is missing")
    return int(version)


def migrate(connection: sqlite3.Connection, now_ms: int, cipher: Cipher | None = None) -> None:
    """Bring a log, or an empty database, to :data:`VERSION`. Each step commits with its record, or has not happened.

    A log is encrypted from its first step on, or never is.
    """
    for version, statements in enumerate(_STEPS, start=1):
        with transaction(connection):
            (found,) = connection.execute("PRAGMA user_version").fetchone()
            if found >= version:  # done before, or by another process just now
                continue
            if found == 0:
                note_key(connection, cipher)
            for statement in statements:
                connection.execute(statement)
            connection.execute(
                "CREATE TABLE IF NOT EXISTS migration (version INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL) STRICT"
            )
            connection.execute("INSERT INTO migration VALUES (?, ?)", (version, now_ms))
            connection.execute(f"PRAGMA user_version = {version}")


def is_sound(connection: sqlite3.Connection) -> bool:
    """Whether the tables are those that were made, and what is in them could have been written. Reads all of it."""
    sample = sqlite3.connect(":memory:", isolation_level=None)
    migrate(sample, 0)
    tables = "SELECT name, sql FROM sqlite_master"
    same = {*sample.execute(tables)} <= {*connection.execute(tables)}  # somebody may have added a trigger
    sample.close()
    return same and connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",) and ledger_is_sound(connection)


def ledger_is_sound(connection: sqlite3.Connection) -> bool:
    rows = connection.execute("SELECT * FROM ledger").fetchall()
    return len(rows) == 1 and all(type(value) is int for value in rows[0])
