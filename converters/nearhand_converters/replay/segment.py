"""Segment's JSON lines as events: one call of its tracking API on each line.

``messageId`` becomes ``event_id``, ``receivedAt`` ``recorded_at``, ``context.timezone`` the offset of local time; the
user is ``userId``, else ``anonymousId``. Names are those of Segment's e-commerce and mobile specifications.

What a device with Nearhand sends is a call whose context has an object ``nearhand``: it has the names, the item and the
times of the log that it comes from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from nearhand.errors import UsageError
from nearhand_converters.data import parse_timestamp
from nearhand_converters.replay.events import Reading, event_rows, event_tables
from nearhand_converters.replay.files import Source
from nearhand_converters.replay.rows import Refusals, Rows, Table
from nearhand_converters.replay.zones import Zone, read_zone

TRACKED: Mapping[str, str] = {
    "Product Viewed": "item_viewed",
    "Product Clicked": "item_clicked",
    "Product Added": "item_saved",
    "Product Added to Wishlist": "item_saved",
    "Order Completed": "item_purchased",
    "Products Searched": "search",
    "Application Opened": "session_started",
    "Push Notification Tapped": "notification_opened",
}
"""Segment's name of a track call → type of event. ``Order Completed`` is one event for each of its products."""
CALLS = ("track", "page", "screen", "identify", "group", "alias")
_VIEWS = ("page", "screen")
# What is kept of a call's context: event key → Segment's path. The rest, such as ip and userAgent, is personal.
_CONTEXT = {
    "locale": ("locale",),
    "timezone": ("timezone",),
    "device": ("device", "type"),
    "os": ("os", "name"),
    "app_version": ("app", "version"),
}
_TIMES = ("timestamp", "originalTimestamp", "sentAt", "receivedAt")


def is_call(record: Mapping[str, Any]) -> bool:
    """Whether a JSON object looks like a call of Segment's tracking API."""
    return record.get("type") in CALLS and ("messageId" in record or "anonymousId" in record or "userId" in record)


def read_calls(
    source: Source, reading: Reading, refusals: Refusals, tracked: Mapping[str, str] = TRACKED
) -> Iterator[tuple[Table, int]]:
    """Tables of events, as :func:`nearhand_converters.replay.events.read_events` gives them.

    Calls that stand for no event (identify, group, alias, and track calls whose name is not in ``tracked``) are counted
    in ``refusals`` by their name, and are no error.

    Args:
        tracked: name of a track call → type of event.

    Raises:
        UsageError: the source is not JSON lines.
    """
    if source.kind != "jsonl":
        raise UsageError("is not JSON lines", place=str(source.files[0]), remedy="Segment's calls are a .jsonl file")
    zones: dict[str, Zone | None] = {}
    return event_tables(
        (_rows(rows, records, reading, tracked, zones) for rows, records in source.records(refusals)), reading
    )


def _rows(
    rows: Rows,
    records: Sequence[Mapping[str, Any]],
    reading: Reading,
    tracked: Mapping[str, str],
    zones: dict[str, Zone | None],
) -> Rows:
    numbers: list[int] = []
    found: list[dict[str, Any]] = []
    for number, record in zip(rows.numbers.tolist(), records, strict=True):
        for event in _events(record, tracked, rows.refusals):
            numbers.append(number)
            found.append(event if "utc_offset_minutes" in event else event | _offset(event, zones))
    made = Rows({}, np.array(numbers, np.int64), rows.source, rows.unit, rows.done, rows.refusals)
    return event_rows(made, found, reading)


def _events(call: Mapping[str, Any], tracked: Mapping[str, str], refusals: Refusals) -> Iterator[dict[str, Any]]:
    kind, name = call.get("type"), call.get("event")
    context = call.get("context")
    if kind == "track" and isinstance(context, dict) and isinstance(context.get("nearhand"), dict):
        yield _of_a_device(call, context)
        return
    if kind == "track" and isinstance(name, str) and name in tracked:
        event = tracked[name]
    elif kind in _VIEWS:
        event = "navigated"
    else:
        refusals.counts[f"no event: {name if kind == 'track' else kind}"] += 1
        return
    properties = call.get("properties")
    content = properties if isinstance(properties, dict) else {}
    made = {
        "event_id": call.get("messageId"),
        "user": call.get("userId") or call.get("anonymousId"),
        "event": event,
        "timestamp": next((call[name] for name in _TIMES if call.get(name) is not None), None),
        "recorded_at": call.get("receivedAt"),
        "context": _context(context),
    }
    if kind in _VIEWS:
        yield made | {"properties": {**content, "name": name if name is not None else call.get("name")}}
        return
    products = content.get("products")
    if event != "item_purchased" or not isinstance(products, list):
        yield made | {"item_id": _item_id(content), "properties": content}
        return
    shared = {key: value for key, value in content.items() if key != "products"}
    for place, product in enumerate(products):
        of_product = product if isinstance(product, dict) else {}
        event_id = None if made["event_id"] is None else f"{made['event_id']}:{place}"
        item = {"event_id": event_id, "item_id": _item_id(of_product), "properties": {**shared, **of_product}}
        yield made | item


def _of_a_device(call: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, Any]:
    """The event that :mod:`nearhand.sync.messages` has written."""
    properties, own = call.get("properties"), context["nearhand"]
    content = dict(properties) if isinstance(properties, dict) else {}
    return {
        "event_id": call.get("messageId"),
        "user": call.get("anonymousId"),
        "event": call.get("event"),
        "item_id": content.pop("item_id", None),
        "timestamp": call.get("timestamp"),
        "recorded_at": _date(own.get("recorded_at")),
        "utc_offset_minutes": own.get("utc_offset_minutes"),
        "epoch": own.get("epoch"),
        "recommendation_id": own.get("recommendation_id"),
        "properties": content,
        "context": {name: value for name, value in context.items() if name != "nearhand"},
    }


def _date(at: Any) -> Any:
    """Milliseconds as the text of a date, as all other times of a call are."""
    if type(at) is not int:
        return at
    try:
        return (datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=at)).isoformat()
    except OverflowError:
        return at


def _item_id(properties: Mapping[str, Any]) -> Any:
    return next((properties[name] for name in ("product_id", "sku") if properties.get(name) is not None), None)


def _context(context: Any) -> dict[str, Any]:
    kept = {}
    for key, path in _CONTEXT.items():
        value = context
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, str | int | float):
            kept[key] = value
    return kept


def _offset(event: Mapping[str, Any], zones: dict[str, Zone | None]) -> dict[str, int]:
    """``utc_offset_minutes`` by the call's time zone; nothing where it names none, or its time is malformed."""
    name = event["context"].get("timezone")
    if not isinstance(name, str):
        return {}
    if name not in zones:
        try:
            zones[name] = Zone(read_zone(name))
        except UsageError:
            zones[name] = None  # of the caller's making, and of no weight: as if it were not there
    zone = zones[name]
    if zone is None:
        return {}
    try:
        at = parse_timestamp(str(event["timestamp"]))
    except ValueError:
        return {}  # refused with its line when the times are read
    return {"utc_offset_minutes": int(zone.offset_minutes(np.array([at], np.int64))[0])}
