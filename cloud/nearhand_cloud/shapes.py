"""The two shapes that events come in, Segment's and CloudEvents, and the one form that both are turned into."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from nearhand.errors import EventError
from nearhand.events import EVENT_TYPES, RESET, Event, validate
from nearhand.events.event import MAX_EVENT_BYTES
from nearhand_cloud.documents import whole
from nearhand_cloud.events import StoredEvent
from nearhand_cloud.refusal import RefusalError

MAX_EVENTS = 1_000
MAX_BODY_BYTES = 512_000

SOURCE = "urn:nearhand:install:"
TYPE = "org.nearhand.event."

#: Every code that one event may be refused with, and when it is.
CODES: Mapping[str, str] = {
    "shape": "the event is no object, or of another type than track",
    "install": "the install id is missing, is not 32 hexadecimal digits, or is not that of the batch",
    "message-id": "the id of the event is missing or malformed",
    "event-type": "the type of the event is missing, malformed or reserved",
    "item-id": "the item is malformed, or the type needs one and there is none",
    "timestamp": "the time is missing or not RFC 3339 with a time zone",
    "context": "the context is not flat, or has a value that is not allowed",
    "properties": "a property is missing, malformed or nested too deeply",
    "nearhand": "what the SDK adds (sequence, recorded_at, utc_offset_minutes, epoch) is missing or malformed",
    "recommendation-id": "the recommendation is malformed",
    "user": "the event names a user",
    "event-size": f"the event is larger than {MAX_EVENT_BYTES:,} bytes as JSON",
}
_CODES = {
    "event_id": "message-id",
    "event": "event-type",
    "item_id": "item-id",
    "recommendation_id": "recommendation-id",
    "context": "context",
    "properties": "properties",
}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_ID = re.compile("[0-9a-f]{32}")  # as nearhand.ids.is_id
_INT64 = 2**63


@dataclass(frozen=True, slots=True)
class Refused:
    """One event of a batch that is not stored: its place, its id if it has one, and why."""

    index: int
    message_id: str | None
    code: str
    problem: str


@dataclass(frozen=True, slots=True)
class Intake:
    """What a body has.

    Attributes:
        install_id: whose events they are; None if none names an install.
        events: those that are well formed, in their order.
        refused: the others.
    """

    install_id: str | None
    events: Sequence[StoredEvent]
    refused: Sequence[Refused]


class _BadEventError(Exception):
    """One event is malformed."""

    def __init__(self, code: str, problem: str) -> None:
        super().__init__(problem)
        self.code = code


def read_batch(body: object) -> Intake:
    """The events of a body in Segment's shape.

    Raises:
        RefusalError: it is not of this shape as a whole. What is wrong with one event is told in the Intake.
    """
    if not isinstance(body, dict) or not isinstance(body.get("batch"), list):
        raise RefusalError(
            422, "shape", 'the body is not an object with a list "batch"', 'send {"batch": [...], "sentAt": "..."}'
        )
    sent_at = body.get("sentAt")
    if sent_at is not None and not (isinstance(sent_at, str) and _RFC_3339.fullmatch(sent_at)):
        raise RefusalError(422, "shape", "sentAt is not an RFC 3339 time", 'send such as "2026-11-27T19:00:00.000Z"')
    return _intake(body["batch"], "messageId", _segment_install, _from_segment)


def read_cloudevents(events: object) -> Intake:
    """The events of a body in the JSON batch format of CloudEvents 1.0. Raises as :func:`read_batch`."""
    if not isinstance(events, list):
        raise RefusalError(422, "shape", "the body is not a list", "send a list of CloudEvents")
    return _intake(events, "id", _cloudevent_install, _from_cloudevent)


def _intake(
    batch: Sequence[object],
    id_field: str,
    install_of: Callable[[Mapping[str, Any]], str],
    read: Callable[[Mapping[str, Any]], StoredEvent],
) -> Intake:
    if not 1 <= len(batch) <= MAX_EVENTS:
        raise RefusalError(
            413 if batch else 422,
            "too-many" if batch else "shape",
            f"the batch has {len(batch):,} events",
            f"send 1 to {MAX_EVENTS:,} at once",
        )
    install: str | None = None
    events: list[StoredEvent] = []
    refused: list[Refused] = []
    for index, raw in enumerate(batch):
        try:
            if not isinstance(raw, dict):
                raise _BadEventError("shape", f"{reprlib.repr(raw)} is not an object")
            owner = install_of(raw)
            install = install or owner
            if owner != install:
                raise _BadEventError("install", "is of another install than the events before it")
            events.append(read(raw))
        except _BadEventError as bad:
            refused.append(Refused(index, _named(raw, id_field), bad.code, _line(str(bad))))
        except EventError as error:
            refused.append(
                Refused(index, _named(raw, id_field), _code(error, raw), _line(f"{error.place}: {error.problem}"))
            )
    return Intake(install, events, refused)


def _named(raw: object, id_field: str) -> str | None:
    """The event's id as it came, if an answer can hold it."""
    value = raw.get(id_field) if isinstance(raw, dict) else None
    if not isinstance(value, str) or len(value) > 256:
        return None
    return None if re.search("[\ud800-\udfff]", value) else value


def _line(problem: str) -> str:
    return " ".join(problem.encode(errors="replace").decode().split())[:400]


def _segment_install(raw: Mapping[str, Any]) -> str:
    return _install(raw.get("anonymousId"), "anonymousId")


