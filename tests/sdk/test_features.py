"""The feature engine at its door: where values lie, what states are kept, and what is made of odd input."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nearhand.errors import ProgramError, UsageError
from nearhand.features import (
    Column,
    CompiledProgram,
    FeatureFold,
    FeatureVector,
    ItemTable,
    Label,
    ReplayEvent,
    candidates,
    compile_program,
    operands,
    read_program,
    replay_profile,
)
from nearhand.features.items import Cell
from nearhand.hashing import murmur3_32
from tests.sdk.any_program import STEPS, program

DAY_MS = 86_400_000
T0 = 1_700_000_000_000
ITEMS = ItemTable(
    ("m_1", "m_2", "m_3"),
    {
        "year": (1995, 1985, None),
        "genres": (("crime", "drama"), ("war",), ()),
        "director": ("Mann", "Kurosawa", None),
    },
)
VOCABULARIES = {"genres": ["crime", "drama", "war"]}
VIEWED = ["item_viewed"]
VIEWS: list[dict[str, Any]] = [
    {"op": "count", "name": "n_7d", "events": VIEWED, "window": "7d"},
    {"op": "count", "name": "level", "events": VIEWED, "then": [{"step": "bucket", "boundaries": [1, 2]}]},
    {"op": "affinity", "name": "taste", "events": VIEWED, "of": "item.genres", "vocabulary": "genres"},
    {"op": "item", "name": "year", "of": "item.year", "default": 1900},
    {"op": "last_n", "name": "last", "events": VIEWED, "of": "item_id", "n": 4, "encode": {"buckets": 50}},
    {"op": "item_count", "name": "met", "events": VIEWED},
    {"op": "top_n", "name": "top", "events": VIEWED, "of": "item.genres", "vocabulary": "genres", "n": 2},
    {"op": "item", "name": "genre_codes", "of": "item.genres", "encode": {"vocabulary": "genres"}, "n": 2},
    {"op": "local_hour", "name": "hour", "encoding": "cyclic"},
    {"op": "item_affinity", "name": "fit", "affinity": "taste"},
    {"op": "item_time_since", "name": "since", "events": VIEWED, "unit": "seconds"},
    {"op": "item_difference", "name": "newer", "of": "item.year", "minus": "n_7d", "default": -7},
    {"op": "pushed", "name": "risk", "width": 2, "default": 0.5},
    {"op": "context", "name": "battery", "key": "battery", "default": -1},
    {"op": "context", "name": "device", "key": "device", "encode": {"buckets": 50}},
]


def compiled(*views: dict[str, Any], items: ItemTable = ITEMS, **fields: Any) -> CompiledProgram:
    content = program(*(views or VIEWS), vocabularies=VOCABULARIES, **fields)
    return compile_program(read_program(json.dumps(content).encode(), place="p.json"), items)


def viewed(number: int, *, at: int | None = None, item: str | None = "m_1", **properties: Any) -> ReplayEvent:
    when = T0 + number * 1000 if at is None else at
    return ReplayEvent(when, number, when, 0, 0, "item_viewed", item, {}, properties)


def folded(of: CompiledProgram, events: Iterable[ReplayEvent]) -> FeatureFold:
    fold = FeatureFold(of)
    for event in events:
        fold.offer(event)
    return fold


def value(of: CompiledProgram, vector: FeatureVector, name: str) -> list[float]:
    """The values of a column of the profile."""
    column = of.column(name)
    array = vector.floats if column.dtype == "float32" else vector.ints
    return [float(each) for each in array[column.offset : column.offset + column.width]]


# --- the catalogue ---------------------------------------------------------------------------------------------------


@given(st.lists(st.none() | st.integers() | st.lists(st.text(max_size=3), max_size=2).map(tuple), max_size=5))
def test_the_digest_of_a_catalogue_is_that_of_its_json(cells: list[Cell]) -> None:
    """State that was folded rests on it: it must not change from one version to the next."""
    ids = tuple(f"m_{row}" for row in range(len(cells)))
    items = ItemTable(ids, {"of": cells, "é": ["text"] * len(cells), "other": cells})
    written = json.dumps([ids, {"of": cells, "é": items.columns["é"]}], sort_keys=True)
    assert items.digest(["é", "of"]) == hashlib.sha256(written.encode()).hexdigest()
    assert items.digest([]) == hashlib.sha256(b"[]").hexdigest()


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ((1995, None), [1995, 9, 9]),
        ((1995.5, -0.25), [1995.5, -0.25, 9]),
        ((None, None), [9, 9, 9]),
        ((10**400, -(10**400)), [1e15, -1e15, 9]),
        ((True, 7), [9, 7, 9]),
        ((float("nan"), -1e300), [9, -1e15, 9]),
    ],
)
def test_a_number_of_the_catalogue_is_read_as_one_of_an_event(cells: tuple[Cell, ...], expected: list[float]) -> None:
    view = {"op": "item", "name": "n", "of": "item.x", "default": 9}
    of = compiled(view, items=ItemTable(("a", "b"), {"x": cells}))
    found = FeatureFold(of).candidates(T0, ["a", "b", "nobody"]).floats[:, 0]
    assert found.tolist() == np.array(expected, np.float32).tolist()


@given(st.lists(st.lists(st.integers(-3, 39), min_size=1, max_size=6), min_size=1, max_size=14))
@example([[row] for row in (*range(12), -1, 39)])
def test_candidates_are_the_same_in_whatever_portions_they_are_asked_for(portions: list[list[int]]) -> None:
    ids, genres = [f"m_{row}" for row in range(40)], VOCABULARIES["genres"]
    years = [1950 + row if row % 5 else None for row in range(40)]
    items = ItemTable(tuple(ids), {"year": years, "genres": [tuple(genres[: row % 4]) for row in range(40)]})
    events = [viewed(1, item="m_7"), viewed(2, item="m_3")]
    fold, told = folded(of := compiled(items=items), events), folded(compiled(items=items), events)
    every = folded(compiled(items=items), events).candidates(T0 + 5000, [*ids, "nobody"])
    year, codes = of.column("year").offset, of.column("genre_codes").offset
    for portion in portions:
        rows = np.array([max(row, -1) for row in portion], np.int32)
        asked = [ids[row] if row >= 0 else f"nobody {row}" for row in portion]
        for found in (fold.candidates(T0 + 5000, asked), told.candidates(T0 + 5000, asked, rows=rows)):
            assert found.floats.tobytes() == every.floats[rows].tobytes()
            assert found.ints.tobytes() == every.ints[rows].tobytes()
            assert found.floats[:, year].tolist() == [(years[row] or 1900) if row >= 0 else 1900 for row in rows]
            expected = [[2, 3][: row % 4] if row >= 0 else [] for row in rows.tolist()]
            assert found.ints[:, codes : codes + 2].tolist() == [[*each, 0, 0][:2] for each in expected]


def test_the_catalogue_is_not_gone_through_for_a_profile_that_asks_for_no_candidates() -> None:
    with mock.patch.object(candidates, "texts", wraps=operands.texts) as read:
        fold = folded(compiled(), [viewed(1)])
        fold.read(T0 + 10_000)
        assert read.call_count == 0
        fold.candidates(T0 + 10_000, ["m_1"])
        assert read.call_count > 0


# --- columns ---------------------------------------------------------------------------------------------------------


def test_columns_say_where_each_view_lies() -> None:
    """In the views' order, those of the profile first; each dtype, of each kind, is counted from 0."""
    assert compiled().columns == (
        Column("n_7d", "profile", "float32", 1, 0),
        Column("level", "profile", "int32", 1, 0),
        Column("taste", "profile", "float32", 3, 1),
        Column("last", "profile", "int32", 4, 1),
        Column("last.mask", "profile", "float32", 4, 4),
        Column("top", "profile", "int32", 2, 5),
        Column("top.mask", "profile", "float32", 2, 8),
        Column("hour", "profile", "float32", 2, 10),
        Column("risk", "profile", "float32", 2, 12),
        Column("battery", "profile", "float32", 1, 14),
        Column("device", "profile", "int32", 1, 7),
        Column("year", "item", "float32", 1, 0),
        Column("met", "item", "float32", 1, 1),
        Column("genre_codes", "item", "int32", 2, 0),
        Column("fit", "item", "float32", 1, 2),
        Column("since", "item", "float32", 1, 3),
        Column("newer", "item", "float32", 1, 4),
    )


