"""Damage: the file is moved aside whole, a fresh one takes its place, and what is acknowledged then is in that one."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nearhand.errors import StorageError
from nearhand.events import Caps, EventLog, Snapshot
from nearhand.events.quarantine import folder_lock
from tests.sdk.event_logs import Keeper, open_log, output_of, run, spoil, sql, viewed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


def make(path: Path, count: int = 200) -> None:
    with open_log(path) as log:
        log.append_many([viewed(f"m_{n}", event_id=f"old-{n}") for n in range(count)])


def names(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


# When it is opened


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def text(path: Path) -> None:
    path.write_text("not a database, and longer than a header of one: " * 50)


def no_tables(path: Path) -> None:
    sql(path, "DROP TABLE event")


@pytest.mark.parametrize("damage", [zeros, text, no_tables])
def test_a_file_that_is_damaged_when_it_is_opened_is_moved_aside(path: Path, damage: Callable[[Path], None]) -> None:
    make(path)
    damage(path)
    content = path.read_bytes()
    with open_log(path) as log:
        assert log.quarantined == ("events.db.corrupt-1",)
        assert log.count() == 0
        recorded = log.append(viewed())
    assert {name.removesuffix("-wal").removesuffix("-shm") for name in names(path)} == {
        "events.db",
        "events.db.corrupt-1",
    }
    assert path.with_name("events.db.corrupt-1").read_bytes() == content
    with open_log(path) as log:
        assert log.since(0) == [recorded]
        assert log.quarantined == ("events.db.corrupt-1",)


def test_each_quarantined_file_has_a_number_of_its_own_and_its_companions(path: Path) -> None:
    assert open_log(path).quarantined == ()
    for number in range(1, 12):
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).write_text(f"damaged {number}" * 100)
        open_log(path).close()
        for suffix in ("", "-wal"):  # the third one SQLite may write anew
            moved = path.with_name(f"{path.name}.corrupt-{number}{suffix}")
            assert moved.read_text() == f"damaged {number}" * 100
    (path.parent / "events.db.corrupt-0").touch()
    (path.parent / "events.db.corrupt-1x").touch()
    with open_log(path) as log:
        assert log.quarantined == tuple(f"events.db.corrupt-{number}" for number in range(1, 12))


def test_the_new_names_are_on_the_disk_before_the_fresh_log_is_used(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def spy(descriptor: int) -> None:
        done.append(f"sync {Path(f'/proc/self/fd/{descriptor}').resolve()}")
        fsync(descriptor)

    def renamed(file: Path, target: Path) -> Path:
        done.append(f"rename {file.name}")
        return replace(file, target)

    if not Path("/proc/self/fd").exists():
        pytest.skip("looks into /proc")
    path.write_text("damaged " * 100)
    monkeypatch.setattr(os, "fsync", spy)
    monkeypatch.setattr(Path, "replace", renamed)
    open_log(path).close()
    assert done == ["rename events.db", f"sync {path.parent.resolve()}"]


def test_killed_between_two_renames_it_leaves_no_log_of_another_file(path: Path) -> None:
    with open_log(path) as log:
        log.append(viewed("old"))
        wal = path.with_name("events.db-wal").read_bytes()
    path.rename(path.with_name("events.db.corrupt-1"))
    path.with_name("events.db-wal").write_bytes(wal)
    with open_log(path) as log:
        assert log.count() == 0
        recorded = log.append(viewed("new"))
    with open_log(path) as log:
        assert log.since(0) == [recorded]
    assert sql(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_file_that_cannot_be_moved_is_a_storage_error_until_it_can(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(path)
    with open_log(path) as log:
        log.count()
        spoil(path)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", lambda file, target: (_ for _ in ()).throw(PermissionError("no")))
            for _ in range(2):
                with pytest.raises(StorageError, match="no; check that the folder"):
                    log.since(0)
            with pytest.raises(StorageError, match="no; check"):
                log.append(viewed())
        assert not log.quarantined
        assert log.append(viewed()).sequence == 1
        assert log.quarantined == ("events.db.corrupt-1",)


# In use


def uses() -> dict[str, Callable[[EventLog], Any]]:
    return {
        "append": lambda log: log.append(viewed("new", event_id="new")).sequence,
        "append_many": lambda log: [event.sequence for event in log.append_many([viewed("new"), viewed("new")])],
        "reset": lambda log: (log.reset().epoch, log.append(viewed()).epoch),
        "since": lambda log: log.since(0),
        "count": lambda log: log.count(),
        "forget": lambda log: log.forget("old-150"),
        "read": lambda log: log.read("f").events,
        "enforce_caps": lambda log: log.enforce_caps(),
    }


@pytest.mark.parametrize("use", uses())
def test_damage_that_is_met_in_use_is_moved_aside(path: Path, use: str) -> None:
    make(path)
    with open_log(path, caps=Caps(max_bytes=1_000)) as log:  # of the 200 there are, enforce_caps reads all
        before = log.rewrites(), log.generation()
        damaged = path.stat().st_ino
        spoil(path)
        given = uses()[use](log)
        wanted = {"append": 1, "append_many": [1, 2], "reset": (1, 1), "count": 0, "forget": False, "enforce_caps": 0}
        if log.quarantined:  # SQLite may not have needed the damaged part
            assert given == wanted.get(use, [])
            assert log.rewrites() != before[0]
            assert log.generation() > before[1]
            assert path.with_name("events.db.corrupt-1").stat().st_ino == damaged
            assert log.changed_elsewhere()
        else:
            assert use in ("reset",)
        log.append(viewed("more", event_id="more"))
        stored = log.since(0)
        assert stored[-1].event_id == "more"
        assert log.quarantined == ("events.db.corrupt-1",)
        assert not log.save_snapshot("f", Snapshot(b"", 200, before[0]))
    with open_log(path) as log:
        assert log.since(0) == stored


@pytest.mark.parametrize("statement", ["properties = '{'", "context = '[1'", "item_id = CAST(x'ff' AS TEXT)"])
def test_an_event_that_cannot_be_read_is_damage(path: Path, statement: str) -> None:
    make(path, 3)
    with open_log(path) as log:
        sql(path, f"UPDATE event SET {statement} WHERE sequence = 2")
        assert log.since(2) != []
        assert log.since(0) == []
        assert log.quarantined == ("events.db.corrupt-1",)


def test_an_eviction_that_meets_damage_does_not_take_the_new_event_along(
    path: Path,
) -> None:
    make(path, 63)
    with open_log(path, caps=Caps(max_bytes=1_000), checkpointer=Keeper()) as log:
        sql(path, "UPDATE event SET properties = '{' WHERE sequence = 2")
        recorded = log.append(viewed("new"))
        assert log.quarantined == ("events.db.corrupt-1",)
        assert log.since(0) == [recorded]
        assert recorded.sequence == 1


def test_an_error_of_the_disk_is_not_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(sqlite3.Connection):
        gone = False

        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            if Gone.gone:
                error = sqlite3.OperationalError("boom")
                # The first says little, and to find out more the disk would be needed.
                error.sqlite_errorcode = sqlite3.SQLITE_ERROR if "event" in sql else sqlite3.SQLITE_IOERR
                raise error
            return super().execute(sql, parameters)

    make(path, 3)
    monkeypatch.setattr("nearhand.events.database.sqlite3.connect", partial(sqlite3.connect, factory=Gone))
    with open_log(path) as log:
        Gone.gone = True
        with pytest.raises(StorageError, match="boom"):
            log.since(0)
        Gone.gone = False
        assert log.quarantined == ()
        assert log.count() == 3


# Several at once


def test_of_several_that_meet_the_same_damage_one_moves_it(path: Path) -> None:
    make(path)
    logs = [open_log(path) for _ in range(8)]
    for log in logs:
        assert log.count() == 200
    spoil(path)
    barrier = threading.Barrier(8)

    def work(log: EventLog) -> str:
        barrier.wait()
        log.since(0)
        return log.append(viewed()).event_id

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(work, logs))
    for log in logs:
        assert log.quarantined == ("events.db.corrupt-1",)
        assert sorted(event.event_id for event in log.since(0)) == sorted(ids)
        log.close()


MEETS_DAMAGE = """
import sys
from pathlib import Path
from nearhand.clock import SystemClock
from nearhand.events import Event, EventLog
with EventLog(Path(sys.argv[1]), clock=SystemClock(), durability="process") as log:
    print(log.count(), flush=True)
    sys.stdin.readline()
    log.since(0)
    for n in range(50):
        log.append(Event("item_viewed", item_id="m", event_id=f"{sys.argv[2]}-{n}"))
    print(log.quarantined)
