"""The neutral form itself: what it refuses, how it routes, and how it rounds thresholds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nearhand_converters.graph.trees.form import Membership, Number, Trees, floor32
from nearhand_converters.graph.trees.layout import by_level
from tests.converters.random_trees import Shape, hard_rows, random_trees, shapes

DOUBLES = st.floats(allow_nan=False) | st.sampled_from([0.1, 1e-46, -1e-46, 3.4028236e38, -3.4028236e38])
FLOATS = st.floats(allow_nan=False, width=32)


def stump(**changes: Any) -> Trees:
    """x > 0.5 gives 3, else 2; and 1 on top."""
    whole: dict[str, Any] = {
        "columns": (Number(0, -np.inf),),
        "roots": np.array([0], np.int32),
        "column": np.array([0, 0, 0], np.int32),
        "threshold": np.array([0.5, np.inf, np.inf]),
        "left": np.array([1, 1, 2], np.int32),
        "right": np.array([2, 1, 2], np.int32),
        "values": np.array([[0.0], [2.0], [3.0]]),
        "output": np.array([0], np.int32),
        "base": np.array([1.0]),
        "precision": "float32",
    }
    return Trees(**(whole | changes))


def no_codes(rows: int) -> NDArray[np.int32]:
    return np.zeros((rows, 0), np.int32)


def test_a_split_goes_right_only_where_the_column_is_greater() -> None:
    x = np.array([[0.5], [np.nextafter(np.float32(0.5), np.float32(1))], [np.nan], [np.inf]], np.float32)
    assert stump().leaves(x, no_codes(4)).ravel().tolist() == [1, 2, 1, 2]
    assert stump().scores(x, no_codes(4)).ravel().tolist() == [3.0, 4.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"threshold": np.array([0.5, np.inf])}, "different lengths"),
        ({"output": np.array([0, 0], np.int32)}, "different lengths"),
        ({"values": np.zeros((3, 2))}, "2 values, and there are 1 outputs"),
        ({"precision": "float16"}, "neither float32 nor float64"),
        ({"threshold": np.array([np.nan, np.inf, np.inf])}, "threshold is NaN"),
        ({"values": np.array([[0.0], [np.inf], [1.0]])}, "not finite"),
        ({"base": np.array([np.nan])}, "not finite"),
        ({"left": np.array([1, 0, 2], np.int32)}, "do not come after"),
        ({"right": np.array([3, 1, 2], np.int32)}, "do not come after"),
        ({"column": np.array([1, 0, 0], np.int32)}, "not there"),
    ],
)
def test_what_is_no_ensemble_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        stump(**changes)


def test_a_column_says_what_missing_values_become() -> None:
    x = np.array([[np.nan], [0.0], [-1e-36], [1.0], [2.0]], np.float32)
    assert Number(0, -np.inf).values(x).tolist() == [-np.inf, 0.0, x[2, 0], 1.0, 2.0]
    assert Number(0, 7.0, zero_is_missing=True).values(x).tolist() == [7.0, 7.0, 7.0, 1.0, 2.0]
    assert Number(0, 7.0, sentinel=1.0).values(x).tolist() == [7.0, 0.0, x[2, 0], 7.0, 2.0]
    assert Membership(0, (0, 3)).values(np.array([[0], [1], [3], [-1], [9]])).tolist() == [1.0, 0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("members", [(2, 1), (1, 1), (-1, 2)])
def test_members_are_ascending_codes(members: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ascending"):
        Membership(0, members)


def test_missing_cannot_stay_nan() -> None:
    with pytest.raises(ValueError, match="number or an infinity"):
        Number(0, np.nan)


@given(DOUBLES, FLOATS)
def test_a_float_exceeds_a_threshold_where_it_exceeds_the_rounded_one(threshold: float, x: float) -> None:
    (rounded,) = floor32(np.array([threshold]))
    with np.errstate(over="ignore"):
        beside = [x, rounded, *(np.nextafter(rounded, np.float32(way)) for way in (-np.inf, np.inf))]
    for value in np.array(beside, np.float32):
        assert (value > rounded) == (np.float64(value) > threshold)


def walk(trees: Trees, row: NDArray[np.floating], root: int) -> int:
    """The leaf by the definition, one node after the other."""
    node = root
    while trees.left[node] != node:
        node = int(trees.right[node] if row[trees.column[node]] > trees.threshold[node] else trees.left[node])
    return node


@given(shapes(), st.integers(0, 1000))
def test_leaves_and_scores_are_those_of_the_definition(shape: Shape, seed: int) -> None:
    generator = np.random.Generator(np.random.PCG64(seed))
    trees = random_trees(shape, generator)
    x, codes = hard_rows(trees, shape, generator)
    x, codes = x[:10], codes[:10]
    matrix = trees.matrix(x, codes)
    leaves = np.array([[walk(trees, row, root) for root in trees.roots] for row in matrix])
    np.testing.assert_array_equal(trees.leaves(x, codes), leaves)
    scores = np.tile(trees.base, (len(x), 1))
    for row, reached in enumerate(leaves):
        for tree, leaf in enumerate(reached):
            if shape.vector:
                scores[row] += trees.values[leaf]
            else:
                scores[row, trees.output[tree]] += trees.values[leaf, 0]
    np.testing.assert_allclose(trees.scores(x, codes), scores, rtol=1e-12, atol=1e-12)


def test_a_linear_leaf_with_a_missing_input_gives_its_plain_value() -> None:
    generator = np.random.Generator(np.random.PCG64(0))
    trees = random_trees(Shape(trees=1, depth=0, numbers=2, linear=True), generator)
    assert trees.linear is not None
    trees = replace(trees, linear=replace(trees.linear, uses=np.array([[True, False]])))
    assert trees.linear is not None
    x = np.array([[2.0, np.nan], [np.nan, 2.0]])
    linear = trees.base + trees.linear.constants + 2 * trees.linear.coefficients[0, 0]
    np.testing.assert_allclose(trees.scores(x, no_codes(2)), [linear, trees.base + trees.values[0]])


@given(shapes(), st.integers(0, 1000))
def test_by_level_lays_children_side_by_side_and_every_node_once(shape: Shape, seed: int) -> None:
    trees = random_trees(shape, np.random.Generator(np.random.PCG64(seed)))
    layout = by_level(trees, trees.roots)
    assert sorted(layout.node.tolist()) == list(range(len(trees.column)))
    own = np.arange(len(layout.node))
    inner = layout.left != own
    np.testing.assert_array_equal(inner, ~trees.is_leaf[layout.node])
    np.testing.assert_array_equal(layout.node[layout.left[inner]], trees.left[layout.node[inner]])
    np.testing.assert_array_equal(layout.node[layout.left[inner] + 1], trees.right[layout.node[inner]])
    np.testing.assert_array_equal(layout.tree[layout.left[inner]], layout.tree[inner])
    assert layout.depth == trees.depth
