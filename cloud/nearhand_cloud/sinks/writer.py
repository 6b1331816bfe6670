"""One thread writes an SQLite file, and commits what many requests want written in one transaction."""

from __future__ import annotations

import asyncio
import fcntl
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias, TypeVar

from nearhand_cloud.refusal import UnavailableError

T = TypeVar("T")
Work: TypeAlias = Callable[[sqlite3.Connection], T]

_GROUP = 64  # requests that share a transaction
_BUSY_TIMEOUT_MS = 10_000
_WIPE_TIMEOUT_MS = 2_000
_WIPE_AT_ONCE_BYTES = 64_000_000
_WIPE_EVERY_S = 3600.0


class Writer:
    """A database, and the thread that owns its connection.

    A work that erases sets ``upkeep.wipe_due``. Then the file is written anew and the write-ahead log emptied: before
    the erasure is answered while the file is under 64 MB, else at most once an hour, and always when it is closed.

    Args:
        path: the file. The folder has to exist.
        application_id: tells the file from databases of something else.
        schema: statements that make the tables in an empty file.
        at_start: a statement that is executed whenever the file is opened.

    Raises:
        UnavailableError: it cannot be opened, is a database of something else, or another endpoint has it.
    """

    def __init__(self, path: Path, application_id: int, schema: str, at_start: str | None = None) -> None:
        self._place = str(path)
        self._path = path
        self._lock = path.with_suffix(".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._connection = _opened(path, application_id, schema)
            if at_start is not None:
                self._connection.execute(at_start)
        except BlockingIOError:
            self._lock.close()
            remedy = "give each endpoint a folder of its own, or share Kafka and Redis"
            raise UnavailableError("another endpoint uses this file", place=self._place, remedy=remedy) from None
        except sqlite3.Error as error:
            self._lock.close()
            raise self._unavailable(error) from error
        self._next_wipe = 0.0
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="nearhand-cloud-writer", daemon=True)
        self._thread.start()

    async def run(self, work: Work[T]) -> T:
        """Call ``work`` in the writer's thread, within a transaction. When this returns, its commit is durable.

        Raises:
            RefusalError: ``work`` raised it, and nothing that it did is kept.
            UnavailableError: nothing that it did is kept, or whether the commit went through is not known.
        """
        if self._closed:
            raise UnavailableError("the endpoint is shutting down", place=self._place, remedy="try again")
        loop = asyncio.get_running_loop()
        job = _Job(work, loop, loop.create_future())
        self._queue.put(job)
        return await job.future  # type: ignore[no-any-return]

    async def close(self) -> None:
        """Finish what is in the queue, take what was erased out of the files, and close."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        job: _Job | None
        while (job := self._queue.get()) is not None:
            jobs = [job]
            with suppress(Empty):
                while len(jobs) < _GROUP and (job := self._queue.get_nowait()) is not None:
                    jobs.append(job)
            self._commit(jobs)
            if job is None:
                break
        self._next_wipe = 0.0
        with suppress(sqlite3.Error):  # it stays due, and is done when the file is opened again
            self._wipe()
        self._connection.close()
        self._lock.close()

    def _commit(self, jobs: list[_Job]) -> None:
        """All of the jobs in one transaction; one that is refused leaves the others alone."""
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                connection.execute("SAVEPOINT job")
                try:
                    job.result = job.work(connection)
                except sqlite3.Error:
                    raise
                except Exception as error:  # noqa: BLE001 - it goes to whoever asked, and not to the others
                    connection.execute("ROLLBACK TO job")
                    job.error = error
                connection.execute("RELEASE job")
            connection.execute("COMMIT")
            self._wipe()
        except sqlite3.Error as error:
            failure = self._unavailable(error)
            for job in jobs:
                job.error = failure
            with suppress(sqlite3.Error):  # it may have rolled back by itself
                connection.execute("ROLLBACK")
        for loop in {job.loop for job in jobs}:
            loop.call_soon_threadsafe(_resolve, [job for job in jobs if job.loop is loop])

    def _wipe(self) -> None:
        """Take what was erased out of the files, if it is due and its time has come."""
        (due,) = self._connection.execute("SELECT wipe_due FROM upkeep").fetchone()
        if not due or (self._path.stat().st_size > _WIPE_AT_ONCE_BYTES and time.monotonic() < self._next_wipe):
            return
        self._next_wipe = time.monotonic() + _WIPE_EVERY_S
        # What is deleted is overwritten, but where SQLite has moved a row to another page, the bytes of its old place
        # can still be there; and the write-ahead log has everything.
        self._connection.execute("VACUUM")
        self._connection.execute(f"PRAGMA busy_timeout = {_WIPE_TIMEOUT_MS}")
        busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self._connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        if not busy:  # else somebody else reads the file, and it stays due
            self._connection.execute("UPDATE upkeep SET wipe_due = 0")

    def _unavailable(self, error: sqlite3.Error) -> UnavailableError:
        return UnavailableError(str(error), place=self._place, remedy="look at the disk and the folder's permissions")


class _Job:
    """What one request wants written, and what came of it."""

    __slots__ = ("error", "future", "loop", "result", "work")

    def __init__(self, work: Work[Any], loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any]) -> None:
        self.work = work
        self.loop = loop
        self.future = future
        self.result: Any = None
        self.error: Exception | None = None


def _resolve(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():  # whoever asked has gone
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)


def _opened(path: Path, application_id: int, schema: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        (found,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if found != application_id and (found or tables):
            raise sqlite3.DatabaseError("is a database of something else")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = 1")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA temp_store = MEMORY")  # VACUUM leaves no second file
        if not found:
            statements = (
                f"CREATE TABLE upkeep (wipe_due INTEGER NOT NULL) STRICT; INSERT INTO upkeep VALUES (0); {schema}"
            )
            connection.executescript(f"BEGIN; {statements}; PRAGMA application_id = {application_id}; COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection
