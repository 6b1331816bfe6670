"""The neutral form of a tree ensemble: what every library's trees become before anything is written from them.

Every node asks one question: **is a column greater than a threshold?** Yes goes right, no goes left. What libraries
do differently is in the columns, which are derived from the model's inputs:

- a :class:`Number` is an input whose missing values have become −∞, +∞ or a number. A library's "default direction" of
  a node is the choice between two such columns: −∞ goes left whatever the threshold, +∞ goes right.
- a :class:`Membership` is 1 where a category is in a set, else 0, and its nodes have the threshold 0.5.

A library that goes left where ``x < t`` has, in this form, the threshold just below ``t`` in its own precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


def floor32(numbers: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not greater, elementwise; −inf below the smallest.

    For a float32 x, x > t and x > floor32(t) are the same: the first gives the second because t ≥ floor32(t), the
    second gives the first because no float32 lies in (floor32(t), t].
    """
    with np.errstate(over="ignore"):
        nearest = numbers.astype(np.float32)
        below = np.nextafter(nearest, np.float32(-np.inf))
    found: NDArray[np.float32] = np.where(nearest.astype(np.float64) > numbers, below, nearest)
    return found


@dataclass(frozen=True)
class Number:
    """A number input, with what stands for a missing value.

    Attributes:
        feature: its place among the number inputs.
        missing: what a NaN becomes: −inf, +inf, or a number.
        zero_is_missing: whether |x| ≤ ``zero`` counts as missing too, as LightGBM's ``zero_as_missing`` says.
        zero: LightGBM's kZeroThreshold, as a float32: the largest magnitude that counts as zero.
        sentinel: a number that counts as missing too, as XGBoost's ``missing`` says.
    """

    feature: int
    missing: float
    zero_is_missing: bool = False
    zero: float = float(np.float32(1e-35))
    sentinel: float | None = None

    def __post_init__(self) -> None:
        if np.isnan(self.missing):
            raise ValueError("a missing value has to become a number or an infinity")

    def values(self, numbers: NDArray[np.floating]) -> NDArray[np.floating]:
        """The column, of the inputs' dtype [rows].

        Args:
            numbers: the number inputs, floats [rows, features].
        """
        column = numbers[:, self.feature]
        absent = np.isnan(column)
        if self.zero_is_missing:
            absent |= np.abs(column) <= self.zero
        if self.sentinel is not None:
            absent |= column == self.sentinel
        return np.where(absent, column.dtype.type(self.missing), column)


@dataclass(frozen=True)
class Membership:
    """Whether a category input is one of a set.

    Attributes:
        feature: its place among the category inputs.
        members: the codes that give 1, ascending: 0 is a missing category, 1 an unknown one, 2 + i the i-th known one.
    """

    feature: int
    members: tuple[int, ...]

    def __post_init__(self) -> None:
        if list(self.members) != sorted(set(self.members)) or (self.members and self.members[0] < 0):
            raise ValueError("members are different codes from 0, in ascending order")

    def values(self, categories: NDArray[np.integer]) -> NDArray[np.float32]:
        """The column, float32 [rows].

        Args:
            categories: the category inputs' codes, int [rows, features].
        """
        return np.isin(categories[:, self.feature], self.members).astype(np.float32)


Column: TypeAlias = Number | Membership


@dataclass(frozen=True)
class LinearLeaves:
    """Leaves that are linear functions of the number inputs (LightGBM's ``linear_tree``).

    A leaf gives ``constants[node] + coefficients[node] @ x``, unless one of the inputs with a coefficient that is not
    0 is NaN: then it gives the ensemble's plain value of that leaf.

    Attributes:
        coefficients: float64 [nodes, number inputs].
        constants: float64 [nodes].
        uses: bool [nodes, number inputs]: which inputs a leaf reads; a NaN in one of them gives the plain value.
    """

    coefficients: NDArray[np.float64]
    constants: NDArray[np.float64]
    uses: NDArray[np.bool_]


