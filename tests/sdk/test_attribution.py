"""Attribution is exact: the parts of a score are the score, and those of a linear prediction the prediction."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nearhand.bundle.schema import Items, Policy, Precision, RuntimeName
from nearhand.errors import ModelError, UsageError
from nearhand.events import RecordedEvent
from nearhand.explain import (
    LANGUAGES,
    FeatureAttribution,
    attribute,
    contributions,
    explain,
    feature_phrase,
    feature_sentence,
    kinds_of,
    scores_without,
    view_columns,
)
from nearhand.explain.features import Direction, Kind
from nearhand.features import read_program
from nearhand.retrieval import HistoryFold, HistoryItem, Retriever
from nearhand.retrieval.history import HistoryEvent
from nearhand.runtime import installed_runtimes
from tests.conformance.programs import document, everything
from tests.sdk.any_program import program
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


@given(whitened())
def test_scores_without_are_those_of_the_model_refitted_without_each(
    case: tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float32]],
) -> None:
    history, confidences, items = case
    confidences[::5] = np.sign(confidences[::5])  # of 1 and −1, which do not change A
    found = scores_without(history, confidences, items)
    assert found.shape == (len(items), len(history))
    for at in range(len(history)):
        left = np.delete(history, at, axis=0), np.delete(confidences, at)
        np.testing.assert_allclose(found[:, at], exact_scores(*left, items), rtol=0, atol=1e-9)


def test_products_in_portions_are_the_products(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.Generator(np.random.PCG64(3))
    history, items = (generator.normal(0, 0.2, (count, 16)).astype(np.float32) for count in (40, 7))
    confidences = generator.choice([-2.0, 1.0, 3.0], 40)
    whole = contributions(history, confidences, items), scores_without(history, confidences, items)
    for most in (1, 100, 1000):
        monkeypatch.setattr("nearhand.explain.attribution._ONE_THREAD", most)
        portions = contributions(history, confidences, items), scores_without(history, confidences, items)
        for one, other in zip(whole, portions, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_without_an_item_that_is_all_there_is_nothing_can_be_solved() -> None:
    """Of −½ on a row of length 2, A would be −1 without the other one."""
    rows, confidences = np.array([[2.0], [2.0]], np.float32), np.array([0.5, 2.0])
    with pytest.raises(ModelError, match="cannot be solved"):
        scores_without(rows, confidences, rows)


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


@st.composite
def als(draw: st.DrawFn) -> tuple[list[HistoryItem], NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """A history with events, its whitened rows, those of recommended items, and the scores of a float32 encoder.

    Rows are of tastes, as those of a trained model are, and confidences positive, so scores are no small differences.
    """
    generator = np.random.Generator(np.random.PCG64(draw(st.integers(0, 2**32))))
    factors, length, items = draw(st.integers(2, 32)), draw(st.integers(1, 40)), draw(st.integers(1, 10))
    tastes = np.abs(generator.normal(size=(3, factors)))
    table = tastes[generator.integers(0, 3, 200)] + 0.1 * generator.normal(size=(200, factors))
    gram = table.T @ table + 5 * np.eye(factors)
    rows = np.linalg.solve(np.linalg.cholesky(gram), table.T).T.astype(np.float32)
    history = []
    for row in range(length):
        strengths = generator.choice([0.5, 1.0, 2.5], generator.integers(1, 5)).tolist()
        events = tuple(HistoryEvent(f"{row}-{at}", "item_viewed", each) for at, each in enumerate(strengths))
        history.append(HistoryItem(row, min(6.0, sum(strengths)), events))
    seen, asked = rows[:length], rows[100 : 100 + items]
    confidences = np.array([item.confidence for item in history], np.float32)
    matrix = np.eye(factors, dtype=np.float32) + (seen.T * (confidences - 1)) @ seen
    user = np.linalg.solve(matrix, seen.T @ confidences).astype(np.float32)
    return history, seen, asked, (asked @ user).astype(np.float64)


@given(als())
def test_of_a_trained_model_parts_sum_to_the_score_and_evidence_to_the_parts(
    case: tuple[list[HistoryItem], NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]],
) -> None:
    history, seen, asked, scores = case
    parts = contributions(seen, np.array([item.confidence for item in history]), asked)
    assert np.abs(parts.sum(axis=1) - scores).max() <= 1e-5 * np.abs(scores).max()
    names = tuple(f"i{row}" for row in range(len(history)))
    nothing = (0,) * len(names)
    items = Items(names, names, nothing, ((),) * len(names), ("",) * len(names), nothing)
    for row, explanation in zip(parts, explain(history, parts, items, {"item_viewed": "watched"}), strict=True):
        evidence = explanation.evidence
        assert math.fsum(one.contribution for one in evidence) == pytest.approx(math.fsum(row), rel=1e-9)
        shares = dict.fromkeys(names, 0.0)
        for one in evidence:
            shares[one.item_id] += one.contribution
        assert list(shares.values()) == pytest.approx(row.tolist(), rel=1e-9, abs=1e-15)


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


@pytest.mark.parametrize("disliked", [False, True])
def test_scores_without_are_what_the_runtime_computes_without_each(
    tiny: Tiny, variant: Variant, disliked: bool
) -> None:
    policy = tiny.manifest.retrieval.policy
    chosen = [(row, EVENTS[place % 5]) for place, row in enumerate([0, 6, 12, 1, 0, 18, 2, 30])]
    chosen += [(24, "item_disliked"), (3, "item_disliked")] if disliked else []

    def encoded(chosen: list[tuple[int, str]]) -> Any:
        history = fold_events(policy, chosen).history()
        return history.items, variant.retriever.encode(*history.padded(WINDOW))

    items, user = encoded(chosen)
    best = variant.retriever.retrieve(user.vector, exclude={item.row for item in items}, k=10).vectors[:10]
    confidences = np.array([item.confidence for item in items])
    found = scores_without(user.history_vectors[: len(items)], confidences, best)
    whole = best @ user.vector[0]
    for item, scores in zip(items, found.T, strict=True):
        _, other = encoded([(row, event) for row, event in chosen if row != item.row])
        assert np.abs(scores - best @ other.vector[0]).max() <= 1e-5 * np.abs(whole).max()
    assert np.abs(found - whole[:, None]).max() > 0.01 * np.abs(whole).max()


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


# --- attributions of features ----------------------------------------------------------------------------------------

NUMBERS = st.floats(-1e3, 1e3)


@st.composite
def linear(
    draw: st.DrawFn,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], dict[str, list[int]]]:
    """Weights, a row, typical values of which some are unknown, and features of one column or several."""
    columns = draw(st.integers(1, 12))
    weights, row = (np.array(draw(st.lists(NUMBERS, min_size=columns, max_size=columns))) for _ in range(2))
    typical = np.array(draw(st.lists(NUMBERS | st.just(math.nan), min_size=columns, max_size=columns)))
    owners = draw(st.lists(st.sampled_from("abcd"), min_size=columns, max_size=columns))
    return weights, row, typical, {name: [at for at in range(columns) if owners[at] == name] for name in "abcd"}


@given(linear())
def test_of_a_linear_model_the_contributions_sum_to_the_difference(
    case: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], dict[str, list[int]]],
) -> None:
    weights, row, typical, features = case
    calls: list[NDArray[np.float64]] = []

    def predict(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        calls.append(rows)
        return np.asarray(rows @ weights, np.float64) + 3

    found = attribute(predict, row, typical, features)
    reference = np.where(np.isnan(typical), row, typical)
    wanted = predict(row[None])[0] - predict(reference[None])[0]
    scale = max(1.0, float(np.abs(weights) @ (np.abs(row) + np.abs(reference))))
    assert sum(one.contribution for one in found) == pytest.approx(wanted, abs=1e-9 * scale)
    assert len(calls[0]) == 1 + len(found), "one batch: the row, and a copy for each feature"
    assert [abs(one.contribution) for one in found] == sorted((abs(one.contribution) for one in found), reverse=True)
    assert {one.name for one in found} == {
        name for name, columns in features.items() if not np.isnan(typical[columns]).all()
    }


def summed(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.nan_to_num(rows, nan=10.0).sum(axis=1), np.float64)


def attributed(
    row: list[float], typical: list[float], features: dict[str, Sequence[int]], kinds: dict[str, Kind] | None = None
) -> tuple[FeatureAttribution, ...]:
    return attribute(summed, np.array(row), np.array(typical), features, kinds)


def test_a_feature_says_how_it_differs() -> None:
    features: dict[str, Sequence[int]] = {
        "few": [0],
        "many": [1],
        "same": [2],
        "missing": [3],
        "genre": [4],
        "taste": [5, 6],
    }
    found = attributed(
        [1, 9, 5, math.nan, 3, 1, 2], [3, 5, 5, 5, 1, 1, 8], features, {"few": "count", "genre": "category"}
    )
    assert found == (
        FeatureAttribution("taste", None, None, -6.0, "different"),
        FeatureAttribution("missing", found[1].value, 5.0, 5.0, "different"),
        FeatureAttribution("many", 9.0, 5.0, 4.0, "higher"),
        FeatureAttribution("few", 1.0, 3.0, -2.0, "lower", "count"),
        FeatureAttribution("genre", 3.0, 1.0, 2.0, "different", "category"),
        FeatureAttribution("same", 5.0, 5.0, 0.0, "usual"),
    )
    assert math.isnan(found[1].value or 0.0)


def test_what_is_typical_of_some_columns_is_compared_in_these() -> None:
    found = attributed([1, 2], [math.nan, 2], {"taste": [0, 1]})
    assert found == (FeatureAttribution("taste", None, None, 0.0, "usual"),)
    assert attributed([1, 2], [math.nan, math.nan], {"taste": [0, 1], "empty": []}) == ()


def test_a_model_with_interactions_is_explained_one_feature_at_a_time() -> None:
    def both(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(rows[:, 0] * rows[:, 1], np.float64)

    found = attribute(both, np.array([3.0, 5.0]), np.array([1.0, 0.0]), {"a": [0], "b": [1]})
    assert [(one.name, one.contribution) for one in found] == [("b", 15.0), ("a", 10.0)]


@pytest.mark.parametrize(
    ("row", "typical", "features", "message"),
    [
        ([1.0], [1.0, 2.0], {"a": [0]}, "two arrays of one length"),
        ([[1.0]], [[1.0]], {"a": [0]}, "two arrays of one length"),
        ([1.0], [1.0], {"a": [1]}, "feature 'a': column 1 is not in the row; use the columns 0 to 0"),
        ([1.0], [1.0], {"a": [-1]}, "column -1 is not in the row"),
        ([1.0], [1.0], {"a": [0], "b": [0]}, "feature 'b': has column 0, which is of 'a'"),
    ],
)
def test_rows_and_features_that_do_not_fit_are_refused(
    row: list[float], typical: list[float], features: dict[str, Sequence[int]], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        attributed(row, typical, features)


@pytest.mark.parametrize(
    ("values", "message"),
    [([1.0, math.nan], "is not finite"), ([math.inf, 1.0], "is not finite"), ([1.0], r"has the shape \[1\]")],
)
def test_predictions_that_are_no_numbers_explain_nothing(values: list[float], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        attribute(lambda rows: np.array(values), np.array([1.0]), np.array([2.0]), {"a": [0]})


def test_the_columns_of_a_view_belong_together() -> None:
    names = ["films_7d", "genres.0", "genres.1", "last", "genres.mask.0", "context.a", "context.b", "last.mask"]
    assert view_columns(names) == {
        "films_7d": (0,), "genres": (1, 2, 4), "last": (3, 7), "context.a": (5,), "context.b": (6,),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "direction", "phrase"),
    [
        ("count", "lower", "fewer films 7d than usual"),
        ("count", "higher", "more films 7d than usual"),
        ("time", "lower", "less time since films 7d than usual"),
        ("time", "higher", "longer since films 7d than usual"),
        ("amount", "lower", "lower films 7d than usual"),
        ("amount", "higher", "higher films 7d than usual"),
        ("category", "different", "unusual films 7d"),
        ("count", "usual", "films 7d as usual"),
        ("count", "different", "unusual films 7d"),
    ],
)
def test_a_phrase_says_how_a_feature_differs(kind: Kind, direction: Direction, phrase: str) -> None:
    one = FeatureAttribution("films_7d", 1.0, 2.0, 0.5, direction, kind)
    assert feature_phrase(one) == phrase
    assert feature_phrase(one, "en", {"films_7d": "{new} 100% films"}) == phrase.replace("films 7d", "{new} 100% films")
    for locale in LANGUAGES:
        assert "films 7d" in feature_phrase(one, locale)


def test_a_feature_of_the_request_is_called_by_its_name() -> None:
    assert feature_phrase(FeatureAttribution("context.app_version", 1, 2, 3, "lower")) == "lower app version than usual"


@pytest.mark.parametrize(
    ("locale", "text"),
    [
        ("en", "Fewer films than usual and longer since the last visit than usual"),
        ("de-CH", "Weniger films als sonst und länger her als sonst: the last visit"),
        ("zh", "Films比平时少，距the last visit的时间比平时长"),
    ],
)
def test_a_sentence_names_the_strongest_features_that_differ(locale: str, text: str) -> None:
    found = (
        FeatureAttribution("same", 1.0, 1.0, 9.0, "usual"),
        FeatureAttribution("films_7d", 1.0, 2.0, -0.5, "lower", "count"),
        FeatureAttribution("hours_since", 2.0, 1.0, 0.4, "higher", "time"),
        FeatureAttribution("third", 2.0, 1.0, 0.3, "higher"),
    )
    assert feature_sentence(found, locale, {"films_7d": "films", "hours_since": "the last visit"}) == text


def test_where_all_is_as_usual_the_sentence_says_so() -> None:
    same, idle = FeatureAttribution("a", 1.0, 1.0, 0.0, "usual"), FeatureAttribution("b", 1.0, 2.0, 0.0, "lower")
    assert feature_sentence(()) == feature_sentence((same, idle)) == "Nothing unusual"
    assert feature_sentence((same,), "fr") == "Rien d'inhabituel"


def test_every_operator_s_view_has_a_kind() -> None:
    read = read_program(document("everything", everything()), place="everything.json")
    assert list(kinds_of(read)) == [view.name for view in read.views]
    assert set(kinds_of(read).values()) == {*get_args(Kind)} - {"time"}, "times there have a default of -1"


def test_the_kinds_of_the_operators() -> None:
    events = {"events": ["item_viewed"]}
    views = [
        {"op": "count", "name": "films", **events},
        {"op": "streak", "name": "streak", **events},
        {"op": "session", "name": "depth", "measure": "depth", **events},
        {"op": "session", "name": "dwell", "measure": "dwell", **events},
        {"op": "time_since", "name": "since", "default": 8760, **events},
        {"op": "time_since", "name": "since_or_never", **events},
        {"op": "mean", "name": "seconds", "value": "properties.seconds", **events},
        {"op": "local_hour", "name": "hour"},
        {"op": "context", "name": "battery", "key": "battery"},
        {"op": "context", "name": "device", "key": "device", "encode": {"buckets": 9}},
    ]
    assert kinds_of(read_program(json.dumps(program(*views)).encode(), place="p.json")) == {
        "films": "count", "streak": "count", "depth": "count", "dwell": "amount", "since": "time",
        "since_or_never": "category", "seconds": "amount", "hour": "category", "battery": "amount",
        "device": "category",
    }  # fmt: skip
