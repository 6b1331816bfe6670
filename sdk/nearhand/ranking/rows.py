"""Rows as an app has them, and as a model's inputs: texts become codes, numbers float32 or ranks."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from nearhand.bundle.fields import listed
from nearhand.bundle.tables import Column
from nearhand.errors import UsageError
from nearhand.records import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

Value: TypeAlias = str | float | bool | None
Table: TypeAlias = "Sequence[Mapping[str, Value]] | Mapping[str, Value | Sequence[Value] | NDArray[Any]]"
"""Rows: one mapping for each, or one mapping of columns. In the latter a single value stands for the same value in
every row; if all are single values there is one row.
"""

MISSING, UNKNOWN, FIRST_KNOWN = 0, 1, 2
"""The codes of a category: 0 for none, 1 for one that the vocabulary does not have, 2 + i for its text i."""


@dataclass(frozen=True)
class TableRows:
    """Rows, split by kind.

    Attributes:
        numbers: float64 [rows, number columns]; NaN is missing.
        categories: int32 codes [rows, category columns].
        block, varying: what is known of the numbers: in each block of so many rows they are the same, but for those in
            the columns ``varying``.
    """

    numbers: NDArray[np.float64]
    categories: NDArray[np.int32]
    block: int = 1
    varying: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.numbers)


class RowEncoder:
    """Makes the inputs of one ranker or predictor."""

    def __init__(
        self,
        columns: Sequence[Column],
        vocabularies: Mapping[str, Sequence[str]],
        thresholds: Sequence[Sequence[float] | NDArray[np.float64]] = (),
    ) -> None:
        """
        Args:
            vocabularies: name → texts; at least those of the columns.
            thresholds: for each number column of a model with the encoding ``ranks``; else none.
        """
        self._names = [column.name for column in columns]
        self._number_columns = [column for column in columns if column.kind == "number"]
        self._category_columns = [column for column in columns if column.kind == "category"]
        self._codes = [
            {text: FIRST_KNOWN + i for i, text in enumerate(vocabularies[str(column.vocabulary)])}
            for column in self._category_columns
        ]
        self._thresholds = [np.asarray(column, np.float64) for column in thresholds]
        self._listed_thresholds = [column.tolist() for column in self._thresholds]
        self._zeros = np.array([bisect_left(column, 0.0) for column in self._listed_thresholds], np.float32)
        nothing = np.full(len(self._thresholds), np.nan)
        self._last_row = nothing, nothing.astype(np.float32)  # the first row of the last inputs, and its ranks

    def rows(self, table: Table) -> TableRows:
        """Read rows. Columns that the model does not have are passed over.

        A number is a number, or None or NaN where it is missing. A category is a text, or None, NaN or ``""`` where it
        is missing; a whole number stands for the text that Python prints for it.

        Raises:
            UsageError: a column is absent, is of another shape or length than the others, or a value is of the wrong
                type, or is missing or unknown where the model refuses that; names the column and the row, from 0.
        """
        columns = self._columns(table)
        count = max(map(len, columns.values()), default=0)
        numbers = [_numbers(column, columns[column.name]) for column in self._number_columns]
        categories = [
            _categories(column, columns[column.name], codes)
            for column, codes in zip(self._category_columns, self._codes, strict=True)
        ]
        return TableRows(_side_by_side(numbers, count, np.float64), _side_by_side(categories, count, np.int32))

    def inputs(self, rows: TableRows) -> dict[str, NDArray[Any]]:
        """The model's inputs: ``numbers`` float32 and ``categories`` int32, each [rows, columns], as far as it has any.

        Never raises: what float32 cannot hold is an infinity.
        """
        found: dict[str, NDArray[Any]] = {}
        if self._number_columns:
            found["numbers"] = self._ranks(rows) if self._thresholds else to_float32(rows.numbers)
        if self._category_columns:
            found["categories"] = rows.categories
        return found

    def _ranks(self, rows: TableRows) -> NDArray[np.float32]:
        """Ranks are below 2²⁴, so exact."""
        numbers, varying = rows.numbers, rows.varying
        if not len(numbers):
            return np.empty(numbers.shape, np.float32)
        ranks = self._ranks_of_heads(numbers[:: rows.block]).repeat(rows.block, axis=0)
        if varying:
            columns = numbers.T.take(varying, axis=0)
            found = np.empty(columns.shape, np.float32)
            for at, place in enumerate(varying):
                found[at] = self._thresholds[place].searchsorted(columns[at])
            found -= self._zeros.take(varying)[:, None]
            found[np.isnan(columns)] = np.nan
            ranks[:, varying] = found.T
        return ranks

    def _ranks_of_heads(self, numbers: NDArray[np.float64]) -> NDArray[np.float32]:
        """Of the first row of each block. Those of the first of all are often those of the last list."""
        row, (last, known) = numbers[0], self._last_row
        first = known.copy()
        for place in np.flatnonzero(row != last).tolist():
            first[place] = bisect_left(self._listed_thresholds[place], row[place]) - self._zeros[place]
        self._last_row = row.copy(), first
        ranks = np.empty(numbers.shape, np.float32)
        ranks[:] = first
        others = np.flatnonzero((numbers != row).any(axis=0)).tolist() if len(numbers) > 1 else []
        for place in others:
            ranks[:, place] = self._thresholds[place].searchsorted(numbers[:, place]) - self._zeros[place]
        ranks[np.isnan(numbers)] = np.nan
        return ranks

    def _columns(self, table: Table) -> dict[str, Sequence[Any] | NDArray[Any]]:
        """Column → its values, all of one length."""
        if isinstance(table, Mapping):
            return _equally_long({name: _column(table, name) for name in self._names})
        if isinstance(table, str) or not isinstance(table, Iterable):
            raise UsageError(
                f"are of the type {type(table).__name__}",
                place="rows",
                remedy="give a list of mappings, or a mapping of columns",
            )
        rows = list(table)
        for number, row in enumerate(rows):
            if not isinstance(row, Mapping):
                problem = f"is a {type(row).__name__}, not a mapping"
                raise UsageError(problem, place=f"row {number}", remedy="give a mapping from column to value")
            if absent := next((name for name in self._names if name not in row), None):
                raise _absent(absent, row, f"row {number}")
        return {name: [row[name] for row in rows] for name in self._names}


def to_float32(numbers: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rounded to float32; what is beyond it becomes an infinity."""
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)


