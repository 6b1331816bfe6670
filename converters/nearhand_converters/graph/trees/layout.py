"""The nodes of an ensemble, level after level, the two children of a split side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.graph.trees.form import LinearLeaves, Trees


@dataclass(frozen=True)
class Layout:
    """Nodes by their new number.

    Attributes:
        node: int32 [nodes], the number in ``Trees``. The first are the roots, in the order that was asked for.
        tree: int32 [nodes], the place of the node's tree in that order.
        left: int32 [nodes], the new number of the left child, the right one's is one more; a leaf's own number.
        depths: int64 [trees], the longest way from each root to a leaf, in splits.
    """

    node: NDArray[np.int32]
    tree: NDArray[np.int32]
    left: NDArray[np.int32]
    depths: NDArray[np.int64]

    @property
    def depth(self) -> int:
        """Of the deepest tree."""
        return int(self.depths.max(initial=0))


def by_level(trees: Trees, roots: NDArray[np.int32]) -> Layout:
    """The nodes under ``roots``; a root that is there twice gets its nodes twice."""
    is_leaf = trees.is_leaf
    level, tree = roots.astype(np.int32), np.arange(len(roots), dtype=np.int32)
    nodes, owners, lefts = ([np.zeros(0, np.int32)] for _ in range(3))
    depths = np.zeros(len(roots), np.int64)
    start, depth = 0, 0
    while len(level):
        inner = ~is_leaf[level]
        left = np.arange(start, start + len(level), dtype=np.int32)
        start += len(level)
        depths[tree] = depth
        left[inner] = start + 2 * np.arange(inner.sum(), dtype=np.int32)
        nodes.append(level)
        owners.append(tree)
        lefts.append(left)
        level = np.stack([trees.left[level[inner]], trees.right[level[inner]]], axis=1).ravel()
        tree = np.repeat(tree[inner], 2)
        depth += 1
    return Layout(np.concatenate(nodes), np.concatenate(owners), np.concatenate(lefts), depths)


def with_nothing(trees: Trees) -> Trees:
    """With one more node, a leaf that adds 0, to which no tree leads."""
    last = np.array([len(trees.column)], np.int32)
    linear = trees.linear
    if linear is not None:
        inputs = linear.coefficients.shape[1]
        linear = LinearLeaves(
            np.append(linear.coefficients, np.zeros((1, inputs)), axis=0),
            np.append(linear.constants, 0.0),
            np.append(linear.uses, np.zeros((1, inputs), np.bool_), axis=0),
        )
    return replace(
        trees,
        column=np.append(trees.column, np.int32(0)),
        threshold=np.append(trees.threshold, np.inf),
        left=np.append(trees.left, last),
        right=np.append(trees.right, last),
        values=np.append(trees.values, np.zeros((1, trees.values.shape[1])), axis=0),
        linear=linear,
    )
