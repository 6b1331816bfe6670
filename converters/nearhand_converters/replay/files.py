"""CSV, JSON lines and Parquet files, batch by batch; ``.gz`` of the first two."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nearhand_converters.errors import DataError
from nearhand_converters.replay.rows import SKIP, Array, Refusals, Rows, parse_json

BATCH_ROWS = 65_536
_BLOCK_BYTES = 4_000_000

Kind: TypeAlias = Literal["csv", "jsonl", "parquet"]
_KINDS: dict[str, Kind] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}


@dataclass(frozen=True)
class Wanted:
    """Which columns of a table are read.

    Attributes:
        names: whether a column of that name is.
        required: must be there.
    """

    names: Callable[[str], bool]
    required: Sequence[str]


@dataclass(frozen=True)
class Source:
    """A file, or the parts of a folder in the order of their names.

    Attributes:
        files: at least one; all of the same kind.
        bytes: their size together.
    """

    files: tuple[Path, ...]
    kind: Kind
    bytes: int

    def header(self) -> tuple[str, ...]:
        """The columns of the first file of CSV or Parquet.

        Raises:
            DataError: the file cannot be read.
        """
        path = self.files[0]
        with _reading(path):
            if self.kind == "csv":
                return _csv_header(path)
            with pq.ParquetFile(path) as file:
                return tuple(file.schema_arrow.names)

    def first_record(self) -> dict[str, Any] | None:
        """The first object of JSON lines; None if there is none.

        Raises:
            DataError: the file cannot be read.
        """
        path = self.files[0]
        with _reading(path):
            return next((records[0] for _, records, _ in _records(path, Refusals(skip=True))), None)

    def rows(self, wanted: Wanted, refusals: Refusals) -> Iterator[Rows]:
        """All rows of CSV or Parquet, in order.

        Raises:
            DataError: a file is malformed, or lacks a required column.
        """
        read = _csv_rows if self.kind == "csv" else _parquet_rows
        before = 0
        for path in self.files:
            with _reading(path):
                for rows in read(path, wanted, refusals):
                    rows.done += before
                    yield rows
            before += path.stat().st_size

    def records(self, refusals: Refusals) -> Iterator[tuple[Rows, list[dict[str, Any]]]]:
        """The objects of JSON lines, in order, beside rows that have no columns yet.

        Raises:
            DataError: the file cannot be read, or a line is not a JSON object.
        """
        before = 0
        for path in self.files:
            with _reading(path):
                for numbers, records, done in _records(path, refusals):
                    yield Rows({}, numbers, path.name, "line", before + done, refusals), records
            before += path.stat().st_size


def open_source(path: Path) -> Source:
    """Find out what ``path`` is.

    Raises:
        DataError: it is missing, or neither a file of a known ending nor a folder of such files of one kind.
    """
    if path.is_dir():
        parts = sorted(each for each in path.iterdir() if each.is_file() and each.name[0] not in "._")
        files = [each for each in parts if _kind(each) is not None]
        kinds = {_kind(each) for each in files}
        if len(kinds) != 1:
            problem = "the folder has files of several kinds" if kinds else "the folder has no file to read"
            raise DataError(problem, place=str(path), remedy="name one file, or a folder with parts of one kind")
    else:
        files = [path]
    kind = _kind(files[0])
    if kind is None:
        known = ", ".join(_KINDS)
        raise DataError(f"{path.suffix!r} is no known ending", place=str(path), remedy=f"use one of {known} (or .gz)")
    with _reading(path):
        return Source(tuple(files), kind, sum(each.stat().st_size for each in files))


def _kind(path: Path) -> Kind | None:
    suffixes = path.suffixes
    if suffixes and suffixes[-1] == ".gz":
        found = _KINDS.get(suffixes[-2]) if len(suffixes) > 1 else None
        return None if found == "parquet" else found
    return _KINDS.get(path.suffix)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DataError("the file is missing", place=str(path), remedy="put it there or name another one") from None
    except (OSError, EOFError, zlib.error, pa.ArrowInvalid, UnicodeDecodeError) as error:
        remedy = "check that it is whole, readable, of the kind that its name says, and UTF-8 if it is text"
        raise DataError(f"cannot be read ({str(error)[:200]})", place=str(path), remedy=remedy) from error


def _require(columns: Collection[str], wanted: Wanted, place: str) -> None:
    for name in wanted.required:
        if name not in columns:
            problem = f"there is no column {name!r}, only {', '.join(columns) or 'nothing'}"
            raise DataError(problem, place=place, remedy="add it, or say with --map which column it is")


# --- CSV -------------------------------------------------------------------------------------------------------------


def _csv_header(path: Path) -> tuple[str, ...]:
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as text:
        header = tuple(next(csv.reader(text, delimiter=_delimiter(path)), ()))
    for name in header:
        if header.count(name) > 1:
            raise DataError(f"the header has {name!r} twice", place=str(path), remedy="give every column its own name")
    return header


def _delimiter(path: Path) -> str:
    return "\t" if ".tsv" in path.suffixes[-2:] else ","


def _csv_rows(path: Path, wanted: Wanted, refusals: Refusals) -> Iterator[Rows]:
    """Every cell as text, an empty one as null. The header is row 1; blank lines are not rows."""
    header = _csv_header(path)
    names = [name for name in header if wanted.names(name)]
    _require(names if names else header, wanted, str(path))
    malformed: list[Any] = []

    def note(row: Any) -> str:
        malformed.append(row)  # what is raised in here gets lost
        return "skip"

    with pa.OSFile(str(path)) as raw:
        compressed = path.suffix == ".gz"
        reader = _opened(
            pa.CompressedInputStream(raw, "gzip") if compressed else raw,
            pa.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            pa.csv.ParseOptions(delimiter=_delimiter(path), newlines_in_values=True, invalid_row_handler=note),
            pa.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=names,
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
        first, refused = 2, 0
        for batch in reader:
            refused = _refuse_ragged(path, malformed, refused, refusals)
            # Where a row is refused by its number, none was left out before it.
            numbers = np.arange(first, first + len(batch))
            first += len(batch)
            columns = dict(zip(names, batch.columns, strict=True))
            yield Rows(columns, numbers, path.name, "row", raw.tell(), refusals, text=True)
        _refuse_ragged(path, malformed, refused, refusals)


def _refuse_ragged(path: Path, malformed: Sequence[Any], refused: int, refusals: Refusals) -> int:
    """Refuse rows of another number of columns, the first ``refused`` of which were before; how many there are now."""
    for row in malformed[refused:]:
        problem = f"{row.actual_columns} columns where the header has {row.expected_columns}"
        refusals.row(f"{path.name} row {row.number}", problem, "row: has another number of columns than the header")
    return len(malformed)


def _opened(stream: Any, *options: Any) -> Any:
    read, parse, convert = options
    return pa.csv.open_csv(stream, read_options=read, parse_options=parse, convert_options=convert)


# --- Parquet ---------------------------------------------------------------------------------------------------------


def _parquet_rows(path: Path, wanted: Wanted, refusals: Refusals) -> Iterator[Rows]:
    """Columns in their own types; the fields of a struct ``s`` as ``s.field``. The first row is row 1."""
    with pq.ParquetFile(path, pre_buffer=False) as file:
        names = [name for name in file.schema_arrow.names if wanted.names(name)]
        _require(names if names else file.schema_arrow.names, wanted, str(path))
        size, whole, first = path.stat().st_size, max(file.metadata.num_rows, 1), 1
        for batch in file.iter_batches(BATCH_ROWS, columns=names):
            numbers = np.arange(first, first + len(batch))
            first += len(batch)
            done = size * first // whole
            yield Rows(arrow_columns(batch), numbers, path.name, "row", done, refusals)


def arrow_columns(batch: Any) -> dict[str, Array]:
    """The columns of a record batch or table; the fields of a struct ``s`` as ``s.field``, a map as its JSON text."""
    columns = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_struct(column.type):
            flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            fields = [column.type.field(place).name for place in range(column.type.num_fields)]
            columns.update({f"{name}.{field}": each for field, each in zip(fields, flat.flatten(), strict=True)})
        elif pa.types.is_map(column.type):
            texts = [None if pairs is None else json.dumps(dict(pairs)) for pairs in column.to_pylist()]
            columns[name] = pa.array(texts, pa.string())
        else:
            columns[name] = column
    return columns


# --- JSON lines ------------------------------------------------------------------------------------------------------


def _records(path: Path, refusals: Refusals) -> Iterator[tuple[NDArray[np.int64], list[dict[str, Any]], int]]:
    """Batches of at least one object: the numbers of their lines, them, and how far into the file they reach, bytes."""
    with path.open("rb") as raw:
        stream = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
        first = 1
        while lines := stream.readlines(_BLOCK_BYTES):
            numbers, records = [], []
            for number, line in enumerate(lines, first):
                record = _record(path, number, line, refusals)
                if record is not None:
                    numbers.append(number)
                    records.append(record)
            first += len(lines)
            if records:
                yield np.array(numbers, np.int64), records, raw.tell()


def _record(path: Path, number: int, line: bytes, refusals: Refusals) -> dict[str, Any] | None:
    if line.isspace():
        return None
    place = f"{path.name} line {number}"
    try:
        record = parse_json(line.decode("utf-8-sig"))
        if b"\\u" in line:
            json.dumps(record, ensure_ascii=False).encode()  # an escape can spell half of a surrogate pair
    except (ValueError, RecursionError) as error:
        refusals.row(place, f"is not JSON ({str(error)[:120]})", "line: is not JSON", SKIP)
        return None
    if not isinstance(record, dict):
        refusals.row(place, "is not a JSON object", "line: is not a JSON object", SKIP)
        return None
    return record
