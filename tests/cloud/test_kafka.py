"""Events go to Kafka, each once, whatever dies in between. The brokers are the client library's mock cluster."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from nearhand.clock import SystemClock
from nearhand.ids import random_id
from nearhand_cloud.metrics import Metrics
from nearhand_cloud.sinks.kafka import KafkaSink
from nearhand_cloud.sinks.ledger import Lapsed
from nearhand_cloud.sinks.sqlite_ledger import SqliteLedger
from tests.cloud.brokers import MockCluster, RedisServer, consumed, running_kafka, running_redis
from tests.cloud.device import Device, as_cloudevent
from tests.cloud.endpoint import Endpoint, running_endpoint
from tests.cloud.waiting import Sending, until_accepted, wait_for

SEND_MS = 1_500  # instead of the 10 s that a broker gets in production


@pytest.fixture(scope="module")
def kafka() -> Iterator[MockCluster]:
    with running_kafka() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def endpoint(
    kafka: MockCluster,
    redis: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Endpoint]:
    """An endpoint whose events go to Kafka, with either ledger."""
    topic = f"events.{request.param}"
    kafka.create(topic)
    options = {
        "sink": "kafka",
        "kafka": kafka.bootstrap,
        "topic": topic,
        "kafka_option": f"message.timeout.ms={SEND_MS}",
    }
    if request.param == "redis":
        options |= {"dedup": "redis", "redis": redis.url}
    with running_endpoint(tmp_path_factory.mktemp("kafka"), **options) as running:
        yield running


@pytest.fixture
def device(endpoint: Endpoint) -> Device:
    return Device(endpoint.url)


def records(endpoint: Endpoint, device: Device, topic: str = "") -> list[dict[str, Any]]:
    """The records of a device, as they are in the topic."""
    assert endpoint.kafka is not None
    bootstrap, events = endpoint.kafka
    return [record for record in consumed(bootstrap, events + topic) if record["install_id"] == device.install_id]


def stored_ids(endpoint: Endpoint, device: Device) -> Counter[str]:
    return Counter(record["event_id"] for record in records(endpoint, device))


def led_by(kafka: MockCluster, endpoint: Endpoint, broker: int) -> None:
    """All partitions of the topic have one leader."""
    assert endpoint.kafka is not None
    for partition in range(6):
        kafka.lead(endpoint.kafka[1], partition, broker)


def test_events_are_stored_once_and_in_order(endpoint: Endpoint, device: Device) -> None:
    events = [device.event() for _ in range(50)]
    assert device.send(events[:30]).json == {"accepted": 30, "duplicates": 0, "refused": []}
    assert device.send([*events, events[40]]).json == {"accepted": 20, "duplicates": 31, "refused": []}
    found = records(endpoint, device)
    assert [record["key"] for record in found] == [f"{device.install_id}:{event['messageId']}" for event in events]
    assert [record["sequence"] for record in found] == list(range(1, 51))
    cloudevent = json.dumps(as_cloudevent(events[0])).encode()
    said = device.call("POST", "/v1/events", cloudevent, content_type="application/cloudevents+json")
    assert said.json["duplicates"] == 1


def test_an_erasure_reaches_the_consumers(endpoint: Endpoint, device: Device) -> None:
    events = [device.event() for _ in range(3)]
    gone = events[0]["messageId"]
    device.send(events)
    nonce = random_id()
    assert device.erase([gone, "never-sent"], nonce=nonce).json == {"erased": 1}
    assert device.erase([gone], nonce=nonce).json["code"] == "replayed"
    assert device.send([events[0], device.event(messageId="never-sent")]).json["duplicates"] == 2
    assert device.erase(key="ab" * 32).json["code"] == "signature"
    assert device.erase().status == 200
    assert device.send(events).json["code"] == "erased"
    assert device.erase().json["code"] == "unknown-install"
    asked = records(endpoint, device, ".erasures")
    assert [(each["key"], each["scope"]) for each in asked] == [
        (device.install_id, "events"),
        (device.install_id, "install"),
    ]
    assert asked[0]["event_ids"] == [gone, "never-sent"]


def test_features_are_put_and_got(endpoint: Endpoint, device: Device) -> None:
    features = [{"name": "taste", "values": [1.5, -2.0], "ttl_ms": 86_400_000, "source": "batch"}]
    assert device.features().status == 404
    assert device.push(features).status == 204
    said = device.features()
    assert said.json == {"features": features}
    assert device.features(if_none_match=said.headers["etag"]).status == 304
    assert Device(endpoint.url, device.install_id).features().json["code"] == "install-key"
    assert device.push([]).status == 204
    assert device.features().status == 404
    assert device.erase().json == {"erased": 0}
    assert device.push(features).json["code"] == "erased"


def test_an_unreachable_broker_is_503_and_nothing_is_lost_or_doubled(
    endpoint: Endpoint, device: Device, kafka: MockCluster
) -> None:
    before, meanwhile = [device.event() for _ in range(20)], [device.event() for _ in range(20)]
    led_by(kafka, endpoint, 2)
    assert until_accepted(device, before).status == 200
    kafka.down(2)
    try:
        said = device.send(meanwhile)
        assert (said.status, said.json["code"]) == (503, "unavailable")
        assert int(said.headers["retry-after"]) > 0
    finally:
        kafka.up(2)
    assert until_accepted(device, meanwhile).status == 200
    assert stored_ids(endpoint, device) == Counter(event["messageId"] for event in before + meanwhile)


def test_killed_after_the_acknowledgement_and_before_the_mark(
    endpoint: Endpoint, device: Device, kafka: MockCluster
) -> None:
    """The events are in the topic, nobody was told, and the device sends them again: they are found there."""
    events = [device.event() for _ in range(20)]
    assert until_accepted(device, [device.event(messageId="first")]).status == 200
    with kafka.slow_answers(SEND_MS - 100):
        sending = Sending(lambda: device.send(events))
        wait_for(kafka.was_sent_records)
        endpoint.kill()
        assert sending.said() is None
    there = len(stored_ids(endpoint, device)) - 1
    assert there > 0  # all of them, if they were sent in one go
    endpoint.restart()
    said = until_accepted(device, [*events, device.event(messageId="last")])
    assert said.json == {"accepted": 21 - there, "duplicates": there, "refused": []}
    found = stored_ids(endpoint, device)
    assert set(found.values()) == {1}
    assert len(found) == 22


def test_killed_before_the_events_reach_a_broker(endpoint: Endpoint, device: Device, kafka: MockCluster) -> None:
    """The claims lapse, nothing is found in the topic, and the events are stored when they come again."""
    led_by(kafka, endpoint, 3)
    assert until_accepted(device, [device.event()]).status == 200
    late = [device.event(messageId="late")]
    kafka.down(3)
    try:
        sending = [Sending(lambda: device.again().send(late)) for _ in range(2)]
        wait_for(lambda: any(each.is_over for each in sending))  # the one that came second
        endpoint.kill()
        first, second = sorted((each.said() for each in sending), key=lambda said: said is not None)
        assert first is None
        assert second is not None
        assert second.json["code"] == "in-progress"
    finally:
        kafka.up(3)
    endpoint.restart()
    assert until_accepted(device, late).json["accepted"] == 1
    assert set(stored_ids(endpoint, device).values()) == {1}


def test_told_to_stop_it_still_answers_what_has_arrived(endpoint: Endpoint, device: Device, kafka: MockCluster) -> None:
    events = [device.event() for _ in range(10)]
    assert until_accepted(device, events[:1]).status == 200
    with kafka.slow_answers(500):
        sending = Sending(lambda: device.send(events))
        wait_for(kafka.was_sent_records)
        assert endpoint.stop() == 0
        said = sending.said()
    endpoint.restart()
    assert said is not None
    assert said.json == {"accepted": 9, "duplicates": 1, "refused": []}


def test_it_ends_whatever_becomes_of_the_cancellation_of_what_it_does_meanwhile(
    kafka: MockCluster, tmp_path: Path
) -> None:
    """As a client's may, a ledger's call swallows it, having just been answered."""

    class Answering(SqliteLedger):
        asked = asyncio.Event()

        async def lapsed(self) -> Sequence[Lapsed]:
            was_asked = self.asked.is_set()
            self.asked.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if was_asked:  # so that this test ends, whatever becomes of it
                    raise
            return []

    async def close() -> None:
        kafka.create("events.closing")
        ledger = Answering(tmp_path, SystemClock(), lease_ms=1000, keep_ms=1000)
        options = {"bootstrap.servers": kafka.bootstrap, "message.timeout.ms": SEND_MS}
        sink = KafkaSink(options, "events.closing", ledger, SystemClock(), Metrics())
        await ledger.asked.wait()
        done, _ = await asyncio.wait({asyncio.create_task(sink.close())}, timeout=20)
        assert done

    asyncio.run(close())
