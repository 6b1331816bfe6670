"""An artifact that is wrong in any way is refused, and one that is only as exact as float32 can be is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nearhand_converters.errors import ParityError
from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.graph.inputs import GraphInputs, Lowering
from nearhand_converters.graph.links import Link
from nearhand_converters.graph.trees.form import Number, Trees
from nearhand_converters.parity.tabular import Original, Run, verify_tabular
from nearhand_converters.sources.model import InputColumn, Outputs, Rows, Task
from nearhand_converters.sources.tree_model import TreeModel

COLUMNS = (InputColumn("age", "number"), InputColumn("spend", "number"), InputColumn("plan", "category", ("a", "b")))


@dataclass(frozen=True)
class Function:
    """A model without trees that is a function of its numbers."""

    function: Callable[[NDArray[np.float64]], Outputs]
    task: Task = "regression"
    columns: tuple[InputColumn, ...] = COLUMNS
    classes: tuple[str, ...] = ()
    source: str = "test"
    trees: None = None
    asked: list[int] = field(default_factory=list)

    def build(self, g: GraphBuilder, inputs: GraphInputs, lowering: Lowering) -> Mapping[str, str]:
        raise NotImplementedError

    def predict(self, rows: Rows) -> Outputs:
        self.asked.append(len(rows))
        return self.function(rows.numbers)

    def leaves(self, rows: Rows) -> NDArray[np.integer] | None:
        return None


def rows(count: int = 1500) -> Rows:
    random = np.random.Generator(np.random.PCG64(3))
    numbers = random.standard_normal((count, 2)).astype(np.float32).astype(np.float64)
    return Rows(numbers, random.integers(0, 4, (count, 1)).astype(np.int32))


def exact(model: Any) -> Run:
    """An artifact that gives the original's answers as float32 and int32."""

    def run(batch: Rows) -> Outputs:
        found = model.predict(batch)
        return {name: v.astype(np.int32 if name == "label" else np.float32) for name, v in found.items()}

    return run


def changed(run: Run, name: str, change: Callable[[NDArray[Any], Rows], NDArray[Any]]) -> Run:
    """An artifact one output of which is something else."""
    return lambda batch: {**run(batch), name: change(run(batch)[name].copy(), batch)}


def scaled(factor: float) -> Callable[[NDArray[Any], Rows], NDArray[Any]]:
    return lambda values, _: (values * np.float32(factor)).astype(values.dtype)


SUM = Function(lambda x: {"value": 3 + x.sum(axis=1, keepdims=True)})
TWO = Function(lambda x: {"value": np.stack([x[:, 0] + 5, x[:, 1] * 1e-3], axis=1)})


def test_the_same_function_passes_and_says_by_how_much_it_is_off() -> None:
    parity = verify_tabular(SUM, exact(SUM), rows(), label="onnx/fp32")
    assert (parity.label, parity.rows, parity.labels, parity.ties, parity.leaves) == ("onnx/fp32", 1500, None, 0, 0)
    (value,) = parity.outputs
    assert value.name == "value"
    assert 0 < value.difference <= value.tolerance
    assert 0 < value.relative < 1e-6
    assert parity.difference == value.difference


def test_an_original_is_asked_once_for_all_artifacts() -> None:
    model = replace(SUM, asked=[])
    original = Original(model, rows())
    run = exact(replace(SUM))
    original.verify(run, label="onnx")
    original.verify(run, label="tflite")
    assert model.asked == [1500]


def test_a_value_that_is_off_is_named_with_its_row_and_both_results() -> None:
    def off(values: NDArray[Any], batch: Rows) -> NDArray[Any]:
        values[batch.numbers[:, 0] > 3] += 0.1
        return values

    table = rows()
    row = int(np.flatnonzero(table.numbers[:, 0] > 3)[0])
    with pytest.raises(ParityError) as caught:
        verify_tabular(SUM, changed(exact(SUM), "value", off), table, label="tflite/fp32")
    message = str(caught.value)
    assert message.startswith("tflite/fp32: value is [")
    assert f"row {row}: age={table.numbers[row, 0].item()!r}, spend={table.numbers[row, 1].item()!r}, plan=" in message
    assert f"{3 + table.numbers[row].sum():.9g}" in message


