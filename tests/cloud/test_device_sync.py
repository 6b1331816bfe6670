"""A device and a real endpoint, over a real connection: what is recorded on the one is stored on the other."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nearhand import Config, Event, Personalizer
from nearhand.clock import SystemClock
from nearhand.errors import UsageError
from nearhand.events import DAY_MS
from nearhand.network import Answer, Call, default_transport
from nearhand.profile import destroy_profile
from nearhand.sync import SyncConfig
from nearhand.testing import UNANSWERED, FaultyTransport, ManualClock
from tests.cloud.endpoint import Endpoint, running_endpoint
from tests.sdk.lives import CALM, bundle_with_pushed, planted, raw
from tests.tiny import Tiny

FORMATS: tuple[Any, ...] = ("segment", "cloudevents")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with running_endpoint(tmp_path_factory.mktemp("endpoint"), rate=0) as running:
        yield running


def opened(bundle: Path, folder: Path, endpoint: Endpoint, **options: Any) -> Personalizer:
    sync = SyncConfig(endpoint.url, endpoint.write_key, **{"format": "segment", **options.pop("sync", {})})
    return Personalizer.open(bundle, folder, config=Config(durability="process"), sync=sync, **options)


def stored(endpoint: Endpoint, ids: list[str]) -> dict[str, dict[str, Any]]:
    return {event["event_id"]: event for event in endpoint.stored() if event["event_id"] in ids}


@pytest.mark.parametrize("shape", FORMATS)
def test_the_life_of_an_event(tiny: Tiny, tmp_path: Path, endpoint: Endpoint, shape: str) -> None:
    with opened(tiny.path, tmp_path, endpoint, sync={"format": shape}) as p:
        private = p.record(Event("item_viewed", "m_1"))
        p.privacy.set_consent("sync")
        first = p.record(
            Event(
                "item_viewed",
                "m_2",
                user="anna",
                properties={"seconds": 41, "mood": "é"},
                context={"device": "phone", "room": "kitchen"},
                recommendation_id="r1",
            )
        )
        (own,) = p.record_many([Event("film_rated", "m_3", properties={"stars": 4.5, "words": "great"})])
        assert p.status().sync is not None
        report = p.sync()
        assert (report.events_sent, report.is_complete, report.errors) == (2, True, ())
        assert report.left_out == {"mood": 1, "room": 1, "words": 1}
        found = stored(endpoint, [private.event_id, first.event_id, own.event_id])
        assert set(found) == {first.event_id, own.event_id}
        for event in (first, own):
            there = found[event.event_id]
            for name in ("event", "item_id", "timestamp", "recorded_at", "utc_offset_minutes", "sequence", "epoch"):
                assert there[name] == getattr(event, name), name
        assert found[first.event_id]["properties"] == {"seconds": 41}
        assert found[first.event_id]["context"] == {"device": "phone"}
        assert found[first.event_id]["recommendation_id"] == "r1"
        assert found[own.event_id]["properties"] == {"stars": 4.5}

        assert p.privacy.forget(first.event_id)
        assert p.sync().erasures == 1
        assert set(stored(endpoint, [first.event_id, own.event_id])) == {own.event_id}
        p.privacy.set_consent("sync", include_past=True)
        assert p.sync().events_sent == 1
        assert private.event_id in stored(endpoint, [private.event_id])

        p.privacy.erase()
        status = p.status().sync
        assert status is not None
        assert (status.erasures, status.install, status.pending) == (1, None, 0)
        assert p.sync().erasures == 1
        assert stored(endpoint, [first.event_id, own.event_id, private.event_id]) == {}
        p.privacy.set_consent("sync")
        again = p.record(Event("item_viewed", "m_1"))
        assert p.sync().events_sent == 1
        assert again.event_id in stored(endpoint, [again.event_id])


@pytest.mark.parametrize("shape", FORMATS)
def test_a_lost_answer_is_no_second_event(tiny: Tiny, tmp_path: Path, endpoint: Endpoint, shape: str) -> None:
    wire = FaultyTransport(default_transport(), lambda number, call: UNANSWERED if number == 1 else None)
    other: Any = {"segment": "cloudevents", "cloudevents": "segment"}[shape]
    with opened(tiny.path, tmp_path, endpoint, sync={"format": shape, "attempts": 1}, transport=wire) as p:
        p.privacy.set_consent("sync")
        ids = [event.event_id for event in p.record_many([Event("item_viewed", "m_1")] * 1200)]
        assert p.sync().pending == 1200
    # The app was updated, and sends in the other shape now.
    with opened(tiny.path, tmp_path, endpoint, sync={"format": other}) as p:
        report = p.sync()
        assert (report.events_sent, report.duplicates, report.is_complete) == (1200, 500, True)
    found = [event["event_id"] for event in endpoint.stored() if event["event_id"] in set(ids)]
    assert found == ids


def test_nobody_is_there(tiny: Tiny, tmp_path: Path, endpoint: Endpoint) -> None:
    sync = SyncConfig("http://127.0.0.1:9", endpoint.write_key, attempts=2)
    with Personalizer.open(tiny.path, tmp_path, sync=sync) as p:
        p.privacy.set_consent("sync")
        p.record(Event("item_viewed", "m_1"))
        report = p.sync()
        assert (report.pending, report.is_complete, len(report.errors)) == (1, False, 1)
        assert "refused" in report.errors[0]
        assert [entry.what for entry in p.privacy.audit()] == ["events"] * 2


def test_a_wrong_key_keeps_the_events(tiny: Tiny, tmp_path: Path, endpoint: Endpoint) -> None:
    with Personalizer.open(tiny.path, tmp_path, sync=SyncConfig(endpoint.url, "wrong")) as p:
        p.privacy.set_consent("sync")
        p.record(Event("item_viewed", "m_1"))
        report = p.sync()
        assert "HTTP 401" in report.errors[0]
        assert report.pending == 1


@pytest.mark.parametrize("years", [-10, 10])
def test_a_clock_that_is_off_by_years(tiny: Tiny, tmp_path: Path, endpoint: Endpoint, years: int) -> None:
    clock = ManualClock(SystemClock().now_ms() + years * 365 * DAY_MS)
    with opened(tiny.path, tmp_path, endpoint, clock=clock) as p:
        p.privacy.set_consent("sync")
        event = p.record(Event("item_viewed", "m_1"))
        report = p.sync()
        assert (report.events_sent, report.refused, report.is_complete) == (1, {}, True)
        assert stored(endpoint, [event.event_id])[event.event_id]["timestamp"] == event.timestamp
        assert p.privacy.forget(event.event_id)
        assert p.sync().erasures == 1


def test_without_an_endpoint_there_is_nothing_to_sync(tiny: Tiny, tmp_path: Path) -> None:
    with Personalizer.open(tiny.path, tmp_path) as p:
        assert p.status().sync is None
        with pytest.raises(UsageError, match="SyncConfig"):
            p.sync()
        with pytest.raises(UsageError, match="include_past"):
            p.privacy.set_consent("local", include_past=True)


def test_features_that_the_backend_pushes(tmp_path: Path, endpoint: Endpoint) -> None:
    bundle = bundle_with_pushed(tmp_path / "bundle", CALM)
    with opened(bundle, tmp_path / "data", endpoint) as p:
        p.privacy.set_consent("sync")
        event = p.record(Event("item_viewed", "m_1"))
        assert p.sync().features == 0
        install = stored(endpoint, [event.event_id])[event.event_id]["install_id"]
        features = [
            {"name": "ltv", "values": [1.5, -2.5], "ttl_ms": 86_400_000, "source": "backend"},
            {"name": "of another version", "values": [1.0], "ttl_ms": 1000, "source": "backend"},
        ]
        request = urllib.request.Request(
            f"{endpoint.url}/v1/installs/{install}/features",
            json.dumps({"features": features}).encode(),
            {"authorization": f"Bearer {endpoint.server_key}", "content-type": "application/json"},
            method="PUT",
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.status < 300
        assert p.sync().features == 1
        assert p.sync().features == 0  # not modified
        assert p.features.status().pushed.entries == 1
        assert any("of another version" in reason for reason in p.status().degradations)


def test_a_sync_ends_with_the_app(tiny: Tiny, tmp_path: Path, endpoint: Endpoint) -> None:
    """The async twin, cancelled in the middle of a call; and the app going to the background."""
    arrived, go_on = threading.Event(), threading.Event()

    class Slow:
        def __init__(self) -> None:
            self.transport = default_transport()

        def send(self, call: Call) -> Answer:
            arrived.set()
            go_on.wait(20)
            return self.transport.send(call)

        def close(self) -> None:
            self.transport.close()

    slow = Slow()
    with opened(tiny.path, tmp_path, endpoint, transport=slow) as p:
        p.privacy.set_consent("sync")
        ids = [event.event_id for event in p.record_many([Event("item_viewed", "m_1")] * 1100)]

        async def cancelled() -> None:
            syncing = asyncio.create_task(p.sync_async())
            await asyncio.to_thread(arrived.wait, 20)
            syncing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await syncing
            go_on.set()

        asyncio.run(cancelled())
        assert len(stored(endpoint, ids)) == 500
        arrived.clear()
        go_on.clear()
        reports: list[Any] = []
        thread = threading.Thread(target=lambda: reports.append(p.sync()))
        thread.start()
        assert arrived.wait(20)
        p.pause()
        go_on.set()
        thread.join(20)
        assert (reports[0].events_sent, reports[0].is_complete) == (500, False)
        p.resume()
        assert p.sync().events_sent == 100
    slow.close()
    assert len(stored(endpoint, ids)) == 1100


SYNCS = """
import sys
from nearhand import Event, Personalizer
from nearhand.profile import destroy_profile
from nearhand.sync import SyncConfig
with Personalizer.open(sys.argv[1], sys.argv[2], sync=SyncConfig(sys.argv[3], sys.argv[4], max_events=50)) as p:
    ids = []
    for _ in range(10):
        ids += [event.event_id for event in p.record_many([Event("item_viewed", "m_1")] * 60)]
        p.sync()
    print(*ids)
