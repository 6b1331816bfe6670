"""What a device sends, made by hand."""

from __future__ import annotations

import base64
import gzip
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import urllib3

from nearhand.ids import random_id
from tests.cloud.endpoint import SERVER_KEY, WRITE_KEY

TIME = "2026-11-27T18:59:00.123Z"
TIME_MS = 1_795_805_940_123


@dataclass
class Said:
    """An answer of the endpoint."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


@dataclass
class Device:
    """An install, and what it sends to an endpoint.

    Attributes:
        url: where the endpoint listens.
    """

    url: str
    install_id: str = field(default_factory=random_id)
    install_key: str = field(default_factory=lambda: random_id() + random_id())
    write_key: str = WRITE_KEY
    sequence: int = 0

    def __post_init__(self) -> None:
        self._pool = urllib3.PoolManager(retries=False, timeout=30)

    def headers(self, **more: str) -> dict[str, str]:
        """Of a request; ``content_type`` stands for ``content-type``."""
        return {
            "authorization": "Basic " + base64.b64encode(f"{self.write_key}:".encode()).decode(),
            "content-type": "application/json",
            "x-nearhand-install-key": self.install_key,
            **{name.replace("_", "-"): value for name, value in more.items()},
        }

    def event(self, **changes: Any) -> dict[str, Any]:
        """A valid event in Segment's shape, with changes."""
        self.sequence += 1
        return {
            "type": "track",
            "messageId": random_id(),
            "anonymousId": self.install_id,
            "event": "item_viewed",
            "timestamp": TIME,
            "properties": {"item_id": f"m_{self.sequence}", "seconds": 41},
            "context": {
                "device": "phone",
                "nearhand": {
                    "sequence": self.sequence,
                    "recorded_at": TIME_MS,
                    "utc_offset_minutes": 60,
                    "epoch": 0,
                    "recommendation_id": "r_1",
                },
            },
            **changes,
        }

    def send(self, events: list[Any], *, compressed: bool = False, **headers: str) -> Said:
        """A batch in Segment's shape."""
        body = json.dumps({"sentAt": TIME, "batch": events}).encode()
        if compressed:
            body, headers = gzip.compress(body), {"content_encoding": "gzip", **headers}
        return self.call("POST", "/v1/batch", body, **headers)

    def erase(self, event_ids: list[str] | None = None, *, nonce: str | None = None, key: str | None = None) -> Said:
        """An erasure of everything, or of some events."""
        fields: dict[str, Any] = {"install_id": self.install_id, "nonce": nonce or random_id(), "scope": "install"}
        if event_ids is not None:
            fields |= {"scope": "events", "event_ids": event_ids}
        message = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        signature = hmac.digest(bytes.fromhex(key or self.install_key), message, "sha256").hex()
        return self.call("POST", "/v1/erasures", json.dumps({**fields, "signature": signature}).encode())

    def features(self, **headers: str) -> Said:
        """What the backend has pushed."""
        return self.call("GET", f"/v1/features?install_id={self.install_id}", None, **headers)

    def push(self, features: list[Any], key: str = SERVER_KEY) -> Said:
        """What the backend does."""
        body = json.dumps({"features": features}).encode()
        path = f"/v1/installs/{self.install_id}/features"
        return self.call("PUT", path, body, authorization=f"Bearer {key}")

    def again(self) -> Device:
        """The same install over a connection of its own."""
        return replace(self)

    def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Said:
        """Any request."""
        found = self._pool.request(method, self.url + path, body=body, headers=self.headers(**headers))
        return Said(found.status, {name.lower(): value for name, value in found.headers.items()}, found.data)


def as_cloudevent(event: dict[str, Any]) -> dict[str, Any]:
    """The same event as :meth:`Device.event` makes it, as a CloudEvent."""
    properties = dict(event["properties"])
    context = dict(event["context"])
    added = context.pop("nearhand")
    item_id = properties.pop("item_id")
    return {
        "specversion": "1.0",
        "id": event["messageId"],
        "source": f"urn:nearhand:install:{event['anonymousId']}",
        "type": f"org.nearhand.event.{event['event']}",
        "time": event["timestamp"],
        "datacontenttype": "application/json",
        "data": {"item_id": item_id, "properties": properties, "context": context},
        "nearhandsequence": added["sequence"],
        "nearhandrecordedat": TIME,
        "nearhandoffset": added["utc_offset_minutes"],
        "nearhandepoch": added["epoch"],
        "nearhandrecommendation": added["recommendation_id"],
    }
