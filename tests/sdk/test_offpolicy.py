"""Off-policy estimates: right on average, with intervals that hold the truth as often as they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nearhand.errors import UsageError
from nearhand.learning import Estimate, doubly_robust, ips, self_normalised_ips

ACTIONS, WIDTH = 4, 3


@dataclass(frozen=True)
class Log:
    """n decisions of a policy that draws, another policy's probabilities, and what that one is worth."""

    rewards: NDArray[np.float64]
    propensities: NDArray[np.float64]
    target: NDArray[np.float64]
    chosen: NDArray[np.intp]
    features: NDArray[np.float64]
    truth: float

    @property
    def of_taken(self) -> NDArray[np.float64]:
        return self.target[np.arange(len(self.rewards)), self.chosen]


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances: NDArray[np.float64] = odds / odds.sum(axis=1, keepdims=True)
    return chances


def simulated(seed: int, n: int) -> Log:
    """Rewards are 0 or 1, with a chance that is not linear in the features; the truth is that of these contexts."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, ACTIONS, WIDTH))
    chance = 1 / (1 + np.exp(-features @ np.array([1.5, -1.0, 0.5])))
    logging = softmax(features @ np.array([0.5, 0.5, 0.0]))
    target = softmax(features @ np.array([1.5, 0.0, 0.5]))
    chosen = (logging.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=ACTIONS - 1)
    decisions = np.arange(n)
    rewards = (rng.random(n) < chance[decisions, chosen]).astype(np.float64)
    truth = float((target * chance).sum(axis=1).mean())
    return Log(rewards, logging[decisions, chosen], target, chosen, features, truth)


Estimator = Callable[..., Estimate]


def estimated(name: str, log: Log, **options: Any) -> Estimate:
    if name == "dr":
        return doubly_robust(log.rewards, log.propensities, log.target, log.chosen, log.features, **options)
    estimator: Estimator = {"ips": ips, "snips": self_normalised_ips}[name]
    return estimator(log.rewards, log.propensities, log.of_taken, **options)


@pytest.mark.parametrize("name", ["ips", "snips", "dr"])
def test_the_normal_interval_holds_the_truth_as_often_as_it_says(name: str) -> None:
    """300 logs of 500 decisions: 285 should hold it, give or take 8. And on average the estimate is right."""
    logs = [simulated(seed, 500) for seed in range(300)]
    found = [estimated(name, log) for log in logs]
    held = sum(one.low <= log.truth <= one.high for one, log in zip(found, logs, strict=True))
    # The truth is that of the log's own contexts, so an interval that also allows for other contexts is a bit wide.
    assert 275 <= held <= 299
    errors = np.array([one.value - log.truth for one, log in zip(found, logs, strict=True)])
    assert abs(errors.mean()) < 3 * errors.std() / np.sqrt(len(errors))


@pytest.mark.parametrize("name", ["ips", "snips", "dr"])
def test_the_bootstrap_agrees_with_the_normal_interval_and_repeats_under_its_seed(name: str) -> None:
    log = simulated(1, 2000)
    normal = estimated(name, log)
    drawn = estimated(name, log, interval="bootstrap", seed=7)
    assert drawn == estimated(name, log, interval="bootstrap", seed=7)
    assert drawn != estimated(name, log, interval="bootstrap", seed=8)
    assert (drawn.value, drawn.effective_samples) == (normal.value, normal.effective_samples)
    width = normal.high - normal.low
    assert abs(drawn.low - normal.low) < 0.1 * width
    assert abs(drawn.high - normal.high) < 0.1 * width


def test_a_model_of_the_rewards_makes_the_estimate_steadier() -> None:
    widths = {name: (one := estimated(name, simulated(2, 5000))).high - one.low for name in ("ips", "snips", "dr")}
    assert widths["dr"] < widths["snips"] < widths["ips"]


def test_a_wrong_model_of_the_rewards_does_not_mislead() -> None:
    """Features that say nothing of the rewards: doubly robust leans on the propensities."""
    log = simulated(3, 20_000)
    noise = np.random.default_rng(0).normal(size=log.features.shape) * 100
    found = doubly_robust(log.rewards, log.propensities, log.target, log.chosen, noise)
    assert found.low <= log.truth <= found.high


def test_a_right_model_corrects_nothing() -> None:
    """Rewards that are linear in the features: q is exact, and only the contexts differ."""
    log = simulated(4, 1000)
    linear = log.features @ np.array([1.0, 2.0, -1.0]) + 3.0
    rewards = linear[np.arange(1000), log.chosen]
    found = doubly_robust(rewards, log.propensities, log.target, log.chosen, log.features, ridge=1e-9)
    assert found.value == pytest.approx(float((log.target * linear).sum(axis=1).mean()), rel=1e-9)


def test_by_hand() -> None:
    rewards, propensities, target = np.array([1.0, 0.0, 2.0]), np.array([0.5, 0.25, 1.0]), np.array([1.0, 0.5, 0.0])
    found = ips(rewards, propensities, target)  # weights 2, 2, 0; terms 2, 0, 0
    half = 1.959963984540054 * np.std([2.0, 0.0, 0.0], ddof=1) / np.sqrt(3)
    assert (found.value, found.effective_samples) == pytest.approx((2 / 3, 16 / 8))
    assert (found.low, found.high) == pytest.approx((2 / 3 - half, 2 / 3 + half))
    found = self_normalised_ips(rewards, propensities, target)
    half = 1.959963984540054 * np.sqrt((2 * 0.5) ** 2 + (2 * 0.5) ** 2) / 4 * np.sqrt(3 / 2)
    assert found.value == pytest.approx(0.5)
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half))


@given(st.lists(st.tuples(st.floats(-10, 10), st.floats(0.01, 1.0)), min_size=2, max_size=30))
def test_the_policy_that_logged_is_worth_its_mean(decisions: list[tuple[float, float]]) -> None:
    rewards, propensities = (np.array(column) for column in zip(*decisions, strict=True))
    for estimator in (ips, self_normalised_ips):
        found = estimator(rewards, propensities, propensities)
        assert found.value == pytest.approx(rewards.mean(), abs=1e-9)
        assert found.effective_samples == pytest.approx(len(rewards))
        assert found.low <= found.value <= found.high


@given(st.lists(st.tuples(st.floats(-10, 10), st.floats(0.01, 1.0), st.floats(0.001, 1.0)), min_size=2, max_size=30))
def test_self_normalised_stays_within_the_rewards(decisions: list[tuple[float, float, float]]) -> None:
    rewards, propensities, target = (np.array(column) for column in zip(*decisions, strict=True))
    found = self_normalised_ips(rewards, propensities, target)
    assert rewards.min() - 1e-9 <= found.value <= rewards.max() + 1e-9
    assert 1 - 1e-9 <= found.effective_samples <= len(rewards) + 1e-9


GOOD: dict[str, Any] = {
    "rewards": np.array([1.0, 0.0]),
    "propensities": np.array([0.5, 0.5]),
    "target": np.array([[1.0, 0.0], [0.5, 0.5]]),
    "chosen": np.array([0, 1]),
    "features": np.zeros((2, 2, 1)),
}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rewards": np.array([1.0, np.nan])}, "rewards: has nan; give finite numbers"),
        ({"propensities": np.array([0.5, 0.0])}, "propensities: has 0.0; give above 0 up to 1"),
        ({"propensities": np.array([0.5, np.nan])}, "propensities: has nan"),
        (
            {"propensities": np.array([0.5])},
            r"rewards, propensities and target: have the shapes \[2\], \[1\] and \[2\]",
        ),
        ({"target": np.array([[1.0, 0.0], [0.5, 0.6]])}, "target: has 1.1; give rows that add up to 1"),
        ({"target": np.array([[1.5, -0.5], [0.5, 0.5]])}, "target: has 1.5; give probabilities"),
        ({"target": np.array([[0.0, 1.0], [1.0, 0.0]])}, "would have made none of the decisions; log with exploration"),
        ({"target": np.array([1.0, 0.5])}, r"target and features: have the shapes \[2\]"),
        ({"features": np.zeros((2, 3, 1))}, "target and features: have the shapes"),
        ({"features": np.full((2, 2, 1), np.inf)}, "features: has inf"),
        ({"chosen": np.array([0, 2])}, "chosen: is not 2 numbers from 0 to 1"),
        ({"ridge": 0.0}, "ridge: is 0.0; use a positive number"),
        ({"interval": "exact"}, "interval: is 'exact'; use 'normal' or 'bootstrap'"),
    ],
)
def test_bad_input_is_named(wrong: dict[str, Any], message: str) -> None:
    assert isinstance(doubly_robust(**GOOD), Estimate)
    with pytest.raises(UsageError, match=message):
        doubly_robust(**{**GOOD, **wrong})


@pytest.mark.parametrize("estimator", [ips, self_normalised_ips])
def test_bad_input_of_the_plain_estimators_is_named(estimator: Estimator) -> None:
    one, half = np.array([1.0]), np.array([0.5, 0.5])
    with pytest.raises(UsageError, match="at least 2"):
        estimator(one, one, one)
    with pytest.raises(UsageError, match=r"target: has 1\.5"):
        estimator(half, half, half * 3)
    with pytest.raises(UsageError, match="none of the decisions"):
        estimator(half, half, half * 0)
