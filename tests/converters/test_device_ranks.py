"""Trees over ranks route every float64 number as the original trees do, also where float32 could not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nearhand.bundle.tables import Column
from nearhand.ranking import RowEncoder, TableRows
from nearhand_converters.graph.trees.device_ranks import needs_ranks, ranked_trees
from nearhand_converters.graph.trees.form import Number, Trees
from tests.converters.random_trees import Shape, random_trees


def ranks_of(thresholds: tuple[NDArray[np.float64], ...], numbers: NDArray[np.float64]) -> NDArray[np.float32]:
    """As the device computes them."""
    columns = [Column(f"x{i}", "number") for i in range(len(thresholds))]
    encoder = RowEncoder(columns, {}, [column.tolist() for column in thresholds])
    ranks: NDArray[np.float32] = encoder.inputs(TableRows(numbers, np.empty((len(numbers), 0), np.int32)))["numbers"]
    return ranks


def hard_numbers(trees: Trees, inputs: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Rows on, one float64 ulp below and above every threshold, and everything that is special, in every column."""
    asked = trees.threshold[~trees.is_leaf]
    special = [
        0.0,
        -0.0,
        np.inf,
        -np.inf,
        np.nan,
        5e-324,
        -5e-324,
        1e-35,
        -1e-35,
        float(np.float32(1e-35)),
        1e300,
        -1e300,
    ]
    points = np.concatenate([asked, np.nextafter(asked, np.inf), np.nextafter(asked, -np.inf), special])
    return np.stack([generator.permutation(points) for _ in range(inputs)], axis=1)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    ("missing", "zero"),
    [((-np.inf, np.inf), False), ((-np.inf, np.inf), True), ((0.0,), False), ((-3.5, 1e-40, 7.0), False)],
    ids=["default-direction", "zero-is-missing", "missing-is-zero", "missing-is-a-number"],
)
def test_every_row_reaches_the_leaf_of_the_original(seed: int, missing: tuple[float, ...], *, zero: bool) -> None:
    generator = np.random.Generator(np.random.PCG64(seed))
    shape = Shape(trees=6, depth=6, numbers=3, categories=1, missing=missing, moderate=seed % 2 == 0)
    trees = random_trees(shape, generator)
    if zero:
        columns = tuple(replace(c, zero_is_missing=True) if isinstance(c, Number) else c for c in trees.columns)
        trees = replace(trees, columns=columns)
    numbers = hard_numbers(trees, shape.numbers, generator)
    categories = generator.integers(0, shape.known + 2, (len(numbers), 1)).astype(np.int32)
    ranked = ranked_trees(trees, shape.numbers)
    assert ranked is not None
    ranks = ranks_of(ranked.thresholds, numbers)
    assert np.isin(ranks[~np.isnan(ranks)] % 1, 0).all()
    np.testing.assert_array_equal(ranked.trees.leaves(ranks, categories), trees.leaves(numbers, categories))
    assert (ranked.trees.threshold[~trees.is_leaf].astype(np.float32) == ranked.trees.threshold[~trees.is_leaf]).all()


@pytest.mark.parametrize("sentinel", [-999.0, 0.0, 0.1, 5e-324, 1e300])
@pytest.mark.parametrize("zero", [False, True])
def test_a_number_that_counts_as_missing(sentinel: float, *, zero: bool) -> None:
    generator = np.random.Generator(np.random.PCG64(8))
    trees = random_trees(Shape(trees=20, numbers=2, moderate=True), generator)
    columns = tuple(replace(c, sentinel=sentinel, zero_is_missing=zero) for c in trees.columns if isinstance(c, Number))
    trees = replace(trees, columns=columns)
    around = [sentinel, np.nextafter(sentinel, -np.inf), np.nextafter(sentinel, np.inf), 1e-36, -1e-36]
    numbers = np.concatenate([hard_numbers(trees, 2, generator), np.array([around, around[::-1]]).T])
    ranked = ranked_trees(trees, 2)
    assert ranked is not None
    none = np.empty((len(numbers), 0), np.int32)
    found = ranked.trees.leaves(ranks_of(ranked.thresholds, numbers), none)
    np.testing.assert_array_equal(found, trees.leaves(numbers, none))


def test_ranks_are_needed_where_a_threshold_is_no_float32() -> None:
    trees = random_trees(Shape(moderate=True), np.random.Generator(np.random.PCG64(0)))
    exact = replace(trees, threshold=trees.threshold.astype(np.float32).astype(np.float64))
    assert needs_ranks(trees)
    assert not needs_ranks(exact)
    assert not needs_ranks(replace(trees, precision="float32")), "the library rounds the numbers itself"


def test_a_membership_needs_none() -> None:
    trees = random_trees(Shape(numbers=0, categories=2), np.random.Generator(np.random.PCG64(1)))
    assert not needs_ranks(trees)
    ranked = ranked_trees(trees, 0)
    assert ranked is not None
    assert ranked.thresholds == ()


def _with(trees: Trees, **changes: Any) -> Trees:
    columns = list(trees.columns)
    place = next(i for i, column in enumerate(columns) if isinstance(column, Number))
    columns[place] = replace(columns[place], **changes)
    return replace(trees, columns=tuple(columns))


def test_trees_that_read_the_numbers_themselves_cannot_be_given_ranks() -> None:
    generator = np.random.Generator(np.random.PCG64(2))
    plain = random_trees(Shape(), generator)
    for trees in (
        random_trees(Shape(linear=True), generator),
        _with(plain, zero_is_missing=True),
        replace(plain, columns=tuple(Number(feature, 0.0, zero_is_missing=True) for feature in range(4)) * 2),
    ):
        assert ranked_trees(trees, 4) is None
