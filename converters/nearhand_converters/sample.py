"""Reads a table of sample rows: CSV or Parquet, by column."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from nearhand_converters.errors import DataError

SampleTable: TypeAlias = Mapping[str, Sequence[Any]]
"""Column → values, all of one length: texts from a CSV, whatever Parquet has otherwise."""

_MOST_BYTES = 1 << 30


def read_sample(path: Path) -> SampleTable:
    """The table of a file that ends in ``.csv`` or ``.parquet``.

    Raises:
        DataError: it cannot be read, is empty or too large, or a line has another number of fields than the header.
    """
    readers = {".csv": _read_csv, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError("is neither .csv nor .parquet", place=path.name, remedy="give a CSV or Parquet file")
    try:
        if path.exists() and not path.is_file():
            raise DataError("is not a file", place=path.name, remedy="give a CSV or Parquet file")
        if path.stat().st_size > _MOST_BYTES:
            problem = f"is larger than {_MOST_BYTES >> 20} MiB"
            raise DataError(problem, place=path.name, remedy="give fewer rows: thousands are enough")
        return reader(path)
    except (OSError, UnicodeDecodeError) as error:
        problem = f"cannot be read ({' '.join(str(error).split())[:200]})"
        raise DataError(problem, place=path.name, remedy="give a CSV (UTF-8) or Parquet file") from error


def _read_csv(path: Path) -> SampleTable:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            lines = [(reader.line_num, line) for line in reader if line]
        except csv.Error as error:
            problem = f"is not CSV ({error})"
            raise DataError(problem, place=f"{path.name} line {reader.line_num}", remedy="correct it") from error
    if not header:
        raise DataError("is empty", place=path.name, remedy="give a header line with the columns' names, and rows")
    if twice := next((name for name in header if header.count(name) > 1), None):
        raise DataError(f"has the column {twice!r} twice", place=path.name, remedy="give every column another name")
    for number, line in lines:
        if len(line) != len(header):
            problem = f"has {len(line)} fields, and the header has {len(header)}"
            raise DataError(problem, place=f"{path.name} line {number}", remedy="correct it")
    columns = zip(*(line for _, line in lines), strict=True)
    return dict(zip(header, columns, strict=True)) if lines else dict.fromkeys(header, ())


def _read_parquet(path: Path) -> SampleTable:
    import pyarrow
    from pyarrow import parquet

    try:
        table: dict[str, list[Any]] = parquet.read_table(path).to_pydict()
    except pyarrow.ArrowException as error:  # also an OSError, or a ValueError
        problem = f"is not Parquet ({' '.join(str(error).split())[:200]})"
        raise DataError(problem, place=path.name, remedy="write it again as Parquet or CSV") from error
    return table