"""


def test_several_processes_on_one_profile(tiny: Tiny, tmp_path: Path, endpoint: Endpoint) -> None:
    with opened(tiny.path, tmp_path, endpoint) as p:
        p.privacy.set_consent("sync")
    command = [sys.executable, "-c", SYNCS, str(tiny.path), str(tmp_path), endpoint.url, endpoint.write_key]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    ids: list[str] = []
    for child in children:
        out, err = child.communicate(timeout=120)
        assert child.returncode == 0, err
        ids += out.split()
    with opened(tiny.path, tmp_path, endpoint) as p:
        assert p.sync().is_complete
        sent = sum(entry.count for entry in p.privacy.audit() if entry.what == "events")
    assert len(ids) == 1800
    assert sorted(stored(endpoint, ids)) == sorted(ids)
    assert sent == 1800  # and nothing was sent twice for nothing


def test_nothing_of_a_life_that_was_sent_is_left_when_it_is_erased(
    tiny: Tiny, tmp_path: Path, endpoint: Endpoint
) -> None:
    with opened(tiny.path, tmp_path, endpoint) as p:
        p.privacy.set_consent("sync")
        p.record_many([planted(number) for number in range(300)])
        assert p.sync().events_sent == 300
        assert p.privacy.forget("planted-id-7")
        status = p.status().sync
        assert status is not None
        assert status.install is not None
        p.privacy.erase()
        content = raw(tmp_path / "profiles")
        assert b"planted" not in content
        assert content.count(status.install.encode()) >= 1  # the request to erase, and no more than that
        assert p.sync().erasures == 1
    assert status.install.encode() not in raw(tmp_path / "profiles")
    destroy_profile(tmp_path / "profiles" / "default")
    assert [*(tmp_path / "profiles" / "default").iterdir()] == []
    assert stored(endpoint, [f"planted-id-{number}" for number in range(300)]) == {}
