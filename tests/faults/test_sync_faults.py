"""Acknowledged means stored exactly once, whatever happens to the device, the endpoint and the network between them."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from urllib3.exceptions import HTTPError

from nearhand import Event, Personalizer
from nearhand.network import Answer, Call, NetworkError
from nearhand.sync import SyncConfig
from nearhand.testing import ManualClock
from tests.cloud import device as raw
from tests.cloud.brokers import MockCluster, consumed, running_kafka, running_redis
from tests.faults.proxy import (
    DelayRequest,
    FaultProxy,
    LoseAnswer,
    Replay,
    Respond,
    Throttle,
    always,
    at_random,
    healthy,
    in_turn,
)
from tests.faults.sync_forks import PATIENCE_S, Forks
from tests.faults.sync_story import Story
from tests.faults.sync_torture import FAULTS, SHARE, STEP_S, WRITE_KEY, Cloud, Torture, device_forks, endpoint_forks
from tests.tiny import Tiny

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL what it forked")


def stored(folder: Path) -> Iterator[dict[str, Any]]:
    """What the endpoint has, after it has ended; one by one, because there may be a million."""
    with closing(sqlite3.connect(folder / "cloud" / "events.db")) as connection:
        connection.row_factory = sqlite3.Row
        for row in connection.execute("SELECT * FROM event"):
            yield {**dict(row), "properties": json.loads(row["properties"])}


@pytest.fixture(scope="module")
def devices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with device_forks(tmp_path_factory.mktemp("devices")) as forks:
        yield forks


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with endpoint_forks(tmp_path_factory.mktemp("endpoints")) as forks:
        yield forks


@pytest.mark.parametrize(
    "kills", [pytest.param(100, marks=pytest.mark.soak), pytest.param(1000, marks=pytest.mark.torture)]
)
def test_every_acknowledged_event_is_stored_once(
    tmp_path: Path, devices: Forks, endpoints: Forks, tiny: Tiny, kills: int
) -> None:
    with Torture(devices, Cloud(endpoints, tmp_path / "cloud"), tiny.slot.folder, tmp_path / "device") as torture:
        torture.kill_both(kills, seed=1)
        torture.settle()
        story = torture.story()
        met = {exchange.fault for exchange in torture.proxy.exchanges}
    story.check(stored(tmp_path))
    assert met >= set(FAULTS)
    assert len(story.acknowledged) > 5 * kills
    assert len(story.forgotten) > kills / 5


@pytest.mark.parametrize(
    "seed",
    [pytest.param(1, marks=pytest.mark.soak), *(pytest.param(n, marks=pytest.mark.torture) for n in range(2, 12))],
)
@pytest.mark.parametrize("dedup", ["sqlite", "redis"])
def test_the_topic_has_every_acknowledged_event_once(
    tmp_path: Path, devices: Forks, endpoints: Forks, tiny: Tiny, dedup: str, seed: int
) -> None:
    with running_kafka() as brokers, running_redis(tmp_path / "redis") as redis:
        brokers.create("events")
        options = [
            *("--sink=kafka", f"--kafka={brokers.bootstrap}", "--topic=events", f"--dedup={dedup}"),
            "--kafka-option=message.timeout.ms=1000,log_level=0",
            *([f"--redis={redis.url}"] if dedup == "redis" else ()),
        ]
        # What an endpoint that was killed has claimed in Redis, no other one may store for six seconds.
        kills, step_s = 100, 3.0 if dedup == "redis" else STEP_S
        cloud = Cloud(endpoints, tmp_path / "cloud", *options)
        with Torture(devices, cloud, tiny.slot.folder, tmp_path / "device") as torture:
            torture.kill_both(kills, seed, step_s=step_s, before=outages(brokers, kills))
            torture.settle()
            story = torture.story()
        records, erasures = (consumed(brokers.bootstrap, topic) for topic in ("events", "events.erasures"))
    assert len({record["key"] for record in records}) == len(records), "a record is there twice"
    story.check(left_by(records, erasures))
    assert len(story.acknowledged) > 5 * kills


def outages(brokers: MockCluster, kills: int) -> Callable[[int], None]:
    """Each broker in turn cannot be reached for an eighth of the kills; after a second another one leads.

    Returns:
        what has to be called with the number of each kill before it; some numbers are left out, where two die at once.
    """
    steps = deque(
        (kills * (2 * broker - is_down) // 8, broker, is_down) for broker in (1, 2, 3) for is_down in (True, False)
    )

    def elect(leader: int) -> None:
        for topic in ("events", "events.erasures"):
            for partition in range(6):
                brokers.lead(topic, partition, leader)

    def before(number: int) -> None:
        while steps and steps[0][0] <= number:
            _, broker, is_down = steps.popleft()
            if is_down:
                brokers.down(broker)
                threading.Timer(1, elect, (broker % 3 + 1,)).start()
            else:
                brokers.up(broker)

    return before


def left_by(records: Iterable[Mapping[str, Any]], erasures: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """What a consumer keeps that has read the requests to erase first."""
    installs = {each["install_id"] for each in erasures if each["scope"] == "install"}
    events = {(each["install_id"], event_id) for each in erasures for event_id in each["event_ids"] or ()}
    for record in records:
        if record["install_id"] not in installs and (record["install_id"], record["event_id"]) not in events:
            yield record


def test_two_devices_with_one_cloned_disk_send_what_either_has(
    tmp_path: Path, devices: Forks, endpoints: Forks, tiny: Tiny
) -> None:
    cloud = Cloud(endpoints, tmp_path / "cloud")
    one, two = tmp_path / "one", tmp_path / "two"
    with (
        Torture(devices, cloud, tiny.slot.folder, one) as first,
        device_forks(tmp_path) as others,
        Torture(others, cloud, tiny.slot.folder, two) as second,
    ):
        first.start_cloud()
        second.proxy.upstream = cloud.url
        first.proxy.plan, second.proxy.plan = at_random(2, FAULTS, SHARE), at_random(3, FAULTS, SHARE)
        first.start_device("live", seed=1, erases=False)  # who erases it, does so for both
        first.live_on(60)
        shutil.copytree(one, two)
        past = Story.told(first.lines)
        for turn in range(4):  # at the same time
            second.start_device("live", seed=2 + turn, erases=False)
            first.start_device("live", seed=20 + turn, erases=False)
            first.live_on(30)
            second.live_on(30)
        for torture in (first, second):
            torture.proxy.plan = healthy
            torture.finish_device("drain")
        cloud.stop()
        told = [Story.told(torture.lines) for torture in (first, second)]
        story = Story.told([*first.lines, *second.lines])
    found = list(stored(tmp_path))
    # What one of them forgets of their common past before it has sent it, the other one still has, and sends.
    story.forgotten -= (told[0].forgotten ^ told[1].forgotten) & (past.tried.keys() - past.forgotten)
    story.check(found)
    assert len({event["install_id"] for event in found}) == 1
    assert len(story.acknowledged) > 60 + 4 * 60


class TickingClock(ManualClock):
    """Goes on by ``step_ms`` whenever it is looked at."""

    step_ms = 1

    def monotonic_ns(self) -> int:
        self.advance(self.step_ms)
        return super().monotonic_ns()


class Nobody:
    """A network without anybody in it."""

    def __init__(self) -> None:
        self.timeouts_ms: list[float] = []

    def send(self, call: Call) -> Answer:
        self.timeouts_ms.append(call.timeout_ms)
        raise NetworkError("there is nobody", place=call.url, remedy="none")

    def close(self) -> None:
        pass


def test_the_time_of_a_sync_may_be_up_at_any_moment(tmp_path: Path, tiny: Tiny) -> None:
    clock, network = TickingClock(), Nobody()
    config = SyncConfig("http://127.0.0.1:9", WRITE_KEY, deadline_ms=100, attempts=1)
    with Personalizer.open(tiny.slot.folder, tmp_path / "device", sync=config, clock=clock, transport=network) as p:
        p.privacy.set_consent("sync")
        p.record(Event("item_viewed", item_id="m_1"))
        for clock.step_ms in range(1, 200):
            assert p.sync().pending == 1
    assert min(network.timeouts_ms) > 0
    assert 1 < len(network.timeouts_ms) < 199


@pytest.mark.parametrize("all_of_it", [False, True], ids=["forget", "erase"])
@pytest.mark.parametrize("is_known", [True, False], ids=["later", "first"])
def test_what_is_forgotten_while_it_is_on_its_way_is_not_stored(
    tmp_path: Path, endpoints: Forks, tiny: Tiny, all_of_it: bool, is_known: bool
) -> None:
    cloud = Cloud(endpoints, tmp_path / "cloud")
    cloud.start()
    late = DelayRequest(2.5)
    with FaultProxy(cloud.url) as proxy:
        config = SyncConfig(proxy.url, WRITE_KEY, timeout_ms=800, attempts=1)
        with Personalizer.open(tiny.slot.folder, tmp_path / "device", sync=config) as p:
            p.privacy.set_consent("sync")
            if is_known:  # so that what is forgotten is not in the first batch of the install
                p.record(Event("item_viewed", item_id="m_1"))
                assert p.sync().is_complete
            proxy.plan = in_turn(late)
            event = p.record(Event("item_viewed", item_id="m_2"))
            assert not p.sync().is_complete
            if all_of_it:
                p.privacy.erase()
            else:
                p.privacy.forget(event.event_id)
            assert p.sync().is_complete
            assert late not in [exchange.fault for exchange in proxy.exchanges]
            begin = monotonic()
            while late not in [exchange.fault for exchange in proxy.exchanges]:
                assert monotonic() - begin < PATIENCE_S
                sleep(0.01)
    cloud.stop()
    assert [each["item_id"] for each in stored(tmp_path)] == ["m_1"] * (is_known and not all_of_it)


@pytest.mark.parametrize("years", [-10, 10])
def test_a_clock_that_is_ten_years_off(
    tmp_path: Path, devices: Forks, endpoints: Forks, tiny: Tiny, years: int
) -> None:
    wait = {"Date": "Fri, 27 Nov 2026 12:00:00 GMT", "Retry-After": "Fri, 27 Nov 2026 12:00:02 GMT"}
    with Torture(devices, Cloud(endpoints, tmp_path / "cloud"), tiny.slot.folder, tmp_path / "device") as torture:
        torture.start_cloud()
        torture.finish_device("record", events=100, clock_years=years)
        torture.proxy.plan = in_turn(LoseAnswer(), Respond(503, headers=wait), Replay())
        begin = monotonic()
        torture.finish_device("drain", clock_years=years)
        assert 2 <= monotonic() - begin < PATIENCE_S
        torture.cloud.stop()
        story = torture.story()
    found = list(stored(tmp_path))
    story.check(found)
    off = [event["recorded_at"] - event["received_at"] - years * 365 * 86_400_000 for event in found]
    assert all(abs(milliseconds) < 1000 * PATIENCE_S for milliseconds in off)


@pytest.mark.parametrize(
    "events", [pytest.param(50_000, marks=pytest.mark.soak), pytest.param(1_000_000, marks=pytest.mark.torture)]
)
def test_a_long_outbox_drains_in_flat_memory(
    tmp_path: Path, devices: Forks, endpoints: Forks, tiny: Tiny, events: int
) -> None:
    with Torture(devices, Cloud(endpoints, tmp_path / "cloud"), tiny.slot.folder, tmp_path / "device") as torture:
        torture.finish_device("record", events=events)
        torture.start_cloud()
        heard = len(torture.lines)
        torture.start_device("drain")
        assert devices.ended(patience_s=900) == 0, devices.errors()
        torture.cloud.stop()
        memory = [int(line.split()[1]) for line in torture.lines[heard:] if line.startswith(("ready", "synced"))]
        story = torture.story()
    story.check(stored(tmp_path))
    assert len(story.acknowledged) == events
    assert memory[-1] - memory[0] < 12_000_000, f"{memory} bytes: from the start to the end"


def test_an_endpoint_that_is_told_to_stop_loses_nothing_it_acknowledged(tmp_path: Path, endpoints: Forks) -> None:
    cloud = Cloud(endpoints, tmp_path / "cloud")
    dice = random.Random(4)
    tried: list[str] = []
    acknowledged: list[str] = []

    def send(url: str) -> None:
        """Batches, until one is not acknowledged; each install sends the next one when the last one is."""
        device = raw.Device(url, write_key=WRITE_KEY)
        while True:
            batch = [device.event() for _ in range(50)]
            ids = [event["messageId"] for event in batch]
            tried.extend(ids)
            try:
                said = device.send(batch)
            except HTTPError:
                return
            if said.status == 503:
                return
            assert (said.status, said.json["accepted"]) == (200, 50)
            acknowledged.extend(ids)

    with FaultProxy(cloud.url, always(Throttle(60_000))) as slow:  # so that some batch is half there
        for _ in range(10):
            cloud.start()
            slow.upstream = cloud.url
            before = len(acknowledged)
            with ThreadPoolExecutor(5) as senders:
                sending = [senders.submit(send, url) for url in (*[cloud.url] * 4, slow.url)]
                while len(acknowledged) == before and not any(each.done() for each in sending):
                    endpoints.wait_for(lambda: False, 0.01)
                endpoints.wait_for(lambda: False, dice.uniform(0, 0.1))
                cloud.stop()
                for each in sending:
                    each.result(timeout=PATIENCE_S)
    found = [event["event_id"] for event in stored(tmp_path)]
    assert len(found) == len(set(found))
    assert set(acknowledged) <= set(found) <= set(tried)
    assert len(acknowledged) >= 10 * 50
