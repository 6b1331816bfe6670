"""`record` beside SQLite alone: the same INSERT into the same schema, one transaction each, of rows made beforehand."""

from __future__ import annotations

import sqlite3
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from itertools import count
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from nearhand.clock import SystemClock
from nearhand.config import Durability
from nearhand.events import Event, EventLog
from nearhand.ids import random_id

PORTION = 200  # events of one round, so that the disk's moods even out
THREADS = 8


def viewed(number: int) -> Event:
    return Event("item_viewed", item_id=f"m_{number % 500}", properties={"seconds": number % 90})


@pytest.fixture
def log(tmp_path: Path, durability: Durability) -> Iterator[EventLog]:
    with EventLog(tmp_path / "events.db", clock=SystemClock(), durability=durability) as log:
        yield log


@pytest.fixture
def raw(tmp_path: Path, log: EventLog, durability: Durability) -> Iterator[sqlite3.Connection]:
    """A database with the log's schema and pragmas."""
    with closing(sqlite3.connect(tmp_path / "events.db")) as made:
        schema = made.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'sqlite_sequence'")
        statements = [sql for (sql,) in schema]
    with closing(sqlite3.connect(tmp_path / "raw.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'power' else 'NORMAL'}")
        connection.execute("PRAGMA secure_delete = ON")
        for statement in statements:
            connection.execute(statement)
        yield connection


def rows_like(log: EventLog, numbers: Iterator[int]) -> tuple[str, list[tuple[object, ...]]]:
    """The INSERT of a raw row, and the rows of one round: what the log stores for such an event."""
    kept = asdict(log.append(viewed(next(numbers))))
    texts = {"context": "{}", "properties": '{"seconds":41}'}
    names = [name for name in kept if name != "sequence"]
    rows = [
        tuple(random_id() if name == "event_id" else texts.get(name, kept[name]) for name in names)
        for _ in range(PORTION)
    ]
    return f"INSERT INTO event ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", rows


@pytest.mark.parametrize("contender", ["nearhand append", "nearhand append, 8 threads", "raw SQLite insert"])
@pytest.mark.parametrize("durability", ["power", "process"])
def test_append(
    benchmark: BenchmarkFixture, log: EventLog, raw: sqlite3.Connection, durability: Durability, contender: str
) -> None:
    """The checks, the identifier, the clock, the caps and the answer included."""
    numbers = count()
    benchmark.group = f'{PORTION} events one by one, durability "{durability}"'
    rounds, before = 60, log.count()
    if contender == "raw SQLite insert":

        def make_rows() -> tuple[tuple[str, list[tuple[object, ...]]], dict[str, object]]:
            return rows_like(log, numbers), {}

        def insert(statement: str, rows: list[tuple[object, ...]]) -> None:
            for row in rows:
                raw.execute(statement, row)

        benchmark.pedantic(insert, setup=make_rows, rounds=rounds)  # type: ignore[no-untyped-call]
        assert raw.execute("SELECT count(*) FROM event").fetchone() == (rounds * PORTION,)
        return

    def append(events: list[Event]) -> None:
        for event in events:
            log.append(event)

    def append_together(events: list[Event]) -> None:
        threads = [threading.Thread(target=append, args=(events[part::THREADS],)) for part in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    alone: list[float] = []

    def make_events() -> tuple[tuple[list[Event]], dict[str, object]]:
        if not contender.endswith("threads"):
            # The disk's moods last for seconds: only what is done in turns can be compared.
            statement, rows = rows_like(log, numbers)
            start = time.perf_counter()
            for row in rows:
                raw.execute(statement, row)
            alone.append(time.perf_counter() - start)
        return ([viewed(next(numbers)) for _ in range(PORTION)],), {}

    work = append_together if contender.endswith("threads") else append
    benchmark.pedantic(work, setup=make_events, rounds=rounds)  # type: ignore[no-untyped-call]
    assert log.count() == before + rounds * PORTION + len(alone)
    if alone and benchmark.stats is not None:
        ratio = benchmark.stats.stats.median / statistics.median(alone)
        benchmark.extra_info["nearhand append / raw SQLite insert, in turns"] = f"{ratio:.2f}"
