"""Graphs of trees alone, with the leaves that are reached beside the scores, and the engines they run on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.graph.inputs import GraphInputs, Lowering
from nearhand_converters.graph.trees.form import Trees
from nearhand_converters.graph.trees.lower import tree_leaves, tree_scores
from tests.converters.engines import OnnxModel, TFLiteModel

Model = OnnxModel | TFLiteModel

WAYS: Mapping[str, tuple[Lowering, Callable[[onnx.ModelProto], Model]]] = {
    "operator on ONNX Runtime": ("operator", OnnxModel),
    "ranks on ONNX Runtime": ("ranks", OnnxModel),
    "ranks on LiteRT": ("ranks", TFLiteModel),
}
"""How trees are lowered, and what runs them."""


def tree_graph(trees: Trees, numbers: int, categories: int, lowering: Lowering) -> onnx.ModelProto:
    """Outputs ``scores`` float32 [batch, outputs] and, if there are trees, ``leaves`` int32 [batch, trees]."""
    g = GraphBuilder("trees")
    inputs = GraphInputs(
        g.input("numbers", "float32", ["batch", numbers]) if numbers else "",
        g.input("categories", "int32", ["batch", categories]) if categories else "",
    )
    g.output(tree_scores(g, trees, inputs, lowering), "scores", "float32", ["batch", len(trees.base)])
    if len(trees.roots):
        g.output(tree_leaves(g, trees, inputs, lowering), "leaves", "int32", ["batch", len(trees.roots)])
    return g.model()


def feeds(numbers: NDArray[np.float32], categories: NDArray[np.int32]) -> dict[str, NDArray[np.generic]]:
    """The inputs that a graph for such rows has."""
    given: dict[str, NDArray[np.generic]] = {"numbers": numbers, "categories": categories}
    return {name: values for name, values in given.items() if values.shape[1]}