def _from_segment(raw: Mapping[str, Any]) -> StoredEvent:
    if raw.get("type") != "track":
        raise _BadEventError("shape", f"type is {reprlib.repr(raw.get('type'))}, not 'track'")
    if raw.get("userId") is not None:
        raise _BadEventError("user", "userId is there: no identifier of a user is kept")
    properties = _mapping(raw.get("properties"), "properties")
    item_id = properties.pop("item_id", None)
    context = _mapping(raw.get("context"), "context")
    added = context.pop("nearhand", None)
    if not isinstance(added, dict):
        raise _BadEventError("nearhand", "context.nearhand is not an object")
    return _stored(
        event_id=raw.get("messageId"),
        event=raw.get("event"),
        item_id=item_id,
        timestamp=_milliseconds(raw.get("timestamp"), "timestamp", "timestamp"),
        recorded_at=_whole(added.get("recorded_at"), "recorded_at", -_INT64, _INT64 - 1),
        sequence=added.get("sequence"),
        utc_offset_minutes=added.get("utc_offset_minutes"),
        epoch=added.get("epoch"),
        recommendation_id=added.get("recommendation_id"),
        context=context,
        properties=properties,
    )


def _cloudevent_install(raw: Mapping[str, Any]) -> str:
    source = raw.get("source")
    if not isinstance(source, str) or not source.startswith(SOURCE):
        raise _BadEventError("install", f"source is {reprlib.repr(source)}, not {SOURCE}ID")
    return _install(source.removeprefix(SOURCE), "source")


def _from_cloudevent(raw: Mapping[str, Any]) -> StoredEvent:
    if raw.get("specversion") != "1.0":
        raise _BadEventError("shape", f"specversion is {reprlib.repr(raw.get('specversion'))}, not '1.0'")
    if raw.get("datacontenttype") not in (None, "application/json"):
        raise _BadEventError("shape", "datacontenttype is not application/json")
    kind = raw.get("type")
    if not isinstance(kind, str) or not kind.startswith(TYPE):
        raise _BadEventError("event-type", f"type is {reprlib.repr(kind)}, not {TYPE}NAME")
    data = raw.get("data")
    if not isinstance(data, dict):
        raise _BadEventError("shape", "data is not an object")
    if data.get("user") is not None:
        raise _BadEventError("user", "data.user is there: no identifier of a user is kept")
    return _stored(
        event_id=raw.get("id"),
        event=kind.removeprefix(TYPE),
        item_id=data.get("item_id"),
        timestamp=_milliseconds(raw.get("time"), "time", "timestamp"),
        recorded_at=_milliseconds(raw.get("nearhandrecordedat"), "nearhandrecordedat", "nearhand"),
        sequence=raw.get("nearhandsequence"),
        utc_offset_minutes=raw.get("nearhandoffset"),
        epoch=raw.get("nearhandepoch"),
        recommendation_id=raw.get("nearhandrecommendation"),
        context=_mapping(data.get("context"), "context"),
        properties=_mapping(data.get("properties"), "properties"),
    )


def _stored(
    *,
    event_id: Any,
    event: Any,
    item_id: Any,
    timestamp: int,
    recorded_at: int,
    sequence: object,
    utc_offset_minutes: object,
    epoch: object,
    recommendation_id: Any,
    context: dict[str, Any],
    properties: dict[str, Any],
) -> StoredEvent:
    """The one form, after the checks that the SDK makes of every event it records."""
    checked = Event(
        event,
        item_id,
        context=context,
        properties=properties,
        recommendation_id=recommendation_id,
        event_id=event_id,
    )
    if checked.event_id is None:
        raise _BadEventError("message-id", "the event has no id")
    if checked.event in EVENT_TYPES:
        validate(checked)
    elif checked.event == RESET:
        raise _BadEventError("event-type", f"{RESET} is a marker of the device's own log")
    texts = checked.texts
    return StoredEvent(
        event_id=checked.event_id,
        event=checked.event,
        item_id=checked.item_id,
        timestamp=timestamp,
        recorded_at=recorded_at,
        utc_offset_minutes=_whole(utc_offset_minutes, "utc_offset_minutes", -1439, 1439),
        sequence=_whole(sequence, "sequence", 0, _INT64 - 1),
        epoch=_whole(epoch, "epoch", 0, _INT64 - 1),
        recommendation_id=checked.recommendation_id,
        context=texts["context"],
        properties=texts["properties"],
    )


def _code(error: EventError, raw: object) -> str:
    """The word for what the SDK's check of an event says."""
    if error.field in ("context", "properties") and _bytes(raw) > MAX_EVENT_BYTES:
        return "event-size"
    return _CODES[re.split(r"[.\[]", error.field, maxsplit=1)[0]]


def _bytes(raw: object) -> int:
    try:
        return len(json.dumps(raw, ensure_ascii=False).encode(errors="replace"))
    except RecursionError:  # then it is not the size
        return 0


def _install(value: object, place: str) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise _BadEventError(
            "install", f"{place} has {reprlib.repr(value)}, not an install id of 32 hexadecimal digits"
        )
    return value


def _mapping(value: object, name: str) -> dict[str, Any]:
    """A copy of an object, an empty one if it is not there."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _BadEventError(name, f"{name} is {reprlib.repr(value)}, not an object")
    return dict(value)


def _whole(value: object, name: str, low: int, high: int) -> int:
    number = whole(value)
    if number is None or not low <= number <= high:
        raise _BadEventError("nearhand", f"{name} is {reprlib.repr(value)}, not a whole number from {low} to {high}")
    return number


def _milliseconds(value: object, name: str, code: str) -> int:
    """An RFC 3339 time as milliseconds since the Unix epoch; what is finer is cut off."""
    if isinstance(value, str) and _RFC_3339.fullmatch(value):
        try:
            return (datetime.fromisoformat(value.upper()) - _EPOCH) // _MILLISECOND
        except (ValueError, OverflowError):  # such as the 30th of February
            pass
    raise _BadEventError(code, f"{name} is {reprlib.repr(value)}, not a time such as 2026-11-27T19:00:00.000Z")
