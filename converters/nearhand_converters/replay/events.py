"""Event files: their rows as one table of events, whatever the file looks like.

The table has the columns ``user, sequence, timestamp, recorded_at, utc_offset_minutes, event, item_id``; ``event_id``
and ``epoch`` where the file has them; and what is read of ``properties`` and ``context``: one column
``properties.NAME`` for each column of the file, or the JSON text of the object in ``properties``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from nearhand.features.parts import Condition
from nearhand.features.program import Program
from nearhand.features.views import Context
from nearhand_converters.errors import DataError
from nearhand_converters.replay.columns import (
    TimeRule,
    instants,
    object_column,
    objects,
    plain,
    scalar_column,
    texts,
    whole,
)
from nearhand_converters.replay.files import Source, Wanted
from nearhand_converters.replay.rows import Array, Refusals, Rows, Table

SCALARS = (
    *("user", "sequence", "timestamp", "recorded_at", "utc_offset_minutes", "epoch", "event", "item_id", "event_id"),
    "recommendation_id",
)
"""The fields of an event that hold one text or number."""
GROUPS = ("properties", "context")
_BIG = 2**62
_ASSIGNMENT = re.compile(
    r"""\s*(?P<field>[^\s=,'"]+)\s*=\s*(?:'(?P<constant>[^']*)'|"(?P<quoted>[^"]*)"|(?P<column>[^,'"]+?))\s*(?:,|$)"""
)


@dataclass(frozen=True)
class Mapped:
    """Where a field of an event comes from: a column of the file, or the same text in every row."""

    column: str | None = None
    constant: str | None = None


@dataclass(frozen=True)
class Reading:
    """What is read of events, and how.

    Attributes:
        mapping: field → where it comes from; None: columns have the names of the fields.
        profile: everything belongs to this user, and no column says so.
        properties, context: the names that are read; None: all.
        numbers: ``properties.NAME`` and ``context.NAME`` that have to be numbers where a file holds only texts.
    """

    times: TimeRule = field(default_factory=TimeRule)
    mapping: Mapping[str, Mapped] | None = None
    profile: str | None = None
    properties: frozenset[str] | None = None
    context: frozenset[str] | None = None
    numbers: frozenset[str] = frozenset()

    def reads(self, name: str) -> bool:
        """Whether a field is read."""
        group, dot, rest = name.partition(".")
        if group not in GROUPS:
            return name in SCALARS
        keep = self.keep(group)
        return keep is None or (rest in keep if dot else bool(keep))

    def keep(self, group: str) -> frozenset[str] | None:
        """The names of ``properties`` or ``context`` that are read; None: all."""
        return self.properties if group == "properties" else self.context


def parse_mapping(arguments: tuple[str, ...]) -> dict[str, Mapped] | None:
    """``user=CustomerID,event='item_purchased',properties.price="Unit price"`` by field; None for no arguments.

    Raises:
        DataError: not of that form, an unknown field, or one that is named twice.
    """
    mapping: dict[str, Mapped] = {}
    for argument in arguments:
        at = 0
        while at < len(argument):
            found = _ASSIGNMENT.match(argument, at)
            if found is None:
                remedy = "write FIELD=COLUMN,FIELD=\"A column\",FIELD='a text'"
                raise DataError(f"{argument[at:][:60]!r} is not an assignment", place="--map", remedy=remedy)
            at = found.end()
            name = found["field"]
            group, _, rest = name.partition(".")
            if name not in SCALARS and not (group in GROUPS and ("." not in rest)):
                remedy = f"use one of {', '.join(SCALARS)}, properties.NAME or context.NAME"
                raise DataError(f"{name!r} is not a field of an event", place="--map", remedy=remedy)
            if name in mapping:
                raise DataError(f"{name!r} stands twice", place="--map", remedy="map every field once")
            mapping[name] = Mapped(found["column"] or found["quoted"], found["constant"])
    return mapping or None


def reading_of(program: Program, properties: frozenset[str], context: frozenset[str], **rest: Any) -> Reading:
    """What a program reads of events; ``rest`` are the other attributes of :class:`Reading`."""
    numbers: set[str] = set()
    for view in program.views:
        operands = [getattr(view, "value", None)]
        operands += [each.field for each in getattr(view, "where", ()) if _is_numeric(each)]
        if isinstance(view, Context) and view.encode is None:
            operands.append(f"context.{view.key}")
        numbers.update(operand for operand in operands if operand is not None)
    return Reading(properties=properties, context=context, numbers=frozenset(numbers), **rest)


def _is_numeric(condition: Condition) -> bool:
    return condition.any_of is None


def read_events(source: Source, reading: Reading, refusals: Refusals) -> Iterator[tuple[Table, int]]:
    """Tables of events and how far into the source they reach, bytes.

    Raises:
        DataError: the file cannot be read, lacks a column that is needed, or has a malformed row.
    """
    mapping = reading.mapping
    if mapping is not None:
        _check_mapping(mapping, reading)
    if source.kind == "jsonl":
        batches: Iterator[Rows] = (
            event_rows(rows, [plain_record(record, mapping) for record in records], reading)
            for rows, records in source.records(refusals)
        )
    elif mapping is None:
        batches = source.rows(Wanted(reading.reads, required(reading)), refusals)
    else:
        columns = [each.column for each in mapping.values() if each.column is not None]
        read = source.rows(Wanted(columns.__contains__, columns), refusals)
        batches = (rows.replace(_mapped(rows, mapping)) for rows in read)
    return event_tables(batches, reading)


def event_tables(batches: Iterator[Rows], reading: Reading) -> Iterator[tuple[Table, int]]:
    """The same of rows whose columns have the names of fields; without ``sequence`` they are numbered in this order."""
    first, schema = 0, None
    for rows in batches:
        table = event_table(rows, reading, first)
        first += len(rows)
        if schema is None:
            schema = table.schema
        elif table.schema != schema:
            table = with_schema(table, schema, rows.source)
        yield table, rows.done


def event_rows(rows: Rows, records: Sequence[Mapping[str, Any]], reading: Reading) -> Rows:
    """JSON objects with the names of fields, in which ``properties`` and ``context`` are objects, as columns."""
    names = [name for name in SCALARS if reading.reads(name) and name not in ("sequence", "recorded_at")]
    # These two mean something where they stand; in other files the columns are not there.
    names += [name for name in ("sequence", "recorded_at") if any(name in record for record in records)]
    columns = {name: scalar_column(rows, name, [record.get(name) for record in records]) for name in names}
    for group in GROUPS:
        if reading.reads(group):
            found = [record.get(group) for record in records]
            columns[group] = object_column(rows, group, found, reading.keep(group))
    rows.columns = columns
    return rows


def event_table(rows: Rows, reading: Reading, first: int) -> Table:
    """The events of one batch, whose first row has number ``first``, without the malformed rows."""
    columns = dict(rows.columns)
    # A device, or `nearhand events`, has written both, and writes milliseconds. A device whose clock is wrong as well.
    device = "sequence" in columns and "recorded_at" in columns
    count = len(rows)
    if reading.profile is not None:
        columns["user"] = pa.repeat(reading.profile, count)
    made: dict[str, Array] = {"user": texts(rows, "user", columns["user"], required=True)}
    made["sequence"] = _sequence(rows, columns, first)
    timestamp = instants(rows, "timestamp", columns["timestamp"], reading.times, milliseconds=device)
    made["timestamp"] = pa.array(timestamp)
    recorded = columns.get("recorded_at")
    made["recorded_at"] = (
        made["timestamp"]
        if recorded is None
        else pa.array(instants(rows, "recorded_at", recorded, reading.times, milliseconds=device, default=timestamp))
    )
    made["utc_offset_minutes"] = offsets(rows, columns, timestamp, reading.times)
    if "epoch" in columns:
        made["epoch"] = whole(rows, "epoch", columns["epoch"], 0, 2**31 - 1)
    made["event"] = texts(rows, "event", columns["event"], required=True)
    for name in ("item_id", "event_id", "recommendation_id"):
        if name in columns or name == "item_id":
            column = columns.get(name, pa.nulls(count, pa.string()))
            made[name] = texts(rows, name, column, required=False)
    made |= values(rows, columns, reading)
    table = pa.table(made)
    return table.filter(pa.array(~rows.bad)) if rows.bad.any() else table


def offsets(rows: Rows, columns: Mapping[str, Array], at: np.typing.NDArray[np.int64], times: TimeRule) -> Array:
    """``utc_offset_minutes`` as int32[n]: the column where it says something, else the zone's at that instant."""
    default = pa.array(times.offsets(at))
    given = columns.get("utc_offset_minutes")
    if given is None:
        return default
    return whole(rows, "utc_offset_minutes", given, -1439, 1439).cast(pa.int32()).fill_null(default)


