"""One small program for each operator and each kind of state that it can rest on, and one program of them all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from nearhand.features import CompiledProgram, ItemTable, compile_program, read_program

Views = tuple[dict[str, Any], ...]

EVENTS = ("item_viewed", "item_liked", "item_disliked", "item_purchased")
"""The types that the views read. Streams hold others too."""

ITEMS = ItemTable(
    ("a", "b", "c", "d", "e"),
    {
        "genres": (("drama",), ("drama", "crime"), ("comedy", "unlisted"), None, ("crime", "comedy", "drama")),
        "brand": ("acme", "acme", "bolt", "bolt", None),
        "price": (1.25, 20, 3.005, None, -7.5),
    },
)
CANDIDATES = ("a", "b", "d", "e", "unknown")
PUSHED = "pushed_numbers"

_VOCABULARIES = {
    "genres": ["crime", "comedy", "drama"],
    "tags": ["x", "y", "z", "7"],
    "hours": [str(hour) for hour in range(24)],
    "days": [str(day) for day in range(7)],
    "types": [*EVENTS, "search"],
    "items": ["a", "b", "c", "unknown"],
}
_WEIGHTS = {"item_liked": 2.5, "item_disliked": -1.5, "item_purchased": 0.3}
_EXPENSIVE = [{"field": "properties.value", "at_least": 1, "below": 41.5}]
_TAGGED = [{"field": "properties.tags", "any_of": ["x", "7"]}, {"field": "item.brand", "any_of": ["acme"]}]


_HORIZONS: dict[str, dict[str, str]] = {"": {}, "_window": {"window": "3d"}, "_decayed": {"half_life": "1h"}}


def _view(op: str, name: str = "", **fields: Any) -> dict[str, Any]:
    """A view of events; it is called by its operator if it has no other name."""
    return {"op": op, "name": name or op, "events": list(EVENTS), **fields}


def _plain(op: str, name: str = "", **fields: Any) -> dict[str, Any]:
    """A view of something else."""
    return {"op": op, "name": name or op, **fields}


def _numbers() -> Iterator[Views]:
    """Of each program the views that its last one rests on, and that one."""
    yield (_view("count"),)
    yield (_view("count", "count_window", window="2h"),)
    yield (_view("count", "count_where", window="3d", where=_EXPENSIVE),)
    yield (_view("count", "count_where_text", where=_TAGGED),)
    yield (_view("count", "count_context", window="3d", where=[{"field": "context.battery", "at_least": 0.5}]),)
    yield (_view("count", "count_short", window="30m"), _view("count", "count_windows", window="9d"))
    for op in ("sum", "mean", "min", "max", "std"):
        yield (_view(op, value="properties.value"),)
        yield (_view(op, f"{op}_window", value="properties.value", window="2h"),)
    yield (_view("sum", "sum_coarse", value="properties.value", decimals=0, window="3d"),)
    yield (_view("mean", "mean_of_item", value="item.price", window="3d", default=-3),)
    yield (_view("std", "std_nested", value="properties.deep.value", decimals=6, window="9d"),)
    # Three windows of one state, of which some want running sums.
    windows = {"min": "2h", "sum": "3d", "std": "1d"}
    yield tuple(_view(op, f"shared_{op}", value="properties.value", window=window) for op, window in windows.items())
    over, under = (
        _view("count", "ratio_over", window="2h", where=_EXPENSIVE),
        _view("count", "ratio_under", window="3d"),
    )
    yield (over, under, _plain("ratio", numerator="ratio_over", denominator="ratio_under", default=-1))
    yield (_view("decay", half_life="1h"),)
    yield (_view("decay", "decay_value", half_life="3d", value="properties.value"),)
    yield (_view("time_since", unit="seconds"),)
    yield (_view("time_since", "time_since_first", since="first", unit="days", where=_EXPENSIVE),)
    yield (_view("recency", half_life="5h"),)
    yield (_view("streak"),)
    for measure in ("length", "depth", "dwell", "index"):
        yield (_view("session", f"session_{measure}", measure=measure, window="1d"),)
    # The longer window of one state must not show in the shorter one.
    short = _view("session", "session_short", measure="length", gap="2h", window="3h")
    yield (short, _view("session", "session_windows", measure="index", gap="2h", window="3d"))
    squeeze = [{"step": "normalize", "offset": 1.5, "scale": 0.7}, {"step": "clip", "low": -2, "high": 3.25}]
    yield (_view("sum", "steps", value="properties.value", window="3d", then=[{"step": "log"}, *squeeze]),)
    yield (_view("count", "steps_bucket", window="3d", then=[{"step": "bucket", "boundaries": [1, 2.5, 6]}]),)


def _texts() -> Iterator[Views]:
    yield (_view("distinct", of="item_id"),)
    yield (_view("distinct", "distinct_window", of="item_id", window="2h"),)
    day = _view("distinct", "distinct_day", of="properties.tags", window="1d")
    yield (day, _view("distinct", "distinct_lists", of="properties.tags", window="3d"))
    tags, hashed = {"vocabulary": "tags"}, {"buckets": 1000, "seed": 7}
    yield (_view("last_n", of="item_id", n=5, encode={"vocabulary": "items"}),)
    yield (_view("last_n", "last_n_distinct", of="item_id", n=3, distinct=True, encode=hashed),)
    yield (_view("last_n", "last_n_lists", of="properties.tags", n=4, encode=tags),)
    yield (_view("last_n", "last_n_distinct_lists", of="properties.tags", n=2, distinct=True, encode=tags),)
    for suffix, horizon in _HORIZONS.items():
        more: dict[str, Any] = {"weights": _WEIGHTS, **horizon}
        yield (_view("affinity", f"affinity{suffix}", of="item.genres", vocabulary="genres", **more),)
        yield (_view("top_n", f"top_n{suffix}", of="properties.tags", vocabulary="tags", n=3, **more),)
    yield (_view("affinity", "affinity_hours", of="local_hour", vocabulary="hours"),)
    yield (_view("affinity", "affinity_days", of="weekday", vocabulary="days", window="9d"),)
    yield (_view("affinity", "affinity_types", of="event", vocabulary="types", half_life="3d", where=_EXPENSIVE),)


def _requests() -> Iterator[Views]:
    for op in ("local_hour", "weekday"):
        yield (_plain(op),)
        yield (_plain(op, f"{op}_cyclic", encoding="cyclic"),)
    yield (_plain("context", "context_number", key="battery", default=0.25),)
    yield (_plain("context", "context_text", key="device", encode={"buckets": 50}),)
    yield (_plain("pushed", PUSHED, width=2, default=-1),)


def _candidates() -> Iterator[Views]:
    yield (_plain("item", "item_number", of="item.price", default=9),)
    yield (_plain("item", "item_codes", of="item.genres", n=2, encode={"vocabulary": "genres"}),)
    for combine, (suffix, horizon) in zip(("sum", "mean", "max"), _HORIZONS.items(), strict=True):
        more: dict[str, Any] = {"weights": _WEIGHTS, **horizon}
        affinity = _view("affinity", f"affinity_of_item{suffix}", of="item.genres", vocabulary="genres", **more)
        yield (
            affinity,
            _plain("item_affinity", f"item_affinity_{combine}", affinity=affinity["name"], combine=combine),
        )
    yield (_view("item_count"),)
    yield (_view("item_count", "item_count_window", window="2h", where=_EXPENSIVE),)
    yield (
        _view("item_count", "item_steps", window="3d", then=[{"step": "log"}, {"step": "clip", "low": 0, "high": 1}]),
    )
    yield (_view("item_time_since", unit="minutes"),)
    mean = _view("mean", "mean_price", value="item.price", window="3d")
    yield (mean, _plain("item_difference", of="item.price", minus="mean_price"))


def document(name: str, views: Views, version: str = "1.0.0") -> bytes:
    """A program of these views as JSON."""
    content = {"format": 1, "name": name, "version": version, "vocabularies": _VOCABULARIES, "views": views}
    return json.dumps(content).encode()


OPERATORS: dict[str, Views] = {
    views[-1]["name"]: views for views in (*_numbers(), *_texts(), *_requests(), *_candidates())
}
"""Of each operator, with each kind of state, a program's views. All of them have different names."""

PROGRAMS: dict[str, bytes] = {name: document(name, views) for name, views in OPERATORS.items()}
"""They as JSON."""


def everything() -> Views:
    """All of their views, for one program."""
    return tuple(view for views in OPERATORS.values() for view in views)


@cache
def compiled(name: str, version: str = "1.0.0") -> CompiledProgram:
    """The program of that name, ready to fold; another version of it is another program with the same columns."""
    data = document(name, OPERATORS[name], version)
    return compile_program(read_program(data, place=f"{name}.json"), ITEMS)
