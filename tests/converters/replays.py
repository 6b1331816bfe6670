"""Small logs, labels and a program, and what a replay of them gives."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner

from nearhand.features import CompiledProgram, ItemTable, compile_program, read_program
from nearhand_converters import cli

START = 1_700_000_000_000
"""14 November 2023, 22:13:20 UTC."""
HOUR, DAY = 3_600_000, 86_400_000

TYPES = ["item_viewed", "item_liked"]
PROGRAM: dict[str, Any] = {
    "format": 1,
    "name": "small",
    "version": "1.2.0",
    "vocabularies": {"items": ["a", "b", "c"], "devices": ["phone", "tablet"]},
    "views": [
        {"op": "count", "name": "views_1d", "events": ["item_viewed"], "window": "1d"},
        {"op": "sum", "name": "price_7d", "events": TYPES, "value": "properties.price", "window": "7d"},
        {"op": "mean", "name": "price_liked", "events": ["item_liked"], "value": "properties.price"},
        {"op": "time_since", "name": "since", "events": TYPES, "unit": "minutes"},
        {"op": "last_n", "name": "last", "events": TYPES, "of": "item_id", "n": 3, "encode": {"vocabulary": "items"}},
        {"op": "affinity", "name": "shops", "events": TYPES, "of": "properties.shop", "vocabulary": "items"},
        {"op": "affinity", "name": "devices", "events": TYPES, "of": "context.device", "vocabulary": "devices"},
        {"op": "local_hour", "name": "hour"},
        {"op": "context", "name": "battery", "key": "battery"},
        {"op": "pushed", "name": "embedding", "width": 2},
        {"op": "item_count", "name": "of_item", "events": TYPES},
    ],
}
"""Every kind of input: properties as numbers and texts, context, pushed numbers, local time, a candidate."""


def event(user: str, at: int, kind: str = "item_viewed", item: str | None = "a", **fields: Any) -> dict[str, Any]:
    """A line of an event file; ``at`` is ms after START."""
    return {"user": user, "timestamp": START + at, "event": kind, "item_id": item, **fields}


def compiled(program: Mapping[str, Any] = PROGRAM) -> CompiledProgram:
    return compile_program(read_program(json.dumps(program).encode(), place="program.json"), ItemTable.empty())


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Rows as the file that ``path`` names; in CSV an object's members are columns such as ``properties.price``."""
    if path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".csv":
        flat = [flattened(row) for row in rows]
        names = list(dict.fromkeys(name for row in flat for name in row))
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(flat)
    else:
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    return path


def flattened(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        (f"{name}.{key}" if key is not None else name): inner
        for name, value in row.items()
        for key, inner in (value.items() if isinstance(value, dict) else [(None, value)])
    }


class RefusedError(Exception):
    """The command refused; ``error`` is its JSON."""

    def __init__(self, error: dict[str, str], code: int) -> None:
        super().__init__(error)
        self.error = error
        self.code = code


def run(*arguments: object) -> dict[str, Any]:
    """The JSON that a command of ``nearhand`` prints.

    Raises:
        RefusedError: it printed an error.
    """
    result = CliRunner().invoke(cli.main, [*map(str, arguments), "--json"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    document: dict[str, Any] = json.loads(result.stdout)
    if result.exit_code:
        raise RefusedError(document["error"], result.exit_code)
    return document


def replayed(
    folder: Path, events: Sequence[Mapping[str, Any]], labels: Sequence[Mapping[str, Any]], *options: object
) -> Any:
    """The pyarrow table of a replay of JSON lines."""
    files = write(folder / "events.jsonl", events), write(folder / "labels.jsonl", labels)
    return table_of(folder, *files, *options)


def table_of(folder: Path, events: Path, labels: Path, *options: object) -> Any:
    """The pyarrow table of a replay of files."""
    out = folder / "out.parquet"
    run("replay", events, "--program", program_file(folder), "--labels", labels, "-o", out, *options)
    return pq.read_table(out)


def program_file(folder: Path, program: Mapping[str, Any] = PROGRAM) -> Path:
    path = folder / "program.json"
    path.write_text(json.dumps(program), encoding="utf-8")
    return path


def row_bytes(table: Any, row: int) -> bytes:
    """All of a row, to the bit."""
    sink = pa.BufferOutputStream()
    one = pa.Table.from_batches(
        [pa.RecordBatch.from_arrays([c.take([row]).combine_chunks() for c in table.columns], names=table.column_names)]
    )
    with pa.ipc.new_stream(sink, one.schema) as writer:
        writer.write_table(one)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]
