"""Files that are whole and on the disk, or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from nearhand.errors import StorageError, UsageError, shown


def sync_file(file: BinaryIO) -> None:
    """Return when the file's contents have reached the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Return when the folder's names have reached the disk. Windows has no such call and writes them through."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def path_of(given: str | os.PathLike[str], place: str) -> Path:
    """The path that an app gave as an argument, absolute: the app may change its working directory.

    Raises:
        UsageError: no file can have it; names the place.
    """
    try:
        path = Path(given)
        if not os.fspath(given) or b"\0" in os.fsencode(path):
            raise ValueError
        return path.absolute()
    except (TypeError, ValueError, OSError):  # the last if there is no working directory any more
        remedy = "give a text or a pathlib.Path"
        raise UsageError(f"{shown(given)} is no path", place=place, remedy=remedy) from None


@contextmanager
def storage_errors(place: str) -> Iterator[None]:
    """Turn the operating system's refusals into StorageError."""
    try:
        yield
    except OSError as error:
        problem = f"the file system refused ({error.strerror or error})"
        raise StorageError(
            problem, place=place, remedy="check that the path exists, is allowed and has space"
        ) from error
