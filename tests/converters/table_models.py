"""Small models that implement the production interface, and can be made to convert wrongly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.graph.inputs import GraphInputs, Lowering
from nearhand_converters.graph.links import Link
from nearhand_converters.graph.trees.form import Membership, Number, Trees
from nearhand_converters.sources.model import InputColumn, Outputs, Rows, Task
from nearhand_converters.sources.tree_model import TreeModel

WEIGHTS = np.array([[0.5], [-2.0]])
OF_PLAN = np.array([[0.25], [-0.75], [1.0], [3.0]])
"""By the plan's code: missing, unknown, basic, café."""
COLUMNS = (
    InputColumn("monthly", "number"),
    InputColumn("plan", "category", ("basic", "café")),
    InputColumn("months", "number"),
)


@dataclass(frozen=True)
class Affine:
    """A linear model of two numbers and a category.

    Attributes:
        wrong: is added to the graph's result, and not to the original's.
        wrong_label: whether the graph's label is the other class.
        missing_allowed, unknown_allowed: as :func:`nearhand_converters.parity.rows.verification_rows` reads them.
    """

    task: Task = "regression"
    columns: tuple[InputColumn, ...] = COLUMNS
    wrong: float = 0.0
    wrong_label: bool = False
    missing_allowed: bool = True
    unknown_allowed: bool = True
    source: str = "made for tests"
    trees: None = None

    @property
    def classes(self) -> tuple[str, ...]:
        return ("no", "yes") if self.task == "binary" else ()

    def build(self, g: GraphBuilder, inputs: GraphInputs, lowering: Lowering) -> Mapping[str, str]:
        value = g.add("MatMul", inputs.numbers, g.constant(WEIGHTS.astype(np.float32)))
        code = g.add("Reshape", inputs.categories, g.constant(np.array([-1], np.int64)))
        code = g.add("Max", code, g.constant(np.array(0, np.int32)))
        code = g.add("Min", code, g.constant(np.array(len(OF_PLAN) - 1, np.int32)))
        value = g.add("Add", value, g.add("Gather", g.constant(OF_PLAN.astype(np.float32)), code, axis=0))
        if self.wrong:
            value = g.add("Add", value, g.constant(np.full((1, 1), self.wrong, np.float32)))
        if self.task != "binary":
            return {"value": value}
        above = g.add("Greater", value, g.constant(np.zeros((1, 1), np.float32)))
        label = g.add("Reshape", g.add("Cast", above, to=TensorProto.INT32), g.constant(np.array([-1], np.int64)))
        if self.wrong_label:
            label = g.add("Sub", g.constant(np.array([1], np.int32)), label)
        return {"score": value, "label": label}

    def predict(self, rows: Rows) -> Outputs:
        value = rows.numbers @ WEIGHTS + OF_PLAN[np.clip(rows.categories[:, 0], 0, 3)]
        if self.task != "binary":
            return {"value": value}
        return {"score": value, "label": (value[:, 0] > 0).astype(np.int32)}

    def leaves(self, rows: Rows) -> None:
        return None


BIG = 1_600_000_000.0
"""A time in seconds: float32 numbers of this size are 128 apart."""


def fine_trees() -> Trees:
    """Two trees; the first tells seconds apart, the second asks for the plan, then for the share."""
    return Trees(
        columns=(Number(0, -np.inf), Membership(0, (2,)), Number(1, np.inf)),
        roots=np.array([0, 5], np.int32),
        column=np.array([0, 0, 0, 0, 0, 1, 0, 2, 0, 0], np.int32),
        threshold=np.array([BIG + 0.5, np.inf, BIG + 1.5, np.inf, np.inf, 0.5, np.inf, 0.1, np.inf, np.inf]),
        left=np.array([1, 1, 3, 3, 4, 6, 6, 8, 8, 9], np.int32),
        right=np.array([2, 1, 4, 3, 4, 7, 6, 9, 8, 9], np.int32),
        values=np.array([0.0, 1.0, 0.0, 2.0, 4.0, 0.0, 0.125, 0.0, 0.25, 0.5])[:, None],
        output=np.zeros(2, np.int32),
        base=np.array([-0.5]),
        precision="float64",
    )


def fine_model(task: Task = "regression", trees: Trees | None = None, link: Link | None = None) -> TreeModel:
    """A model whose thresholds float32 inputs cannot tell apart; ``opened``, ``plan`` and ``share`` are its columns."""
    trees, link = trees or fine_trees(), link or Link("sigmoid" if task == "binary" else "identity")

    def original(rows: Rows) -> Outputs:
        scores = trees.scores(rows.numbers, rows.categories)
        if task != "binary":
            return {"value": scores}
        yes = 1 / (1 + np.exp(-scores[:, 0]))
        return {"probability": np.stack([1 - yes, yes], axis=1), "label": (yes > 0.5).astype(np.int32)}

    def leaves(rows: Rows) -> NDArray[np.integer]:
        return trees.leaves(rows.numbers, rows.categories)

    return TreeModel(
        source="fine trees",
        columns=(
            InputColumn("opened", "number"),
            InputColumn("plan", "category", ("basic", "gold")),
            InputColumn("share", "number"),
        ),
        task=task,
        classes=("no", "yes") if task == "binary" else (),
        trees=trees,
        link=link,
        original=original,
        original_leaves=leaves,
    )
