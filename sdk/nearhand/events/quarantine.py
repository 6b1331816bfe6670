"""A damaged log is moved aside, whole, so that a fresh one can take its place and nothing of it is destroyed."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nearhand.events.schema import DamagedError

_SUFFIXES = ("", "-wal", "-shm")
_PAUSE_S = 0.005


def files_of(path: Path) -> list[Path]:
    """The names of a database: itself, its write-ahead log and the index of that."""
    return [path.with_name(path.name + suffix) for suffix in _SUFFIXES]


def is_damage(error: BaseException) -> bool:
    """Whether the error says that the file is not what was written."""
    if isinstance(error, DamagedError | UnicodeDecodeError):  # SQLite's message may hold what cannot be decoded
        return True
    if isinstance(error, sqlite3.OperationalError) and "Could not decode to UTF-8" in str(error):
        return True  # Python's own error, which has no code
    return sqlite_code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def sqlite_code(error: BaseException | None) -> int:
    """SQLite's code for the kind of error, or 0."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF  # the other bytes tell details of the kind


def quarantined(path: Path) -> tuple[str, ...]:
    """The names of the files that were moved aside, the earliest first."""
    numbers = sorted(number for number, suffix in _moved(path) if not suffix)
    return tuple(f"{path.name}.corrupt-{number}" for number in numbers)


def quarantine(path: Path) -> None:
    """Move the database aside, under the next free number. To be called with the folder's lock held.

    Killed between two of its steps, it leaves a write-ahead log without its database, which SQLite deletes when it
    makes the fresh one.
    """
    number = 1 + max((number for number, _ in _moved(path)), default=0)
    for file, target in zip(files_of(path), files_of(path.with_name(f"{path.name}.corrupt-{number}")), strict=True):
        if file.exists():
            file.replace(target)
    sync_folder(path.parent)


def delete_quarantined(path: Path) -> None:
    """Delete the files that were moved aside, for good. Done again, it goes on where it was stopped."""
    found = sorted({number for number, _ in _moved(path)})
    for number in found:
        for file in reversed(files_of(path.with_name(f"{path.name}.corrupt-{number}"))):  # what is found goes last
            file.unlink(missing_ok=True)
    if found:
        sync_folder(path.parent)


def _moved(path: Path) -> list[tuple[int, str]]:
    """The number and the suffix of each file that was moved aside, but for the index, in which nothing is kept."""
    beginning = f"{path.name}.corrupt-"
    names = [file.name for file in path.parent.iterdir()]
    ends = [name.removeprefix(beginning) for name in names if name.startswith(beginning)]  # mostly there is none
    found = [re.fullmatch(r"([1-9]\d{0,8})(-wal)?", end) for end in ends]
    return [(int(match[1]), match[2] or "") for match in found if match]


def inode(path: str) -> tuple[int, int] | None:
    """Which file the path names now, None: none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path takes longer, and this is done for every event
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def folder_lock(folder: Path, timeout_s: float) -> Iterator[None]:
    """One process, and one log in it, at a time: nobody opens a database while another one moves it aside.

    Windows has no lock on a folder and needs none: there a file that is open somewhere cannot be moved.

    Raises:
        TimeoutError: another one holds it for too long.
    """
    if os.name == "nt":
        yield
        return
    import fcntl

    deadline_s = time.monotonic() + timeout_s  # of the system's clock, like SQLite's own waiting
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # without waiting: the other one may be frozen
                break
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    raise TimeoutError("another process is opening it") from None
            time.sleep(_PAUSE_S)
        yield
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Return when the folder's names are on the disk. Elsewhere a folder cannot be opened, and needs no fsync."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
