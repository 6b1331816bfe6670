"""Rows made from a model meet everything it asks; rows of a sample are those given, or an error says why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nearhand_converters.errors import DataError
from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.graph.inputs import GraphInputs, Lowering
from nearhand_converters.graph.links import Link
from nearhand_converters.graph.trees.form import Membership, Number, Trees
from nearhand_converters.parity.rows import rows_from_table, single, verification_rows
from nearhand_converters.sources.model import InputColumn, Outputs, Rows, Task
from nearhand_converters.sources.tree_model import TreeModel

NUMBERS = (InputColumn("age", "number"), InputColumn("spend", "number"))
PLAN = InputColumn("plan", "category", ("basic", "plus", "max"))
COLUMNS = (NUMBERS[0], PLAN, NUMBERS[1])
LOW, HIGH = -np.inf, np.inf


def tree_of(splits: Sequence[tuple[int, float]], columns: Sequence[Number | Membership], precision: str) -> Trees:
    """One tree: a chain that asks about (column, threshold) in turn and leaves to the left."""
    nodes = 2 * len(splits) + 1
    column, threshold = np.zeros(nodes, np.int32), np.full(nodes, np.inf)
    left = np.arange(nodes, dtype=np.int32)
    right = left.copy()
    for i, (asked, bound) in enumerate(splits):
        column[2 * i], threshold[2 * i], left[2 * i], right[2 * i] = asked, bound, 2 * i + 1, 2 * i + 2
    values = np.where(left == np.arange(nodes), np.arange(nodes), 0.0)[:, None]
    first, base = np.zeros(1, np.int32), np.zeros(1)
    return Trees(tuple(columns), first, column, threshold, left, right, values, first, base, precision)


def tree_model(trees: Trees, columns: tuple[InputColumn, ...] = COLUMNS) -> TreeModel:
    return TreeModel(
        source="test",
        columns=columns,
        task="regression",
        classes=(),
        trees=trees,
        link=Link("identity"),
        original=lambda rows: {"value": trees.scores(rows.numbers, rows.categories)},
        original_leaves=lambda rows: trees.leaves(rows.numbers, rows.categories),
    )


@dataclass(frozen=True)
class Plain:
    """A model without trees that only says what rows it takes."""

    columns: tuple[InputColumn, ...] = COLUMNS
    missing_allowed: bool | tuple[bool, ...] = True
    unknown_allowed: bool | tuple[bool, ...] = True
    ranges: tuple[tuple[float, float], ...] | None = None
    edges: tuple[tuple[float, ...], ...] | None = None
    source: str = "test"
    task: Task = "regression"
    classes: tuple[str, ...] = ()
    trees: None = None

    def build(self, g: GraphBuilder, inputs: GraphInputs, lowering: Lowering) -> Mapping[str, str]:
        raise NotImplementedError

    def predict(self, rows: Rows) -> Outputs:
        raise NotImplementedError

    def leaves(self, rows: Rows) -> NDArray[np.integer] | None:
        raise NotImplementedError


def steps32(value: float, *steps: int) -> list[float]:
    """The largest float32 not above a value, and its neighbours."""
    start = np.float32(value)
    if float(start) > value:
        start = np.nextafter(start, np.float32(-np.inf))
    found = []
    for step in steps:
        moved = start
        for _ in range(abs(step)):
            moved = np.nextafter(moved, np.float32(np.copysign(np.inf, step)))
        found.append(float(moved))
    return found


THRESHOLDS = [-3.5, 0.0, 0.1, 1e-30, 2.0**24 + 1, 3e38]


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_row_stands_on_below_and_above_every_threshold(precision: str) -> None:
    thresholds = [float(np.dtype(precision).type(t)) for t in THRESHOLDS]
    trees = tree_of(
        [(0, t) for t in thresholds[:3]] + [(1, t) for t in thresholds[3:]],
        [Number(0, LOW), Number(1, HIGH)],
        precision,
    )
    rows = verification_rows(tree_model(trees), 1000)
    for feature, own in ((0, thresholds[:3]), (1, thresholds[3:])):
        wanted = [point for threshold in own for point in steps32(threshold, -1, 0, 1, 2)]
        assert np.isin(wanted, rows.numbers[:, feature]).all()
    numbers = rows.numbers[~np.isnan(rows.numbers)]
    assert (numbers.astype(np.float32) == numbers).all()


def test_where_the_device_gives_float64_its_neighbours_are_met_too() -> None:
    rows = verification_rows(tree_model(tree_of([(0, 0.1)], [Number(0, LOW)], "float64")), 1000, doubles=True)
    wanted = [np.nextafter(0.1, -1), 0.1, np.nextafter(0.1, 1), *steps32(0.1, -1, 0, 1)]
    assert np.isin(wanted, rows.numbers[:, 0]).all()


def test_what_counts_as_zero_is_a_threshold() -> None:
    zero = Number(0, HIGH, zero_is_missing=True)
    rows = verification_rows(tree_model(tree_of([(0, 5.0)], [zero], "float64")), 1000)
    assert np.isin([-zero.zero, *steps32(zero.zero, 0, 1), 0.0], rows.numbers[:, 0]).all()


def test_a_number_that_counts_as_missing_is_met() -> None:
    rows = verification_rows(tree_model(tree_of([(0, 5.0)], [Number(0, HIGH, sentinel=-999.0)], "float32")), 1000)
    assert np.isin(steps32(-999.0, -1, 0, 1), rows.numbers[:, 0]).all()


def test_every_category_the_unknown_one_and_none_are_met_and_every_number_is_missing_alone() -> None:
    rows = verification_rows(tree_model(tree_of([(0, 1.0)], [Number(0, LOW)], "float32")), 200)
    assert set(rows.categories[:, 0].tolist()) == {0, 1, 2, 3, 4}
    missing = np.isnan(rows.numbers[:4])
    assert missing[0].tolist()[0]
    assert missing[1].tolist()[1]
    assert rows.categories[2, 0] == 0
    assert missing[3].all()
    assert rows.categories[3, 0] == 0


def test_splits_deep_in_a_tree_are_reached_and_left_on_both_sides() -> None:
    """The last of 30 narrow questions: a random row gets there with a probability of 2^-30."""
    chain = [(i % 2, float(1 + i)) for i in range(30)]
    chain += [(2, 0.5)]
    trees = tree_of(chain, [Number(0, LOW), Number(1, HIGH), Membership(0, (3,))], "float32")
    rows = verification_rows(tree_model(trees), 400)
    reached = np.unique(trees.leaves(rows.numbers, rows.categories))
    assert reached.tolist() == np.flatnonzero(trees.is_leaf).tolist()


def test_the_one_category_of_a_thousand_that_gets_to_a_split_is_found() -> None:
    known = tuple(f"c{i}" for i in range(1000))
    columns = (*NUMBERS, InputColumn("item", "category", known))
    but_for = [tuple(code for code in range(1002) if code % 3 != rest or code == 777) for rest in range(3)]
    trees = tree_of(
        [(0, 0.5), (1, 0.5), (2, 0.5), (3, 0.0)], [*(Membership(0, own) for own in but_for), Number(1, LOW)], "float32"
    )
    rows = verification_rows(tree_model(trees, columns), 100)
    assert np.unique(trees.leaves(rows.numbers, rows.categories)).tolist() == np.flatnonzero(trees.is_leaf).tolist()


def test_a_count_that_is_too_small_is_kept_to_and_shared() -> None:
    trees = tree_of([(0, float(i)) for i in range(1000)], [Number(0, LOW)], "float32")
    rows = verification_rows(tree_model(trees), 100)
    assert len(rows) == 100
    near = np.abs(rows.numbers[:, 0] - np.round(rows.numbers[:, 0])) < 3e-4
    assert 60 <= near.sum() <= 80


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_a_few_rows_are_a_few_rows(count: int) -> None:
    assert len(verification_rows(Plain(), count)) == count


def test_the_same_rows_come_again_and_others_with_another_seed() -> None:
    model = tree_model(tree_of([(0, 1.0), (1, 2.0)], [Number(0, LOW), Membership(0, (2,))], "float32"))
    first, again, other = (verification_rows(model, 500, seed) for seed in (1, 1, 2))
    assert first.numbers.tobytes() == again.numbers.tobytes()
    assert first.categories.tobytes() == again.categories.tobytes()
    assert first.numbers.tobytes() != other.numbers.tobytes()


def test_a_model_without_trees_gets_rows_of_several_scales_and_zeros() -> None:
    numbers = verification_rows(Plain(missing_allowed=False), 2000).numbers
    size = np.abs(numbers).max(axis=1)
    assert (size == 0).any()
    assert ((size > 0) & (size < 0.01)).any()
    assert (size > 100).any()


def test_rows_the_original_refuses_are_not_made() -> None:
    rows = verification_rows(Plain(missing_allowed=(False, False, True), unknown_allowed=False), 2000)
    assert not np.isnan(rows.numbers[:, 0]).any()
    assert np.isnan(rows.numbers[:, 1]).any()
    assert set(rows.categories[:, 0].tolist()) == {2, 3, 4}


def test_rows_stay_in_a_models_ranges_and_stand_on_its_edges() -> None:
    rows = verification_rows(Plain(ranges=((0.0, 4.0), (-1.0, 1.0)), edges=((0.0, 2.5), (9.0,))), 2000)
    assert np.nanmin(rows.numbers[:, 0]) == 0.0
    assert np.nanmax(rows.numbers[:, 0]) <= 4.0
    assert np.nanmax(np.abs(rows.numbers[:, 1])) <= 1.0
    assert np.isin(steps32(2.5, -1, 0, 1), rows.numbers[:, 0]).all()


def test_without_number_columns_or_without_categories_the_arrays_are_empty_but_there() -> None:
    rows = verification_rows(Plain(columns=(PLAN,)), 50)
    assert rows.numbers.shape == (50, 0)
    rows = verification_rows(Plain(columns=NUMBERS), 50)
    assert rows.categories.shape == (50, 0)


# --- a sample --------------------------------------------------------------------------------------------------------

SAMPLE: dict[str, Sequence[Any]] = {
    "plan": ["plus", "gold", "", None],
    "spend": ["1.5", "", " 2e3 ", None],
    "age": [18, 40.5, float("nan"), True],
    "churned": ["yes", "no", "no", "no"],
}


def test_a_sample_becomes_rows_in_the_order_of_the_models_columns() -> None:
    rows = rows_from_table(Plain(), SAMPLE)
    np.testing.assert_array_equal(rows.numbers, [[18, 1.5], [40.5, np.nan], [np.nan, 2000], [1, np.nan]])
    assert rows.categories.tolist() == [[3], [1], [0], [0]]


def test_categories_that_are_whole_numbers_are_found_however_they_are_written() -> None:
    model = Plain(columns=(InputColumn("floor", "category", ("1", "2", "3.0")),))
    rows = rows_from_table(model, {"floor": ["1", 2, 2.0, 3.0, 2.5, np.int64(1)]})
    assert rows.categories[:, 0].tolist() == [2, 3, 3, 4, 1, 2]


@pytest.mark.parametrize(
    ("change", "model", "said"),
    [
        ({"spend": ["1", "2", "x7", "4"]}, Plain(), "sample, column 'spend', row 3: 'x7' is not a number"),
        ({"spend": ["1", "2", "inf", "4"]}, Plain(), "sample, column 'spend', row 3: is infinite"),
        ({"spend": [1, 2, b"3", 4]}, Plain(), "sample, column 'spend', row 3: b'3' is not a number"),
        ({"spend": [1, 2, 3]}, Plain(), "sample: column 'spend' has 3 values, another has 4"),
        ({}, Plain(missing_allowed=False), "sample, column 'age', row 3: is missing, and the model refuses that"),
        (
            {"age": [1, 2, 3, 4]},
            Plain(unknown_allowed=False),
            "sample, column 'plan', row 2: 'gold' is unknown, and the model refuses that",
        ),
        ({name: [] for name in SAMPLE}, Plain(), "sample: has no rows"),
    ],
)
def test_a_wrong_sample_is_refused_with_column_row_and_remedy(
    change: dict[str, Sequence[Any]], model: Plain, said: str
) -> None:
    with pytest.raises(DataError) as caught:
        rows_from_table(model, {**SAMPLE, **change})
    assert str(caught.value).startswith(f"{said}; ")


def test_an_absent_column_is_named_with_those_that_are_needed() -> None:
    with pytest.raises(DataError, match=r"column 'plan' is absent.*age, plan, spend"):
        rows_from_table(Plain(), {"age": [1], "spend": [2]})


def test_single_rows_are_what_a_float32_graph_reads() -> None:
    rows = single(Rows(np.array([[0.1, 1e300, np.nan]]), np.empty((1, 0), np.int32)))
    np.testing.assert_array_equal(rows.numbers, [[float(np.float32(0.1)), np.inf, np.nan]])
