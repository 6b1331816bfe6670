"""Features that somebody else computed: pushed to the device with a time to live and a note of where they come from.

A memory tier over one SQLite table. It is a cache: what is lost is pushed again, so a damaged file is replaced, and no
push waits for the disk.
"""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from nearhand.cipher import Cipher, clear_index, note_key, opens, require_key
from nearhand.clock import Clock
from nearhand.errors import EncryptionError, StorageError, UsageError, shown
from nearhand.events.schema import transaction
from nearhand.features.arithmetic import LARGEST
from nearhand.monitoring import Meter
from nearhand.records import dataclass

_OVERHEAD_BYTES = 96  # of a row beside its texts and values, roughly
_SCHEMA = """
CREATE TABLE pushed (
    name TEXT PRIMARY KEY, -- if it is encrypted: the cipher's name for it
    "values" BLOB NOT NULL, -- float32, little-endian; if it is encrypted: sealed together with the source
    pushed_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    source TEXT NOT NULL,
    used_at INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID
"""
_TROUBLES = (sqlite3.Error, EncryptionError)
T = TypeVar("T")


@dataclass(frozen=True)
class PushedFeature:
    """Values under a view's name.

    Attributes:
        values: float32 numbers.
        pushed_at, expires_at: ms since the epoch by the device's clock; it is served from the one until the other.
        source: where they come from, in the words of whoever pushed them.
    """

    name: str
    values: tuple[float, ...]
    pushed_at: int
    expires_at: int
    source: str

    def is_live(self, now: int) -> bool:
        """Whether it may be served. A clock that was set back to long before the push does not prolong its life."""
        return 2 * self.pushed_at - self.expires_at <= now < self.expires_at


@dataclass(frozen=True)
class CacheStatus:
    """Of the pushed features: how many are stored and their bytes, how reads went, and what left early or late.

    Attributes:
        hits, misses: reads that found a live value, and that did not; since opening.
        evicted: values that gave way to others because of the byte budget; expired: that were found too old.
        failures: operations on the file that failed; each of them was a miss or was not stored.
    """

    entries: int
    bytes: int
    budget_bytes: int
    hits: int
    misses: int
    evicted: int
    expired: int
    failures: int


