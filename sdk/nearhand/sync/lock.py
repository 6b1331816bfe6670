"""One sync of a profile at a time, among all threads and processes: a lock that ends with whoever holds it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nearhand.bundle.durable import storage_errors


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Whether nobody else holds the lock; the block has it then.

    Raises:
        StorageError: the file, which is empty, cannot be made.
    """
    with storage_errors(str(path)):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield _locked(descriptor)
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
