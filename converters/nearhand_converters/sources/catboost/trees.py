"""CatBoost's trees, symmetric and not, as the neutral form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.graph.trees.form import Column, Trees
from nearhand_converters.sources.catboost.features import Question

_MOST_NODES = 1 << 22
"""4,194,304 nodes are about 100 MB of artifact. A symmetric tree of depth 16 takes 131,071 of them."""


@dataclass(frozen=True)
class ReadTrees:
    """The trees, and the nodes of their leaves.

    Attributes:
        leaf: int32 [leaves of all trees]: the node of each, in the library's order.
        first_leaf: int64 [trees]: where in ``leaf`` a tree's leaves begin.
    """

    trees: Trees
    leaf: NDArray[np.int32]
    first_leaf: NDArray[np.int64]


@dataclass(frozen=True)
class _Tree:
    """One tree; its nodes are numbered from 0.

    Attributes:
        question: int64 [nodes], the split_index of a split; −1 for a leaf.
        left, right: int64 [nodes]; itself for a leaf.
        leaf: int64 [leaves], their nodes in the library's order.
        values: float64 [leaves, outputs].
    """

    question: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    leaf: NDArray[np.int64]
    values: NDArray[np.float64]


def read_trees(document: Mapping[str, Any], questions: Sequence[Question]) -> ReadTrees:
    """The trees of a model's JSON form.

    Raises:
        UnsupportedModelError: there are no trees, or they are too large.
        LookupError, TypeError, ValueError: it is not such a form.
    """
    symmetric = "oblivious_trees" in document
    given = document["oblivious_trees" if symmetric else "trees"] or []
    if not given:
        raise UnsupportedModelError("has no trees", code="no-trees", place="CatBoost model", remedy="train it again")
    if symmetric:
        _check_size(sum(2 ** (len(tree["splits"] or []) + 1) for tree in given))
    trees = [_symmetric(tree) if symmetric else _other(tree) for tree in given]
    sizes = np.array([len(tree.question) for tree in trees])
    _check_size(int(sizes.sum()))
    roots = np.cumsum(sizes) - sizes
    start = np.repeat(roots, sizes)
    question = np.concatenate([tree.question for tree in trees])
    if question.max() >= len(questions):
        raise ValueError(f"split {question.max()} of {len(questions)}")
    columns: dict[Column, int] = {}
    places = [columns.setdefault(questions[asked][0], len(columns)) for asked in _asked(question)]
    column, threshold = np.zeros(len(questions) + 1, np.int32), np.full(len(questions) + 1, np.inf)
    column[_asked(question)] = places
    threshold[:-1] = [border for _, border in questions]
    leaf = np.concatenate([tree.leaf + root for tree, root in zip(trees, roots, strict=True)])
    scale, base = _scale_and_bias(document, trees[0].values.shape[1])
    values = np.zeros((len(question), len(base)))
    values[leaf] = scale * np.concatenate([tree.values for tree in trees])
    leaves = np.array([len(tree.leaf) for tree in trees])
    found = Trees(
        columns=tuple(columns),
        roots=roots.astype(np.int32),
        column=column[question],
        threshold=threshold[question],
        left=(np.concatenate([tree.left for tree in trees]) + start).astype(np.int32),
        right=(np.concatenate([tree.right for tree in trees]) + start).astype(np.int32),
        values=values,
        output=np.zeros(len(trees), np.int32),
        base=base,
        precision="float32",
    )
    return ReadTrees(found, leaf.astype(np.int32), np.cumsum(leaves) - leaves)


def _asked(question: NDArray[np.int64]) -> NDArray[np.int64]:
    """The questions that some split asks, ascending."""
    return np.unique(question[question >= 0])


def _check_size(nodes: int) -> None:
    if nodes > _MOST_NODES:
        raise UnsupportedModelError(
            f"has {nodes:,} nodes, and {_MOST_NODES:,} are the most",
            code="too-many-nodes",
            place="CatBoost model",
            remedy="train it with a smaller depth, or fewer iterations",
        )


def _scale_and_bias(document: Mapping[str, Any], outputs: int) -> tuple[float, NDArray[np.float64]]:
    scale, bias = document["scale_and_bias"]
    base = np.array(bias, np.float64)
    if base.shape != (outputs,):
        raise ValueError(f"a bias of the shape {base.shape} for {outputs} outputs")
    return float(scale), base


def _symmetric(tree: Mapping[str, Any]) -> _Tree:
    """Every level asks one question, the root the last one, so leaves stand in the order of the library's numbers."""
    splits = [int(split["split_index"]) for split in tree["splits"] or []]
    if min(splits, default=0) < 0:
        raise ValueError("a split is negative")
    inner = 2 ** len(splits) - 1
    node = np.arange(2 * inner + 1)
    question = np.full(len(node), -1)
    question[:inner] = np.repeat(np.array(splits[::-1], np.int64), 2 ** np.arange(len(splits)))
    values = np.array(tree["leaf_values"], np.float64)
    if values.ndim != 1 or not len(values) or len(values) % (inner + 1):
        raise ValueError(f"{len(values)} values of {inner + 1} leaves")
    return _Tree(
        question,
        np.where(node < inner, 2 * node + 1, node),
        np.where(node < inner, 2 * node + 2, node),
        node[inner:],
        values.reshape(inner + 1, -1),
    )


def _other(tree: Mapping[str, Any]) -> _Tree:
    """Nodes are numbered parent first, left before right: so the library numbers leaves when it reads this form."""
    question: list[int] = []
    left: list[int] = []
    right: list[int] = []
    leaf, values = [], []
    waiting: list[tuple[Mapping[str, Any], int]] = [(tree, -1)]
    while waiting:
        node, parent = waiting.pop()
        place = len(question)
        if parent >= 0:
            right[parent] = place
        if "value" in node:
            leaf.append(place)
            values.append(np.atleast_1d(np.array(node["value"], np.float64)))
            question.append(-1)
            left.append(place)
            right.append(place)
            continue
        asked = int(node["split"]["split_index"])
        if asked < 0:
            raise ValueError("a split is negative")
        question.append(asked)
        left.append(place + 1)
        right.append(-1)
        waiting += [(node["right"], place), (node["left"], -1)]
    return _Tree(np.array(question), np.array(left), np.array(right), np.array(leaf), np.stack(values))
