"""Devices that send as fast as they are answered, over connections that are kept."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Sequence
from http.client import HTTPConnection
from os import urandom
from typing import Any

from nearhand.ids import random_id
from tests.cloud.device import TIME, TIME_MS
from tests.cloud.endpoint import WRITE_KEY


class Sender:
    """One install with a connection of its own, and bodies made beforehand.

    Args:
        url: where the endpoint listens.
    """

    def __init__(self, url: str) -> None:
        self._connection = HTTPConnection(url.removeprefix("http://"), timeout=60)
        self._install_id = random_id()
        self._sequence = 0
        self._headers = {
            "authorization": "Basic " + base64.b64encode(f"{WRITE_KEY}:".encode()).decode(),
            "content-type": "application/json",
            "x-nearhand-install-key": urandom(32).hex(),
        }

    def body(self, events: int) -> bytes:
        """A batch of new events."""
        return json.dumps({"sentAt": TIME, "batch": [self._event() for _ in range(events)]}).encode()

    def send(self, body: bytes) -> tuple[float, dict[str, Any]]:
        """Send a body: the seconds to the answer, and the answer."""
        started = time.perf_counter()
        self._connection.request("POST", "/v1/batch", body, self._headers)
        response = self._connection.getresponse()
        content = response.read()
        assert response.status == 200, content
        return time.perf_counter() - started, json.loads(content)

    def close(self) -> None:
        self._connection.close()

    def _event(self) -> dict[str, Any]:
        self._sequence += 1
        added = {"sequence": self._sequence, "recorded_at": TIME_MS, "utc_offset_minutes": 60, "epoch": 0}
        return {
            "type": "track",
            "messageId": random_id(),
            "anonymousId": self._install_id,
            "event": "item_viewed",
            "timestamp": TIME,
            "properties": {"item_id": f"m_{self._sequence % 500}", "seconds": self._sequence % 90},
            "context": {"device": "phone", "nearhand": added},
        }


def send_all(senders: Sequence[Sender], bodies: Sequence[Sequence[bytes]]) -> list[float]:
    """All senders at once, each its bodies one after the other: the seconds of each request."""
    seconds: list[float] = []

    def run(sender: Sender, own: Sequence[bytes]) -> None:
        seconds.extend(sender.send(body)[0] for body in own)

    threads = [threading.Thread(target=run, args=pair) for pair in zip(senders, bodies, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seconds) == sum(map(len, bodies))
    return seconds