@pytest.mark.parametrize(("factor", "passes"), [(1 + 8e-6, True), (1 + 1.2e-5, False), (1 - 1.2e-5, False)])
def test_a_row_may_be_off_by_1e_5_of_its_largest_number(factor: float, passes: bool) -> None:
    model = Function(lambda x: {"value": np.stack([100 + x[:, 0], 0 * x[:, 0]], axis=1)})
    wrong = changed(exact(model), "value", scaled(factor))
    small = changed(exact(model), "value", lambda values, _: values + np.array([0, 100 * (factor - 1)], np.float32))
    for run in (wrong, small):
        if passes:
            verify_tabular(model, run, rows(), label="x")
        else:
            with pytest.raises(ParityError, match="value is"):
                verify_tabular(model, run, rows(), label="x")


def test_where_a_sum_cancels_float32_may_lose_what_the_original_loses_and_not_ten_times_that() -> None:
    table = rows(4000)
    table.numbers[:, 1] = (1e4 - table.numbers[:, 0]).astype(np.float32)  # the sum is 0 but for roundings
    model = Function(lambda x: {"value": (x.sum(axis=1) - 1e4)[:, None]})

    def single(batch: Rows) -> Outputs:
        x = batch.numbers.astype(np.float32)
        return {"value": (x[:, 0] + x[:, 1] - np.float32(1e4))[:, None]}

    verify_tabular(model, single, table, label="x")
    with pytest.raises(ParityError, match="value is"):
        verify_tabular(model, changed(single, "value", lambda v, _: v + np.float32(0.01)), table, label="x")


def test_a_jump_between_neighbours_excuses_nothing() -> None:
    edge = 0.1
    model = Function(lambda x: {"value": (x[:, :1] > edge).astype(np.float64)})
    table = rows()
    table.numbers[:4, 0] = [float(np.float32(edge)), *np.nextafter(np.float32(edge), [-1, 1, 1], dtype=np.float32)]

    def wrong(batch: Rows) -> Outputs:  # ≥ at the float32 that is just above the edge's double, which is below 0.1
        return {"value": (batch.numbers[:, :1].astype(np.float32) > np.float32(edge)).astype(np.float32)}

    verify_tabular(model, exact(model), table, label="x")
    with pytest.raises(ParityError, match="value is"):
        verify_tabular(model, wrong, table, label="x")


@pytest.mark.parametrize(
    ("gives", "artifact", "passes"),
    [
        (np.nan, np.nan, True),
        (np.nan, 0.0, False),
        (1.0, np.nan, False),
        (np.inf, np.inf, True),
        (np.inf, -np.inf, False),
        (np.inf, 3e38, False),
        (1.0, np.inf, False),
        (1e300, np.inf, True),  # more than float32 holds
        (-1e300, -np.inf, True),
        (1e-300, 0.0, True),
        (0.0, 1e-37, False),
    ],
)
def test_nan_and_infinity_are_where_the_original_has_them(gives: float, artifact: float, passes: bool) -> None:
    model = Function(lambda x: {"value": np.full((len(x), 1), gives)})
    run: Run = lambda batch: {"value": np.full((len(batch), 1), artifact, np.float32)}  # noqa: E731
    if passes:
        verify_tabular(model, run, rows(20), label="x")
    else:
        with pytest.raises(ParityError, match="value is"):
            verify_tabular(model, run, rows(20), label="x")


# --- labels ----------------------------------------------------------------------------------------------------------


def classifier(x: NDArray[np.float64]) -> Outputs:
    scores = np.stack([x[:, 0], x[:, 1], np.full(len(x), -9.0)], axis=1)
    tied = x[:, 0] > 1.5
    scores[tied, 0] = scores[tied, 1]
    power = np.exp(scores)
    return {"probability": power / power.sum(axis=1, keepdims=True), "label": scores.argmax(axis=1)}


CLASSIFIER = Function(classifier, "multiclass", classes=("a", "b", "c"))