@dataclass(frozen=True)
class Trees:
    """An ensemble: its raw scores are ``base`` plus, for each output, the sum of the trees' leaves.

    Nodes of all trees stand in one array; a leaf is its own left and right child. Children come after their parent.

    Attributes:
        columns: what the nodes ask about.
        roots: int32 [trees], each tree's first node.
        column: int32 [nodes], the column of a split; 0 for a leaf.
        threshold: float64 [nodes], a split goes right where its column is greater; +inf for a leaf. Never NaN.
        left, right: int32 [nodes].
        values: float64 [nodes, width], a leaf's values; zeros for a split. Either ``width`` is the number of outputs
            and a tree adds to all of them, or it is 1 and tree t adds to output ``output[t]`` only.
        output: int32 [trees]; zeros if the trees add to all outputs.
        base: float64 [outputs].
        linear: for trees with linear leaves; then ``width`` is 1.
        precision: the dtype in which the library compares, ``float32`` or ``float64``: its inputs are rounded to it.
    """

    columns: tuple[Column, ...]
    roots: NDArray[np.int32]
    column: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    values: NDArray[np.float64]
    output: NDArray[np.int32]
    base: NDArray[np.float64]
    precision: str
    linear: LinearLeaves | None = None

    def __post_init__(self) -> None:
        nodes = len(self.column)
        same = {len(self.threshold), len(self.left), len(self.right), len(self.values)}
        if same != {nodes} or len(self.output) != len(self.roots):
            raise ValueError("the arrays of the nodes, or those of the trees, have different lengths")
        if self.values.shape[1] not in (1, len(self.base)):
            raise ValueError(f"leaves have {self.values.shape[1]} values, and there are {len(self.base)} outputs")
        if self.precision not in ("float32", "float64"):
            raise ValueError(f"precision {self.precision!r} is neither float32 nor float64")
        if np.isnan(self.threshold).any() or not np.isfinite(self.values).all() or not np.isfinite(self.base).all():
            raise ValueError("a threshold is NaN, or a leaf or the base is not finite")
        place = np.arange(nodes)
        inner = ~self.is_leaf
        if not ((self.left > place) & (self.right > place) & (self.right < nodes))[inner].all():
            raise ValueError("a split's children do not come after it")
        if inner.any() and not 0 <= self.column[inner].min() <= self.column[inner].max() < len(self.columns):
            raise ValueError("a split asks about a column that is not there")

    @property
    def is_leaf(self) -> NDArray[np.bool_]:
        """bool [nodes]."""
        own: NDArray[np.bool_] = self.left == np.arange(len(self.left))
        return own

    @property
    def depth(self) -> int:
        """The longest way from a root to a leaf, in splits."""
        deep = np.zeros(len(self.left), np.int64)
        for node in range(len(self.left) - 1, -1, -1):
            if self.left[node] != node:
                deep[node] = 1 + max(deep[self.left[node]], deep[self.right[node]])
        return int(deep[self.roots].max(initial=0))

    def matrix(self, numbers: NDArray[np.floating], categories: NDArray[np.integer]) -> NDArray[np.floating]:
        """The columns [rows, columns], in the library's precision.

        Args:
            numbers: floats [rows, number inputs]; categories: codes [rows, category inputs].
        """
        rounded = numbers.astype(self.precision)
        found = np.empty((len(rounded), len(self.columns)), self.precision)
        for place, column in enumerate(self.columns):
            found[:, place] = column.values(rounded) if isinstance(column, Number) else column.values(categories)
        return found

    def leaves(self, numbers: NDArray[np.floating], categories: NDArray[np.integer]) -> NDArray[np.int32]:
        """The node of the leaf that each row reaches in each tree, int32 [rows, trees]."""
        matrix = self.matrix(numbers, categories)
        node: NDArray[np.int32] = np.broadcast_to(self.roots, (len(matrix), len(self.roots))).copy()
        rows = np.arange(len(matrix))[:, None]
        for _ in range(self.depth):
            goes_right = matrix[rows, self.column[node]] > self.threshold[node]
            node = np.where(goes_right, self.right[node], self.left[node])
        return node

    def scores(self, numbers: NDArray[np.floating], categories: NDArray[np.integer]) -> NDArray[np.float64]:
        """The raw scores in float64 [rows, outputs]: the reference for everything that is written from this."""
        node = self.leaves(numbers, categories)
        found = np.tile(self.base, (len(node), 1))
        if self.values.shape[1] == len(self.base):
            found += self._leaf_values(node, numbers).sum(axis=1)
            return found
        for tree, output in enumerate(self.output):
            found[:, output] += self._leaf_values(node[:, tree : tree + 1], numbers)[:, 0, 0]
        return found

    def _leaf_values(self, node: NDArray[np.int32], numbers: NDArray[np.floating]) -> NDArray[np.float64]:
        """float64 [rows, trees, width]."""
        plain: NDArray[np.float64] = self.values[node]
        if self.linear is None:
            return plain
        x = numbers.astype(self.precision).astype(np.float64)[:, None, :]
        uses = self.linear.uses[node]
        product = np.where(uses, self.linear.coefficients[node] * np.where(np.isnan(x), 0.0, x), 0.0).sum(axis=2)
        without = np.any(uses & np.isnan(x), axis=2, keepdims=True)
        linear: NDArray[np.float64] = (self.linear.constants[node] + product)[:, :, None]
        found: NDArray[np.float64] = np.where(without, plain, linear)
        return found
