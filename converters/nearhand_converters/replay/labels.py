"""Label files: whose features are wanted, and as of when.

The table has the columns ``user, timestamp, utc_offset_minutes, item_id``; what is read of ``context`` as in the
events' table; ``pushed.NAME`` as lists; and ``row.NAME`` for each further column, which is carried to the output.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nearhand_converters.errors import DataError
from nearhand_converters.replay.columns import flat, instants, object_column, objects, scalar_column, texts
from nearhand_converters.replay.events import Reading, offsets, plain_record, required, values, with_schema
from nearhand_converters.replay.files import Source, Wanted
from nearhand_converters.replay.rows import Array, Refusals, Rows, Table

CARRIED = "row."
_FIELDS = ("user", "timestamp", "utc_offset_minutes", "item_id")
_GROUPS = ("context", "pushed")
# A text that these do not match whole is a text; so is one with a leading zero, which is no number but a code.
_KINDS = {
    "int": "-?(0|[1-9][0-9]{0,17})",
    "float": r"-?(0|[1-9][0-9]*)(\.[0-9]+([eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)",
    "bool": "true|false",
}


@dataclass
class LabelReading:
    """How labels are read.

    Attributes:
        reading: of events; ``context`` and times are the same here.
        pushed: view name → how many numbers were pushed for it.
        milliseconds: every whole number is a time in that, whatever its size.
        kinds: carried column of a file of texts → which kinds of values it was seen to have.
    """

    reading: Reading
    pushed: Mapping[str, int]
    milliseconds: bool = False
    kinds: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def type_of(self, name: str) -> Any:
        """The type of a carried column that was read as text, once all of it was read."""
        match sorted(self.kinds[name]):
            case ["int"]:
                return pa.int64()
            case ["float"] | ["float", "int"]:
                return pa.float64()
            case ["bool"]:
                return pa.bool_()
            case _:
                return pa.string()


def read_labels(source: Source, how: LabelReading, refusals: Refusals) -> Iterator[tuple[Table, int]]:
    """Tables of labels and how far into the source they reach, bytes.

    Raises:
        DataError: the file cannot be read, lacks a column that is needed, or has a malformed row.
    """
    needed = tuple(name for name in required(how.reading) if name != "event")
    if source.kind == "jsonl":
        batches: Iterator[Rows] = (_label_rows(rows, records, how) for rows, records in source.records(refusals))
    else:
        batches = source.rows(Wanted(lambda name: True, needed), refusals)
    schema = None
    for rows in batches:
        table = label_table(rows, how)
        if schema is None:
            schema = table.schema
        elif table.schema != schema:
            table = with_schema(table, schema, rows.source)
        yield table, rows.done


def label_table(rows: Rows, how: LabelReading) -> Table:
    """The labels of one batch, without the malformed rows."""
    columns, reading = dict(rows.columns), how.reading
    if reading.profile is not None:
        columns["user"] = pa.repeat(reading.profile, len(rows))
    times = replace(reading.times, form=None)  # a form of texts is that of the events
    timestamp = instants(rows, "timestamp", columns["timestamp"], times, milliseconds=how.milliseconds)
    made: dict[str, Array] = {
        "user": texts(rows, "user", columns["user"], required=True),
        "timestamp": pa.array(timestamp),
        "utc_offset_minutes": offsets(rows, columns, timestamp, reading.times),
        "item_id": texts(rows, "item_id", columns.get("item_id", pa.nulls(len(rows), pa.string())), required=False),
    }
    made |= values(rows, {name: each for name, each in columns.items() if name.partition(".")[0] == "context"}, reading)
    made |= _pushed_columns(rows, columns, how)
    for name, column in columns.items():
        if name not in _FIELDS and name.partition(".")[0] not in _GROUPS:
            made[CARRIED + name] = _carried(rows, name, column, how)
    table = pa.table(made)
    return table.filter(pa.array(~rows.bad)) if rows.bad.any() else table


def _label_rows(rows: Rows, records: Sequence[Mapping[str, Any]], how: LabelReading) -> Rows:
    """JSON objects, in which ``context`` and ``pushed`` are objects, as columns; carried ones as texts."""
    records = [plain_record(record, None, _GROUPS) for record in records]
    columns: dict[str, Array] = {
        name: scalar_column(rows, name, [record.get(name) for record in records]) for name in _FIELDS
    }
    kept = {"context": how.reading.keep("context"), "pushed": how.pushed.keys()}
    for group, keep in kept.items():
        columns[group] = object_column(rows, group, [record.get(group) for record in records], keep)
    for name in dict.fromkeys(name for record in records for name in record):
        if name not in columns:
            columns[name] = _json_texts([record.get(name) for record in records], how.kinds[name])
    rows.columns = columns
    return rows


def _json_texts(values: Sequence[Any], kinds: set[str]) -> Array:
    found: list[str | None] = []
    for value in values:
        if value is None or isinstance(value, str):
            found.append(value)
        else:
            found.append(json.dumps(value))
        if value is not None:
            small = isinstance(value, int) and -(2**63) <= value < 2**63
            known = isinstance(value, float | bool) or small
            kinds.add(type(value).__name__ if known else "str")
    return pa.array(found, pa.string())


def _carried(rows: Rows, name: str, column: Array, how: LabelReading) -> Array:
    """A further column, unchanged; texts of a file of texts are looked at for what they could be."""
    column = flat(column)
    if rows.text:
        present = pc.drop_null(column)
        for kind, pattern in _KINDS.items():
            fits = pc.match_substring_regex(present, f"^({pattern})$")
            if pc.any(fits).as_py():
                how.kinds[name].add(kind)
            present = present.filter(pc.invert(fits))
        if len(present):
            how.kinds[name].add("str")
    return column


def _pushed_columns(rows: Rows, columns: Mapping[str, Array], how: LabelReading) -> dict[str, Array]:
    """``pushed.VIEW`` as lists of its width: from columns of lists, numbers or their JSON texts, or one of objects."""
    found: dict[str, Sequence[Any]] = {}
    if "pushed" in columns:
        objects_of = objects(rows, "pushed", columns["pushed"], how.pushed.keys()).to_pylist()
        members = [{} if text is None else json.loads(text) for text in objects_of]
        found = {name: [each.get(name) for each in members] for name in how.pushed}
    found |= {name: flat(columns[f"pushed.{name}"]).to_pylist() for name in how.pushed if f"pushed.{name}" in columns}
    made = {}
    for name, each_row in found.items():
        width = how.pushed[name]
        numbers = [_numbers(value) for value in each_row]
        wrong = np.array([each is not None and len(each) != width for each in numbers], bool)
        rows.refuse(wrong, f"pushed.{name}", f"is not {width} finite numbers")
        made[f"pushed.{name}"] = pa.array(numbers, pa.list_(pa.float64()))
    return made


def _numbers(value: Any) -> list[float] | None:
    """The numbers, [] if it is something else, None if it is nothing."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    if value is None:
        return None
    each = value if isinstance(value, list) else [value]
    fit = all(isinstance(part, int | float) and not isinstance(part, bool) and abs(part) < 1e300 for part in each)
    return [float(part) for part in each] if fit else []


def check_names(names: Sequence[str], columns: Sequence[str], place: str) -> None:
    """Refuse a carried column that has the name of another one of the output.

    Raises:
        DataError: names it.
    """
    if taken := [name for name in names if name in columns]:
        raise DataError(
            "is also the name of a feature", place=f"{place}, column {taken[0]!r}", remedy="rename one of them"
        )
