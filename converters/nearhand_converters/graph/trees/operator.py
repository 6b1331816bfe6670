"""Trees as one TreeEnsembleRegressor of ai.onnx.ml, whatever the task: it adds up leaves and does nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.graph.builder import ML_DOMAIN, GraphBuilder
from nearhand_converters.graph.inputs import GraphInputs
from nearhand_converters.graph.trees.columns import column_matrix
from nearhand_converters.graph.trees.form import Number, Trees, floor32
from nearhand_converters.graph.trees.layout import Layout, by_level, with_nothing
from nearhand_converters.graph.trees.sums import largest_scores


def operator_scores(g: GraphBuilder, trees: Trees, inputs: GraphInputs) -> str:
    """See :func:`nearhand_converters.graph.trees.lower.tree_scores`."""
    if trees.linear is not None:
        raise UnsupportedModelError(
            "the operator for trees has no linear leaves", code="linear-leaves-operator", remedy="lower to ranks"
        )
    largest_scores(trees, trees.values)
    # The base is one more tree, a leaf: onnxruntime forgets the operator's own base where no tree adds to an output.
    outputs, base_tree = len(trees.base), len(trees.roots)
    layout = by_level(with_nothing(trees), np.append(trees.roots, len(trees.column)))
    leaf = np.flatnonzero((layout.left == np.arange(len(layout.left))) & (layout.tree < base_tree))
    values = trees.values[layout.node[leaf]]
    shared = values.shape[1] == outputs
    of_tree: NDArray[np.integer] = np.tile(np.arange(outputs), len(leaf)) if shared else trees.output[layout.tree[leaf]]
    at = np.append(np.repeat(leaf, values.shape[1]), np.repeat(np.flatnonzero(layout.tree == base_tree), outputs))
    target, weight = np.append(of_tree, np.arange(outputs)), np.append(values.ravel(), trees.base)
    return _ensemble(g, with_nothing(trees), inputs, layout, outputs, at, target, weight)


def operator_leaves(g: GraphBuilder, trees: Trees, inputs: GraphInputs) -> str:
    """See :func:`nearhand_converters.graph.trees.lower.tree_leaves`: a leaf of tree t gives its number to output t."""
    layout = by_level(trees, trees.roots)
    leaf = np.flatnonzero(trees.is_leaf[layout.node])
    number = layout.node[leaf].astype(np.float64)
    if number.max() >= 2**24:
        raise UnsupportedModelError("float32 cannot count so many nodes", code="too-many-nodes", remedy="use ranks")
    found = _ensemble(g, trees, inputs, layout, len(trees.roots), leaf, layout.tree[leaf], number)
    return g.add("Cast", found, to=TensorProto.INT32)


def _ensemble(
    g: GraphBuilder,
    trees: Trees,
    inputs: GraphInputs,
    layout: Layout,
    outputs: int,
    leaf: NDArray[np.integer],
    target: NDArray[np.integer],
    weight: NDArray[np.float64],
) -> str:
    """The sums of the weights of the leaves that are reached, float32 [batch, outputs].

    All numbers are doubles: as floats the sum of some hundred leaves loses its fifth digit where they cancel.

    Args:
        leaf: for each weight its leaf, as a number of ``layout``.
        target: for each weight the output that it adds to.
    """
    matrix = column_matrix(g, trees, inputs, lambda column: True)
    # Tree after tree, as libraries write them: onnxruntime silently gives wrong leaves for trees that are mingled.
    order = np.argsort(layout.tree, kind="stable")
    node, tree, left = layout.node[order], layout.tree[order], layout.left[order]
    number = np.empty(len(node), np.int64)  # of each node of the layout, in its tree
    number[order] = np.concatenate([np.arange(nodes) for nodes in np.bincount(tree)])
    inner = ~trees.is_leaf[node]
    column = trees.column[node]
    stand_ins = [column.missing if isinstance(column, Number) else 0.0 for column in trees.columns] or [0.0]
    missing = np.array(stand_ins).astype(trees.precision).astype(np.float64)[column]
    may_be_nan = inner & matrix.keeps_nan[column]
    to_left = may_be_nan & ~(missing > trees.threshold[node])
    question = _question(g, matrix.value, missing[may_be_nan], to_left, may_be_nan & ~to_left)
    yes, no = number[left], number[np.where(inner, left + 1, 0)]
    if question.mode == "BRANCH_GT":
        yes, no = no, yes
    by_tree = np.argsort(layout.tree[leaf], kind="stable")
    leaf, target, weight = leaf[by_tree], target[by_tree], weight[by_tree]
    attributes: dict[str, NDArray[Any]] = {
        "nodes_treeids": tree,
        "nodes_nodeids": number[order],
        "nodes_featureids": np.where(inner, matrix.place[column], 0),
        "nodes_truenodeids": np.where(inner, yes, 0),
        "nodes_falsenodeids": np.where(inner, no, 0),
        "target_treeids": layout.tree[leaf],
        "target_nodeids": number[leaf],
        "target_ids": target,
    }
    if question.tracks is not None:
        attributes["nodes_missing_value_tracks_true"] = question.tracks
    return g.add(
        "TreeEnsembleRegressor",
        g.add("Cast", question.value, to=TensorProto.DOUBLE),
        domain=ML_DOMAIN,
        n_targets=outputs,
        nodes_modes=[question.mode if split else "LEAF" for split in inner],
        nodes_values_as_tensor=numpy_helper.from_array(np.where(inner, trees.threshold[node], 0.0)),
        target_weights_as_tensor=numpy_helper.from_array(weight),
        **{name: values.astype(np.int64).tolist() for name, values in attributes.items()},
    )


@dataclass(frozen=True)
class _Question:
    """How all splits ask.

    Attributes:
        value: float32 [batch, places], what they ask about.
        mode: ``BRANCH_LEQ``, where yes goes left, or ``BRANCH_GT``, where it goes right. To NaN the answer is no.
        tracks: for each node whether the answer to NaN is yes nevertheless; None: nowhere.
    """

    value: str
    mode: Literal["BRANCH_LEQ", "BRANCH_GT"]
    tracks: NDArray[np.bool_] | None = None


def _question(
    g: GraphBuilder,
    value: str,
    missing: NDArray[np.float64],
    to_left: NDArray[np.bool_],
    to_right: NDArray[np.bool_],
) -> _Question:
    """The question that sends NaN where what it stands for goes.

    Once one split tracks NaN, onnxruntime looks for it at all of them; to replace it before them takes less.

    Args:
        missing: what NaN stands for, once for each split that may meet one.
        to_left, to_right: the nodes that it has to leave this way; those that never meet it are in neither.
    """
    if not to_left.any():
        return _Question(value, "BRANCH_LEQ")
    if not to_right.any():
        return _Question(value, "BRANCH_GT")
    if (missing != missing[0]).any() or floor32(missing[:1])[0] != missing[0]:
        return _Question(value, "BRANCH_LEQ", tracks=to_left)
    replaced = {"replaced_value_float": np.nan, "imputed_value_floats": [float(missing[0])]}
    return _Question(g.add("Imputer", value, domain=ML_DOMAIN, **replaced), "BRANCH_LEQ")