def test_a_vector_holds_the_values_where_the_columns_say() -> None:
    of = compiled()
    fold = folded(of, [viewed(1), viewed(2, item="m_2")])
    vector = fold.read(T0 + 5000, 60, {"battery": 80, "device": "phone"}, {"risk": [0.25, 0.75]})
    assert (vector.floats.dtype.name, vector.ints.dtype.name) == ("float32", "int32")
    assert (len(vector.floats), len(vector.ints)) == (of.floats, of.ints) == (15, 8)
    third = float(np.float32(1 / 3))
    codes = [1.0 + murmur3_32(item.encode()) % 50 for item in ("m_2", "m_1")]
    assert value(of, vector, "n_7d") == [2]
    assert value(of, vector, "level") == [2]
    assert value(of, vector, "taste") == [third, third, third]
    assert value(of, vector, "last") == [*codes, 0, 0]
    assert value(of, vector, "last.mask") == [1, 1, 0, 0]
    assert value(of, vector, "top") == [2, 3]  # equal weights: the vocabulary's order
    assert value(of, vector, "top.mask") == [1, 1]
    assert value(of, vector, "risk") == [0.25, 0.75]
    assert value(of, vector, "battery") == [80]
    assert value(of, vector, "device") == [1 + murmur3_32(b"phone") % 50]

    found = fold.candidates(T0 + 5000, ["m_2", "m_3"], 60)
    assert (found.floats.dtype.name, found.ints.dtype.name) == ("float32", "int32")
    assert (found.floats.shape, found.ints.shape) == ((2, of.item_floats), (2, of.item_ints)) == ((2, 5), (2, 2))
    assert found.floats.tolist() == [[1985, 1, third, 3, 1983], [1900, 0, 0, -1, -7]]
    assert found.ints.tolist() == [[4, 0], [0, 0]]