def test_labels_may_differ_at_a_tie_and_nowhere_else() -> None:
    table = rows(200)
    ties = int((table.numbers[:, 0] > 1.5).sum())
    assert 0 < ties < 100
    run = changed(
        exact(CLASSIFIER), "label", lambda labels, batch: np.where(batch.numbers[:, 0] > 1.5, 1 - labels, labels)
    )
    parity = verify_tabular(CLASSIFIER, run, table, label="x")
    assert (parity.labels, parity.ties) == (200 - ties, ties)

    def elsewhere(labels: NDArray[Any], batch: Rows) -> NDArray[Any]:
        labels[batch.numbers[:, 0] < -2] = 2
        return labels

    with pytest.raises(ParityError, match="the label is 2, the original's"):
        verify_tabular(CLASSIFIER, changed(exact(CLASSIFIER), "label", elsewhere), table, label="x")


@pytest.mark.parametrize(("output", "sign"), [("score", 1.0), ("distance", -1.0)])
def test_ties_are_seen_in_decision_functions_and_distances_too(output: str, sign: float) -> None:
    def function(x: NDArray[np.float64]) -> Outputs:
        values = np.stack([x[:, 0], x[:, 0] + sign * 1e-9 * np.abs(x[:, 0]), x[:, 1] - sign * 50], axis=1)
        best = values.argmax(axis=1) if output == "score" else values.argmin(axis=1)
        return {output: values, "label": best}

    model = Function(function, "cluster")
    run = changed(exact(model), "label", lambda labels, _: 1 - labels)
    assert verify_tabular(model, run, rows(50), label="x").ties == 50
    with pytest.raises(ParityError, match="the label is 2"):
        verify_tabular(model, changed(exact(model), "label", lambda v, _: np.full_like(v, 2)), rows(50), label="x")


def test_a_binary_decision_function_ties_at_zero() -> None:
    model = Function(lambda x: {"score": x[:, :1], "label": (x[:, 0] > 0).astype(int)}, "binary", classes=("n", "y"))
    table = rows(30)
    table.numbers[0] = [0.0, 1.0]
    run = changed(exact(model), "label", lambda v, batch: np.where(batch.numbers[:, 0] == 0, 1, v))
    assert verify_tabular(model, run, table, label="x").ties == 1
    with pytest.raises(ParityError, match="the label"):
        verify_tabular(model, changed(exact(model), "label", lambda v, _: 1 - v), table, label="x")


def test_labels_with_nothing_to_tie_on_are_identical() -> None:
    model = Function(lambda x: {"label": (x[:, 0] > 0).astype(int)}, "cluster")
    assert verify_tabular(model, exact(model), rows(30), label="x").labels == 30
    with pytest.raises(ParityError, match="the label"):
        verify_tabular(model, changed(exact(model), "label", lambda v, _: 1 - v), rows(30), label="x")


# --- batches and shapes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_batch_of_another_size_that_gives_something_else_is_found(size: int) -> None:
    run = changed(exact(SUM), "value", lambda values, batch: values * np.float32(1.01 if len(batch) == size else 1))
    with pytest.raises(ParityError, match=f"batch of {size}: value is"):
        verify_tabular(SUM, run, rows(), label="x")


def test_batches_hold_at_most_a_thousand_rows_and_all_are_compared() -> None:
    sizes: list[int] = []

    def run(batch: Rows) -> Outputs:
        sizes.append(len(batch))
        return exact(SUM)(batch)

    verify_tabular(SUM, run, rows(2500), label="x")
    assert sorted(sizes) == [1, 2, 7, 500, 1000, 1000]
    verify_tabular(SUM, run, rows(2), label="x")  # fewer rows than the small batches want


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (
            lambda batch: {"score": np.zeros((len(batch), 1), np.float32)},
            "gives {'score': [20, 1]}, the original {'value': [20, 1]}",
        ),
        (
            lambda batch: {"value": np.zeros((len(batch), 2), np.float32)},
            "gives {'value': [20, 2]}, the original {'value': [20, 1]}",
        ),
        (
            lambda batch: {"value": np.zeros(len(batch), np.float32)},
            "gives {'value': [20]}, the original {'value': [20, 1]}",
        ),
    ],
)
def test_other_outputs_or_shapes_are_refused(run: Run, said: str) -> None:
    with pytest.raises(ParityError) as caught:
        verify_tabular(SUM, run, rows(20), label="x")
    assert said in str(caught.value)


# --- trees -----------------------------------------------------------------------------------------------------------


