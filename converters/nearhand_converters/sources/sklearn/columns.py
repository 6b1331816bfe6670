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

    def computed(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """What it does, in float64; a function goes on with −inf below its domain."""
        match self.kind, self.parameters:
            case "fill", (value,):
                return np.where(np.isnan(x), value, x)
            case "replace", (old, new):
                return np.where(x == old, new, x)
            case "affine", (centre, scale, offset):
                return (x - centre) * scale + offset
            case "clip", (low, high):
                return np.clip(x, low, high)
            case "greater", (threshold,):
                return np.where(np.isnan(x), np.nan, x > threshold)
        found = getattr(np, self.name)(x)
        return np.where(np.isnan(found) & ~np.isnan(x), -np.inf, found)


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

    def computed(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The column by our own operations in float64: but for last bits, the same."""
        for step in self.steps:
            for operation in step.operations:
                x = operation.computed(x)
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
    number: Number, limits: NDArray[np.float64], *, dtype: str = "float64", rounded: str = "float64"
) -> NDArray[np.float64]:
    """For each limit, the last x before the number's function passes it, as the library computes the function.

    Exactly, by bisection over the floats of ``dtype``. The library is slow to call, so the search begins where our own
    operations pass the limit, and goes from there in steps of 1, 2, 4 … floats until the limit lies between.

    Args:
        number: its function never falls: the answer is the largest x with function(x) ≤ limit. Or never rises: the
            largest x with function(x) > limit. −inf if there is none.
        limits: float64 [n].
        rounded: the dtype that the library rounds the function to, before it compares.
    """
    floats = _Floats(dtype)

    def before(function: Function, order: NDArray[np.int64]) -> NDArray[np.bool_]:
        with np.errstate(all="ignore"):
            found = function(floats.at(order)).astype(rounded).astype(np.float64)
        return (found <= limits if number.direction > 0 else found > limits) | (order <= floats.low)

    first, last = np.full(len(limits), floats.low), np.full(len(limits), floats.high)
    guess = _bisected(lambda order: before(number.computed, order), first, last)
    low, high, step = guess.copy(), guess.copy(), 1
    below, above = before(number.exact, low), before(number.exact, high)
    while (~below).any() or (above & (high < floats.high)).any():
        low = np.where(below, low, np.maximum(low - step, floats.low))
        high = np.where(above, np.minimum(high + step, floats.high), high)
        below, above = before(number.exact, low), before(number.exact, high) & (high < floats.high)
        step = min(4 * step, 1 << 61)
    return floats.at(_bisected(lambda order: before(number.exact, order), low, high))


def _bisected(
    before: Callable[[NDArray[np.int64]], NDArray[np.bool_]], low: NDArray[np.int64], high: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The last place that is before; ``low`` is, and none after ``high`` is."""
    while (low < high).any():
        apart = (low < 0) & (high >= 0)  # their difference may not fit, and the sum of two of one sign may not either
        middle = np.where(apart, (low + high + 1) // 2, low + (high - low + 1) // 2)
        found = before(middle)
        low, high = np.where(found, middle, low), np.where(found, high, middle - 1)
    return low


class _Floats:
    """The finite floats of a dtype by their place in their order: 0.0 is at 0, and −x at minus the place of x.

    Attributes:
        low: stands for −inf, one below the lowest.
        high: the place of the largest.
    """

    def __init__(self, dtype: str) -> None:
        self._dtype = np.dtype(dtype)
        self._integer = np.dtype(f"int{8 * self._dtype.itemsize}")
        self.high = int(np.array(np.finfo(self._dtype).max, self._dtype).view(self._integer))
        self.low = -self.high - 1

    def at(self, order: NDArray[np.int64]) -> NDArray[np.float64]:
        magnitude = np.minimum(np.abs(order), self.high).astype(self._integer).view(self._dtype).astype(np.float64)
        return np.where(order == self.low, -np.inf, np.where(order < 0, -magnitude, magnitude))
