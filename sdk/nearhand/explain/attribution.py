"""Which past event made this item come up: the exact additive parts of a fold-in score.

The score of item i is z_iᵀw with w = A⁻¹ Σ c_h z_h and A = I + Σ (|c_h|−1)·z_h z_hᵀ, so it *is* the sum over the
history of c_h · z_hᵀA⁻¹z_i (Hu, Koren, Volinsky 2008, section 5). One solve for each recommended item gives all parts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


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
    """
    history = history_vectors.astype(np.float64)
    matrix = np.eye(history.shape[1]) + (history.T * (np.abs(confidences) - 1)) @ history
    solved = np.linalg.solve(matrix, item_vectors.astype(np.float64).T)
    parts: NDArray[np.float64] = (history @ solved).T * np.maximum(confidences, 0)
    return parts
