"""LightGBM's trees in the neutral form.

LightGBM compares in float64 and goes left where ``x ≤ t``, which is the neutral form's question. A category goes left
where it is one of the node's; any other, a missing one too, goes right.

Before its trees see a row, the library makes every number of at most 1e-35 in magnitude a 0. A threshold within that
distance of 0 is therefore moved to where its answers for such numbers are those for 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.graph.trees.arrange import Nodes, arrange
from nearhand_converters.graph.trees.form import LinearLeaves, Membership, Number, Trees
from nearhand_converters.sources.boosted import ColumnRegistry
from nearhand_converters.sources.lightgbm.text import ModelText, Tree
from nearhand_converters.sources.model import FIRST_KNOWN

_ZERO = float(np.float32(1e-35))
"""LightGBM's kZeroThreshold."""
_LARGEST = float(np.finfo(np.float64).max)


def read_trees(
    model: ModelText, is_category: NDArray[np.bool_], known: Sequence[NDArray[np.int64]]
) -> tuple[Trees, list[NDArray[np.int32]]]:
    """The trees, and for each tree where its leaves are among their nodes.

    Args:
        is_category: of each column.
        known: for each category column, the numbers of its known categories in the order of our codes.

    Raises:
        ValueError: the trees contradict the columns.
    """
    registry = _Columns(is_category, known)
    trees = model.trees
    sizes = np.array([2 * len(tree.values) - 1 for tree in trees])
    ends = np.cumsum(sizes)
    # A random forest gives the mean over its rounds.
    share = len(trees) // model.scores if model.averages else 1
    left, right, column, threshold, values = [], [], [], [], []
    for tree, start in zip(trees, ends - sizes, strict=True):
        splits, leaves = len(tree.left), len(tree.values)
        first, second = (np.where(child < 0, splits - 1 - child, child) for child in (tree.left, tree.right))
        # A member is 1, which goes right in the neutral form.
        first, second = np.where(tree.is_category, second, first), np.where(tree.is_category, first, second)
        own = np.arange(splits, splits + leaves)
        left.append(start + np.concatenate([first, own]))
        right.append(start + np.concatenate([second, own]))
        column.append(np.concatenate([registry.asked(tree), np.zeros(leaves, np.int64)]))
        threshold.append(np.concatenate([_thresholds(tree), np.zeros(leaves)]))
        values.append(np.concatenate([np.zeros(splits), tree.values / share]))
    nodes = Nodes(
        roots=ends - sizes,
        left=np.concatenate(left),
        right=np.concatenate(right),
        column=np.concatenate(column),
        threshold=np.concatenate(threshold),
        values=np.concatenate(values)[:, None],
        linear=_linear(trees, ends, is_category, share),
    )
    found, place = arrange(
        nodes,
        columns=tuple(registry.columns),
        output=np.arange(len(trees)) % model.scores,
        base=np.zeros(model.scores),
        precision="float64",
    )
    return found, [place[end - len(tree.values) : end].astype(np.int32) for tree, end in zip(trees, ends, strict=True)]


def _thresholds(tree: Tree) -> NDArray[np.float64]:
    beside_zero = np.where(tree.threshold >= 0, _ZERO, np.nextafter(-_ZERO, -np.inf))
    moved = np.where(np.abs(tree.threshold) <= _ZERO, beside_zero, tree.threshold)
    # x ≤ ∞ asks whether x is missing. The neutral form has +∞ for a missing x that goes right: it has to be greater.
    return np.where(tree.is_category, 0.5, np.minimum(moved, _LARGEST))


def _linear(
    trees: Sequence[Tree], ends: NDArray[np.int64], is_category: NDArray[np.bool_], share: int
) -> LinearLeaves | None:
    """The linear leaves at their places among all nodes; a plain leaf is its own constant."""
    if all(tree.constants is None for tree in trees):
        return None
    inputs = np.cumsum(~is_category) - 1
    shape = (int(ends[-1]), int((~is_category).sum()))
    coefficients, uses, constants = np.zeros(shape), np.zeros(shape, np.bool_), np.zeros(shape[0])
    for tree, end in zip(trees, ends.tolist(), strict=True):
        start = end - len(tree.values)
        constants[start:end] = (tree.values if tree.constants is None else tree.constants) / share
        leaf, feature, coefficient = tree.terms
        if is_category[feature].any():
            raise ValueError("a leaf is linear in a category")
        np.add.at(coefficients, (start + leaf, inputs[feature]), coefficient / share)
        uses[start + leaf, inputs[feature]] = True
    return LinearLeaves(coefficients, constants, uses)


class _Columns(ColumnRegistry):
    def __init__(self, is_category: NDArray[np.bool_], known: Sequence[NDArray[np.int64]]) -> None:
        super().__init__(is_category)
        self._is_category = is_category
        self._known = known

    def asked(self, tree: Tree) -> NDArray[np.int64]:
        """The column that each split asks about, int [splits]."""
        if (self._is_category[tree.feature] != tree.is_category).any():
            raise ValueError("a split takes a category for a number, or a number for a category")
        found = np.zeros(len(tree.feature), np.int64)
        numeric = ~tree.is_category
        questions = np.stack([tree.feature, tree.missing, tree.default_left], axis=1)[numeric]
        different, which = np.unique(questions, axis=0, return_inverse=True)
        places = [self.place(self._number(*question)) for question in different.tolist()]
        found[numeric] = np.array(places, np.int64)[which.ravel()]
        for split, members in tree.members.items():
            own = int(self.input[tree.feature[split]])
            codes = FIRST_KNOWN + np.flatnonzero(np.isin(self._known[own], members))
            if len(codes) != len(members):
                raise ValueError("a split asks about a category that is not there")
            found[split] = self.place(Membership(own, tuple(codes.tolist())))
        return found

    def _number(self, feature: int, missing: int, default_left: int) -> Number:
        own = int(self.input[feature])
        if missing == 0:
            return Number(own, 0.0)
        return Number(own, -np.inf if default_left else np.inf, zero_is_missing=missing == 1)
