"""The memory of an endpoint does not grow with what it has stored, refused, and been told to erase."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.brokers import running_kafka, running_redis
from tests.cloud.device import Device
from tests.cloud.endpoint import Endpoint, running_endpoint
from tests.cloud.load import Sender, send_all

SENDERS = 4
GROWTH = 1.05  # of the last third against the middle one: what Python's allocator makes of noise


def resident_bytes(process_id: int) -> int:
    fields = Path(f"/proc/{process_id}/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * 4_096


@contextmanager
def endpoint_with(sink: str, folder: Path) -> Iterator[Endpoint]:
    with ExitStack() as stack:
        options: dict[str, Any] = {"rate": 1_000, "burst": 10_000}
        if sink == "kafka":
            kafka = stack.enter_context(running_kafka())
            kafka.create("events")
            redis = stack.enter_context(running_redis(folder / "redis"))
            options |= {
                "sink": "kafka",
                "kafka": kafka.bootstrap,
                "topic": "events",
                "dedup": "redis",
                "redis": redis.url,
            }
        yield stack.enter_context(running_endpoint(folder, **options))


def memory_over(endpoint: Endpoint, seconds: float) -> list[int]:
    """What it has while devices send, send again, send nonsense, come and go."""
    sampled: list[int] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        senders = [Sender(endpoint.url) for _ in range(SENDERS)]
        bodies = [[sender.body(50) for _ in range(4)] * 2 for sender in senders]
        send_all(senders, bodies)
        for sender in senders:
            sender.close()
        device = Device(endpoint.url)
        device.send([device.event(event="x" * 300), 5, device.event()])
        device.call("POST", "/v1/batch", b"[" * 400_000)
        assert device.erase().status == 200
        sampled.append(resident_bytes(endpoint.process.pid))
    return sampled


def assert_flat(sampled: list[int]) -> None:
    third = len(sampled) // 3
    assert third >= 2
    middle, last = statistics.median(sampled[third : 2 * third]), statistics.median(sampled[2 * third :])
    assert last <= GROWTH * middle, [round(size / 1e6, 1) for size in sampled]


@pytest.mark.soak
@pytest.mark.parametrize("sink", ["sqlite", "kafka"])
def test_memory_is_flat(tmp_path: Path, sink: str) -> None:
    with endpoint_with(sink, tmp_path) as endpoint:
        memory_over(endpoint, 2)  # what is imported and cached at first use
        assert_flat(memory_over(endpoint, 8))


@pytest.mark.torture
@pytest.mark.parametrize("sink", ["sqlite", "kafka"])
def test_memory_is_flat_for_ten_minutes(tmp_path: Path, sink: str) -> None:
    with endpoint_with(sink, tmp_path) as endpoint:
        memory_over(endpoint, 20)
        assert_flat(memory_over(endpoint, 600))
