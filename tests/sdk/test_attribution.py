"""Attribution is exact: the parts of a score are the score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nearhand.bundle.schema import Policy, Precision, RuntimeName
from nearhand.errors import ModelError
from nearhand.events import RecordedEvent
from nearhand.explain import contributions, explain
from nearhand.retrieval import HistoryFold, HistoryItem, Retriever
from nearhand.runtime import installed_runtimes
from tests.tiny import ITEMS, PRECISIONS, WINDOW, Tiny

EVENTS = ("item_viewed", "item_clicked", "item_saved", "item_liked", "item_purchased", "item_disliked")


@dataclass(frozen=True)
class Variant:
    name: RuntimeName
    precision: Precision
    retriever: Retriever


VARIANTS = [(name, precision) for name in installed_runtimes() for precision in PRECISIONS]


@pytest.fixture(scope="module", params=VARIANTS, ids="/".join)
def variant(request: pytest.FixtureRequest, tiny: Tiny) -> Iterator[Variant]:
    name, precision = request.param
    runtime, files = installed_runtimes()[name](), tiny.files(name, precision)
    retriever = Retriever(
        runtime.load(files.encoder), runtime.load(files.index), items=ITEMS, window=WINDOW, candidates=100
    )
    yield Variant(name, precision, retriever)
    retriever.close()


@st.composite
def whitened(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float32]]:
    """Whitened history rows, confidences of both signs, and item rows."""
    generator = np.random.Generator(np.random.PCG64(draw(st.integers(0, 2**32))))
    factors, length, items = draw(st.integers(1, 12)), draw(st.integers(0, 20)), draw(st.integers(1, 5))
    table = generator.normal(size=(length + items + 5, factors))
    gram = table.T @ table + draw(st.sampled_from([1e-3, 0.1, 10.0])) * np.eye(factors)
    rows = np.linalg.solve(np.linalg.cholesky(gram), table.T).T.astype(np.float32)
    strength = st.floats(0.25, 40) | st.floats(-40, -0.25)
    confidences = np.array(draw(st.lists(strength, min_size=length, max_size=length)), np.float64)
    return rows[:length], confidences, rows[length : length + items]


def exact_scores(
    history: NDArray[np.float32], confidences: NDArray[np.float64], items: NDArray[np.float32]
) -> NDArray[np.float64]:
    """The scores by the textbook: each event a term of the normal equations, then an inner product."""
    matrix, right = np.eye(history.shape[1]), np.zeros(history.shape[1])
    for row, confidence in zip(history.astype(np.float64), confidences.tolist(), strict=True):
        matrix += (abs(confidence) - 1) * np.outer(row, row)
        right += max(confidence, 0.0) * row
    scores: NDArray[np.float64] = items.astype(np.float64) @ np.linalg.solve(matrix, right)
    return scores


def test_a_matrix_that_cannot_be_solved_is_a_model_error() -> None:
    """A confidence of 0 on a unit row makes A singular; no trained model has such rows."""
    row = np.array([[1.0, 0.0]], np.float32)
    with pytest.raises(ModelError, match="cannot be solved"):
        contributions(row, np.array([0.0]), row)


@given(whitened())
def test_contributions_sum_to_the_exact_score(
    case: tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float32]],
) -> None:
    history, confidences, items = case
    parts = contributions(history, confidences, items)
    assert parts.shape == (len(items), len(history))
    assert np.abs(parts.sum(axis=1) - exact_scores(history, confidences, items)).max() < 1e-9


@given(whitened())
def test_a_dislike_has_no_part_of_its_own_and_still_counts(
    case: tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float32]],
) -> None:
    history, confidences, items = case
    parts = contributions(history, confidences, items)
    assert not parts[:, confidences < 0].any()
    liked = confidences > 0
    without = contributions(history[liked], confidences[liked], items)
    # Dislikes work through the matrix only, so where all are of confidence −1 they change nothing at all.
    weak = np.where(liked, confidences, -1.0)
    np.testing.assert_allclose(contributions(history, weak, items)[:, liked], without, rtol=0, atol=1e-9)


@given(whitened(), st.data())
def test_removing_an_item_without_contribution_changes_no_score(
    case: tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float32]], data: st.DataObject
) -> None:
    """An item of zero factors contributes nothing, and is nothing."""
    history, confidences, items = case
    at = data.draw(st.integers(0, len(history)))
    with_nobody = np.insert(history, at, 0, axis=0)
    parts = contributions(with_nobody, np.insert(confidences, at, 5.0), items)
    assert not parts[:, at].any()
    np.testing.assert_allclose(
        np.delete(parts, at, axis=1), contributions(history, confidences, items), rtol=0, atol=1e-12
    )


@given(whitened(), st.randoms(use_true_random=False))
def test_the_order_of_the_history_does_not_matter(
    case: tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float32]], random: object
) -> None:
    history, confidences, items = case
    order = np.random.Generator(np.random.PCG64(1)).permutation(len(history))
    shuffled = contributions(history[order], confidences[order], items)
    np.testing.assert_allclose(shuffled, contributions(history, confidences, items)[:, order], rtol=0, atol=1e-9)


def test_no_history_no_parts() -> None:
    parts = contributions(np.zeros((0, 3), np.float32), np.zeros(0), np.ones((2, 3), np.float32))
    assert parts.shape == (2, 0)


def test_one_item_of_confidence_one_is_an_inner_product() -> None:
    history, items = np.array([[0.5, 0.25]], np.float32), np.array([[1, 2], [3, 4]], np.float32)
    assert contributions(history, np.array([1.0]), items).tolist() == [[1.0], [2.5]]


# With the real bundle, from events to evidence.


def fold_events(policy: Policy, chosen: list[tuple[int, str]]) -> HistoryFold:
    fold = HistoryFold(policy, {f"m_{row}": row for row in range(ITEMS)})
    fold.fold(
        RecordedEvent(f"e{number}", number, number, number, 0, event, f"m_{row}", None, None, 0, {}, {})
        for number, (row, event) in enumerate(chosen, start=1)
    )
    return fold


def parts_of(
    variant: Variant, fold: HistoryFold
) -> tuple[tuple[HistoryItem, ...], NDArray[np.float32], NDArray[np.float64]]:
    """The history, the runtime's ten best scores, and their parts, by the path that the device takes."""
    history = fold.history()
    user = variant.retriever.encode(*history.padded(WINDOW))
    rows = {item.row for item in history.items}
    best = variant.retriever.retrieve(user.vector, exclude=rows, k=10).take(np.arange(10))
    confidences = np.array([item.confidence for item in history.items])
    return history.items, best.scores, contributions(user.history_vectors[: len(rows)], confidences, best.vectors)


