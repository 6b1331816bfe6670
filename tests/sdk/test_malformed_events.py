"""Malformed events at the public door: each is refused by its field, with what to do, and none is stored."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import pytest

from nearhand.errors import EventError
from nearhand.events import EVENT_TYPES, RESET, Event, EventLog, EventSchema, event_from_json, recorded_from_json
from nearhand.testing.clock import ManualClock

NAN, INFINITY = math.nan, math.inf
END_MS = int(datetime(2200, 1, 1, tzinfo=UTC).timestamp()) * 1000
DECLARED = {
    "film_rated": EventSchema(item=True, properties={"stars": "number", "review": "text", "spoiler": "boolean"}),
    "trailer_played": EventSchema(item=False),
}


def viewed(**fields: Any) -> Event:
    return Event("item_viewed", **{"item_id": "m_1", **fields})


def search(**properties: Any) -> Event:
    return Event("search", properties={"query": "noir", **properties})


def rated(**properties: Any) -> Event:
    return Event("film_rated", item_id="m_1", properties={"stars": 4, "review": "", "spoiler": False, **properties})


def nested(levels: int) -> dict[str, Any]:
    return {"a": nested(levels - 1)} if levels > 1 else {}


def endless() -> dict[str, Any]:
    content: dict[str, Any] = {}
    content["a"] = content
    return content


# name → (the path of the field · a piece of the remedy · what makes the event)
Case = tuple[str, str, Callable[[], Event]]

TYPES: dict[str, Case] = {
    "type: a slip": ("event", "did you mean 'item_viewed'?", lambda: Event("item_veiwed", item_id="m_1")),
    "type: a slip of a declared one": ("event", "did you mean 'trailer_played'?", lambda: Event("trailer_plaid")),
    "type: nothing like it": ("event", "use one of item_viewed, item_clicked", lambda: Event("zzz")),
    "type: nothing like it, the declared ones": ("event", "film_rated, trailer_played;", lambda: Event("zzz")),
    "type: how to get one": ("event", "has to be declared in the bundle", lambda: Event("zzz")),
    "type: wrong case": ("event", "did you mean 'search'?", lambda: Event("Search", properties={"query": "x"})),
    "type: reserved": ("event", "reset the preferences", lambda: Event(RESET)),
    "type: None": ("event", "pass a str", lambda: Event(None)),  # type: ignore[arg-type]
    "type: empty": ("event", "use 1 to 256 characters", lambda: Event("")),
    "type: 257 characters": ("event", "use 1 to 256 characters", lambda: Event("x" * 257)),
}
IDENTIFIERS: dict[str, Case] = {
    **{
        f"item_id: missing from {kind}": ("item_id", "pass item_id=", partial(Event, kind))
        for kind, schema in {**EVENT_TYPES, **DECLARED}.items()
        if schema.item
    },
    "item_id: int": ("item_id", "such as '1021' for 1021", lambda: viewed(item_id=1021)),
    "item_id: int of 5,000 digits": ("item_id", "such as '1021' for 1021", lambda: viewed(item_id=10**5000)),
    "item_id: empty": ("item_id", "use 1 to 256 characters, or leave it out", lambda: viewed(item_id="")),
    "item_id: 257 characters": ("item_id", "use 1 to 256 characters", lambda: viewed(item_id="x" * 257)),
    "item_id: newline": ("item_id", "use printable characters", lambda: viewed(item_id="m_1\n")),
    "item_id: NUL": ("item_id", "use printable characters", lambda: viewed(item_id="m\0")),
    "item_id: C1 control": ("item_id", "use printable characters", lambda: viewed(item_id="m\x85")),
    "item_id: lone surrogate": ("item_id", "use printable characters", lambda: viewed(item_id="\ud83d")),
    "user: int": ("user", "pass a str", lambda: viewed(user=7)),
    "user: empty": ("user", "or leave it out", lambda: viewed(user="")),
    "recommendation_id: bytes": ("recommendation_id", "pass a str", lambda: viewed(recommendation_id=b"r")),
    "event_id: empty": ("event_id", "or leave it out", lambda: viewed(event_id="")),
    "event_id: tab": ("event_id", "use printable characters", lambda: viewed(event_id="a\tb")),
}
TIMES: dict[str, Case] = {
    "timestamp: float": ("timestamp", "pass an int", lambda: viewed(timestamp=1.7e12)),
    "timestamp: bool": ("timestamp", "pass an int", lambda: viewed(timestamp=True)),
    "timestamp: text": ("timestamp", "or a datetime with a time zone", lambda: viewed(timestamp="2024-01-01")),
    "timestamp: before 1970": ("timestamp", "pass milliseconds since 1970", lambda: viewed(timestamp=-1)),
    "timestamp: 2200": ("timestamp", "pass milliseconds since 1970", lambda: viewed(timestamp=END_MS)),
    "timestamp: microseconds": ("timestamp", "pass milliseconds", lambda: viewed(timestamp=1_700_000_000_000_000)),
    "timestamp: naive datetime": ("timestamp", "datetime.now(UTC)", lambda: viewed(timestamp=datetime(2024, 1, 1))),
    "timestamp: datetime of 1969": (
        "timestamp",
        "pass milliseconds since 1970",
        lambda: viewed(timestamp=datetime(1969, 12, 31, tzinfo=UTC)),
    ),
}
CONTENT: dict[str, Case] = {
    "context: list": ("context", 'pass a dict: context={"…": …}', lambda: viewed(context=[1])),
    "context: text": ("context", "pass a dict", lambda: viewed(context="phone")),
    "context: a dict inside": ("context.device", "keep context flat", lambda: viewed(context={"device": {"os": "x"}})),
    "context: a list inside": ("context.tags", "keep context flat", lambda: viewed(context={"tags": []})),
    "context: NaN": ("context.x", "leave it out, or pass None", lambda: viewed(context={"x": NAN})),
    "context: key is an int": ("context", "use names that are str", lambda: viewed(context={1: "x"})),
    "context: over 32 kB": ("context", "put a reference to it", lambda: viewed(context={"x": "x" * 32_000})),
    "properties: list": ("properties", "pass a dict: properties=", lambda: viewed(properties=[("a", 1)])),
    "properties: NaN": ("properties.x", "leave it out, or pass None", lambda: viewed(properties={"x": NAN})),
    "properties: infinity": ("properties.x", "leave it out", lambda: viewed(properties={"x": INFINITY})),
    "properties: minus infinity, deep": (
        "properties.a.b[1]",
        "leave it out",
        lambda: viewed(properties={"a": {"b": [0, -INFINITY]}}),
    ),
    "properties: set": ("properties.x", "use str, int, float", lambda: viewed(properties={"x": {1}})),
    "properties: bytes": ("properties.x", "use str, int, float", lambda: viewed(properties={"x": b"x"})),
    "properties: datetime": (
        "properties.x",
        "use str, int, float",
        lambda: viewed(properties={"x": datetime.now(UTC)}),
    ),
    "properties: numpy integer": ("properties.x", "use str, int, float", lambda: viewed(properties={"x": np.int64(1)})),
    "properties: 65-bit integer": ("properties.x", "as text or as a float", lambda: viewed(properties={"x": 2**63})),
    "properties: integer of 5,000 digits": ("properties.x", "as text", lambda: viewed(properties={"x": 10**5000})),
    "properties: 5 levels": ("properties.a.a.a.a", "within 4 levels", lambda: viewed(properties=nested(5))),
    "properties: 5 levels of lists": (
        "properties.x[0][0][0]",
        "within 4 levels",
        lambda: viewed(properties={"x": [[[[1]]]]}),
    ),
    "properties: in itself": ("properties.a.a.a.a", "within 4 levels", lambda: viewed(properties=endless())),
    "properties: lone surrogate": ("properties.x", "errors='replace'", lambda: viewed(properties={"x": "\udc00"})),
    "properties: lone surrogate in a key": ("properties", "errors='replace'", lambda: viewed(properties={"\udc00": 1})),
    "properties: key is None": ("properties", "use names that are str", lambda: viewed(properties={None: 1})),
    "properties: key is empty, deep": ("properties.a", "of 1 to 64", lambda: viewed(properties={"a": {"": 1}})),
    "properties: key of 65 characters": ("properties", "of 1 to 64", lambda: viewed(properties={"k" * 65: 1})),
    "properties: over 32 kB": ("properties", "put a reference to it", lambda: viewed(properties={"x": "x" * 32_000})),
    "properties: over 32 kB in UTF-8": (
        "properties",
        "put a reference to it",
        lambda: viewed(properties={"x": "é" * 16_000}),
    ),
}
NEEDS: dict[str, Case] = {
    "search: no query": ("properties.query", '{"query": "…"}', lambda: Event("search")),
    "search: query is a number": ("properties.query", '{"query": "…"}', lambda: search(query=1)),
    "search: query is None": ("properties.query", '{"query": "…"}', lambda: search(query=None)),
    "search: results is negative": ("properties.results", '{"results": 3}, or leave', lambda: search(results=-1)),
    "search: results is half a one": ("properties.results", '{"results": 3}, or leave', lambda: search(results=0.5)),
    "session_ended: no seconds": ("properties.seconds", '{"seconds": 41.5}', lambda: Event("session_ended")),
    **{
        f"session_ended: seconds is {value!r}": (
            "properties.seconds",
            '{"seconds": 41.5}',
            partial(Event, "session_ended", properties={"seconds": value}),
        )
        for value in (None, True, "9", -0.5, [1])
    },
    "item_viewed: seconds is text": (
        "properties.seconds",
        "or leave it out",
        lambda: viewed(properties={"seconds": "9"}),
    ),
    "item_viewed: seconds is negative": (
        "properties.seconds",
        '{"seconds": 41.5}, or leave it out',
        lambda: viewed(properties={"seconds": -1}),
    ),
    **{
        f"{kind}: position is {value!r}": (
            "properties.position",
            '{"position": 3}, or leave it out',
            partial(Event, kind, "m_1", properties={"position": value}),
        )
        for kind, value in (("impression", -1), ("item_clicked", "1"), ("recommendation_dismissed", True))
    },
    "item_purchased: price is text": (
        "properties.price",
        '{"price": 2.5}, or leave it out',
        lambda: Event("item_purchased", "m_1", properties={"price": "9.99 €"}),
    ),
    "item_purchased: quantity is a list": (
        "properties.quantity",
        '{"quantity": 2.5}, or leave it out',
        lambda: Event("item_purchased", "m_1", properties={"quantity": [1]}),
    ),
    **{
        f"scrolled: depth is {value!r}": (
            "properties.depth",
            '{"depth": 0.75}, or leave it out',
            partial(Event, "scrolled", properties={"depth": value}),
        )
        for value in (75, -0.1, "75 %", False)
    },
    "navigated: screen is a number": (
        "properties.screen",
        '{"screen": "…"}, or leave it out',
        lambda: Event("navigated", properties={"screen": 7}),
    ),
    "notification_opened: its id is a number": (
        "properties.notification_id",
        '{"notification_id": "…"}, or leave it out',
        lambda: Event("notification_opened", properties={"notification_id": 7}),
    ),
    "declared: a number is missing": (
        "properties.stars",
        'pass properties={"stars": 2.5}',
        lambda: Event("film_rated", item_id="m_1"),
    ),
    "declared: a number is None": ("properties.stars", '{"stars": 2.5}', lambda: rated(stars=None)),
    "declared: a number is text": ("properties.stars", '{"stars": 2.5}', lambda: rated(stars="4")),
    "declared: a number is true": ("properties.stars", '{"stars": 2.5}', lambda: rated(stars=True)),
    "declared: a text is a number": ("properties.review", '{"review": "…"}', lambda: rated(review=4)),
    "declared: a boolean is a number": ("properties.spoiler", '{"spoiler": True}', lambda: rated(spoiler=0)),
}
FROM_JSON: dict[str, Case] = {
    "JSON: not an object": ("event", 'write {"event": "…", …}', lambda: event_from_json(["item_viewed"])),
    "JSON: null": ("event", 'write {"event": "…", …}', lambda: event_from_json(None)),
    "JSON: no type": ("event", "pass a str", lambda: event_from_json({"item_id": "m_1"})),
    "JSON: a slip": ("itemid", "use item_id, or put it in properties", lambda: event_from_json({"itemid": "m_1"})),
    "JSON: a name of its own": ("zzz", "use event, item_id, timestamp", lambda: event_from_json({"zzz": 1})),
    "JSON: a name that is no text": ("None", "use event, item_id, timestamp", lambda: event_from_json({None: 1})),
    "JSON: what only the log writes": ("sequence", "put it in properties", lambda: event_from_json({"sequence": 1})),
    "JSON: an ISO time": (
        "timestamp",
        "pass an int, milliseconds",
        lambda: event_from_json({"event": "session_started", "timestamp": "2024-01-01T00:00:00Z"}),
    ),
    "JSON: a malformed field": (
        "context.device",
        "keep context flat",
        lambda: event_from_json({"event": "session_started", "context": {"device": {"os": "x"}}}),
    ),
}
MALFORMED = {**TYPES, **IDENTIFIERS, **TIMES, **CONTENT, **NEEDS, **FROM_JSON}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventLog]:
    path = tmp_path_factory.mktemp("profile") / "events.db"
    with EventLog(path, clock=ManualClock(), durability="process", event_types=DECLARED) as log:
        yield log


@pytest.mark.parametrize(("field", "remedy", "make"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_event_is_refused_and_not_stored(
    log: EventLog, field: str, remedy: str, make: Callable[[], Event]
) -> None:
    with pytest.raises(EventError) as caught:
        log.append(make())
    error = caught.value
    assert error.field == field
    assert remedy in error.remedy
    assert str(error) == f"event field {field!r}: {error.problem}; {error.remedy}"
    assert "\n" not in str(error)
    assert len(str(error)) < 500
    str(error).encode()  # a message that cannot be printed would hide what it says
    assert log.count() == 0


def test_there_are_enough_of_them() -> None:
    assert len(MALFORMED) >= 50
    assert len(MALFORMED) == sum(map(len, (TYPES, IDENTIFIERS, TIMES, CONTENT, NEEDS, FROM_JSON)))


RECORDED: dict[str, Any] = {
    "event_id": "e_1",
    "sequence": 7,
    "timestamp": 1_700_000_000_000,
    "recorded_at": 1_700_000_000_500,
    "utc_offset_minutes": 60,
    "epoch": 0,
    "event": "item_viewed",
    "item_id": "m_1",
    "user": None,
    "recommendation_id": None,
    "context": {},
    "properties": {},
}


@pytest.mark.parametrize(
    ("field", "value", "remedy"),
    [
        ("event_id", None, "pass a str"),
        ("sequence", 0, "give what was exported"),
        ("sequence", True, "give what was exported"),
        ("sequence", 2**63, "give what was exported"),
        ("timestamp", None, "give what was exported"),
        ("timestamp", 1.5, "give what was exported"),
        ("recorded_at", "now", "give what was exported"),
        ("utc_offset_minutes", 1440, "give what was exported"),
        ("utc_offset_minutes", -1440, "give what was exported"),
        ("epoch", -1, "give what was exported"),
        ("event", "", "use 1 to 256 characters"),
        ("item_id", 5, "pass a str"),
        ("user", "", "leave it out"),
        ("context", [], "pass a dict"),
        ("properties", "x", "pass a dict"),
        ("zzz", 1, "use event_id, sequence"),
        ("recordedat", 1, "use recorded_at, or"),
    ],
)
def test_a_malformed_recorded_event_is_refused(field: str, value: object, remedy: str) -> None:
    recorded_from_json(json.dumps(RECORDED))
    with pytest.raises(EventError) as caught:
        recorded_from_json(json.dumps({**RECORDED, field: value}))
    assert caught.value.field == field
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("field", RECORDED)
def test_a_recorded_event_has_every_field(field: str) -> None:
    with pytest.raises(EventError) as caught:
        recorded_from_json(json.dumps({name: value for name, value in RECORDED.items() if name != field}))
    assert (caught.value.field, caught.value.problem) == (field, "is missing")
    assert "give every field" in caught.value.remedy


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "[" * 100_000, "1" * 5000, '{"a": 1} {"a": 2}'])
def test_a_line_that_is_not_an_object_is_refused(text: str) -> None:
    with pytest.raises(EventError) as caught:
        recorded_from_json(text)
    assert caught.value.field == "event"
    assert caught.value.remedy in {"give one object on each line", "give a recorded event"}
    assert len(str(caught.value)) < 300


def test_a_number_that_json_cannot_hold_is_refused_by_its_path() -> None:
    with pytest.raises(EventError) as caught:
        recorded_from_json(json.dumps({**RECORDED, "properties": {"x": [NAN]}}))
    assert caught.value.field == "properties.x[0]"
