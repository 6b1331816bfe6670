"""The encoder against the exact solve, and the exact solve against implicit ALS itself."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from nearhand.retrieval import padded
from nearhand_converters.errors import SourceError
from nearhand_converters.graph.fold_in import (
    MAX_STEPS,
    FoldIn,
    fold_in_exact,
    fold_in_graph,
    fold_in_steps,
    whiten,
)
from nearhand_converters.parity.source import SourceModel
from nearhand_converters.sources.factors import FactorModel
from tests.converters.engines import OnnxModel, TFLiteModel, relative_error
from tests.converters.factors import TOPICS, checkerboard, history_of, power_law_factors, whitened

STRENGTHS = np.array([0.5, 1.0, 1.5, 2.0, 5.0, -0.5, -1.5, -5.0])
"""What sums of the default recipe's events come to, up to the cap of 5."""
ITEMS = 2000
ROUNDING = 2.0**-24


@cache
def encoders(factors: int, window: int, alpha: float) -> tuple[NDArray[np.float32], tuple[OnnxModel, TFLiteModel]]:
    """The table, and the encoder on both engines with the steps that a conversion would choose."""
    table = whitened(ITEMS, factors)
    graph = fold_in_graph(FoldIn(table, window, fold_in_steps(5 * alpha, 0.5 * alpha)))
    return table, (OnnxModel(graph), TFLiteModel(graph))


