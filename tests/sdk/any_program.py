"""Feature programs for tests: a small catalogue, and a strategy that makes any program that the schema allows."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, get_args, get_type_hints

from hypothesis import strategies as st

from nearhand.features import ItemTable, ReplayEvent
from nearhand.features.views import SCALAR_VIEWS

ITEMS = ItemTable(
    ("m_1", "m_2"),
    {
        "title": ("Heat", "Ran"),
        "year": (1995, None),
        "genres": (("crime", "drama"), ()),
        "director": (None, "Kurosawa"),
        "score": (0.5, None),
        "unknown": (None, None),
    },
)
VOCABULARIES = {"genres": ["crime", "drama"], "directors": ["Mann"]}

OPS = (
    "count, sum, mean, min, max, std, distinct, ratio, decay, time_since, recency, streak, last_n, affinity, top_n, "
    "session, local_hour, weekday, context, pushed, item, item_affinity, item_count, item_time_since, item_difference"
)


EVENT = ReplayEvent(
    timestamp=10**12,
    sequence=1,
    recorded_at=10**12,
    utc_offset_minutes=60,
    epoch=0,
    event="item_viewed",
    item_id="m_1",
    context={"hour": 21, "device": "phone"},
    properties={"seconds": 41.5, "tag": ["a", "b"], "a": {"b": 2}},
)
"""Has every operand that the programs here read."""


def program(*views: Any, **fields: Any) -> dict[str, Any]:
    return {"format": 1, "name": "p", "version": "1.0.0", "views": list(views), **fields}


_TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
_NAME = st.sampled_from(["seconds", "price", "a", "é", "two words"])
_DURATION = st.sampled_from(["1s", "90s", "30m", "12h", "7d", "30d", "2w", "3650d"])
_NUMBER = (
    st.integers(-(10**15), 10**15)
    | st.floats(-1e15, 1e15)
    | st.decimals(-(10**6), 10**6, places=3, allow_nan=False).map(str)
)
_EVENT_NUMBER = st.sampled_from(["properties.seconds", "properties.a.b", "context.hour", "item.year"])
_EVENT_TEXT = st.sampled_from(
    ["item_id", "event", "local_hour", "weekday", "properties.tag", "context.device", "item.genres", "item.director"]
)
_EVENTS = st.lists(st.sampled_from(["item_viewed", "item_liked", "search", "own type"]), min_size=1, unique=True)
_BOUNDS = st.tuples(_NUMBER, _NUMBER).filter(lambda pair: Decimal(str(pair[0])) < Decimal(str(pair[1])))
_WHERE = st.lists(
    st.builds(lambda field, low: {"field": field, "at_least": low}, _EVENT_NUMBER, _NUMBER)
    | st.builds(lambda field, ends: {"field": field, "at_least": ends[0], "below": ends[1]}, _EVENT_NUMBER, _BOUNDS)
    | st.builds(lambda field, texts: {"field": field, "any_of": texts}, _EVENT_TEXT, st.lists(_TEXT, min_size=1)),
    max_size=2,
)
_MIDDLE = (
    st.just({"step": "log"})
    | st.builds(lambda ends: {"step": "clip", "low": ends[0], "high": ends[1]}, _BOUNDS)
    | st.builds(
        lambda offset, scale: {"step": "normalize", "offset": offset, "scale": scale}, _NUMBER, st.floats(1e-3, 1e15)
    )
)
_BUCKET = st.lists(st.integers(-9, 99), min_size=1, unique=True).map(
    lambda boundaries: {"step": "bucket", "boundaries": sorted(boundaries)}
)
STEPS = st.builds(lambda steps, last: [*steps, *last], st.lists(_MIDDLE, max_size=2), st.lists(_BUCKET, max_size=1))
_ENCODE = st.just({"vocabulary": "genres"}) | st.fixed_dictionaries(
    {"buckets": st.integers(1, 2**30 - 1)}, optional={"seed": st.integers(0, 2**32 - 1)}
)
_HORIZON: st.SearchStrategy[dict[str, Any]] = (
    st.just({}) | _DURATION.map(lambda each: {"window": each}) | _DURATION.map(lambda each: {"half_life": each})
)


def _of_events(
    needed: dict[str, Any], optional: dict[str, Any] | None = None, *, steps: bool = True
) -> st.SearchStrategy[dict[str, Any]]:
    choices = {"where": _WHERE, **(optional or {}), **({"then": STEPS} if steps else {})}
    return st.fixed_dictionaries({"events": _EVENTS, **needed}, optional=choices)


def _aggregate(op: str) -> st.SearchStrategy[dict[str, Any]]:
    default = {} if op == "sum" else {"default": _NUMBER}
    return _of_events(
        {"value": _EVENT_NUMBER}, {"decimals": st.integers(0, 6), "window": st.none() | _DURATION, **default}
    )


def _weighted(needed: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    base = _of_events({"of": _EVENT_TEXT, "vocabulary": st.sampled_from(sorted(VOCABULARIES)), **needed}, steps=False)
    return st.builds(
        lambda view, horizon, weight: {**view, **horizon, "weights": {view["events"][0]: weight}},
        base,
        _HORIZON,
        st.integers(-(10**6), 10**6),
    )


_UNIT = st.sampled_from(["seconds", "minutes", "hours", "days"])
PLAIN: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "count": _of_events({}, {"window": _DURATION}),
    **{op: _aggregate(op) for op in ("sum", "mean", "min", "max", "std")},
    "distinct": _of_events({"of": _EVENT_TEXT}, {"window": _DURATION}),
    "decay": _of_events({"half_life": _DURATION}, {"value": _EVENT_NUMBER, "decimals": st.integers(0, 6)}),
    "time_since": _of_events({}, {"since": st.sampled_from(["latest", "first"]), "unit": _UNIT, "default": _NUMBER}),
    "recency": _of_events({"half_life": _DURATION}),
    "streak": _of_events({}),
    "last_n": _of_events(
        {"of": _EVENT_TEXT, "n": st.integers(1, 9), "encode": _ENCODE}, {"distinct": st.booleans()}, steps=False
    ),
    "affinity": _weighted({}),
    "top_n": _weighted({"n": st.integers(1, 9)}),
    "session": _of_events(
        {"measure": st.sampled_from(["length", "depth", "dwell", "index"])},
        {"gap": st.sampled_from(["1s", "30m", "1d"]), "window": st.sampled_from(["2d", "30d"])},
    ),
    **{
        op: st.fixed_dictionaries({}, optional={"encoding": st.sampled_from(["number", "cyclic"])})
        for op in ("local_hour", "weekday")
    },
    "context": st.fixed_dictionaries({"key": _NAME}, optional={"default": _NUMBER, "then": STEPS})
    | st.fixed_dictionaries({"key": _NAME, "encode": _ENCODE}),
    "pushed": st.fixed_dictionaries({}, optional={"width": st.integers(1, 9), "default": _NUMBER}),
    "item": st.fixed_dictionaries({"of": st.just("item.year")}, optional={"default": _NUMBER, "then": STEPS})
    | st.fixed_dictionaries({"of": st.just("item.genres"), "encode": _ENCODE}, optional={"n": st.integers(1, 9)}),
    "item_count": _of_events({}, {"window": _DURATION}),
    "item_time_since": _of_events({}, {"unit": _UNIT, "default": _NUMBER}),
}
_SCALAR_OPS = {op for view in SCALAR_VIEWS for op in get_args(get_type_hints(view)["op"])}


def _referring(op: str, earlier: list[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    numbers = st.sampled_from([view["name"] for view in earlier if view["op"] in _SCALAR_OPS])
    if op == "ratio":
        return st.fixed_dictionaries(
            {"numerator": numbers, "denominator": numbers}, optional={"default": _NUMBER, "then": STEPS}
        )
    if op == "item_difference":
        return st.fixed_dictionaries(
            {"of": st.just("item.year"), "minus": numbers}, optional={"default": _NUMBER, "then": STEPS}
        )
    affinities = [view["name"] for view in earlier if view["op"] == "affinity" and view["of"].startswith("item.")]
    return st.fixed_dictionaries(
        {"affinity": st.sampled_from(affinities)},
        optional={"combine": st.sampled_from(["sum", "mean", "max"]), "then": STEPS},
    )


@st.composite
def programs(draw: st.DrawFn) -> dict[str, Any]:
    """Any program that the schema and the catalogue above allow, as people write it."""
    views: list[dict[str, Any]] = []
    for position in range(draw(st.integers(1, 5))):
        ops = list(PLAIN)
        if any(view["op"] in _SCALAR_OPS for view in views):
            ops += ["ratio", "item_difference"]
        if any(view["op"] == "affinity" and view["of"].startswith("item.") for view in views):
            ops.append("item_affinity")
        op = draw(st.sampled_from(ops))
        fields = draw(PLAIN[op] if op in PLAIN else _referring(op, views))
        views.append({"op": op, "name": f"v{position}", **fields})
    content = program(*views, vocabularies=VOCABULARIES)
    if draw(st.booleans()):
        content["outputs"] = draw(st.lists(st.sampled_from([view["name"] for view in views]), min_size=1, unique=True))
    if draw(st.booleans()):
        content["ttl"] = draw(_DURATION)
    return content


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
