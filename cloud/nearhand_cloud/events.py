"""An event as the endpoint keeps it: the same whatever shape it came in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event of an install; the fields are those of :class:`nearhand.events.RecordedEvent` without ``user``.

    ``timestamp`` and ``recorded_at`` are milliseconds since the Unix epoch by the device's clock; ``context`` and
    ``properties`` are JSON texts with sorted keys.
    """

    event_id: str
    event: str
    item_id: str | None
    timestamp: int
    recorded_at: int
    utc_offset_minutes: int
    sequence: int
    epoch: int
    recommendation_id: str | None
    context: str
    properties: str

    def record(self, install_id: str, received_at: int) -> dict[str, Any]:
        """What a consumer reads, ``received_at`` being milliseconds by the endpoint's clock."""
        return {
            "install_id": install_id,
            "event_id": self.event_id,
            "event": self.event,
            "item_id": self.item_id,
            "timestamp": self.timestamp,
            "recorded_at": self.recorded_at,
            "utc_offset_minutes": self.utc_offset_minutes,
            "sequence": self.sequence,
            "epoch": self.epoch,
            "recommendation_id": self.recommendation_id,
            "context": json.loads(self.context),
            "properties": json.loads(self.properties),
            "received_at": received_at,
        }


def install_digest(install_id: str) -> bytes:
    """What is left of an install's id once it was erased: its SHA-256."""
    return sha256(install_id.encode()).digest()


def message_digest(event_id: str) -> bytes:
    """What is left of an event's id once it was erased: 128 bits of its SHA-256."""
    return sha256(event_id.encode()).digest()[:16]