"""


def test_of_several_processes_that_meet_the_same_damage_one_moves_it(path: Path) -> None:
    make(path)
    children = [run(MEETS_DAMAGE, path, name) for name in "abc"]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "200\n"
    output_of(
        run(
            "import sys; from pathlib import Path; from tests.sdk.event_logs import spoil; spoil(Path(sys.argv[1]))",
            path,
        )
    )
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    assert {output_of(child) for child in children} == {"('events.db.corrupt-1',)\n"}
    with open_log(path) as log:
        assert sorted(event.event_id for event in log.since(0)) == sorted(f"{c}-{n}" for c in "abc" for n in range(50))
    assert sql(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_log_whose_file_another_one_has_moved_goes_on_in_the_new_file(path: Path) -> None:
    # Its own pages are sound to it: it has them in memory, and meets no damage.
    make(path, 3)
    with open_log(path) as idle, open_log(path) as other:
        assert idle.count() == 3
        sql(path, "UPDATE event SET properties = '{' WHERE sequence = 1")
        assert other.since(0) == []
        assert idle.changed_elsewhere()
        first = idle.append(viewed("from idle"))
        second = other.append(viewed("from other"))
        assert idle.since(0) == other.since(0) == [first, second]
        assert (first.sequence, second.sequence) == (1, 2)
        assert idle.quarantined == ("events.db.corrupt-1",)


def test_a_log_whose_file_was_deleted_begins_anew(path: Path) -> None:
    with open_log(path) as log:
        log.append(viewed())
        before = log.rewrites()
        for name in names(path):
            (path.parent / name).unlink()
        recorded = log.append(viewed())
        assert recorded.sequence == 1
        assert log.rewrites() != before
        assert log.since(0) == [recorded]
    with open_log(path) as log:
        assert log.since(0) == [recorded]


def test_opening_waits_for_one_who_moves_a_file_but_not_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nearhand.events.database.BUSY_TIMEOUT_S", 0.05)
    with folder_lock(path.parent, 1.0), pytest.raises(StorageError, match=r"another process is opening it.*try again"):
        open_log(path)
    open_log(path).close()
