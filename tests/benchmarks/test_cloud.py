"""Events that one endpoint process stores durably, beside the bare framework answering the same requests."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.cloud.brokers import running_kafka, running_redis
from tests.cloud.endpoint import running_endpoint
from tests.cloud.load import Sender, send_all

SENDERS, REQUESTS = 8, 4  # of one round: connections, and requests of each
ROUNDS = 10
BARE = "FastAPI alone"
CONTENDERS = ["nearhand endpoint", BARE]


@contextmanager
def bare_framework() -> Iterator[str]:
    """Where FastAPI alone listens."""
    command = [sys.executable, "-m", "tests.benchmarks.bare_framework"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


@contextmanager
def endpoint(sink: str, folder: Path) -> Iterator[str]:
    """Where an endpoint with a sink listens."""
    with ExitStack() as stack:
        options: dict[str, Any] = {"rate": 0}
        if sink != "SQLite":
            kafka = stack.enter_context(running_kafka())
            kafka.create("events")
            options |= {"sink": "kafka", "kafka": kafka.bootstrap, "topic": "events"}
        if sink == "Kafka and Redis":
            options |= {"dedup": "redis", "redis": stack.enter_context(running_redis(folder / "redis")).url}
        yield stack.enter_context(running_endpoint(folder, **options)).url


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("events", [100, 1])
@pytest.mark.parametrize("sink", ["SQLite", "Kafka and SQLite", "Kafka and Redis"])
def test_intake(benchmark: BenchmarkFixture, tmp_path: Path, sink: str, events: int, contender: str) -> None:
    """The bodies are made beforehand; the client and the brokers of the mock cluster share the processors."""
    benchmark.group = f"{SENDERS * REQUESTS} requests of {events} events, {SENDERS} at once, to {sink}"
    with bare_framework() as bare_url, endpoint(sink, tmp_path) as url:
        ours = [Sender(url) for _ in range(SENDERS)]
        bare = [Sender(bare_url) for _ in range(SENDERS)]

        def bodies(senders: list[Sender]) -> list[list[bytes]]:
            return [[sender.body(events) for _ in range(REQUESTS)] for sender in senders]

        chosen = bare if contender == BARE else ours
        taken: list[float] = []

        def prepared() -> tuple[tuple[list[Sender], list[list[bytes]]], dict[str, object]]:
            return (chosen, bodies(chosen)), {}

        def work(senders: list[Sender], prepared_bodies: list[list[bytes]]) -> None:
            taken.extend(send_all(senders, prepared_bodies))

        benchmark.pedantic(work, setup=prepared, rounds=ROUNDS, warmup_rounds=1)  # type: ignore[no-untyped-call]
        if contender != BARE:
            seconds = statistics.median(benchmark.stats.stats.data)  # type: ignore[union-attr]
            benchmark.extra_info["events a second"] = f"{SENDERS * REQUESTS * events / seconds:,.0f}"
            benchmark.extra_info["p99 of a request"] = f"{statistics.quantiles(taken, n=100)[98] * 1000:.1f} ms"
            pairs = [sum_of(ours, bodies(ours)) / sum_of(bare, bodies(bare)) for _ in range(ROUNDS)]
            benchmark.extra_info[f"{contender} / {BARE}, in turns"] = f"{statistics.median(pairs):.2f}"
        for sender in (*ours, *bare):
            sender.close()


def sum_of(senders: list[Sender], prepared_bodies: list[list[bytes]]) -> float:
    """The seconds of all requests."""
    return sum(send_all(senders, prepared_bodies))
