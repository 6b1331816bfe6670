"""Sums of many leaves in float32 that lose nothing: each value is a coarse part and a fine one, added up apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.graph.trees.form import Trees
from nearhand_converters.graph.trees.layout import by_level


def largest_scores(trees: Trees, *leaves: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each output, a magnitude that no score, and no sum on the way to it, exceeds [outputs].

    Args:
        leaves: what a leaf may give, float64 [nodes, width]; one or more possibilities.

    Raises:
        UnsupportedModelError: it is beyond float32.
    """
    layout = by_level(trees, trees.roots)
    most = np.zeros((len(trees.roots), trees.values.shape[1]))
    np.maximum.at(most, layout.tree, np.max(np.abs(leaves), axis=0)[layout.node])
    found: NDArray[np.float64] = np.abs(trees.base)
    if most.shape[1] == len(found):
        found += most.sum(axis=0)
    else:
        np.add.at(found, trees.output, most[:, 0])
    if (found > np.finfo(np.float32).max).any():
        raise UnsupportedModelError(
            f"scores may reach {found.max():.3g}, which float32 does not hold",
            code="scores-exceed-float32",
            remedy="train on a scaled target",
        )
    return found


def grid_of(largest: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each output, the power of two of which all sums of coarse parts are multiples below 2²⁴.

    So float32 adds them without rounding, in any order.
    """
    _, exponent = np.frexp(largest)
    found: NDArray[np.float64] = np.ldexp(1.0, np.maximum(exponent - 23, -149))
    return found


def split(values: NDArray[np.float64], grid: NDArray[np.float64]) -> NDArray[np.float32]:
    """A coarse part, a multiple of the grid, and the rest, whose sums are so small that their rounding is nothing.

    Returns:
        float32, of the shape of ``values`` and one more axis of 2.
    """
    coarse = np.round(values / grid) * grid
    return np.stack([coarse, values - coarse], axis=-1).astype(np.float32)
