"""Events of any format as one event file, as ``nearhand replay`` reads it."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from nearhand.errors import UsageError
from nearhand_converters.console import Progress
from nearhand_converters.data import NUMBER
from nearhand_converters.errors import DataError
from nearhand_converters.replay.events import GROUPS, Reading
from nearhand_converters.replay.files import Source
from nearhand_converters.replay.formats import Adapter
from nearhand_converters.replay.output import TableWriter, whole_file
from nearhand_converters.replay.rows import Refusals, Table, json_text

# JSON leaves these as they are, but some readers end a line at them.
_LINE_ENDS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}
_CODE = re.compile("-?0[0-9]")  # a leading zero: a code, and no number of JSON


@dataclass
class ConversionReport:
    """What was read and written.

    Attributes:
        events: how many were written; types: how many of each type.
        skipped: rows that were left out, by reason.
    """

    events: int = 0
    types: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def convert_events(
    source: Source,
    adapter: Adapter,
    reading: Reading,
    out: Path,
    *,
    skip_malformed: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> ConversionReport:
    """Write the events of ``source``, in its order, to ``out``: JSON lines or Parquet, as its name ends.

    A cell of CSV for ``properties`` or ``context`` becomes a number where it is one as JSON writes it.

    Raises:
        UsageError: another ending.
        DataError: the source is malformed, or has no event.
        StorageError: ``out`` cannot be written.
    """
    if out.suffix not in (".jsonl", ".parquet"):
        raise UsageError(f"{out.suffix!r} is not .jsonl or .parquet", place=str(out), remedy="choose one of them")
    start = time.perf_counter()
    refusals, report, types = Refusals(skip_malformed), ConversionReport(), Counter[str]()
    with whole_file(out) as file, TableWriter(file, {}) as writer:
        for table, done in adapter(source, reading, refusals):
            whole = _whole_objects(table, texts=source.kind == "csv")
            report.events += len(whole)
            types.update({each["values"]: each["counts"] for each in pc.value_counts(whole["event"]).to_pylist()})
            if out.suffix == ".jsonl":
                file.writelines(f"{line}\n".encode() for line in _lines(whole))
            else:
                writer.write(whole)
            progress("convert", done, source.bytes)
        if not report.events:
            raise DataError("has no event", place=str(source.files[0]), remedy="give at least one")
    report.types = dict(sorted(types.items()))
    report.skipped = dict(sorted(refusals.counts.items()))
    report.seconds = time.perf_counter() - start
    return report


def _whole_objects(table: Table, *, texts: bool) -> Table:
    """The table with ``properties`` and ``context`` as one column of JSON text each."""
    columns = {name: table[name] for name in table.column_names if name.partition(".")[0] not in GROUPS}
    for group in GROUPS:
        parts = [name for name in table.column_names if name.startswith(f"{group}.")]
        found = table[group].to_pylist() if group in table.column_names else [None] * len(table)
        if parts:
            names = [name.partition(".")[2] for name in parts]
            cells = zip(*(table[name].to_pylist() for name in parts), strict=True)
            found = [_merged(text, names, row, texts) for text, row in zip(found, cells, strict=True)]
        columns[group] = pa.array(found, pa.string())
    return pa.table(columns)


def _merged(text: str | None, names: Sequence[str], row: Sequence[Any], texts: bool) -> str | None:
    content = {} if text is None else json.loads(text)
    content |= {
        name: _cell(value) if texts else value for name, value in zip(names, row, strict=True) if value is not None
    }
    return json_text(content) if content else None


def _cell(text: Any) -> Any:
    """A cell of CSV as JSON has it; columns that had to be numbers are that already."""
    if isinstance(text, str) and NUMBER.fullmatch(text) and not _CODE.match(text) and len(text) < 19:
        return json.loads(text)
    return text


def _lines(table: Table) -> Iterator[str]:
    for row in table.to_pylist():
        content = {name: value for name, value in row.items() if name not in GROUPS and value is not None}
        content |= {name: {} if row[name] is None else json.loads(row[name]) for name in GROUPS}
        yield json_text(content).translate(_LINE_ENDS)
