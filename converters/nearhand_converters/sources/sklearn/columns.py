"""What flows through a pipeline: columns, each known as a function of one input for as long as it is one.

A scaled number is still a function of one number, and a one-hot column one of a single category. While that is known,
a linear model can take a column's scaler into its weights and its category into a table, and trees can take the
function into their thresholds. A projection ends it: its columns are only values of the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Function: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]

OperationKind: TypeAlias = Literal["fill", "replace", "affine", "clip", "greater", "function"]


@dataclass(frozen=True)
class Operation:
    """What the graph does to a number, elementwise.

    Attributes:
        kind: ``fill`` (value): NaN becomes it. ``replace`` (old, new). ``affine`` (centre, scale, offset):
            (x − centre)·scale + offset. ``clip`` (low, high). ``greater`` (threshold): 1 or 0. ``function``: ``name``
            says which.
        parameters: as the kind says.
    """

    kind: OperationKind
    parameters: tuple[float, ...] = ()
    name: str = ""


@dataclass(frozen=True)
class Step:
    """One fitted transformer, as an elementwise function of a number.

    Attributes:
        operations: what the graph does, in this order.
        exact: the same, computed by the library's own transformer, float64 [n] → [n]. It goes on with −inf below the
            domain of a logarithm or a root, so that it keeps its direction.
        direction: 1 where the function never falls, −1 where it never rises, 0 where it does both.
    """

    operations: tuple[Operation, ...]
    exact: Function
    direction: int


@dataclass(frozen=True)
class Number:
    """A function of one number input.

    Attributes:
        source: the input's place in the training table.
        steps: applied in this order; none for the input itself.
    """

    source: int
    steps: tuple[Step, ...] = ()

    @property
    def direction(self) -> int:
        found = 1
        for step in self.steps:
            found *= step.direction
        return found

    def exact(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The column as the library computes it, float64 [n], of input values [n]."""
        for step in self.steps:
            x = step.exact(x)
        return x


@dataclass(frozen=True)
class CategoryKey:
    """The code of a category input: 0 missing, 1 unknown, 2 + i the i-th known one.

    Attributes:
        source: the input's place in the training table.
        size: how many codes there are.
    """

    source: int
    size: int


@dataclass(frozen=True)
class BinKey:
    """The number of cuts below a number input: 0 … len(cuts); and one more for a missing one.

    Attributes:
        source: the input's place in the training table.
        cuts: ascending float64.
    """

    source: int
    cuts: tuple[float, ...]

    @property
    def size(self) -> int:
        return len(self.cuts) + 2


Key: TypeAlias = CategoryKey | BinKey


@dataclass(frozen=True, eq=False)
class Coded:
    """A number for each code of a key.

    Attributes:
        values: float64 [codes].
    """

    key: Key
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Text:
    """A category that no encoder has read yet.

    Attributes:
        values: object [codes]: what the column holds in the original for each code of the key.
    """

    key: Key
    values: NDArray[Any]


@dataclass(frozen=True)
class Untouched:
    """An input that nothing has read yet: the first reader decides whether it is a number or a category."""

    source: int


@dataclass(frozen=True)
class Dense:
    """A column of a float32 value of the graph [batch, width]."""

    value: str
    place: int
    width: int


Column: TypeAlias = Untouched | Number | Coded | Text | Dense
Numeric: TypeAlias = Number | Coded | Dense
"""What a model reads."""


def last_below(
    function: Function, direction: int, limits: NDArray[np.float64], dtype: type[np.floating[Any]] = np.float64
) -> NDArray[np.float64]:
    """For each limit, the last x before ``function`` passes it: by bisection over the floats of ``dtype``, exactly.

    Args:
        function: never falls (direction 1): the answer is the largest x with function(x) ≤ limit. Or never rises (−1):
            the largest x with function(x) > limit. −inf if there is none.
        limits: float64 [n].
    """
    integer = np.int64 if dtype is np.float64 else np.int32
    top = int(np.array(np.finfo(dtype).max, dtype).view(integer))
    low = np.full(len(limits), -top - 1)  # stands for −inf
    high = np.full(len(limits), top)
    while (low < high).any():
        apart = (low < 0) & (high >= 0)  # their difference may not fit, and the sum of two of one sign may not either
        middle = np.where(apart, (low + high + 1) // 2, low + (high - low + 1) // 2)
        found = function(_float(np.maximum(middle, -top), dtype, integer))
        before = (found <= limits if direction > 0 else found > limits) | (middle == -top - 1)
        low, high = np.where(before, middle, low), np.where(before, high, middle - 1)
    return np.where(low == -top - 1, -np.inf, _float(np.maximum(low, -top), dtype, integer))


def _float(order: NDArray[np.int64], dtype: type[np.floating[Any]], integer: type[Any]) -> NDArray[np.float64]:
    """The floats at these places of their order, where 0.0 is at 0, and −x at minus the place of x."""
    magnitude = np.abs(order).astype(integer).view(dtype).astype(np.float64)
    return np.where(order < 0, -magnitude, magnitude)
