"""The heart of a replay: tables of events and labels in, one feature vector for each label out."""

from __future__ import annotations

import gc
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from nearhand.events import RESET
from nearhand.features import CompiledProgram, FeatureVector, Label, ReplayEvent, replay_profile
from nearhand_converters.replay.labels import CARRIED
from nearhand_converters.replay.rows import Array, Table

_CHUNK_ROWS = 20_000
_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Profiles:
    """Some users' events and labels, in the order of the users.

    Attributes:
        users: sorted, each once; only those that have labels.
        events: of these users, in (user, sequence) order, without duplicates; with ``epoch`` known.
        labels: in (user, order of the source).
        event_starts, label_starts: int64[users + 1], where each user's rows begin.
        duplicates: how many events were left out, of all users.
        strangers: how many of the users have no event.
    """

    users: Sequence[str]
    events: Table
    labels: Table
    event_starts: NDArray[np.int64]
    label_starts: NDArray[np.int64]
    duplicates: int
    strangers: int


def order_profiles(
    events: Table, labels: Table | None, label_events: Sequence[str], program: CompiledProgram
) -> Profiles:
    """Sort by user, drop events whose ``event_id`` the user's log has already, and count resets.

    Args:
        labels: None: each event of a type in ``label_events`` makes one, at the instant at which it was recorded.
    """
    events, duplicates = _in_order(events)
    if labels is None:
        labels = _labels_of(events.filter(_is_one_of(events["event"], label_events)))
    users = sorted(pc.unique(labels["user"]).to_pylist())
    strangers = len(set(users).difference(pc.unique(events["user"]).to_pylist()))
    # An event of the first epoch that feeds nothing changes nothing; one of a later epoch tells that the epoch began.
    matters = pc.or_(_is_one_of(events["event"], list(program.feeds)), pc.greater(events["epoch"], 0))
    events = events.filter(pc.and_(matters, _is_one_of(events["user"], users)))
    labels = labels.take(pa.array(np.argsort(_codes(labels["user"], users), kind="stable")))
    edges = np.arange(len(users) + 1)
    return Profiles(
        users,
        events,
        labels,
        np.searchsorted(_codes(events["user"], users), edges),
        np.searchsorted(_codes(labels["user"], users), edges),
        duplicates,
        strangers,
    )


def feature_rows(profiles: Profiles, program: CompiledProgram) -> Iterator[tuple[Table, list[FeatureVector]]]:
    """Labels and their features, some users at a time."""
    first, starts = 0, profiles.event_starts + profiles.label_starts
    while first < len(profiles.users):
        # As many users as make a chunk, so that few rows are Python objects at a time; at least one.
        last = max(int(np.searchsorted(starts, starts[first] + _CHUNK_ROWS, side="right")) - 1, first + 1)
        with _without_collector():
            chunk = _chunk(profiles, program, first, last)
        yield chunk
        first = last


@contextmanager
def _without_collector() -> Iterator[None]:
    """The events of a chunk are many objects and no cycles: looking for them would double the time to make them."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _chunk(profiles: Profiles, program: CompiledProgram, first: int, last: int) -> tuple[Table, list[FeatureVector]]:
    event_starts, label_starts = profiles.event_starts[first : last + 1], profiles.label_starts[first : last + 1]
    events = replay_events(profiles.events.slice(event_starts[0], event_starts[-1] - event_starts[0]), program)
    table = profiles.labels.slice(label_starts[0], label_starts[-1] - label_starts[0])
    labels = labels_of(table, program)
    vectors: list[FeatureVector] = []
    event_edges, label_edges = (event_starts - event_starts[0]).tolist(), (label_starts - label_starts[0]).tolist()
    for user in range(last - first):
        own_events = events[event_edges[user] : event_edges[user + 1]]
        own_labels = labels[label_edges[user] : label_edges[user + 1]]
        vectors += replay_profile(program, own_events, own_labels)
    return table, vectors


def replay_events(events: Table, program: CompiledProgram) -> list[ReplayEvent]:
    """The rows of a table of events as the fold reads them."""
    columns: tuple[Iterable[Any], ...] = (
        *(_whole(events[name]) for name in ("timestamp", "sequence", "recorded_at", "utc_offset_minutes", "epoch")),
        _values(events["event"]),
        _values(events["item_id"]),
        _mappings(events, "context", program.context_keys),
        _mappings(events, "properties", program.properties),
    )
    # What ReplayEvent._make does, without a Python call for each of millions.
    return list(map(partial(tuple.__new__, ReplayEvent), zip(*columns, strict=False)))


def labels_of(table: Table, program: CompiledProgram) -> list[Label]:
    """The rows of a table of labels as a replay reads them."""
    names = [name for name in program.pushed if f"pushed.{name}" in table.column_names]
    pushed = [table[f"pushed.{name}"].to_pylist() for name in names]
    given = [
        {name: numbers for name, numbers in zip(names, row, strict=True) if numbers is not None}
        for row in zip(*pushed, strict=True)
    ]
    columns: tuple[Iterable[Any], ...] = (
        _whole(table["timestamp"]),
        _whole(table["utc_offset_minutes"]),
        _values(table["item_id"]),
        _mappings(table, "context", program.context_keys),
        given if names else repeat(_NOTHING),
    )
    return list(map(Label._make, zip(*columns, strict=False)))


def no_events() -> Table:
    """A table of events without a row, for users that have labels and no events."""
    texts, numbers = ("user", "event", "item_id"), ("sequence", "timestamp", "recorded_at", "utc_offset_minutes")
    kinds = dict.fromkeys(texts, pa.string()) | dict.fromkeys(numbers, pa.int64())
    return pa.table({name: pa.array([], kind) for name, kind in kinds.items()})


# --- order -----------------------------------------------------------------------------------------------------------


def _in_order(events: Table) -> tuple[Table, int]:
    """Events by (user, sequence, row) with their epochs, without duplicates, and how many of these there were."""
    users = sorted(pc.unique(events["user"]).to_pylist())
    codes = _codes(events["user"], users)
    sequence = events["sequence"].to_numpy()
    if not _ascends(codes, sequence):
        order = np.lexsort((sequence, codes))
        events, codes = events.take(pa.array(order)), codes[order]
    kept = _first_of_each(codes, events)
    duplicates = len(events) - int(np.count_nonzero(kept))
    if duplicates:
        events, codes = events.filter(pa.array(kept)), codes[kept]
    return _with_epochs(events, codes), duplicates


def _ascends(codes: NDArray[np.int64], sequence: NDArray[np.int64]) -> bool:
    steps = np.diff(codes)
    return bool(np.all((steps > 0) | ((steps == 0) & (np.diff(sequence) >= 0))))


def _first_of_each(codes: NDArray[np.int64], events: Table) -> NDArray[np.bool_]:
    """Which events stay, bool[n]: of a user's events with one event_id the first; all without one."""
    kept = np.ones(len(events), bool)
    if "event_id" not in events.column_names:
        return kept
    given = events["event_id"].combine_chunks().dictionary_encode().indices
    known = given.is_valid().to_numpy(zero_copy_only=False)
    keys = codes[known] * (len(events) + 1) + given.drop_null().to_numpy()
    first = np.zeros(len(keys), bool)
    first[np.unique(keys, return_index=True)[1]] = True
    kept[known] = first
    return kept