def encode(
    engine: OnnxModel | TFLiteModel, rows: NDArray[np.int32], confidences: NDArray[np.float32], window: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The user vector [factors] and the history vectors; neither holds a NaN or an infinity."""
    padded_rows, padded_confidences = padded(rows.tolist(), confidences.tolist(), window)
    outputs = engine.run({"history_rows": padded_rows, "history_confidences": padded_confidences})
    assert all(np.isfinite(output).all() for output in outputs.values())
    return outputs["user_vector"][0], outputs["history_vectors"]


@settings(max_examples=60)
@given(
    shape=st.sampled_from([(8, 1), (8, 512), (32, 16), (64, 256), (128, 64), (128, 512)]),
    alpha=st.sampled_from([1.0, 2.0, 10.0, 40.0]),
    fill=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
@example(shape=(128, 512), alpha=40.0, fill=1.0, seed=0)
@example(shape=(8, 512), alpha=40.0, fill=1.0, seed=0)
@example(shape=(128, 512), alpha=1.0, fill=1.0, seed=0)
@example(shape=(64, 256), alpha=40.0, fill=0.0, seed=0)
def test_is_the_exact_solve_on_both_engines(shape: tuple[int, int], alpha: float, fill: float, seed: int) -> None:
    factors, window = shape
    table, engines = encoders(factors, window, alpha)
    rows, confidences = history_of(round(fill * window), ITEMS, STRENGTHS * alpha, seed)
    exact = fold_in_exact(table, rows, confidences)
    for engine in engines:
        user, vectors = encode(engine, rows, confidences, window)
        np.testing.assert_array_equal(vectors[: len(rows)], table[rows])
        assert not vectors[len(rows) :].any()
        if len(rows) == 0:
            assert not user.any()
        else:
            assert relative_error(user, exact) <= 1e-5


@settings(max_examples=25)
@given(
    magnitudes=st.lists(st.floats(0.05, 1.0), min_size=1, max_size=64),
    dislikes=st.integers(0, 2**64 - 1),
)
def test_confidences_below_one(magnitudes: list[float], dislikes: int) -> None:
    """A confidence below that of an item never met takes weight out of the matrix; it stays positive definite."""
    signed = [-m if dislikes >> i & 1 else m for i, m in enumerate(magnitudes)]
    confidences = np.array([abs(signed[0]), *signed[1:]], np.float32)
    table, onnx_model, tflite_model = _weak_encoders()
    rows = np.arange(len(confidences), dtype=np.int32) * 17
    for engine in (onnx_model, tflite_model):
        user, _ = encode(engine, rows, confidences, 64)
        assert relative_error(user, fold_in_exact(table, rows, confidences)) <= 1e-5


@cache
def _weak_encoders() -> tuple[NDArray[np.float32], OnnxModel, TFLiteModel]:
    table = whitened(ITEMS, 32)
    graph = fold_in_graph(FoldIn(table, 64, fold_in_steps(5.0, 0.05)))
    return table, OnnxModel(graph), TFLiteModel(graph)


@pytest.mark.parametrize("alpha", [1.0, 4.0, 40.0])
@pytest.mark.parametrize("items", [2, 8, 40])
def test_history_that_is_the_whole_catalogue(items: int, alpha: float) -> None:
    """The worst case for the condition: no other item holds the whitened rows' lengths down."""
    table = whitened(items, 32, regularization=1e-4)
    graph = fold_in_graph(FoldIn(table, items, fold_in_steps(5 * alpha, 0.5 * alpha)))
    rows, confidences = history_of(items, items, STRENGTHS * alpha)
    condition = 5 * alpha / min(1.0, 0.5 * alpha)
    for engine in (OnnxModel(graph), TFLiteModel(graph)):
        user, _ = encode(engine, rows, confidences, items)
        # What float32 can give: its rounding times the condition number.
        assert relative_error(user, fold_in_exact(table, rows, confidences)) <= max(1e-5, 4 * condition * ROUNDING)


@pytest.mark.parametrize("length", range(17))
def test_every_length_of_history(length: int) -> None:
    table, engines = encoders(32, 16, 2.0)
    rows, confidences = history_of(length, ITEMS, STRENGTHS * 2, seed=length)
    for engine in engines:
        user, _ = encode(engine, rows, confidences, 16)
        exact = fold_in_exact(table, rows, confidences)
        assert np.linalg.norm(user - exact) <= 1e-5 * np.linalg.norm(exact)


def test_empty_history_gives_exactly_zeros() -> None:
    _, engines = encoders(32, 16, 2.0)
    nothing = np.empty(0, np.int32), np.empty(0, np.float32)
    for engine in engines:
        user, vectors = encode(engine, *nothing, 16)
        assert not user.any()
        assert not vectors.any()


def test_only_dislikes_give_exactly_zeros() -> None:
    table, engines = encoders(32, 16, 2.0)
    rows, confidences = np.arange(3, dtype=np.int32), np.full(3, -3, np.float32)
    assert not fold_in_exact(table, rows, confidences).any()
    assert not any(encode(engine, rows, confidences, 16)[0].any() for engine in engines)


@pytest.mark.parametrize("row", [-1, -2, ITEMS, ITEMS + 1, 10**6, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("confidence", [0.0, 1.0, -200.0, 1e30])
def test_rows_outside_the_catalogue_contribute_nothing(row: int, confidence: float) -> None:
    _, engines = encoders(32, 16, 2.0)
    rows, confidences = history_of(5, ITEMS, STRENGTHS * 2)
    foreign = np.insert(rows, 2, row).astype(np.int32), np.insert(confidences, 2, confidence).astype(np.float32)
    for engine in engines:
        expected, _ = encode(engine, rows, confidences, 16)
        user, vectors = encode(engine, *foreign, 16)
        np.testing.assert_allclose(user, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
        assert not vectors[2].any()


def test_the_first_and_last_row_of_the_catalogue_are_in_it() -> None:
    table, engines = encoders(32, 16, 2.0)
    for row in (0, ITEMS - 1):
        for engine in engines:
            user, vectors = encode(engine, np.array([row], np.int32), np.ones(1, np.float32), 16)
            np.testing.assert_array_equal(vectors[0], table[row])
            np.testing.assert_allclose(user, table[row], rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 40, MAX_STEPS])
def test_surplus_steps_change_nothing(steps: int) -> None:
    """With one item the first step is exact, and every later quotient is 0/0 but for the guard."""
    table = whitened(50, 8)
    table[3] = 0
    graph = fold_in_graph(FoldIn(table, 4, steps))
    for engine in (OnnxModel(graph), TFLiteModel(graph)):
        for rows in ([7], [3], [3, 7], []):
            history = np.array(rows, np.int32), np.full(len(rows), 5, np.float32)
            user, _ = encode(engine, *history, 4)
            np.testing.assert_allclose(user, fold_in_exact(table, *history), rtol=1e-5, atol=1e-7)


@settings(max_examples=40)
@given(length=st.integers(0, 60), regularization=st.floats(1e-3, 100), seed=st.integers(0, 2**32))
def test_whitened_scores_are_those_of_the_normal_equations(length: int, regularization: float, seed: int) -> None:
    factors = power_law_factors(80, 12, seed)
    rows, confidences = history_of(length, 80, STRENGTHS * 3, seed)
    table = whiten(factors, regularization)
    expected = SourceModel(FactorModel(factors, regularization, 3.0, "")).scores(rows, confidences.astype(np.float64))
    scale = max(float(np.abs(expected).max()), 1e-300)
    np.testing.assert_allclose(table @ fold_in_exact(table, rows, confidences) / scale, expected / scale, atol=1e-10)


@pytest.mark.parametrize(("scale", "regularization"), [(1e200, 0.1), (1.0, 1e-300)], ids=["overflow", "singular"])
def test_factors_that_cannot_be_whitened_are_refused(scale: float, regularization: float) -> None:
    factors = np.ones((5, 3)) * scale
    with pytest.raises(SourceError, match="larger regularization"):
        whiten(factors, regularization)


def test_whitened_rows_are_a_partition_of_unity() -> None:
    """ZᵀZ = I − λ(LLᵀ)⁻¹: what bounds the condition number."""
    factors = power_law_factors(300, 16)
    table = whiten(factors, 0.5)
    gram = factors.T @ factors + 0.5 * np.eye(16)
    spectrum = np.linalg.eigvalsh(table.T @ table)
    assert 0 <= spectrum.min() <= spectrum.max() < 1
    np.testing.assert_allclose(spectrum, np.sort(1 - 0.5 / np.linalg.eigvalsh(gram)), atol=1e-12)


def train(factors: int) -> AlternatingLeastSquares:
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=factors, regularization=0.05, alpha=7.0, iterations=10, random_state=1, num_threads=1, use_cg=False
        )
        model.fit(checkerboard(120, 80), show_progress=False)
    return model


def test_is_implicits_own_user() -> None:
    """``recalculate_user`` solves for alpha × the values of the matrix; so do we, for those confidences."""
    trained, liked = train(16), checkerboard(120, 80)
    with threadpool_limits(1, "blas"):
        theirs = np.vstack([trained.recalculate_user(user, liked[user]) for user in range(120)])
    factors = trained.item_factors.astype(np.float64)
    table = whiten(factors, 0.05)
    for user in range(120):
        rows = liked[user].indices
        ours = table @ fold_in_exact(table, rows, np.full(len(rows), 7.0))
        expected = factors @ theirs[user].astype(np.float64)
        np.testing.assert_allclose(ours, expected, atol=1e-4 * np.abs(expected).max())


def test_checkerboard_users_get_items_of_their_block() -> None:
    """As many factors as there are blocks: more would learn by heart what each user lacks."""
    trained, liked = train(TOPICS), checkerboard(120, 80)
    table = whiten(trained.item_factors.astype(np.float64), 0.05).astype(np.float32)
    graph = fold_in_graph(FoldIn(table, 20, fold_in_steps(35.0)))
    for engine in (OnnxModel(graph), TFLiteModel(graph)):
        for user in range(TOPICS * 2):
            rows = liked[user].indices.astype(np.int32)
            vector, _ = encode(engine, rows, np.full(len(rows), 7, np.float32), 20)
            scores = table @ vector
            scores[rows] = -np.inf
            assert set(np.argsort(-scores)[:4] % TOPICS) == {user % TOPICS}


@pytest.mark.parametrize("condition", [1.0, 1.5, 3.0, 10.0, 50.0, 200.0])
def test_the_bound_on_steps_is_kept_on_the_worst_spectrum(condition: float) -> None:
    """Chebyshev nodes fill [1, κ] as conjugate gradient likes them least."""
    steps = fold_in_steps(condition)
    assert steps < MAX_STEPS  # the cap is not what this is about
    nodes = np.cos(np.pi * (np.arange(300) + 0.5) / 300)
    spectrum = (condition + 1) / 2 + (condition - 1) / 2 * nodes
    assert _energy_error(spectrum, steps) <= 1e-7
    if condition > 1:
        assert _energy_error(spectrum, steps // 2) > 1e-7


@pytest.mark.parametrize(("largest", "smallest"), [(10.0, 0.5), (5.0, 0.1), (1.0, 0.05)])
def test_the_bound_counts_confidences_below_one(largest: float, smallest: float) -> None:
    assert fold_in_steps(largest, smallest) == fold_in_steps(largest / smallest)
    assert fold_in_steps(0.5, 2.0) == fold_in_steps(1.0) == 1


def test_the_bound_is_capped() -> None:
    assert fold_in_steps(1e9) == MAX_STEPS


def _energy_error(spectrum: NDArray[np.float64], steps: int) -> float:
    """Relative error, in the matrix's norm, of textbook conjugate gradient after ``steps`` on diag(spectrum)·x = 1."""
    exact = 1 / spectrum
    solution, residual = np.zeros_like(spectrum), np.ones_like(spectrum)
    direction, norm = residual, residual @ residual
    for _ in range(steps):
        length = norm / (direction @ (spectrum * direction))
        solution = solution + length * direction
        residual = residual - length * spectrum * direction
        previous, norm = norm, residual @ residual
        if norm == 0:
            break
        direction = residual + norm / previous * direction
    error = solution - exact
    return float(np.sqrt(error @ (spectrum * error) / (exact @ (spectrum * exact))))
