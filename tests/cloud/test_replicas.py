"""Two endpoints behind a balancer: Kafka and Redis have what they share, and either may die."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.brokers import MockCluster, RedisServer, running_kafka, running_redis
from tests.cloud.device import Device
from tests.cloud.endpoint import Endpoint, running_endpoint
from tests.cloud.waiting import Sending, until_accepted, wait_for

TOPIC = "shared"
SEND_MS = 1_500


class Balanced:
    """Two replicas, and the servers that they share."""

    def __init__(self, kafka: MockCluster, redis: RedisServer, replicas: list[Endpoint]) -> None:
        self.kafka = kafka
        self.redis = redis
        self.replicas = replicas

    def devices(self) -> tuple[Device, Device]:
        """One install, by way of either replica."""
        first = Device(self.replicas[0].url)
        return first, Device(self.replicas[1].url, first.install_id, first.install_key)

    def stored(self, device: Device) -> Counter[str]:
        found = self.replicas[0].stored()
        return Counter(event["event_id"] for event in found if event["install_id"] == device.install_id)


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balanced]:
    folder: Path = tmp_path_factory.mktemp("replicas")
    with ExitStack() as stack:
        kafka = stack.enter_context(running_kafka())
        kafka.create(TOPIC)
        redis = stack.enter_context(running_redis(folder / "redis"))
        options: dict[str, Any] = {
            "sink": "kafka",
            "kafka": kafka.bootstrap,
            "topic": TOPIC,
            "kafka_option": f"message.timeout.ms={SEND_MS}",
            "dedup": "redis",
            "redis": redis.url,
            "data": None,  # a replica keeps nothing in files
            "rate": 1_000,
        }
        replicas = []
        for name in ("first", "second"):
            (folder / name).mkdir()
            replicas.append(stack.enter_context(running_endpoint(folder / name, **options)))
        yield Balanced(kafka, redis, replicas)


def test_both_get_the_same_events_at_once(balanced: Balanced) -> None:
    """As when a device's connection breaks and the balancer sends it to the other replica."""
    first, second = balanced.devices()
    batches = [[first.event() for _ in range(20)] for _ in range(10)]
    answers: list[dict[str, Any]] = []

    def send_all(device: Device) -> None:
        answers.extend(until_accepted(device, batch).json for batch in batches)

    threads = [threading.Thread(target=send_all, args=(device,)) for device in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(answer["accepted"] for answer in answers) == 200
    assert sum(answer["duplicates"] for answer in answers) == 200
    assert balanced.stored(first) == Counter(event["messageId"] for batch in batches for event in batch)


def test_what_is_erased_at_one_is_erased_at_the_other(balanced: Balanced) -> None:
    first, second = balanced.devices()
    events = [first.event()]
    assert first.send(events).json["accepted"] == 1
    assert second.erase().json == {"erased": 1}
    assert first.send(events).json["code"] == "erased"


def test_another_key_is_refused_by_either(balanced: Balanced) -> None:
    first, second = balanced.devices()
    assert first.send([first.event()]).status == 200
    second.install_key = "ab" * 32
    assert second.send([second.event()]).json["code"] == "install-key"


def test_without_redis_nothing_is_accepted_and_with_it_everything_goes_on(balanced: Balanced) -> None:
    first, second = balanced.devices()
    before, after = [first.event()], [first.event()]
    assert first.send(before).status == 200
    balanced.redis.stop()
    for device in (first, second):
        said = device.send(after)
        assert (said.status, said.json["code"]) == (503, "unavailable")
        assert int(said.headers["retry-after"]) > 0
        assert device.call("GET", "/readyz").status == 503
        assert device.call("GET", "/healthz").status == 200
    balanced.redis.start()
    assert until_accepted(second, [*before, *after]).json == {"accepted": 1, "duplicates": 1, "refused": []}
    assert set(balanced.stored(first).values()) == {1}


def test_one_is_killed_and_the_other_settles_what_it_had_begun(balanced: Balanced) -> None:
    first, second = balanced.devices()
    events = [first.event() for _ in range(20)]
    assert first.send([first.event()]).status == 200
    with balanced.kafka.slow_answers(SEND_MS - 100):
        sending = Sending(lambda: first.send(events))
        wait_for(balanced.kafka.was_sent_records)
        balanced.replicas[0].kill()
        assert sending.said() is None
    there = len(balanced.stored(first)) - 1
    assert there > 0  # all of them, if they were sent in one go
    assert until_accepted(second, events).json == {"accepted": 20 - there, "duplicates": there, "refused": []}
    assert set(balanced.stored(first).values()) == {1}
    assert len(balanced.stored(first)) == 21
    balanced.replicas[0].restart()
    assert until_accepted(first, events).json["duplicates"] == 20
