"""Acknowledged means kept: the app is killed at random moments, and no acknowledged event is ever missing."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from time import perf_counter_ns

import pytest
from nearhand.clock import SystemClock
from nearhand.config import Durability
from nearhand.events import EventLog

CHILD = Path(__file__).with_name("kill_child.py")


def record_until_killed(path: Path, durability: Durability, *, after: int, spin_us: int) -> list[str]:
    """The identifiers that a child acknowledged, which was killed ``spin_us`` after the ``after``-th one was read."""
    command = [sys.executable, str(CHILD), str(path), durability]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        acknowledged = [child.stdout.readline() for _ in range(after)]
        end = perf_counter_ns() + spin_us * 1000
        while perf_counter_ns() < end:
            pass
        assert child.poll() is None, "the child ended by itself"
        child.kill()
        acknowledged += child.stdout.readlines()
    assert all(line.endswith("\n") for line in acknowledged)
    return [line.rstrip("\n") for line in acknowledged]


def stored_ids(path: Path) -> list[str]:
    with EventLog(path, clock=SystemClock(), durability="process") as log:
        recorded = log.since(0)
    assert [event.sequence for event in recorded] == sorted({event.sequence for event in recorded})
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return [event.event_id for event in recorded]


# 400 events are enough for the kill to fall into a checkpoint as well: there is one about every 300.
@pytest.mark.parametrize(("durability", "most"), [("process", 400), ("power", 120)])
def test_no_acknowledged_event_is_lost_to_a_kill(tmp_path: Path, durability: Durability, most: int) -> None:
    moments = random.Random(20)
    path = tmp_path / "events.db"
    expected: list[str] = []
    for _ in range(50):
        after, spin_us = moments.randrange(most), moments.randrange(2000)
        acknowledged = record_until_killed(path, durability, after=after, spin_us=spin_us)
        stored = stored_ids(path)
        expected += acknowledged
        extra = stored[len(expected) :]
        assert stored[: len(expected)] == expected
        assert len(extra) <= 1, "more was stored than the one event whose acknowledgement was cut off"
        expected += extra
    assert len(expected) > 50 * most / 4, "the children were killed before they did much"


def test_a_log_whose_making_was_killed_opens(tmp_path: Path) -> None:
    moments = random.Random(21)
    for attempt in range(30):
        path = tmp_path / f"{attempt}.db"
        acknowledged = record_until_killed(path, "power", after=0, spin_us=moments.randrange(12_000))
        stored = stored_ids(path)
        assert stored[: len(acknowledged)] == acknowledged
        assert len(stored) <= len(acknowledged) + 1