class PushedFeatures:
    """The store of pushed features. Safe for several threads, and for several processes on one file.

    Args:
        path: the SQLite file; made if missing, replaced if damaged.
        budget_bytes: the least recently used go when more than this is stored.
        cipher: encrypts names, values and sources, not the times; from the moment the file is made, or never. None:
            nothing is encrypted.
        opens: whether the file is opened at once; if nothing of it will be served, it can wait until it is asked for.

    Raises:
        EncryptionError: the file is encrypted and there is no cipher or one of another key, or it is not encrypted and
            there is one. Nothing of it is changed.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        meter: Meter,
        budget_bytes: int,
        cipher: Cipher | None = None,
        opens: bool = True,
    ) -> None:
        self._path = path
        self._clock = clock
        self._meter = meter
        self._budget = budget_bytes
        self._cipher = cipher
        self._lock = threading.Lock()
        self._memory: dict[str, PushedFeature | None] = {}
        self._overdue: set[str] = set()  # of those in memory, the ones that were counted as expired
        self._data_version = 0
        self.version = 0
        """Changes whenever what is read may have changed."""
        self._hits = self._misses = self._evicted = self._expired = self._failures = 0
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        if opens:
            self._open()

    def put(self, name: str, values: Sequence[float], *, ttl_ms: int, source: str) -> PushedFeature:
        """Store values under a name, in place of those that are there.

        Raises:
            UsageError: a value is not a finite float32 number, the time to live is not positive, or it is larger than
                the budget.
            StorageError: it could not be stored. EncryptionError: the key cannot be used any more.
        """
        place = f"push({name!r})"
        if not ttl_ms > 0:
            raise UsageError(f"a time to live of {ttl_ms} ms", place=place, remedy="give a positive time to live")
        numbers = _numbers(values, place)
        now = self._clock.now_ms()
        feature = PushedFeature(name, tuple(numbers.tolist()), now, now + ttl_ms, source)
        size = len(name.encode()) + len(source.encode()) + numbers.nbytes + _OVERHEAD_BYTES
        if size > self._budget:
            remedy = f"keep it within the budget of {self._budget:,} bytes"
            raise UsageError(f"needs {size:,} bytes", place=place, remedy=remedy)
        stored_name = self._stored_name(name)
        content = numbers.astype("<f4").tobytes()
        if self._cipher is not None:
            # JSON has no line break, and the values may have any byte.
            packed = json.dumps(source).encode() + b"\n" + content
            content, source = self._cipher.seal(packed, _place(stored_name, now, feature.expires_at)), ""
        row = (stored_name, content, now, feature.expires_at, source, now, size)

        def store(connection: sqlite3.Connection) -> int:
            with contextlib.closing(connection.cursor()) as cursor:
                cursor.execute("BEGIN IMMEDIATE")
                cursor.execute("INSERT OR REPLACE INTO pushed VALUES (?, ?, ?, ?, ?, ?, ?)", row)
                evicted = self._make_room(cursor, keep=stored_name)
                cursor.execute("COMMIT")
                return evicted

        with self._lock:
            try:
                self._evicted += self._use(store)
            except sqlite3.Error as error:
                self._failures += 1
                raise StorageError(
                    f"the pushed feature could not be stored ({error})",
                    place=str(self._path),
                    remedy="free some space, and push it again",
                ) from error
            self._forget()
            self.version += 1
        return feature

    def get(self, name: str) -> PushedFeature | None:
        """The live value of a name; None if there is none. What cannot be read counts as a failure and a miss."""
        now = self._clock.now_ms()
        with self._lock:
            if name not in self._memory:
                self._memory[name] = self._read(name)
            feature = self._memory[name]
            if feature is not None and feature.is_live(now):
                self._hits += 1
                return feature
            # It stays known: the clock may be set back, and then every process that asks has to get the same answer.
            if feature is not None and now >= feature.expires_at and name not in self._overdue:
                self._overdue.add(name)
                self._expired += 1
            self._misses += 1
            return None

    def refresh(self) -> None:
        """Notice what other processes pushed."""
        with self._lock:
            try:
                version = self._use(lambda connection: connection.execute("PRAGMA data_version").fetchone()[0])
            except _TROUBLES as error:
                self._fail(error)
                return
            if version != self._data_version:
                self._data_version = version
                self._forget()
                self.version += 1

    def clear(self) -> None:
        """Forget all of them. Their bytes are overwritten, and taken out of the write-ahead log.

        Raises:
            StorageError: the file cannot be written; or bytes are left, because another process reads it: do it again.
        """

        def delete(connection: sqlite3.Connection) -> bool:
            connection.execute("DELETE FROM pushed")
            connection.execute("VACUUM")
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy

        with self._lock:
            self._forget()
            self.version += 1
            try:
                wiped = self._use(delete)
            except sqlite3.Error as error:
                raise StorageError(str(error), place=str(self._path), remedy="check that it can be written") from error
        if not wiped:
            remedy = "close what else reads the file, and do it again"
            raise StorageError("what was cleared is gone, but not yet every byte", place=str(self._path), remedy=remedy)

    def status(self) -> CacheStatus:
        """What is stored and how it served."""
        with self._lock:
            entries = size = 0
            try:
                entries, size = self._use(
                    lambda connection: connection.execute(
                        "SELECT count(*), ifnull(sum(bytes), 0) FROM pushed"
                    ).fetchone()
                )
            except _TROUBLES as error:
                self._fail(error)
            return CacheStatus(
                entries, size, self._budget, self._hits, self._misses, self._evicted, self._expired, self._failures
            )

    def close(self) -> None:
        """Note which values were used, and close the file. Closing again does nothing; other calls raise UsageError."""
        with self._lock:
            self._closed = True
            if self._connection is not None:
                try:
                    self._connection.close()
                finally:
                    self._connection = None

    def _forget(self) -> None:
        """What is in memory, so that it is read again."""
        self._memory.clear()
        self._overdue.clear()

    def _read(self, name: str) -> PushedFeature | None:
        now = self._clock.now_ms()

        def read(connection: sqlite3.Connection) -> PushedFeature | None:
            stored_name = self._stored_name(name)
            row = connection.execute(
                'SELECT "values", pushed_at, expires_at, source FROM pushed WHERE name = ?', (stored_name,)
            ).fetchone()
            if row is None:
                return None
            connection.execute("UPDATE pushed SET used_at = ? WHERE name = ?", (now, stored_name))
            content, pushed_at, expires_at, source = row
            if self._cipher is not None:
                packed = self._cipher.open(content, _place(stored_name, pushed_at, expires_at))
                text, _, content = packed.partition(b"\n")
                source = json.loads(text)
            return PushedFeature(name, tuple(np.frombuffer(content, "<f4").tolist()), pushed_at, expires_at, source)

        try:
            return self._use(read)
        except (*_TROUBLES, ValueError) as error:
            self._fail(error)
            return None

    def _make_room(self, cursor: sqlite3.Cursor, keep: str) -> int:
        """Delete what has expired, then the least recently used, until the rest is within the budget."""
        cursor.execute("DELETE FROM pushed WHERE expires_at <= ? AND name <> ?", (self._clock.now_ms(), keep))
        (size,) = cursor.execute("SELECT sum(bytes) FROM pushed").fetchone()
        evicted = 0
        oldest = cursor.execute("SELECT name, bytes FROM pushed WHERE name <> ? ORDER BY used_at, name", (keep,))
        for name, used in oldest.fetchall():
            if size <= self._budget:
                break
            cursor.execute("DELETE FROM pushed WHERE name = ?", (name,))
            size -= used
            evicted += 1
        return evicted

    def _use(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``action``, once more on a fresh file if this one turns out to be damaged."""
        if self._closed:
            raise UsageError("the pushed features are closed", place=str(self._path), remedy="open them again")
        if self._connection is None:
            self._open()  # not opened yet, or it may have been a passing trouble
        if self._connection is None:
            raise sqlite3.ProgrammingError("the store could not be opened")
        try:
            return action(self._connection)
        except (sqlite3.DatabaseError, EncryptionError, TypeError, ValueError) as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if not self._is_damage(error, self._connection):
                raise
            self._fail(error)
            self._replace()
            if self._connection is None:
                raise
            return action(self._connection)

    def _is_damage(self, error: Exception, connection: sqlite3.Connection) -> bool:
        if isinstance(error, EncryptionError):
            return self._cipher is not None and opens(connection, self._cipher)
        return _is_damage(error)

    def _stored_name(self, name: str) -> str:
        return name if self._cipher is None else self._cipher.index(name)

    def _open(self) -> None:
        try:
            self._connection = self._connect()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._fail(error)
            if _is_damage(error):
                self._replace()

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=1.0, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")  # a cache: after a power cut it may be empty
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA temp_store = MEMORY")  # of VACUUM; phones have no folder for it
            if not _is_made(connection):
                with transaction(connection):
                    if not _is_made(connection):  # by another process, just now
                        note_key(connection, self._cipher)
                        connection.execute(_SCHEMA)
            require_key(connection, self._cipher, str(self._path))
            clear_index(connection, self._cipher)
        except BaseException:
            connection.close()
            raise
        return connection

    def _replace(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        try:
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            self._connection = self._connect()
        except (OSError, sqlite3.Error) as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._failures += 1
        self._meter.degraded("a pushed feature could not be read", error)


def _is_made(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'pushed'").fetchone() is not None


def _place(stored_name: str, pushed_at: int, expires_at: int) -> str:
    return f"pushed {stored_name} {pushed_at} {expires_at}"


def _numbers(values: Sequence[float], place: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    for value in values:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or (isinstance(value, float) and not math.isfinite(value)):
            raise UsageError(f"{shown(value)} is not a finite number", place=place, remedy="push numbers only")
        if not abs(value) <= LARGEST:
            raise UsageError(f"{shown(value)} is too large for float32", place=place, remedy="scale it down")
    return np.array(values, np.float32)


def _is_damage(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    doubtful = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH)  # it is a cache: made anew
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, *doubtful)
