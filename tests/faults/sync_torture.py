"""A device and an endpoint with a bad network between them, and both killed again and again."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Self

from tests.faults.proxy import (
    BlackHole,
    DelayAnswer,
    DelayRequest,
    Drop,
    Fault,
    FaultProxy,
    LoseAnswer,
    RepeatAnswer,
    Replay,
    Reset,
    Respond,
    Throttle,
    Truncate,
    at_random,
    healthy,
)
from tests.faults.sync_forks import PATIENCE_S, Forks
from tests.faults.sync_story import Story

WRITE_KEY = "torture-write-key"
FAULTS: Sequence[Fault] = (
    *(Drop(), Drop(0.6), Reset(), Reset()),
    *(LoseAnswer(), LoseAnswer(), LoseAnswer(), Truncate(0.0), Truncate(0.4), Truncate(0.95)),
    *(Replay(), Replay(), RepeatAnswer(), RepeatAnswer()),
    *(DelayAnswer(0.3), DelayRequest(0.3), DelayRequest(1.0), DelayRequest(1.0), DelayRequest(3.0)),
    *(Throttle(1000), BlackHole()),
    *(Respond(503), Respond(429, headers={"Retry-After": "1"}), Respond(502, b"<html>bad gateway</html>")),
)
SHARE = 0.5  # of the requests that meet one of them
STEP_S = 0.35
_ON_ANSWER = 0.4  # how many kills come when an answer has just been given
_UNSTARTED = 0.15  # how many endpoints are not waited for before somebody is killed
_ASKED = 0.1  # how many are asked to stop, and not killed


COULD_NOT_START = 2


class Cloud:
    """An endpoint that is started and killed; its address is another one each time.

    Args:
        forks: what it is forked from.
        data: its folder.
        options: beside that.

    Attributes:
        url: where it was when it listened last.
    """

    def __init__(self, forks: Forks, data: Path, *options: str) -> None:
        self.forks = forks
        self.data = data
        self.url = "http://127.0.0.1:9"
        self._options = (f"--data={data}", f"--write-key={WRITE_KEY}", "--port=0", "--rate=0", *options)

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it listens, or not. One that finds no broker ends, and is started again."""
        said = len(self.forks.said)
        ends = monotonic() + PATIENCE_S
        self.forks.start("nearhand_cloud", *self._options)
        while wait and not self.forks.wait_for(lambda: bool(self.forks.said[said:]), PATIENCE_S):
            assert monotonic() < ends, f"it did not start: {self.forks.errors()}"
            assert self.forks.ended() == COULD_NOT_START
            self.forks.start("nearhand_cloud", *self._options)
        if wait:
            self.url = self.forks.said[said].split()[-1]

    def stop(self) -> None:
        """SIGTERM; it has to end as it should."""
        status = self.forks.kill(signal.SIGTERM)
        assert status == 0, f"the endpoint ended with {status}"


