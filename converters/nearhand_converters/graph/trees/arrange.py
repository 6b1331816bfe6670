"""Nodes as a library lists them, brought into the order that the neutral form asks for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.graph.trees.form import Column, LinearLeaves, Trees


@dataclass(frozen=True)
class Nodes:
    """The nodes of all trees in any order, with nodes that no tree reaches among them.

    Attributes:
        roots: int [trees].
        left, right: int [nodes], places in these arrays; a leaf is its own left and right child.
        column, threshold, values: as in :class:`~nearhand_converters.graph.trees.form.Trees`; what a leaf has as
            column and threshold, and a split as values, is overwritten.
        linear: as there.
    """

    roots: NDArray[np.integer]
    left: NDArray[np.integer]
    right: NDArray[np.integer]
    column: NDArray[np.integer]
    threshold: NDArray[np.float64]
    values: NDArray[np.float64]
    linear: LinearLeaves | None = None


def arrange(
    nodes: Nodes,
    *,
    columns: tuple[Column, ...],
    output: NDArray[np.integer],
    base: NDArray[np.float64],
    precision: str,
) -> tuple[Trees, NDArray[np.int32]]:
    """The trees, and where each node of ``nodes`` is among theirs: int32 [nodes], −1 if no tree reaches it.

    A tree's nodes are one block, from the root down level by level.

    Raises:
        ValueError: a node is reached twice, so that these are no trees; or :class:`Trees` refuses them.
    """
    order = _order(nodes)
    place = np.full(len(nodes.left), -1, np.int32)
    place[order] = np.arange(len(order))
    left, right = nodes.left[order], nodes.right[order]
    leaf = left == order
    if not (right[leaf] == order[leaf]).all():
        raise ValueError("a leaf has a child")
    linear = nodes.linear and LinearLeaves(
        nodes.linear.coefficients[order], nodes.linear.constants[order], nodes.linear.uses[order]
    )
    trees = Trees(
        columns=columns,
        roots=place[nodes.roots],
        column=np.where(leaf, 0, nodes.column[order]).astype(np.int32),
        threshold=np.where(leaf, np.inf, nodes.threshold[order]),
        left=place[left],
        right=place[right],
        values=np.where(leaf[:, None], nodes.values[order], 0.0),
        output=output.astype(np.int32),
        base=base,
        precision=precision,
        linear=linear,
    )
    return trees, place


def _order(nodes: Nodes) -> NDArray[np.int64]:
    """The nodes that the roots reach, tree by tree, each from its root down level by level."""
    level = nodes.roots.astype(np.int64)
    tree = np.arange(len(level))
    levels, owners, reached = [], [], 0
    while len(level):
        reached += len(level)
        if reached > len(nodes.left):
            raise ValueError("a node is reached twice")
        levels.append(level)
        owners.append(tree)
        inner = nodes.left[level] != level
        children = np.stack([nodes.left[level], nodes.right[level]], axis=1)[inner]
        level, tree = children.ravel(), np.repeat(tree[inner], 2)
    if not levels:
        return np.empty(0, np.int64)
    order = np.concatenate(levels)[np.argsort(np.concatenate(owners), kind="stable")]
    if len(np.unique(order)) < len(order):
        raise ValueError("a node is reached twice")
    return order
