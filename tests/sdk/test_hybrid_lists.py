"""Lists that are ranked in the cloud if all allows it, by a real server in another process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearhand import Personalizer
from nearhand.errors import StorageError
from nearhand.hybrid import RoutePolicy, Surroundings
from nearhand.privacy import Audit
from nearhand.testing import ManualClock
from tests.oip.models import rerank
from tests.oip.servers import Scripted
from tests.sdk.hybrid_device import LIKED, LONG_MS, config, hybrid, opened, sent, sources
from tests.sdk.lives import Keys
from tests.sdk.serving_device import Device, assert_valid, record
from tests.sdk.serving_factory import LISTING, serving_bundle


def uncapped(device: Device) -> Path:
    """A bundle whose lists may have all candidates."""
    folder = device.folder / "uncapped"
    folder.mkdir(parents=True, exist_ok=True)
    return serving_bundle(folder, listing=replace(LISTING, category_cap=0))


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


def test_an_encrypted_profile_lets_go_what_any_other_does(device: Device, server: Scripted) -> None:
    with device.opened(hybrid=config(server), key_provider=Keys()) as one:
        record(one, "item_liked", [0, 6])
        one.privacy.set_consent("sync")
        assert sources(one.recommend(10)) == {"local"}
        record(one, "item_liked", [18, 12, 0])
        assert sources(one.recommend(10)) == {"cloud"}
        assert sent(server)["inputs"][0]["shape"] == [1, 3]
        one.privacy.set_consent("sync", include_past=True)
        one.recommend(10)
        assert sent(server)["inputs"][0]["shape"] == [1, 4]
        assert [each.what for each in one.privacy.audit()] == ["history and candidates"]


def test_without_a_configuration_there_is_no_cloud(device: Device) -> None:
    with device.opened() as one:
        assert one.status().hybrid is None


def test_a_bundle_that_recommends_nothing_asks_nobody(device: Device, server: Scripted, tmp_path: Path) -> None:
    from tests.sdk.serving_factory import part

    with Personalizer.open(part("churn"), tmp_path, hybrid=config(server)) as one:
        assert one.status().hybrid is None
