"""Caps: which events leave, that each is counted, and that its part of the state does not leave with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearhand.errors import StorageError, UsageError
from nearhand.events import DAY_MS, Caps, EventLog, Snapshot
from nearhand.events.caps import CHECK_EVERY
from nearhand.events.rows import ROW_BYTES, SIZE
from nearhand.testing.clock import ManualClock
from tests.sdk.event_logs import START_MS, Keeper, kept_in, open_log, sql, viewed

LARGE: dict[str, Any] = {"properties": {"text": "x" * 1000}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


def fill(log: EventLog, count: int, **fields: Any) -> list[int]:
    """The sequence numbers of new events, recorded one millisecond after the other."""
    numbers = []
    clock = log._clock
    assert isinstance(clock, ManualClock)
    for _ in range(count):
        numbers.append(log.append(viewed(**fields)).sequence)
        clock.advance(1)
    return numbers


def sequences(log: EventLog) -> list[int]:
    return [event.sequence for event in log.since(0)]


# By bytes


def test_over_the_bytes_the_oldest_go_until_nine_tenths_are_left(path: Path) -> None:
    # "é" is two bytes. A row: 100, an identifier of 32 characters, the type, the item and the two texts.
    row = ROW_BYTES + 32 + len("item_viewed") + len("m_1") + len("{}") + len('{"text":"') + 2 * 100 + len('"}')
    fields = {"properties": {"text": "é" * 100}}
    with open_log(path, caps=Caps(max_bytes=20 * row)) as log:
        numbers = fill(log, 20, **fields)
        assert log.enforce_caps() == 0
        numbers += fill(log, 1, **fields)
        assert log.enforce_caps() == 3
        assert sequences(log) == numbers[3:]
        assert log.drops() == {"log_bytes": 3, "log_days": 0}
        numbers += fill(log, 3, **fields)
        assert log.enforce_caps() == 3
        assert sequences(log) == numbers[6:]
    with open_log(path, caps=Caps(max_bytes=5 * row)) as log:
        assert log.drops() == {"log_bytes": 6, "log_days": 0}
        assert log.enforce_caps() == 14
        assert sequences(log) == numbers[20:]


def test_append_looks_at_the_caps_now_and_then(path: Path) -> None:
    with open_log(path, caps=Caps(max_bytes=10_000)) as log:
        fill(log, CHECK_EVERY - 1, **LARGE)
        assert log.count() == CHECK_EVERY - 1
        fill(log, 1, **LARGE)
        assert log.count() < 10
        log.append_many([viewed(**LARGE) for _ in range(CHECK_EVERY)])
        assert log.count() < 10 + CHECK_EVERY
        assert sum(log.drops().values()) + log.count() == 2 * CHECK_EVERY


def test_several_processes_share_the_looking(path: Path) -> None:
    caps = Caps(max_bytes=10_000)
    with open_log(path, caps=caps) as log, open_log(path, caps=caps) as other:
        for _ in range(CHECK_EVERY):
            fill(log, 1, **LARGE)
            fill(other, 1, **LARGE)
        assert log.count() <= 10
        assert log.drops() == other.drops() == {"log_bytes": 2 * CHECK_EVERY - log.count(), "log_days": 0}


def test_what_is_forgotten_does_not_count_any_more(path: Path) -> None:
    saved = "SELECT measured_bytes FROM ledger"
    with open_log(path, caps=Caps(max_bytes=3_000_000)) as log:
        ids = [event.event_id for event in log.append_many([viewed(**LARGE)] * 1000)]
        assert log.enforce_caps() == 0
        assert sql(path, saved) == sql(path, f"SELECT sum({SIZE}) FROM event")
        new = [log.append(viewed(**LARGE)).event_id for _ in range(5)]
        assert all(log.forget(event_id) for event_id in (*ids[:4], *new[:1]))
        assert log.enforce_caps() == 0
        assert log.count() == 1000
        assert sql(path, saved) == sql(path, f"SELECT sum({SIZE}) FROM event WHERE sequence <= 1000")


# By age


def test_events_that_are_too_old_go(path: Path) -> None:
    clock = ManualClock(START_MS)
    with open_log(path, clock=clock, caps=Caps(max_age_ms=30 * DAY_MS)) as log:
        old = fill(log, 40)
        clock.advance(30 * DAY_MS - 40)
        edge = fill(log, 1)  # recorded exactly 30 days after the first
        new = fill(log, 99)
        assert log.enforce_caps() == 0  # exactly as old as is allowed
        new += fill(log, 1)
        assert log.enforce_caps() == 1
        assert sequences(log) == [*old[1:], *edge, *new]
        assert log.drops() == {"log_bytes": 0, "log_days": 1}
        clock.advance(31 * DAY_MS)
        assert log.enforce_caps() == 0  # nothing was recorded since
        latest = fill(log, 99)
        log.enforce_caps()
        assert sequences(log)[-100:] == [new[-1], *latest]  # by the rule, what is one of the 100 latest is not old
        latest += fill(log, 1)
        log.enforce_caps()
        assert sequences(log) == latest


def test_an_old_timestamp_does_not_make_an_event_old(path: Path) -> None:
    with open_log(path, caps=Caps(max_age_ms=DAY_MS)) as log:
        log.append_many([viewed(timestamp=5) for _ in range(200)])
        assert log.enforce_caps() == 0


@pytest.mark.parametrize("jump_ms", [10**12, -(10**12)])
def test_up_to_99_wrong_readings_of_the_clock_take_nothing(path: Path, jump_ms: int) -> None:
    clock = ManualClock(START_MS)
    with open_log(path, clock=clock, caps=Caps(max_age_ms=DAY_MS)) as log:
        right = fill(log, 200)
        clock.jump_to(START_MS + jump_ms)
        wrong = fill(log, 99)
        assert log.enforce_caps() == 0
        clock.jump_to(START_MS + 1000)
        right += fill(log, 100)
        # A clock that was slow has recorded events that look old. What is too old goes, whatever lies before it.
        assert log.enforce_caps() == (0 if jump_ms > 0 else 99)
        assert sequences(log) == sorted(right + (wrong if jump_ms > 0 else []))


def test_one_eviction_for_both_reasons_counts_each(path: Path) -> None:
    clock = ManualClock(START_MS)
    with open_log(path, clock=clock) as log:
        fill(log, 10, **LARGE)
        clock.advance(2 * DAY_MS)
        rest = fill(log, 110, **LARGE)
        ((large,),) = sql(path, f"SELECT DISTINCT {SIZE} FROM event")
    with open_log(path, clock=clock, caps=Caps(max_bytes=100 * large, max_age_ms=DAY_MS)) as log:
        assert log.enforce_caps() == 30
        assert log.drops() == {"log_bytes": 20, "log_days": 10}
        assert sequences(log) == rest[20:]


def test_caps_are_checked() -> None:
    for wrong in (0, -1, 1.5, True, "1"):
        for name in ("max_bytes", "max_age_ms"):
            with pytest.raises(UsageError, match=rf"Caps\.{name}.* positive"):
                Caps(**{name: wrong})  # type: ignore[arg-type]


# State beside the log


def test_what_is_evicted_is_folded_in_the_same_transaction(path: Path) -> None:
    keeper = Keeper()
    with open_log(path, caps=Caps(max_bytes=10_000), checkpointer=keeper) as log:
        numbers = fill(log, 30, **LARGE)
        assert log.checkpoint("keeper-1") is None
        log.enforce_caps()
        assert keeper.as_of == [START_MS + 1]  # of fewer than 100 events all are the latest
        numbers += fill(log, 20, **LARGE)
        log.enforce_caps()
        assert kept_in(log.checkpoint("keeper-1")) + sequences(log) == numbers
        assert log.count() == 7
        assert log.checkpoint("another") is None
    with open_log(path, caps=Caps(max_bytes=10_000), checkpointer=keeper) as log:
        assert kept_in(log.checkpoint("keeper-1")) == numbers[:-7]
        numbers += fill(log, 20, **LARGE)
        log.enforce_caps()
        assert kept_in(log.checkpoint("keeper-1")) + sequences(log) == numbers


def test_the_fold_is_as_of_the_earliest_of_the_latest_recordings(path: Path) -> None:
    keeper = Keeper()
    with open_log(path, caps=Caps(max_bytes=100_000), checkpointer=keeper) as log:
        fill(log, CHECK_EVERY * 2)
        fill(log, 95, **LARGE)
        log.enforce_caps()
        assert keeper.as_of[-1] == START_MS + CHECK_EVERY * 2 + 95 - 100 + 1


def test_a_large_eviction_is_folded_in_portions(path: Path) -> None:
    keeper = Keeper()
    with open_log(path) as log:
        numbers = [event.sequence for event in log.append_many([viewed() for _ in range(2500)])]
    with open_log(path, caps=Caps(max_bytes=1), checkpointer=keeper) as log:
        assert log.enforce_caps() == 2500
        assert kept_in(log.checkpoint("keeper-1")) == numbers
        assert len(keeper.as_of) == 3


def test_a_state_of_another_program_is_deleted(path: Path) -> None:
    for fingerprint in ("a", "b"):
        with open_log(path, caps=Caps(max_bytes=10_000), checkpointer=Keeper(fingerprint)) as log:
            numbers = fill(log, 20, **LARGE)
            before = sequences(log)
            log.enforce_caps()
            evicted = [number for number in before if number not in sequences(log)]
            assert kept_in(log.checkpoint(fingerprint)) == evicted
            assert numbers
    with open_log(path, caps=Caps(max_bytes=10_000)) as log:
        assert log.checkpoint("a") is None
        assert log.checkpoint("b") is not None
        fill(log, 1)  # nothing goes: nothing is lost
        assert log.enforce_caps() == 0
        assert log.checkpoint("b") is not None
        fill(log, 20, **LARGE)
        assert log.enforce_caps() > 0  # with nobody to fold it: the state has a hole now
        assert log.checkpoint("b") is None


def test_an_eviction_whose_fold_fails_has_not_happened(path: Path) -> None:
    keeper = Keeper()
    with open_log(path, caps=Caps(max_bytes=10_000), checkpointer=keeper) as log:
        numbers = fill(log, 30, **LARGE)
        log.enforce_caps()
        before = (log.checkpoint("keeper-1"), log.drops(), sequences(log))
        keeper.error = ZeroDivisionError("boom")
        numbers += fill(log, 20, **LARGE)
        with pytest.raises(StorageError, match=r"ZeroDivisionError: boom.*nothing was evicted"):
            log.enforce_caps()
        assert (log.checkpoint("keeper-1"), log.drops()) == before[:2]
        assert sequences(log) == before[2] + numbers[30:]
        assert log.eviction_failures == 0
        numbers += fill(log, 2 * CHECK_EVERY - 50, **LARGE)  # kept, though twice nothing could be evicted
        assert log.eviction_failures == 2
        keeper.error = None
        log.enforce_caps()
        assert kept_in(log.checkpoint("keeper-1")) + sequences(log) == numbers


# Snapshots, and reading all at once


@pytest.fixture
def log(path: Path) -> Iterator[EventLog]:
    with open_log(path, caps=Caps(max_bytes=10_000), checkpointer=Keeper()) as log:
        yield log


def test_a_snapshot_is_kept_until_an_eviction_goes_beyond_it(path: Path, log: EventLog) -> None:
    numbers = fill(log, 10, **LARGE)
    snapshot = Snapshot(b"state", numbers[5], log.rewrites())
    assert log.save_snapshot("f", snapshot)
    assert log.snapshot("f") == snapshot
    assert log.snapshot("g") is None
    assert log.enforce_caps() == 3  # up to 3 of the 6 that it has
    assert log.snapshot("f") == snapshot
    with open_log(path) as other:
        assert other.snapshot("f") == snapshot
    fill(log, 5, **LARGE)
    assert log.enforce_caps() == 5
    assert log.snapshot("f") is None
    assert not log.save_snapshot("f", snapshot)
    assert log.save_snapshot("f", Snapshot(b"", numbers[7], log.rewrites()))


def test_one_snapshot_is_kept(log: EventLog) -> None:
    rewrites = log.rewrites()
    for fingerprint, state in (("f", b"1"), ("g", b"2"), ("g", b"3")):
        assert log.save_snapshot(fingerprint, Snapshot(state, 0, rewrites))
    assert log.snapshot("f") is None
    assert log.snapshot("g") == Snapshot(b"3", 0, rewrites)


def test_a_reader_is_told_to_begin_again_when_it_has_missed_something(log: EventLog) -> None:
    first = log.read("keeper-1")
    assert (first.anew, first.state, first.events, first.through) == (True, None, [], 0)
    numbers = fill(log, 3, **LARGE)
    second = log.read("keeper-1", first.through, first.rewrites)
    assert (second.anew, [event.sequence for event in second.events], second.through) == (False, numbers, 3)
    numbers += fill(log, 7, **LARGE)
    log.enforce_caps()  # takes three, which the second reading has, and none beyond
    third = log.read("keeper-1", second.through, second.rewrites)
    assert (third.anew, [event.sequence for event in third.events]) == (False, numbers[3:])
    fill(log, 20, **LARGE)
    log.enforce_caps()
    fourth = log.read("keeper-1", third.through, third.rewrites)
    assert fourth.anew
    assert kept_in(fourth.state) + [event.sequence for event in fourth.events] == list(range(1, 31))
    log.forget(fourth.events[0].event_id)
    fifth = log.read("keeper-1", fourth.through, fourth.rewrites)
    assert (fifth.anew, fifth.state, fifth.events) == (True, fourth.state, fourth.events[1:])
    assert log.save_snapshot("keeper-1", Snapshot(b"[7]", fifth.through, fifth.rewrites))
    new = fill(log, 1)
    sixth = log.read("keeper-1")
    assert (sixth.anew, sixth.state, [event.sequence for event in sixth.events]) == (True, b"[7]", new)
    assert log.read("keeper-1", materialized=False).state == fifth.state


STEPS = st.lists(
    st.sampled_from(["append", "large", "old clock", "read", "other read", "evict", "forget", "save", "reopen"]),
    max_size=40,
)


@given(STEPS)
def test_whatever_happens_a_reader_has_all_events_and_none_twice(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    path = tmp_path_factory.mktemp("log") / "events.db"
    clock = ManualClock(START_MS)
    caps = Caps(max_bytes=5_000, max_age_ms=1_000)
    log = open_log(path, clock=clock, caps=caps, checkpointer=Keeper())
    held: dict[str, tuple[list[int], int, int | None]] = {"read": ([], 0, None), "other read": ([], 0, None)}
    wanted: list[int] = []
    for step in [*steps, "read", "other read"]:
        match step:
            case "append" | "large":
                wanted.append(log.append(viewed(**(LARGE if step == "large" else {}))).sequence)
                clock.advance(100)
            case "old clock":
                clock.jump_to(START_MS)
            case "read" | "other read":
                have, through, rewrites = held[step]
                reading = log.read("keeper-1", through, rewrites)
                have = (kept_in(reading.state) if reading.anew else have) + [e.sequence for e in reading.events]
                held[step] = (have, reading.through, reading.rewrites)
                assert sorted(have) == wanted
            case "evict":
                log.enforce_caps()
            case "forget":
                if stored := log.since(0):
                    assert log.forget(stored[len(stored) // 2].event_id)
                    wanted.remove(stored[len(stored) // 2].sequence)
            case "save":
                have, through, rewrites = held["read"]
                if rewrites is not None:
                    log.save_snapshot("keeper-1", Snapshot(json.dumps(have).encode(), through, rewrites))
            case "reopen":
                log.close()
                log = open_log(path, clock=clock, caps=caps, checkpointer=Keeper())
                held["read"] = ([], 0, None)
    log.close()
