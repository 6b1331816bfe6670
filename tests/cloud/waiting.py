"""What tests do while an endpoint is in the middle of something."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from tests.cloud.device import Device, Said


class Sending:
    """A request in a thread of its own, whose connection may break."""

    def __init__(self, call: Callable[[], Said]) -> None:
        self._call = call
        self._said: Said | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether it was answered, or the connection broke."""
        return not self._thread.is_alive()

    def said(self) -> Said | None:
        """The answer, when there is one; None: the connection broke."""
        self._thread.join()
        return self._said

    def _run(self) -> None:
        with suppress(HTTPError):
            self._said = self._call()


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Return as soon as something is the case."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def until_accepted(device: Device, events: list[Any], seconds: float = 60.0) -> Said:
    """Send the same batch until it is accepted, as a device does: 503 and a broken connection are tried again."""
    deadline = time.monotonic() + seconds
    while True:
        said = None
        with suppress(urllib3.exceptions.HTTPError):
            said = device.send(events)
        if said is not None and said.status != 503:
            return said
        assert time.monotonic() < deadline, said
        time.sleep(0.05 if said is None else min(0.2, float(said.headers["retry-after"])))
