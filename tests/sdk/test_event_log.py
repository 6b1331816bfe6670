"""The event log: what it keeps, from several threads and processes, and what it refuses to touch."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import shutil
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nearhand.config import Durability
from nearhand.errors import EventError, StorageError, UsageError
from nearhand.events import Event, EventLog, EventSchema, RecordedEvent
from nearhand.ids import is_id
from nearhand.testing.clock import ManualClock
from tests.sdk.event_logs import START_MS, open_log, output_of, run, sql, viewed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "profile" / "events.db"


@pytest.fixture
def log(path: Path) -> Iterator[EventLog]:
    with open_log(path) as log:
        yield log


# What is kept


def test_an_event_gets_its_identifier_number_and_times_once(log: EventLog) -> None:
    recorded = log.append(viewed(user="anna", context={"hour": 21}, properties={"seconds": 41}, recommendation_id="r"))
    assert is_id(recorded.event_id)
    assert (recorded.sequence, recorded.timestamp, recorded.recorded_at) == (1, START_MS, START_MS)
    assert (recorded.item_id, recorded.user, recorded.recommendation_id) == ("m_1", "anna", "r")
    assert (recorded.context, recorded.properties) == ({"hour": 21}, {"seconds": 41})
    assert log.since(0) == [recorded]
    assert len({recorded, log.since(0)[0]}) == 1


def test_the_same_event_id_gives_the_event_that_was_stored_first(log: EventLog) -> None:
    first = log.append(viewed("m_1", event_id="app-1"))
    other = log.append(viewed("m_2"))
    assert log.append(viewed("m_3", event_id="app-1", timestamp=5)) == first
    assert log.since(0) == [first, other]


def test_since_gives_what_is_new_in_order(log: EventLog) -> None:
    recorded = [log.append(viewed(f"m_{n}", timestamp=1000 - n)) for n in range(5)]
    assert log.since(2) == recorded[2:]
    assert log.since(5) == log.since(2**63 - 1) == []
    assert log.count() == 5


def test_the_number_of_a_deleted_last_event_is_not_given_again(path: Path) -> None:
    with open_log(path) as log:
        numbers = [log.append(viewed()).sequence for _ in range(3)]
    sql(path, "DELETE FROM event WHERE sequence = 3")
    with open_log(path) as log:
        assert log.append(viewed()).sequence == 4
        assert [recorded.sequence for recorded in log.since(0)] == [*numbers[:2], 4]


def test_what_the_app_does_to_its_event_afterwards_changes_nothing(log: EventLog) -> None:
    event = viewed(properties={"genres": ["noir"]})
    recorded = log.append(event)
    event.properties["genres"].append("western")  # type: ignore[union-attr]
    assert recorded.properties == log.since(0)[0].properties == {"genres": ["noir"]}


def test_an_event_is_kept_as_it_was_made_whatever_became_of_its_dicts(log: EventLog) -> None:
    event = viewed(properties={"x": 1}, context={"y": 1})
    event.properties["x"] = float("nan")  # type: ignore[index]
    event.context["y"] = object()  # type: ignore[index]
    assert log.append(event).properties == {"x": 1}
    assert [(each.properties, each.context) for each in log.since(0)] == [({"x": 1}, {"y": 1})]


def test_a_malformed_event_leaves_no_trace_and_a_declared_type_is_kept(path: Path) -> None:
    with open_log(path) as log, pytest.raises(EventError):
        log.append(Event("trailer_played"))
    declared = {"trailer_played": EventSchema(item=False)}
    with EventLog(path, clock=ManualClock(), durability="process", event_types=declared) as log:
        assert log.append(Event("trailer_played")).sequence == 1


# Time


def test_a_clock_that_jumps_back_does_not_change_the_order(path: Path) -> None:
    clock = ManualClock(START_MS)
    with open_log(path, clock=clock) as log:
        first = log.append(viewed())
        clock.jump_to(START_MS - 3_600_000)
        second = log.append(viewed())
        clock.advance(1)
        third = log.append(viewed(timestamp=START_MS + 7))
        assert log.since(0) == [first, second, third]
    assert [e.recorded_at - START_MS for e in (first, second, third)] == [0, -3_600_000, -3_599_999]
    assert [e.timestamp - START_MS for e in (first, second, third)] == [0, -3_600_000, 7]


def test_the_offset_is_that_of_the_timestamp_not_of_the_recording(path: Path) -> None:
    summer_ends_ms = 1_729_990_800_000  # 2024-10-27 01:00 UTC, in Berlin
    clock = ManualClock(
        summer_ends_ms + 3_600_000, utc_offset_minutes=lambda at_ms: 120 if at_ms < summer_ends_ms else 60
    )
    with open_log(path, clock=clock) as log:
        offsets = [log.append(viewed(timestamp=ms)).utc_offset_minutes for ms in (summer_ends_ms - 1, summer_ends_ms)]
        assert offsets == [120, 60]
        assert log.append(viewed()).utc_offset_minutes == 60


# Several at once


def test_eight_threads_share_one_log(log: EventLog) -> None:
    barrier = threading.Barrier(8)

    def work(thread: int) -> list[int]:
        barrier.wait()
        numbers = []
        for n in range(50):
            numbers.append(log.append(viewed(f"t{thread}_{n}")).sequence)
            log.append(viewed("shared", event_id=f"shared-{n}"))
            assert log.since(numbers[-1] - 1)[0].sequence == numbers[-1]
        return numbers

    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(work, range(8)))
    stored = log.since(0)
    assert [e.sequence for e in stored] == sorted({e.sequence for e in stored})
    assert Counter(e.item_id for e in stored) == Counter(
        {"shared": 50, **{f"t{thread}_{n}": 1 for thread in range(8) for n in range(50)}}
    )
    for thread, given in enumerate(numbers):
        assert [e.sequence for e in stored if str(e.item_id).startswith(f"t{thread}_")] == given


APPENDS = """
import sys
from pathlib import Path
from nearhand.clock import SystemClock
from nearhand.events import Event, EventLog
with EventLog(Path(sys.argv[1]), clock=SystemClock(), durability="process") as log:
    for n in range(200):
        recorded = log.append(Event("item_viewed", item_id=f"{sys.argv[2]}_{n}"))
        log.append(Event("item_viewed", item_id="shared", event_id=f"shared-{n}"))
        print(recorded.sequence)
