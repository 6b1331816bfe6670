"""Retrieval over plain numpy sessions, so that the order and the exclusions are all that is looked at; popularity."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nearhand.bundle.schema import TensorSpec
from nearhand.errors import ModelError
from nearhand.retrieval import Popularity, Retriever
from nearhand.runtime import Tensors

FACTORS = 2


class NumpyIndex:
    """An index that is right, in the least helpful order: worst candidate first. Keeps the k it was asked for."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    def __init__(self, table: NDArray[np.float32]) -> None:
        self.table = table
        self.asked: list[int] = []
        self.closed = False

    def run(self, tensors: Tensors) -> dict[str, NDArray[Any]]:
        k = int(tensors["k"][0])
        assert 1 <= k <= len(self.table)
        self.asked.append(k)
        scores = self.table @ tensors["user_vector"][0]
        rows = np.argsort(-scores, kind="stable")[:k][::-1].astype(np.int32)
        return {"candidate_rows": rows, "candidate_scores": scores[rows], "candidate_vectors": self.table[rows]}

    def close(self) -> None:
        self.closed = True


def make(scores: list[float], *, candidates: int = 4) -> tuple[Retriever, NumpyIndex]:
    """A retriever over items whose score for ``USER`` is as given."""
    table = np.array([[score, row] for row, score in enumerate(scores)], np.float32)
    index = NumpyIndex(table)
    return Retriever(NumpyIndex(table), index, items=len(scores), window=4, candidates=candidates), index


USER = np.array([[1, 0]], np.float32)


def test_the_best_come_first_and_equal_scores_by_lower_row() -> None:
    retriever, _ = make([1, 3, 2, 3, 2, 3], candidates=6)
    found = retriever.retrieve(USER, exclude=(), k=6)
    assert found.rows.tolist() == [1, 3, 5, 2, 4, 0]
    assert found.scores.tolist() == [3, 3, 3, 2, 2, 1]
    assert found.vectors[:, 1].tolist() == found.rows.tolist()


def test_negative_and_signed_zero_scores_are_ordered_too() -> None:
    retriever, _ = make([-1.0, 0.0, -0.0, -2.0])
    assert retriever.retrieve(USER, exclude=(), k=4).rows.tolist() == [1, 2, 0, 3]


def test_what_is_excluded_does_not_come_back_and_costs_no_place() -> None:
    retriever, index = make([9, 8, 7, 6, 5, 4, 3, 2, 1], candidates=3)
    found = retriever.retrieve(USER, exclude={0, 1, 3}, k=3)
    assert found.rows.tolist()[:3] == [2, 4, 5]
    assert index.asked == [6]


@pytest.mark.parametrize(("k", "asked"), [(1, 4), (4, 4), (5, 5), (8, 8), (9, 8), (10**12, 8)])
def test_at_least_the_policys_candidates_are_asked_for_and_never_more_than_there_are(k: int, asked: int) -> None:
    retriever, index = make([1.0] * 8)
    assert len(retriever.retrieve(USER, exclude=(), k=k).rows) == asked
    assert index.asked == [asked]


def test_everything_excluded_leaves_nothing_in_the_same_form() -> None:
    retriever, _ = make([1, 2])
    found = retriever.retrieve(USER, exclude={0, 1}, k=5)
    assert (found.rows.shape, found.scores.shape, found.vectors.shape) == ((0,), (0,), (0, FACTORS))
    assert (found.rows.dtype.name, found.scores.dtype.name) == ("int32", "float32")


@given(
    scores=st.lists(st.integers(-3, 3), min_size=1, max_size=30),
    exclude=st.sets(st.integers(0, 29)),
    k=st.integers(1, 40),
    candidates=st.integers(1, 10),
    spare=st.sampled_from([0, 2, 300]),
)
def test_the_list_is_the_sorted_catalogue_without_the_excluded(
    scores: list[int], exclude: set[int], k: int, candidates: int, spare: int
) -> None:
    exclude = {row for row in exclude if row < len(scores)}
    retriever, _ = make([float(score) for score in scores], candidates=candidates)
    as_mask = np.isin(np.arange(len(scores)), list(exclude))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nearhand.retrieval.retriever._SPARE", spare)
        found = retriever.retrieve(USER, exclude=exclude, k=k).rows.tolist()
        assert retriever.retrieve(USER, exclude=as_mask, k=k).rows.tolist() == found
    wanted = sorted((row for row in range(len(scores)) if row not in exclude), key=lambda row: (-scores[row], row))
    assert found[:k] == wanted[:k]
    assert found == wanted[: len(found)]


def test_where_much_is_excluded_no_more_is_asked_for_than_it_takes() -> None:
    retriever, index = make([float(-row) for row in range(2000)], candidates=5)
    assert retriever.retrieve(USER, exclude=range(1000, 2000), k=5).rows.tolist()[:5] == [0, 1, 2, 3, 4]
    assert index.asked == [305]
    index.asked.clear()
    assert retriever.retrieve(USER, exclude=range(1000), k=5).rows.tolist()[:5] == [1000, 1001, 1002, 1003, 1004]
    assert index.asked == [305, 1005]


@pytest.mark.parametrize("row", [-1, 3, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("exclude", [(), {0}])
def test_a_row_that_no_item_has_is_the_runtimes_fault(row: int, exclude: Collection[int]) -> None:
    retriever, index = make([1, 2, 3])
    run = index.run

    def wrong(tensors: Tensors) -> dict[str, NDArray[Any]]:
        outputs = run(tensors)
        outputs["candidate_rows"][1] = row
        return outputs

    index.run = wrong  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=r"index: gives item rows outside 0 … 2"):
        retriever.retrieve(USER, exclude=exclude, k=3)


def test_close_closes_both_sessions() -> None:
    retriever, index = make([1])
    retriever.close()
    assert index.closed


def test_popularity_is_by_count_then_by_row() -> None:
    rows, scores = Popularity([2, 5, 0, 5, 8]).top(exclude=(), k=10)
    assert rows.tolist() == [4, 1, 3, 0, 2]
    assert scores.tolist() == pytest.approx([0.4, 0.25, 0.25, 0.1, 0.0])
    assert (rows.dtype.name, scores.dtype.name) == ("int32", "float32")


def test_popularity_without_the_excluded() -> None:
    assert Popularity([2, 5, 0, 5, 8]).top(exclude={4, 3}, k=2)[0].tolist() == [1, 0]
    assert Popularity([2, 5]).top(exclude={0, 1}, k=2)[0].tolist() == []


def test_popularity_of_a_catalogue_nobody_met() -> None:
    rows, scores = Popularity([0, 0, 0]).top(exclude=(), k=2)
    assert rows.tolist() == [0, 1]
    assert scores.tolist() == [0, 0]
