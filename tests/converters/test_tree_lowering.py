"""Both lowerings, on each runtime: the leaves of the neutral form for every row, and its scores."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.graph.trees.form import Membership, Number, Trees, floor32
from tests.converters.random_trees import Shape, hard_rows, random_trees, shapes
from tests.converters.test_tree_form import no_codes, stump
from tests.converters.tree_graphs import WAYS, feeds, tree_graph

every_way = pytest.mark.parametrize("way", WAYS)


def run(
    way: str, trees: Trees, x: NDArray[np.float32], codes: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Scores and leaves."""
    lowering, engine = WAYS[way]
    outputs = engine(tree_graph(trees, x.shape[1], codes.shape[1], lowering)).run(feeds(x, codes))
    return outputs["scores"], outputs["leaves"]


def check(way: str, trees: Trees, x: NDArray[np.float32], codes: NDArray[np.int32]) -> None:
    """Equal leaves; scores within a rounding to float32 of the float64 ones."""
    scores, leaves = run(way, trees, x, codes)
    assert scores.dtype == np.float32
    assert leaves.dtype == np.int32
    np.testing.assert_array_equal(leaves, trees.leaves(x, codes))
    most = np.abs(trees.values).max() * len(trees.roots)
    np.testing.assert_allclose(scores, trees.scores(x, codes), rtol=1e-6, atol=1e-11 * most)


@every_way
@settings(max_examples=40)
@given(shapes(), st.integers(0, 2**32))
def test_any_trees_on_the_hardest_rows(way: str, shape: Shape, seed: int) -> None:
    generator = np.random.Generator(np.random.PCG64(seed))
    trees = random_trees(shape, generator)
    check(way, trees, *hard_rows(trees, shape, generator))


@every_way
@pytest.mark.parametrize(
    "shape",
    [
        Shape(trees=5, depth=20, chance=0.65),
        Shape(trees=5, depth=0),
        Shape(trees=40, depth=6, outputs=7),
        Shape(trees=40, depth=6, outputs=7, vector=True),
        Shape(trees=20, depth=6, numbers=0, categories=1, known=1000),
        Shape(trees=20, depth=6, numbers=2, categories=3, known=1000, missing=(-np.inf, np.inf)),
    ],
    ids=["depth 20", "one leaf each", "outputs", "vectors", "categories alone", "1,000 categories"],
)
def test_large_ones(way: str, shape: Shape) -> None:
    generator = np.random.Generator(np.random.PCG64(3))
    trees = random_trees(shape, generator)
    check(way, trees, *hard_rows(trees, shape, generator, at_least=1000))


@every_way
@pytest.mark.parametrize("threshold", [0.1, -0.1, 1e-46, -1e-46, 1e-40, 16777217.0, 1e300, -1e300, np.inf, -np.inf])
def test_rows_on_and_beside_a_threshold_that_float32_has_not(way: str, threshold: float) -> None:
    trees = stump(threshold=np.array([threshold, np.inf, np.inf]), precision="float64")
    with np.errstate(over="ignore"):
        near = floor32(np.array([threshold, 0.0]))
        x = np.concatenate([near, *(np.nextafter(near, np.float32(way)) for way in (-np.inf, np.inf))])
    x = np.append(x, np.array([np.inf, -np.inf], np.float32))[:, None]
    check(way, trees, x, no_codes(len(x)))


@every_way
def test_a_missing_value_goes_where_its_column_says(way: str) -> None:
    columns = (Number(0, -np.inf), Number(0, np.inf), Number(0, 0.0), Number(0, 1.0))
    ways = []
    for column in range(4):
        node = np.array([column, 0, 0], np.int32)
        trees = stump(columns=columns, column=node)
        _, leaves = run(way, trees, np.array([[np.nan]], np.float32), no_codes(1))
        ways.append(leaves.item())
    assert ways == [1, 2, 1, 2]


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ([-np.inf, -np.inf], ({"BRANCH_GT"}, False, [])),
        ([np.inf, np.inf], ({"BRANCH_LEQ"}, False, [])),
        ([0.0, 0.0], ({"BRANCH_LEQ"}, False, [0.0])),
        ([-5.0, -2.0], ({"BRANCH_GT"}, False, [])),
        ([0.0, np.inf], ({"BRANCH_LEQ"}, False, [])),
        ([-np.inf, 2.0], ({"BRANCH_LEQ"}, True, [])),
        ([0.1, 0.1], ({"BRANCH_LEQ"}, True, [])),
    ],
    ids=["left", "right", "zero", "numbers to the left", "numbers to the right", "two", "no float32"],
)
def test_the_operator_looks_for_nan_at_splits_only_where_it_has_to(
    missing: list[float], expected: tuple[set[str], bool, list[float]]
) -> None:
    """The first tree's split is at −1 and the second one's at 1, each about its own input."""
    trees = stump(
        columns=(Number(0, missing[0]), Number(1, missing[1])),
        roots=np.array([0, 3], np.int32),
        column=np.array([0, 0, 0, 1, 0, 0], np.int32),
        threshold=np.array([-1.0, np.inf, np.inf, 1.0, np.inf, np.inf]),
        left=np.array([1, 1, 2, 4, 4, 5], np.int32),
        right=np.array([2, 1, 2, 5, 4, 5], np.int32),
        values=np.array([[0.0], [2.0], [3.0], [0.0], [5.0], [7.0]]),
        output=np.zeros(2, np.int32),
        precision="float64",
    )
    x = np.array([[np.nan, np.nan], [np.nan, 3], [-3, np.nan], [0, 0], [np.inf, -np.inf]], np.float32)
    check("operator on ONNX Runtime", trees, x, no_codes(len(x)))
    nodes = tree_graph(trees, 2, 0, "operator").graph.node
    given = {attribute.name: attribute for node in nodes for attribute in node.attribute}
    modes = {mode.decode() for mode in given["nodes_modes"].strings} - {"LEAF"}
    replaced = list(given["imputed_value_floats"].floats) if "imputed_value_floats" in given else []
    assert (modes, "nodes_missing_value_tracks_true" in given, replaced) == expected


