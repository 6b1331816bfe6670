"""An event as a row of the log."""

from __future__ import annotations

import json
import sqlite3
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from typing import Any, TypeAlias

from nearhand.cipher import Cipher
from nearhand.events.event import RecordedEvent
from nearhand.events.schema import DamagedError, transaction
from nearhand.records import field_names

STAYS, CONSENTED, ALLOWED = 0, 1, 2
"""The lanes: of what stays on the device, of what was recorded with consent to send it, and of what got it later."""

Row: TypeAlias = tuple[Any, ...]
"""The values of :data:`COLUMNS`; before the row is stored its ``sequence`` is None, and its ``epoch`` a guess.

A row that is to be inserted has one value more: its lane in the outbox; see :mod:`nearhand.events.outbox`.

In an encrypted log a stored row is sealed: its ``event_id`` is the cipher's name for it, its ``properties`` are all of
its texts in one, sealed for that name, and the other texts are empty. Its numbers are in the clear.
"""

COLUMNS = field_names(RecordedEvent)
SELECT = f"SELECT {', '.join(COLUMNS)} FROM event"

#: What a row takes beside its texts: its numbers, its entry in the index, and its share of pages that are not full.
ROW_BYTES = 100
_TEXTS = ("event_id", "event", "item_id", "user", "recommendation_id", "context", "properties")
#: SQL: the bytes of a row, of which the caps speak.
SIZE = f"({ROW_BYTES} + " + " + ".join(f"ifnull(length(CAST({text} AS BLOB)), 0)" for text in _TEXTS) + ")"

SEQUENCE = COLUMNS.index("sequence")
KIND = COLUMNS.index("event")
EPOCH = COLUMNS.index("epoch")
# A guess of the epoch that is wrong becomes a NULL, which the column refuses.
_VALUES = ["?"] * len(COLUMNS)
_VALUES[EPOCH] = "(SELECT epoch FROM ledger WHERE epoch = ?)"
_STORED = len(COLUMNS)
_INSERT = f"INSERT INTO event ({', '.join(COLUMNS)}, lane) VALUES ({', '.join(_VALUES)}, ?)"
_INSERT_NEW = f"{_INSERT} ON CONFLICT (event_id) DO NOTHING"
_decode = json.JSONDecoder().raw_decode  # what is stored has no space around it


def sealed(row: Row, cipher: Cipher) -> Row:
    """The row as an encrypted log stores it.

    Raises:
        EncryptionError: the key cannot be used.
    """
    name = cipher.index(row[0])
    texts = json.dumps([row[0], *row[KIND:EPOCH], *row[EPOCH + 1 : _STORED]], ensure_ascii=False, separators=(",", ":"))
    value = b2a_base64(cipher.seal(texts.encode(), f"event {name}"), newline=False).decode()
    return (name, *row[1:KIND], "", None, None, None, row[EPOCH], "", value, *row[_STORED:])


def opened(row: Row, cipher: Cipher | None) -> Row:
    """The row that was sealed; without a cipher, the row itself.

    Raises:
        DamagedError: what is stored is no sealed value.
        EncryptionError: it does not open: the key cannot be used, or it is damaged or of another event.
    """
    if cipher is None:
        return row
    try:
        value = a2b_base64(row[-1], strict_mode=True)
    except ValueError as error:
        raise DamagedError(f"the event {row[0]} is not base64 ({error})") from error
    if b2a_base64(value, newline=False).decode() != row[-1]:  # the last character has bits that say nothing
        raise DamagedError(f"the event {row[0]} is not the base64 that was written")
    event_id, *middle, context, properties = json.loads(cipher.open(value, f"event {row[0]}"))
    return (event_id, *row[1:KIND], *middle, row[EPOCH], context, properties)


def recorded(row: Row, cipher: Cipher | None = None) -> RecordedEvent:
    """The event that a stored row is.

    Raises:
        DamagedError: what is stored is not JSON.
        EncryptionError: see :func:`opened`.
    """
    if cipher is not None:
        row = opened(row, cipher)
    event = object.__new__(RecordedEvent)  # __init__ sets field by field: twice as long, for each event
    values = vars(event)
    values.update(zip(COLUMNS, row, strict=True))
    try:
        values["context"] = _decoded(row[-2])
        values["properties"] = _decoded(row[-1])
        return event
    except ValueError as error:
        raise DamagedError(f"the event {row[1]} is not JSON ({error})") from error


