"""Migrations: each step commits with its record, or has not happened."""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nearhand.errors import StorageError
from nearhand.events import EventLog
from nearhand.testing.clock import ManualClock
from tests.sdk.event_logs import START_MS, open_log, output_of, run, sql, viewed

VERSION_1 = """
PRAGMA journal_mode = WAL;;
CREATE TABLE event (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    timestamp INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    utc_offset_minutes INTEGER NOT NULL,
    event TEXT NOT NULL,
    item_id TEXT,
    user TEXT,
    recommendation_id TEXT,
    context TEXT NOT NULL,
    properties TEXT NOT NULL
) STRICT;;
PRAGMA application_id = 0x4E484556;;
PRAGMA user_version = 1;;
INSERT INTO event VALUES (2, 'a', 5, 7, 60, 'item_viewed', 'm_1', 'anna', 'r', '{"hour":21}', '{"seconds":41}');;
INSERT INTO event VALUES (9, 'b', 6, 8, -60, 'search', NULL, NULL, NULL, '{}', '{"query":"é"}');;
DELETE FROM event WHERE sequence = 9;;
INSERT INTO event VALUES (3, 'c', 6, 8, -60, 'search', NULL, NULL, NULL, '{}', '{"query":"é"}')
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A log as the first version of the schema left it."""
    path = tmp_path / "events.db"
    sql(path, VERSION_1)
    return path


def assert_whole(log: EventLog) -> None:
    first, second = log.since(0)
    assert (first.event_id, first.sequence, first.timestamp, first.recorded_at) == ("a", 2, 5, 7)
    assert (first.utc_offset_minutes, first.event, first.item_id, first.user) == (60, "item_viewed", "m_1", "anna")
    assert (first.recommendation_id, first.epoch, first.context) == ("r", 0, {"hour": 21})
    assert (first.properties, second.properties) == ({"seconds": 41}, {"query": "é"})
    assert (second.event_id, second.sequence, second.item_id) == ("c", 3, None)


def version_of(path: Path) -> int:
    return int(sql(path, "PRAGMA user_version")[0][0])


def test_a_log_of_the_version_before_opens_with_all_its_events(old: Path) -> None:
    with open_log(old) as log:
        assert_whole(log)
        assert log.append(viewed(event_id="a")).sequence == 2
        assert log.reset().epoch == 1
        new = log.append(viewed())
        assert new.sequence > 9  # which has been given before
        assert new.epoch == 1
        assert log.drops() == {"log_bytes": 0, "log_days": 0}
    assert version_of(old) == 3
    assert sql(old, "SELECT * FROM migration") == [(2, START_MS), (3, START_MS)]


def test_a_new_log_and_a_migrated_one_have_the_same_tables(old: Path, tmp_path: Path) -> None:
    for path in (old, tmp_path / "new.db"):
        open_log(path, clock=ManualClock(5)).close()
    columns = "SELECT group_concat(name || type || pk) FROM pragma_table_xinfo(s.name)"
    tables = f"SELECT name, ({columns}) FROM sqlite_master s ORDER BY name"
    assert sql(old, tables) == sql(tmp_path / "new.db", tables)
    assert sql(tmp_path / "new.db", "SELECT * FROM migration") == [(1, 5), (2, 5), (3, 5)]


class Killed(BaseException):
    """Nothing that the log could handle."""


class Mortal(sqlite3.Connection):
    """A connection that ends before the ``left``-th statement; -1: not now. What was committed is in the file."""

    left = -1

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if Mortal.left == 0 and not sql.startswith("ROLLBACK"):
            raise Killed
        Mortal.left -= Mortal.left > 0
        return super().execute(sql, parameters)


def test_a_migration_that_ends_at_any_statement_has_not_happened_or_is_done(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = old.read_bytes()
    monkeypatch.setattr("nearhand.events.database.sqlite3.connect", partial(sqlite3.connect, factory=Mortal))
    seen = []
    for n in range(100):
        path = tmp_path / f"{n}.db"
        path.write_bytes(content)
        Mortal.left = n
        try:
            open_log(path).close()
        except Killed:
            Mortal.left = -1
        else:
            break
        finally:
            Mortal.left = -1
        seen.append(version_of(path))
        records = sql(path, "SELECT count(*) FROM sqlite_master WHERE name IN ('migration', 'ledger', 'snapshot')")
        assert records == [(0 if seen[-1] == 1 else 3,)]
        assert sql(path, "SELECT count(*) FROM sqlite_master WHERE name IN ('lane', 'unsent', 'deletion')") == [
            (3 if seen[-1] == 3 else 0,)
        ]
        with open_log(path) as log:
            assert_whole(log)
    assert seen == sorted(seen)
    assert seen.count(1) > 8  # at all of the statements of the step
    assert set(seen) == {1, 2, 3}


OPENS = """
import sys
from pathlib import Path
from nearhand.events import EventLog
from nearhand.testing import ManualClock
print("ready", flush=True)
sys.stdin.readline()
with EventLog(Path(sys.argv[1]), clock=ManualClock(), durability="process") as log:
    print([event.event_id for event in log.since(0)])
"""


def test_of_several_processes_one_migrates(old: Path) -> None:
    children = [run(OPENS, old) for _ in range(4)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    assert [output_of(child) for child in children] == ["['a', 'c']\n"] * 4
    assert len(sql(old, "SELECT * FROM migration")) == 2


def test_a_log_of_the_version_before_that_is_no_whole_log_is_quarantined(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    sql(path, "PRAGMA application_id = 0x4E484556;;PRAGMA user_version = 1")
    with open_log(path) as log:
        assert log.append(viewed()).sequence == 1
        assert log.quarantined == ("events.db.corrupt-1",)


def test_a_log_of_a_newer_version_stays_as_it_is(old: Path) -> None:
    sql(old, "PRAGMA user_version = 4")
    before = old.read_bytes()
    with pytest.raises(StorageError, match=r"newer SDK .*schema 4; this one reads 3.* update nearhand"):
        open_log(old)
    assert old.read_bytes() == before
    assert [file.name for file in old.parent.iterdir()] == [old.name]
