"""Where a list is ranked: each reason alone, their order, and the circuit breaker on a clock that is moved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from nearhand.errors import UsageError
from nearhand.hybrid import Facts, HybridConfig, Route, RoutePolicy, Surroundings, confidence, decide
from nearhand.hybrid.breaker import Breaker
from nearhand.hybrid.router import Network, Reason
from nearhand.testing import ManualClock

POLICY = RoutePolicy()
GOOD = Facts(
    consent=True,
    history=30,
    confidence=0.1,
    candidates=100,
    left_ms=200.0,
    surroundings=Surroundings("unmetered", 0.9, False),
    bundle_age_days=1.0,
    breaker="closed",
    is_busy=False,
    is_too_many=False,
    p90_ms=30.0,
)
"""Of which each test changes one thing."""

KEEPS: dict[Reason, dict[str, Any]] = {
    "consent": {"consent": False},
    "no_history": {"history": 0},
    "no_candidates": {"candidates": 1},
    "offline": {"surroundings": Surroundings("none")},
    "metered": {"surroundings": Surroundings("metered")},
    "battery": {"surroundings": Surroundings("unmetered", 0.149, False)},
    "breaker_open": {"breaker": "open"},
    "busy": {"is_busy": True},
    "too_many": {"is_too_many": True},
    "deadline": {"left_ms": 59.9},
    "confident": {"confidence": 0.9},
}
"""What keeps a list on the device, the first that holds, under the default policy."""


@pytest.mark.parametrize("reason", KEEPS)
def test_each_reason_alone_keeps_the_list_on_the_device(reason: Reason) -> None:
    assert decide(POLICY, replace(GOOD, **KEEPS[reason])) == Route("local", reason)


def test_of_several_reasons_the_first_is_told() -> None:
    facts = GOOD
    for reason in reversed(KEEPS):
        changes = {name: value for name, value in KEEPS[reason].items() if name != "surroundings"}
        if reason in ("offline", "metered", "battery"):
            changes = KEEPS[reason]
        facts = replace(facts, **changes)
        assert decide(POLICY, facts) == Route("local", reason)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Route("both", "unsure")),
        ({"left_ms": None}, Route("cloud", "unsure")),
        ({"left_ms": 1500.0}, Route("cloud", "unsure")),
        ({"left_ms": 1499.9}, Route("both", "unsure")),
        ({"left_ms": 60.0}, Route("both", "unsure")),
        ({"p90_ms": None}, Route("both", "unsure")),
        ({"p90_ms": 180.0}, Route("both", "unsure")),
        ({"p90_ms": 180.1}, Route("local", "deadline")),
        ({"p90_ms": 5000.0, "left_ms": None}, Route("cloud", "unsure")),
        ({"history": 19, "confidence": 1.0}, Route("both", "short_history")),
        ({"bundle_age_days": 30.1, "confidence": 1.0}, Route("both", "stale")),
        ({"breaker": "half_open", "confidence": 1.0}, Route("both", "probe")),
        ({"surroundings": Surroundings()}, Route("both", "unsure")),
        ({"surroundings": Surroundings("unmetered", 0.01, True)}, Route("both", "unsure")),
        ({"surroundings": Surroundings("unmetered", 0.01, None)}, Route("local", "battery")),
        ({"surroundings": Surroundings("unmetered", 0.15, False)}, Route("both", "unsure")),
    ],
    ids=str,
)
def test_the_cloud_is_asked_alone_or_beside_the_device(changes: dict[str, Any], expected: Route) -> None:
    assert decide(POLICY, replace(GOOD, **changes)) == expected


@pytest.mark.parametrize(
    ("policy", "changes", "expected"),
    [
        ({"metered": True}, {"surroundings": Surroundings("metered")}, Route("both", "unsure")),
        ({"unknown_network": False}, {"surroundings": Surroundings()}, Route("local", "unknown_network")),
        ({"min_battery": 0}, {"surroundings": Surroundings("unmetered", 0.0)}, Route("both", "unsure")),
        ({"confident_from": 0.1}, {}, Route("local", "confident")),
        ({"confident_from": 0.1, "enough_history": 31}, {}, Route("both", "short_history")),
        ({"confident_from": 2.0}, {"confidence": 1.0}, Route("both", "unsure")),
        ({"reserve_ms": 180.0}, {}, Route("local", "deadline")),
        ({"alone_from_ms": 0}, {}, Route("cloud", "unsure")),
    ],
    ids=str,
)
def test_the_policy_is_the_apps(policy: dict[str, Any], changes: dict[str, Any], expected: Route) -> None:
    assert decide(RoutePolicy(**policy), replace(GOOD, **changes)) == expected


FACTS = st.builds(
    Facts,
    consent=st.booleans(),
    history=st.integers(0, 50),
    confidence=st.floats(0, 1),
    candidates=st.integers(0, 200),
    left_ms=st.none() | st.floats(0, 10_000),
    surroundings=st.builds(
        Surroundings,
        st.sampled_from(get_args(Network)),
        st.none() | st.floats(0, 1),
        st.none() | st.booleans(),
    ),
    bundle_age_days=st.floats(0, 100),
    breaker=st.sampled_from(["closed", "open", "half_open"]),
    is_busy=st.booleans(),
    is_too_many=st.booleans(),
    p90_ms=st.none() | st.floats(0, 10_000),
)


@given(FACTS)
def test_nothing_leaves_unless_all_allows_it(facts: Facts) -> None:
    route = decide(POLICY, facts)
    assert route.reason in get_args(Reason)
    if route.where != "local":
        assert facts.consent
        assert facts.history
        assert facts.candidates
        assert facts.surroundings.network in ("unmetered", "unknown")
        assert facts.breaker != "open"
        assert not facts.is_busy
        assert (route.where == "both") == (facts.left_ms is not None and facts.left_ms < POLICY.alone_from_ms)
    assert decide(POLICY, replace(facts, consent=False)) == Route("local", "consent")


@given(arrays.arrays(np.float64, st.integers(0, 40), elements=st.floats(-1e6, 1e6)))
def test_confidence_is_a_share(scores: NDArray[np.float64]) -> None:
    assert 0 <= confidence(scores) <= 1
    assert confidence(scores) == pytest.approx(confidence(scores[::-1]), abs=1e-9)


def test_confidence_grows_as_some_stand_out() -> None:
    alike = np.ones(100)
    spread = np.linspace(0, 1, 100)
    one = np.r_[np.linspace(0, 0.1, 99), 10.0]
    assert confidence(alike) == 0
    assert 0 < confidence(spread) < 0.2
    assert 0.9 < confidence(one) < 1
    assert confidence(one * 7 - 3) == pytest.approx(confidence(one))  # whatever the scores' scale is


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeout_ms", 0),
        ("breaker_failures", 0),
        ("min_battery", -0.1),
        ("reserve_ms", float("nan")),
        ("min_left_ms", "9"),
        ("metered", "no"),
        ("unknown_network", 0),
    ],
)
def test_a_policy_of_impossible_numbers_is_refused(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"RoutePolicy.{name}"):
        RoutePolicy(**{name: value})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"endpoint": "x"}, "no address"),
        ({"model": "../x"}, "HybridConfig.model"),
        ({"version": "a b"}, "HybridConfig.version"),
        ({"max_candidates": 201}, "HybridConfig.max_candidates"),
        ({"max_calls": 0}, "HybridConfig.max_calls"),
        ({"policy": {"metered": True}}, "HybridConfig.policy"),
        ({"headers": [("x", "y")]}, "HybridConfig.headers"),
        ({"shares_features": "no"}, "HybridConfig.shares_features"),
        ({"allow_http": 1}, "HybridConfig.allow_http"),
        ({"binary": "yes"}, "HybridConfig.binary"),
    ],
)
def test_a_configuration_is_checked(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        HybridConfig(**{"endpoint": "https://models.example.org", **changes})


def test_a_configuration_does_not_show_its_secrets() -> None:
    config = HybridConfig("https://models.example.org", headers={"authorization": "Bearer hush"})
    assert "hush" not in repr(config)


def test_surroundings_are_checked() -> None:
    with pytest.raises(UsageError, match=r"Surroundings.network"):
        Surroundings("wifi")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"Surroundings.battery"):
        Surroundings(battery=50)


# The breaker.


def state(one: Breaker) -> str:
    """Asked anew each time, which a type checker cannot know of a property."""
    return one.state


def breaker(clock: ManualClock) -> Breaker:
    return Breaker(clock, failures=3, first_ms=1000, longest_ms=5000)


def call(one: Breaker) -> int:
    number = one.begin()
    assert number is not None
    return number


def open_it(one: Breaker) -> None:
    for _ in range(3):
        one.failed(call(one))


def test_three_failures_in_a_row_open_it_and_one_success_between_them_does_not() -> None:
    one = breaker(ManualClock())
    for _ in range(5):
        one.failed(call(one))
        one.failed(call(one))
        one.succeeded(call(one))
    assert state(one) == "closed"
    open_it(one)
    assert state(one) == "open"
    assert one.begin() is None


def test_it_recovers_with_one_trial() -> None:
    clock = ManualClock()
    one = breaker(clock)
    open_it(one)
    assert one.opens_in_ms == 1000
    clock.advance(999)
    assert one.begin() is None
    clock.advance(1)
    assert (state(one), one.opens_in_ms) == ("half_open", 0)
    trial = call(one)
    assert one.begin() is None  # one at a time
    one.succeeded(trial)
    assert state(one) == "closed"
    one.failed(call(one))
    assert state(one) == "closed"  # it counts anew


def test_each_trial_that_fails_doubles_the_pause_up_to_the_longest() -> None:
    clock = ManualClock()
    one = breaker(clock)
    open_it(one)
    for pause in (1000, 2000, 4000, 5000, 5000):
        assert one.opens_in_ms == pause
        clock.advance(pause)
        one.failed(call(one))
    clock.advance(5000)
    one.succeeded(call(one))
    open_it(one)
    assert one.opens_in_ms == 1000  # as at first


def test_a_server_that_asks_for_a_pause_gets_it_within_an_hour() -> None:
    clock = ManualClock()
    one = breaker(clock)
    one.failed(call(one), pause_ms=30_000)
    assert (state(one), one.opens_in_ms) == ("open", 30_000)
    clock.advance(30_000)
    one.failed(call(one), pause_ms=10**12)
    assert one.opens_in_ms == 3_600_000
    clock.advance(3_600_000)
    one.failed(call(one), pause_ms=0)
    assert one.opens_in_ms == 4000  # no shorter than without it


def test_what_cannot_get_better_opens_it_at_once() -> None:
    one = breaker(ManualClock())
    one.failed(call(one), at_once=True)
    assert state(one) == "open"


def test_stragglers_of_before_neither_close_nor_prolong_it() -> None:
    clock = ManualClock()
    one = breaker(clock)
    first, second = call(one), call(one)
    open_it(one)
    one.succeeded(first)
    one.failed(second, pause_ms=60_000)
    assert (state(one), one.opens_in_ms) == ("open", 1000)
    clock.advance(1000)
    trial = call(one)
    one.dropped(first)
    assert one.begin() is None
    one.dropped(trial)  # it was not made: another one may be
    one.succeeded(call(one))
    assert state(one) == "closed"
