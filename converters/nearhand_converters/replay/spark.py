"""The same replay on Spark, for logs that are larger than one machine: each user's rows go through the same code.

The distribution ``nearhand-converters[spark]`` has to be installed where the executors run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from nearhand.features import CompiledProgram, ItemTable, Program, compile_program
from nearhand_converters.errors import DataError
from nearhand_converters.replay.columns import TimeRule
from nearhand_converters.replay.events import GROUPS, SCALARS, event_table, reading_of
from nearhand_converters.replay.files import arrow_columns
from nearhand_converters.replay.labels import LabelReading, check_names, label_table
from nearhand_converters.replay.output import KEYS, training_table
from nearhand_converters.replay.profiles import feature_rows, no_events, order_profiles
from nearhand_converters.replay.rows import Refusals, Rows
from nearhand_converters.replay.zones import Zone, read_zone

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import StructType

_EVENT_FIELDS = tuple(name for name in SCALARS if name != "recommendation_id")
_LABEL_FIELDS = ("user", "timestamp", "utc_offset_minutes", "item_id")
_LABEL_GROUPS = ("context", "pushed")


def replay(
    events: DataFrame,
    labels: DataFrame,
    program: Program,
    items: ItemTable | None = None,
    *,
    time_zone: str | None = None,
) -> DataFrame:
    """The training table of ``labels``, a row for each, in no particular order.

    Args:
        events: columns as in an event file. ``user`` (text or whole number), ``timestamp``, ``event`` and ``sequence``
            have to be there: rows of a DataFrame have no order of their own. ``timestamp`` and ``recorded_at`` are
            timestamps or whole milliseconds; ``properties`` and ``context`` structs, maps, JSON texts, or columns such
            as ``properties.price``.
        labels: ``user``, ``timestamp``, and perhaps ``item_id``, ``utc_offset_minutes``, ``context`` as above and
            ``pushed.VIEW``; further columns are carried through.
        items: the catalogue, where the program reads it.
        time_zone: IANA name; of timestamps without a zone, and of the local hour where ``utc_offset_minutes`` is not
            given. None: UTC for the latter.

    Properties have to be of the types that JSON has: a number that the program reads is no text here. NaN is nothing.

    Returns:
        ``user``, ``timestamp`` (ms), ``item_id``, the carried columns, the program's: as ``nearhand replay`` writes.

    Raises:
        DataError: a column that is needed is not there. Malformed rows fail the job when it runs.
    """
    replayer = _Replayer(program, items or ItemTable.empty(), time_zone)
    read = (*_LABEL_FIELDS, *_LABEL_GROUPS)
    carried = [name for name in labels.columns if name not in read and name.partition(".")[0] not in _LABEL_GROUPS]
    if dotted := [name for name in carried if "." in name]:
        raise DataError("has a dot in its name", place=f"labels, column {dotted[0]!r}", remedy="rename it")
    check_names(carried, [*KEYS, *(column.name for column in replayer.compiled.columns)], "labels")
    prepared = _prepared(events, "events", _EVENT_FIELDS, ("user", "timestamp", "event", "sequence"), GROUPS)
    wanted = _prepared(labels, "labels", _LABEL_FIELDS, ("user", "timestamp"), _LABEL_GROUPS, carried)

    def rows(events: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
        return replayer.rows(events, labels)  # Spark would count a method's self as the group's key

    grouped = prepared.groupBy("user").cogroup(wanted.groupBy("user"))
    return grouped.applyInPandas(rows, _schema(labels, carried, replayer.compiled))


class _Replayer:
    """One user's rows. It travels to the executors, and compiles the program there, once for each task."""

    def __init__(self, program: Program, items: ItemTable, time_zone: str | None) -> None:
        self._program = program
        self._items = items
        self._time_zone = time_zone

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name.startswith("_")}

    @cached_property
    def compiled(self) -> CompiledProgram:
        """The program, ready to fold."""
        return compile_program(self._program, self._items)

    @cached_property
    def how(self) -> LabelReading:
        """How events and labels are read."""
        times = TimeRule(None if self._time_zone is None else Zone(read_zone(self._time_zone)))
        reading = reading_of(self._program, self.compiled.properties, self.compiled.context_keys, times=times)
        return LabelReading(reading, self.compiled.pushed, milliseconds=True)

    def rows(self, events: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
        """The training rows of one user."""
        program, how = self.compiled, self.how
        own_labels = label_table(_rows(labels, "labels"), how)
        own_events = event_table(_rows(events, "events"), how.reading, 0) if len(events) else no_events()
        profiles = order_profiles(own_events, own_labels, (), program)
        tables = [training_table(rows, vectors, program, {}) for rows, vectors in feature_rows(profiles, program)]
        if not tables:
            tables = [training_table(profiles.labels, [], program, {})]
        return pa.concat_tables(tables).to_pandas()


def _rows(frame: pd.DataFrame, source: str) -> Rows:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    numbers = np.arange(1, len(frame) + 1)
    return Rows(arrow_columns(table), numbers, f"{source} of one user", "row", 0, Refusals())


def _prepared(
    frame: DataFrame,
    place: str,
    fields: Sequence[str],
    needed: Sequence[str],
    groups: Sequence[str],
    carried: Sequence[str] = (),
) -> DataFrame:
    """What survives the way through pandas unchanged: times as whole milliseconds, objects as JSON texts."""
    from pyspark.sql import functions as F  # noqa: N812 - its customary name
    from pyspark.sql.types import DoubleType, FloatType, TimestampType

    types = {field.name: field.dataType for field in frame.schema.fields}

    def column(name: str) -> Column:
        return F.col(f"`{name}`")

    def value(name: str) -> Column:
        if not isinstance(types[name], FloatType | DoubleType):
            return column(name)
        return F.nanvl(column(name).cast("double"), F.lit(None))  # as JSON, NaN would be a text

    for name in needed:
        if name not in types:
            raise DataError(f"there is no column {name!r}", place=place, remedy="add it; sequence orders equal times")
    if isinstance(types["user"], FloatType | DoubleType):
        raise DataError("is a float", place=f"{place}, column 'user'", remedy="cast it to a whole number or a text")
    chosen = {"user": column("user").cast("string")}
    for name in fields[1:]:
        if name in types:
            zoned = isinstance(types[name], TimestampType)
            chosen[name] = F.unix_millis(column(name)) if zoned else column(name)
    if "event" in fields:
        chosen.setdefault("recorded_at", chosen["timestamp"])
    for group in groups:
        parts = {name.partition(".")[2]: name for name in types if name.startswith(f"{group}.")}
        if parts:
            chosen[group] = F.to_json(F.struct(*(value(name).alias(part) for part, name in parts.items())))
        elif group in types:
            chosen[group] = column(group) if types[group].typeName() == "string" else F.to_json(column(group))
    chosen |= {name: column(name) for name in carried}
    return frame.select(*(each.alias(name) for name, each in chosen.items()))


def _schema(labels: DataFrame, carried: list[str], program: CompiledProgram) -> StructType:
    from pyspark.sql import types as t

    known = {field.name: field.dataType for field in labels.schema.fields}
    schema = t.StructType().add("user", t.StringType()).add("timestamp", t.LongType()).add("item_id", t.StringType())
    for name in carried:
        schema.add(name, known[name])
    for each in program.columns:
        one = t.FloatType() if each.dtype == "float32" else t.IntegerType()
        schema.add(each.name, one if each.width == 1 else t.ArrayType(one))
    return schema