def values(rows: Rows, columns: Mapping[str, Array], reading: Reading) -> dict[str, Array]:
    """The columns of ``properties`` and ``context`` that are read."""
    made = {}
    for name, column in columns.items():
        group, dot, rest = name.partition(".")
        if group not in GROUPS or not reading.reads(name):
            continue
        if not dot:
            known = rows.unit == "line"  # JSON lines have been read, and are this already
            made[name] = column if known else objects(rows, name, column, reading.keep(group))
            continue
        if "." in rest:
            remedy = f"give the whole of {group} as one column of JSON objects"
            raise DataError("is nested", place=f"{rows.source}, column {name!r}", remedy=remedy)
        made[name] = plain(rows, name, column, number=name in reading.numbers)
    return made


def _sequence(rows: Rows, columns: Mapping[str, Array], first: int) -> Array:
    numbered = pa.array(np.arange(first, first + len(rows)))
    if "sequence" not in columns:
        return numbered
    given = whole(rows, "sequence", columns["sequence"], -_BIG, _BIG)
    rows.refuse(given.is_null().to_numpy(zero_copy_only=False), "sequence", "is missing")
    return given


def required(reading: Reading) -> tuple[str, ...]:
    """The fields that every event has to have."""
    return ("timestamp", "event") if reading.profile is not None else ("user", "timestamp", "event")


