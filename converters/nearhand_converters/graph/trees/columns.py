"""The columns of trees as one float32 matrix in the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.graph.inputs import GraphInputs
from nearhand_converters.graph.trees.form import Membership, Number, Trees, floor32


@dataclass(frozen=True)
class Matrix:
    """The values that nodes compare.

    Attributes:
        value: float32 [batch, places].
        place: int32 [columns], where each column of the trees stands in it.
        keeps_nan: bool [columns], whether a column is an input as it is, NaN included.
    """

    value: str
    place: NDArray[np.int32]
    keeps_nan: NDArray[np.bool_]


def column_matrix(g: GraphBuilder, trees: Trees, inputs: GraphInputs, keeps_nan: Callable[[Number], bool]) -> Matrix:
    """The columns as float32: number inputs as they are, then derived ones, then memberships.

    Args:
        keeps_nan: whether the nodes of this column send a NaN the right way, so that an input serves as it is.

    Raises:
        UnsupportedModelError: float32 has no number that could stand for the missing values of a column.
    """
    every = dict(enumerate(trees.columns))
    numbers = {i: column for i, column in every.items() if isinstance(column, Number)}
    plain = {i: column for i, column in numbers.items() if _is_plain(column) and keeps_nan(column)}
    derived = {i: column for i, column in numbers.items() if i not in plain}
    sets = {i: column for i, column in every.items() if isinstance(column, Membership)}
    if not every:  # no tree asks anything; the number of rows is all that is read
        value = inputs.numbers or g.add("Cast", inputs.categories, to=TensorProto.FLOAT)
        return Matrix(value, np.zeros(1, np.int32), np.zeros(1, np.bool_))
    kept = np.isin(np.arange(len(every)), list(plain))
    if len(plain) == len(every):
        return Matrix(inputs.numbers, np.array([column.feature for column in plain.values()], np.int32), kept)

    place = np.zeros(len(every), np.int32)
    width, parts = 0, []
    if plain:
        features = sorted({column.feature for column in plain.values()})
        parts.append(_inputs(g, inputs.numbers, features))
        place[list(plain)] = np.searchsorted(features, [column.feature for column in plain.values()])
        width = len(features)
    if derived:
        parts.append(_derived(g, trees, inputs.numbers, derived))
        place[list(derived)] = width + np.arange(len(derived))
        width += len(derived)
    for feature in sorted({column.feature for column in sets.values()}):
        chosen = {i: column.members for i, column in sets.items() if column.feature == feature}
        parts.append(_memberships(g, inputs.categories, feature, list(chosen.values())))
        place[list(chosen)] = width + np.arange(len(chosen))
        width += len(chosen)
    value = g.add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
    return Matrix(g.declare(value, "float32", ["batch", width]), place, kept)


def _inputs(g: GraphBuilder, value: str, features: list[int]) -> str:
    return g.add("Gather", value, g.constant(np.array(features, np.int32)), axis=1)


def _derived(g: GraphBuilder, trees: Trees, numbers: str, columns: Mapping[int, Number]) -> str:
    """Number columns with what stands for missing values, float32 [batch, columns]."""
    value = _inputs(g, numbers, [column.feature for column in columns.values()])
    absent = g.add("IsNaN", value)
    if any(column.zero_is_missing for column in columns.values()):
        # No magnitude is as small as −1.
        zero = np.array([column.zero if column.zero_is_missing else -1.0 for column in columns.values()])
        small = g.add("LessOrEqual", g.add("Abs", value), g.constant(floor32(zero)[None, :]))
        absent = g.add("Or", absent, small)
    if any(column.sentinel is not None for column in columns.values()):
        # Nothing equals NaN.
        sentinel = np.array([np.nan if c.sentinel is None else c.sentinel for c in columns.values()], np.float32)
        absent = g.add("Or", absent, g.add("Equal", value, g.constant(sentinel[None, :])))
    missing = np.array([_stand_in(trees, i, column.missing) for i, column in columns.items()], np.float32)
    return g.add("Where", absent, g.constant(missing[None, :]), value)


def _is_plain(column: Number) -> bool:
    """Whether only NaN is missing."""
    return not column.zero_is_missing and column.sentinel is None


def _stand_in(trees: Trees, i: int, missing: float) -> np.float32:
    """The float32 that is on the same side of every threshold of column i as ``missing`` is in the library."""
    exact = np.dtype(trees.precision).type(missing)
    thresholds = trees.threshold[~trees.is_leaf & (trees.column == i)]
    found = floor32(np.array([exact], np.float64))[0]
    if (thresholds < exact).any():
        with np.errstate(over="ignore"):
            found = max(found, np.nextafter(floor32(thresholds[thresholds < exact]).max(), np.float32(np.inf)))
    if ((found > floor32(thresholds)) != (exact > thresholds)).any():
        raise UnsupportedModelError(
            f"a missing value stands for {missing!r}, and float32 has no number between the thresholds around it",
            code="missing-between-thresholds",
            place=f"number input {trees.columns[i].feature}",
            remedy="impute before training with a number that float32 has",
        )
    return np.float32(found)


def _memberships(g: GraphBuilder, categories: str, feature: int, sets: list[tuple[int, ...]]) -> str:
    """Memberships of one category input, float32 [batch, sets]: one row of a table for each code."""
    size = max((members[-1] + 1 for members in sets if members), default=0)
    # A row of zeros before and one after: clamping sends codes that are in no set to one of them.
    table = np.zeros((size + 2, len(sets)), np.uint8)
    for i, members in enumerate(sets):
        table[np.array(members, np.int64) + 1, i] = 1
    one = g.constant(np.array(1, np.int32))
    code = g.add("Reshape", _inputs(g, categories, [feature]), g.constant(np.array([-1], np.int64)))
    low = g.add("Max", code, g.constant(np.array(-1, np.int32)))
    row = g.add("Add", g.add("Min", low, g.constant(np.array(size, np.int32))), one)
    return g.add("Cast", g.add("Gather", g.constant(table), row, axis=0), to=TensorProto.FLOAT)
