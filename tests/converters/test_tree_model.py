"""A tree model's graph gives the outputs of its task, and takes codes that no category has for unknown ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.graph.inputs import UNKNOWN, GraphInputs
from nearhand_converters.graph.links import Link, link_reference
from nearhand_converters.graph.trees.form import Membership, Number
from nearhand_converters.sources.model import InputColumn, Rows, TabularModel, Task
from nearhand_converters.sources.tree_model import TreeModel
from tests.converters.random_trees import Shape, random_trees
from tests.converters.test_tree_form import stump
from tests.converters.tree_graphs import WAYS

every_way = pytest.mark.parametrize("way", WAYS)


def model(task: Task, outputs: int, link: Link, **settings: Any) -> TreeModel:
    shape = Shape(trees=9, depth=3, outputs=outputs, numbers=2, moderate=True)
    trees = random_trees(shape, np.random.Generator(np.random.PCG64(4)))
    return TreeModel(
        source="test",
        columns=(InputColumn("a", "number"), InputColumn("b", "number")),
        task=task,
        classes={"binary": ("no", "yes"), "multiclass": tuple("abcdefg"[:outputs])}.get(task, ()),
        trees=trees,
        link=link,
        original=lambda rows: {"value": trees.scores(rows.numbers, rows.categories)},
        original_leaves=lambda rows: trees.leaves(rows.numbers, rows.categories),
        **settings,
    )


def outputs_of(given: TabularModel, rows: Rows, way: str) -> dict[str, NDArray[Any]]:
    lowering, engine = WAYS[way]
    g = GraphBuilder("model")
    feeds: dict[str, NDArray[Any]] = {}
    numbers = categories = ""
    if rows.numbers.shape[1]:
        numbers = g.input("numbers", "float32", ["batch", rows.numbers.shape[1]])
        feeds["numbers"] = rows.numbers.astype(np.float32)
    if rows.categories.shape[1]:
        categories = g.input("categories", "int32", ["batch", rows.categories.shape[1]])
        feeds["categories"] = rows.categories
    for name, value in given.build(g, GraphInputs(numbers, categories), lowering).items():
        g.output(
            value, name, "int32" if name == "label" else "float32", ["batch"] if name == "label" else ["batch", "width"]
        )
    return engine(g.model()).run(feeds)


def rows() -> Rows:
    numbers = np.random.Generator(np.random.PCG64(8)).standard_normal((300, 2)).astype(np.float32).astype(np.float64)
    return Rows(numbers, np.zeros((300, 0), np.int32))


@every_way
@pytest.mark.parametrize("task", ["regression", "ranking"])
def test_a_value_for_each_target(way: str, task: Task) -> None:
    given = model(task, 3 if task == "regression" else 1, Link("identity"))
    found = outputs_of(given, rows(), way)
    assert list(found) == ["value"]
    np.testing.assert_allclose(found["value"], given.trees.scores(rows().numbers, rows().categories), rtol=1e-5)


@every_way
def test_a_binary_classifier_gives_both_probabilities_and_the_label(way: str) -> None:
    given = model("binary", 1, Link("sigmoid", slope=0.5))
    found = outputs_of(given, rows(), way)
    p = link_reference(given.trees.scores(rows().numbers, rows().categories), given.link)
    np.testing.assert_allclose(found["probability"], np.concatenate([1 - p, p], axis=1), rtol=1e-5, atol=1e-7)
    assert found["label"].dtype == np.int32
    np.testing.assert_array_equal(found["label"], (p > 0.5).ravel())
    assert 0 < found["label"].sum() < len(p)


@every_way
def test_a_binary_classifier_without_probabilities_gives_its_score(way: str) -> None:
    given = model("binary", 1, Link("identity"), gives_probability=False, label_above=0.0)
    found = outputs_of(given, rows(), way)
    scores = given.trees.scores(rows().numbers, rows().categories)
    np.testing.assert_allclose(found["score"], scores, rtol=1e-5)
    np.testing.assert_array_equal(found["label"], (scores > 0).ravel())


@every_way
@pytest.mark.parametrize("probability", [True, False])
def test_a_label_is_the_class_of_the_largest_score(way: str, *, probability: bool) -> None:
    link = Link("softmax") if probability else Link("identity")
    given = model("multiclass", 4, link, gives_probability=probability)
    found = outputs_of(given, rows(), way)
    scores = given.trees.scores(rows().numbers, rows().categories)
    output = "probability" if probability else "score"
    np.testing.assert_allclose(found[output], link_reference(scores, link), rtol=1e-5, atol=1e-12)
    np.testing.assert_array_equal(found["label"], scores.argmax(axis=1))


@every_way
def test_a_code_that_no_category_has_is_an_unknown_one(way: str) -> None:
    """The set has the unknown code, so a code beyond the known ones is in it."""
    trees = stump(columns=(Number(0, -np.inf), Membership(1, (UNKNOWN, 3))), column=np.array([1, 0, 0], np.int32))
    given = TreeModel(
        source="test",
        columns=(
            InputColumn("a", "category", ("x",)),
            InputColumn("n", "number"),
            InputColumn("b", "category", ("y", "z")),
        ),
        task="regression",
        classes=(),
        trees=trees,
        link=Link("identity"),
        original=lambda _: {},
        original_leaves=lambda _: None,
    )
    codes = np.array([[0, code] for code in (0, 1, 2, 3, 4, -1, -9, 2**31 - 1)], np.int32)
    found = outputs_of(given, Rows(np.zeros((len(codes), 1)), codes), way)
    assert found["value"].ravel().tolist() == [3, 4, 3, 4, 4, 4, 4, 4]


def test_a_task_has_its_number_of_outputs() -> None:
    with pytest.raises(ValueError, match="binary has 1 outputs, and the trees have 2"):
        model("binary", 2, Link("sigmoid"))
    with pytest.raises(ValueError, match="task cluster"):
        model("cluster", 1, Link("identity"))


def test_the_original_answers_for_itself() -> None:
    given: TabularModel = model("regression", 1, Link("identity"))
    assert given.trees is not None
    leaves = given.leaves(rows())
    assert leaves is not None
    np.testing.assert_array_equal(leaves, given.trees.leaves(rows().numbers, rows().categories))
