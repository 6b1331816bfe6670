"""Trees that ask about ranks instead of numbers, for thresholds that float32 inputs cannot tell apart.

The device compares in float64: it replaces a number by its rank among the thresholds of its input, and 0 keeps the rank
0. The trees then compare small whole numbers, which float32 holds exactly, with what lies between them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

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
    number = np.array([isinstance(column, Number) for column in trees.columns] or [False])
    thresholds = trees.threshold[~trees.is_leaf & number[trees.column]]
    with np.errstate(over="ignore"):
        return trees.precision == "float64" and bool((thresholds.astype(np.float32) != thresholds).any())


def ranked_trees(trees: Trees, inputs: int) -> RankedTrees | None:
    """The same trees over ranks; None: they read numbers for something else than comparing them.

    Args:
        inputs: how many number inputs there are.
    """
    if trees.linear is not None:
        return None
    columns = list(trees.columns)
    threshold = trees.threshold.copy()
    every = []
    for feature in range(inputs):
        own = {i: c for i, c in enumerate(trees.columns) if isinstance(c, Number) and c.feature == feature}
        asked = ~trees.is_leaf & np.isin(trees.column, list(own))
        found = _separating(list(own.values()), trees.threshold[asked])
        if found is None:
            return None
        moved, thresholds = found
        start = int(np.searchsorted(thresholds, 0.0))
        threshold[asked] = np.searchsorted(thresholds, moved) - start + 0.5
        for i, column in own.items():
            columns[i] = _ranked_column(column, thresholds, start)
        every.append(thresholds)
    return RankedTrees(replace(trees, columns=tuple(columns), threshold=threshold, precision="float32"), tuple(every))


def _separating(
    columns: list[Number], thresholds: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """What separates all numbers that the nodes treat differently.

    Returns:
        The nodes' thresholds, and all of them, ascending, with both ends of what counts as missing. Where zeros do, a
        threshold among them is moved to their end: no number in between is ever compared with it. None: zeros count as
        missing in some nodes only, or stand for a number there.
    """
    ends = [
        point for c in columns if c.sentinel is not None for point in (np.nextafter(c.sentinel, -np.inf), c.sentinel)
    ]
    sizes = {column.zero for column in columns if column.zero_is_missing}
    if sizes:
        if len(sizes) > 1 or not all(column.zero_is_missing and np.isinf(column.missing) for column in columns):
            return None
        (zero,) = sizes
        below = float(np.nextafter(-zero, -np.inf))
        thresholds = np.where((thresholds > below) & (thresholds < zero), zero, thresholds)
        ends = [point for point in ends if not below < point < zero] + [below, zero]
    return thresholds, np.unique(np.concatenate([thresholds, np.array(ends, np.float64)]))


def _ranked_column(column: Number, thresholds: NDArray[np.float64], start: int) -> Column:
    def rank(number: float) -> float:
        return float(np.searchsorted(thresholds, number) - start)

    return replace(
        column,
        missing=rank(column.missing) if np.isfinite(column.missing) else column.missing,
        zero=_ZERO,
        sentinel=None if column.sentinel is None else rank(column.sentinel),
    )
