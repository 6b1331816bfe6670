"""Features on the device, with a program of 30 views: beside SQLite, and beside recording alone."""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from nearhand import Config, Event, Personalizer

HISTORY = 300
CANDIDATES = 100
TURNS = 50


@pytest.fixture
def personalizer(bundle: Path, tmp_path: Path) -> Iterator[Personalizer]:
    """With a history of some weeks' size."""
    with Personalizer.open(bundle, tmp_path / "data", config=Config(durability="process")) as personalizer:
        personalizer.record_many([viewed(number) for number in range(HISTORY)])
        yield personalizer


def viewed(number: int) -> Event:
    return Event("item_viewed", item_id=f"f_{number * 7 % 500 + 1:04d}", properties={"seconds": number % 90})


@pytest.fixture
def raw_get(tmp_path: Path, personalizer: Personalizer) -> Iterator[Callable[[], object]]:
    """One SELECT by primary key of a blob as large as the vector, in WAL mode."""
    vector = personalizer.features.vector()
    connection = sqlite3.connect(tmp_path / "raw.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE vector (name TEXT PRIMARY KEY, numbers BLOB) WITHOUT ROWID")
    connection.execute("INSERT INTO vector VALUES ('default', ?)", (vector.floats.tobytes() + vector.ints.tobytes(),))
    yield lambda: connection.execute("SELECT numbers FROM vector WHERE name = ?", ("default",)).fetchone()
    connection.close()


@pytest.mark.parametrize("contender", ["nearhand cached vector", "raw SQLite get"])
def test_cached_vector(
    benchmark: BenchmarkFixture, personalizer: Personalizer, raw_get: Callable[[], object], contender: str
) -> None:
    """Time to live, freshness and locking included."""
    features = personalizer.features
    assert len(features.program.program.views) == 30
    features.vector()
    benchmark.group = "read the feature vector when nothing has happened"
    if contender.startswith("nearhand"):
        benchmark(features.vector)
        assert features.status().hits > 0
        benchmark.extra_info["nearhand cached vector / raw SQLite get, in turns"] = (
            f"{_ratio(features.vector, raw_get):.2f}"
        )
    else:
        assert benchmark(raw_get) is not None


def _ratio(one: Callable[[], object], other: Callable[[], object]) -> float:
    """How much longer ``one`` takes: the median of pairs, a few ms each. In turns, so both have the same noise."""
    return statistics.median(_time(one) / _time(other) for _ in range(TURNS))


def _time(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    for _ in range(1000):
        work()
    return time.perf_counter() - start


@pytest.mark.parametrize("contender", ["nearhand candidate features", "100 raw SQLite gets"])
def test_candidates(
    benchmark: BenchmarkFixture, personalizer: Personalizer, raw_get: Callable[[], object], contender: str
) -> None:
    """All candidate views of 100 candidates, with the profile's vector."""
    features = personalizer.features
    item_ids = [f"f_{number + 1:04d}" for number in range(CANDIDATES)]
    benchmark.group = "features of 100 candidates"
    if contender.startswith("nearhand"):
        _, found = benchmark(features.candidates, item_ids)
        assert found.floats.shape == (CANDIDATES, 6)
    else:
        benchmark(lambda: [raw_get() for _ in item_ids])


@pytest.mark.parametrize("contender", ["nearhand record, then vector", "nearhand record", "raw SQLite insert"])
def test_fresh_vector(benchmark: BenchmarkFixture, personalizer: Personalizer, tmp_path: Path, contender: str) -> None:
    """An event, and the first reading after it, which has it in it. Durability "process"."""
    features, number = personalizer.features, count()
    benchmark.group = 'record an event, with features fresh at the next read, durability "process"'
    if contender == "nearhand record":
        benchmark(lambda: personalizer.record(viewed(next(number))))
        assert features.vector().floats[0] == features.status().events
    elif contender.startswith("nearhand"):

        def both() -> None:
            personalizer.record(viewed(next(number)))
            features.vector()

        benchmark(both)
        assert features.status().hits == 0
    else:
        connection = sqlite3.connect(tmp_path / "insert.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(
            "CREATE TABLE event (sequence INTEGER PRIMARY KEY, id TEXT UNIQUE, event TEXT, item_id TEXT)"
        )
        insert = "INSERT INTO event (id, event, item_id) VALUES (?, ?, ?)"
        benchmark(lambda: connection.execute(insert, (f"{next(number):032x}", "item_viewed", "f_0001")))
        connection.close()
