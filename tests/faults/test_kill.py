"""Acknowledged means kept: the app is killed at random moments, and no acknowledged event is ever missing."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from time import perf_counter_ns

import pytest

from nearhand.clock import SystemClock
from nearhand.config import Durability
from nearhand.events import EventLog
from nearhand.ids import is_id

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL what it forked")

CHILD = Path(__file__).with_name("kill_child.py")
RecordUntilKilled = Callable[[Path, Durability, int, int], list[str]]


@pytest.fixture(scope="module")
def record_until_killed() -> Iterator[RecordUntilKilled]:
    """The identifiers acknowledged by a process that was killed ``spin_us`` after the ``after``-th of them was read."""
    with subprocess.Popen(
        [sys.executable, str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        say, hear = child.stdin.write, child.stdout.readline

        def hear_id() -> str:
            line = hear().rstrip("\n")
            assert is_id(line) or line == "killed", f"the child said {line!r}"
            return line

        def record(path: Path, durability: Durability, after: int, spin_us: int) -> list[str]:
            say(f"{durability} {path}\n")
            assert hear() == "ready\n"
            acknowledged = [hear_id() for _ in range(after)]
            end = perf_counter_ns() + spin_us * 1000
            while perf_counter_ns() < end:
                pass
            say("kill\n")
            return [*acknowledged, *iter(hear_id, "killed")]

        yield record
        child.stdin.close()


def stored_ids(path: Path) -> list[str]:
    with EventLog(path, clock=SystemClock(), durability="process") as log:
        stored = log.count()
        last = log.since(stored)  # nothing has been deleted, so that the numbers have no gap
    assert last == []
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        ids = [event_id for (event_id,) in connection.execute("SELECT event_id FROM event ORDER BY sequence")]
    assert len(ids) == stored
    return ids


# 400 events are enough for the kill to fall into a checkpoint as well: there is one about every 300.
@pytest.mark.parametrize(("durability", "most"), [("process", 400), ("power", 60)])
def test_no_acknowledged_event_is_lost_to_a_kill(
    tmp_path: Path, record_until_killed: RecordUntilKilled, durability: Durability, most: int
) -> None:
    moments = random.Random(20)
    path = tmp_path / "events.db"
    expected: list[str] = []
    for _ in range(25):
        acknowledged = record_until_killed(path, durability, moments.randrange(most), moments.randrange(2000))
        stored = stored_ids(path)
        expected += acknowledged
        extra = stored[len(expected) :]
        assert stored[: len(expected)] == expected
        assert len(extra) <= 1, "more was stored than the one event whose acknowledgement was cut off"
        expected += extra
    with EventLog(path, clock=SystemClock(), durability=durability) as log:
        assert [event.event_id for event in log.since(0)] == expected
    assert len(expected) > 25 * most / 4, "the children were killed before they did much"


def test_a_log_whose_making_was_killed_opens(tmp_path: Path, record_until_killed: RecordUntilKilled) -> None:
    moments = random.Random(21)
    for attempt in range(30):
        path = tmp_path / f"{attempt}.db"
        acknowledged = record_until_killed(path, "power", 0, moments.randrange(12_000))
        stored = stored_ids(path)
        assert stored[: len(acknowledged)] == acknowledged
        assert len(stored) <= len(acknowledged) + 1
