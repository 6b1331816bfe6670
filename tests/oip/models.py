"""What the models of the test servers compute, and what their metadata say of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ECHO, RERANK = "echo", "tiny"

RERANK_INPUTS = (("history", "INT32", [-1, -1]), ("weights", "FP32", [-1, -1]), ("candidates", "INT32", [-1, -1]))
RERANK_OUTPUTS = (("scores", "FP32", [-1, -1]),)


def rerank(history: NDArray[Any], weights: NDArray[Any], candidates: NDArray[Any]) -> NDArray[np.float32]:
    """Scores of another taste than any retrieval model's: float32 [1, n]."""
    known = history[0] >= 0
    angles = 0.37 * history[0][known].astype(np.float64)[:, None] + 0.11 * candidates[0].astype(np.float64)
    scores: NDArray[np.float64] = weights[0][known].astype(np.float64) @ np.cos(angles)
    return scores[None].astype(np.float32)


def metadata(specs: tuple[tuple[str, str, list[int]], ...]) -> list[dict[str, Any]]:
    """As the protocol tells them."""
    return [{"name": name, "datatype": datatype, "shape": shape} for name, datatype, shape in specs]
