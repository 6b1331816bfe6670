"""Rows that a conversion is checked on: made from the model itself, or read from an engineer's sample."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import DataError
from nearhand_converters.graph.trees.form import Membership, Number, Trees, floor32
from nearhand_converters.sources.model import FIRST_KNOWN, MISSING, UNKNOWN, InputColumn, Rows, TabularModel

_SCALES = (0.0, 1e-3, 1.0, 3.0, 100.0)
"""Standard deviations of the rows of a model that says nothing about its inputs."""
_LARGEST = float(np.finfo(np.float32).max)
_NODES_AT_ONCE = 256
"""Bounds the memory for the categories that a path still allows: nodes × columns × codes."""


def verification_rows(model: TabularModel, count: int = 10_000, seed: int = 0, *, doubles: bool = False) -> Rows:
    """Rows made from the model alone, the same for the same arguments.

    In this order, as far as ``count`` goes:

    1. each column missing by itself, and all together;
    2. **every threshold** of every column that trees (or ``edges``) compare: a row exactly on it, one ulp below, one
       and two above (a library that asks ``x < t`` has its own threshold one ulp above that of the neutral form), and
       every known category, the unknown one and the missing one. One row holds such a value in every column, so they
       take as many rows as the column with most thresholds; at most half of ``count``, then a random choice of them;
    3. rows that *reach* a split, made from the path to it, on both sides of its threshold: at most half of the rest;
    4. random rows around the thresholds, or in the model's ``ranges``, else normal of several scales.

    A model may have, for columns or number columns in their order: ``missing_allowed`` and ``unknown_allowed`` (False:
    the original raises, such rows are not made), ``ranges`` (low, high) that no row leaves, and ``edges``: where a
    model without trees jumps.

    Args:
        doubles: also float64 neighbours of the thresholds, for artifacts that are given float64 by the device; without
            it every number is one that float32 represents.
    """
    maker = _Maker(model, np.random.Generator(np.random.PCG64(seed)), doubles)
    parts = [maker.missing(count // 4)]
    left = count - len(parts[0])
    parts.append(maker.on_thresholds(left // 2))
    left -= len(parts[-1])
    parts.append(maker.reaching_splits(left // 2))
    left -= len(parts[-1])
    parts.append(maker.random(left))
    numbers = np.concatenate([part.numbers for part in parts])
    return Rows(numbers, np.concatenate([part.categories for part in parts]))


def single(rows: Rows) -> Rows:
    """The rows as a graph sees them: numbers rounded to float32."""
    with np.errstate(over="ignore"):
        return Rows(rows.numbers.astype(np.float32).astype(np.float64), rows.categories)


def rows_from_table(model: TabularModel, table: Mapping[str, Sequence[Any]]) -> Rows:
    """An engineer's sample as rows.

    Args:
        table: column name → values, from a CSV (texts) or an Arrow table (numbers, texts, None). None, NaN and an empty
            text are missing values. Columns that the model does not read are passed over.

    Raises:
        DataError: a column is absent or of another length, or a value is not a number, is infinite, or is missing or
            unknown where the original refuses that; names column and row (from 1, without a header).
    """
    columns = model.columns
    absent = [column.name for column in columns if column.name not in table]
    if absent:
        raise DataError(
            f"column {absent[0]!r} is absent ({len(absent)} of {len(columns)} are)",
            place="sample",
            remedy=f"give the columns that the model was trained on: {', '.join(column.name for column in columns)}",
        )
    lengths = {column.name: len(table[column.name]) for column in columns}
    rows = max(lengths.values(), default=0)
    for name, length in lengths.items():
        if length != rows:
            raise DataError(
                f"column {name!r} has {length} values, another has {rows}",
                place="sample",
                remedy="give every column one value per row",
            )
    if rows == 0:
        raise DataError("has no rows", place="sample", remedy="give at least one row, or no sample at all")
    missing, unknown = _allowed(model, "missing_allowed"), _allowed(model, "unknown_allowed")
    numbers, categories = [], []
    for place, column in enumerate(columns):
        values = table[column.name]
        if column.kind == "number":
            numbers.append(_number_column(column, values, missing[place]))
        else:
            categories.append(_category_column(column, values, missing[place], unknown[place]))
    return Rows(_columns(numbers, rows, np.float64), _columns(categories, rows, np.int32))


class _Maker:
    """Makes the parts of the verification rows of one model."""

    def __init__(self, model: TabularModel, random: np.random.Generator, doubles: bool) -> None:
        self._random = random
        self._doubles = doubles
        self._trees = model.trees
        columns = model.columns
        number = [column.kind == "number" for column in columns]
        missing, unknown = _allowed(model, "missing_allowed"), _allowed(model, "unknown_allowed")
        self._missing_number = [m for m, is_number in zip(missing, number, strict=True) if is_number]
        self._codes: list[NDArray[np.int32]] = []
        """For each category column the codes that its rows may have."""
        for column, may_miss, may_not_know in zip(columns, missing, unknown, strict=True):
            if column.kind == "category":
                codes = np.arange(FIRST_KNOWN + len(column.categories), dtype=np.int32)
                self._codes.append(codes[[may_miss, may_not_know] + [True] * len(column.categories)])
        self._ranges: Sequence[tuple[float, float]] | None = getattr(model, "ranges", None)
        edges = getattr(model, "edges", None)
        features = range(sum(number))
        found = _thresholds(self._trees, len(features))
        self._thresholds = [np.union1d(found[f], edges[f]) if edges else found[f] for f in features]
        self._probes = [self._inside(f, self._around(self._thresholds[f])) for f in features]

    def missing(self, most: int) -> Rows:
        """Each column missing by itself, then all; [<= most]."""
        numbers = [f for f, allowed in enumerate(self._missing_number) if allowed]
        categories = [c for c, codes in enumerate(self._codes) if codes[0] == MISSING]
        alone = min(len(numbers) + len(categories), most - 1)
        if alone < 1:
            return self.random(0)
        rows = self.random(alone + 1)
        for row, f in enumerate(numbers[:alone]):
            rows.numbers[row, f] = np.nan
        for row, c in enumerate(categories[: alone - len(numbers[:alone])], len(numbers)):
            rows.categories[row, c] = MISSING
        rows.numbers[alone, numbers] = np.nan
        rows.categories[alone, categories] = MISSING
        return rows

    def on_thresholds(self, most: int) -> Rows:
        """Every probe of every number column and every code of every category column at least once; [<= most]."""
        longest = max([*map(len, self._probes), *map(len, self._codes)], default=0)
        rows = self.random(min(most, longest))
        for f, probes in enumerate(self._probes):
            if len(probes):
                rows.numbers[:, f] = np.resize(self._random.permutation(probes), len(rows))
        for c, codes in enumerate(self._codes):
            rows.categories[:, c] = np.resize(self._random.permutation(codes), len(rows))
        return rows

    def reaching_splits(self, most: int) -> Rows:
        """For each split, two rows that reach it and go left and right, as close to its threshold as can be."""
        trees = self._trees
        splits = np.flatnonzero(~trees.is_leaf) if trees is not None else np.empty(0, np.int64)
        chosen = self._random.permutation(splits)[: most // 2]
        if trees is None or not len(chosen):
            return self.random(0)
        parent = np.full(len(trees.left), -1)
        inner = np.flatnonzero(~trees.is_leaf)
        parent[trees.left[inner]] = inner
        parent[trees.right[inner]] = inner
        nodes = np.concatenate([trees.left[chosen], trees.right[chosen]])
        rows = self.random(len(nodes))
        for start in range(0, len(nodes), _NODES_AT_ONCE):
            part = slice(start, start + _NODES_AT_ONCE)
            self._reach(trees, parent, nodes[part], rows[part])
        return rows

    def random(self, rows: int) -> Rows:
        """Rows around the thresholds, or in the ranges, or of several scales, with one in 50 values missing."""
        numbers = np.empty((rows, len(self._probes)))
        scale = self._random.choice(_SCALES, (rows, 1))
        for f, thresholds in enumerate(self._thresholds):
            if len(thresholds):
                numbers[:, f] = self._around_thresholds(thresholds, rows)
            elif self._ranges is not None:
                numbers[:, f] = self._random.uniform(*self._ranges[f], rows)
            else:
                numbers[:, f] = self._random.standard_normal(rows) * scale[:, 0]
            zero = self._random.random(rows) < 0.02
            numbers[zero, f] = self._random.choice([0.0, -0.0], int(zero.sum()))
            numbers[:, f] = self._clipped(f, numbers[:, f])
            if self._missing_number[f]:
                numbers[self._random.random(rows) < 0.02, f] = np.nan
        if not self._doubles:
            numbers = numbers.astype(np.float32).astype(np.float64)
        categories = np.empty((rows, len(self._codes)), np.int32)
        for c, codes in enumerate(self._codes):
            rare, usual = self._random.choice(codes[:2], rows), self._random.choice(codes, rows)
            categories[:, c] = np.where(self._random.random(rows) < 0.1, rare, usual)
        return Rows(numbers, categories)

    def _around_thresholds(self, thresholds: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
        """Half uniform over the thresholds' range and a little beyond, half close to one of them, whatever its size."""
        low, high = float(thresholds[0]), float(thresholds[-1])
        margin = (high - low) / 4 if high > low else max(abs(low), 1.0)
        wide = self._random.uniform(-1.0, 1.0, rows) * ((high - low) / 2 + margin) + (low / 2 + high / 2)
        near = self._random.choice(thresholds, rows) * (1 + 0.1 * self._random.standard_normal(rows))
        found: NDArray[np.float64] = np.where(self._random.random(rows) < 0.5, wide, near)
        return found

    def _around(self, thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
        """The thresholds' neighbours, ascending: float32 ones, and float64 ones where they are asked for."""
        points = [_steps(floor32(thresholds), step).astype(np.float64) for step in (-1, 0, 1, 2)]
        if self._doubles:
            points += [_steps(thresholds, step) for step in (-1, 0, 1, 2)]
        found = np.unique(np.concatenate(points))
        return found[np.abs(found) <= _LARGEST]

    def _inside(self, feature: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._ranges is None:
            return values
        low, high = self._ranges[feature]
        return values[(values >= low) & (values <= high)]

    def _clipped(self, feature: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
        low, high = (-_LARGEST, _LARGEST) if self._ranges is None else self._ranges[feature]
        clipped: NDArray[np.float64] = np.clip(values, low, high)
        return clipped

    def _reach(self, trees: Trees, parent: NDArray[np.int64], nodes: NDArray[np.int32], rows: Rows) -> None:
        """Change each row so that it gets to its node, which is no root, if one can: from the splits on the way up."""
        low = np.full(rows.numbers.shape, -np.inf)
        high = np.full(rows.numbers.shape, np.inf)
        most = max(map(len, self._codes), default=0) + FIRST_KNOWN
        allowed = np.zeros((*rows.categories.shape, most), np.bool_)
        for c, codes in enumerate(self._codes):
            allowed[:, c, codes] = True
        feature = np.array([column.feature for column in trees.columns])
        is_number = np.array([isinstance(column, Number) for column in trees.columns])
        members = np.zeros((len(trees.columns), most), np.bool_)
        for place, asked in enumerate(trees.columns):
            if isinstance(asked, Membership):
                members[place, [member for member in asked.members if member < most]] = True
        at: NDArray[np.integer] = nodes
        row = np.arange(len(nodes))
        while len(row):
            split = parent[at]
            right, column, threshold = trees.right[split] == at, trees.column[split], trees.threshold[split]
            f, number = feature[column], is_number[column]
            for side, bound, closer in ((right, low, np.maximum), (~right, high, np.minimum)):
                i = number & side
                bound[row[i], f[i]] = closer(bound[row[i], f[i]], threshold[i])
            i = ~number
            allowed[row[i], f[i]] &= members[column[i]] == right[i, None]
            above = parent[split] >= 0
            at, row = split[above], row[above]
        self._move(rows, low, high)
        for r, c in zip(*np.nonzero(~np.take_along_axis(allowed, rows.categories[..., None], 2)[..., 0]), strict=True):
            free = np.flatnonzero(allowed[r, c])
            if len(free):
                rows.categories[r, c] = self._random.choice(free)

    def _move(self, rows: Rows, low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
        """Numbers that are not in (low, high] are put at one of its ends, where the interval holds a number."""
        first, last = _steps(low, 1), high
        if not self._doubles:
            first, last = _steps(floor32(low), 1).astype(np.float64), floor32(high).astype(np.float64)
        first = np.where(np.isneginf(low), last, first)
        last = np.where(np.isposinf(high), first, last)
        at_end = np.where(self._random.random(low.shape) < 0.5, first, last)
        bounded = np.isfinite(low) | np.isfinite(high)
        inside = (rows.numbers > low) & (rows.numbers <= high)
        # Half of those that are inside already are moved too: the ends are where a comparison goes wrong.
        wanted = bounded & (~inside | (self._random.random(low.shape) < 0.5)) & (at_end > low) & (at_end <= high)
        for f in range(rows.numbers.shape[1]):
            chosen = np.flatnonzero(wanted[:, f] & (self._clipped(f, at_end[:, f]) == at_end[:, f]))
            rows.numbers[chosen, f] = at_end[chosen, f]


def _thresholds(trees: Trees | None, features: int) -> list[NDArray[np.float64]]:
    """For each number input, the finite thresholds it is compared with, ascending."""
    found: list[list[NDArray[np.float64]]] = [[np.empty(0)] for _ in range(features)]
    if trees is not None:
        inner = ~trees.is_leaf
        order = np.argsort(trees.column[inner], kind="stable")
        column, threshold = trees.column[inner][order], trees.threshold[inner][order]
        bounds = np.searchsorted(column, np.arange(len(trees.columns) + 1))
        for place, asked in enumerate(trees.columns):
            if isinstance(asked, Number):
                own = threshold[bounds[place] : bounds[place + 1]]
                found[asked.feature].append(own[np.abs(own) <= _LARGEST])
                if asked.zero_is_missing:
                    found[asked.feature].append(np.array([-asked.zero, asked.zero]))
                if asked.sentinel is not None and abs(asked.sentinel) <= _LARGEST:
                    found[asked.feature].append(np.array([asked.sentinel]))
    return [np.unique(np.concatenate(own)) for own in found]


def _steps(values: NDArray[Any], steps: int) -> NDArray[Any]:
    """Each value's neighbour so many floats of its own dtype up, or down."""
    towards = values.dtype.type(math.copysign(math.inf, steps))
    for _ in range(abs(steps)):
        with np.errstate(over="ignore"):
            values = np.nextafter(values, towards)
    return values


def _allowed(model: TabularModel, name: str) -> tuple[bool, ...]:
    """For each column; all True unless the model says something."""
    said: bool | Sequence[bool] = getattr(model, name, True)
    return (said,) * len(model.columns) if isinstance(said, bool) else tuple(said)


def _columns(columns: list[NDArray[Any]], rows: int, dtype: type[Any]) -> NDArray[Any]:
    return np.stack(columns, axis=1) if columns else np.empty((rows, 0), dtype)


def _number_column(column: InputColumn, values: Sequence[Any], may_miss: bool) -> NDArray[np.float64]:
    found = np.array([_number(column, value, row) for row, value in enumerate(values, 1)], np.float64)
    infinite = np.flatnonzero(np.isinf(found))
    if len(infinite):
        raise _wrong(column, int(infinite[0]) + 1, "is infinite", "give finite numbers; an empty field is missing")
    missing = np.flatnonzero(np.isnan(found))
    if len(missing) and not may_miss:
        raise _wrong(column, int(missing[0]) + 1, "is missing, and the model refuses that", "leave the row out")
    return found


def _number(column: InputColumn, value: Any, row: int) -> float:
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    try:
        if isinstance(value, (bytes, complex)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise _wrong(column, row, f"{value!r} is not a number", "give a number, or leave it empty") from None


def _category_column(
    column: InputColumn, values: Sequence[Any], may_miss: bool, may_not_know: bool
) -> NDArray[np.int32]:
    code_of = {text: FIRST_KNOWN + i for i, text in enumerate(column.categories)}
    found = np.array([_code(code_of, value) for value in values], np.int32)
    for code, allowed, what in ((MISSING, may_miss, "is missing"), (UNKNOWN, may_not_know, "is unknown")):
        odd = np.flatnonzero(found == code)
        if len(odd) and not allowed:
            row = int(odd[0])
            known = ", ".join(map(repr, column.categories[:5])) + (" …" if len(column.categories) > 5 else "")
            raise _wrong(
                column,
                row + 1,
                f"{values[row]!r} {what}, and the model refuses that",
                f"leave the row out, or give a category that it knows: {known}",
            )
    return found


def _code(code_of: Mapping[str, int], value: Any) -> int:
    """The code of a category; 3.0, as an integer is in a column with gaps, is also looked up as 3."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    text = str(value)
    if text not in code_of and isinstance(value, float) and value.is_integer():
        text = str(int(value))
    return code_of.get(text, UNKNOWN if text else MISSING)


def _wrong(column: InputColumn, row: int, problem: str, remedy: str) -> DataError:
    return DataError(problem, place=f"sample, column {column.name!r}, row {row}", remedy=remedy)