def stump(threshold: float) -> Trees:
    """Two trees of one split each: x0 > threshold, and x1 > 0."""
    infinite = np.inf
    return Trees(
        columns=(Number(0, -np.inf), Number(1, np.inf)),
        roots=np.array([0, 3], np.int32),
        column=np.array([0, 0, 0, 1, 0, 0], np.int32),
        threshold=np.array([threshold, infinite, infinite, 0.0, infinite, infinite]),
        left=np.array([1, 1, 2, 4, 4, 5], np.int32),
        right=np.array([2, 1, 2, 5, 4, 5], np.int32),
        values=np.array([[0.0], [1000.1], [2.0], [0.0], [-1000.0], [7.0]]),
        output=np.zeros(2, np.int32),
        base=np.zeros(1),
        precision="float32",
    )


def tree_model(trees: Trees, original: Trees, link: Link | None = None, *, tells_leaves: bool = True) -> TreeModel:
    return TreeModel(
        source="test",
        columns=COLUMNS,
        task="regression",
        classes=(),
        trees=trees,
        link=link or Link("identity"),
        original=lambda r: {"value": original.scores(r.numbers, r.categories)},
        original_leaves=lambda r: original.leaves(r.numbers, r.categories) if tells_leaves else None,
    )


def test_leaves_are_compared_with_the_originals() -> None:
    model = tree_model(stump(0.5), stump(0.5))
    parity = verify_tabular(model, exact(model), rows(), label="x")
    assert parity.leaves == 3000
    found: list[int] = []

    def leaves(batch: Rows) -> NDArray[np.integer]:
        found.append(len(batch))
        return stump(0.5).leaves(batch.numbers, batch.categories)

    assert verify_tabular(model, exact(model), rows(), label="x", leaves=leaves).leaves == 3000
    assert sum(found) == 1500


def test_a_neutral_form_that_was_read_wrong_is_found_by_its_leaves() -> None:
    model = tree_model(stump(0.25), stump(0.5))
    with pytest.raises(ParityError, match=r"tree 0 reaches node 2, the original node 1 \(\d+ of 3000 leaves differ\)"):
        verify_tabular(model, exact(model), rows(), label="x")


@pytest.mark.parametrize("tells_leaves", [True, False])
def test_an_artifact_that_routes_otherwise_is_found_by_its_leaves(tells_leaves: bool) -> None:
    """Also where the library tells no leaves: then the artifact is held to the neutral form."""
    model = tree_model(stump(0.5), stump(0.5), tells_leaves=tells_leaves)
    with pytest.raises(ParityError, match="tree 0 reaches node"):
        verify_tabular(
            model, exact(model), rows(), label="x", leaves=lambda r: stump(0.25).leaves(r.numbers, r.categories)
        )
    with pytest.raises(ParityError, match="leaves are"):
        verify_tabular(model, exact(model), rows(), label="x", leaves=lambda r: np.zeros((len(r), 3), np.int32))


def test_leaves_that_cancel_may_be_off_by_their_own_rounding() -> None:
    """1000.1 − 1000 is 0.1 to four digits in float32."""
    model = tree_model(stump(0.5), stump(0.5))
    single = np.array([[1000.1], [2.0], [-1000.0], [7.0]], np.float32)

    def run(batch: Rows) -> Outputs:
        leaves = stump(0.5).leaves(batch.numbers, batch.categories)
        first = np.where(leaves[:, :1] == 1, single[0], single[1])
        return {"value": first + np.where(leaves[:, 1:] == 4, single[2], single[3])}

    assert verify_tabular(model, run, rows(), label="x").outputs[0].relative > 1e-5
    off = changed(run, "value", lambda v, _: np.where(np.abs(v) < 1, v + np.float32(0.002), v))
    with pytest.raises(ParityError, match="value is"):
        verify_tabular(model, off, rows(), label="x")


def test_each_value_of_several_that_trees_predict_is_held_to_its_own_size() -> None:
    trees = stump(0.5)
    wide = replace(trees, values=np.tile(trees.values, 2) * [1e-6, 1.0], base=np.zeros(2))
    model = tree_model(wide, wide)
    off = changed(exact(model), "value", lambda values, _: values * np.array([1.001, 1.0], np.float32))
    with pytest.raises(ParityError, match="value is"):
        verify_tabular(model, off, rows(), label="x")
