"""Arithmetic with the same bits on every processor.

A C library's ``exp2`` and ``log`` differ in the last bit between platforms, so these are built from what IEEE 754
defines exactly: + − × ÷ and integers.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST = 2.0**128 - 2.0**104
"""The largest float32; numpy's ``finfo`` takes a while when it is first asked."""

_STEPS = 256
_PRECISION = 128
_LN2 = 0.6931471805599453  # nearest float64
_SQRT_HALF = 0.7071067811865476


def _powers() -> tuple[float, ...]:
    """2^(k/256) for k = 0 … 255, correctly rounded: computed in integers of 128 fractional bits."""
    root = 2 << _PRECISION
    for _ in range(_STEPS.bit_length() - 1):
        root = math.isqrt(root << _PRECISION)
    power, powers = 1 << _PRECISION, []
    for _ in range(_STEPS):
        powers.append(power / (1 << _PRECISION))
        power = (power * root) >> _PRECISION
    return tuple(powers)


_POWERS = _powers()


def exp2_fraction(fraction: float) -> float:
    """2^fraction for 0 ≤ fraction < 1, within 2 units in the last place: a table and Taylor's first five terms."""
    step = int(fraction * _STEPS)
    y = (fraction - step / _STEPS) * _LN2
    return _POWERS[step] * (1.0 + y * (1.0 + y / 2.0 * (1.0 + y / 3.0 * (1.0 + y / 4.0 * (1.0 + y / 5.0)))))


def decayed(elapsed: int, half_life: int) -> float:
    """2^(−elapsed / half_life) for elapsed ≥ 0; 0.0 from 1,000 half-lives on."""
    whole, rest = divmod(elapsed, half_life)
    if whole >= 1000:
        return 0.0
    # 2^-(rest/h) as 2^(1 - rest/h) / 2, so that the fraction lies in [0, 1).
    part = 1.0 if rest == 0 else exp2_fraction((half_life - rest) / half_life) / 2.0
    return math.ldexp(part, -whole)


@lru_cache(maxsize=256)  # of counts, for the most part; each reading asks for those of the last one again
def symmetric_log(x: float) -> float:
    """sign(x) · ln(1 + |x|): log1p for x ≥ 0, and odd."""
    mantissa, exponent = math.frexp(1.0 + abs(x))
    if mantissa < _SQRT_HALF:
        mantissa, exponent = mantissa * 2.0, exponent - 1
    value: float = exponent * _LN2 + _log_near_one(mantissa)
    return -value if x < 0 else value


def symmetric_log_array(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """:func:`symmetric_log` of each element, to the bit."""
    mantissa, exponent = np.frexp(1.0 + np.abs(x))
    small = mantissa < _SQRT_HALF
    mantissa, exponent = np.where(small, mantissa * 2.0, mantissa), exponent - small
    value: NDArray[np.float64] = exponent * _LN2 + _log_near_one(mantissa)
    return np.where(x < 0, -value, value)


def _log_near_one(m: Any) -> Any:
    """ln(m) for √½ ≤ m < √2, a float or an array: 2·artanh((m−1)/(m+1)), whose 11th term is below 1e-17."""
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    series = 1.0 / 23.0 * z + 1.0 / 21.0  # written out: a loop takes twice as long for a float
    series = ((series * z + 1.0 / 19.0) * z + 1.0 / 17.0) * z + 1.0 / 15.0
    series = ((series * z + 1.0 / 13.0) * z + 1.0 / 11.0) * z + 1.0 / 9.0
    series = ((series * z + 1.0 / 7.0) * z + 1.0 / 5.0) * z + 1.0 / 3.0
    return 2.0 * s * (series * z + 1.0)
