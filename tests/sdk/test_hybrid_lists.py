"""Lists that are ranked in the cloud if all allows it, by a real server in another process that fails on demand."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearhand import Personalizer, Recommendation, UsageError
from nearhand.errors import CancelledError, StorageError
from nearhand.hybrid import HybridConfig, HybridStatus, RoutePolicy, Surroundings
from nearhand.privacy import Audit
from nearhand.testing import ManualClock
from tests.oip.models import RERANK, rerank
from tests.oip.servers import Scripted, scripted
from tests.sdk.hooked_runtime import Gate, HookedRuntime
from tests.sdk.serving_device import Device, assert_valid, record
from tests.sdk.serving_factory import LISTING, serving_bundle

LIKED = [0, 6, 12, 18]
PATIENT = RoutePolicy(timeout_ms=10_000, reserve_ms=50)  # on a busy machine too, the answer is there
LONG_MS = 20_000


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Device:
    folder = tmp_path_factory.mktemp("hybrid")
    return Device(serving_bundle(folder), folder / "data")


@pytest.fixture(scope="module")
def running() -> Iterator[Scripted]:
    with scripted() as server:
        yield server


@pytest.fixture
def server(running: Scripted) -> Iterator[Scripted]:
    running.fail()
    yield running
    running.fail()


def uncapped(device: Device) -> Path:
    """A bundle whose lists may have all candidates."""
    folder = device.folder / "uncapped"
    folder.mkdir(parents=True, exist_ok=True)
    return serving_bundle(folder, listing=replace(LISTING, category_cap=0))


def config(server: Scripted, policy: RoutePolicy = PATIENT, **changes: Any) -> HybridConfig:
    return HybridConfig(server.url, model=RERANK, policy=policy, **changes)


@contextmanager
def opened(
    device: Device, server: Scripted, policy: RoutePolicy = PATIENT, *, liked: Sequence[int] = LIKED, **options: Any
) -> Iterator[Personalizer]:
    """A profile whose user allows it, and likes some films."""
    options = {"hybrid": config(server, policy), **options}
    with device.opened(**options) as one:
        one.privacy.set_consent("sync")
        record(one, "item_liked", liked)
        yield one


def hybrid(one: Personalizer) -> HybridStatus:
    found = one.status().hybrid
    assert found is not None
    return found


def sources(recommendations: Sequence[Recommendation]) -> set[str]:
    return {each.source for each in recommendations}


def sent(server: Scripted) -> dict[str, Any]:
    """The JSON of the latest question."""
    found: dict[str, Any] = json.loads(server.counts()["last"]["text"])
    return found


@pytest.mark.parametrize(("deadline_ms", "where"), [(None, "cloud"), (LONG_MS, "cloud"), (1400, "both")])
def test_the_scores_are_the_clouds_and_the_list_says_so(
    device: Device, server: Scripted, deadline_ms: float | None, where: str
) -> None:
    with opened(device, server) as one:
        found = one.recommend(10, deadline_ms=deadline_ms)
        assert_valid(found, 10, absent=LIKED)
        assert sources(found) == {"cloud"}
        weight = 8.0  # of one like
        for each in found:
            row = np.array([[int(each.item_id.removeprefix("m_"))]], np.int32)
            expected = rerank(np.array([LIKED], np.int32), np.full((1, 4), weight, np.float32), row)
            assert each.score == pytest.approx(float(expected[0, 0]), abs=1e-5)
        status = hybrid(one)
        (decision,) = status.last
        assert (decision.where, decision.reason, decision.outcome) == (where, "short_history", "cloud")
        assert status.decisions == {where: {"short_history": 1}}
        assert status.outcomes == {"cloud": 1}
        assert (status.breaker, status.calls, status.in_flight, status.abandoned) == ("closed", 1, 0, 0)
        assert status.p50_ms is not None
        assert one.status().degradations == {}


def test_what_is_sent_is_the_question_and_nothing_of_who_asks(device: Device, server: Scripted) -> None:
    with opened(device, server) as one:
        record(one, "item_disliked", [5])
        one.recommend(10, context={"device": "tv", "place": "Vienna"})
        body, headers = sent(server), server.counts()["last"]["headers"]
        tensors = {each["name"]: (each["datatype"], each["shape"]) for each in body["inputs"]}
        assert tensors.keys() == {"history", "weights", "candidates"}
        assert tensors["history"] == ("INT32", [1, 5])
        assert tensors["weights"] == ("FP32", [1, 5])
        assert tensors["candidates"][0] == "INT32"
        assert tensors["candidates"][1][1] <= 200
        assert body.keys() == {"id", "parameters", "inputs", "outputs"}
        assert body["parameters"].keys() == {"bundle_version", "catalogue", "program"}
        assert headers.keys() <= {
            "host", "accept-encoding", "content-length", "content-type", "user-agent",
            "inference-header-content-length",
        }  # fmt: skip
        first = body["id"]
        one.recommend(10)
        assert sent(server)["id"] != first  # of the request, not of the device
        again = one.recommend(10)
        assert all(each.recommendation_id not in server.counts()["last"]["text"] for each in again)


def test_what_left_is_in_the_audit_log_before_it_leaves(device: Device, server: Scripted) -> None:
    clock = ManualClock()
    with opened(device, server, clock=clock) as one:
        for _ in range(3):
            one.recommend(10)
        (entry,) = one.privacy.audit()
        assert (entry.what, entry.why, entry.to) == ("history and candidates", "recommend", server.url)
        assert (entry.count, entry.bytes) == (3, hybrid(one).sent_bytes)
        clock.advance(60_000)
        one.recommend(10)
        assert [each.count for each in one.privacy.audit()] == [3, 1]
        one.privacy.erase()
        assert one.privacy.audit() == []
        one.privacy.set_consent("sync")
        record(one, "item_liked", LIKED)
        one.recommend(10)
        assert [each.count for each in one.privacy.audit()] == [1]


def test_what_cannot_be_noted_does_not_leave(device: Device, server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object, **kwargs: object) -> None:
        raise StorageError("the disk is full", place="profile.db")

    with opened(device, server) as one:
        monkeypatch.setattr(Audit, "note_more", fails)
        before = server.counts()["infers"]
        assert sources(one.recommend(10)) == {"local"}
        assert hybrid(one).outcomes == {"not_noted": 1}
        assert hybrid(one).breaker == "closed"
        assert server.counts()["infers"] == before


@pytest.mark.parametrize("consent", ["local", "off"])
def test_without_consent_not_one_byte_leaves(device: Device, server: Scripted, consent: Any) -> None:
    before = server.counts()
    with device.opened(hybrid=config(server)) as one:
        record(one, "item_liked", LIKED)
        one.privacy.set_consent(consent)
        for deadline_ms in (None, 100):
            assert "cloud" not in sources(one.recommend(10, deadline_ms=deadline_ms))
        assert hybrid(one).decisions == {"local": {"consent": 2}}
        assert one.privacy.audit() == []
    after = server.counts()
    assert [after[what] - before[what] for what in ("connections", "bytes")] == [0, 0]


def test_consent_that_is_withdrawn_holds_from_the_next_byte_on(device: Device, server: Scripted) -> None:
    with opened(device, server) as one:
        assert sources(one.recommend(10)) == {"cloud"}
        one.privacy.set_consent("local")
        before = server.counts()
        for _ in range(5):
            assert sources(one.recommend(10)) == {"local"}
        assert server.counts() == before
        assert one.privacy.audit()[0].count == 1


def test_consent_that_is_withdrawn_while_the_server_is_asked_what_it_is(device: Device, server: Scripted) -> None:
    server.fail("delay", seconds=0.3, everywhere=True)
    with opened(device, server) as one, ThreadPoolExecutor(1) as pool:
        asking = pool.submit(one.recommend, 10)
        while not hybrid(one).in_flight:
            pass
        one.privacy.set_consent("local")
        infers = server.counts()["infers"]
        assert sources(asking.result(30)) == {"local"}
        assert hybrid(one).outcomes == {"consent": 1}
        assert server.counts()["infers"] == infers


def test_what_was_recorded_without_consent_is_not_asked_about(device: Device, server: Scripted) -> None:
    with device.opened(hybrid=config(server)) as one:
        record(one, "item_liked", [0, 6])
        record(one, "item_viewed", [12])
        one.privacy.set_consent("sync")
        assert sources(one.recommend(10)) == {"local"}
        assert hybrid(one).decisions == {"local": {"no_history": 1}}
        record(one, "item_liked", [18, 12])
        assert sources(one.recommend(10)) == {"cloud"}
        assert [each["shape"] for each in sent(server)["inputs"][:2]] == [[1, 2], [1, 2]]
        assert sources(one.recommend(10, deadline_ms=LONG_MS)) == {"cloud"}
        one.privacy.set_consent("sync", include_past=True)
        one.recommend(10)
        assert sent(server)["inputs"][0]["shape"] == [1, 4]


def test_the_reasons_are_the_devices_and_say_so(device: Device, server: Scripted) -> None:
    with opened(device, server, bundle=uncapped(device)) as one:
        found = one.recommend(10, pinned={3: "m_100"})
        assert {each.explanation.basis for each in found if each.position != 3} == {"device"}
        assert found[3].explanation.basis == "score"  # it is pinned, which is the whole reason
        one.privacy.set_consent("local")
        own = {each.item_id: each.explanation for each in one.recommend(100)}
        assert {each.basis for each in own.values()} == {"score"}
        both = [each for each in found if each.item_id in own and each.position != 3]
        assert len(both) > 4
        for each in both:
            assert each.explanation.text == own[each.item_id].text
            assert each.explanation.evidence == own[each.item_id].evidence


def test_a_list_of_the_cloud_is_noted_as_such(device: Device, server: Scripted) -> None:
    with opened(device, server) as one:
        found = one.recommend(10)
        (noted,) = device.exposures(one)
        assert noted.source == "cloud"
        assert noted.item_ids == tuple(each.item_id for each in found)
        assert noted.scores == tuple(each.score for each in found)


def test_policies_and_filters_hold_for_the_clouds_scores_too(device: Device, server: Scripted) -> None:
    with opened(device, server) as one:
        one.privacy.block(category="taste 1")
        one.privacy.block(item_id="m_2")
        found = one.recommend(
            10, unavailable=["m_3"], user_age=10, pinned={2: "m_8"}, predicate=lambda item_id: item_id != "m_4"
        )
        adult = range(9, 300, 10)
        fifth = [row for row in range(300) if row % 6 == 1]
        assert_valid(found, 10, absent={*LIKED, 2, 3, 4, *adult, *fifth})
        assert found[2].item_id == "m_8"
        assert sources(found[:2]) == {"cloud"}
        asked = server.counts()["last"]
        assert "candidates" in asked["text"]


SURROUNDINGS = [
    (Surroundings("none"), "offline"),
    (Surroundings("metered"), "metered"),
    (Surroundings("unmetered", 0.05, False), "battery"),
]


@pytest.mark.parametrize(("around", "reason"), SURROUNDINGS, ids=lambda value: value if isinstance(value, str) else "")
def test_the_apps_surroundings_are_asked_each_time(
    device: Device, server: Scripted, around: Surroundings, reason: str
) -> None:
    now = [around]
    with opened(device, server, surroundings=lambda: now[0]) as one:
        assert sources(one.recommend(10)) == {"local"}
        now[0] = Surroundings("unmetered", 0.5, False)
        assert sources(one.recommend(10)) == {"cloud"}
        assert hybrid(one).decisions == {"local": {reason: 1}, "cloud": {"short_history": 1}}


@pytest.mark.degrades
@pytest.mark.parametrize("answer", [None, "wifi", ZeroDivisionError], ids=["none", "text", "raises"])
def test_surroundings_that_fail_keep_the_list_here(device: Device, server: Scripted, answer: Any) -> None:
    def around() -> Any:
        if answer is ZeroDivisionError:
            raise ZeroDivisionError
        return answer

    before = server.counts()["connections"]
    with opened(device, server, surroundings=around) as one:
        assert sources(one.recommend(10)) == {"local"}
        (problem,) = one.status().degradations
        assert "surroundings" in problem
        assert hybrid(one).decisions == {"local": {"offline": 1}}
    assert server.counts()["connections"] == before


def test_a_clear_taste_needs_no_cloud_if_the_policy_says_so(device: Device, server: Scripted) -> None:
    policy = RoutePolicy(confident_from=0.0, enough_history=4)
    with opened(device, server, policy) as one:
        assert sources(one.recommend(10)) == {"local"}
        (decision,) = hybrid(one).last
        assert decision.reason == "confident"
        assert 0 < decision.confidence < 1


def test_more_items_than_may_be_sent_are_ranked_here(device: Device, server: Scripted) -> None:
    with opened(device, server, hybrid=config(server, max_candidates=20)) as one:
        assert sources(one.recommend(21)) == {"local"}
        assert sources(one.recommend(5)) == {"cloud"}
        assert sent(server)["inputs"][2]["shape"] == [1, 20]
        assert hybrid(one).decisions["local"] == {"too_many": 1}


def test_nobody_is_asked_for_a_new_user(device: Device, server: Scripted) -> None:
    with opened(device, server, liked=[]) as one:
        assert sources(one.recommend(10)) == {"fallback"}
        assert hybrid(one).decisions == {"local": {"no_history": 1}}


FAULTS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "not ready": ({"kind": "status", "status": 400, "text": '{"error": "not ready"}'}, {"status_400"}),
    "404": ({"kind": "status", "status": 404}, {"status_404"}),
    "429": ({"kind": "status", "status": 429, "headers": {"Retry-After": "7"}}, {"status_429"}),
    "500": ({"kind": "status", "status": 500, "text": "<html>"}, {"status_500"}),
    "503": ({"kind": "status", "status": 503}, {"status_503"}),
    "redirect": ({"kind": "status", "status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}, {"status_302"}),
    "nothing": ({"kind": "status", "status": 204}, {"status_204"}),
    "silence": ({"kind": "silence"}, {"late", "timeout"}),
    "reset": ({"kind": "reset"}, {"network"}),
    "slow head": ({"kind": "slow_head"}, {"late", "timeout"}),
    "slow body": ({"kind": "slow_body"}, {"late", "timeout"}),
    "cut": ({"kind": "cut"}, {"network"}),
    "huge": ({"kind": "huge"}, {"too_large"}),
    "catalogue": ({"kind": "status", "status": 400, "text": '{"error": "catalogue: is another"}'}, {"catalogue"}),
    "page": ({"kind": "status", "status": 200, "text": "<html>Log in first</html>"}, {"malformed"}),
    "deep": ({"kind": "status", "status": 200, "text": "[" * 50_000}, {"malformed"}),
    **{
        how: ({"kind": "twist", "how": how}, {"malformed"})
        for how in (
            "shape", "count", "fewer", "dtype", "nan", "overflow", "texts", "missing", "name", "id", "twice",
            "more_bytes",
        )
    },
}  # fmt: skip


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


def test_without_a_configuration_there_is_no_cloud(device: Device) -> None:
    with device.opened() as one:
        assert one.status().hybrid is None


def test_a_bundle_that_recommends_nothing_asks_nobody(device: Device, server: Scripted, tmp_path: Path) -> None:
    from tests.sdk.serving_factory import part

    with Personalizer.open(part("churn"), tmp_path, hybrid=config(server)) as one:
        assert one.status().hybrid is None
