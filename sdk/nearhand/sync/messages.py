"""An event as it leaves the device: Segment's shape, or CloudEvents 1.0. What is not on the list stays."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from nearhand.events import EVENT_TYPES, WELL_KNOWN, EventSchema, RecordedEvent
from nearhand.sync.config import SyncConfig

MAX_EVENT_BYTES = 32_768
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class UnsendableError(Exception):
    """An event that no batch can hold; its text is the reason."""


class Writer:
    """Writes events in the configured shape.

    Args:
        event_types: those that the bundle declares.

    Attributes:
        path: where batches go; content_type: what they are.
    """

    def __init__(self, config: SyncConfig, event_types: Mapping[str, EventSchema]) -> None:
        self._is_segment = config.format == "segment"
        self.path = "/v1/batch" if self._is_segment else "/v1/events"
        self.content_type = "application/json" if self._is_segment else "application/cloudevents-batch+json"
        self._context = frozenset(config.context)
        self._always = None if config.properties is None else frozenset(config.properties)
        self._declared = {
            kind: frozenset(schema.properties) | frozenset(WELL_KNOWN.get(kind, ()))
            for kind, schema in {**EVENT_TYPES, **event_types}.items()
        }

    def message(self, event: RecordedEvent, install_id: str, left_out: Counter[str]) -> bytes:
        """One event of a batch.

        Args:
            left_out: counts the names of what does not leave.

        Raises:
            UnsendableError: it is too large for the endpoint, or its time is in no year that a date can have.
        """
        allowed = self._declared.get(event.event, frozenset()) if self._always is None else self._always
        properties = _allowed(event.properties, allowed - {"item_id"}, left_out)
        context = _allowed(event.context, self._context - {"nearhand"}, left_out)
        shape = self._segment if self._is_segment else self._cloud_event
        text = json.dumps(shape(event, install_id, properties, context), ensure_ascii=False, separators=(",", ":"))
        content = text.encode()
        if len(content) > MAX_EVENT_BYTES:
            raise UnsendableError("too large")
        return content

    def body(self, messages: Sequence[bytes], sent_at: int) -> bytes:
        """The batch of some events."""
        joined = b",".join(messages)
        if not self._is_segment:
            return b"[%b]" % joined
        try:
            head = f'"sentAt":"{_time(sent_at)}",'
        except UnsendableError:
            head = ""  # the clock says a year that no date has
        return b'{%b"batch":[%b]}' % (head.encode(), joined)

    def _segment(
        self, event: RecordedEvent, install_id: str, properties: dict[str, Any], context: dict[str, Any]
    ) -> dict[str, Any]:
        own = {
            "sequence": event.sequence,
            "recorded_at": event.recorded_at,
            "utc_offset_minutes": event.utc_offset_minutes,
            "epoch": event.epoch,
            **_optional("recommendation_id", event.recommendation_id),
        }
        return {
            "type": "track",
            "messageId": event.event_id,
            "anonymousId": install_id,
            "event": event.event,
            "timestamp": _time(event.timestamp),
            "properties": {**_optional("item_id", event.item_id), **properties},
            "context": {**context, "nearhand": own},
        }

    def _cloud_event(
        self, event: RecordedEvent, install_id: str, properties: dict[str, Any], context: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            "specversion": "1.0",
            "id": event.event_id,
            "source": f"urn:nearhand:install:{install_id}",
            "type": f"org.nearhand.event.{event.event}",
            "time": _time(event.timestamp),
            "datacontenttype": "application/json",
            "nearhandsequence": event.sequence,
            "nearhandrecordedat": _time(event.recorded_at),
            "nearhandoffset": event.utc_offset_minutes,
            "nearhandepoch": event.epoch,
            **_optional("nearhandrecommendation", event.recommendation_id),
            "data": {**_optional("item_id", event.item_id), "properties": properties, "context": context},
        }


def _allowed(fields: Mapping[str, Any], names: frozenset[str], left_out: Counter[str]) -> dict[str, Any]:
    left_out.update(name for name in fields if name not in names)
    return {name: value for name, value in fields.items() if name in names}


def _optional(name: str, value: str | None) -> dict[str, str]:
    return {} if value is None else {name: value}


def _time(at_ms: int) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    try:
        moment = _EPOCH + timedelta(milliseconds=at_ms)
    except OverflowError:
        raise UnsendableError("time") from None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
