"""What the tests of the sync share: an endpoint in memory, behind the transport's protocol, and a device."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nearhand.cipher import Cipher
from nearhand.events import Caps, Event, EventLog
from nearhand.monitoring import Meter
from nearhand.network import Answer, Call, Transport
from nearhand.privacy import PreferenceStore
from nearhand.profile import ProfileStore
from nearhand.sync import SyncConfig, Syncer, SyncReport
from nearhand.sync.identity import canonical
from nearhand.testing import Fault, FaultyTransport, ManualClock

KEY = "key-1"
URL = "https://events.test"
CONFIG = SyncConfig(URL, KEY, events_per_second=10**9)


class MemoryEndpoint:
    """The contract of the endpoint as a transport: what it would store, and all that it was sent.

    Attributes:
        stored: message id → the event as it came.
        seen: every message id that ever came, how often.
        refusals: message id → the code it is refused with.
    """

    def __init__(self) -> None:
        self.stored: dict[str, dict[str, Any]] = {}
        self.seen: Counter[str] = Counter()
        self.refusals: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        self.erased_ids: set[str] = set()
        self.erased_installs: set[str] = set()
        self.nonces: set[str] = set()
        self.features: tuple[str, list[Mapping[str, Any]]] | None = None
        self.largest = 512_000
        self.calls: list[Call] = []

    def send(self, call: Call) -> Answer:
        self.calls.append(call)
        if call.headers["authorization"] != "Basic " + base64.b64encode(f"{KEY}:".encode()).decode():
            return said(401, "write-key")
        path = call.url.removeprefix(f"{URL}/v1/").partition("?")[0]
        if path == "features":
            return self._features(call)
        assert call.body is not None
        body = gzip.decompress(call.body) if call.headers.get("content-encoding") == "gzip" else call.body
        if len(body) > self.largest:
            return said(413, "too-large")
        content = json.loads(body)
        return self._erase(call, content) if path == "erasures" else self._store(call, path, content)

    def close(self) -> None:
        pass

    def _store(self, call: Call, path: str, content: Any) -> Answer:
        batch = content["batch"] if path == "batch" else content
        install = batch[0]["anonymousId"] if path == "batch" else batch[0]["source"].rpartition(":")[2]
        if install in self.erased_installs:
            return said(403, "erased")
        if (
            self.keys.setdefault(install, call.headers["x-nearhand-install-key"])
            != (call.headers["x-nearhand-install-key"])
        ):
            return said(403, "install-key")
        accepted = duplicates = 0
        refused = []
        for index, message in enumerate(batch):
            name = message["messageId" if path == "batch" else "id"]
            self.seen[name] += 1
            if name in self.refusals:
                refused.append({"index": index, "message_id": name, "code": self.refusals[name], "problem": "no"})
            elif name in self.stored or name in self.erased_ids:
                duplicates += 1
            else:
                self.stored[name] = {**message, "install": install}
                accepted += 1
        return answered({"accepted": accepted, "duplicates": duplicates, "refused": refused})

    def _erase(self, call: Call, request: dict[str, Any]) -> Answer:
        signature = request.pop("signature")
        install = request["install_id"]
        if request["nonce"] in self.nonces:
            return said(409, "replayed")
        if install in self.erased_installs:
            return said(404, "unknown-install")
        self.keys.setdefault(install, call.headers["x-nearhand-install-key"])  # its first batch was overtaken
        if hmac.new(bytes.fromhex(self.keys[install]), canonical(request), hashlib.sha256).hexdigest() != signature:
            return said(403, "signature")
        self.nonces.add(request["nonce"])
        whole = request["scope"] == "install"
        ids = [name for name, message in self.stored.items() if message["install"] == install]
        if whole:
            self.erased_installs.add(install)
            del self.keys[install]
        else:
            self.erased_ids |= set(request["event_ids"])
            ids = [name for name in ids if name in request["event_ids"]]
        for name in ids:
            del self.stored[name]
        return answered({"erased": len(ids)})

    def _features(self, call: Call) -> Answer:
        if self.features is None:
            return said(404, "no-features")
        etag, features = self.features
        if call.headers.get("if-none-match") == etag:
            return Answer(304, {"etag": etag}, b"")
        return Answer(200, {"etag": etag}, json.dumps({"features": features}).encode())


def answered(content: object, status: int = 200, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, json.dumps(content).encode())


def said(status: int, code: str = "code", **headers: str) -> Answer:
    return answered({"code": code, "problem": "as the test asked", "remedy": "expect it"}, status, **headers)


class Device:
    """The parts of a profile that take part in a sync, on a clock that only the test and its waits move."""

    def __init__(
        self,
        folder: Path,
        transport: Transport,
        *,
        config: SyncConfig = CONFIG,
        clock: ManualClock | None = None,
        cipher: Cipher | None = None,
        caps: Caps = Caps(),  # noqa: B008 - frozen
    ) -> None:
        self.clock = ManualClock() if clock is None else clock
        self.meter = Meter(self.clock)
        self.log = EventLog(folder / "events.db", clock=self.clock, durability="process", cipher=cipher, caps=caps)
        self.store = ProfileStore(folder / "profile.db", durability="process", cipher=cipher)
        self.preferences = PreferenceStore(self.store, self.clock, self.meter)
        self.pushed: dict[str, tuple[list[float], float]] = {}
        self.waits: list[float] = []
        self.syncer = Syncer(
            config,
            log=self.log,
            store=self.store,
            preferences=self.preferences,
            push=self._push,
            event_types={},
            lock=folder / "sync.lock",
            clock=self.clock,
            meter=self.meter,
            transport=transport,
            pause=self._pause,
            draw=lambda: 0.5,
        )

    def consent(self, level: str) -> None:
        self.preferences.change(consent=level)

    def sync(self, cancelled: threading.Event | None = None) -> SyncReport:
        self.waits.append(0.0)
        return self.syncer.sync(cancelled)

    def close(self) -> None:
        self.syncer.close()
        self.log.close()
        self.store.close()

    def _push(self, name: str, values: Any, *, ttl_seconds: float, source: str) -> None:
        self.pushed[name] = (list(values), ttl_seconds)

    def _pause(self, stop: threading.Event, seconds: float) -> None:
        self.waits[-1] += seconds
        self.clock.advance(round(seconds * 1000))


@contextmanager
def device(folder: Path, transport: Transport, **options: Any) -> Iterator[Device]:
    made = Device(folder, transport, **options)
    try:
        yield made
    finally:
        made.close()


def record(phone: Device, count: int = 1, **fields: Any) -> list[str]:
    """The identifiers of new events."""
    sendable = phone.preferences.current.consent == "sync"
    events = [Event("item_viewed", "m_1", **fields) for _ in range(count)]
    return [event.event_id for event in phone.log.append_many(events, sendable=sendable)]


def bodies(wire: FaultyTransport, path: str = "batch") -> list[Any]:
    found = [call for call in wire.calls if call.url.startswith(f"{URL}/v1/{path}")]
    return [json.loads(gzip.decompress(call.body) if path != "erasures" else call.body) for call in found if call.body]


def always(answer: Answer) -> Any:
    return lambda number, call: Fault(deliveries=0, answer=answer)
