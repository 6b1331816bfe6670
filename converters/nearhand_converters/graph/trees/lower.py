"""Trees as graph nodes: the doors to the two lowerings."""

from __future__ import annotations

from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.graph.inputs import GraphInputs, Lowering
from nearhand_converters.graph.trees.form import Trees
from nearhand_converters.graph.trees.operator import operator_leaves, operator_scores
from nearhand_converters.graph.trees.ranks import ranks_leaves, ranks_scores


def tree_scores(g: GraphBuilder, trees: Trees, inputs: GraphInputs, lowering: Lowering) -> str:
    """The raw scores, base included, float32 [batch, outputs].

    Raises:
        UnsupportedModelError: float32 cannot hold the scores, or the lowering has no form for such trees.
    """
    return (operator_scores if lowering == "operator" else ranks_scores)(g, trees, inputs)


def tree_leaves(g: GraphBuilder, trees: Trees, inputs: GraphInputs, lowering: Lowering) -> str:
    """The node of the leaf that each row reaches in each tree, int32 [batch, trees]; there has to be a tree."""
    return (operator_leaves if lowering == "operator" else ranks_leaves)(g, trees, inputs)
