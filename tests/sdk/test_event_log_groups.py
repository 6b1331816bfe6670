"""Several events at once: a batch is all or nothing, and threads that append at once share a transaction."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nearhand.errors import EventError, StorageError, UsageError
from nearhand.events import Event, EventLog, RecordedEvent
from tests.sdk.event_logs import open_log, sql, viewed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
def log(path: Path) -> Iterator[EventLog]:
    with open_log(path) as log:
        yield log


# Batches


def test_a_batch_is_kept_in_its_order(log: EventLog) -> None:
    recorded = log.append_many(viewed(f"m_{n}", properties={"n": n}) for n in range(5))
    assert log.since(0) == recorded
    assert [event.item_id for event in recorded] == [f"m_{n}" for n in range(5)]
    assert log.append_many([]) == []


def test_an_identifier_that_comes_twice_gives_the_event_that_was_stored_first(log: EventLog) -> None:
    stored = log.append(viewed("m_0", event_id="a"))
    first, again, known, other = log.append_many(
        [viewed("m_1", event_id="b"), viewed("m_2", event_id="b"), viewed("m_3", event_id="a"), viewed("m_4")]
    )
    assert (known, again) == (stored, first)
    assert log.since(0) == [stored, first, other]


def test_of_a_batch_with_a_malformed_event_nothing_is_kept(log: EventLog) -> None:
    with pytest.raises(EventError) as caught:
        log.append_many([viewed(), viewed(), Event("search")])
    assert caught.value.field == "events[2].properties.query"
    assert caught.value.remedy
    with pytest.raises(UsageError, match="dict is not an Event"):
        log.append_many([viewed(), {}])  # type: ignore[list-item]
    assert log.count() == 0


# Threads


class Slow(sqlite3.Connection):
    """A connection that counts its transactions, and whose first statement of one waits until it may go on."""

    begun = 0
    entered = threading.Event()
    go_on = threading.Event()

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql.startswith(("INSERT INTO event", "BEGIN IMMEDIATE")) and not self.in_transaction:
            Slow.begun += 1
            Slow.entered.set()
            assert Slow.go_on.wait(30)
        return super().execute(sql, parameters)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> type[Slow]:
    monkeypatch.setattr(Slow, "entered", threading.Event())
    monkeypatch.setattr(Slow, "go_on", threading.Event())
    monkeypatch.setattr("nearhand.events.database.sqlite3.connect", partial(sqlite3.connect, factory=Slow))
    Slow.go_on.set()
    return Slow


class Arrivals(deque[Any]):
    """A queue that tells when something has come."""

    def __init__(self) -> None:
        super().__init__()
        self.came = threading.Semaphore(0)

    def append(self, item: Any, /) -> None:
        super().append(item)
        self.came.release()


def append_together(
    log: EventLog, slow: type[Slow], calls: Sequence[Callable[[], list[RecordedEvent]]]
) -> list[list[RecordedEvent] | Exception]:
    """What each call gives, all of which wait while another thread is in the middle of its own append."""

    def result(call: Callable[[], list[RecordedEvent]]) -> list[RecordedEvent] | Exception:
        try:
            return call()
        except (StorageError, EventError, UsageError) as error:
            return error

    log._groups._queue = arrivals = Arrivals()
    slow.entered.clear()
    slow.go_on.clear()
    with ThreadPoolExecutor(len(calls) + 1) as pool:
        first = pool.submit(log.append, viewed("first"))
        assert slow.entered.wait(30)
        slow.begun = 0
        results = [pool.submit(result, call) for call in calls]
        assert all(arrivals.came.acquire(timeout=30) for _ in calls)
        slow.go_on.set()
        assert first.result(30).item_id == "first"
        return [each.result(30) for each in results]


def test_appends_that_wait_are_one_transaction(path: Path, slow: type[Slow]) -> None:
    with open_log(path) as log:
        calls = [partial(log.append_many, [viewed(f"t{n}.{part}") for part in range(n + 1)]) for n in range(6)]
        results = append_together(log, slow, calls)
        assert slow.begun == 1
        for n, kept in enumerate(results):
            assert isinstance(kept, list)
            assert [event.item_id for event in kept] == [f"t{n}.{part}" for part in range(n + 1)]
            assert log.since(kept[0].sequence - 1, len(kept)) == kept  # a batch stays together
        assert log.count() == 22


def test_what_fails_in_a_group_takes_no_other_down(path: Path, slow: type[Slow]) -> None:
    with open_log(path) as log:
        trigger = "CREATE TRIGGER breaks AFTER INSERT ON event WHEN new.item_id GLOB 'bad*' BEGIN"
        sql(path, f"{trigger} SELECT RAISE(ABORT, 'boom'); END")
        calls = [partial(log.append_many, [viewed(item)]) for item in ("a", "bad1", "b", "bad2", "c")]
        calls.append(partial(log.append_many, [viewed("d"), viewed("bad3")]))
        results = append_together(log, slow, calls)
        assert [isinstance(result, StorageError) for result in results] == [False, True, False, True, False, True]
        assert all("boom" in str(result) for result in results if isinstance(result, StorageError))
        assert sorted(str(event.item_id) for event in log.since(0)) == ["a", "b", "c", "first"]


def test_a_lock_that_fails_a_group_is_waited_for_once(
    path: Path, slow: type[Slow], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nearhand.events.database.BUSY_TIMEOUT_S", 0.05)
    with (
        open_log(path) as log,
        closing(sqlite3.Connection(path, isolation_level=None, check_same_thread=False)) as other,
    ):
        calls = [partial(log.append_many, [viewed(f"t{n}")]) for n in range(4)]
        kept = log._database.write

        def write(*work: Any) -> Any:
            result = kept(*work)
            other.execute("BEGIN IMMEDIATE")  # as soon as the first append is through
            monkeypatch.setattr(log._database, "write", kept)
            return result

        monkeypatch.setattr(log._database, "write", write)
        results = append_together(log, slow, calls)
        assert all(isinstance(result, StorageError) and "try again" in str(result) for result in results)
        assert slow.begun == 1
        other.execute("ROLLBACK")
        assert log.count() == 1


def test_a_leader_that_is_interrupted_leaves_the_others_to_themselves(
    path: Path, slow: type[Slow], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_log(path) as log:
        kept = log._database.write
        interrupts = [None, KeyboardInterrupt]

        def write(*work: Any) -> Any:
            interrupt = interrupts.pop(0) if interrupts else None
            result = kept(*work)
            if interrupt:
                raise interrupt  # after the commit: the others do not know that their events are there
            return result

        monkeypatch.setattr(log._database, "write", write)
        interrupted = []

        def append(item: str) -> list[RecordedEvent]:
            try:
                return [log.append(viewed(item))]
            except KeyboardInterrupt:
                interrupted.append(item)
                return []

        results = append_together(log, slow, [partial(append, f"t{n}") for n in range(4)])
        assert len(interrupted) == 1
        assert sorted(str(event.item_id) for event in log.since(0)) == ["first", "t0", "t1", "t2", "t3"]
        for n, result in enumerate(results):
            assert isinstance(result, list)
            assert [event.item_id for event in result] == ([] if f"t{n}" in interrupted else [f"t{n}"])


def test_a_thread_that_is_interrupted_while_it_waits_holds_up_no_other(
    path: Path, slow: type[Slow], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_log(path) as log:
        kept = log._groups._wait
        interrupted: list[bool] = []

        def wait() -> None:
            kept()
            if not interrupted:
                interrupted.append(True)
                raise KeyboardInterrupt

        monkeypatch.setattr(log._groups, "_wait", wait)

        def append(item: str) -> list[RecordedEvent]:
            try:
                return [log.append(viewed(item))]
            except KeyboardInterrupt:
                return []

        results = append_together(log, slow, [partial(append, f"t{n}") for n in range(4)])
        assert interrupted
        assert sorted(len(result) for result in results if isinstance(result, list)) == [0, 1, 1, 1]
        assert log.append(viewed("later")).item_id == "later"
        items = {event.item_id for event in log.since(0)}
        assert {"first", "later"} <= items
        assert log._groups._queue == deque()


def test_those_who_were_just_served_come_again_into_one_group(
    path: Path, slow: type[Slow], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight threads append one event after another: a leader gives way, and all who then come are its group."""
    with open_log(path) as log:
        log._groups._queue = arrivals = Arrivals()
        busy = set(range(8))

        def give_way(seconds: float) -> None:
            """A scheduler that lets the others run until each that has more to append has come."""
            assert seconds == 0
            deadline = time.monotonic() + 30
            while len(arrivals) < len(busy) - 1 and time.monotonic() < deadline:
                time.sleep(0)

        def append(part: int) -> int:
            for number in range(40):
                log.append(viewed(f"t{part}.{number}"))
            busy.discard(part)
            return 40

        monkeypatch.setattr("nearhand.events.groups.time", SimpleNamespace(sleep=give_way))
        slow.begun = 0
        slow.go_on.clear()
        with ThreadPoolExecutor(8) as pool:
            done = [pool.submit(append, part) for part in range(8)]
            assert all(arrivals.came.acquire(timeout=30) for _ in range(7))  # while the first is in its transaction
            slow.go_on.set()
            assert sum(each.result(60) for each in done) == log.count() == 320
        assert slow.begun <= 50, "41 if all come each time"
