"""Pushed features: time to live, byte budget, provenance, and a file that may be lost at any time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from nearhand.errors import StorageError, UsageError
from nearhand.features.cache import PushedFeatures
from nearhand.monitoring import Meter
from nearhand.testing import ManualClock

NOW = 1_700_000_000_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(now_ms=NOW)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "profile" / "pushed.db"


def opened(path: Path, clock: ManualClock, budget_bytes: int = 10_000) -> PushedFeatures:
    return PushedFeatures(path, clock=clock, meter=Meter(clock), budget_bytes=budget_bytes)


@pytest.fixture
def pushed(path: Path, clock: ManualClock) -> Iterator[PushedFeatures]:
    with closing(opened(path, clock)) as pushed:
        yield pushed


def test_values_come_back_with_their_provenance(pushed: PushedFeatures) -> None:
    pushed.put("ltv", [1.5, -2.0], ttl_ms=1000, source="batch job 7")
    found = pushed.get("ltv")
    assert found is not None
    assert (found.values, found.source) == ((1.5, -2.0), "batch job 7")
    assert (found.pushed_at, found.expires_at) == (NOW, NOW + 1000)
    assert pushed.get("other") is None
    status = pushed.status()
    assert (status.entries, status.hits, status.misses) == (1, 1, 1)


def test_values_survive_a_restart(path: Path, clock: ManualClock, pushed: PushedFeatures) -> None:
    pushed.put("ltv", [1.5], ttl_ms=1000, source="s")
    pushed.close()
    with closing(opened(path, clock)) as again:
        found = again.get("ltv")
    assert found is not None
    assert found.values == (1.5,)


def test_a_file_is_opened_when_something_is_asked_of_it(path: Path, clock: ManualClock) -> None:
    def waiting() -> closing[PushedFeatures]:
        return closing(PushedFeatures(path, clock=clock, meter=Meter(clock), budget_bytes=10_000, opens=False))

    with waiting() as pushed:
        pass
    assert not path.exists()
    with waiting() as pushed:
        assert pushed.status().entries == 0
        pushed.put("ltv", [1.5], ttl_ms=1000, source="s")
    with waiting() as pushed:
        assert pushed.get("ltv") is not None
    with waiting() as pushed:
        pushed.clear()
        assert pushed.status().entries == 0


def test_values_are_served_until_they_expire(pushed: PushedFeatures, clock: ManualClock) -> None:
    pushed.put("ltv", [1.5], ttl_ms=1000, source="s")
    clock.advance(999)
    assert pushed.get("ltv") is not None
    clock.advance(1)
    assert pushed.get("ltv") is None
    assert pushed.status().expired == 1


def test_a_clock_that_was_set_back_far_does_not_prolong_a_life(pushed: PushedFeatures, clock: ManualClock) -> None:
    pushed.put("ltv", [1.5], ttl_ms=1000, source="s")
    clock.jump_to(NOW - 500)
    assert pushed.get("ltv") is not None
    clock.jump_to(NOW - 1001)
    assert pushed.get("ltv") is None


def test_a_clock_that_is_set_back_gives_every_process_the_same_answer(path: Path, clock: ManualClock) -> None:
    with closing(opened(path, clock)) as first, closing(opened(path, clock)) as second:
        first.put("ltv", [1.5], ttl_ms=1000, source="s")
        clock.advance(1000)
        assert [first.get("ltv"), first.get("ltv")] == [None, None]
        clock.jump_to(NOW + 500)
        found = first.get("ltv")
        assert found is not None
        assert found == second.get("ltv")
        status = first.status()
        assert (status.expired, status.hits, status.misses) == (1, 1, 2)


def test_the_least_recently_used_give_way_to_the_budget(path: Path, clock: ManualClock) -> None:
    with closing(opened(path, clock, budget_bytes=3 * (96 + 1 + 1 + 400))) as pushed:
        for name in "abc":
            pushed.put(name, [1.0] * 100, ttl_ms=10_000, source="s")
            clock.advance(1)
        assert pushed.get("a") is not None
        clock.advance(1)
        pushed.put("d", [1.0] * 100, ttl_ms=10_000, source="s")
        assert [name for name in "abcd" if pushed.get(name) is not None] == ["a", "c", "d"]
        status = pushed.status()
        assert (status.entries, status.evicted) == (3, 1)
        assert status.bytes <= status.budget_bytes


def test_what_has_expired_goes_before_what_is_alive(path: Path, clock: ManualClock) -> None:
    with closing(opened(path, clock, budget_bytes=2 * (96 + 1 + 1 + 400))) as pushed:
        pushed.put("a", [1.0] * 100, ttl_ms=10_000, source="s")
        clock.advance(1)
        pushed.put("b", [1.0] * 100, ttl_ms=10, source="s")
        clock.advance(10)
        pushed.put("c", [1.0] * 100, ttl_ms=10_000, source="s")
        assert pushed.get("a") is not None
        assert pushed.status().evicted == 0


@pytest.mark.parametrize(
    ("values", "ttl_ms", "remedy"),
    [
        ([float("nan")], 1000, "numbers only"),
        ([float("inf")], 1000, "numbers only"),
        ([True], 1000, "numbers only"),
        (["1"], 1000, "numbers only"),
        ([1e39], 1000, "scale it down"),
        ([1.0], 0, "positive time to live"),
        ([1.0] * 5000, 1000, "budget of 10,000 bytes"),
    ],
)
def test_what_cannot_be_stored_is_refused(
    pushed: PushedFeatures, values: list[float], ttl_ms: int, remedy: str
) -> None:
    with pytest.raises(UsageError, match=remedy):
        pushed.put("ltv", values, ttl_ms=ttl_ms, source="s")
    assert pushed.status().entries == 0


def test_another_process_s_push_is_noticed(path: Path, clock: ManualClock, pushed: PushedFeatures) -> None:
    pushed.put("ltv", [1.0], ttl_ms=1000, source="s")
    assert pushed.get("ltv") is not None
    with closing(opened(path, clock)) as other:
        other.put("ltv", [2.0], ttl_ms=1000, source="s")
    version = pushed.version
    pushed.refresh()
    assert pushed.version != version
    found = pushed.get("ltv")
    assert found is not None
    assert found.values == (2.0,)


@pytest.mark.degrades
@pytest.mark.parametrize("damage", [b"not a database at all, but long enough to be looked at" * 100, b"\x00" * 4096])
def test_a_damaged_file_is_replaced(path: Path, clock: ManualClock, damage: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(damage)
    with closing(opened(path, clock)) as pushed:
        pushed.put("ltv", [1.0], ttl_ms=1000, source="s")
        assert pushed.get("ltv") is not None
        assert pushed.status().failures == 1


@pytest.mark.degrades
def test_a_file_damaged_in_use_is_replaced(path: Path, clock: ManualClock) -> None:
    with closing(opened(path, clock)) as pushed:
        for name in range(200):
            pushed.put(f"n{name}", [1.0] * 10, ttl_ms=1000, source="s")
        pushed.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with closing(opened(path, clock)) as pushed:
        pushed.get("n7")
        pushed.put("ltv", [1.0], ttl_ms=1000, source="s")
        assert pushed.get("ltv") is not None
        assert pushed.status().failures >= 1


def test_a_locked_file_refuses_a_push_and_keeps_what_it_has(
    path: Path, pushed: PushedFeatures, clock: ManualClock
) -> None:
    pushed.put("ltv", [1.0], ttl_ms=1000, source="s")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="push it again"):
            pushed.put("ltv", [2.0], ttl_ms=1000, source="s")
        other.execute("ROLLBACK")
    found = pushed.get("ltv")
    assert found is not None
    assert found.values == (1.0,)


def test_clear_forgets_all_of_them(pushed: PushedFeatures) -> None:
    pushed.put("ltv", [1.0], ttl_ms=1000, source="s")
    pushed.clear()
    assert pushed.get("ltv") is None
    assert pushed.status().entries == 0
