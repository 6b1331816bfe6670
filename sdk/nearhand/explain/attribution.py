"""Which past event made this item come up: the exact additive parts of a fold-in score; the score without an item.

The score of item i is z_iᵀw with w = A⁻¹ Σ c_h z_h and A = I + Σ (|c_h|−1)·z_h z_hᵀ, so it *is* the sum over the
history of c_h · z_hᵀA⁻¹z_i (Hu, Koren, Volinsky 2008, section 5). One solve for each recommended item gives all parts.

A part is not what the score loses without its item, since the item is in A as well. Without it A loses the matrix
d·z_h z_hᵀ of rank one, d = |c_h|−1, and the sum loses p·z_h, p = max(c_h, 0). With u = A⁻¹z_h the inverse is then
A⁻¹ + d·u uᵀ / (1 − d·z_hᵀu) (Sherman and Morrison 1950), and multiplied out the user's vector is
w − u·(p − d·z_hᵀw) / (1 − d·z_hᵀu).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nearhand.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ONE_THREAD = 1 << 18
"""Multiplications in a product, up to which OpenBLAS begins no threads (its ``GEMM_MULTITHREAD_THRESHOLD``)."""


def contributions(
    history_vectors: NDArray[np.float32], confidences: NDArray[np.float64], item_vectors: NDArray[np.float32]
) -> NDArray[np.float64]:
    """The part of each history item in each recommended item's score.

    Args:
        history_vectors: float32 [n, factors], the rows that the encoder used.
        confidences: float64 [n]; a negative one is a dislike, whose own part is 0 (it works through A).
        item_vectors: float32 [m, factors].

    Returns:
        float64 [m, n]; each row sums to that item's score.

    Raises:
        ModelError: the matrix A is singular, which confidences of a trained model do not give.
    """
    history = history_vectors.astype(np.float64)
    solved = _solved(history, confidences, item_vectors.astype(np.float64))
    parts: NDArray[np.float64] = _product(solved, history.T) * np.maximum(confidences, 0)
    return parts


def scores_without(
    history_vectors: NDArray[np.float32], confidences: NDArray[np.float64], item_vectors: NDArray[np.float32]
) -> NDArray[np.float64]:
    """The score that each recommended item would have without each history item: exactly, by one solve for all.

    Args:
        history_vectors: float32 [n, factors], the rows that the encoder used.
        confidences: float64 [n]; a negative one is a dislike.
        item_vectors: float32 [m, factors].

    Returns:
        float64 [m, n].

    Raises:
        ModelError: the matrix A is singular, with all items or without one, which confidences of a trained model do not
            give.
    """
    history, items = history_vectors.astype(np.float64), item_vectors.astype(np.float64)
    solved = _solved(history, confidences, history)
    liked, weights = np.maximum(confidences, 0), np.abs(confidences) - 1
    user = liked @ solved
    left = 1 - weights * np.einsum("hf,hf->h", history, solved)
    if (left <= 0).any():
        raise _singular("an item's part of it is all there is")
    without: NDArray[np.float64] = (items @ user)[:, None] - _product(items, solved.T) * (
        (liked - weights * (history @ user)) / left
    )
    return without


def _solved(
    history: NDArray[np.float64], confidences: NDArray[np.float64], vectors: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A⁻¹ times each of the vectors, float64 [vectors, factors]."""
    matrix = np.eye(history.shape[1]) + _product(history.T * (np.abs(confidences) - 1), history)
    try:
        solved = np.asarray(np.linalg.solve(matrix, vectors.T), np.float64).T
    except np.linalg.LinAlgError as error:
        raise _singular(str(error)) from error
    return solved


def _product(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """``left @ right`` in portions for which a BLAS begins no threads.

    A threaded product waits for all processors: a small one of 100 µs took 15 ms in the median where others were busy.
    """
    rows = max(1, _ONE_THREAD // max(right.size, 1))
    if len(left) <= rows:
        return left @ right
    return np.concatenate([left[start : start + rows] @ right for start in range(0, len(left), rows)])


def _singular(why: str) -> ModelError:
    return ModelError(
        f"the history's matrix cannot be solved ({why})",
        place="explanation",
        remedy="rebuild the bundle: its confidences are not those of an ALS model",
    )
