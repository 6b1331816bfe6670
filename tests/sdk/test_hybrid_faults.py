"""Whatever server and network do, there is a list of the device, and the reason is told."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nearhand import UsageError
from nearhand.errors import CancelledError
from nearhand.hybrid import HybridConfig, RoutePolicy
from nearhand.testing import ManualClock
from tests.faults.proxy import (
    BlackHole,
    DelayAnswer,
    Drop,
    Fault,
    FaultProxy,
    LoseAnswer,
    RepeatAnswer,
    Reset,
    Throttle,
    Truncate,
    always,
    in_turn,
)
from tests.oip.models import RERANK, rerank
from tests.oip.servers import Scripted, scripted
from tests.sdk.hooked_runtime import Gate, HookedRuntime
from tests.sdk.hybrid_device import FAULTS, LIKED, LONG_MS, PATIENT, config, hybrid, opened, sources
from tests.sdk.serving_device import Device, assert_valid, record


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("deadline_ms", "binary"), [(None, True), (None, False), (150, True)], ids=["bytes", "json", "deadline"]
)
def test_whatever_the_server_does_there_is_a_list_of_the_device_and_the_reason_is_told(
    device: Device, server: Scripted, fault: str, deadline_ms: float | None, binary: bool
) -> None:
    changes, outcomes = FAULTS[fault]
    settings = config(server, RoutePolicy(timeout_ms=300) if "late" in outcomes else PATIENT, binary=binary)
    with opened(device, server, hybrid=settings) as one:
        one.recommend(10)  # it knows what the server is
        server.fail(**changes)
        found = one.recommend(10, deadline_ms=deadline_ms)
        assert_valid(found, 10, absent=LIKED)
        assert {each.explanation.basis for each in found} == {"score"}
        outcome = hybrid(one).last[-1].outcome
        if deadline_ms is None:
            assert sources(found) == {"local"}
            assert outcome in outcomes
            assert one.status().degradations == {f"the cloud's ranking was not used: {outcome}": 1}
        else:  # on a busy machine little may fit into it, but for a list
            assert "cloud" not in sources(found)
            assert outcome in {*outcomes, "late", "timeout", "local"}


LOST: dict[str, tuple[Fault, set[str]]] = {
    "dropped": (Drop(0.5), {"network"}),
    "reset": (Reset(), {"network"}),
    "answer lost": (LoseAnswer(), {"network"}),
    "truncated": (Truncate(0.6), {"network"}),
    "nothing": (BlackHole(), {"late", "timeout"}),
    "1 kB/s": (Throttle(1000, answer_only=True), {"late", "timeout"}),
    "late": (DelayAnswer(5.0), {"late", "timeout"}),
}


@pytest.mark.parametrize("fault", LOST)
def test_whatever_the_network_does_the_next_answer_is_its_own(device: Device, server: Scripted, fault: str) -> None:
    wrong, outcomes = LOST[fault]
    with FaultProxy(server.url) as proxy:
        policy = RoutePolicy(timeout_ms=400) if "late" in outcomes else PATIENT
        settings = HybridConfig(proxy.url, model=RERANK, policy=policy)
        with opened(device, server, hybrid=settings) as one:
            one.recommend(10)  # it knows what the server is
            proxy.plan = in_turn(wrong)
            assert sources(one.recommend(10)) == {"local"}
            assert hybrid(one).last[-1].outcome in outcomes
            proxy.release()
            for _ in range(2):
                record(one, "item_liked", [24])
                one.recommend(10)
            assert hybrid(one).outcomes.get("malformed") is None


def test_an_answer_that_comes_twice_is_taken_once(device: Device, server: Scripted) -> None:
    proxied = FaultProxy(server.url, always(RepeatAnswer()))
    settings = HybridConfig(proxied.url, model=RERANK, policy=PATIENT)
    with proxied, opened(device, server, hybrid=settings) as one:
        for count, row in enumerate([24, 30, 36], start=len(LIKED)):
            found = one.recommend(10)
            if sources(found) == {"cloud"}:
                at = np.array([[int(each.item_id.removeprefix("m_")) for each in found]], np.int32)
                history = np.array([[*LIKED, 24, 30, 36][:count]], np.int32)
                expected = rerank(history, np.full((1, count), 8.0, np.float32), at)
                np.testing.assert_allclose([each.score for each in found], expected[0], atol=1e-4)
            record(one, "item_liked", [row])
        assert set(hybrid(one).outcomes) <= {"cloud", "malformed", "network"}


def test_the_server_is_killed_in_the_session_and_the_next_list_is_the_devices(device: Device) -> None:
    with scripted() as server, opened(device, server) as one:
        assert sources(one.recommend(10)) == {"cloud"}
        server.kill()
        for _ in range(5):
            assert_valid(found := one.recommend(10, deadline_ms=LONG_MS), 10, absent=LIKED)
            assert sources(found) == {"local"}
        assert hybrid(one).outcomes == {"cloud": 1, "network": 3, "local": 2}
        assert hybrid(one).decisions["local"] == {"breaker_open": 2}
        assert hybrid(one).breaker == "open"


def test_the_breaker_opens_and_recovers(device: Device, server: Scripted) -> None:
    clock = ManualClock()
    with opened(device, server, clock=clock) as one:
        server.fail("status", status=500)
        for _ in range(3):
            one.recommend(10)
        assert (hybrid(one).breaker, hybrid(one).opens_in_ms) == ("open", 1000)
        before = server.counts()
        for _ in range(5):
            assert sources(one.recommend(10)) == {"local"}
        assert server.counts() == before
        clock.advance(1000)
        assert hybrid(one).breaker == "half_open"
        one.recommend(10)  # the trial fails
        assert (hybrid(one).breaker, hybrid(one).opens_in_ms) == ("open", 2000)
        server.fail()
        clock.advance(2000)
        assert sources(one.recommend(10)) == {"cloud"}
        assert hybrid(one).breaker == "closed"
        assert hybrid(one).last[-1].reason == "probe"


def test_retry_after_is_kept_to(device: Device, server: Scripted) -> None:
    clock = ManualClock()
    with opened(device, server, clock=clock) as one:
        server.fail("status", status=429, headers={"Retry-After": "90"})
        one.recommend(10)
        assert (hybrid(one).breaker, hybrid(one).opens_in_ms) == ("open", 90_000)
        server.fail()
        clock.advance(89_999)
        assert sources(one.recommend(10)) == {"local"}
        clock.advance(1)
        assert sources(one.recommend(10)) == {"cloud"}


def test_a_server_that_takes_too_long_is_not_asked_if_there_is_a_deadline(device: Device, server: Scripted) -> None:
    with opened(device, server, RoutePolicy(breaker_failures=100, timeout_ms=5000)) as one:
        server.fail("delay", seconds=0.4)
        for _ in range(5):
            assert sources(one.recommend(10)) == {"cloud"}
        assert (hybrid(one).p90_ms or 0) >= 400
        before = server.counts()["requests"]
        assert sources(one.recommend(10, deadline_ms=400)) == {"local"}
        assert hybrid(one).last[-1].reason == "deadline"
        assert server.counts()["requests"] == before
        assert sources(one.recommend(10)) == {"cloud"}  # there is time


def test_the_cloud_is_not_waited_for_beyond_the_deadline_and_calls_do_not_pile_up(
    device: Device, server: Scripted
) -> None:
    with opened(device, server, RoutePolicy(breaker_failures=100)) as one:
        one.recommend(10)
        server.fail("silence")
        for _ in range(6):
            start = time.perf_counter()
            found = one.recommend(10, deadline_ms=150)
            assert time.perf_counter() - start < 1
            assert sources(found) == {"local"}
            assert hybrid(one).in_flight <= 2
        assert len([each for each in threading.enumerate() if each.name == "nearhand-hybrid"]) <= 2


def test_closing_waits_for_nobody(device: Device, server: Scripted) -> None:
    server.fail("silence")
    with opened(device, server, RoutePolicy(timeout_ms=60_000)) as one, ThreadPoolExecutor(1) as pool:
        asking = pool.submit(one.recommend, 10)
        while not hybrid(one).in_flight:
            pass
        start = time.perf_counter()
        one.close()
        assert time.perf_counter() - start < 5
        with pytest.raises(UsageError):
            asking.result(10)


def test_who_cancels_does_not_wait_for_the_cloud(device: Device, server: Scripted) -> None:
    server.fail("silence")
    cancelled = threading.Event()
    with opened(device, server, RoutePolicy(timeout_ms=60_000)) as one, ThreadPoolExecutor(1) as pool:
        asking = pool.submit(one.recommend, 10, cancelled=cancelled)
        while not hybrid(one).in_flight:
            pass
        cancelled.set()
        with pytest.raises(CancelledError):
            asking.result(10)
        assert hybrid(one).outcomes == {"cancelled": 1}
        assert hybrid(one).breaker == "closed"


def test_other_lists_are_made_while_one_waits_for_the_cloud(device: Device, server: Scripted) -> None:
    server.fail("silence")
    with opened(device, server, RoutePolicy(timeout_ms=60_000)) as one, ThreadPoolExecutor(1) as pool:
        cancelled = threading.Event()
        asking = pool.submit(one.recommend, 10, cancelled=cancelled)
        while not hybrid(one).in_flight:
            pass
        one.privacy.set_consent("local")
        assert sources(one.recommend(10)) == {"local"}  # with no deadline: it does not wait its turn
        cancelled.set()
        with pytest.raises(CancelledError):
            asking.result(10)


def test_a_profile_that_is_erased_while_the_cloud_is_waited_for_leaves_no_trace(
    device: Device, server: Scripted
) -> None:
    server.fail("delay", seconds=0.3)
    with opened(device, server) as one, ThreadPoolExecutor(1) as pool:
        asking = pool.submit(one.recommend, 10)
        while not hybrid(one).calls:
            pass
        one.privacy.erase()
        found = asking.result(30)
        assert sources(found) == {"fallback"}  # as a new profile
        (noted,) = device.exposures(one)
        assert noted.source == "fallback"


def test_a_ranker_that_is_slow_is_left_out_while_the_cloud_answers(device: Device, server: Scripted) -> None:
    runtime = HookedRuntime()
    with opened(device, server, runtime=runtime) as one:
        one.recommend(10)
        one.privacy.set_consent("local")
        one.recommend(10)  # the device's ranker is loaded
        one.privacy.set_consent("sync")
        runtime.before = gate = Gate("order")
        try:
            assert sources(one.recommend(10, deadline_ms=1000)) == {"cloud"}
            assert hybrid(one).last[-1].where == "both"
        finally:
            gate.open()
