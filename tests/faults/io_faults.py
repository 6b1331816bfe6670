"""A disk that fails on demand: ``io_shim.c``, in a process that preloads it."""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from enum import IntEnum
from errno import EIO
from pathlib import Path

NEVER = sys.maxsize


class Manner(IntEnum):
    """What happens to a call that does not go through; as in ``io_shim.c``."""

    FAIL = 0  # it returns the error, and has done nothing
    TEAR = 1  # the same, but half of what it wrote is in the file
    SHORT = 2  # a write writes half and says so; the rest of it fails
    KILL = 3  # the process is killed, after half of a write
    POWER = 4  # the same, and what has not been synced is lost


@dataclass(frozen=True)
class Fault:
    """Which calls fail, and how: those numbered ``first`` to ``last``, counted from 1.

    ``seed`` is for ``Manner.POWER``: with 0 everything that was not synced is lost, else about half of it is, in blocks
    of 512 bytes, as a disk that writes in an order of its own would lose it.
    """

    first: int
    last: int
    manner: Manner = Manner.FAIL
    error: int = EIO
    seed: int = 0


class Disk:
    """The library's functions."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(os.environ["LD_PRELOAD"])
        self._library.io_arm.argtypes = [ctypes.c_long] * 2 + [ctypes.c_int] * 2 + [ctypes.c_uint, ctypes.c_int]
        self._library.io_calls.restype = ctypes.c_long

    def arm(self, folder: Path, fault: Fault, tell: int) -> None:
        """From here on ``fault`` happens to the calls that change something in ``folder`` or below.

        The first one that fails is written to the file descriptor ``tell``, as ``{"hit": "write /events.db"}``.
        """
        self._library.io_watch(os.fsencode(folder))
        self._library.io_arm(fault.first, fault.last, fault.manner, fault.error, fault.seed, tell)

    def draw_from(self, file: Path) -> None:
        """From here on SQLite's random numbers, of which it asks the system for few, begin with the file's bytes."""
        self._library.io_draw_from(os.fsencode(file))

    def disarm(self) -> int:
        """From here on nothing fails. Returns how many calls were counted."""
        self._library.io_disarm()
        return int(self._library.io_calls())
