"""What the tests of the event log share: a log in a folder, events, SQL beside it, and a second process."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from nearhand.clock import Clock
from nearhand.config import Durability
from nearhand.events import Caps, Checkpointer, Event, EventLog, RecordedEvent
from nearhand.testing.clock import ManualClock

START_MS = 1_700_000_000_000


def open_log(
    path: Path,
    *,
    clock: Clock | None = None,
    durability: Durability = "process",
    caps: Caps = Caps(),  # noqa: B008 - frozen
    checkpointer: Checkpointer | None = None,
) -> EventLog:
    clock = clock or ManualClock(START_MS)
    return EventLog(path, clock=clock, durability=durability, caps=caps, checkpointer=checkpointer)


def viewed(item_id: str = "m_1", **fields: Any) -> Event:
    return Event("item_viewed", item_id=item_id, **fields)


def sql(path: Path, script: str) -> list[Any]:
    """The rows of statements that ``;;`` separates, in a connection of their own."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return [row for statement in script.split(";;") for row in connection.execute(statement).fetchall()]


def run(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def output_of(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


def spoil(path: Path) -> None:
    """Overwrite all but the head of a database, so that it opens and cannot be read."""
    content = bytearray(path.read_bytes())
    content[4096 * 2 :] = b"\xa5" * (len(content) - 4096 * 2)
    path.write_bytes(content)


class Keeper:
    """A checkpointer whose state lists the sequence numbers it was given: nothing may be missing, or there twice."""

    def __init__(self, fingerprint: str = "keeper-1") -> None:
        self.fingerprint = fingerprint
        self.as_of: list[int] = []
        self.error: Exception | None = None

    def fold(self, state: bytes | None, events: Sequence[RecordedEvent], as_of: int) -> bytes:
        if self.error is not None:
            raise self.error
        self.as_of.append(as_of)
        return json.dumps(kept_in(state) + [event.sequence for event in events]).encode()


def kept_in(state: bytes | None) -> list[int]:
    return json.loads(state) if state else []
