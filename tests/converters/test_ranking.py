"""Metrics against their definitions, intervals against what they promise."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nearhand.bundle.document import decode
from nearhand.bundle.schema import Estimate
from nearhand_converters.parity.ranking import (
    Bootstrap,
    Targets,
    concentrated,
    decimal,
    ndcg_at,
    overlap_at,
    recall_at,
)
from nearhand_converters.parity.source import top_rows

ITEMS = 12


def one(ranking: list[int], targets: list[int], k: int) -> tuple[float, float]:
    """NDCG@k and Recall@k of one user."""
    wanted = Targets([np.array(targets, np.int32)], ITEMS)
    hits = wanted.hits(np.array([ranking], np.int32))
    return float(ndcg_at(k, hits, wanted.counts)[0]), float(recall_at(k, hits, wanted.counts)[0])


LOG3 = math.log2(3)


@pytest.mark.parametrize(
    ("ranking", "targets", "ndcg", "recall"),
    [
        ([0, 1, 2], [0], 1.0, 1.0),
        ([0, 1, 2], [1], 1 / LOG3, 1.0),
        ([0, 1, 2], [2], 0.5, 1.0),
        ([0, 1, 2], [3], 0.0, 0.0),
        ([0, 1, 2], [0, 1, 2], 1.0, 1.0),
        ([0, 1, 2], [0, 2], 1.5 / (1 + 1 / LOG3), 1.0),
        ([0, 1, 2], [1, 5], (1 / LOG3) / (1 + 1 / LOG3), 0.5),
        ([0, 1, 2], [0, 1, 2, 3], 1.0, 0.75),  # the ideal list has three places too
        ([4, -1, -1], [4, 5], 1 / (1 + 1 / LOG3), 0.5),  # a catalogue that has no more
    ],
)
def test_known_values(ranking: list[int], targets: list[int], ndcg: float, recall: float) -> None:
    assert one(ranking, targets, 3) == pytest.approx((ndcg, recall))


def test_without_targets_there_is_no_value() -> None:
    ndcg, recall = one([0, 1, 2], [], 3)
    assert math.isnan(ndcg)
    assert math.isnan(recall)


users = st.lists(
    st.tuples(st.permutations(range(ITEMS)), st.integers(0, ITEMS), st.sets(st.integers(0, ITEMS - 1), min_size=1)),
    min_size=1,
    max_size=6,
)


def _rankings(rows: list[list[int]]) -> NDArray[np.int32]:
    return np.array([row + [-1] * (ITEMS - len(row)) for row in rows], np.int32)


@given(users=users, k=st.integers(1, ITEMS))
def test_metrics_are_their_definitions(users: list[tuple[list[int], int, set[int]]], k: int) -> None:
    lists = [list(order)[:length] for order, length, _ in users]
    wanted = [targets for *_, targets in users]
    targets = Targets([np.array(sorted(own), np.int32) for own in wanted], ITEMS)
    hits = targets.hits(_rankings(lists))
    gains = [sum(1 / math.log2(i + 2) for i, item in enumerate(row[:k]) if item in own)
             for row, own in zip(lists, wanted, strict=True)]  # fmt: skip
    ideals = [sum(1 / math.log2(i + 2) for i in range(min(k, len(own)))) for own in wanted]
    np.testing.assert_allclose(ndcg_at(k, hits, targets.counts), np.array(gains) / ideals)
    recalls = [len(own & set(row[:k])) / len(own) for row, own in zip(lists, wanted, strict=True)]
    np.testing.assert_allclose(recall_at(k, hits, targets.counts), recalls)


@given(users=users, among=st.sets(st.integers(0, ITEMS - 1)))
def test_some_targets_alone(users: list[tuple[list[int], int, set[int]]], among: set[int]) -> None:
    chosen = np.isin(np.arange(ITEMS), sorted(among))
    lists = _rankings([list(order)[:length] for order, length, _ in users])
    every = Targets([np.array(sorted(own), np.int32) for *_, own in users], ITEMS)
    fewer = Targets([np.array(sorted(own & among), np.int32) for *_, own in users], ITEMS)
    np.testing.assert_array_equal(every.only(chosen).counts, fewer.counts)
    np.testing.assert_array_equal(every.only(chosen).hits(lists), fewer.hits(lists))


@given(
    pairs=st.lists(
        st.tuples(st.permutations(range(ITEMS)), st.permutations(range(ITEMS)), st.integers(1, ITEMS)), min_size=1
    ),
    k=st.integers(1, ITEMS),
)
def test_overlap_is_its_definition(pairs: list[tuple[list[int], list[int], int]], k: int) -> None:
    mine = [list(own) for own, *_ in pairs]
    theirs = [list(other)[:length] for _, other, length in pairs]
    expected = [len(set(a[:k]) & set(b[:k])) / len(b[:k]) for a, b in zip(mine, theirs, strict=True)]
    np.testing.assert_allclose(overlap_at(k, _rankings(mine), _rankings(theirs)), expected)


def bounds(estimate: Estimate) -> list[float]:
    return [float(number) for number in (estimate.value, estimate.low, estimate.high)]


def test_the_interval_of_a_mean_holds_it_and_narrows_with_more_users() -> None:
    generator = np.random.Generator(np.random.PCG64(1))
    widths = []
    for count in (50, 500, 5000):
        metric = generator.random(count)
        estimate = Bootstrap(count, 1000).mean(metric)
        assert estimate.low < estimate.value < estimate.high
        assert estimate.value == decimal(float(metric.mean()))
        widths.append(float(estimate.high - estimate.low))
    # As 1/√n: 1.96 · 2 · σ/√n with σ = 1/√12.
    np.testing.assert_allclose(widths, [3.92 / math.sqrt(12 * n) for n in (50, 500, 5000)], rtol=0.2)


def test_a_model_against_itself_has_no_interval() -> None:
    metric = np.random.Generator(np.random.PCG64(2)).random(40)
    estimate = Bootstrap(40, 200).relative_change(metric, metric.copy())
    assert bounds(estimate) == [0, 0, 0]


def test_pairing_takes_what_is_common_out() -> None:
    """The users differ widely, the loss is the same for each: paired, its interval is a point."""
    metric = np.random.Generator(np.random.PCG64(3)).random(40) + 0.1
    estimate = Bootstrap(40, 200).relative_change(0.9 * metric, metric)
    assert bounds(estimate) == [-0.1, -0.1, -0.1]


def test_the_interval_covers_the_truth_at_about_its_rate() -> None:
    """A true loss of 4 % among 60 users, 300 times over; 95 % of 300 is 285, and 264 is five deviations below."""
    generator = np.random.Generator(np.random.PCG64(4))
    bootstrap = Bootstrap(60, 400)
    covered = 0
    for _ in range(300):
        reference = generator.gamma(4.0, 0.1, 60)
        metric = reference * (0.96 + 0.1 * generator.normal(size=60))
        estimate = bootstrap.relative_change(metric, reference)
        covered += estimate.low <= Decimal("-0.04") <= estimate.high
    assert 264 <= covered <= 298


def test_intervals_are_the_same_again_and_independent_of_the_other_metrics() -> None:
    metric, other = np.random.Generator(np.random.PCG64(5)).random((2, 30))
    first = Bootstrap(30, 100)
    first.mean(other)
    assert first.mean(metric) == Bootstrap(30, 100).mean(metric) == first.mean(metric)
    assert Bootstrap(30, 100, seed=1).mean(metric) != first.mean(metric)


def test_a_slice_counts_its_own_users_only() -> None:
    metric, reference = np.array([0.5, 0.5, 9.0]), np.array([1.0, 1.0, 1.0])
    estimate = Bootstrap(3, 50).relative_change(metric, reference, np.array([True, True, False]))
    assert bounds(estimate)[:2] == [-0.5, -0.5]
    assert bounds(estimate)[2] <= 0  # where none of its users was drawn


@pytest.mark.parametrize(("metric", "change"), [(0.0, 0), (0.3, 1)])
def test_a_reference_of_nothing_gives_a_finite_change(metric: float, change: int) -> None:
    """A manifest holds no NaN; a gain over nothing has no size, and is no loss."""
    estimate = Bootstrap(5, 50).relative_change(np.full(5, metric), np.zeros(5))
    assert bounds(estimate) == [change] * 3
    nobody = Bootstrap(5, 50).relative_change(np.full(5, metric), np.zeros(5), np.zeros(5, np.bool_))
    assert bounds(nobody) == [0, 0, 0]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40))
def test_the_head_is_the_fewest_items_with_half_of_everything(popularity: list[int]) -> None:
    head = concentrated(popularity)
    counts = sorted(popularity, reverse=True)
    inside = [count for count, chosen in zip(popularity, head, strict=True) if chosen]
    assert sorted(inside, reverse=True) == counts[: len(inside)]
    assert 2 * sum(inside) >= sum(popularity)
    assert len(inside) == 1 or 2 * sum(counts[: len(inside) - 1]) < sum(popularity)


def test_known_heads() -> None:
    np.testing.assert_array_equal(concentrated([1, 8, 1, 2]), [False, True, False, False])
    np.testing.assert_array_equal(concentrated([5, 5, 5, 5]), [True, True, False, False])


@given(
    scores=st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0, -0.0]), min_size=1, max_size=30),
    exclude=st.sets(st.integers(0, 29)),
    k=st.integers(1, 40),
)
def test_top_rows_are_a_plain_sort(scores: list[float], exclude: set[int], k: int) -> None:
    """Few distinct scores: ties lie at every edge."""
    excluded = {row for row in exclude if row < len(scores)}
    left = [row for row in range(len(scores)) if row not in excluded]
    found = top_rows(np.array(scores), excluded, k)
    assert found.dtype == np.int32
    assert found.tolist() == sorted(left, key=lambda row: (-scores[row], row))[:k]


@given(value=st.floats(-1e12, 1e12), places=st.integers(0, 9))
def test_decimals_are_what_the_manifest_reads(value: float, places: int) -> None:
    number = decimal(value, places)
    assert decode(Decimal, str(number), place="") == number
    assert abs(float(number) - value) <= 0.5 * 10.0**-places + 1e-3 * (abs(value) > 1e6)