def _check_mapping(mapping: Mapping[str, Mapped], reading: Reading) -> None:
    for name in required(reading):
        if name not in mapping:
            remedy = f"add {name}=COLUMN" + (", or pass --profile NAME" if name == "user" else "")
            raise DataError(f"no column is {name!r}", place="--map", remedy=remedy)


def plain_record(
    record: Mapping[str, Any], mapping: Mapping[str, Mapped] | None, groups: Collection[str] = GROUPS
) -> dict[str, Any]:
    """An object of JSON lines whose members ``properties.NAME``, and so of the other groups, are in ``properties``."""
    if mapping is not None:
        fields = {
            name: each.constant if each.column is None else record.get(each.column) for name, each in mapping.items()
        }
    elif not any("." in name for name in record):
        return dict(record)
    else:
        fields = dict(record)
    made: dict[str, Any] = {name: value for name, value in fields.items() if "." not in name}
    for name, value in fields.items():
        group, dot, rest = name.partition(".")
        if dot and group in groups and isinstance(made.get(group, {}), dict):
            made[group] = {**made.get(group, {}), rest: value}
    return made


def _mapped(rows: Rows, mapping: Mapping[str, Mapped]) -> dict[str, Array]:
    return {
        name: rows.columns[each.column] if each.column is not None else pa.repeat(each.constant, len(rows))
        for name, each in mapping.items()
    }


def with_schema(table: Table, schema: Any, source: str) -> Table:
    """Bring a later batch to the columns of the first one; only JSON lines and parts of a folder differ."""
    columns = []
    for each in schema:
        column = table[each.name] if each.name in table.column_names else pa.nulls(len(table), each.type)
        try:
            columns.append(column.cast(each.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            problem = f"is {column.type} here and {each.type} before"
            raise DataError(problem, place=f"{source}, column {each.name!r}", remedy="make it one type") from error
    if new := [name for name in table.column_names if name not in schema.names]:
        raise DataError("is not in the rows before", place=f"{source}, column {new[0]!r}", remedy="add it to all parts")
    return pa.table(columns, schema=schema)