def _decoded(text: str) -> Any:
    if text == "{}":  # most contexts
        return {}
    value, end = _decode(text)
    if end != len(text):
        raise ValueError(f"more after character {end}")
    return value


def insert_units(
    connection: sqlite3.Connection, units: Sequence[list[Row]], cipher: Cipher | None = None
) -> list[list[Row]]:
    """Keep what several callers brought, in one transaction.

    Args:
        units: rows; sealed ones if there is a cipher.

    Returns:
        each row as it is stored now; for an identifier that was there already, the row of that event.
    """
    if len(units) == 1 and len(units[0]) == 1:
        row = units[0][0]
        try:
            done = connection.execute(_INSERT, row)  # a single statement: it is its own transaction
            return [[(row[0], done.lastrowid, *row[2:_STORED])]]
        except sqlite3.IntegrityError:
            pass  # the identifier is known, or the guess of the epoch was wrong
    with transaction(connection):
        (epoch,) = connection.execute("SELECT epoch FROM ledger").fetchone()
        return [[_insert(connection, row, epoch, cipher) for row in rows] for rows in units]


def insert_marker(connection: sqlite3.Connection, row: Row) -> Row:
    """Keep the marker of a reset, and count the reset, in one transaction."""
    with transaction(connection):
        connection.execute("UPDATE ledger SET epoch = epoch + 1")
        (epoch,) = connection.execute("SELECT epoch FROM ledger").fetchone()
        return _insert(connection, row, epoch, None)  # its identifier is new


def erase(connection: sqlite3.Connection) -> int:
    """Delete all events and all that was derived from them, and begin a new epoch, in one transaction.

    That bytes of them are still in the files is noted in the ledger: ``wiped`` is negative, and another number each
    time, until they are not; see :func:`nearhand.events.database.wipe`.

    Returns:
        the new epoch.
    """
    with transaction(connection):
        for table in ("event", "checkpoint", "snapshot", "unsent", "deletion"):
            connection.execute(f"DELETE FROM {table}")
        connection.execute(
            """
            UPDATE ledger SET epoch = epoch + 1, rewrites = rewrites + 1, wiped = -(rewrites + 1),
                dropped_log_bytes = 0, dropped_log_days = 0, measured_bytes = 0, measured_oldest = 9223372036854775807
            """
        )
        (epoch,) = connection.execute("SELECT epoch FROM ledger").fetchone()
        return int(epoch)


def restore(connection: sqlite3.Connection, rows: Sequence[Row], epoch: int) -> bool:
    """Put the rows of another log, sealed ones if there is a cipher, into this one, which has to be empty.

    They get sequence numbers of this log, in their order, and keep their epochs.

    Args:
        epoch: of what is recorded from now on.

    Returns:
        False: the log is not empty, and is as before.
    """
    if connection.execute("SELECT 1 FROM event LIMIT 1").fetchone():
        return False
    # Readers begin anew, as after an event was removed; nothing of these events has to be wiped.
    connection.execute(
        "UPDATE ledger SET epoch = ?, wiped = wiped + (wiped = rewrites), rewrites = rewrites + 1", (epoch,)
    )
    plain = f"INSERT INTO event ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
    connection.executemany(plain, [(row[0], None, *row[2:]) for row in rows])
    return True


def _insert(connection: sqlite3.Connection, row: Row, epoch: int, cipher: Cipher | None) -> Row:
    row = (*row[:EPOCH], epoch, *row[EPOCH + 1 :])
    done = connection.execute(_INSERT_NEW, row)
    if done.rowcount == 1:
        return (row[0], done.lastrowid, *row[2:_STORED])
    there: Row = connection.execute(f"{SELECT} WHERE event_id = ?", row[:1]).fetchone()
    recorded(there, cipher)  # it may be damaged
    return there
