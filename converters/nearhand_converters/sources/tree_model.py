"""A model of any tree library once its source has read it: neutral trees, a link, and the original beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.graph.inputs import GraphInputs, Lowering, clamp_codes
from nearhand_converters.graph.links import Link, apply_link, arg_max_label, binary_probability, threshold_label
from nearhand_converters.graph.trees.form import Trees
from nearhand_converters.graph.trees.lower import tree_scores
from nearhand_converters.sources.model import InputColumn, Outputs, Rows, Task


@dataclass(frozen=True)
class TreeModel:
    """Implements :class:`~nearhand_converters.sources.model.TabularModel`.

    Attributes:
        source, columns, task, classes, trees: as the protocol says.
        link: from the trees' scores to the prediction. For binary the trees have one output, the second class's.
        original: what the library gives for rows, with the outputs' names of the protocol.
        original_leaves: the library's leaf for each row and tree as nodes of ``trees``, or None: it cannot tell.
        gives_probability: for binary and multiclass: whether the linked scores are probabilities.
        label_above: for binary: the label is 1 where the linked score is greater.
        missing_allowed: whether the original predicts for rows with NaN; some libraries refuse them.
    """

    source: str
    columns: tuple[InputColumn, ...]
    task: Task
    classes: tuple[str, ...]
    trees: Trees
    link: Link
    original: Callable[[Rows], Outputs]
    original_leaves: Callable[[Rows], NDArray[np.integer] | None]
    gives_probability: bool = True
    label_above: float = 0.5
    missing_allowed: bool = True

    def __post_init__(self) -> None:
        if self.task not in ("regression", "ranking", "binary", "multiclass"):
            raise ValueError(f"trees do not make a model of the task {self.task}")
        outputs = {"binary": 1, "ranking": 1, "multiclass": len(self.classes)}.get(self.task, len(self.trees.base))
        if len(self.trees.base) != outputs:
            raise ValueError(f"{self.task} has {outputs} outputs, and the trees have {len(self.trees.base)}")

    def build(self, g: GraphBuilder, inputs: GraphInputs, lowering: Lowering) -> Mapping[str, str]:
        """Trees, then the link, then what the task's outputs are."""
        if inputs.categories:
            known = [len(column.categories) for column in self.columns if column.kind == "category"]
            inputs = GraphInputs(inputs.numbers, clamp_codes(g, inputs.categories, known))
        scores = tree_scores(g, self.trees, inputs, lowering)
        linked = apply_link(g, scores, self.link)
        if self.task == "multiclass":
            # Of the scores, not of what the link has rounded: two sigmoids near 1 are equal before their scores are.
            return {self._output: linked, "label": arg_max_label(g, scores)}
        if self.task == "binary":
            first = binary_probability(g, linked) if self.gives_probability else linked
            return {self._output: first, "label": threshold_label(g, linked, self.label_above)}
        return {"value": linked}

    @property
    def _output(self) -> str:
        return "probability" if self.gives_probability else "score"

    def predict(self, rows: Rows) -> Outputs:
        return self.original(rows)

    def leaves(self, rows: Rows) -> NDArray[np.integer] | None:
        return self.original_leaves(rows)

    def with_trees(self, trees: Trees) -> TreeModel:
        """The same model, but its graph is built of ``trees``: the same nodes over other numbers."""
        return replace(self, trees=trees)
