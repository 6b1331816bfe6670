"""What bounds an endpoint: how much is asked of it at once, by whom, and what it does when its sink fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearhand.testing import ManualClock
from nearhand_cloud.app import create_app
from nearhand_cloud.audit import Audit
from nearhand_cloud.limiter import Limiter, MemoryLimiter, Unlimited
from nearhand_cloud.metrics import Metrics
from nearhand_cloud.redis_limiter import RedisLimiter
from nearhand_cloud.refusal import UnavailableError
from nearhand_cloud.service import Service
from nearhand_cloud.settings import Settings
from nearhand_cloud.sinks.sink import Batch, Erasure, Kept
from tests.cloud.brokers import RedisServer, running_redis
from tests.cloud.device import Device, Said
from tests.cloud.endpoint import SERVER_KEY, WRITE_KEY
from tests.cloud.in_process import asked, audit_lines

INSTALL = b"install"
T = TypeVar("T")


@given(st.floats(0.1, 1_000), st.integers(1, 50), st.lists(st.integers(0, 3_000), max_size=80))
def test_a_bucket_gives_what_it_holds_and_what_came_back(rate: float, burst: int, pauses: list[int]) -> None:
    """The model: tokens, at most a bucket full, that come back at a rate; nobody waits in vain, or for too short."""
    clock = ManualClock()
    limiter = MemoryLimiter(rate, burst, clock)
    tokens = float(burst)
    for pause in pauses:
        clock.advance(pause)
        tokens = min(burst, tokens + rate * pause / 1000)
        wait = asyncio.run(limiter.wait_s(INSTALL))
        assert wait == pytest.approx(max(0.0, (1 - tokens) / rate), abs=1e-6)
        if not wait:
            tokens -= 1
    assert asyncio.run(limiter.wait_s(b"another")) == 0


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


def test_replicas_share_a_bucket(redis: RedisServer) -> None:
    async def take() -> tuple[list[float], float]:
        replicas = [RedisLimiter(redis.url, "test:", 0.5, 3) for _ in range(2)]
        waits = [await replicas[number % 2].wait_s(INSTALL) for number in range(5)]
        other = await replicas[0].wait_s(b"another")
        for replica in replicas:
            await replica.close()
        return waits, other

    waits, other = asyncio.run(take())
    assert waits[:3] == [0, 0, 0]
    assert all(0 < wait <= 2 for wait in waits[3:])
    assert other == 0


class FailingSink:
    """A sink that can be told to fail, or to wait."""

    def __init__(self) -> None:
        self.fails = False
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def keep(self, batch: Batch) -> Kept:
        await self._work()
        return Kept(len(batch.events), 0)

    async def erase(self, erasure: Erasure) -> int:
        await self._work()
        return 0

    async def features(self, install_id: str, install_key: bytes) -> str | None:
        await self._work()
        return None

    async def put_features(self, install_id: str, text: str | None) -> None:
        await self._work()

    async def check(self) -> None:
        await self._work()

    async def close(self) -> None:
        pass

    async def _work(self) -> None:
        await self.may_go_on.wait()
        if self.fails:
            raise UnavailableError("the disk is full: secret-path", place="sink", remedy="free some space")


class Bounded:
    """An endpoint in this process with a failing sink, and at most two requests at once."""

    def __init__(self, folder: Path, limiter: Limiter) -> None:
        self.sink = FailingSink()
        settings = Settings((WRITE_KEY,), data=folder, server_key=SERVER_KEY, in_flight=2)
        clock = ManualClock()
        audit = Audit(str(folder / "audit.jsonl"), clock)
        self.service = Service(settings, self.sink, limiter, audit, Metrics(), clock)
        self.app = create_app(self.service, settings)
        self.device = Device("")

    async def send(self) -> Said:
        body = json.dumps({"batch": [self.device.event()]}).encode()
        return await asked(self.app, "POST", "/v1/batch", self.device.headers(), [body])


def run(folder: Path, limiter: Limiter, ask: Callable[[Bounded], Awaitable[T]]) -> T:
    """Ask such an endpoint, and close it."""

    async def ask_and_close() -> T:
        bounded = Bounded(folder, limiter)
        try:
            return await ask(bounded)
        finally:
            await bounded.service.close()

    return asyncio.run(ask_and_close())


def test_a_sink_that_fails_is_503_for_everything_that_needs_it(tmp_path: Path) -> None:
    async def ask(bounded: Bounded) -> list[Said]:
        bounded.sink.fails = True
        device = bounded.device
        features = json.dumps({"features": []}).encode()
        server = device.headers(authorization=f"Bearer {SERVER_KEY}")
        path = f"/v1/installs/{device.install_id}/features"
        answers = [
            await bounded.send(),
            await asked(bounded.app, "GET", "/readyz", {}),
            await asked(bounded.app, "GET", "/v1/features", device.headers(), query=f"install_id={device.install_id}"),
            await asked(bounded.app, "PUT", path, server, [features]),
        ]
        assert b"nearhand_sink_failures_total 4.0" in bounded.service.metrics.text()
        bounded.sink.fails = False
        assert (await bounded.send()).status == 200
        assert (await asked(bounded.app, "GET", "/healthz", {})).status == 200
        return answers

    for said in run(tmp_path, Unlimited(), ask):
        assert (said.status, said.json["code"], said.headers["retry-after"]) == (503, "unavailable", "2")
        assert b"secret-path" not in said.content  # that is for the operator
    assert "secret-path" in audit_lines(tmp_path)[0]["problem"]


def test_more_at_once_than_it_works_on_is_503(tmp_path: Path) -> None:
    async def ask(bounded: Bounded) -> None:
        bounded.sink.may_go_on.clear()
        waiting = [asyncio.create_task(bounded.send()) for _ in range(2)]
        await asyncio.sleep(0)
        late = await bounded.send()
        assert (late.status, late.json["code"], late.headers["retry-after"]) == (503, "busy", "1")
        bounded.sink.may_go_on.set()
        assert [(await each).status for each in waiting] == [200, 200]
        assert (await bounded.send()).status == 200

    run(tmp_path, Unlimited(), ask)


def test_who_asks_too_often_is_told_when_to_ask_again(tmp_path: Path) -> None:
    clock = ManualClock()

    async def ask(bounded: Bounded) -> None:
        assert [(await bounded.send()).status for _ in range(2)] == [200, 200]
        late = await bounded.send()
        assert (late.status, late.json["code"], late.headers["retry-after"]) == (429, "rate", "2")
        clock.advance(2_000)
        assert (await bounded.send()).status == 200

    run(tmp_path, MemoryLimiter(0.5, 2, clock), ask)


def test_a_stopping_endpoint_refuses(tmp_path: Path) -> None:
    async def ask(bounded: Bounded) -> None:
        bounded.service.stop()
        late = await bounded.send()
        assert (late.status, late.json["code"]) == (503, "shutting-down")
        assert late.headers["connection"] == "close"

    run(tmp_path, Unlimited(), ask)