# Few items, most of one taste, so that events repeat on an item, and likes meet dislikes.
FEW = [*range(0, 120, 6), 1, 2, 3, ITEMS - 1]
chosen_events = st.lists(
    st.tuples(st.sampled_from(FEW), st.sampled_from(EVENTS)),
    min_size=1,
    max_size=80,
)


@settings(max_examples=60)
@given(chosen_events)
def test_evidence_sums_to_the_score_that_the_runtime_computed(
    tiny: Tiny, variant: Variant, chosen: list[tuple[int, str]]
) -> None:
    history, scores, parts = parts_of(variant, fold_events(tiny.manifest.retrieval.policy, chosen))
    largest = max(float(np.abs(scores).max()), 1e-30)
    assert np.abs(parts.sum(axis=1) - scores).max() <= 1e-5 * largest
    if not any(item.confidence > 0 for item in history):
        assert not scores.any()
    for score, row in zip(scores.tolist(), parts, strict=True):
        (explanation,) = explain(history, row[None], tiny.items, tiny.manifest.retrieval.policy.verbs)
        evidence = explanation.evidence
        assert sum(one.contribution for one in evidence) == pytest.approx(score, abs=1e-5 * largest)
        assert len(evidence) == sum(len(item.events) for item in history)


@settings(max_examples=40)
@given(chosen_events)
def test_the_events_of_an_item_sum_to_the_items_part(
    tiny: Tiny, variant: Variant, chosen: list[tuple[int, str]]
) -> None:
    history, _, parts = parts_of(variant, fold_events(tiny.manifest.retrieval.policy, chosen))
    policy = tiny.manifest.retrieval.policy
    for row in parts:
        (explanation,) = explain(history, row[None], tiny.items, policy.verbs)
        for item, part in zip(history, row.tolist(), strict=True):
            own = [one for one in explanation.evidence if one.item_id == f"m_{item.row}"]
            assert sum(one.contribution for one in own) == pytest.approx(part, rel=1e-9, abs=1e-12)
            assert {one.event_id for one in own} == {event.event_id for event in item.events}
            # Within an item the shares are as the confidences.
            raw = sum((policy.confidences[one.event] for one in own), start=Decimal(0))
            for one in own:
                wanted = part * float(policy.confidences[one.event] / raw)
                assert one.contribution == pytest.approx(wanted, rel=1e-9, abs=1e-12)
