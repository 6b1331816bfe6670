"""Erasing a log: no byte of what was recorded is left in any file, wherever it is killed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nearhand.cipher import AesGcm, Cipher
from nearhand.errors import StorageError, UsageError
from nearhand.events import Caps, EventLog, RecordedEvent, Snapshot
from nearhand.testing.clock import ManualClock
from tests.sdk.event_logs import START_MS, Keeper, spoil, sql, viewed
from tests.sdk.killed import Dying, dying, is_killed

MARK = b"planted"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log" / "events.db"


def open_log(path: Path, cipher: Cipher | None = None) -> EventLog:
    return EventLog(
        path,
        clock=ManualClock(START_MS),
        durability="process",
        caps=Caps(max_bytes=60_000),
        checkpointer=MarkKeeper(),
        cipher=cipher,
    )


class MarkKeeper(Keeper):
    def fold(self, state: bytes | None, events: Any, as_of: int) -> bytes:
        return MARK * 500


def raw(folder: Path) -> bytes:
    """All bytes of all files. By another process: closing a file here would drop SQLite's locks on it."""
    return subprocess.run(["cat", *sorted(folder.iterdir())], capture_output=True, check=True).stdout


def fill(path: Path, cipher: Cipher | None = None) -> list[RecordedEvent]:
    """A log with evicted, forgotten, reset and stored events, states of them, and two quarantined files beside it."""
    for _ in range(2):
        with open_log(path, cipher) as log:
            log.append_many([viewed(f"planted-{n}", properties={"text": "planted" * 9}) for n in range(200)])
        spoil(path)
        with open_log(path, cipher) as log:
            assert log.since(0) == []
    with open_log(path, cipher) as log:
        for n in range(40):
            log.append_many(
                [viewed(f"planted-{n}-{m}", event_id=f"planted-{n}-{m}", user="planted") for m in range(9)]
                + [viewed(properties={"text": "planted" * (n % 7 * 100)})]
            )
            log.forget(f"planted-{n}-3")
        log.enforce_caps()
        assert log.drops()["log_bytes"] > 0
        log.reset()
        assert log.checkpoint("keeper-1")
        stored = log.since(0)
        assert log.save_snapshot("f", Snapshot(MARK * 2000, stored[-1].sequence, log.rewrites()))
        assert len(log.quarantined) == 2
        return stored


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[RecordedEvent]]:
    folder = tmp_path_factory.mktemp("filled") / "log"
    stored = fill(folder / "events.db")
    assert raw(folder).count(MARK) > 1000
    return folder, stored


@pytest.mark.parametrize("cipher", [None, AesGcm(bytes(32))], ids=["plain", "encrypted"])
def test_nothing_is_left_and_the_log_goes_on(path: Path, cipher: Cipher | None) -> None:
    last = fill(path, cipher)[-1]
    with open_log(path, cipher) as log, open_log(path, cipher) as other:
        assert log.append(viewed("planted")).epoch == 1
        before = log.generation(), log.rewrites()
        assert other.changed_elsewhere()
        assert not other.changed_elsewhere()
        reading = log.read("keeper-1")
        log.erase()
        assert MARK not in raw(path.parent)
        assert sorted(file.name for file in path.parent.iterdir()) == ["events.db", "events.db-shm", "events.db-wal"]
        assert log.generation() > before[0]
        assert log.rewrites() == before[1] + 1
        assert other.changed_elsewhere()
        for each in (log, other):
            assert (each.count(), each.since(0), each.quarantined) == (0, [], ())
            assert (each.checkpoint("keeper-1"), each.snapshot("f")) == (None, None)
            assert each.drops() == {"log_bytes": 0, "log_days": 0}
            anew = each.read("keeper-1", reading.through, reading.rewrites)
            assert (anew.anew, anew.state, anew.events) == (True, None, [])
        assert not log.save_snapshot("f", Snapshot(b"old", reading.through, before[1]))
        first = other.append(viewed("m_1"))
        assert (first.epoch, first.sequence) == (2, last.sequence + 2)
        assert log.append(viewed("m_2")).epoch == 2
        assert log.enforce_caps() == 0
        assert sql(path, "SELECT rewrites = wiped FROM ledger") == [(1,)]
        log.erase()
        log.erase()
        assert log.append(viewed("m_3")).epoch == 4
    with open_log(path, cipher) as log:
        assert [event.item_id for event in log.since(0)] == ["m_3"]
    with pytest.raises(UsageError, match="closed"):
        log.erase()


def test_the_caps_measure_what_comes_after(path: Path, tmp_path: Path) -> None:
    fill(path)
    with open_log(path) as log:
        log.erase()
        for _ in range(300):
            log.append(viewed(properties={"text": "x" * 500}))
        assert log.drops()["log_bytes"] > 100
        assert 60_000 * 0.8 < sum(600 for _ in log.since(0)) < 60_000 * 1.8


def test_a_reader_delays_the_wiping_and_it_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nearhand.events.database._WIPE_TIMEOUT_MS", 20)
    fill(path)
    with open_log(path) as log, closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM event").fetchall()
        with pytest.raises(StorageError, match=r"not yet every byte.*erase again"):
            log.erase()
        assert log.count() == 0
        assert log.append(viewed("m_1")).epoch == 2
        reader.execute("ROLLBACK")
        assert MARK in raw(path.parent)
        log.close()  # does what is due
        assert MARK not in raw(path.parent)
    with open_log(path) as log:
        assert [event.item_id for event in log.since(0)] == ["m_1"]


def test_a_quarantined_file_that_cannot_be_deleted_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path)

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError("it is open")

    with open_log(path) as log:
        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", refuse)
            with pytest.raises(StorageError, match="not yet every byte"):
                log.erase()
        log.append(viewed("m_1"))
    with open_log(path) as log:
        assert (log.quarantined, log.count()) == ((), 1)
        assert MARK not in raw(path.parent)


def erase_until_killed(path: Path, after: int) -> bool:
    """Whether a fork that erases the log was killed before it had done ``after`` more steps."""
    logs: list[EventLog] = []
    with pytest.MonkeyPatch.context() as patched:

        def prepare() -> None:
            patched.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Dying))
            logs.append(open_log(path))
            logs[0].append(viewed("planted"))
            patched.setattr(Path, "unlink", dying(Path.unlink))
            patched.setattr("nearhand.events.quarantine.sync_folder", dying(lambda folder: None))

        def erase() -> None:
            logs[0].erase()

        return is_killed(after, erase, prepare)


@pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL what it forked")
def test_it_is_killed_at_every_step(tmp_path: Path, filled: tuple[Path, list[RecordedEvent]]) -> None:
    origin, stored = filled
    erased = 0
    for after in range(100):
        folder = tmp_path / str(after)
        shutil.copytree(origin, folder)
        path = folder / "events.db"
        killed = erase_until_killed(path, after)
        with open_log(path) as log:
            events = log.since(0)
            if events:  # it has not happened
                assert not erased
                assert events[:-1] == stored
                assert len(log.quarantined) == 2
                log.erase()
            erased += not events
            log.append(viewed("m_1"))  # the first write clears the index of this process's memory; see `forget`
            assert MARK not in raw(folder), after
            assert log.quarantined == ()
            assert log.append(viewed()).sequence == stored[-1].sequence + 3
        if not killed:
            break
    assert not killed
    assert 5 < after - erased < 12
    assert erased > 10