def test_a_column_that_is_not_there_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(UsageError, match="'lst' is not a column of p; use one of n_7d, level"):
        compiled().column("lst")


def test_outputs_choose_and_order_the_columns() -> None:
    of = compiled(outputs=["n_7d", "fit", "hour"])
    assert [(column.name, column.offset) for column in of.columns] == [("n_7d", 0), ("hour", 1), ("fit", 0)]
    assert len(of.make_states()) == 2  # what n_7d reads, and what fit reads of taste

    events = [viewed(1), viewed(2, item="m_2")]
    everything, some = folded(compiled(), events), folded(of, events)
    for name in ("hour", "n_7d"):
        assert value(of, some.read(T0 + 5000), name) == value(compiled(), everything.read(T0 + 5000), name)
    fit = everything.candidates(T0 + 5000, ["m_1", "m_2"]).floats[:, 2]
    assert some.candidates(T0 + 5000, ["m_1", "m_2"]).floats.tolist() == [[each] for each in fit.tolist()]


def test_a_replay_puts_the_candidate_s_columns_behind_the_profile_s() -> None:
    of = compiled()
    events = [viewed(1), viewed(2, item="m_2")]
    labels = [Label(T0 + 9000, 60, "m_2"), Label(T0 + 5000), Label(T0 + 5000, 0, "m_1", {"battery": 3})]
    rows = replay_profile(of, events, labels)
    fold = folded(of, events)
    for label, row in sorted(zip(labels, rows, strict=True), key=lambda pair: pair[0].timestamp):
        vector = fold.read(label.timestamp, label.utc_offset_minutes, label.context)
        item = fold.candidates(label.timestamp, [label.item_id or ""], label.utc_offset_minutes, label.context)
        assert row.as_of == label.timestamp
        assert row.floats.tolist() == [*vector.floats.tolist(), *item.floats[0].tolist()]
        assert row.ints.tolist() == [*vector.ints.tolist(), *item.ints[0].tolist()]


