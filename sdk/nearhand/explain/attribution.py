"""Which past event made this item come up: the exact additive parts of a fold-in score.

The score of item i is z_iᵀw with w = A⁻¹ Σ c_h z_h and A = I + Σ (|c_h|−1)·z_h z_hᵀ, so it *is* the sum over the
history of c_h · z_hᵀA⁻¹z_i (Hu, Koren, Volinsky 2008, section 5). One solve for each recommended item gives all parts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nearhand.errors import ModelError


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
    matrix = np.eye(history.shape[1]) + (history.T * (np.abs(confidences) - 1)) @ history
    try:
        solved = np.linalg.solve(matrix, item_vectors.astype(np.float64).T)
    except np.linalg.LinAlgError as error:
        raise ModelError(
            f"the history's matrix cannot be solved ({error})",
            place="explanation",
            remedy="rebuild the bundle: its confidences are not those of an ALS model",
        ) from error
    parts: NDArray[np.float64] = (history @ solved).T * np.maximum(confidences, 0)
    return parts
