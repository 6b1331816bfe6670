"""Sums of many leaves in float32 that lose nothing: each value is a coarse part and a fine one, added up apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import UnsupportedModelError


def grid_of(total: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each output, the power of two of which all partial sums of the coarse parts are multiples below 2²⁴.

    So float32 adds them without rounding, in any order.

    Args:
        total: the largest magnitude that a partial sum can have [outputs].

    Raises:
        UnsupportedModelError: one is beyond float32.
    """
    if (total > np.finfo(np.float32).max).any():
        raise UnsupportedModelError(
            f"scores may reach {total.max():.3g}, which float32 does not hold",
            code="scores-exceed-float32",
            remedy="train on a scaled target",
        )
    _, exponent = np.frexp(total)
    found: NDArray[np.float64] = np.ldexp(1.0, np.maximum(exponent - 23, -149))
    return found


def split(values: NDArray[np.float64], grid: NDArray[np.float64]) -> NDArray[np.float32]:
    """A coarse part, a multiple of the grid, and the rest, whose sums are so small that their rounding is nothing.

    Returns:
        float32, of the shape of ``values`` and one more axis of 2.
    """
    coarse = np.round(values / grid) * grid
    return np.stack([coarse, values - coarse], axis=-1).astype(np.float32)
