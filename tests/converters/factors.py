"""Factor models with known properties, for the tests of graphs and quantization."""

from __future__ import annotations

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from nearhand_converters.graph.fold_in import whiten

TOPICS = 4


def power_law_factors(items: int, factors: int, seed: int = 0) -> NDArray[np.float64]:
    """Item factors float64 [items, factors] as training leaves them: long for the popular, short for the rare."""
    generator = np.random.Generator(np.random.PCG64(seed))
    directions = generator.normal(size=(items, factors)) * np.arange(1, factors + 1) ** -0.5
    lengths = np.arange(1, items + 1) ** -0.6
    rows: NDArray[np.float64] = directions * (lengths / np.linalg.norm(directions, axis=1))[:, None]
    return rows


def whitened(items: int, factors: int, regularization: float = 0.1, seed: int = 0) -> NDArray[np.float32]:
    """The table of such a model."""
    return whiten(power_law_factors(items, factors, seed), regularization).astype(np.float32)


def checkerboard(users: int, items: int) -> scipy.sparse.csr_matrix:
    """Users like the items of their own block, all but one in five; block = number modulo ``TOPICS``."""
    own = np.arange(users)[:, None] % TOPICS == np.arange(items) % TOPICS
    left_out = (np.arange(users)[:, None] * 7 + np.arange(items) // TOPICS) % 5 == 0
    return scipy.sparse.csr_matrix((own & ~left_out).astype(np.float32))


def history_of(
    length: int, items: int, confidences: NDArray[np.floating], seed: int = 0
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """``length`` distinct rows, and a draw of ``confidences`` for each, at least one of them positive if any is."""
    generator = np.random.Generator(np.random.PCG64(seed))
    rows = generator.permutation(items)[:length].astype(np.int32)
    chosen = generator.choice(confidences, length).astype(np.float32)
    if length and not (chosen > 0).any():
        chosen[0] = np.abs(confidences).max()
    return rows, chosen
