"""Is a boosting library's model, as a source has read it, the library's own? In the neutral form, and as graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.graph.inputs import GraphInputs, Lowering
from nearhand_converters.graph.links import link_reference
from nearhand_converters.graph.trees.form import Trees
from nearhand_converters.graph.trees.lower import tree_leaves
from nearhand_converters.parity.rows import verification_rows
from nearhand_converters.parity.tabular import Leaves, Run, verify_tabular
from nearhand_converters.sources.model import Rows, TabularModel
from nearhand_converters.sources.tree_model import TreeModel
from tests.converters.engines import OnnxModel


def assert_same_as_library(model: TabularModel, count: int = 2_000, extra: Rows | None = None) -> None:
    """The library's leaf in every tree, and its predictions as far as its own sums are exact.

    The rows are on and beside every threshold, in the library's precision, with missing and unknown values.

    Args:
        extra: more rows.
    """
    assert isinstance(model, TreeModel)
    doubles = model.trees.precision == "float64"
    assert_same_on(model, verification_rows(model, count, doubles=doubles))
    if extra is not None:
        assert_same_on(model, extra)


def predicted(model: TabularModel, rows: Rows) -> dict[str, NDArray[Any]]:
    """What the library itself gives."""
    return {name: np.asarray(values) for name, values in model.predict(rows).items()}


def assert_same_on(model: TreeModel, rows: Rows) -> None:
    leaves = model.leaves(rows)
    if leaves is not None:
        np.testing.assert_array_equal(model.trees.leaves(rows.numbers, rows.categories), leaves)
    found = predicted(model, rows)
    scores = model.trees.scores(rows.numbers, rows.categories)
    error = _own_error(model.trees, rows)
    linked = link_reference(scores, model.link)
    with np.errstate(over="ignore"):
        spread = np.abs(link_reference(scores + error, model.link) - link_reference(scores - error, model.link))
    if model.link.kind == "softmax":
        spread = np.broadcast_to(2 * error.max(axis=1, keepdims=True), linked.shape)
    tolerance = 1e-5 * np.abs(linked).max(axis=1, keepdims=True) + spread + 1e-37
    value = found[next(name for name in found if name != "label")]
    if model.task == "binary" and model.gives_probability:
        np.testing.assert_array_equal(value[:, 0], 1 - value[:, 1])
        value = value[:, 1:]
    difference = np.abs(value.astype(np.float64) - linked)
    assert (difference <= tolerance).all(), (
        f"off by {difference.max()} where {tolerance[difference > tolerance]} may be"
    )
    if "label" in found:
        assert found["label"].dtype == np.int32
        _assert_labels(model, linked, tolerance, found["label"])


def _own_error(trees: Trees, rows: Rows) -> NDArray[np.float64]:
    """How far a sum in float32 may be off, float64 [rows, outputs]; nothing in float64."""
    if trees.precision == "float64":
        return np.zeros((len(rows), len(trees.base)))
    terms = replace(trees, values=np.abs(trees.values), base=np.abs(trees.base))
    if trees.linear is not None:
        terms = replace(terms, linear=replace(trees.linear, coefficients=np.abs(trees.linear.coefficients)))
    size = terms.scores(np.abs(rows.numbers) if trees.linear else rows.numbers, rows.categories)
    return size * (len(trees.roots) + 1) * 2.0**-24


def _assert_labels(
    model: TreeModel, linked: NDArray[np.float64], tolerance: NDArray[np.float64], labels: NDArray[Any]
) -> None:
    if model.task == "binary":
        clear = np.abs(linked - model.label_above)[:, 0] > tolerance[:, 0]
        expected = linked[:, 0] > model.label_above
    else:
        best = np.sort(linked, axis=1)
        clear = best[:, -1] - best[:, -2] > 2 * tolerance.max(axis=1)
        expected = linked.argmax(axis=1)
    np.testing.assert_array_equal(labels[clear], expected[clear])


def rows_beside(thresholds: Sequence[NDArray[Any]], seed: int = 0) -> Rows:
    """Rows on, one ulp below and one ulp above thresholds that a library itself has told, in their own dtype.

    Args:
        thresholds: of each number input.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    with np.errstate(over="ignore"):
        probes = [np.concatenate([np.nextafter(t, -np.inf), t, np.nextafter(t, np.inf)]) for t in thresholds]
    probes = [np.append(own[np.isfinite(own)], [0, np.nan]) for own in probes]
    count = 4 * max(map(len, probes))
    numbers = np.stack([np.resize(random.permutation(own), count).astype(np.float64) for own in probes], axis=1)
    for column in numbers.T:
        column[:] = random.permutation(column)
    return Rows(numbers, np.empty((count, 0), np.int32))


def assert_same_as_graphs(model: TabularModel, count: int = 600) -> None:
    """Both lowerings on ONNX Runtime, held to the rule of every conversion; the operator has no linear leaves."""
    rows = verification_rows(model, count)
    lowerings: tuple[Lowering, ...] = ("operator", "ranks")
    for lowering in lowerings if model.trees is not None and model.trees.linear is None else lowerings[1:]:
        parity = verify_tabular(model, _graph(model, lowering), rows, label=lowering, leaves=_leaves(model, lowering))
        assert parity.rows == count


def _leaves(model: TabularModel, lowering: Lowering) -> Leaves | None:
    """The leaves that a graph reaches; None for trees that ask nothing."""
    if model.trees is None or model.trees.is_leaf.all():
        return None
    run = _graph(model, lowering, leaves=True)
    return lambda rows: np.asarray(run(rows)["leaves"])


def _graph(model: TabularModel, lowering: Lowering, *, leaves: bool = False) -> Run:
    """The model's graph, or the one of its leaves, on ONNX Runtime."""
    g = GraphBuilder("model")
    kinds = [column.kind for column in model.columns]
    numbers, categories = kinds.count("number"), kinds.count("category")
    inputs = GraphInputs(
        g.input("numbers", "float32", ["batch", numbers]) if numbers else "",
        g.input("categories", "int32", ["batch", categories]) if categories else "",
    )
    if leaves:
        assert model.trees is not None
        g.output(tree_leaves(g, model.trees, inputs, lowering), "leaves", "int32", ["batch", "trees"])
    for name, value in () if leaves else model.build(g, inputs, lowering).items():
        if name == "label":
            g.output(value, name, "int32", ["batch"])
        else:
            g.output(value, name, "float32", ["batch", "values"])
    engine = OnnxModel(g.model())

    def run(rows: Rows) -> dict[str, NDArray[Any]]:
        given: dict[str, NDArray[Any]] = {"numbers": rows.numbers.astype(np.float32), "categories": rows.categories}
        return engine.run({name: given[name] for name in (inputs.numbers, inputs.categories) if name})

    return run
