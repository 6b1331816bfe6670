"""A list in time: what does not fit into the deadline is left out, and a call that nobody wants any more ends."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, combinations
from typing import Any

import pytest

from nearhand import Event, Personalizer, UsageError
from nearhand.errors import CancelledError
from tests.sdk.hooked_runtime import Gate, HookedRuntime
from tests.sdk.serving_device import Device, assert_valid, plain, record, rows_of

MODELS = ("encoder", "index", "order")
SLOW = list(chain.from_iterable(combinations(MODELS, size) for size in range(1, 4)))
LONG_MS = 60_000
SLACK_S = 2.0
SEEN = [0, 6, 12, 18]


def warm(one: Personalizer) -> None:
    """A history, and every model loaded."""
    record(one, "item_viewed", SEEN)
    one.privacy.block(item_id="m_24")
    assert {each.source for each in one.recommend(10)} == {"local"}


def left_out(one: Personalizer) -> dict[str, int]:
    """Stage → how often a deadline left it out."""
    start = "the deadline left out the stage "
    return {
        reason.removeprefix(start).strip("'"): times
        for reason, times in one.status().degradations.items()
        if reason.startswith(start)
    }


@pytest.mark.parametrize("slow", SLOW, ids="+".join)
def test_a_slow_stage_is_left_out_and_named_and_is_back_when_it_is_done(device: Device, slow: tuple[str, ...]) -> None:
    runtime = HookedRuntime()
    absent = [*SEEN, 24]
    only_ranker = slow == ("order",)
    deadline_ms = 2000 if only_ranker else 300  # what is not held has to fit, on a busy machine too
    stages = {"rank", "policy"} if only_ranker else {"retrieve", "rank", "policy"}
    with device.opened(runtime) as one:
        warm(one)
        runtime.before = gate = Gate(*slow)
        try:
            start = time.monotonic()
            first = one.recommend(10, deadline_ms=deadline_ms)
            assert time.monotonic() - start < deadline_ms / 1000 + SLACK_S
            assert gate.reached.is_set()
            assert_valid(first, 10, absent=absent)
            assert {each.source for each in first} == {"local" if only_ranker else "fallback"}
            assert left_out(one) == dict.fromkeys(stages, 1)

            # What was left behind still runs: the next call does not wait for it, however long it may take.
            start = time.monotonic()
            second = one.recommend(10, deadline_ms=LONG_MS)
            assert time.monotonic() - start < SLACK_S
            assert_valid(second, 10, absent=absent)
            assert {each.source for each in second} == {"fallback"}
            assert left_out(one) == {"retrieve": 2 - only_ranker, "rank": 2, "policy": 1}
        finally:
            gate.open()
        assert {each.source for each in one.recommend(10)} == {"local"}
        for _ in range(10_000):  # the stage that was left behind ends at some time soon
            before = left_out(one)
            third = one.recommend(10, deadline_ms=LONG_MS)
            if left_out(one) == before:
                break
        assert_valid(third, 10, absent=absent)
        assert {each.source for each in third} == {"local"}
        assert left_out(one) == before


def test_with_time_enough_or_no_deadline_nothing_is_left_out(device: Device) -> None:
    lists = []
    for deadline_ms in (None, LONG_MS, float(LONG_MS)):
        with device.opened() as one:
            record(one, "item_liked", [2, 8])
            lists.append([(each.item_id, each.score) for each in one.recommend(10, deadline_ms=deadline_ms)])
            assert one.status().degradations == {}
    assert lists[0] == lists[1] == lists[2]


def test_a_held_model_without_a_deadline_is_waited_for(device: Device) -> None:
    runtime = HookedRuntime()
    with device.opened(runtime) as one, ThreadPoolExecutor(1) as pool:
        warm(one)
        runtime.before = gate = Gate("encoder")
        waiting = pool.submit(one.recommend, 10)
        assert gate.reached.wait(30)
        assert not waiting.done()
        gate.open()
        assert {each.source for each in waiting.result(30)} == {"local"}
        assert left_out(one) == {}


def test_no_time_at_all_still_gives_a_list_that_may_be_shown(device: Device) -> None:
    with device.opened() as one:
        warm(one)
        one.privacy.block(category="taste 1")
        request: dict[str, Any] = {"pinned": {2: "m_8", 3: "m_12", 4: "m_13"}, "unavailable": ["m_2"], "user_age": 10}
        recommendations = one.recommend(10, deadline_ms=1e-6, **request)
        adult = range(9, 300, 10)
        fifth = [row for row in range(300) if row % 6 == 1]
        assert_valid(recommendations, 10, absent={*SEEN, 24, 2, *adult, *fifth} - {12})
        assert rows_of(recommendations)[2:4] == [8, 12]
        assert left_out(one) == {"retrieve": 1, "rank": 1, "policy": 1}


def test_while_another_list_is_made_a_call_in_a_hurry_answers_without_the_history(device: Device) -> None:
    runtime = HookedRuntime()
    with device.opened(runtime) as one, ThreadPoolExecutor(1) as pool:
        warm(one)
        runtime.before = gate = Gate("encoder")
        slow = pool.submit(one.recommend, 10)
        try:
            assert gate.reached.wait(30)
            start = time.monotonic()
            recommendations = one.recommend(10, deadline_ms=100)
            assert time.monotonic() - start < 0.1 + SLACK_S
        finally:
            gate.open()
        assert_valid(recommendations, 10, absent=[24])
        assert {each.source for each in recommendations} == {"fallback"}
        assert_valid(slow.result(30), 10, absent=[*SEEN, 24])
        assert one.status().degradations == {
            "the deadline left out the history: another list was being made": 1,
            "the deadline left out the stage 'policy'": 1,
        }


def test_closing_does_not_wait_for_what_was_left_behind(device: Device) -> None:
    runtime = HookedRuntime()
    with device.opened(runtime) as one:
        warm(one)
        runtime.before = gate = Gate("order")
        one.recommend(10, deadline_ms=2000)
        assert gate.reached.is_set()
        worker = next(thread for thread in threading.enumerate() if thread.name.startswith("nearhand"))
        one.close()
        gate.open()
        worker.join(30)
        assert not worker.is_alive()
        assert runtime.open == []
        with pytest.raises(UsageError, match="closed"):
            one.recommend(10, deadline_ms=100)


BAD_DEADLINES: list[Any] = [0, -1, 0.0, float("nan"), float("inf"), 1e300, 86_400_001, "100", True, [100]]


@pytest.mark.parametrize("deadline_ms", BAD_DEADLINES, ids=repr)
def test_a_bad_deadline_is_named(device: Device, deadline_ms: Any) -> None:
    with device.opened() as one:
        with pytest.raises(UsageError) as caught:
            one.recommend(deadline_ms=deadline_ms)
        assert caught.value.place == "deadline_ms"
        assert repr(deadline_ms) in caught.value.problem
        assert len(one.recommend(3, deadline_ms=86_400_000)) == 3


# Cancelling


def test_a_call_that_was_cancelled_before_does_nothing(device: Device) -> None:
    cancelled = threading.Event()
    cancelled.set()
    with device.opened() as one:
        for history in (False, True):
            if history:
                record(one, "item_liked", [2])
            for deadline_ms in (None, LONG_MS):
                with pytest.raises(CancelledError):
                    one.recommend(cancelled=cancelled, deadline_ms=deadline_ms)
        assert device.exposures(one) == []
        assert "recommend" not in one.status().latencies
        assert len(one.recommend(cancelled=threading.Event())) == 10
        assert len(device.exposures(one)) == 1


@pytest.mark.parametrize("deadline_ms", [None, LONG_MS])
@pytest.mark.parametrize("model", MODELS)
def test_a_call_that_is_cancelled_on_the_way_notes_nothing(
    device: Device, model: str, deadline_ms: float | None
) -> None:
    runtime, cancelled = HookedRuntime(), threading.Event()
    ran = []

    def cancel(running: str) -> None:
        ran.append(running)
        if running == model:
            cancelled.set()

    with device.opened(runtime) as one:
        warm(one)
        known = len(device.exposures(one))
        runtime.before = cancel
        with pytest.raises(CancelledError):
            one.recommend(cancelled=cancelled, deadline_ms=deadline_ms)
        assert model in ran
        if model != "order":
            assert "order" not in ran
        assert len(device.exposures(one)) == known
        cancelled.clear()
        runtime.before = lambda running: None
        assert {each.source for each in one.recommend(cancelled=cancelled)} == {"local"}


@pytest.mark.parametrize("own", [False, True])
def test_a_cancelled_task_ends_its_call(device: Device, own: bool) -> None:
    runtime = HookedRuntime()
    request: dict[str, Any] = {"cancelled": threading.Event()} if own else {}

    async def cancel(one: Personalizer, gate: Gate) -> None:
        task = asyncio.create_task(one.recommend_async(10, **request))
        await asyncio.to_thread(gate.reached.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.open()

    with device.opened(runtime) as one:
        warm(one)
        known = len(device.exposures(one))
        calls = one.status().latencies["recommend"].calls
        runtime.before = gate = Gate("encoder")
        asyncio.run(cancel(one, gate))  # returns when its worker threads have ended
        assert len(device.exposures(one)) == known
        assert one.status().latencies["recommend"].calls == calls
        assert {each.source for each in one.recommend(10)} == {"local"}


def test_the_twins_give_the_same(device: Device) -> None:
    async def twins(one: Personalizer) -> tuple[Any, ...]:
        recorded = [await one.record_async(Event("item_liked", f"m_{row}")) for row in (2, 8)]
        assert [event.event_id for event in device.events(one)] == [event.event_id for event in recorded]
        with pytest.raises(UsageError, match="k is 0"):
            await one.recommend_async(0)
        with pytest.raises(UsageError, match="has no prediction 'kind'"):
            await one.predict_async("kind")
        return plain(await one.recommend_async(7, unavailable=["m_3"])), await one.predict_async("churn")

    with device.opened() as one, device.opened() as other:
        record(one, "item_liked", [2, 8])
        wanted = plain(one.recommend(7, unavailable=["m_3"])), one.predict("churn")
        found = asyncio.run(twins(other))
        assert [(each.item_id, each.score, each.propensity) for each in found[0]] == [
            (each.item_id, each.score, each.propensity) for each in wanted[0]
        ]
        assert found[1].label == wanted[1].label
        assert found[1].value == pytest.approx(wanted[1].value)