"""


def test_several_processes_create_and_share_one_file(path: Path) -> None:
    children = [run(APPENDS, path, name) for name in "abcd"]
    given = {
        name: [int(line) for line in output_of(child).split()] for name, child in zip("abcd", children, strict=True)
    }
    with open_log(path) as log:
        stored = log.since(0)
    assert Counter(e.item_id for e in stored) == Counter(
        {"shared": 200, **{f"{name}_{n}": 1 for name in "abcd" for n in range(200)}}
    )
    for name, numbers in given.items():
        assert [e.sequence for e in stored if str(e.item_id).startswith(f"{name}_")] == numbers


def test_opening_a_new_file_many_times_at_once_makes_one_log(tmp_path: Path) -> None:
    for attempt in range(20):
        barrier = threading.Barrier(8)

        def work(thread: int, file: Path = tmp_path / f"{attempt}.db", barrier: threading.Barrier = barrier) -> int:
            barrier.wait()
            with open_log(file) as log:
                return log.append(viewed(f"t{thread}")).sequence

        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(work, range(8))) == list(range(1, 9))


def test_making_a_log_waits_for_another_process_that_looks_at_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nearhand.events.database.BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "log.db"
    pauses: list[float] = []
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM sqlite_master").fetchall()
        with pytest.raises(StorageError, match="try again"):
            open_log(path)

        def let_go(seconds: float) -> None:
            pauses.append(seconds)
            other.execute("ROLLBACK")

        monkeypatch.setattr("nearhand.events.database.time.sleep", let_go)
        monkeypatch.setattr("nearhand.events.database.time.monotonic", lambda: 0.0)
        with open_log(path) as log:
            assert log.append(viewed()).sequence == 1
    assert len(pauses) == 1


# The file


@pytest.mark.parametrize(("durability", "synchronous", "fullfsync"), [("process", 1, 0), ("power", 2, 1)])
def test_the_file_and_the_connection_are_set_up_as_promised(
    path: Path, durability: Durability, synchronous: int, fullfsync: int
) -> None:
    pragmas = ["journal_mode", "synchronous", "busy_timeout", "application_id", "user_version", "fullfsync"]
    pragmas += ["secure_delete", "temp_store"]
    with open_log(path, durability=durability) as log:
        found = log._database.use(
            lambda connection: {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas}
        )
        plan = str(sql(path, "EXPLAIN QUERY PLAN SELECT * FROM event WHERE sequence > 1 ORDER BY 1"))
    assert found == {
        "journal_mode": "wal",
        "synchronous": synchronous,
        "busy_timeout": 5000,
        "application_id": 0x4E484556,
        "user_version": 3,
        "fullfsync": fullfsync,
        "secure_delete": 1,
        "temp_store": 2,
    }
    assert "USING INTEGER PRIMARY KEY" in plan
    with pytest.raises(sqlite3.IntegrityError, match="cannot store TEXT"):
        sql(path, "INSERT INTO event VALUES (1, 'a', 'noon', 0, 0, 'search', NULL, NULL, NULL, '{}', '{}', 0, 0)")


def test_json_is_stored_with_sorted_keys_and_characters_as_themselves(path: Path) -> None:
    with open_log(path) as log:
        log.append(viewed(properties={"b": "é", "a": {"d": 1, "c": None}}))
    assert sql(path, "SELECT properties FROM event") == [('{"a":{"c":null,"d":1},"b":"é"}',)]


def test_bytes_on_disk_counts_all_three_files(path: Path, log: EventLog) -> None:
    log.append(viewed())
    sizes = {file.name: file.stat().st_size for file in path.parent.iterdir()}
    assert set(sizes) == {"events.db", "events.db-wal", "events.db-shm"}
    assert log.bytes_on_disk() == sum(sizes.values()) > 4096


def test_a_relative_path_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_log(Path(":memory:")) as log:
        log.append(viewed())
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir("elsewhere")
        assert log.bytes_on_disk() > 4096
    assert (tmp_path / ":memory:").stat().st_size > 4096


def test_new_folders_are_on_the_disk_before_an_event_in_them_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").resolve())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    open_log(tmp_path / "a" / "b" / "log.db", durability="power").close()
    if Path("/proc/self/fd").exists():
        assert sorted(synced) == [tmp_path.resolve(), tmp_path.resolve() / "a"]


def test_a_closed_log_says_so_and_closing_again_is_fine(path: Path) -> None:
    log = open_log(path)
    log.close()
    log.close()
    for use in (lambda: log.append(viewed()), lambda: log.since(0), log.count, log.bytes_on_disk):
        with pytest.raises(UsageError, match="closed"):
            use()
    assert {file.name for file in path.parent.iterdir()} == {"events.db"}


@pytest.mark.parametrize("wrong", [-1, 2**63, "0", None, 1.5])
def test_since_refuses_what_is_no_sequence_number(log: EventLog, wrong: Any) -> None:
    with pytest.raises(UsageError, match="sequence number"):
        log.since(wrong)


def test_append_refuses_what_is_no_event(log: EventLog) -> None:
    with pytest.raises(UsageError, match="dict is not an Event"):
        log.append({"event": "search"})  # type: ignore[arg-type]


# What is refused, and stays as it is


def assert_refused_untouched(path: Path, match: str) -> None:
    before = path.read_bytes()
    with pytest.raises(StorageError, match=match) as caught:
        open_log(path)
    assert caught.value.place == str(path)
    assert caught.value.remedy
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE notes (text)",
        "CREATE TABLE event (sequence INTEGER PRIMARY KEY);;PRAGMA user_version = 1",
        "PRAGMA application_id = 1",
        "PRAGMA user_version = 1",
        f"PRAGMA application_id = {0x4E484556}",
    ],
)
def test_the_database_of_something_else_is_refused(tmp_path: Path, script: str) -> None:
    sql(tmp_path / "other.db", script)
    assert_refused_untouched(tmp_path / "other.db", "something else.* path of its own")


def test_the_log_of_a_newer_sdk_is_refused(path: Path) -> None:
    with open_log(path) as log:
        log.append(viewed())
    sql(path, "PRAGMA user_version = 4")
    assert_refused_untouched(path, "newer SDK .*schema 4.* update nearhand")


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="can be written"):
        open_log(tmp_path)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="can be written"):
        open_log(tmp_path / "file" / "log.db")
    with pytest.raises(StorageError, match="can be written"):
        open_log(tmp_path / "file" / "deeper" / "log.db")


# Writes that fail


def test_a_write_that_fails_halfway_leaves_no_trace(path: Path, log: EventLog) -> None:
    log.append(viewed())
    # RAISE(FAIL) stops in the middle and undoes nothing by itself: only the transaction around it does.
    sql(
        path,
        "CREATE TRIGGER breaks AFTER INSERT ON event WHEN new.item_id = 'breaks' BEGIN SELECT RAISE(FAIL, 'boom'); END",
    )
    with pytest.raises(StorageError, match="boom"):
        log.append_many([viewed("m_0"), viewed("breaks")])
    assert log.count() == 1
    assert log.append(viewed("m_2")).item_id == "m_2"
    assert sql(path, "SELECT item_id FROM event") == [("m_1",), ("m_2",)]


class Breaking(sqlite3.Connection):
    """A connection whose statements fail from the ``first``-th on, ``failures`` times; -1: not now."""

    first = -1
    failures = 0

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if Breaking.first > 0:
            Breaking.first -= 1
        elif Breaking.first == 0 and Breaking.failures > 0:
            Breaking.failures -= 1
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, parameters)


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> type[Breaking]:
    monkeypatch.setattr(Breaking, "first", -1)
    monkeypatch.setattr("nearhand.events.database.sqlite3.connect", partial(sqlite3.connect, factory=Breaking))
    return Breaking


def test_a_log_whose_making_fails_at_any_statement_opens_the_next_time(
    tmp_path: Path, breaking: type[Breaking]
) -> None:
    for n in range(100):
        path = tmp_path / f"{n}.db"
        breaking.first, breaking.failures = n, 1000  # all that follow fail too, as if the app had ended there
        try:
            open_log(path).close()
        except StorageError:
            breaking.first = -1
        else:
            break
        with open_log(path) as log:
            assert log.append(viewed()).sequence == 1
    assert 5 < n < 99


@pytest.mark.parametrize(
    ("count", "statements"),
    # One event is one statement, which is its own transaction. Two: BEGIN, the epoch, two INSERTs, COMMIT.
    [(1, 1), (2, 5)],
)
def test_an_append_that_fails_at_any_statement_leaves_no_trace(
    path: Path, breaking: type[Breaking], count: int, statements: int
) -> None:
    with open_log(path) as log:
        for n in range(100):
            breaking.first, breaking.failures = n, 1
            try:
                log.append_many([viewed("m_1", event_id=f"app-{part}") for part in range(count)])
            except StorageError:
                breaking.first = -1
            else:
                break
            assert log.count() == 0
        breaking.first = -1
        assert n == statements
        assert log.count() == count


def test_a_log_that_another_process_holds_for_too_long_is_a_storage_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nearhand.events.database.BUSY_TIMEOUT_S", 0.05)
    with open_log(path) as log, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="try again"):
            log.append(viewed("m_1"))
        assert log.since(0) == []  # reading does not wait
        other.execute("ROLLBACK")
        assert log.append(viewed("m_2")).sequence == 1


FILLS_THE_DISK = """
import resource, sys
from pathlib import Path
from nearhand.clock import SystemClock
from nearhand.errors import StorageError
from nearhand.events import Event, EventLog
event = Event("search", properties={"query": "x" * 3000})
with EventLog(Path(sys.argv[1]), clock=SystemClock(), durability="power") as log:
    for limit in range(100_000, 400_000, 10_007):  # the bytes at which a file stops growing: at any part of a page
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            while True:
                print(log.append(event).event_id)
        except StorageError as error:
            assert error.remedy
        assert log.count() == len(log.since(0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(log.append(event).event_id)
"""


@pytest.mark.skipif(os.name != "posix", reason="limits the size of a file with setrlimit")
def test_on_a_full_disk_what_was_acknowledged_is_kept_and_nothing_else(path: Path) -> None:
    acknowledged = output_of(run(FILLS_THE_DISK, path)).split()
    assert len(acknowledged) > 15
    with open_log(path) as log:
        assert [e.event_id for e in log.since(0)] == acknowledged
    assert sql(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_copy_of_the_three_files_is_a_whole_log(path: Path, tmp_path: Path, log: EventLog) -> None:
    recorded = [log.append(viewed(f"m_{n}")) for n in range(10)]
    shutil.copytree(path.parent, tmp_path / "copy")
    with open_log(tmp_path / "copy" / path.name) as copy:
        assert copy.since(0) == recorded


def test_what_was_just_recorded_is_an_event_like_any_other(log: EventLog) -> None:
    def record() -> RecordedEvent:
        return log.append(viewed(properties={"seconds": 41, "deep": [1, {"a": None}]}))

    assert pickle.loads(pickle.dumps(kept := record())) == kept == log.since(0)[-1]
    assert copy.deepcopy(kept := record()) == kept
    assert hash(kept := record()) == hash(log.since(0)[-1])
    assert repr(kept := record()) == repr(log.since(0)[-1])
    assert dataclasses.asdict(kept := record()) == dataclasses.asdict(log.since(0)[-1])
    with pytest.raises(AttributeError):
        record().item  # type: ignore[attr-defined]  # noqa: B018
