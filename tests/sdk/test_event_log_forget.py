"""What the user takes back: resets, which leave the events there, and forgetting, which leaves no byte of them."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nearhand.errors import EventError, StorageError, UsageError
from nearhand.events import RESET, Caps, Event, EventLog, Snapshot
from nearhand.testing.clock import ManualClock
from tests.sdk.event_logs import START_MS, open_log, output_of, run, sql, viewed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log" / "events.db"


@pytest.fixture
def log(path: Path) -> Iterator[EventLog]:
    with open_log(path) as log:
        yield log


def bytes_of(path: Path, tmp_path: Path) -> bytes:
    """All that is in the log's folder; of a copy, because closing a file would drop SQLite's locks on it."""
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    output_of(run("import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2])", path.parent, copy))
    return b"".join(file.read_bytes() for file in copy.iterdir())


# Resets


def test_a_reset_is_an_event_that_begins_an_epoch(path: Path) -> None:
    clock = ManualClock(START_MS, utc_offset_minutes=lambda at_ms: 90)
    with open_log(path, clock=clock) as log:
        before = log.append(viewed())
        clock.advance(5)
        marker = log.reset()
        after = log.append(viewed())
        assert log.since(0) == [before, marker, after]
    assert (marker.event, marker.item_id, marker.context, marker.properties) == (RESET, None, {}, {})
    assert (marker.timestamp, marker.recorded_at, marker.utc_offset_minutes) == (START_MS + 5, START_MS + 5, 90)
    assert [event.epoch for event in (before, marker, after)] == [0, 1, 1]


def test_an_epoch_is_that_of_the_file(path: Path, log: EventLog) -> None:
    with open_log(path) as other:
        assert log.reset().epoch == 1
        assert other.append(viewed()).epoch == 1
        assert other.reset().epoch == 2
        assert log.append(viewed()).epoch == 2
        assert [event.epoch for event in log.append_many([viewed(), viewed()])] == [2, 2]
    with open_log(path) as again:
        assert again.append(viewed()).epoch == 2
        assert again.reset().epoch == 3


def test_an_event_that_was_there_before_a_reset_keeps_its_epoch(log: EventLog) -> None:
    first = log.append(viewed(event_id="a"))
    log.reset()
    assert log.append(viewed(event_id="a")) == first
    assert first.epoch == 0
    assert log.append(viewed()).epoch == 1


def test_no_app_records_a_reset(log: EventLog) -> None:
    for keep in (log.append, lambda event: log.append_many([event])):
        with pytest.raises(EventError, match="reset"):
            keep(Event(RESET))
    assert log.count() == 0


def test_a_reset_that_fails_has_not_happened(path: Path, log: EventLog) -> None:
    sql(
        path, f"CREATE TRIGGER no BEFORE INSERT ON event WHEN new.event = '{RESET}' BEGIN SELECT RAISE(FAIL, 'no'); END"
    )
    with pytest.raises(StorageError, match="no"):
        log.reset()
    assert log.append(viewed()).epoch == 0


# Forgetting


def test_what_is_forgotten_is_gone_and_the_rest_is_not(log: EventLog) -> None:
    recorded = [log.append(viewed(f"m_{n}")) for n in range(5)]
    assert log.forget(recorded[1].event_id)
    assert log.forget(recorded[4].event_id)
    assert log.since(0) == [recorded[0], *recorded[2:4]]
    assert log.append(viewed()).sequence > recorded[4].sequence
    assert not log.forget(recorded[1].event_id)
    assert not log.forget("never was")


def test_forgetting_tells_readers_to_begin_again(path: Path, log: EventLog) -> None:
    event = log.append(viewed())
    assert log.save_snapshot("f", Snapshot(b"state", event.sequence, log.rewrites()))
    before = log.rewrites()
    assert not log.forget("never was")
    assert log.rewrites() == before
    assert log.snapshot("f") is not None
    assert log.forget(event.event_id)
    assert log.rewrites() == before + 1
    assert log.snapshot("f") is None
    assert not log.save_snapshot("f", Snapshot(b"state", event.sequence, before))
    with open_log(path) as other:
        assert other.rewrites() == before + 1


def test_a_reset_is_not_forgotten(log: EventLog) -> None:
    marker = log.reset()
    with pytest.raises(UsageError, match="is a reset"):
        log.forget(marker.event_id)
    assert log.since(0) == [marker]


def test_no_byte_of_what_is_forgotten_is_left_in_an_open_log(path: Path, tmp_path: Path) -> None:
    # Rows of one to several pages, in trees that SQLite rearranges. With this seed of some dozens overwriting what is
    # deleted is not enough: bytes stay at a place from which SQLite had moved a row before.
    dice = random.Random(8)
    marks: dict[str, bytes] = {}
    with open_log(path, caps=Caps(max_bytes=100_000)) as log:
        for n in range(600):
            mark = f"<{dice.randrange(10**12):012d}>"
            text = mark * dice.choice([1, 1, 1, 5, 30, 300])
            log.append(viewed(f"i{mark}", event_id=f"e{mark}", properties={"text": text}))
            marks[f"e{mark}"] = mark.encode()
            if n % 50 == 49:
                log.enforce_caps()
        stored = [event.event_id for event in log.since(0)]
        gone = dice.sample(stored, len(stored) // 2)
        assert len(gone) > 30
        assert all(log.forget(event_id) for event_id in gone)
        content = bytes_of(path, tmp_path)
        assert [marks[event_id] for event_id in gone if marks[event_id] in content] == []
        assert all(marks[event.event_id] in content for event in log.since(0))


def test_a_reader_delays_the_wiping_but_not_the_forgetting(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nearhand.events.database._WIPE_TIMEOUT_MS", 20)
    with open_log(path) as log:
        for n in range(5):
            log.append(viewed(f"<secret-{n}>", event_id=f"e{n}"))
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM event").fetchall()
            assert log.forget("e1")
            assert [event.event_id for event in log.since(0)] == ["e0", "e2", "e3", "e4"]
            assert b"<secret-1>" in bytes_of(path, tmp_path)
            assert log.append(viewed(event_id="e5")).event_id == "e5"
            reader.execute("ROLLBACK")
            # Tried again with the next one,
            assert log.forget("e2")
            content = bytes_of(path, tmp_path)
            assert b"<secret-1>" not in content
            assert b"<secret-2>" not in content
            # when the log is opened,
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM event").fetchall()
            assert log.forget("e3")
            with open_log(path):
                assert b"<secret-3>" in bytes_of(path, tmp_path)
            reader.execute("ROLLBACK")
            assert b"<secret-3>" in bytes_of(path, tmp_path)
            with open_log(path):
                assert b"<secret-3>" not in bytes_of(path, tmp_path)
            # and when it is closed.
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM event").fetchall()
            assert log.forget("e4")
            reader.execute("ROLLBACK")
            assert b"<secret-4>" in bytes_of(path, tmp_path)
            log.close()
            content = bytes_of(path, tmp_path)
            assert b"<secret-4>" not in content
            assert b"<secret-0>" in content


def test_forgetting_that_fails_at_any_statement_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Breaking(sqlite3.Connection):
        left = -1

        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            Breaking.left -= 1
            if Breaking.left == -1:
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(sql, parameters)

    monkeypatch.setattr("nearhand.events.database.sqlite3.connect", partial(sqlite3.connect, factory=Breaking))
    outcomes = []
    for n in range(100):
        Breaking.left = -2
        with open_log(path) as log:
            log.append(viewed(event_id=f"e{n}"))
            Breaking.left = n
            try:
                assert log.forget(f"e{n}")
                outcomes.append("forgotten")
            except StorageError:
                outcomes.append("failed")
            done = Breaking.left > 0
            Breaking.left = -2
            assert log.count() == (outcomes.count("failed"))
        if done:
            break
    # BEGIN, SELECT, SELECT, DELETE, DELETE, UPDATE, COMMIT; what comes then is wiping, which stays due if it fails.
    assert outcomes[:7] == ["failed"] * 7
    assert set(outcomes[7:]) == {"forgotten"}
    assert sql(path, "SELECT rewrites - wiped FROM ledger") == [(0,)]
