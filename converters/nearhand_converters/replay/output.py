"""The training table, as a Parquet file that is whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nearhand.bundle.durable import storage_errors, sync_file, sync_folder
from nearhand.features import Column, CompiledProgram, FeatureVector
from nearhand_converters.replay.labels import CARRIED
from nearhand_converters.replay.rows import Array, Table

KEYS = ("user", "timestamp", "item_id")
_GROUP_VALUES = 8_000_000
GROUP_ROWS = 65_536


def training_table(
    labels: Table, vectors: Sequence[FeatureVector], program: CompiledProgram, types: Mapping[str, Any]
) -> Table:
    """Labels and their features side by side.

    Columns: ``user``, ``timestamp`` (int64, ms UTC), ``item_id``, the carried ones, then the program's: float32 or
    int32, or fixed-size lists of them.

    Args:
        types: of carried columns that were read as text.
    """
    columns: dict[str, Array] = {name: labels[name] for name in KEYS}
    for name in labels.column_names:
        if name.startswith(CARRIED):
            kind = types.get(name, labels[name].type)
            columns[name.removeprefix(CARRIED)] = labels[name].cast(kind)
    floats = _matrix([vector.floats for vector in vectors], program.floats + program.item_floats, np.float32)
    ints = _matrix([vector.ints for vector in vectors], program.ints + program.item_ints, np.int32)
    for column in program.columns:
        columns[column.name] = _feature(column, floats if column.dtype == "float32" else ints, program)
    return pa.table(columns)


def _matrix(rows: Sequence[NDArray[Any]], width: int, dtype: Any) -> NDArray[Any]:
    return np.concatenate(rows).reshape(len(rows), width) if rows else np.empty((0, width), dtype)


def _feature(column: Column, matrix: NDArray[Any], program: CompiledProgram) -> Array:
    before = 0
    if column.of == "item":  # a candidate's columns follow the profile's
        before = program.floats if column.dtype == "float32" else program.ints
    part = matrix[:, before + column.offset : before + column.offset + column.width]
    flat = pa.array(np.ascontiguousarray(part).reshape(-1))
    return flat if column.width == 1 else pa.FixedSizeListArray.from_arrays(flat, column.width)


def training_writer(file: Any, program: CompiledProgram) -> TableWriter:
    """Writes training tables of a program, which the file's metadata name."""
    metadata = {
        "nearhand.program": program.program.name,
        "nearhand.program_version": program.program.version,
        "nearhand.program_digest": program.program.digest,
    }
    width = sum(column.width for column in program.columns)
    return TableWriter(file, metadata, min(GROUP_ROWS, max(_GROUP_VALUES // width, 1)))


class TableWriter:
    """Writes tables of one schema. Its row groups do not depend on where tables end: the same rows, the same bytes.

    A context manager: left by an error, it leaves the file as it is.
    """

    def __init__(self, file: Any, metadata: Mapping[str, str], group_rows: int = GROUP_ROWS) -> None:
        self._file = file
        self._metadata = dict(metadata)
        self._group_rows = group_rows
        self._writer: Any = None
        self._held: list[Table] = []
        self._held_rows = 0

    def write(self, table: Table) -> None:
        """Append rows."""
        if self._writer is None:
            schema = table.schema.with_metadata(self._metadata)
            self._writer = pq.ParquetWriter(self._file, schema, compression="zstd")
        self._held.append(table)
        self._held_rows += len(table)
        while self._held_rows >= self._group_rows:
            self._write_group(self._group_rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._writer is None:
            return
        if kind is None:
            self._write_group(self._held_rows)
            self._writer.close()
        self._writer.is_open = False  # else its finalizer writes the end of the table to a file that is closed by then

    def _write_group(self, rows: int) -> None:
        whole = pa.concat_tables(self._held)
        if rows:
            self._writer.write_table(whole.slice(0, rows).replace_schema_metadata(self._metadata), row_group_size=rows)
        self._held, self._held_rows = [whole.slice(rows)], len(whole) - rows


@contextmanager
def whole_file(path: Path) -> Iterator[Any]:
    """A binary file to write to. It takes the place of ``path`` when it is complete and on the disk, or not at all.

    Raises:
        StorageError: the file system refuses.
    """
    partial = path.with_name(path.name + ".partial")
    with storage_errors(str(path)):
        try:
            with partial.open("wb") as file:
                yield file
                sync_file(file)
            os.replace(partial, path)  # noqa: PTH105 -- the atomic call by its name
            sync_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)
