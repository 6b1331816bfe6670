"""What features are, said a second time: in SQL, in plain Python and numpy, and in wall clocks of :mod:`zoneinfo`.

Nothing here uses the features' own code but its entry points. Of every label the table ``seen`` has the events that it
sees: ``label``; ``instant`` and ``age`` (of the event then), ms; ``timestamp``, ``sequence``, ``event``, ``item_id``,
``wall`` (the event's local time) and what the data set has. ``seen_texts`` has one row for each ``text`` of the event's
item, and its ``place`` among them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, TypeAlias

import duckdb
import numpy as np
from numpy.typing import NDArray

from nearhand.features import (
    Column,
    CompiledProgram,
    FeatureFold,
    ItemTable,
    Label,
    ReplayEvent,
    compile_program,
    read_program,
    replay_profile,
)

Numbers: TypeAlias = NDArray[np.float64]

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


@dataclass
class RealLog:
    """A data set as what happened on the devices of a few hundred profiles, and the instants that are asked about.

    Attributes:
        labels: profile → its labels. They are numbered through in this order.
        candidates: per label, as many items for each.
        walls: per label, the local time.
        database: the tables ``labels``, ``candidates`` (label, place, item_id), ``items`` and ``seen``.
    """

    items: ItemTable
    vocabularies: Mapping[str, Sequence[str]]
    events: Mapping[str, list[ReplayEvent]]
    labels: Mapping[str, list[Label]]
    candidates: list[list[str]]
    walls: list[datetime]
    database: duckdb.DuckDBPyConnection = field(repr=False)

    @cached_property
    def flat_labels(self) -> list[Label]:
        """All labels, in the order of their numbers."""
        return [label for labels in self.labels.values() for label in labels]

    # --- what the product says ---------------------------------------------------------------------------------------

    def features(self, views: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
        """Column → [labels, width] of a profile's, by replay, or [labels, candidates, width], folded as on a device.

        Args:
            views: as they stand in a program's document.
        """
        program = self._compiled(views)
        vectors = [
            vector
            for profile, labels in self.labels.items()
            for vector in replay_profile(program, self.events[profile], labels)
        ]
        replayed = {"float32": np.stack([v.floats for v in vectors]), "int32": np.stack([v.ints for v in vectors])}
        found = {column.name: _part(replayed, column) for column in program.columns if column.of == "profile"}
        of_items = [column.name for column in program.columns if column.of == "item"]
        if not of_items:
            return found
        # A replayed vector ends in the columns of the label's own item, which is the first candidate.
        item_program = self._compiled(views, of_items)
        rows = []
        candidates = iter(self.candidates)
        for profile, labels in self.labels.items():
            fold = FeatureFold(item_program)
            for event in self.events[profile]:
                fold.offer(event)
            rows += [fold.candidates(label.timestamp, next(candidates)) for label in labels]
        folded = {"float32": np.stack([row.floats for row in rows]), "int32": np.stack([row.ints for row in rows])}
        np.testing.assert_array_equal(replayed["float32"][:, program.floats :], folded["float32"][:, 0])
        np.testing.assert_array_equal(replayed["int32"][:, program.ints :], folded["int32"][:, 0])
        return found | {column.name: _part(folded, column) for column in item_program.columns}

    def _compiled(self, views: Sequence[Mapping[str, Any]], outputs: Sequence[str] | None = None) -> CompiledProgram:
        document = {"format": 1, "name": "values", "version": "1.0.0", "views": views, "outputs": outputs}
        content = {name: value for name, value in document.items() if value is not None}
        data = json.dumps(content | {"vocabularies": self.vocabularies}).encode()
        return compile_program(read_program(data, place="values"), self.items)

    # --- what SQL says -----------------------------------------------------------------------------------------------

    def numbers(self, expression: str, entering: str, *, empty: float = 0.0, source: str = "seen") -> Numbers:
        """An aggregate over the events of a label that fulfil ``entering``; ``empty`` where there are none."""
        return self._column(
            f"""select coalesce(found.x, '{empty}'::double) as x from labels
            left join (select label, {expression} as x from {source} where {entering} group by label) found
            using (label) order by label"""
        )

    def of_candidates(self, expression: str, entering: str, *, empty: float = 0.0) -> Numbers:
        """The same over a label's events about each candidate: [labels, candidates]."""
        flat = self._column(
            f"""select coalesce(found.x, '{empty}'::double) as x from candidates
            left join (select label, item_id, {expression} as x from seen where {entering} group by label, item_id)
            found using (label, item_id) order by label, place"""
        )
        return flat.reshape(len(self.candidates), -1)

    def of_catalogue(self, column: str, *, empty: float = 0.0) -> Numbers:
        """A number of each candidate: [labels, candidates]."""
        flat = self._column(
            f"""select coalesce({column}, '{empty}'::double) as x from candidates
            left join items using (item_id) order by label, place"""
        )
        return flat.reshape(len(self.candidates), -1)

    def latest(self, of: str, entering: str, *, n: int, distinct: bool = False, source: str = "seen") -> list[Any]:
        """The last ``n`` values of an expression, the latest first: one list for each label."""
        key = "timestamp, sequence" + (", place" if source == "seen_texts" else "")
        each = f"select label, {of} as x, {key} from {source} where {entering}"
        if distinct:
            each = f"select * from ({each}) qualify row_number() over (partition by label, x order by ({key}) desc) = 1"
        found = self.database.execute(
            f"""select label, list(x order by ({key}) desc)[:{n}] from ({each})
            where x is not null group by label"""
        ).fetchall()
        lists = dict(found)
        return [lists.get(label, []) for label in range(len(self.candidates))]

    def weights(self, of: str, entering: str, *, weight: str, vocabulary: str, source: str = "seen") -> Numbers:
        """The sum of an expression for each text of a vocabulary: [labels, texts]."""
        texts = self.vocabularies[vocabulary]
        found = self.database.execute(
            f"select label, {of}, sum({weight}) from {source} where {entering} group by all"
        ).fetchall()
        places = {text: place for place, text in enumerate(texts)}
        table = np.zeros((len(self.candidates), len(texts)))
        for label, text, total in found:
            if text in places:
                table[label, places[text]] = total
        return table

    def streak(self, entering: str) -> Numbers:
        """Days in a row: the days of a run have the same sum of the day and its place from the last one."""
        return self._column(
            f"""with active as (select distinct label, wall::date as day from seen where {entering}),
            near as (select label, day, today from active join labels using (label) where day <= today + 1),
            placed as (select *, max(day) over every as last, row_number() over (every order by day desc) as place
                from near window every as (partition by label)),
            runs as (select label, count(*) as x from placed
                where last >= today - 1 and day + place::int = last + 1 group by label)
            select coalesce(x, 0) as x from labels left join runs using (label) order by label"""
        )

    def session(self, measure: str, entering: str, *, gap: int, window: int) -> Numbers:
        """Gaps and islands; ``measure`` is an expression of first, last, events and island of the latest island."""
        return self._column(
            f"""with marked as (select label, instant, timestamp,
                coalesce((timestamp - lag(timestamp) over (partition by label order by timestamp) > {gap})::int, 1)
                as begins from seen where {entering} and age < {window}),
            placed as (select *, sum(begins) over (partition by label order by timestamp) as island from marked),
            islands as (select label, island, instant, min(timestamp) as first, max(timestamp) as last,
                count(*) as events from placed group by all),
            latest as (select *, instant - last <= {gap} as lasts from islands
                qualify row_number() over (partition by label order by island desc) = 1)
            select coalesce({measure}, 0) as x from labels left join latest using (label) order by label"""
        )

    def _column(self, query: str) -> Numbers:
        return np.array(self.database.execute(f"select x::double as x from ({query})").fetchnumpy()["x"])


