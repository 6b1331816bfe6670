"""What an event may say: every malformed one is refused by the name of its field; every valid one comes back equal."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearhand.errors import EventError
from nearhand.events import EVENT_TYPES, Event, EventLog, validate
from nearhand.testing.clock import ManualClock

NAN, INFINITY = math.nan, math.inf
END_MS = int(datetime(2200, 1, 1, tzinfo=UTC).timestamp()) * 1000


def viewed(**fields: Any) -> Event:
    return Event("item_viewed", **{"item_id": "m_1", **fields})


def nested(levels: int) -> dict[str, Any]:
    return {"a": nested(levels - 1)} if levels > 1 else {}


MALFORMED: dict[str, tuple[str, Callable[[], Event]]] = {
    "type: unknown": ("event", lambda: Event("item_veiwed", item_id="m_1")),
    "type: nothing like it": ("event", lambda: Event("zzz")),
    "type: wrong case": ("event", lambda: Event("Search", properties={"query": "x"})),
    "type: None": ("event", lambda: Event(None)),  # type: ignore[arg-type]
    "type: empty": ("event", lambda: Event("")),
    "type: 257 characters": ("event", lambda: Event("x" * 257)),
    **{
        f"item_id: missing from {kind}": ("item_id", partial(Event, kind))
        for kind, needs_item in EVENT_TYPES.items()
        if needs_item
    },
    "item_id: int": ("item_id", lambda: viewed(item_id=1021)),
    "item_id: empty": ("item_id", lambda: viewed(item_id="")),
    "item_id: 257 characters": ("item_id", lambda: viewed(item_id="x" * 257)),
    "item_id: newline": ("item_id", lambda: viewed(item_id="m_1\n")),
    "item_id: NUL": ("item_id", lambda: viewed(item_id="m\0")),
    "item_id: C1 control": ("item_id", lambda: viewed(item_id="m\x85")),
    "item_id: lone surrogate": ("item_id", lambda: viewed(item_id="\ud83d")),
    "timestamp: float": ("timestamp", lambda: viewed(timestamp=1.7e12)),
    "timestamp: bool": ("timestamp", lambda: viewed(timestamp=True)),
    "timestamp: text": ("timestamp", lambda: viewed(timestamp="2024-01-01")),
    "timestamp: before 1970": ("timestamp", lambda: viewed(timestamp=-1)),
    "timestamp: 2200": ("timestamp", lambda: viewed(timestamp=END_MS)),
    "timestamp: microseconds": ("timestamp", lambda: viewed(timestamp=1_700_000_000_000_000)),
    "timestamp: naive datetime": ("timestamp", lambda: viewed(timestamp=datetime(2024, 1, 1))),
    "timestamp: datetime of 1969": ("timestamp", lambda: viewed(timestamp=datetime(1969, 12, 31, tzinfo=UTC))),
    "user: int": ("user", lambda: viewed(user=7)),
    "user: empty": ("user", lambda: viewed(user="")),
    "recommendation_id: bytes": ("recommendation_id", lambda: viewed(recommendation_id=b"r")),
    "event_id: empty": ("event_id", lambda: viewed(event_id="")),
    "event_id: tab": ("event_id", lambda: viewed(event_id="a\tb")),
    "context: list": ("context", lambda: viewed(context=[1])),
    "context: text": ("context", lambda: viewed(context="phone")),
    "context: a dict inside": ("context.device", lambda: viewed(context={"device": {"os": "x"}})),
    "context: a list inside": ("context.tags", lambda: viewed(context={"tags": []})),
    "context: NaN": ("context.x", lambda: viewed(context={"x": NAN})),
    "context: key is an int": ("context", lambda: viewed(context={1: "x"})),
    "properties: list": ("properties", lambda: viewed(properties=[("a", 1)])),
    "properties: NaN": ("properties.x", lambda: viewed(properties={"x": NAN})),
    "properties: infinity": ("properties.x", lambda: viewed(properties={"x": INFINITY})),
    "properties: minus infinity, deep": ("properties.a.b[1]", lambda: viewed(properties={"a": {"b": [0, -INFINITY]}})),
    "properties: set": ("properties.x", lambda: viewed(properties={"x": {1}})),
    "properties: bytes": ("properties.x", lambda: viewed(properties={"x": b"x"})),
    "properties: datetime": ("properties.x", lambda: viewed(properties={"x": datetime.now(UTC)})),
    "properties: numpy integer": ("properties.x", lambda: viewed(properties={"x": np.int64(1)})),
    "properties: 65-bit integer": ("properties.x", lambda: viewed(properties={"x": 2**63})),
    "properties: integer of 5,000 digits": ("properties.x", lambda: viewed(properties={"x": 10**5000})),
    "properties: 5 levels": ("properties.a.a.a.a", lambda: viewed(properties=nested(5))),
    "properties: 5 levels of lists": ("properties.x[0][0][0]", lambda: viewed(properties={"x": [[[[1]]]]})),
    "properties: lone surrogate": ("properties.x", lambda: viewed(properties={"x": "\udc00"})),
    "properties: lone surrogate in a key": ("properties", lambda: viewed(properties={"\udc00": 1})),
    "properties: key is None": ("properties", lambda: viewed(properties={None: 1})),
    "properties: key is empty, deep": ("properties.a", lambda: viewed(properties={"a": {"": 1}})),
    "properties: key of 65 characters": ("properties", lambda: viewed(properties={"k" * 65: 1})),
    "properties: over 32 kB": ("properties", lambda: viewed(properties={"x": "x" * 32_000})),
    "properties: over 32 kB in UTF-8": ("properties", lambda: viewed(properties={"x": "é" * 16_000})),
    "context: over 32 kB": ("context", lambda: viewed(context={"x": "x" * 32_000})),
    "search: no query": ("properties.query", lambda: Event("search")),
    "search: query is a number": ("properties.query", lambda: Event("search", properties={"query": 1})),
    "session_ended: no seconds": ("properties.seconds", lambda: Event("session_ended")),
    "session_ended: bool": ("properties.seconds", lambda: Event("session_ended", properties={"seconds": True})),
    "session_ended: text": ("properties.seconds", lambda: Event("session_ended", properties={"seconds": "9"})),
    "session_ended: negative": ("properties.seconds", lambda: Event("session_ended", properties={"seconds": -0.5})),
}


@pytest.mark.parametrize(("field", "make"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_event_is_refused_by_the_name_of_its_field(field: str, make: Callable[[], Event]) -> None:
    with pytest.raises(EventError) as caught:
        validate(make())
    error = caught.value
    assert error.field == field
    assert error.remedy
    assert field in str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 500
    str(error).encode()  # a message that cannot be printed would hide what it says


def test_a_container_that_holds_itself_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["a"] = endless
    with pytest.raises(EventError) as caught:
        viewed(properties=endless)
    assert caught.value.field == "properties.a.a.a.a"


def test_an_unknown_type_is_accepted_only_if_declared_and_a_near_one_is_suggested() -> None:
    with pytest.raises(EventError, match="did you mean 'item_viewed'"):
        validate(Event("item_veiwed", item_id="m_1"))
    with pytest.raises(EventError, match="did you mean 'trailer_played'"):
        validate(Event("trailer_plaid"), ["trailer_played"])
    with pytest.raises(EventError, match=r"use one of item_viewed, .*, trailer_played"):
        validate(Event("zzz"), ["trailer_played"])
    validate(Event("trailer_played"), ["trailer_played"])


def test_a_declared_type_cannot_loosen_a_known_one() -> None:
    with pytest.raises(EventError):
        validate(Event("item_viewed"), ["item_viewed"])


def test_every_known_type_has_a_valid_event() -> None:
    for kind, needs_item in EVENT_TYPES.items():
        needed: dict[str, dict[str, Any]] = {"search": {"query": ""}, "session_ended": {"seconds": 0}}
        validate(Event(kind, item_id="m_1" if needs_item else None, properties=needed.get(kind)))


def test_the_limits_themselves_are_allowed() -> None:
    viewed(item_id="x" * 256, timestamp=END_MS - 1, properties={"k" * 64: -(2**63), "top": 2**63 - 1})
    viewed(timestamp=0, properties=nested(4))
    padding = 32_000 - len(
        '{"context":{},"event":"item_viewed","event_id":null,"item_id":"m_1","properties":{"x":""},'
        '"recommendation_id":null,"timestamp":null,"user":null}'
    )
    viewed(properties={"x": "x" * padding})
    with pytest.raises(EventError, match="32,001 bytes"):
        viewed(properties={"x": "x" * (padding + 1)})


def test_a_datetime_becomes_milliseconds_whatever_its_zone() -> None:
    tokyo = timezone(timedelta(hours=9))
    assert viewed(timestamp=datetime(2024, 1, 1, 9, 0, 0, 1999, tokyo)).timestamp == 1_704_067_200_001
    assert viewed(timestamp=datetime(2024, 1, 1, 0, 0, 0, 1000, UTC)).timestamp == 1_704_067_200_001


def test_an_event_does_not_change_when_the_app_changes_what_it_passed() -> None:
    genres = ["noir"]
    properties: dict[str, Any] = {"genres": genres}
    context: dict[str, Any] = {"hour": 21}
    event = viewed(properties=properties, context=context)
    genres.append("western")
    properties["more"] = 1
    context.clear()
    assert event == viewed(properties={"genres": ["noir"]}, context={"hour": 21})
    with pytest.raises(FrozenInstanceError):
        event.item_id = "m_2"  # type: ignore[misc]
    assert hash(event) == hash(viewed(properties={"genres": ["noir"]}, context={"hour": 21}))
    assert replace(event, item_id="m_2").properties == event.properties


def test_values_are_plain_types_so_that_living_and_replaying_compute_alike(tmp_path: Path) -> None:
    class Genre(StrEnum):
        NOIR = "noir"

    event = viewed(
        item_id=Genre.NOIR, properties={"ratio": np.float64(0.1), "genre": Genre.NOIR, "pair": (1, 2), Genre.NOIR: 1}
    )
    assert type(event.item_id) is str
    assert {type(key) for key in event.properties} == {str}
    assert [type(value) for value in event.properties.values()] == [float, str, list, int]


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64)
level_4 = st.lists(scalars, max_size=3) | st.dictionaries(keys, scalars, max_size=3)
level_3 = st.lists(scalars | level_4, max_size=3) | st.dictionaries(keys, scalars | level_4, max_size=3)
level_2 = st.lists(scalars | level_3, max_size=3) | st.dictionaries(keys, scalars | level_3, max_size=3)
identifiers = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=256)
optional_ids = st.none() | identifiers


@st.composite
def events(draw: st.DrawFn) -> Event:
    kind = draw(st.sampled_from([*EVENT_TYPES, "trailer_played"]))
    properties = draw(st.dictionaries(keys, scalars | level_2, max_size=4))
    if kind == "search":
        properties["query"] = draw(st.text(st.characters(exclude_categories=["Cs"])))
    if kind == "session_ended":
        properties["seconds"] = draw(st.integers(0, 10**6) | st.floats(0, 1e9))
    return Event(
        kind,
        item_id=draw(identifiers if EVENT_TYPES.get(kind) else optional_ids),
        timestamp=draw(st.none() | st.integers(0, END_MS - 1)),
        user=draw(optional_ids),
        context=draw(st.dictionaries(keys, scalars, max_size=3)),
        properties=properties,
        recommendation_id=draw(optional_ids),
        event_id=draw(optional_ids),
    )


@settings(deadline=None)
@given(events())
def test_what_is_recorded_is_what_was_said_now_and_after_opening_again(event: Event) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, clock = Path(folder) / "log.db", ManualClock()
        with EventLog(path, clock=clock, durability="process", extension_types=["trailer_played"]) as log:
            recorded = log.append(event)
            assert log.since(0) == [recorded]
        with EventLog(path, clock=clock, durability="process") as log:
            assert repr(log.since(0)) == repr([recorded])  # repr also tells 1 from 1.0 and True, and 0.0 from -0.0
        for name in ("event", "item_id", "user", "recommendation_id"):
            assert getattr(recorded, name) == getattr(event, name)
        for name in ("context", "properties"):
            assert repr(sorted(getattr(recorded, name).items())) == repr(in_order(getattr(event, name)))
        assert recorded.timestamp == (clock.now_ms() if event.timestamp is None else event.timestamp)
        assert event.event_id is None or recorded.event_id == event.event_id


def in_order(mapping: Mapping[str, Any]) -> list[tuple[str, Any]]:
    def sort(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: sort(value[key]) for key in sorted(value)}
        return [sort(item) for item in value] if isinstance(value, list) else value

    return list(sort(mapping).items())
