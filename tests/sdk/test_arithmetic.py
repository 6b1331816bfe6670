"""Arithmetic and steps with the same bits everywhere: against exact decimals, and for one value as for an array."""

from __future__ import annotations

import json
import math
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nearhand.features import read_program
from nearhand.features.arithmetic import decayed, exp2_fraction, symmetric_log, symmetric_log_array
from nearhand.features.operands import fixed_point
from nearhand.features.parts import Step
from nearhand.features.steps import apply_steps, apply_steps_to_array, bound_number
from nearhand.features.views import Context
from tests.sdk.any_program import STEPS, program

DAY_MS = 86_400_000
TEN_YEARS_MS = 3650 * DAY_MS
# Just below √2 the logarithm's series converges most slowly.
SPECIAL = [0.0, -0.0, 5e-324, 1e-17, 0.25, 0.4142135623730950, 0.41421356237309515, 1.0, -1.0, 1e15, 1e300]
numbers = st.floats(-1e18, 1e18) | st.floats(-1, 1) | st.sampled_from(SPECIAL)


def ulps(value: float, exact: Decimal) -> float:
    """How far ``value`` is from the exact one, in units of its last place."""
    return float(abs(Decimal(value) - exact) / Decimal(math.ulp(value)))


def exact_power(exponent: Decimal) -> Decimal:
    with localcontext(prec=60):
        return Decimal(2) ** exponent


@given(st.floats(0, 1, exclude_max=True) | st.integers(0, 1023).map(lambda step: step / 1024))
def test_a_power_of_two_is_within_two_units_of_the_last_place(fraction: float) -> None:
    assert ulps(exp2_fraction(fraction), exact_power(Decimal(fraction))) <= 2


def test_the_256th_parts_are_correctly_rounded() -> None:
    for step in range(256):
        assert ulps(exp2_fraction(step / 256), exact_power(Decimal(step) / 256)) <= 0.5


@given(st.integers(0, 999 * TEN_YEARS_MS), st.integers(1000, TEN_YEARS_MS))
def test_decay_is_within_three_units_of_the_last_place(elapsed: int, half_life: int) -> None:
    with localcontext(prec=60):
        exponent = -Decimal(elapsed) / half_life
    if exponent > -1000:
        assert ulps(decayed(elapsed, half_life), exact_power(exponent)) <= 3


@given(st.integers(1000, TEN_YEARS_MS), st.integers(0, 1100))
def test_whole_half_lives_are_exact(half_life: int, count: int) -> None:
    assert decayed(count * half_life, half_life) == (2.0**-count if count < 1000 else 0.0)


@given(st.integers(0, 40 * TEN_YEARS_MS), st.integers(1000, TEN_YEARS_MS))
def test_decay_falls_with_every_millisecond(elapsed: int, half_life: int) -> None:
    now, later = decayed(elapsed, half_life), decayed(elapsed + 1, half_life)
    assert later < now or now == later == 0.0


@given(numbers)
@example(0.41)
def test_the_logarithm_is_right_and_odd(x: float) -> None:
    with localcontext(prec=60):
        exact = (1 + abs(Decimal(x))).ln()
    value = symmetric_log(abs(x))
    # 1 + |x| is rounded first, which is all of the error near 0.
    assert abs(Decimal(value) - exact) <= Decimal(2**-53) + 2 * Decimal(math.ulp(value))
    assert symmetric_log(-abs(x)) == -value
    assert math.copysign(1.0, symmetric_log(-0.0)) == 1.0


@given(numbers, st.floats(1e-9, 1.0))
def test_the_logarithm_grows(x: float, step: float) -> None:
    above = x + step * max(1.0, abs(x))
    assert symmetric_log(x) < symmetric_log(above)


@given(st.lists(numbers, max_size=40))
def test_the_logarithm_of_an_array_is_that_of_its_elements(values: list[float]) -> None:
    one_by_one = np.array([symmetric_log(value) for value in values])
    assert symmetric_log_array(np.array(values, np.float64)).tobytes() == one_by_one.tobytes()


def as_steps(content: list[dict[str, Any]]) -> tuple[Step, ...]:
    view = {"op": "context", "name": "c", "key": "x", "then": content}
    (read,) = read_program(json.dumps(program(view)).encode(), place="steps").views
    assert isinstance(read, Context)
    return read.then


@given(STEPS.filter(bool), st.lists(numbers, max_size=40))
def test_steps_on_an_array_are_those_on_its_elements(content: list[dict[str, Any]], values: list[float]) -> None:
    steps = as_steps(content)
    apply = apply_steps(steps)
    assert apply is not None
    one_by_one = np.array([apply(value) for value in values], np.float64)
    assert apply_steps_to_array(steps)(np.array(values, np.float64)).tobytes() == one_by_one.tobytes()


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 0), ("-0", 1)])
def test_a_clip_leaves_one_zero(low: object, high: object) -> None:
    """Which of its two zeros a maximum gives is up to the library and the processor."""
    steps = as_steps([{"step": "clip", "low": low, "high": high}])
    apply = apply_steps(steps)
    assert apply is not None
    for zero in (0.0, -0.0):
        assert math.copysign(1.0, apply(zero)) == 1.0
        assert not np.signbit(apply_steps_to_array(steps)(np.array([zero]))).any()


def test_steps_one_after_the_other() -> None:
    steps = as_steps(
        [
            {"step": "normalize", "offset": 2, "scale": 0.5},
            {"step": "clip", "low": -10, "high": 10},
            {"step": "bucket", "boundaries": [-1, 0, 3.5]},
        ]
    )
    apply = apply_steps(steps)
    assert apply is not None
    # (x − 2) · 2 = −100, −2, −1, 0, 3.4, 3.6; a boundary itself counts as reached
    assert [apply(x) for x in (-48.0, 1.0, 1.5, 2.0, 3.7, 3.8)] == [0, 0, 1, 2, 2, 3]
    assert apply_steps(()) is None


@pytest.mark.parametrize(
    ("value", "decimals", "expected"),
    [
        (41, 3, 41_000),
        (41.5, 0, 42),  # halves go to the even one
        (42.5, 0, 42),
        (-0.0005, 3, 0),
        (1e15, 6, 10**21),
        (1e300, 6, 10**21),
        (-math.inf, 0, -(10**15)),
        (10**400, 0, 10**15),
        (-(10**400), 2, -(10**17)),
        (math.nan, 0, None),
        (True, 0, None),
        ("41", 0, None),
        (None, 0, None),
        ([41], 0, None),
    ],
)
def test_a_value_becomes_an_integer_or_is_none(value: object, decimals: int, expected: int | None) -> None:
    assert fixed_point(value, 10**decimals) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, 7.0),
        (-1e15, -1e15),
        (1.0000000000000002e15, 1e15),
        (10**400, 1e15),
        (math.nan, None),
        (-math.inf, -1e15),
        (True, None),
        ("7", None),
        (None, None),
        ([7], None),
    ],
)
def test_a_number_from_outside_is_clipped_as_operands_are(value: object, expected: float | None) -> None:
    assert bound_number(value) == expected
