"""What a device has sent can be trained on: it is read again as it was recorded."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nearhand.events import Event, RecordedEvent
from nearhand.network import default_transport
from nearhand.testing import FaultyTransport, ManualClock
from tests.cloud.endpoint import running_endpoint
from tests.converters.replays import run, write
from tests.sdk.sync_device import CONFIG, Device, MemoryEndpoint

KEPT = ("event_id", "event", "item_id", "timestamp", "recorded_at", "utc_offset_minutes", "epoch", "recommendation_id")
MAP = "user=install_id,sequence=sequence,properties=properties,context=context," + ",".join(f"{n}={n}" for n in KEPT)


def recorded(device: Device) -> list[RecordedEvent]:
    """Events of every kind that a replay looks at, under a clock that was set back in between."""
    device.consent("sync")
    events = [
        Event("item_viewed", "m_1", properties={"seconds": 41}, context={"device": "phone"}),
        Event("search", properties={"query": "heat"}),
        Event("item_liked", "m_2", recommendation_id="r1", timestamp=1_600_000_000_123),
        Event("session_ended", properties={"seconds": 3.5}, context={"locale": "de-AT"}),
    ]
    made = []
    for number, event in enumerate(events):
        if number == 2:
            device.log.reset()
            device.clock.jump_to(1_500_000_000_999)
        made.append(device.log.append(event, sendable=True))
        device.clock.advance(1001)
    return made


def check(found: list[Mapping[str, Any]], made: list[RecordedEvent]) -> None:
    assert len(found) == len(made)
    for event, there in zip(made, found, strict=True):
        for name in KEPT:
            assert there.get(name) == getattr(event, name), name
        assert (there.get("properties"), there.get("context")) == (event.properties, event.context)
        assert len(there["user"]) == 32


def read(folder: Path, lines: list[dict[str, Any]], *options: object) -> list[Mapping[str, Any]]:
    run("events", write(folder / "sent.jsonl", lines), "-o", folder / "made.jsonl", *options)
    return [json.loads(line) for line in (folder / "made.jsonl").read_text(encoding="utf-8").splitlines()]


def clock() -> ManualClock:
    return ManualClock(utc_offset_minutes=lambda at: 60 if at > 1_550_000_000_000 else -90)


def test_what_was_sent(tmp_path: Path) -> None:
    wire = FaultyTransport(MemoryEndpoint())
    device = Device(tmp_path / "device", wire, clock=clock())
    made = recorded(device)
    assert device.sync().events_sent == len(made)
    device.close()
    batch = json.loads(gzip.decompress(wire.calls[0].body or b""))["batch"]
    check(read(tmp_path, batch), made)
    check(read(tmp_path, batch, "--format", "segment"), made)


def test_what_the_endpoint_stores(tmp_path: Path) -> None:
    with running_endpoint(tmp_path) as endpoint:
        config = replace(CONFIG, url=endpoint.url, write_key=endpoint.write_key)
        transport = default_transport()
        device = Device(tmp_path / "device", transport, config=config, clock=clock())
        made = recorded(device)
        assert device.sync().events_sent == len(made)
        device.close()
        transport.close()
        check(read(tmp_path, endpoint.stored(), "--map", MAP), made)
