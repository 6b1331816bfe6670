"""Transformers that work on each number by itself: scalers, imputers, functions, bins."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.sources.sklearn.columns import (
    BinKey,
    Coded,
    Column,
    Dense,
    Function,
    Number,
    Operation,
    Step,
    Text,
    Untouched,
    last_below,
)
from nearhand_converters.sources.sklearn.library import alone, finite
from nearhand_converters.sources.sklearn.operations import FUNCTIONS, apply_operations, function_name
from nearhand_converters.sources.sklearn.table import is_missing
from nearhand_converters.sources.sklearn.walk import Columns, Transform, Walk


def elementwise(walk: Walk, columns: Columns, steps: Sequence[Step], place: str) -> list[Column]:
    """One step on each column: into a number's function, into a category's table, or onto a value of the graph."""
    found: list[Column] = []
    dense: dict[str, list[int]] = {}
    for i, (column, step) in enumerate(zip(walk.numeric(columns, place), steps, strict=True)):
        if isinstance(column, Number):
            found.append(Number(column.source, (*column.steps, step)))
        elif isinstance(column, Coded):
            found.append(Coded(column.key, step.exact(column.values)))
        else:
            dense.setdefault(column.value, []).append(i)
            found.append(column)
    for value, places in dense.items():
        own = [each for i in places if isinstance(each := found[i], Dense)]
        taken = walk.take(value, [each.place for each in own], own[0].width)
        changed = apply_operations(walk.g, taken, [steps[i].operations for i in places])
        for at, i in enumerate(places):
            found[i] = Dense(changed, at, len(places))
    return found


def shifted(
    walk: Walk, columns: Columns, centre: NDArray[np.float64], place: str
) -> tuple[list[Column], NDArray[np.float64]]:
    """The columns minus their centres as float32, and what is left of the centres, float64 [columns].

    Numbers that are large but close to their centre keep their precision when they become float32.
    """
    near = centre.astype(np.float32).astype(np.float64)
    steps = [
        Step((Operation("affine", (own, 1.0, 0.0)),), lambda x, own=own: x - own, 1)  # type: ignore[misc]
        for own in near.tolist()
    ]
    return elementwise(walk, columns, steps, place), centre - near


def _affine(transformer: Any, centre: Any, scale: Any, offset: Any, place: str) -> list[Step]:
    """The steps (x − centre)·scale + offset of a transformer with one output for each input."""
    width = len(np.atleast_1d(scale))
    parameters = np.stack(
        [np.broadcast_to(finite(value, "a scale or centre", place), width) for value in (centre, scale, offset)]
    )
    return [
        Step(
            (Operation("affine", tuple(parameters[:, i].tolist())),),
            alone(transformer, i, width, i, direction := int(np.sign(parameters[1, i]))),
            direction,
        )
        for i in range(width)
    ]


def _standard_scaler(walk: Walk, scaler: Any, columns: Columns, place: str) -> list[Column]:
    scale = np.ones(len(columns)) if scaler.scale_ is None else finite(scaler.scale_, "scale_", place)
    centre = 0.0 if scaler.mean_ is None or not scaler.with_mean else scaler.mean_
    if scaler.mean_ is not None:
        _usually(walk, columns, scaler.mean_ - 4 * scale, scaler.mean_ + 4 * scale)
    return elementwise(walk, columns, _affine(scaler, centre, 1 / scale, 0.0, place), place)


def _robust_scaler(walk: Walk, scaler: Any, columns: Columns, place: str) -> list[Column]:
    scale = finite(scaler.scale_, "scale_", place) if scaler.with_scaling else np.ones(len(columns))
    centre = scaler.center_ if scaler.with_centering else 0.0
    if scaler.with_centering:
        _usually(walk, columns, scaler.center_ - 4 * scale, scaler.center_ + 4 * scale)
    return elementwise(walk, columns, _affine(scaler, centre, 1 / scale, 0.0, place), place)


def _max_abs_scaler(walk: Walk, scaler: Any, columns: Columns, place: str) -> list[Column]:
    _usually(walk, columns, -1.25 * scaler.max_abs_, 1.25 * scaler.max_abs_)
    steps = _affine(scaler, 0.0, 1 / finite(scaler.scale_, "scale_", place), 0.0, place)
    if getattr(scaler, "clip", False):
        steps = [_clipped(step, -1.0, 1.0) for step in steps]
    return elementwise(walk, columns, steps, place)


def _min_max_scaler(walk: Walk, scaler: Any, columns: Columns, place: str) -> list[Column]:
    low = finite(scaler.data_min_, "data_min_", place)
    _usually(walk, columns, low - scaler.data_range_ / 4, scaler.data_max_ + scaler.data_range_ / 4)
    scale = finite(scaler.scale_, "scale_", place)
    steps = _affine(scaler, low, scale, low * scale + finite(scaler.min_, "min_", place), place)
    if scaler.clip:
        steps = [_clipped(step, *map(float, scaler.feature_range)) for step in steps]
    return elementwise(walk, columns, steps, place)


def _usually(walk: Walk, columns: Columns, low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
    for column, *ends in zip(columns, low.tolist(), high.tolist(), strict=False):
        walk.usually(column, *ends)


def _clipped(step: Step, low: float, high: float) -> Step:
    return Step((*step.operations, Operation("clip", (low, high))), step.exact, step.direction)


def _function_transformer(walk: Walk, transformer: Any, columns: Columns, place: str) -> list[Column]:
    if transformer.func is None:
        return list(columns)
    name = function_name(transformer.func)
    if name is None or transformer.kw_args:
        what = "arguments of its own" if name else f"the function {getattr(transformer.func, '__name__', '?')!r}"
        raise UnsupportedModelError(
            f"FunctionTransformer has {what}, whose code does not run on a device",
            code="custom-function",
            place=place,
            remedy="use one of numpy's " + ", ".join(sorted(FUNCTIONS)),
        )
    function = FUNCTIONS[name]
    for column in columns:
        if np.isfinite(function.low):
            walk.not_below(column, function.low + 1e-6 if name.startswith("log") else function.low)
    step = Step((Operation("function", name=name),), _extended(transformer.func, function.low), function.direction)
    return elementwise(walk, columns, [step] * len(columns), place)


def _extended(function: Callable[..., Any], low: float) -> Function:
    """The function, going on with −inf below its domain."""

    def extended(x: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(all="ignore"):
            found: NDArray[np.float64] = function(x)
        return np.where(x < low, -np.inf, found)

    return extended


def _simple_imputer(walk: Walk, imputer: Any, columns: Columns, place: str) -> list[Column]:
    statistics = list(imputer.statistics_)
    found: list[Column] = []
    seen = list(columns)
    for i, (column, statistic) in enumerate(zip(columns, statistics, strict=True)):
        if is_missing(statistic) and not imputer.keep_empty_features:
            continue  # a column that had no value at all is left out
        found.append(_imputed(walk, imputer, column, i, statistic, len(found), place))
        if isinstance(found[-1], Text):
            seen[i] = walk.category(column, (), place)
    if imputer.add_indicator:
        found += [_indicated(walk, seen[i], imputer.missing_values, place) for i in imputer.indicator_.features_]
    return found


def _imputed(walk: Walk, imputer: Any, column: Column, i: int, statistic: Any, output: int, place: str) -> Column:
    missing, width = imputer.missing_values, len(imputer.statistics_)
    if isinstance(column, Text) or (isinstance(column, Untouched) and isinstance(statistic, str)):
        known = [statistic] if isinstance(missing, float) else [statistic, missing]
        text = walk.category(column, known, place)
        values = text.values.astype(object)
        values[[_same(value, missing) for value in values]] = statistic
        return Text(text.key, values)
    if not isinstance(missing, (int, float)):
        raise UnsupportedModelError(
            f"SimpleImputer takes {missing!r} for missing in a column of numbers",
            code="missing-value",
            place=place,
            remedy="use missing_values=numpy.nan",
        )
    fill = float(finite(statistic, "statistics_", place))
    absent = math.isnan(missing)
    operation = Operation("fill", (fill,)) if absent else Operation("replace", (float(missing), fill))
    step = Step((operation,), alone(imputer, i, width, output, 1), int(absent))
    return elementwise(walk, [column], [step], place)[0]


def _missing_indicator(walk: Walk, indicator: Any, columns: Columns, place: str) -> list[Column]:
    return [_indicated(walk, columns[i], indicator.missing_values, place) for i in indicator.features_]


def _indicated(walk: Walk, column: Column, missing: Any, place: str) -> Column:
    """1 where a value is missing, else 0."""
    if isinstance(column, Text):
        return Coded(column.key, np.array([_same(value, missing) for value in column.values], np.float64))
    number = walk.numeric([column], place)[0]
    if isinstance(number, Coded):
        return Coded(number.key, np.array([_same(value, missing) for value in number.values], np.float64))
    if isinstance(number, Dense) or (number.steps and not is_missing(missing)):
        raise UnsupportedModelError(
            "asks for missing values among the results of a calculation",
            code="missing-in-calculation",
            place=place,
            remedy="put the imputer or indicator before it",
        )
    if is_missing(missing):
        stays = np.isnan(number.exact(np.array([np.nan])))
        return Coded(walk.cut(number, (), place), np.array([0.0, float(stays[0])]))
    around = (float(np.nextafter(missing, -np.inf)), float(missing))
    return Coded(walk.cut(number, around, place), np.array([0.0, 1.0, 0.0, 0.0]))


def _same(value: Any, missing: Any) -> bool:
    return is_missing(value) if is_missing(missing) else bool(value == missing)


def _binarizer(walk: Walk, binarizer: Any, columns: Columns, place: str) -> list[Column]:
    return jumping(walk, columns, float(binarizer.threshold), place)


def jumping(walk: Walk, columns: Columns, threshold: float, place: str) -> list[Column]:
    """1 where a column is greater than the threshold, else 0."""

    def exact(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(np.isnan(x), np.nan, x > threshold)

    found: list[Column] = []
    for column in walk.numeric(columns, place):
        if isinstance(column, Number) and column.direction:
            found += _binned(walk, column, np.array([threshold]), [exact], place)
        else:
            walk.jumps = True
            step = Step((Operation("greater", (threshold,)),), exact, 1)
            found += elementwise(walk, [column], [step], place)
    return found


def _bins_discretizer(walk: Walk, discretizer: Any, columns: Columns, place: str) -> list[Column]:
    width, found, output = len(columns), list[Column](), 0
    for i, column in enumerate(walk.numeric(columns, place)):
        outputs = 1 if discretizer.encode == "ordinal" else int(discretizer.n_bins_[i])
        functions = [alone(discretizer, i, width, output + k) for k in range(outputs)]
        output += outputs
        edges = np.asarray(discretizer.bin_edges_[i], np.float64)
        walk.usually(column, edges[0] - (edges[-1] - edges[0]) / 4, edges[-1] + (edges[-1] - edges[0]) / 4)
        if isinstance(column, Coded):
            found += [Coded(column.key, function(column.values)) for function in functions]
        elif isinstance(column, Number) and column.direction:
            # Its bin k begins where x ≥ edge; ours where x > cut.
            cuts = np.nextafter(edges[1:-1], -np.inf)
            found += _binned(walk, column, cuts, functions, place, discretizer.dtype is np.float32)
        else:
            raise UnsupportedModelError(
                "KBinsDiscretizer bins the results of a calculation",
                code="binned-calculation",
                place=place,
                remedy="bin the table's own columns",
            )
    return found


def _binned(
    walk: Walk,
    number: Number,
    cuts: NDArray[np.float64],
    functions: Sequence[Function],
    place: str,
    single: bool = False,
) -> list[Column]:
    """Columns that jump where ``number`` exceeds a cut, as tables of the number of raw cuts below the input.

    Args:
        functions: each column as a function of ``number``.
        single: the library rounds the number to float32 before it compares.
    """

    raw = np.unique(last_below(number, cuts, rounded="float32" if single else "float64"))
    raw = raw[np.isfinite(raw)]
    key: BinKey = walk.cut(number, tuple(raw.tolist()), place)
    inside = np.array([*raw, np.nextafter(raw[-1], np.inf) if len(raw) else 0.0, np.nan])
    values = number.exact(inside)
    return [Coded(key, function(values)) for function in functions]


TRANSFORMERS: dict[str, Transform] = {
    "Binarizer": _binarizer,
    "FunctionTransformer": _function_transformer,
    "KBinsDiscretizer": _bins_discretizer,
    "MaxAbsScaler": _max_abs_scaler,
    "MinMaxScaler": _min_max_scaler,
    "MissingIndicator": _missing_indicator,
    "RobustScaler": _robust_scaler,
    "SimpleImputer": _simple_imputer,
    "StandardScaler": _standard_scaler,
}