def _column(table: Mapping[str, Any], name: str) -> Any:
    """A column's values as a sequence or an array of one dimension, or its single value as it is."""
    if name not in table:
        raise _absent(name, table, "rows")
    values = table[name]
    if hasattr(values, "__array__"):  # numpy, and what can become it, such as a column of pandas
        values = np.asarray(values)
        if values.ndim == 0:
            return values.item()
        if values.ndim != 1:
            problem = f"has the shape {list(values.shape)}"
            raise UsageError(problem, place=f"column {name!r}", remedy="give one value for each row")
    elif isinstance(values, (set, frozenset, Mapping)):
        problem = f"is a {type(values).__name__}"
        raise UsageError(problem, place=f"column {name!r}", remedy="give a list of values, or one value")
    return values


def _equally_long(columns: Mapping[str, Any]) -> dict[str, Sequence[Any] | NDArray[Any]]:
    """Single values repeated as often as the others are long; once, if there are no others."""
    lengths = {name: len(values) for name, values in columns.items() if _is_many(values)}
    count = max(lengths.values(), default=1)
    for name, length in lengths.items():
        if length != count:
            problem = f"has {length} values, and another column has {count}"
            raise UsageError(problem, place=f"column {name!r}", remedy="give every column one value for each row")
    return {name: values if name in lengths else [values] * count for name, values in columns.items()}


def _is_many(values: Any) -> bool:
    return isinstance(values, np.ndarray) or (isinstance(values, Sequence) and not isinstance(values, (str, bytes)))


def _absent(name: str, given: Mapping[str, Any], place: str) -> UsageError:
    return UsageError(
        f"column {name!r} is absent",
        place=place,
        remedy=f"give it, as None where it is missing; given: {listed(map(str, given))}",
    )


def _numbers(column: Column, values: Sequence[Any] | NDArray[Any]) -> NDArray[np.float64]:
    """float64 [rows]."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        found = values.astype(np.float64)
    else:
        plain = values.tolist() if isinstance(values, np.ndarray) else values
        found = np.array([_number(column, value, row) for row, value in enumerate(plain)], np.float64)
    if not column.missing and np.isnan(found).any():
        row = int(np.argmax(np.isnan(found)))
        raise _wrong(column, row, "is missing, and the model refuses that", "give a number")
    return found


def _number(column: Column, value: Any, row: int) -> float:
    if value is None:
        return math.nan
    if isinstance(value, (int, float, np.number, np.bool_)) and not isinstance(value, np.complexfloating):
        try:
            return float(value)
        except OverflowError:  # an int beyond float64
            return math.inf if value > 0 else -math.inf
    raise _wrong(column, row, f"is {_show(value)}, not a number", "give a number, or None where it is missing")


def _categories(column: Column, values: Sequence[Any] | NDArray[Any], codes: Mapping[str, int]) -> NDArray[np.int32]:
    """int32 codes [rows]."""
    plain = values.tolist() if isinstance(values, np.ndarray) else values
    found = np.array([_code(column, value, codes, row) for row, value in enumerate(plain)], np.int32)
    for code, allowed, what in ((MISSING, column.missing, "is missing"), (UNKNOWN, column.unknown, "is unknown")):
        if not allowed and (found == code).any():
            row = int(np.argmax(found == code))
            problem = f"{_show(plain[row])} {what}, and the model refuses that"
            raise _wrong(column, row, problem, f"give one of {listed(codes)}")
    return found


def _code(column: Column, value: Any, codes: Mapping[str, int], row: int) -> int:
    if value is None or value == "":
        return codes.get("", MISSING) if value == "" else MISSING
    if isinstance(value, str):
        return codes.get(value, UNKNOWN)
    if isinstance(value, (float, np.floating)):
        if math.isnan(value):
            return MISSING
        # A column of whole numbers with gaps holds them as floats.
        return codes.get(str(value), codes.get(str(int(value)), UNKNOWN) if float(value).is_integer() else UNKNOWN)
    if isinstance(value, (int, np.integer, np.bool_)):
        return codes.get(str(value), UNKNOWN)
    raise _wrong(column, row, f"is {_show(value)}, not a text", "give a text, or None where it is missing")


def _wrong(column: Column, row: int, problem: str, remedy: str) -> UsageError:
    return UsageError(problem, place=f"column {column.name!r}, row {row}", remedy=remedy)


def _show(value: Any) -> str:
    """A value for a message: short, and of one line."""
    return repr(value)[:60] if isinstance(value, (str, int, float, bool)) else f"a {type(value).__name__}"


def _side_by_side(columns: list[NDArray[Any]], rows: int, dtype: type[Any]) -> NDArray[Any]:
    return np.stack(columns, axis=1) if columns else np.empty((rows, 0), dtype)
