"""The embedded sink: what was acknowledged is there once, and what was erased is nowhere."""

from __future__ import annotations

import os
import random
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from urllib3.exceptions import HTTPError

from nearhand.ids import random_id
from tests.cloud.device import Device
from tests.cloud.endpoint import Endpoint, running_endpoint
from tests.cloud.waiting import Sending, wait_for

KILLS = 6
BATCH = 10


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    with running_endpoint(tmp_path, rate=0) as running:
        yield running


def keep_sending(device: Device, stop: threading.Event, acknowledged: list[str], sent: list[str]) -> None:
    """As a device: one batch after the other, each again until it is acknowledged."""
    while not stop.is_set():
        events = [device.event() for _ in range(BATCH)]
        sent += [event["messageId"] for event in events]
        while not stop.is_set():
            try:
                said = device.send(events)
            except HTTPError:
                time.sleep(0.01)
                continue
            assert said.status == 200
            assert said.json["accepted"] + said.json["duplicates"] == BATCH
            acknowledged += [event["messageId"] for event in events]
            break


def test_killed_at_any_moment_it_has_what_it_acknowledged_once(endpoint: Endpoint) -> None:
    source = random.Random(3)
    stop = threading.Event()
    acknowledged: list[str] = []
    sent: list[str] = []
    threads = [
        threading.Thread(target=keep_sending, args=(Device(endpoint.url), stop, acknowledged, sent)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for _ in range(KILLS):
        before = len(acknowledged)
        wait_for(lambda before=before: len(acknowledged) > before + source.randrange(200))  # type: ignore[misc]
        endpoint.kill()
        endpoint.restart()
    stop.set()
    for thread in threads:
        thread.join()
    stored = Counter(event["event_id"] for event in endpoint.stored())
    assert len(acknowledged) > KILLS * BATCH
    assert set(stored.values()) == {1}
    assert set(acknowledged) <= stored.keys() <= set(sent)


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_what_is_erased_is_in_no_file(endpoint: Endpoint) -> None:
    """Between the events of others, some of which are erased as well, so that SQLite moves rows about."""
    source = random.Random(5)
    devices = [Device(endpoint.url) for _ in range(8)]
    for _ in range(30):
        device = source.choice(devices)
        text = "".join(source.choices("abcdefgh", k=source.randint(10, 2_000)))
        events = [device.event(properties={"item_id": f"i-{device.install_id}", "text": text}) for _ in range(10)]
        assert device.send(events).status == 200
    gone, some, kept = devices[0], devices[1], devices[2]
    secret = some.event(messageId=random_id(), properties={"item_id": "a-very-secret-film"})
    some.send([some.event(), secret, some.event()])
    for device in devices[4:]:
        assert device.erase().status == 200
    assert gone.install_id.encode() in bytes_of(endpoint.data)
    assert gone.erase().status == 200
    assert some.erase([secret["messageId"]]).json == {"erased": 1}
    for where in (endpoint.data, endpoint.errors.parent):  # while it runs, and in its log
        found = bytes_of(where)
        for trace in (gone.install_id, gone.install_key, secret["messageId"], "a-very-secret-film"):
            assert trace.encode() not in found
            assert bytes.fromhex(gone.install_key) not in found
        assert kept.install_id.encode() in found
    assert endpoint.stop() == 0
    assert gone.install_id.encode() not in bytes_of(endpoint.data)
    assert len(endpoint.stored()) > 0


def test_what_somebody_else_keeps_in_the_log_is_wiped_later(endpoint: Endpoint) -> None:
    """A reader of the file keeps SQLite from emptying its write-ahead log; the erasure is done all the same."""
    device = Device(endpoint.url)
    device.send([device.event(properties={"item_id": "a-very-secret-film"})])
    with closing(sqlite3.connect(endpoint.data / "events.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM event").fetchone()
        assert device.erase().json == {"erased": 1}
        assert b"a-very-secret-film" in bytes_of(endpoint.data)
        reader.execute("COMMIT")
    other = Device(endpoint.url)
    assert other.send([other.event()]).status == 200
    assert b"a-very-secret-film" not in bytes_of(endpoint.data)


def test_told_to_stop_it_refuses_what_has_not_arrived(endpoint: Endpoint) -> None:
    device = Device(endpoint.url)
    host, port = endpoint.url.removeprefix("http://").split(":")
    head = "".join(f"{name}: {value}\r\n" for name, value in device.headers().items())
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(f"POST /v1/batch HTTP/1.1\r\nhost: x\r\n{head}content-length: 100\r\n\r\n{{".encode())
        wait_for(lambda: b"nearhand_requests_in_flight 1.0" in device.call("GET", "/metrics").content)
        started = time.monotonic()
        assert endpoint.stop() == 0
        assert time.monotonic() - started < 15  # not the 30 s that a body may take
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in answer
    assert b'"code":"shutting-down"' in answer


def test_told_to_stop_while_many_send_it_loses_nothing(endpoint: Endpoint) -> None:
    devices = [Device(endpoint.url) for _ in range(8)]
    batches = [[device.event() for _ in range(200)] for device in devices]
    sending = [
        Sending(lambda device=device, batch=batch: device.send(batch))  # type: ignore[misc]
        for device, batch in zip(devices, batches, strict=True)
    ]
    assert endpoint.stop() == 0
    stored = Counter(event["event_id"] for event in endpoint.stored())
    assert set(stored.values()) <= {1}
    for batch, request in zip(batches, sending, strict=True):
        said = request.said()
        if said is not None and said.status == 200:
            assert {event["messageId"] for event in batch} <= stored.keys()
        else:
            assert said is None or said.status == 503


def started_with(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nearhand_cloud", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def test_it_does_not_start_where_it_cannot_work(endpoint: Endpoint, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with closing(sqlite3.connect(other / "events.db")) as database:
        database.execute("CREATE TABLE something (else_ INTEGER)")
    port = endpoint.url.rpartition(":")[2]
    for arguments, problem in (
        (["--data", str(endpoint.data), "--port", "0"], "another endpoint uses this file"),
        (["--data", str(other), "--port", "0"], "is a database of something else"),
        (["--data", str(tmp_path / "new"), "--port", port], "choose another --host or --port"),
    ):
        done = started_with(*arguments, "--write-key", "test-write-key")
        assert done.returncode == 2
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("nearhand-cloud: ")
        assert problem in line
