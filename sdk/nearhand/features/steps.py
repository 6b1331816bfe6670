"""Steps and codes: what becomes of a view's value before it is a column. For one value and for an array alike."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from nearhand.features.arithmetic import symmetric_log, symmetric_log_array
from nearhand.features.parts import MAX_VALUE, Bucket, Clip, Encode, Log, Normalize, Step
from nearhand.features.program import Program
from nearhand.hashing import murmur3_32

if TYPE_CHECKING:
    from numpy.typing import NDArray

Apply: TypeAlias = Callable[[float], float]
ApplyArray: TypeAlias = "Callable[[NDArray[np.float64]], NDArray[np.float64]]"
EncodeText: TypeAlias = Callable[[str | None], int]


def is_integer(steps: Sequence[Step]) -> bool:
    """Whether what comes out is an integer."""
    return bool(steps) and isinstance(steps[-1], Bucket)


def apply_steps(steps: Sequence[Step]) -> Apply | None:
    """The steps on one value, one after the other; None if there are none."""
    if not steps:
        return None
    each = [_apply(step) for step in steps]
    if len(each) == 1:
        return each[0]

    def apply(value: float) -> float:
        for function in each:
            value = function(value)
        return value

    return apply


def _apply(step: Step) -> Apply:
    match step:
        case Log():
            return symmetric_log
        case Normalize():
            offset, scale = float(step.offset), float(step.scale)
            return lambda value: (value - offset) / scale
        case Clip():
            low, high = float(step.low), float(step.high)
            return lambda value: min(max(value, low), high) + 0.0  # Python and numpy choose other signs of 0
        case Bucket():
            boundaries = [float(boundary) for boundary in step.boundaries]
            return lambda value: bisect_right(boundaries, value)


def apply_steps_to_array(steps: Sequence[Step]) -> ApplyArray:
    """The same on every element of an array, to the bit."""
    each = [_apply_to_array(step) for step in steps]

    def apply(values: NDArray[np.float64]) -> NDArray[np.float64]:
        for function in each:
            values = function(values)
        return values

    return apply


def _apply_to_array(step: Step) -> ApplyArray:
    match step:
        case Log():
            return symmetric_log_array
        case Normalize():
            offset, scale = float(step.offset), float(step.scale)
            return lambda values: (values - offset) / scale
        case Clip():
            low, high = float(step.low), float(step.high)
            return lambda values: np.minimum(np.maximum(values, low), high) + 0.0
        case Bucket():
            boundaries = np.array([float(boundary) for boundary in step.boundaries])
            return lambda values: np.searchsorted(boundaries, values, side="right").astype(np.float64)


def codes(texts: Sequence[str]) -> Mapping[str, int]:
    """Text → its code in a vocabulary."""
    return {text: 2 + place for place, text in enumerate(texts)}


def encoder(encode: Encode, program: Program) -> EncodeText:
    """A text's code; 0 for None."""
    if encode.vocabulary is not None:
        known = codes(program.vocabulary(encode.vocabulary))
        return lambda text: 0 if text is None else known.get(text, 1)
    buckets, seed = encode.buckets or 1, encode.seed

    @lru_cache(maxsize=4096)  # the last items of a profile are read again with every vector
    def hashed(text: str | None) -> int:
        return 0 if text is None else 1 + murmur3_32(text.encode(), seed) % buckets

    return hashed


def bound_number(value: Any) -> float | None:
    """A number that came from outside as a float within ± 10¹⁵, as operands are; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 - NaN
        return None
    return float(min(max(value, -MAX_VALUE), MAX_VALUE))
