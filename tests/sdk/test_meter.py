"""What the SDK measures about itself: percentiles, and what it swallowed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from nearhand.errors import ModelError, StorageError
from nearhand.monitoring import Latency, Meter
from nearhand.monitoring.meter import MORE_REASONS
from nearhand.testing import ManualClock, raise_swallowed


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def meter(clock: ManualClock) -> Meter:
    return Meter(clock)


def spend(meter: Meter, clock: ManualClock, *milliseconds: int, verb: str = "recommend") -> None:
    for duration in milliseconds:
        with meter.timed(verb):
            clock.advance(duration)


def test_nothing_was_called_nothing_is_said(meter: Meter) -> None:
    assert meter.latencies() == {}
    assert meter.degradations() == {}


def test_one_call_is_every_percentile(meter: Meter, clock: ManualClock) -> None:
    spend(meter, clock, 7)
    assert meter.latencies() == {"recommend": Latency(1, 7.0, 7.0, 7.0)}


def test_percentiles_are_calls_that_happened(meter: Meter, clock: ManualClock) -> None:
    spend(meter, clock, *reversed(range(101)))
    assert meter.latencies()["recommend"] == Latency(101, 50.0, 95.0, 99.0)


def test_verbs_are_apart(meter: Meter, clock: ManualClock) -> None:
    spend(meter, clock, 3, verb="record")
    spend(meter, clock, 5, verb="similar")
    assert {verb: latency.p50_ms for verb, latency in meter.latencies().items()} == {"record": 3.0, "similar": 5.0}


def test_the_latest_512_calls_count_and_all_are_counted(meter: Meter, clock: ManualClock) -> None:
    spend(meter, clock, *[1000] * 100, *[2] * 512)
    assert meter.latencies()["recommend"] == Latency(612, 2.0, 2.0, 2.0)


def test_a_call_that_raises_is_not_a_latency(meter: Meter, clock: ManualClock) -> None:
    with pytest.raises(KeyError), meter.timed("recommend"):
        raise KeyError("x")
    assert meter.latencies() == {}


def test_a_wall_clock_that_jumps_changes_no_duration(meter: Meter, clock: ManualClock) -> None:
    with meter.timed("recommend"):
        clock.advance(4)
        clock.jump_to(0)
    assert meter.latencies()["recommend"].p50_ms == 4.0


@pytest.mark.degrades
def test_degradations_are_counted_by_reason(meter: Meter) -> None:
    for reason in ("fell back", "fell back", "passed over"):
        meter.degraded(reason, ModelError("broken"))
    assert meter.degradations() == {"fell back: broken": 2, "passed over: broken": 1}


@pytest.mark.degrades
def test_what_it_gives_is_a_copy(meter: Meter, clock: ManualClock) -> None:
    meter.degraded("fell back", ModelError("broken"))
    meter.degradations().clear()
    meter.latencies().clear()
    assert meter.degradations() == {"fell back: broken": 1}


def test_in_tests_a_swallowed_error_is_raised(meter: Meter) -> None:
    """This suite's own conftest sees to it; the marker ``degrades`` switches it off."""
    with pytest.raises(ModelError, match="broken"):
        meter.degraded("fell back", ModelError("broken"))
    with raise_swallowed(False):
        meter.degraded("fell back", ModelError("broken"))
    assert Meter.raise_swallowed
    assert meter.degradations() == {"fell back: broken": 1}


def test_raise_swallowed_restores_what_was() -> None:
    with raise_swallowed(False):
        with pytest.raises(KeyError), raise_swallowed(True):
            raise KeyError("x")
        assert not Meter.raise_swallowed


@pytest.mark.degrades
def test_threads_lose_no_count(meter: Meter) -> None:
    def work(_: int) -> None:
        with meter.timed("recommend"):
            meter.degraded("fell back", ModelError("broken"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(2000)))
    assert meter.latencies()["recommend"].calls == 2000
    assert meter.degradations() == {"fell back: broken": 2000}


@pytest.mark.degrades
def test_reasons_without_end_are_counted_in_bounded_memory() -> None:
    meter = Meter(ManualClock())
    for number in range(1000):
        meter.degraded("a line cannot be read", StorageError(f"line {number}"))
        meter.skipped("the deadline left out the stage 'rank'")
    found = meter.degradations()
    assert len(found) == 101
    assert found["the deadline left out the stage 'rank'"] == 1000
    assert found[MORE_REASONS] == 901
    assert sum(found.values()) == 2000