@every_way
def test_what_stands_for_missing_is_between_the_thresholds_it_was_between(way: str) -> None:
    """0.1 is no float32: rounded up it would exceed 0.1, rounded down it would not exceed what is just below."""
    for threshold in (0.1, np.nextafter(0.1, 0.0)):
        trees = stump(columns=(Number(0, 0.1),), threshold=np.array([threshold, np.inf, np.inf]), precision="float64")
        x = np.array([[np.nan]], np.float32)
        check(way, trees, x, no_codes(1))


def test_plain_operators_refuse_a_missing_value_that_float32_cannot_place() -> None:
    trees = random_trees(Shape(trees=1, depth=1, chance=1.0, numbers=1), np.random.Generator(np.random.PCG64(0)))
    two = replace(
        trees,
        columns=(Number(0, 0.1),),
        roots=np.array([0, 3], np.int32),
        column=np.zeros(6, np.int32),
        threshold=np.array([0.1, np.inf, np.inf, np.nextafter(0.1, 0.0), np.inf, np.inf]),
        left=np.array([1, 1, 2, 4, 4, 5], np.int32),
        right=np.array([2, 1, 2, 5, 4, 5], np.int32),
        values=np.zeros((6, 1)),
        output=np.zeros(2, np.int32),
    )
    with pytest.raises(UnsupportedModelError, match="number input 0") as refused:
        tree_graph(two, 1, 0, "ranks")
    assert refused.value.code == "missing-between-thresholds"
    check("operator on ONNX Runtime", two, np.array([[np.nan]], np.float32), no_codes(1))


@every_way
def test_foreign_codes_are_in_no_set(way: str) -> None:
    trees = stump(columns=(Membership(1, (0, 1, 5)),))
    codes = np.array([[0, code] for code in (0, 1, 5, 2, 6, 7, -1, -7, 2**31 - 1, -(2**31))], np.int32)
    _, leaves = run(way, trees, np.zeros((len(codes), 0), np.float32), codes)
    assert leaves.ravel().tolist() == [2, 2, 2, 1, 1, 1, 1, 1, 1, 1]


@every_way
def test_the_base_is_there_where_no_tree_is(way: str) -> None:
    lowering, engine = WAYS[way]
    trees = stump(base=np.array([1.0, -5.0, 0.25]), output=np.array([1], np.int32))
    x = np.array([[0.0], [1.0]], np.float32)
    scores, _ = run(way, trees, x, no_codes(2))
    assert scores.tolist() == [[1.0, -3.0, 0.25], [1.0, -2.0, 0.25]]
    none = replace(trees, roots=np.zeros(0, np.int32), output=np.zeros(0, np.int32))
    outputs = engine(tree_graph(none, 1, 0, lowering)).run({"numbers": x})
    assert outputs["scores"].tolist() == [[1.0, -5.0, 0.25]] * 2


@every_way
def test_2000_trees_that_cancel_keep_their_digits(way: str) -> None:
    """In float32, added one after the other, they would keep three of them."""
    generator = np.random.Generator(np.random.PCG64(5))
    trees = random_trees(Shape(trees=2000, depth=2, moderate=True, numbers=2), generator)
    trees = replace(trees, values=np.where(trees.is_leaf[:, None], generator.standard_normal(trees.values.shape), 0))
    x = generator.standard_normal((50, 2)).astype(np.float32)
    mean = trees.scores(x, no_codes(50)).mean()
    trees = replace(trees, base=trees.base - mean)
    exact = trees.scores(x, no_codes(50))
    scores, _ = run(way, trees, x, no_codes(50))
    np.testing.assert_allclose(scores, exact, rtol=1e-6)
    plain = trees.values[trees.leaves(x, no_codes(50))][:, :, 0].astype(np.float32)
    naive = np.cumsum(plain, axis=1)[:, -1] + np.float32(trees.base[0])
    assert np.abs(naive / exact[:, 0] - 1).max() > 1e-5


