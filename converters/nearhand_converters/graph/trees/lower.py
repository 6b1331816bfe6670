"""Trees as graph nodes: the doors to the two lowerings."""

from __future__ import annotations

from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.graph.inputs import GraphInputs, Lowering
from nearhand_converters.graph.trees import operator, ranks
from nearhand_converters.graph.trees.form import Trees


def tree_scores(g: GraphBuilder, trees: Trees, inputs: GraphInputs, lowering: Lowering) -> str:
    """The raw scores, base included, float32 [batch, outputs].

    Raises:
        UnsupportedModelError: float32 cannot hold the scores, or the lowering has no form for such trees.
    """
    return operator.scores(g, trees, inputs) if lowering == "operator" else ranks.scores(g, trees, inputs)


def tree_leaves(g: GraphBuilder, trees: Trees, inputs: GraphInputs, lowering: Lowering) -> str:
    """The node of the leaf that each row reaches in each tree, int32 [batch, trees]; not for trees without a tree."""
    return operator.leaves(g, trees, inputs) if lowering == "operator" else ranks.leaves(g, trees, inputs)