def _part(arrays: Mapping[str, NDArray[Any]], column: Column) -> NDArray[Any]:
    part: NDArray[Any] = arrays[column.dtype][..., column.offset : column.offset + column.width]
    return part


# --- what follows in numpy -------------------------------------------------------------------------------------------


def shares(weights: Numbers) -> Numbers:
    """Of the sum of the magnitudes, along the last axis; 0 where that is 0."""
    whole = np.abs(weights).sum(axis=1, keepdims=True)
    return over(weights, np.broadcast_to(whole, weights.shape), 0)


def top(weights: Numbers, n: int) -> list[list[int]]:
    """Per row the places of the ``n`` largest positive numbers, equal ones by place."""
    return [[place for place in np.argsort(-row, kind="stable")[:n] if row[place] > 0] for row in weights]


def padded(lists: Sequence[Sequence[Any]], n: int, code: Callable[[Any], int]) -> NDArray[np.int64]:
    """Lists as rows of codes, filled up with 0."""
    return np.array([[code(x) for x in found[:n]] + [0] * (n - len(found)) for found in lists])


def murmur3(text: str, seed: int = 0) -> int:
    """MurmurHash3_x86_32 of a text's UTF-8, as its author describes it."""

    def times(x: int, y: int) -> int:
        return x * y % 2**32

    def turned(x: int, bits: int) -> int:
        return int(f"{x:032b}"[bits:] + f"{x:032b}"[:bits], 2)

    def mixed(block: bytes) -> int:
        number = sum(byte * 256**place for place, byte in enumerate(block))
        return times(turned(times(number, 0xCC9E2D51), 15), 0x1B873593)

    data, h = text.encode(), seed
    blocks = [data[start : start + 4] for start in range(0, len(data), 4)]
    for block in blocks:
        h ^= mixed(block)
        if len(block) == 4:
            h = (times(turned(h, 13), 5) + 0xE6546B64) % 2**32
    h ^= len(data)
    h = times(h ^ h // 2**16, 0x85EBCA6B)
    h = times(h ^ h // 2**13, 0xC2B2AE35)
    return h ^ h // 2**16


# --- what the formulations share -------------------------------------------------------------------------------------


def halved_part(value: str, half_life: int) -> str:
    """value · 2^(−age / half_life). An event counts until more than 32 half-lives, counted from 1970, have begun."""
    counts = f"instant // {half_life} - timestamp // {half_life} <= 32"
    return f"if({counts}, {value} * pow(2.0, -age / {half_life}), 0)"


def halved(value: str, half_life: int) -> str:
    """The sum of it."""
    return f"sum({halved_part(value, half_life)})"


def halved_weights(log: RealLog, of: str, entering: str, *, half_life: int, weight: str, **more: str) -> Numbers:
    """The same sum for each text of a vocabulary: [labels, texts]."""
    return log.weights(of, entering, weight=halved_part(f"({weight})", half_life), **more)


def words(log: RealLog, vocabulary: str) -> Callable[[str], int]:
    """Codes by a vocabulary: 1 for a text that is not in it."""
    codes = {text: 2 + place for place, text in enumerate(log.vocabularies[vocabulary])}
    return lambda text: codes.get(text, 1)


def hashed(buckets: int, seed: int) -> Callable[[str], int]:
    return lambda text: 1 + murmur3(text, seed) % buckets


def catalogue_texts(log: RealLog, column: str) -> list[tuple[str, ...]]:
    """The texts of each candidate, label by label."""
    cells = dict(zip(log.items.item_ids, log.items.columns[column], strict=True))
    return [found if isinstance(found := cells.get(x), tuple) else () for ids in log.candidates for x in ids]


def combined(log: RealLog, weights: Numbers, column: str, vocabulary: str, how: str) -> Numbers:
    """The shares of each candidate's texts that the vocabulary has, combined."""
    places = {text: place for place, text in enumerate(log.vocabularies[vocabulary])}
    width = len(log.candidates[0])
    by_label = shares(weights)
    found = []
    for at, texts in enumerate(catalogue_texts(log, column)):
        parts = [by_label[at // width][places[text]] for text in texts if text in places] or [0.0]
        found.append(max(parts) if how == "max" else sum(parts) / (len(parts) if how == "mean" else 1))
    return np.array(found).reshape(-1, width)


def codes_of_catalogue(log: RealLog, column: str, n: int, code: Callable[[str], int]) -> NDArray[Any]:
    return padded(catalogue_texts(log, column), n, code).reshape(len(log.candidates), -1, n)


def hours(log: RealLog) -> Numbers:
    return np.array([float(wall.hour) for wall in log.walls])


def weekdays(log: RealLog) -> Numbers:
    return np.array([float(wall.weekday()) for wall in log.walls])


def circle(values: Numbers, steps: int) -> Numbers:
    turns = 2 * math.pi * values / steps
    return np.stack([np.sin(turns), np.cos(turns)], axis=1)


def contexts(log: RealLog, key: str, read: Callable[[Any], float]) -> Numbers:
    return np.array([read(label.context.get(key)) for label in log.flat_labels])


def spread(weights: Numbers, n: int) -> NDArray[Any]:
    """The codes of the texts with the largest weights."""
    return padded(top(weights, n), n, lambda place: place + 2)


def over(numerator: Numbers, denominator: Numbers, default: float) -> Numbers:
    found = np.full_like(numerator, default)
    np.divide(numerator, denominator, out=found, where=denominator != 0)
    return found


def symmetric_log(x: Numbers) -> Numbers:
    return np.sign(x) * np.log1p(np.abs(x))


# --- cases -----------------------------------------------------------------------------------------------------------

Expected: TypeAlias = Callable[[RealLog], NDArray[Any]]

STATISTICS = {"sum": "sum({})", "mean": "avg({})", "min": "min({})", "max": "max({})", "std": "stddev_pop({})"}
UNITS = {"seconds": 1000, "minutes": MINUTE, "hours": HOUR, "days": DAY}
SESSION = {
    "length": "if(lasts, (last - first) / 1000, 0)",
    "depth": "if(lasts, events, 0)",
    "dwell": "if(lasts and events > 1, (last - first) / 1000 / (events - 1), 0)",
    "index": "island",
}


@dataclass(frozen=True)
class Case:
    """A view, and what it must give: [labels], [labels, width] or, of candidates, [labels, candidates].

    Attributes:
        within: how far a value may be off beside float32's rounding.
    """

    view: Mapping[str, Any]
    expected: Expected
    within: float = 0.0

    @property
    def name(self) -> str:
        """The view's."""
        return str(self.view["name"])


def case(op: str, name: str, expected: Expected, *, within: float = 0.0, **fields: Any) -> Case:
    given = {key: value for key, value in fields.items() if value is not None}
    return Case({"op": op, "name": name, **given}, expected, within)


def numbers(expression: str, entering: str, *, empty: float = 0.0, source: str = "seen") -> Expected:
    """The method of a :class:`RealLog`, for a case; so are the next four."""
    return lambda log: log.numbers(expression, entering, empty=empty, source=source)


def of_candidates(expression: str, entering: str, *, empty: float = 0.0) -> Expected:
    return lambda log: log.of_candidates(expression, entering, empty=empty)


def of_catalogue(column: str, *, empty: float = 0.0) -> Expected:
    return lambda log: log.of_catalogue(column, empty=empty)


def streak(entering: str) -> Expected:
    return lambda log: log.streak(entering)


def session(measure: str, entering: str, *, gap: int, window: int) -> Expected:
    return lambda log: log.session(measure, entering, gap=gap, window=window)