class Torture:
    """One device and one endpoint that keep what they have, and the proxy between them.

    A context manager; at its end both are killed.

    Args:
        devices: what the device is forked from.
        cloud: the endpoint.
        bundle: the slot of the device's bundle.
        data: the device's folder.
    """

    def __init__(self, devices: Forks, cloud: Cloud, bundle: Path, data: Path) -> None:
        self.devices = devices
        self.cloud = cloud
        self.proxy = FaultProxy(cloud.url)
        self._bundle = bundle
        self._data = data
        self._heard = len(devices.said)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for side in (self.devices, self.cloud.forks):
            if side.is_running:
                side.kill()
        self.proxy.close()

    def start_cloud(self, *, wait: bool = True) -> None:
        """Start the endpoint, and lead the proxy to it once it listens, if that is waited for."""
        self.cloud.start(wait=wait)
        self.proxy.upstream = self.cloud.url

    def start_device(self, what: str, **options: int) -> None:
        """Start it, and wait until its profile is open; see :class:`tests.faults.sync_device.Task`."""
        said = len(self.devices.said)
        task = json.dumps({"what": what, **options})
        where = (str(self._bundle), str(self._data), self.proxy.url, WRITE_KEY)
        self.devices.start("tests.faults.sync_device", *where, task)
        opened = self.devices.wait_for(lambda: bool(self.devices.said[said:]), PATIENCE_S)
        assert opened, f"the device did not start: {self.devices.errors()}"

    def finish_device(self, what: str, **options: int) -> None:
        """Start it, and wait until it is done."""
        self.start_device(what, **options)
        assert self.devices.ended() == 0, f"the device failed: {self.devices.errors()}"

    def live_on(self, events: int) -> None:
        """Kill the device that lives when so many events were acknowledged since it was started."""
        begin = max(n for n, line in enumerate(self.devices.said) if line.startswith("ready"))

        def enough() -> bool:
            return sum(line.startswith("ack") for line in self.devices.said[begin:]) >= events

        assert self.devices.wait_for(enough, PATIENCE_S), f"the device did not record: {self.devices.errors()}"
        self.devices.kill()
        self.proxy.release()

    def kill_both(
        self, times: int, seed: int, *, step_s: float = STEP_S, before: Callable[[int], None] = lambda number: None
    ) -> None:
        """Let the device live while faults happen, and kill one of the two, or both, so many times in all.

        Args:
            step_s: the longest time between two kills.
            before: called with the number of each kill before it.
        """
        dice = random.Random(seed)
        endpoints = self.cloud.forks
        self.proxy.plan = at_random(seed, FAULTS, SHARE)
        self.start_cloud()
        self.start_device("live", seed=dice.randrange(2**31))
        number, may_not_be_up = 0, False
        while number < times:
            before(number)
            self._live(dice.uniform(0, step_s), on_answer=dice.random() < _ON_ANSWER)
            victims = dice.choice(((self.devices,), (endpoints,), (self.devices, endpoints)))
            for victim in victims:
                gentle = victim is endpoints and dice.random() < _ASKED
                status = victim.kill(signal.SIGTERM if gentle else signal.SIGKILL)
                expected = {0, -signal.SIGTERM} if gentle else {-signal.SIGKILL}
                if victim is endpoints and may_not_be_up:
                    expected.add(COULD_NOT_START)  # it has found no broker, and has ended by itself
                assert status in expected, f"it ended with {status}"
                number += 1
            if endpoints in victims:
                may_not_be_up = dice.random() < _UNSTARTED
                self.start_cloud(wait=not may_not_be_up)
            if self.devices in victims:
                self.proxy.release()
                self.start_device("live", seed=dice.randrange(2**31))
        self.devices.kill()
        endpoints.kill()

    def settle(self) -> None:
        """No more faults: the device sends all it has, and the endpoint stops as it should."""
        self.proxy.plan = healthy
        self.proxy.release()
        if not self.cloud.forks.is_running:
            self.start_cloud()
        self.finish_device("drain")
        self.cloud.stop()

    @property
    def lines(self) -> list[str]:
        """What the device told since this was made."""
        return self.devices.said[self._heard :]

    def story(self) -> Story:
        """The same, understood."""
        return Story.told(self.lines)

    def _live(self, seconds: float, *, on_answer: bool) -> None:
        """Let some time pass, or wait for the next answer that says that events are stored."""
        if on_answer:
            seen, ends = len(self.proxy.exchanges), monotonic() + 1
            while monotonic() < ends and all(exchange.status != 200 for exchange in self.proxy.exchanges[seen:]):
                sleep(0.0005)
        else:
            self.devices.wait_for(lambda: False, seconds)
        assert self.devices.is_running, f"the device ended by itself: {self.devices.errors()}"


@contextmanager
def device_forks(folder: Path) -> Iterator[Forks]:
    """What devices are forked from."""
    imports = ["nearhand", "nearhand.network.pool", "nearhand.runtime.onnx", "onnxruntime"]
    with Forks(*imports, errors=folder / "devices.txt") as forks:
        yield forks


@contextmanager
def endpoint_forks(folder: Path) -> Iterator[Forks]:
    """What endpoints are forked from."""
    imports = [
        "nearhand_cloud.app",
        *(f"uvicorn.{name}" for name in ("lifespan.on", "loops.uvloop", "protocols.http.httptools_impl")),
    ]
    with Forks(*imports, errors=folder / "endpoints.txt") as forks:
        yield forks
