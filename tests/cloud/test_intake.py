"""Events come in: what is stored, what is refused, and what the answer says of it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from nearhand.ids import random_id
from tests.cloud.device import TIME_MS, Device, as_cloudevent
from tests.cloud.endpoint import Endpoint, running_endpoint


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with running_endpoint(tmp_path_factory.mktemp("intake"), rate=0) as endpoint:
        yield endpoint


@pytest.fixture
def device(endpoint: Endpoint) -> Device:
    return Device(endpoint.url)


def stored(endpoint: Endpoint, device: Device) -> list[dict[str, object]]:
    return [event for event in endpoint.stored() if event["install_id"] == device.install_id]


@pytest.mark.parametrize("compressed", [False, True])
def test_what_is_stored_is_what_was_sent(endpoint: Endpoint, device: Device, compressed: bool) -> None:
    event = device.event()
    said = device.send([event], compressed=compressed)
    assert (said.status, said.json) == (200, {"accepted": 1, "duplicates": 0, "refused": []})
    (found,) = stored(endpoint, device)
    assert isinstance(found.pop("received_at"), int)
    assert found == {
        "install_id": device.install_id,
        "event_id": event["messageId"],
        "event": "item_viewed",
        "item_id": "m_1",
        "timestamp": TIME_MS,
        "recorded_at": TIME_MS,
        "utc_offset_minutes": 60,
        "sequence": 1,
        "epoch": 0,
        "recommendation_id": "r_1",
        "context": {"device": "phone"},
        "properties": {"seconds": 41},
    }


def test_an_event_that_comes_again_is_a_duplicate(endpoint: Endpoint, device: Device) -> None:
    events = [device.event() for _ in range(3)]
    assert device.send(events).json["accepted"] == 3
    again = device.send([*events, device.event(), events[0]])
    assert again.json == {"accepted": 1, "duplicates": 4, "refused": []}
    assert len(stored(endpoint, device)) == 4


def test_a_mixed_batch_names_the_refused_events_and_keeps_the_good_ones(endpoint: Endpoint, device: Device) -> None:
    good, bad, none = device.event(), device.event(event="item_viewed", properties={}), device.event(messageId=None)
    said = device.send([good, bad, none, 7, device.event()])
    assert said.status == 200
    assert said.json["accepted"] == 2
    named = [(each["index"], each["message_id"], each["code"]) for each in said.json["refused"]]
    assert named == [(1, bad["messageId"], "item-id"), (2, None, "message-id"), (3, None, "shape")]
    assert len(stored(endpoint, device)) == 2


def test_an_event_sent_in_both_shapes_is_stored_once(endpoint: Endpoint, device: Device) -> None:
    event, other = device.event(), device.event()
    assert device.send([event]).json["accepted"] == 1
    body = json.dumps([as_cloudevent(event), as_cloudevent(other)]).encode()
    said = device.call("POST", "/v1/events", body, content_type="application/cloudevents-batch+json")
    assert said.json == {"accepted": 1, "duplicates": 1, "refused": []}
    assert device.send([other]).json["duplicates"] == 1
    first, second = stored(endpoint, device)
    varying = ("event_id", "item_id", "sequence", "received_at")
    assert {n: v for n, v in first.items() if n not in varying} == {n: v for n, v in second.items() if n not in varying}


def test_ids_are_those_of_an_install(endpoint: Endpoint, device: Device) -> None:
    """An app that numbers its events itself uses the same ids on every device."""
    other = Device(endpoint.url)
    assert device.send([device.event(messageId="welcome")]).json["accepted"] == 1
    assert other.send([other.event(messageId="welcome")]).json["accepted"] == 1


def test_another_key_for_an_install_is_refused(endpoint: Endpoint, device: Device) -> None:
    device.send([device.event()])
    thief = Device(endpoint.url, install_id=device.install_id)
    said = thief.send([thief.event()])
    assert (said.status, said.json["code"]) == (403, "install-key")
    assert len(stored(endpoint, device)) == 1


def test_a_wrong_write_key_is_refused(endpoint: Endpoint, device: Device) -> None:
    said = Device(endpoint.url, write_key="another-key").send([device.event()])
    assert (said.status, said.json["code"]) == (401, "write-key")


def test_erased_events_do_not_come_back(endpoint: Endpoint, device: Device) -> None:
    kept, gone = device.event(), device.event()
    device.send([kept, gone])
    nonce = random_id()
    assert device.erase([gone["messageId"]], nonce=nonce).json == {"erased": 1}
    assert device.erase([gone["messageId"]], nonce=nonce).status == 409
    assert device.send([kept, gone]).json["duplicates"] == 2
    assert [event["event_id"] for event in stored(endpoint, device)] == [kept["messageId"]]


def test_an_erased_install_does_not_come_back(endpoint: Endpoint, device: Device) -> None:
    events = [device.event(), device.event()]
    device.send(events)
    assert device.erase(key="ab" * 32).json["code"] == "signature"
    assert device.erase().json == {"erased": 2}
    said = device.send(events)
    assert (said.status, said.json["code"]) == (403, "erased")
    assert device.erase().status == 404
    assert stored(endpoint, device) == []