def _with_epochs(events: Table, codes: NDArray[np.int64]) -> Table:
    """Where the file does not say so, an event's epoch is the number of resets up to it; a marker begins its own."""
    resets = np.cumsum(pc.equal(events["event"], RESET).to_numpy(), dtype=np.int64)
    starts = np.searchsorted(codes, codes)  # each event's user's first row
    counted = resets - np.where(starts > 0, resets[starts - 1], 0)
    if "epoch" not in events.column_names:
        return events.append_column("epoch", pa.array(counted))
    filled = pc.coalesce(events["epoch"], pa.array(counted))
    return events.set_column(events.column_names.index("epoch"), "epoch", filled)


def _labels_of(events: Table) -> Table:
    named = {
        "user": "user",
        "recorded_at": "timestamp",
        "utc_offset_minutes": "utc_offset_minutes",
        "item_id": "item_id",
    }
    named |= {name: name for name in events.column_names if name.partition(".")[0] == "context"}
    named["event"] = CARRIED + "event"
    return events.select(list(named)).rename_columns(list(named.values()))


def _is_one_of(column: Array, texts: Sequence[str]) -> Array:
    return pc.is_in(column, pa.array(texts, pa.string()))


def _codes(column: Array, users: Sequence[str]) -> NDArray[np.int64]:
    """The place of each row's user among ``users``, sorted, int64[n]."""
    found: NDArray[np.int64] = pc.index_in(column, pa.array(users, pa.string())).to_numpy().astype(np.int64)
    return found


# --- columns as Python objects ---------------------------------------------------------------------------------------


def _whole(column: Array) -> list[int]:
    return column.to_numpy().tolist()  # type: ignore[no-any-return]


def _values(column: Array) -> list[Any]:
    """The values of a column; equal texts are one object, as most texts of a log come again and again."""
    column = column.combine_chunks()
    if pa.types.is_string(column.type):
        coded = column.dictionary_encode()
        names = [*coded.dictionary.to_pylist(), None]
        return list(map(names.__getitem__, pc.fill_null(coded.indices, -1).to_numpy().tolist()))
    if column.null_count or not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return column.to_pylist()  # type: ignore[no-any-return]
    return column.to_numpy().tolist()  # type: ignore[no-any-return]


def _mappings(table: Table, group: str, keys: Collection[str]) -> Iterable[Mapping[str, Any]]:
    """``properties`` or ``context`` of each row: the object's text, and over it the columns of single names."""
    names = [name for name in sorted(keys) if f"{group}.{name}" in table.column_names]
    columns = [_values(table[f"{group}.{name}"]) for name in names]
    rows: Iterable[Mapping[str, Any]] = repeat(_NOTHING)
    if names:
        # A null stays in as None, which the fold reads as nothing.
        rows = [dict(zip(names, row, strict=False)) for row in zip(*columns, strict=False)]
    if group not in table.column_names:
        return rows
    texts = table[group].to_pylist()
    return [
        {**(json.loads(text) if text is not None else _NOTHING), **row} for text, row in zip(texts, rows, strict=False)
    ]