@every_way
def test_batches_of_any_size_agree(way: str) -> None:
    generator = np.random.Generator(np.random.PCG64(7))
    shape = Shape(trees=30, depth=6, outputs=3, categories=1)
    trees = random_trees(shape, generator)
    x, codes = hard_rows(trees, shape, generator, at_least=1000)
    lowering, engine = WAYS[way]
    model = engine(tree_graph(trees, shape.numbers, shape.categories, lowering))
    whole = model.run(feeds(x[:1000], codes[:1000]))
    for size in (1, 2, 7):
        for start in (0, 500):
            part = model.run(feeds(x[start : start + size], codes[start : start + size]))
            np.testing.assert_array_equal(part["leaves"], whole["leaves"][start : start + size])
            np.testing.assert_allclose(part["scores"], whole["scores"][start : start + size], rtol=1e-7)


@pytest.mark.parametrize("way", [way for way in WAYS if way.startswith("ranks")])
def test_linear_leaves(way: str) -> None:
    generator = np.random.Generator(np.random.PCG64(9))
    for outputs, depth in ((1, 4), (3, 4), (2, 0)):
        shape = Shape(trees=15, depth=depth, outputs=outputs, numbers=3, linear=True, moderate=True)
        trees = random_trees(shape, generator)
        x = generator.standard_normal((300, 3)).astype(np.float32)
        x[::5, 0], x[::7, 1] = np.nan, np.nan
        scores, leaves = run(way, trees, x, no_codes(300))
        np.testing.assert_array_equal(leaves, trees.leaves(x, no_codes(300)))
        np.testing.assert_allclose(scores, trees.scores(x, no_codes(300)), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("way", [way for way in WAYS if way.startswith("ranks")])
def test_a_linear_leaf_far_from_zero_keeps_its_digits(way: str) -> None:
    """100·x − 10⁸ near x = 10⁶: in float32 both terms are wrong by several units."""
    generator = np.random.Generator(np.random.PCG64(1))
    leaf = random_trees(Shape(trees=1, depth=1, chance=1.0, numbers=1, linear=True), generator)
    assert leaf.linear is not None
    trees = replace(
        leaf,
        columns=(Number(0, -np.inf),),
        column=np.zeros(3, np.int32),
        threshold=np.array([1e6, np.inf, np.inf]),
        linear=replace(
            leaf.linear,
            coefficients=np.full((3, 1), 100.0),
            constants=np.full(3, -1e8),
            uses=np.ones((3, 1), np.bool_),
        ),
    )
    x = np.array([[1e6 - 0.0625], [1e6], [1e6 + 0.0625]], np.float32)
    scores, _ = run(way, trees, x, no_codes(3))
    np.testing.assert_allclose(scores, trees.scores(x, no_codes(3)), rtol=1e-6)


def test_the_operator_refuses_linear_leaves() -> None:
    trees = random_trees(Shape(linear=True), np.random.Generator(np.random.PCG64(0)))
    with pytest.raises(UnsupportedModelError, match="no linear leaves") as refused:
        tree_graph(trees, 4, 0, "operator")
    assert refused.value.code == "linear-leaves-operator"


@pytest.mark.parametrize("lowering", ["operator", "ranks"])
def test_scores_beyond_float32_are_refused(lowering: str) -> None:
    trees = stump(values=np.array([[0.0], [3e38], [-3e38]]), base=np.array([1e38]))
    with pytest.raises(UnsupportedModelError, match="may reach 4e\\+38") as refused:
        tree_graph(trees, 1, 0, "operator" if lowering == "operator" else "ranks")
    assert refused.value.code == "scores-exceed-float32"


PRINT_HASHES = """
import hashlib
import numpy as np
from tests.converters.random_trees import Shape, random_trees
from tests.converters.tree_graphs import tree_graph
shape = Shape(outputs=3, categories=2, zero_is_missing=True)
trees = random_trees(shape, np.random.Generator(np.random.PCG64(2)))
for lowering in ("operator", "ranks"):
    model = tree_graph(trees, shape.numbers, shape.categories, lowering)
    print(hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest())
"""


def test_the_same_bytes_whatever_the_process() -> None:
    def hashes(seed: str) -> str:
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(["", *sys.path])}
        done = subprocess.run(
            [sys.executable, "-c", PRINT_HASHES], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    first = hashes("1")
    assert len(first.split()) == 2
    assert len(first.split()[0]) == len(hashlib.sha256().hexdigest())
    assert hashes("2") == first
