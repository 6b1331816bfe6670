"""Trees that ask about ranks instead of numbers, for thresholds that float32 inputs cannot tell apart.

The device compares in float64: it replaces a number by its rank among the thresholds of its input, and 0 keeps the rank
0. The trees then compare small whole numbers, which float32 holds exactly, with what lies between them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.graph.trees.form import Column, Number, Trees

_ZERO = 0.25
"""The largest rank that counts as 0: ranks are whole."""


@dataclass(frozen=True)
class RankedTrees:
    """Trees over ranks.

    Attributes:
        trees: route a row of ranks as the original trees route the row of numbers that it was made from.
        thresholds: for each number input those whose ranks they are, float64, ascending.
    """

    trees: Trees
    thresholds: tuple[NDArray[np.float64], ...]


def needs_ranks(trees: Trees) -> bool:
    """Whether a float32 input could go another way than the float64 number that it was rounded from.

    It could at any threshold that the library compares in float64 and that is no float32: a number just above it may be
    rounded to one below.
    """
    asked = ~trees.is_leaf & _asks_number(trees)
    thresholds = trees.threshold[asked]
    with np.errstate(over="ignore"):
        return trees.precision == "float64" and bool((thresholds.astype(np.float32) != thresholds).any())


def ranked_trees(trees: Trees, inputs: int) -> RankedTrees:
    """The same trees over ranks.

    Args:
        inputs: how many number inputs there are.

    Raises:
        UnsupportedModelError: the trees read numbers for something else than comparing them.
    """
    if trees.linear is not None or any(isinstance(c, Number) and c.sentinel is not None for c in trees.columns):
        raise UnsupportedModelError(
            "linear leaves, or a number that counts as missing, read the numbers themselves",
            code="no-ranks",
            remedy='set inputs = "values" in the recipe',
        )
    columns = list(trees.columns)
    threshold = trees.threshold.copy()
    inner = ~trees.is_leaf
    every = []
    for feature in range(inputs):
        own = {i: c for i, c in enumerate(trees.columns) if isinstance(c, Number) and c.feature == feature}
        asked = inner & np.isin(trees.column, list(own))
        moved, zero = _around_zero(feature, list(own.values()), trees.threshold[asked])
        thresholds = np.unique(np.concatenate([moved, zero]))
        start = int(np.searchsorted(thresholds, 0.0))
        threshold[asked] = np.searchsorted(thresholds, moved) - start + 0.5
        for i, column in own.items():
            columns[i] = _ranked_column(column, thresholds, start)
        every.append(thresholds)
    return RankedTrees(replace(trees, columns=tuple(columns), threshold=threshold, precision="float32"), tuple(every))


def _asks_number(trees: Trees) -> NDArray[np.bool_]:
    """bool [nodes]."""
    number = np.array([isinstance(column, Number) for column in trees.columns] or [False])
    found: NDArray[np.bool_] = number[trees.column]
    return found


def _around_zero(
    feature: int, columns: list[Number], thresholds: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where zero is missing, the thresholds with those among the zeros at the end of them, and both ends.

    No number among the zeros is ever compared, so a threshold there separates the same numbers as the end does.
    """
    if not any(column.zero_is_missing for column in columns):
        return thresholds, np.empty(0)
    sizes = {column.zero for column in columns if column.zero_is_missing}
    if len(sizes) > 1 or not all(column.zero_is_missing and np.isinf(column.missing) for column in columns):
        raise UnsupportedModelError(
            "zero is missing in some of its nodes only, or stands for a number there",
            code="no-ranks",
            place=f"number input {feature}",
            remedy='set inputs = "values" in the recipe',
        )
    (zero,) = sizes
    below = np.nextafter(-zero, -np.inf)
    return np.where((thresholds > below) & (thresholds < zero), zero, thresholds), np.array([below, zero])


def _ranked_column(column: Number, thresholds: NDArray[np.float64], start: int) -> Column:
    missing = column.missing
    if np.isfinite(missing):
        missing = float(np.searchsorted(thresholds, missing) - start)
    return Number(column.feature, missing, column.zero_is_missing, _ZERO)
