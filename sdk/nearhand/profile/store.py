"""One SQLite file for a profile's values and journals. What each of them means is said by whoever keeps it here."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from nearhand.cipher import Cipher, clear_index, note_key, require_key
from nearhand.config import Durability
from nearhand.errors import StorageError, UsageError
from nearhand.events.quarantine import (
    delete_quarantined,
    folder_lock,
    inode,
    is_damage,
    quarantine,
    quarantined,
)
from nearhand.events.schema import DamagedError, transaction
from nearhand.records import dataclass

T = TypeVar("T")

_SCHEMA = (
    "CREATE TABLE value (name TEXT PRIMARY KEY, content BLOB NOT NULL) STRICT",
    """
    CREATE TABLE entry (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        journal TEXT NOT NULL,
        name TEXT NOT NULL, -- unique in its journal
        at INTEGER NOT NULL, -- ms since the epoch by the device's clock
        content BLOB NOT NULL
    ) STRICT
    """,
    "CREATE UNIQUE INDEX entry_name ON entry (journal, name)",
)
_APPEND = "INSERT OR REPLACE INTO entry (journal, name, at, content) VALUES (?, ?, ?, ?)"
_MORE = 63
"""Lines that a journal may have beyond those that are to be kept: to delete the oldest takes longer than to add one."""
_BUSY_TIMEOUT_S = 5.0  # how long a call waits for another process to finish writing
_WIPE_TIMEOUT_MS = 200  # how long a user who deletes something waits for a reader in another process
ERASING = "erasing"
"""Name of a value that is there while the profile is being erased."""
_WIPE_DUE = 1
"""The ``user_version`` of a file in which bytes may be left of what was cleared."""


@dataclass(frozen=True)
class Entry:
    """A line of a journal: its number in the file, its name, when it was written (ms), and its content."""

    sequence: int
    name: str
    at: int
    content: bytes


class ProfileStore:
    """Values by name, and journals that are appended to. Safe for several threads and processes.

    A damaged file is moved aside, whole, and a fresh one takes its place; see :attr:`quarantined`. A file that somebody
    else has moved or deleted is left, for the one that the path names now.

    Args:
        path: the SQLite file; made, with its folder, if it is missing.
        durability: what a write that returned survives; see :class:`nearhand.config.Config`.
        cipher: seals contents, and hides the names of values and entries, not those of journals; from the moment the
            file is made, or never. None: nothing is encrypted.

    Raises:
        StorageError: the file cannot be opened.
        EncryptionError: the file is encrypted and there is no cipher or one of another key, or it is not encrypted and
            there is one. Nothing of it is changed.
    """

    def __init__(self, path: Path, *, durability: Durability, cipher: Cipher | None = None) -> None:
        self._path = path.absolute()  # the app may change its working directory
        self._path_text = str(self._path)
        self._cipher = cipher
        self._durability = durability
        self._lock = threading.RLock()
        self._closed = False
        self._room: dict[str, int] = {}
        """The lines that this object may add to each journal before it looks how many there are."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with folder_lock(path.parent, _BUSY_TIMEOUT_S):
                try:
                    self._connection = self._opened_file()
                except (sqlite3.Error, UnicodeDecodeError, DamagedError) as error:
                    if not is_damage(error):
                        raise
                    quarantine(path)
                    self._connection = self._opened_file()
        except (OSError, sqlite3.Error) as error:
            raise self._storage_error(error) from error

    @property
    def quarantined(self) -> tuple[str, ...]:
        """The names of the damaged files that were moved aside, in the store's folder, until it is cleared whole."""
        return quarantined(self._path)

    def get(self, name: str) -> bytes | None:
        """The value of a name, None if it has none.

        Raises:
            StorageError: the file cannot be read. EncryptionError: it was altered, or the key cannot be used any more.
        """
        stored = self._stored_name(name)

        def read(connection: sqlite3.Connection) -> bytes | None:
            row = connection.execute("SELECT content FROM value WHERE name = ?", (stored,)).fetchone()
            if row is not None and not isinstance(row[0], bytes):
                raise DamagedError(f"value {stored} is none")
            content: bytes | None = None if row is None else row[0]
            return content

        content = self._use(read)
        return None if content is None else self._opened(content, f"value {stored}")

    def put(self, name: str, content: bytes | None) -> None:
        """Set the value of a name; None deletes it.

        Raises:
            StorageError: it could not be written. EncryptionError: the key cannot be used any more.
        """
        stored = self._stored_name(name)
        if content is None:
            self._use(lambda c: c.execute("DELETE FROM value WHERE name = ?", (stored,)))
            return
        sealed = self._sealed(content, f"value {stored}")
        self._use(lambda c: c.execute("INSERT OR REPLACE INTO value VALUES (?, ?)", (stored, sealed)))

    def append(self, journal: str, name: str, at: int, content: bytes, *, keep: int) -> None:
        """Add a line to a journal; the oldest go when it has more than ``keep``. A name that is there is replaced.

        Raises:
            StorageError: it could not be written. EncryptionError: the key cannot be used any more.
        """
        row = self._row(journal, name, at, content)

        def add(connection: sqlite3.Connection) -> None:
            connection.execute(_APPEND, row)
            room = self._room.get(journal, 0) - 1
            if room < 0:
                (lines,) = connection.execute("SELECT count(*) FROM entry WHERE journal = ?", (journal,)).fetchone()
                room = keep + _MORE - lines
            if room < 0:
                connection.execute(
                    "DELETE FROM entry WHERE journal = ?1 AND sequence <= (SELECT sequence FROM entry"
                    " WHERE journal = ?1 ORDER BY sequence DESC LIMIT 1 OFFSET ?2)",
                    (journal, keep),
                )
                room = _MORE
            self._room[journal] = room

        self._use(add)

    def find(self, journal: str, name: str) -> Entry | None:
        """The line of that name, None if there is none (any more).

        Raises:
            StorageError: the file cannot be read. EncryptionError: it was altered, or the key cannot be used any more.
        """
        stored = self._stored_name(name)
        row = self._use(
            lambda c: c.execute(
                "SELECT sequence, name, at, content FROM entry WHERE journal = ? AND name = ?", (journal, stored)
            ).fetchone()
        )
        return None if row is None else self._entry(journal, row)

    def entries(self, journal: str, after: int = 0) -> list[Entry]:
        """The lines of a journal with a greater ``sequence``, the earliest first.

        Raises:
            StorageError: the file cannot be read. EncryptionError: they were altered, or the key cannot be used any
                more.
        """
        rows = self._use(
            lambda c: c.execute(
                "SELECT sequence, name, at, content FROM entry WHERE journal = ? AND sequence > ? ORDER BY sequence",
                (journal, after),
            ).fetchall()
        )
        return [self._entry(journal, row) for row in rows]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What the block reads and writes in this store is one step for all threads and processes: they wait.

        If the block raises, nothing of it was written. It holds neither another transaction nor :meth:`clear`.

        Raises:
            StorageError: it could not begin, such as when another process writes for 5 s, or not be written.
        """
        with self._lock:
            self._use(lambda c: c.execute("BEGIN IMMEDIATE"))  # the right to write, before anything is read
            try:
                yield
                self._use(lambda c: c.execute("COMMIT"))
            except BaseException:
                if self._connection.in_transaction:  # some errors of SQLite have ended it
                    self._connection.execute("ROLLBACK")
                raise

    def replace(self, values: Mapping[str, bytes | None], journals: Mapping[str, Sequence[Entry]]) -> None:
        """Set some values, and all lines of some journals, in one step; the lines get new sequence numbers.

        Args:
            values: name → content; None deletes it.
            journals: name → its lines, the earliest first; their names are all different.

        Raises:
            StorageError: it could not be written; nothing of it was. EncryptionError: the key cannot be used any more.
        """
        rows = {
            journal: [self._row(journal, line.name, line.at, line.content) for line in lines]
            for journal, lines in journals.items()
        }

        def put(connection: sqlite3.Connection) -> None:
            for journal, lines in rows.items():
                connection.execute("DELETE FROM entry WHERE journal = ?", (journal,))
                connection.executemany(_APPEND, lines)

        with self.transaction():
            for name, content in values.items():
                self.put(name, content)
            self._use(put)

    def wipe(self) -> bool:
        """Take the bytes of what was replaced or deleted out of the file, and of its write-ahead log.

        Returns:
            False: another process reads the file. It stays due, and is done when the file is opened.

        Raises:
            StorageError: it could not be done, and stays due.
        """

        def wipe(connection: sqlite3.Connection) -> bool:
            connection.execute(f"PRAGMA user_version = {_WIPE_DUE}")
            return _wipe(connection)

        return self._use(wipe)

    def clear(self, *journals: str, keep: Collection[str] = ()) -> None:
        """Delete all lines of some journals; without any, everything: values and journals. The bytes are overwritten.

        After a crash between the two, the bytes are overwritten when the file is opened.

        Args:
            keep: the names of the values that stay.

        Raises:
            StorageError: it could not be done; or bytes are left, because another process reads the file: clear it
                again, or open it again, which does it too.
        """

        kept = [self._stored_name(name) for name in keep]
        marks = ", ".join("?" * len(kept))

        def delete(connection: sqlite3.Connection) -> bool:
            if not journals:
                delete_quarantined(self._path)
            with transaction(connection):
                if journals:
                    connection.executemany("DELETE FROM entry WHERE journal = ?", [(journal,) for journal in journals])
                else:
                    connection.execute("DELETE FROM entry")
                    connection.execute(f"DELETE FROM value WHERE name NOT IN ({marks})", kept)
                connection.execute(f"PRAGMA user_version = {_WIPE_DUE}")
            return _wipe(connection)

        if not self._use(delete):
            remedy = "close what else reads the file, and do it again"
            raise StorageError("what was cleared is gone, but not yet every byte", place=str(self._path), remedy=remedy)

    def close(self) -> None:
        """Close the file. Closing again does nothing; any other call raises UsageError."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._connection.close()

    def _opened_file(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._inode = inode(self._path_text)
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._durability == 'power' else 'NORMAL'}")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        if not _is_made(connection):
            with transaction(connection):
                if not _is_made(connection):  # by another process, just now
                    note_key(connection, self._cipher)
                    for statement in _SCHEMA:
                        connection.execute(statement)
        require_key(connection, self._cipher, str(self._path))
        clear_index(connection, self._cipher)
        if connection.execute("PRAGMA user_version").fetchone() == (_WIPE_DUE,):
            with suppress(sqlite3.OperationalError):  # such as a full disk: it stays due
                _wipe(connection)

    def _use(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            if self._closed:
                raise UsageError("the profile is closed", place=str(self._path), remedy="open it again")
            try:
                self._follow()
                try:
                    return work(self._connection)
                except (sqlite3.Error, UnicodeDecodeError, DamagedError) as error:
                    if not is_damage(error) or self._connection.in_transaction:
                        raise
                    self._replace_file()
                return work(self._connection)
            except (OSError, sqlite3.Error, UnicodeDecodeError, DamagedError) as error:
                raise self._storage_error(error) from error

    def _follow(self) -> None:
        """If somebody else has moved or deleted the file that is open, open the one that the path names now."""
        if self._connection.in_transaction or inode(self._path_text) == self._inode:
            return
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with folder_lock(self._path.parent, _BUSY_TIMEOUT_S):
            connection = self._opened_file()
        self._connection.close()
        self._connection = connection

    def _replace_file(self) -> None:
        """Move the file aside, which turned out to be damaged, unless another process has done so already."""
        with folder_lock(self._path.parent, _BUSY_TIMEOUT_S):
            if inode(self._path_text) == self._inode:
                if os.name == "nt":
                    self._connection.close()  # there an open file cannot be moved
                quarantine(self._path)
            self._connection.close()  # now, and not before: SQLite would tidy up, and throw away what it cannot read
            self._connection = self._opened_file()

    def _storage_error(self, error: Exception) -> StorageError:
        remedy = "check that the folder can be written and has space, and try again"
        return StorageError(str(error), place=str(self._path), remedy=remedy)

    def _entry(self, journal: str, row: tuple[int, str, int, bytes]) -> Entry:
        sequence, stored, at, content = row
        try:
            name, _, rest = self._opened(content, f"journal {journal} {stored}").partition(b"\n")
            return Entry(sequence, name.decode(), at, rest)
        except (UnicodeDecodeError, AttributeError, TypeError) as error:
            remedy = "erase the profile, or go on without it"
            raise StorageError(f"line {sequence} is damaged", place=f"journal {journal}", remedy=remedy) from error

    def _row(self, journal: str, name: str, at: int, content: bytes) -> tuple[str, str, int, bytes]:
        stored = self._stored_name(name)
        return journal, stored, at, self._sealed(name.encode() + b"\n" + content, f"journal {journal} {stored}")

    def _stored_name(self, name: str) -> str:
        return name if self._cipher is None else self._cipher.index(name)

    def _sealed(self, content: bytes, place: str) -> bytes:
        return content if self._cipher is None else self._cipher.seal(content, place)

    def _opened(self, content: bytes, place: str) -> bytes:
        return content if self._cipher is None else self._cipher.open(content, place)


def _is_made(connection: sqlite3.Connection) -> bool:
    """Whether the tables are there.

    Raises:
        DamagedError: some of its tables are there, and others are not.
    """
    found = connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('value', 'entry')")
    (tables,) = found.fetchone()
    if tables == 1:
        raise DamagedError("a table is missing")
    return bool(tables)


def _wipe(connection: sqlite3.Connection) -> bool:
    """Take what was cleared out of the file; False: another process reads it, and it stays due."""
    # SQLite leaves old places of moved rows; and the write-ahead log has everything.
    connection.execute("VACUUM")
    connection.execute(f"PRAGMA busy_timeout = {_WIPE_TIMEOUT_MS}")
    try:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {int(_BUSY_TIMEOUT_S * 1000)}")
    if not busy:
        connection.execute("PRAGMA user_version = 0")
    return not busy
