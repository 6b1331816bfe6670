"""The connection to the log's file: set up as promised, and open on whatever file the path names."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from nearhand.cipher import Cipher, clear_index, opens
from nearhand.clock import Clock
from nearhand.config import Durability
from nearhand.errors import EncryptionError, StorageError, UsageError
from nearhand.events.quarantine import (
    delete_quarantined,
    folder_lock,
    inode,
    is_damage,
    quarantine,
    sqlite_code,
    sync_folder,
)
from nearhand.events.schema import VERSION, DamagedError, check, is_sound, ledger_is_sound, migrate

P = ParamSpec("P")
T = TypeVar("T")

BUSY_TIMEOUT_S = 5.0  # how long a call waits for another process to finish writing
_WIPE_TIMEOUT_MS = 200  # how long a user who deletes an event waits for a reader in another process
_PAUSE_S = 0.005

_REMEDIES = {
    sqlite3.SQLITE_FULL: "free some space and try again",
    sqlite3.SQLITE_BUSY: "another process is writing to it: try again",
    sqlite3.SQLITE_CORRUPT: "it is damaged again and again: check the storage",
    sqlite3.SQLITE_NOTADB: "it is damaged again and again: check the storage",
}


class Database:
    """One connection to a log's file, for one thread at a time.

    A damaged file is moved aside and a fresh one is made in its place; see :mod:`nearhand.events.quarantine`. A file
    that somebody else has moved or deleted is left, for the one that the path names now.

    Args:
        path: the file, absolute. It is made, with its folder, if it is missing.
        clock: tells when a migration was done.
        durability: see :class:`nearhand.config.Config`.
        cipher: of what is stored in it; None: it is in the clear.

    Attributes:
        openings: how often a file was opened: a greater number than before may be another file.

    Raises:
        StorageError: the file is not an event log, was written by a newer SDK, or cannot be opened.
        EncryptionError: the file is encrypted and this is not its key, or it is not encrypted and there is one.
    """

    def __init__(self, path: Path, *, clock: Clock, durability: Durability, cipher: Cipher | None = None) -> None:
        self.path = path
        self.openings = 0
        self._clock = clock
        self._durability = durability
        self._cipher = cipher
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        self._name = os.fspath(path)
        self.use(lambda connection: None)

    def use(self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **named: P.kwargs) -> T:
        """What ``work`` gives. If it meets damage it is done a second time, in a fresh file.

        Raises:
            StorageError: it failed, for whatever reason of SQLite or the operating system.
            EncryptionError: the key does not open the file any more.
            UsageError: it was closed.
        """
        if self._closed:
            raise UsageError("the event log is closed", place=self._name, remedy="open it again")
        try:
            try:
                return work(self._connection or self._open(), *args, **named)
            except (sqlite3.Error, DamagedError, EncryptionError, TypeError, ValueError) as error:
                if not is_damage(error) and not self._is_damaged(error):
                    raise
                self._quarantine()
            return work(self._connection or self._open(), *args, **named)
        except (OSError, sqlite3.Error, DamagedError) as error:
            raise self._storage_error(error) from error

    def write(self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **named: P.kwargs) -> T:
        """As :meth:`use`, and again if the file had been moved away: what is acknowledged is where it will be found."""
        while True:
            result = self.use(work, *args, **named)
            if self.follow():
                return result

    def follow(self) -> bool:
        """Whether the path names the file that is open; if it does not, the next use opens the one that it names."""
        try:
            if self._connection is not None and inode(self._name) == self._inode:
                return True
        except OSError as error:
            raise self._storage_error(error) from error
        self._disconnect()
        return False

    def close(self) -> None:
        """Close the file. Closing again does nothing; any use raises :class:`nearhand.errors.UsageError`."""
        self._closed = True
        if self._connection is not None:
            with suppress(sqlite3.Error):  # what is due is done by whoever opens the log next
                wipe(self._connection, self.path)
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> sqlite3.Connection:
        _make_folder(self.path.parent, durable=self._durability == "power")
        try:
            with folder_lock(self.path.parent, BUSY_TIMEOUT_S):
                try:
                    connection = self._connect()
                except (sqlite3.Error, DamagedError, UnicodeDecodeError) as error:
                    if not is_damage(error):
                        raise
                    self._move_aside()
                    connection = self._connect()
                self._inode = inode(self._name)
        except BaseException:
            self._disconnect()
            raise
        self.openings += 1
        return connection

    def _is_damaged(self, error: Exception) -> bool:
        """Whether an error that may be damage, or a mistake of ours, is the former."""
        doubtful = (0, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH)
        if self._connection is None or sqlite_code(error) not in doubtful:
            return False
        try:
            if isinstance(error, EncryptionError):
                return self._cipher is not None and opens(self._connection, self._cipher)
            return not is_sound(self._connection)
        except (sqlite3.Error, ValueError) as second:
            return is_damage(second) or sqlite_code(second) in doubtful  # and not, say, a disk that is gone for now

    def _quarantine(self) -> None:
        with folder_lock(self.path.parent, BUSY_TIMEOUT_S):
            # While it is open, no other file has its number. If the path names another one, somebody was faster.
            if inode(self._name) == self._inode:
                self._move_aside()
            self._disconnect()

    def _move_aside(self) -> None:
        if os.name == "nt":
            self._disconnect()  # there an open file cannot be moved
        quarantine(self.path)
        self._disconnect()  # now, and not before: closing, SQLite would tidy up, and throw away what it cannot read

    def _connect(self) -> sqlite3.Connection:
        self._connection = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        self._prepare(self._connection)
        return self._connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # Before anything that writes, so that somebody else's database stays as it is.
        found = check(connection, self._name, self._cipher)
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._durability == 'power' else 'NORMAL'}")
        if self._durability == "power":
            # On Apple's systems a plain fsync leaves the data in the drive's cache. Elsewhere these do nothing.
            connection.execute("PRAGMA fullfsync = 1")
            connection.execute("PRAGMA checkpoint_fullfsync = 1")
        connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten
        connection.execute("PRAGMA temp_store = MEMORY")  # of VACUUM; phones have no folder for it
        mode = _switch_to_wal(connection)
        if mode != "wal":
            raise StorageError(
                f"its file system supports the journal mode {mode!r} only, not WAL",
                place=self._name,
                remedy="keep the log on a local file system",
            )
        if found != VERSION:
            migrate(connection, self._clock.now_ms(), self._cipher)
            check(connection, self._name, self._cipher)  # another process, with another key, may have made it just now
        if not ledger_is_sound(connection):
            raise DamagedError("the ledger is not what was written")
        clear_index(connection, self._cipher)
        wipe(connection, self.path)

    def _storage_error(self, error: Exception) -> StorageError:
        code = sqlite3.SQLITE_BUSY if isinstance(error, TimeoutError) else sqlite_code(error)
        remedy = _REMEDIES.get(code, "check that the folder and the file can be written")
        return StorageError(str(error), place=self._name, remedy=remedy)


def wipe(connection: sqlite3.Connection, path: Path) -> None:
    """Take what was forgotten out of the write-ahead log too, and what was erased out of all files, if still due.

    Not possible while another process reads, and then it stays due.
    """
    with suppress(sqlite3.OperationalError, OSError):  # such as a full disk: it stays due too
        rewrites, wiped = connection.execute("SELECT rewrites, wiped FROM ledger").fetchone()
        if rewrites == wiped:
            return
        if wiped < 0:  # everything was erased: see `erase`
            delete_quarantined(path)
        with _impatience(connection):
            # Overwriting alone is not enough: where SQLite has moved a row to another page, the bytes of its old place
            # can still be there.
            connection.execute("VACUUM")
        if truncate(connection):
            # Not to what `rewrites` is by now, and not if another process has erased everything in between.
            connection.execute("UPDATE ledger SET wiped = ? WHERE wiped = ?", (rewrites, wiped))


def truncate(connection: sqlite3.Connection) -> bool:
    """Take the bytes of old contents out of the write-ahead log; False: somebody else is reading, and they stay."""
    with _impatience(connection):
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


@contextmanager
def _impatience(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute(f"PRAGMA busy_timeout = {_WIPE_TIMEOUT_MS}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")


def _switch_to_wal(connection: sqlite3.Connection) -> str:
    """The journal mode after asking for WAL.

    Where two places make one log at once, SQLite itself does not always wait for the other one here.
    """
    deadline_s = time.monotonic() + BUSY_TIMEOUT_S  # of the system's clock, like SQLite's own waiting
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if sqlite_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline_s:
                raise
        time.sleep(_PAUSE_S)


def _make_folder(folder: Path, *, durable: bool) -> None:
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # nobody else's on this device to read
    if durable:
        for made in missing:
            # A new folder is lost with the power until its parent is on the disk. SQLite does so for its files only.
            sync_folder(made.parent)
