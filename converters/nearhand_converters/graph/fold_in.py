"""The encoder of implicit ALS: a history of item rows and confidences → the user vector, solved inside the graph.

Implicit ALS (Hu, Koren, Volinsky 2008) gives a user with confidences c over items with factors y the vector

    x = (YᵀY + λI + Σ (c−1)·y yᵀ)⁻¹ Σ c·y .

With LLᵀ = YᵀY + λI, whitened rows z = L⁻¹y and w = Lᵀx this is

    w = (I + Σ (c−1)·z zᵀ)⁻¹ Σ c·z ,   score of item i = y_iᵀx = z_iᵀw ,

so the Gram matrix of the whole catalogue is gone from the graph, and encoder and index hold the same table Z.
Because ZᵀZ = I − λ(LLᵀ)⁻¹ ≼ I, distinct items with confidences between c_min ≤ 1 and c_max ≥ 1 give a matrix between
c_min·I and c_max·I: its condition number is at most c_max/c_min, and that bounds the conjugate gradient's steps before
anything is measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from nearhand_converters.errors import SourceError
from nearhand_converters.graph.builder import GraphBuilder

MAX_STEPS = 128
"""Enough for c_max/c_min = 230, so for a cap of five interactions at alpha = 40; about a millisecond on a desktop."""


def whiten(item_factors: NDArray[np.float64], regularization: float) -> NDArray[np.float64]:
    """Whitened item rows Z = Y·L⁻ᵀ, float64 [items, factors].

    Raises:
        SourceError: the factors are so large, or λ so small, that YᵀY + λI has no Cholesky factor in float64.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        gram = item_factors.T @ item_factors + regularization * np.eye(item_factors.shape[1])
    try:
        if not np.isfinite(gram).all():
            raise np.linalg.LinAlgError("it overflows")
        lower = np.linalg.cholesky(gram)
    except np.linalg.LinAlgError as error:
        problem = f"the matrix of their inner products, plus regularization {regularization}, is singular ({error})"
        raise SourceError(problem, place="item_factors", remedy="train with a larger regularization") from error
    return np.linalg.solve(lower, item_factors.T).T


def fold_in_exact(
    table: NDArray[np.floating], rows: NDArray[np.integer], confidences: NDArray[np.floating]
) -> NDArray[np.float64]:
    """The reference: the user vector of one history by a direct float64 solve, [factors].

    Args:
        table: whitened item rows [items, factors].
        rows: item rows of the history, distinct, [n]; n may be 0.
        confidences: their ALS confidences [n]; a negative one is a dislike of that strength.
    """
    history = table[rows].astype(np.float64)
    strength = np.asarray(confidences, dtype=np.float64)
    matrix = np.eye(table.shape[1]) + (history.T * (np.abs(strength) - 1)) @ history
    return np.linalg.solve(matrix, np.maximum(strength, 0) @ history)


def fold_in_steps(max_confidence: float, min_confidence: float = 1.0, tolerance: float = 1e-7) -> int:
    """Conjugate-gradient steps that bring the relative error (in the matrix's norm) under ``tolerance``.

    The classical bound 2·((√κ−1)/(√κ+1))ⁿ with κ = c_max/c_min as the module says, but at most ``MAX_STEPS``: beyond
    it the bound is pessimistic, and the parity check measures what is really reached.

    Args:
        max_confidence: the largest magnitude that a confidence can have.
        min_confidence: the smallest.
    """
    root = math.sqrt(max(max_confidence, 1.0) / min(min_confidence, 1.0))
    ratio = (root - 1) / (root + 1)
    if ratio == 0.0:
        return 1
    return min(MAX_STEPS, math.ceil(math.log(2 / tolerance) / -math.log(ratio)))


@dataclass(frozen=True)
class FoldIn:
    """What the encoder is built from.

    Attributes:
        table: whitened item rows, float32 [items, factors].
        window: length of the history input.
        steps: conjugate-gradient steps, unrolled.
    """

    table: NDArray[np.float32]
    window: int
    steps: int


def fold_in_graph(spec: FoldIn) -> onnx.ModelProto:
    """The encoder as a float32 ONNX graph.

    Inputs:
        history_rows int32 [window]: item rows, distinct. Any row outside the catalogue (by convention −1 for padding)
            is an item of zero factors: it contributes nothing, whatever its confidence.
        history_confidences float32 [window].

    Outputs:
        user_vector float32 [1, factors]; zeros for an empty history.
        history_vectors float32 [window, factors]: the table rows that were used, for explanations.
    """
    items, factors = spec.table.shape
    window = spec.window
    g = GraphBuilder("encoder")
    rows = g.input("history_rows", "int32", [window])
    confidences = g.input("history_confidences", "float32", [window])

    # A zero row before and one after the items: clamping sends every foreign row to one of them, with no comparison.
    zero = np.zeros((1, factors), np.float32)
    table = g.constant(np.concatenate([zero, spec.table.astype(np.float32), zero]), "table")
    one = g.constant(np.array(1, np.int32))
    row = g.add("Min", g.add("Max", g.add("Add", rows, one), g.constant(np.array(0, np.int32))),
                g.constant(np.array(items + 1, np.int32)))  # fmt: skip
    history = g.add("Gather", table, row, axis=0)

    column = g.add("Reshape", confidences, g.constant(np.array([window, 1], np.int64)))
    excess = g.add("Sub", g.add("Abs", column), g.constant(np.array(1, np.float32)))
    gram = g.add("Gemm", g.add("Mul", history, excess), history, transA=1)
    likes = g.add("Reshape", g.add("Relu", confidences), g.constant(np.array([1, window], np.int64)))
    residual = g.add("MatMul", likes, history)

    # Conjugate gradient on (I + gram) w = residual. After convergence both sides of each quotient reach zero; the
    # floor makes 0/0 a 0, so surplus steps change nothing and the empty history gives zeros.
    floor = g.constant(np.array(1e-30, np.float32))
    direction = residual
    norm = g.add("Gemm", residual, residual, transB=1)
    solution: str | None = None
    for step in range(spec.steps):
        image = g.add("Gemm", direction, gram, direction)
        curvature = g.add("Gemm", direction, image, transB=1)
        length = g.add("Div", norm, g.add("Max", curvature, floor))
        move = [solution] if solution is not None else []
        solution = g.add("Gemm", length, direction, *move)
        if step + 1 == spec.steps:
            break
        residual = g.add("Sub", residual, g.add("Gemm", length, image))
        next_norm = g.add("Gemm", residual, residual, transB=1)
        momentum = g.add("Div", next_norm, g.add("Max", norm, floor))
        direction = g.add("Gemm", momentum, direction, residual)
        norm = next_norm
    assert solution is not None
    g.output(solution, "user_vector", "float32", [1, factors])
    g.output(history, "history_vectors", "float32", [window, factors])
    return g.model()