def test_a_program_says_what_it_reads() -> None:
    seconds = {"op": "mean", "name": "m", "events": VIEWED, "value": "properties.player.seconds"}
    place = {"op": "distinct", "name": "d", "events": VIEWED, "of": "context.place"}
    hidden = {"op": "context", "name": "h", "key": "unused"}
    where = [{"field": "properties.share", "at_least": 0.5}, {"field": "item.director", "any_of": ["Mann"]}]
    of = compiled(seconds, {**place, "where": where}, hidden, VIEWS[13], VIEWS[12], outputs=["m", "d", "battery"])
    assert of.properties == {"player", "share"}
    assert of.context_keys == {"place", "battery"}
    assert of.pushed == {"risk": 2}


# --- state -----------------------------------------------------------------------------------------------------------


def test_views_that_read_the_same_share_their_state() -> None:
    windows = ["1h", "1d", "7d", "30d", "90d"]
    views: list[dict[str, Any]] = []
    for window in windows:
        views.append({"op": "count", "name": f"count_{window}", "events": VIEWED, "window": window})
        for op in ("sum", "mean", "min", "max", "std"):
            number = {"op": op, "value": "properties.seconds", "events": VIEWED, "window": window}
            views.append({**number, "name": f"{op}_{window}"})
    assert len(views) == 30
    of = compiled(*views)
    assert len(of.make_states()) == 2  # the events as they are, and with their seconds

    one_by_one = [compiled(view) for view in views]
    events = [viewed(place, at=T0 + place * 40_000_000, seconds=place * 0.75) for place in range(60)]
    at = events[-1].timestamp + 1000
    together = folded(of, events).read(at)
    alone = [folded(each, events).read(at).floats[0] for each in one_by_one]
    assert together.floats.tolist() == [float(each) for each in alone]


@pytest.mark.parametrize(
    ("change", "states"),
    [
        ({"name": "b", "window": "30d"}, 1),
        ({"name": "b", "then": [{"step": "log"}]}, 1),
        ({"name": "b", "op": "item_count"}, 2),  # reads the item
        ({"name": "b", "events": ["item_liked"]}, 2),
        ({"name": "b", "where": [{"field": "event", "any_of": ["item_viewed"]}]}, 2),
    ],
)
def test_views_that_read_something_else_do_not(change: dict[str, Any], states: int) -> None:
    first = {"op": "count", "name": "a", "events": VIEWED, "window": "7d"}
    assert len(compiled(first, {**first, **change}).make_states()) == states


def test_the_fingerprint_is_of_the_program_and_of_the_columns_that_its_state_rests_on() -> None:
    columns = {**ITEMS.columns}
    assert compiled(items=ItemTable(ITEMS.item_ids, columns)).fingerprint == compiled().fingerprint
    other_years = ItemTable(ITEMS.item_ids, {**columns, "year": (1, 2, 3)})
    assert compiled(items=other_years).fingerprint == compiled().fingerprint  # read of candidates, not of events
    other_genres = ItemTable(ITEMS.item_ids, {**columns, "genres": ((), (), ())})
    assert compiled(items=other_genres).fingerprint != compiled().fingerprint
    assert compiled(ttl="2m").fingerprint != compiled().fingerprint


def test_state_stays_small_however_many_events_there_are() -> None:
    views = [
        {"op": "mean", "name": "m", "events": VIEWED, "value": "properties.seconds", "window": "1d"},
        {"op": "std", "name": "s", "events": VIEWED, "value": "properties.seconds"},
        {"op": "distinct", "name": "d", "events": VIEWED, "of": "item_id", "window": "2d"},
        {"op": "session", "name": "i", "events": VIEWED, "measure": "index", "window": "2d"},
        {"op": "decay", "name": "f", "events": VIEWED, "half_life": "1h"},
        {**VIEWS[2], "half_life": "1h"},
        {"op": "streak", "name": "k", "events": VIEWED},
        VIEWS[4],
    ]
    fold = FeatureFold(compiled(*views))
    sizes = []
    gap = 10 * 60_000  # 144 events a day
    for round_ in range(20):
        for place in range(round_ * 5000, round_ * 5000 + 5000):
            fold.offer(viewed(place, at=T0 + place * gap, item=f"m_{place % 7}", seconds=place % 60))
        fold.advance(T0 + (round_ + 1) * 5000 * gap)
        sizes.append(len(fold.dump()))
    assert fold.events == 100_000
    # Rows of three days at most, in two states, the days of the streak, and what came since the last trimming.
    assert max(sizes) < 80_000
    vector = fold.read(T0 + 100_000 * gap)
    assert value(fold.program, vector, "k") == [696]


def test_what_was_trimmed_can_no_longer_be_read() -> None:
    fold = folded(compiled(VIEWS[0]), [viewed(place, at=T0 + place * 3_600_000) for place in range(512)])
    fold.read(T0 + 512 * 3_600_000)
    assert fold.earliest == fold.visible_from == T0 + 511 * 3_600_000 + 1
    with pytest.raises(UsageError, match=f"read at {fold.earliest} or later, or fold the events again"):
        fold.read(fold.earliest - 1)
    with pytest.raises(UsageError, match=f"the features of {fold.earliest - 1} can no longer be read"):
        fold.candidates(fold.earliest - 1, ["m_1"])
    assert fold.read(fold.earliest).floats.tolist() == [7 * 24]


def test_a_refused_reading_changes_nothing() -> None:
    fold = folded(compiled(), [viewed(1), viewed(9)])
    fold.read(T0 + 5000)
    before = fold.dump()
    with pytest.raises(UsageError):
        fold.read(T0)
    assert fold.dump() == before
    assert fold.pending == 1


@given(st.integers(0, 2**32), st.integers(0, 30))
def test_state_survives_its_bytes(seed: int, cut: int) -> None:
    order = random.Random(seed)
    events = [
        viewed(place, at=T0 + order.randrange(40 * DAY_MS), item=order.choice(["m_1", "m_2", "é", None]), seconds=place)
        for place in range(30)
    ]
    of = compiled()
    lived, saved = folded(of, events), folded(of, events[:cut])
    now = T0 + 41 * DAY_MS
    lived.advance(now)
    saved.advance(T0 + 20 * DAY_MS if order.random() < 0.5 else now)
    restored = FeatureFold.load(of, saved.dump())
    assert restored.dump() == saved.dump()
    for event in events[cut:]:
        restored.offer(event)
    again, once = restored.read(now), lived.read(now)
    assert (again.floats.tobytes(), again.ints.tobytes()) == (once.floats.tobytes(), once.ints.tobytes())


def test_state_of_another_program_or_catalogue_is_refused() -> None:
    state = folded(compiled(), [viewed(1)]).dump()
    with pytest.raises(ProgramError, match=r"feature state: is of another program; fold the events again"):
        FeatureFold.load(compiled(version="1.0.1"), state)
    other = ItemTable(ITEMS.item_ids, {**ITEMS.columns, "genres": (("war",), (), ())})
    with pytest.raises(ProgramError, match=r"is of another program; fold the events again"):
        FeatureFold.load(compiled(items=other), state)


@pytest.mark.parametrize("damage", [b"", b"[]", b"null", b"{}", b"\xff", b'{"fingerprint": 1}'])
def test_what_is_no_state_is_refused(damage: bytes) -> None:
    with pytest.raises(ProgramError, match="fold the events again"):
        FeatureFold.load(compiled(), damage)


def test_half_a_state_is_refused() -> None:
    fold = folded(compiled(), [viewed(1), viewed(2), viewed(9)])
    fold.advance(T0 + 5000)
    state = fold.dump()
    for size in range(0, len(state), 5):
        with pytest.raises(ProgramError, match="feature state: is damaged"):
            FeatureFold.load(compiled(), state[:size])
    rest = json.loads(state[32:])
    rest["states"].pop()
    missing = json.dumps(rest).encode()
    with pytest.raises(ProgramError, match="feature state: is damaged"):
        FeatureFold.load(compiled(), hashlib.sha256(missing).digest() + missing)


def test_no_flipped_bit_is_taken_for_a_state() -> None:
    fold = folded(compiled(), [viewed(1), viewed(2)])
    fold.advance(T0 + 5000)
    state = bytearray(fold.dump())
    for place in range(len(state)):
        state[place] ^= 1 << place % 8
        with pytest.raises(ProgramError, match="feature state: is"):
            FeatureFold.load(compiled(), bytes(state))
        state[place] ^= 1 << place % 8


@pytest.mark.parametrize("name", ["read", "candidates"])
def test_pushed_values_of_another_width_are_refused(name: str) -> None:
    fold = FeatureFold(compiled())
    (pushed, width), *_ = fold.program.pushed.items()
    given = {pushed: [1.0] * (width + 1)}
    reading = partial(fold.read, T0) if name == "read" else partial(fold.candidates, T0, [])
    with pytest.raises(UsageError, match=f"give {width}"):
        reading(pushed=given)


def test_whole_numbers_of_the_catalogue_are_texts_too() -> None:
    views = [{"op": "item", "name": "year", "of": "item.year", "encode": {"buckets": 50}}]
    of = compiled(*views)
    found = FeatureFold(of).candidates(T0, ["m_1", "m_3"]).ints[:, 0].tolist()
    assert found == [1 + murmur3_32(b"1995") % 50, 0]


def test_a_value_beyond_float32_is_its_largest() -> None:
    widen = {"step": "normalize", "offset": 0, "scale": "1E-15"}
    views = [{"op": "context", "name": "huge", "key": "huge", "then": [widen, widen, widen]}]
    of = compiled(*views)
    vector = FeatureFold(of).read(T0, context={"huge": -1e15})
    assert vector.floats.tolist() == [-np.finfo(np.float32).max]


# --- candidates ------------------------------------------------------------------------------------------------------


def test_an_item_that_the_catalogue_does_not_have_gets_defaults() -> None:
    of = compiled()
    fold = folded(of, [viewed(1), viewed(2, item="stranger")])
    found = fold.candidates(T0 + 5000, ["nobody", "stranger"])
    # Its events are known even if its columns are not.
    assert found.floats.tolist() == [[1900, 0, 0, -1, -7], [1900, 1, 0, 3, -7]]
    assert found.ints.tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("combine", ["sum", "mean", "max"])
def test_no_known_text_is_no_affinity(combine: str) -> None:
    disliked = {**VIEWS[2], "weights": {"item_viewed": -1}}
    of = compiled(disliked, {"op": "item_affinity", "name": "fit", "affinity": "taste", "combine": combine})
    fold = folded(of, [viewed(1), viewed(2), viewed(3, item="m_2"), viewed(4, item="m_2")])
    part = -np.float32(1 / 3)  # of two genres of the first film, and of the only one of the second
    found = fold.candidates(T0 + 5000, ["m_1", "m_2", "m_3", "nobody"]).floats[:, 0]
    assert found.tolist() == [2 * part if combine == "sum" else part, part, 0, 0]


def test_no_candidates_are_an_empty_array() -> None:
    of = compiled()
    found = folded(of, [viewed(1)]).candidates(T0 + 5000, [])
    assert found.floats.shape == (0, of.item_floats)
    assert found.ints.shape == (0, of.item_ints)


def test_a_program_without_views_of_items_gives_no_columns_for_candidates() -> None:
    found = folded(compiled(VIEWS[0]), []).candidates(T0, ["m_1", "m_2"])
    assert found.floats.shape == found.ints.shape == (2, 0)


@given(STEPS, st.lists(st.floats(-1e15, 1e15), min_size=1, max_size=5))
def test_steps_are_the_same_for_a_profile_and_for_candidates(steps: list[Any], numbers: list[float]) -> None:
    items = ItemTable(tuple(str(place) for place in range(len(numbers))), {"x": numbers})
    of = compiled(
        {"op": "context", "name": "of_profile", "key": "x", "then": steps},
        {"op": "item", "name": "of_item", "of": "item.x", "then": steps},
        items=items,
    )
    fold = FeatureFold(of)
    found = fold.candidates(T0, items.item_ids)
    dtype = of.column("of_item").dtype
    assert of.column("of_profile").dtype == dtype
    one_by_one = [fold.read(T0, context={"x": number}) for number in numbers]
    if dtype == "float32":
        assert np.concatenate([each.floats for each in one_by_one]).tobytes() == found.floats[:, 0].tobytes()
    else:
        assert np.concatenate([each.ints for each in one_by_one]).tobytes() == found.ints[:, 0].tobytes()


# --- odd input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("battery", "expected"),
    [
        (80, 80),
        (-0.5, -0.5),
        ("80", -1),
        (True, -1),
        (None, -1),
        ([80], -1),
        (float("nan"), -1),
        (10**400, float(np.float32(1e15))),
    ],
)
def test_a_number_of_the_context_that_is_none_is_the_default(battery: object, expected: float) -> None:
    of = compiled()
    assert value(of, FeatureFold(of).read(T0, context={"battery": battery}), "battery") == [expected]


@pytest.mark.parametrize(
    ("device", "text"),
    [
        ("phone", "phone"),
        (7, "7"),
        (["tv", "phone"], "tv"),
        ("", ""),
        ("é", "é"),
        (True, None),
        (7.5, None),
        (None, None),
        ([], None),
        ([[]], None),
        ({"a": 1}, None),
    ],
)
def test_a_text_of_the_context_that_is_none_is_0(device: object, text: str | None) -> None:
    of = compiled()
    expected = 0 if text is None else 1 + murmur3_32(text.encode()) % 50
    assert value(of, FeatureFold(of).read(T0, context={"device": device}), "device") == [expected]
    assert value(of, FeatureFold(of).read(T0), "device") == [0]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (41.5, 41.5),
        (1e300, 1e15),
        (-1e300, -1e15),
        (10**400, 1e15),
        (0.0004, 0),
        (0.0006, 0.001),
        (True, None),
        ("41", None),
        (None, None),
        ([41], None),
        (float("nan"), None),
    ],
)
@pytest.mark.parametrize("window", [None, "7d"])
def test_a_number_of_an_event_is_clipped_and_rounded_or_the_event_is_left_out(
    seconds: object, expected: float | None, window: str | None
) -> None:
    mean = {"op": "mean", "name": "m", "events": VIEWED, "value": "properties.seconds", "default": -1, "window": window}
    of = compiled(mean)
    found = folded(of, [viewed(1, seconds=seconds)]).read(T0 + 5000).floats
    assert found.tolist() == [float(np.float32(-1 if expected is None else expected))]


def test_sums_of_the_largest_values_are_exact() -> None:
    """A float64 sum would lose the small value beside the large ones."""
    total = {"op": "sum", "name": "s", "events": VIEWED, "value": "properties.x", "decimals": 6}
    for window in (None, "7d"):
        of = compiled({**total, "window": window})
        events = [viewed(1, x=1e15), viewed(2, x=0.000001), viewed(3, x=-1e15)]
        assert folded(of, events).read(T0 + 9000).floats.tolist() == [float(np.float32(0.000001))]


def test_nothing_pushed_is_the_default() -> None:
    of = compiled()
    fold = FeatureFold(of)
    assert value(of, fold.read(T0), "risk") == [0.5, 0.5]
    assert value(of, fold.read(T0, pushed={"another": [1.0]}), "risk") == [0.5, 0.5]


def test_a_catalogue_is_a_table() -> None:
    with pytest.raises(UsageError, match=r"ItemTable.item_ids: an item id stands twice"):
        ItemTable(("a", "a"), {})
    with pytest.raises(UsageError, match=r"ItemTable.columns\['x'\]: has 1 cells for 2 items"):
        ItemTable(("a", "b"), {"x": (1,)})


@pytest.mark.parametrize("late", [0, 31])
def test_a_session_still_begins_where_a_late_event_of_the_same_millisecond_comes_in(late: int) -> None:
    views = [{"op": "session", "name": measure, "measure": measure, "events": VIEWED} for measure in ("index", "depth")]
    of = compiled(*views)
    minutes = [0, 31, 32]
    fold = folded(of, [viewed(number, at=T0 + 60_000 * minute) for number, minute in enumerate(minutes)])
    fold.advance(T0 + 60_000 * 33)
    fold.offer(viewed(3, at=T0 + 60_000 * late))
    assert fold.read(T0 + 60_000 * 33).floats.tolist() == [2, 3 if late else 2]
