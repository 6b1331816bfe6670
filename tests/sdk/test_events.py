"""What an event may say: every valid one comes back equal. The malformed ones are in ``test_malformed_events``."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError, asdict, fields, replace
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearhand import Personalizer
from nearhand.bundle import Manifest, parse, serialize
from nearhand.errors import BundleFormatError, EventError
from nearhand.events import (
    EVENT_TYPES,
    RESET,
    WELL_KNOWN,
    Event,
    EventLog,
    EventSchema,
    RecordedEvent,
    check_event_types,
    event_from_json,
    recorded_from_json,
    recorded_to_json,
    validate,
)
from nearhand.testing.clock import ManualClock
from tests.sdk.bundle_factory import edit_json, make_files, make_manifest
from tests.tiny import Tiny

END_MS = int(datetime(2200, 1, 1, tzinfo=UTC).timestamp()) * 1000


def viewed(**fields: Any) -> Event:
    return Event("item_viewed", **{"item_id": "m_1", **fields})


def nested(levels: int) -> dict[str, Any]:
    return {"a": nested(levels - 1)} if levels > 1 else {}


DECLARED = {
    "film_rated": EventSchema(item=True, properties={"stars": "number", "review": "text", "spoiler": "boolean"}),
    "trailer_played": EventSchema(item=False),
}


def test_a_type_is_accepted_only_if_it_is_known_or_declared() -> None:
    event = Event("trailer_played")
    validate(event, DECLARED)
    with pytest.raises(EventError, match="'trailer_played' is not a known event type"):
        validate(event)


def test_a_declared_type_has_what_its_schema_asks_for_and_more_if_it_likes() -> None:
    needed: dict[str, Any] = {"stars": 4.5, "review": "", "spoiler": False}
    validate(Event("film_rated", item_id="m_1", properties={**needed, "cinema": {"row": 7}}), DECLARED)
    for name in needed:
        rest = {key: value for key, value in needed.items() if key != name}
        with pytest.raises(EventError, match=f"film_rated needs it, .*'?{name}") as caught:
            validate(Event("film_rated", item_id="m_1", properties=rest), DECLARED)
        assert caught.value.field == f"properties.{name}"


def test_a_declared_type_cannot_loosen_a_known_one() -> None:
    with pytest.raises(EventError):
        validate(Event("item_viewed"), {"item_viewed": EventSchema(item=False)})


def test_every_known_type_has_a_valid_event() -> None:
    examples: dict[str, Any] = {"text": "", "number": -1.5, "duration": 0, "share": 1, "count": 0}
    for kind, schema in EVENT_TYPES.items():
        forms = {**schema.properties, **WELL_KNOWN.get(kind, {})}
        for names in (schema.properties, forms):  # the least that will do, and all that is well known
            properties = {name: examples[forms[name]] for name in names}
            validate(Event(kind, item_id="m_1" if schema.item else None, properties=properties))
        nothing = dict.fromkeys(set(forms) - set(schema.properties))
        properties = {name: examples[forms[name]] for name in schema.properties}
        validate(Event(kind, item_id="m_1", properties={**nothing, **properties}))


@pytest.mark.parametrize(
    ("event_types", "mentioned", "problem"),
    [
        ({"item_viewed": EventSchema(item=False)}, [], "'item_viewed' is Nearhand's own and cannot be declared"),
        ({RESET: EventSchema(item=False)}, [], "'preferences_reset' is Nearhand's own"),
        ({"": EventSchema(item=False)}, [], "'' is not 1 to 256 printable characters"),
        ({"a\nb": EventSchema(item=False)}, [], "is not 1 to 256 printable characters"),
        ({"x" * 257: EventSchema(item=False)}, [], "is not 1 to 256 printable characters"),
        (DECLARED, ["item_viewed", "trailer_plaid"], "'trailer_plaid' is neither known nor declared: did you mean"),
        (DECLARED, ["item_viewed", "zzz"], "'zzz' is neither known nor declared: declare it in event_types"),
        ({}, ["trailer_played"], "'trailer_played' is neither known nor declared"),
    ],
)
def test_declarations_that_no_app_could_use_are_refused(
    event_types: dict[str, EventSchema], mentioned: list[str], problem: str
) -> None:
    check_event_types(DECLARED, ["item_viewed", "film_rated"])
    with pytest.raises(ValueError, match=re.escape(problem)):
        check_event_types(event_types, mentioned)


@pytest.mark.parametrize(
    ("properties", "problem"),
    [
        ({"stars": "numer"}, "property 'stars' is 'numer', not one of text, number, boolean"),
        ({"stars": "duration"}, "not one of text, number, boolean"),
        ({"": "text"}, "property '' is not 1 to 64 printable characters"),
        ({"k" * 65: "text"}, "is not 1 to 64 printable characters"),
        ({"a\nb": "text"}, "is not 1 to 64 printable characters"),
    ],
)
def test_a_schema_that_no_event_could_meet_is_refused(properties: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        EventSchema(item=True, properties=properties)


def test_the_guide_lists_every_known_type_with_what_it_needs_and_what_is_well_known() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "EVENTS.md").read_text(encoding="utf-8")
    listed = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in guide.partition("## The known types")[2].partition("\n## ")[0].splitlines()
        if line.startswith("| `")
    ]
    nouns = {"duration": "seconds from 0", "share": "0 to 1", "count": "whole number from 0"}
    expected = []
    for kind, schema in EVENT_TYPES.items():
        needed: list[str] = []
        optional: list[str] = []
        for name, form in {**schema.properties, **WELL_KNOWN.get(kind, {})}.items():
            (needed if name in schema.properties else optional).append(f"`{name}`: {nouns.get(form, form)}")
        expected.append([f"`{kind}`", "yes" if schema.item else "", ", ".join(needed), ", ".join(optional)])
    assert listed == expected


@pytest.mark.parametrize(
    ("edit", "place", "problem"),
    [
        (lambda m: m["event_types"]["film_rated"].pop("item"), "event_types.film_rated.item", "is missing"),
        (lambda m: m["event_types"]["film_rated"].update(item=1), "event_types.film_rated.item", "is 1"),
        (
            lambda m: m["event_types"]["film_rated"]["properties"].update(stars="duration"),
            "event_types.film_rated.properties.stars",
            'is "duration", not one of',
        ),
        (lambda m: m["event_types"].update(search={"item": False}), "m", "'search' is Nearhand's own"),
        (lambda m: m["event_types"].update(preferences_reset={"item": False}), "m", "is Nearhand's own"),
        (lambda m: m.pop("event_types"), "event_types", "is missing"),
        (lambda m: m["policy"]["seen"].append("film_heard"), "m", "'film_heard' is neither known nor declared"),
        (lambda m: m["policy"]["verbs"].update(film_heard="x"), "m", "'film_heard' is neither known nor declared"),
        (
            lambda m: (m["policy"]["confidences"].update(itm="1"), m["policy"]["verbs"].update(itm="x")),
            "m",
            "'itm' is neither known nor declared",
        ),
    ],
    ids=[
        "no item",
        "item is a number",
        "unknown kind",
        "a known type",
        "the reserved type",
        "no declarations",
        "seen",
        "verbs",
        "confidences",
    ],
)
def test_a_manifest_with_declarations_that_no_app_could_use_is_refused(
    edit: Callable[[Any], object], place: str, problem: str
) -> None:
    data = serialize(make_manifest(make_files()))
    assert parse(Manifest, data, place="m").event_types["film_rated"].properties == {"stars": "number"}
    with pytest.raises(BundleFormatError) as caught:
        parse(Manifest, edit_json(data, edit), place="m")
    assert caught.value.place.removeprefix("m: ") == place
    assert problem in caught.value.problem


def test_a_type_that_the_recipe_declares_is_recorded_on_the_device(tiny: Tiny, tmp_path: Path) -> None:
    with Personalizer.open(tiny.slot.folder, tmp_path) as personalizer:
        recorded = personalizer.record(Event("film_rated", item_id="m_1", properties={"stars": 4.5}))
        assert recorded.properties == {"stars": 4.5}
        with pytest.raises(EventError, match="film_rated needs it, a number"):
            personalizer.record(Event("film_rated", item_id="m_1"))
        with pytest.raises(EventError, match="did you mean 'film_rated'"):
            personalizer.record(Event("film_ratd", item_id="m_1"))
        assert personalizer.status().events == 1


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


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | texts
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64)
level_4 = st.lists(scalars, max_size=3) | st.dictionaries(keys, scalars, max_size=3)
level_3 = st.lists(scalars | level_4, max_size=3) | st.dictionaries(keys, scalars | level_4, max_size=3)
level_2 = st.lists(scalars | level_3, max_size=3) | st.dictionaries(keys, scalars | level_3, max_size=3)
identifiers = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=256)
optional_ids = st.none() | identifiers
forms: dict[str, st.SearchStrategy[Any]] = {
    "text": texts,
    "number": numbers,
    "boolean": st.booleans(),
    "duration": st.integers(0, 10**6) | st.floats(0, 1e9),
    "share": st.floats(0, 1),
    "count": st.integers(0, 10**6),
}


@st.composite
def events(draw: st.DrawFn) -> Event:
    kind, schema = draw(st.sampled_from([*EVENT_TYPES.items(), *DECLARED.items()]))
    properties = draw(st.dictionaries(keys, scalars | level_2, max_size=4))
    well_known = WELL_KNOWN.get(kind, {})
    for name, form in {**schema.properties, **well_known}.items():
        if name in schema.properties or draw(st.booleans()):
            properties[name] = draw(forms[form])
        else:
            properties.pop(name, None)
    return Event(
        kind,
        item_id=draw(identifiers if schema.item else optional_ids),
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
        with EventLog(path, clock=clock, durability="process", event_types=DECLARED) as log:
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
        exported = recorded_to_json(recorded)
        assert repr(recorded_from_json(exported)) == repr(recorded)


@given(events())
def test_an_event_comes_back_from_json_equal(event: Event) -> None:
    assert repr(event_from_json(json.loads(json.dumps(asdict(event))))) == repr(event)


int64 = st.integers(-(2**63), 2**63 - 1)


@given(
    events(),
    st.builds(
        dict,
        event_id=identifiers,
        sequence=st.integers(1, 2**63 - 1),
        timestamp=int64,  # the log stores what a clock says, whatever it is
        recorded_at=int64,
        utc_offset_minutes=st.integers(-1439, 1439),
        epoch=st.integers(0, 2**31),
    ),
)
def test_a_recorded_event_is_one_line_of_json_and_comes_back_equal(event: Event, facts: dict[str, Any]) -> None:
    recorded = RecordedEvent(**{**asdict(event), **facts})
    line = recorded_to_json(recorded)
    assert len(line.splitlines()) == 1
    assert set(json.loads(line)) == {each.name for each in fields(RecordedEvent)}
    back = recorded_from_json(line)
    assert back == recorded
    assert recorded_to_json(back) == line
    assert line == recorded_to_json(
        recorded_from_json(json.dumps(json.loads(line), indent=1))
    )  # one form for one event


def test_whatever_ends_a_line_is_escaped() -> None:
    ends = "".join(map(chr, (*range(32), 0x7F, 0x85, 0xA0, 0x2028, 0x2029)))
    recorded = RecordedEvent(
        "e",
        1,
        0,
        0,
        0,
        event="search",
        item_id=None,
        user=None,
        recommendation_id=None,
        epoch=2,
        context={},
        properties={"query": f"{ends}é夏", "\u2028": ends},
    )
    line = recorded_to_json(recorded)
    assert len(line.splitlines()) == 1
    assert "é夏" in line
    assert recorded_from_json(line) == recorded


def test_the_largest_event_comes_back_from_its_export() -> None:
    """The limit is the app's: what the log adds may take the exported line over it."""
    with tempfile.TemporaryDirectory() as folder:
        with EventLog(Path(folder) / "log.db", clock=ManualClock(), durability="process") as log:
            recorded = log.append(viewed(timestamp=0, properties={"x": "x" * 31_850}))
        assert len(recorded_to_json(recorded)) > 32_000
        assert recorded_from_json(recorded_to_json(recorded)) == recorded


def test_a_resets_marker_is_exported_too() -> None:
    marker = RecordedEvent(
        "e",
        9,
        5,
        5,
        60,
        event=RESET,
        item_id=None,
        user=None,
        recommendation_id=None,
        epoch=3,
        context={},
        properties={},
    )
    assert recorded_from_json(recorded_to_json(marker)) == marker


def in_order(mapping: Mapping[str, Any]) -> list[tuple[str, Any]]:
    def sort(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: sort(value[key]) for key in sorted(value)}
        return [sort(item) for item in value] if isinstance(value, list) else value

    return list(sort(mapping).items())
