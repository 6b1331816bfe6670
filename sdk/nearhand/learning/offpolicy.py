"""What a new policy would have earned, from the log of another one that drew its actions with known probabilities.

Each of n decisions was made in some context: an action was drawn with its propensity p and earned the reward r. A new
policy would have taken it with the probability π; its weight is w = π/p. The estimates hold if nothing that the new
policy does had a propensity of 0. The decisions may have been those of a policy that learned meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from nearhand.errors import UsageError
from nearhand.records import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

Interval: TypeAlias = Literal["normal", "bootstrap"]

_Z = 1.959963984540054  # the standard normal distribution's 97.5 % quantile
_RESAMPLES = 1000
_FOLDS = 2


@dataclass(frozen=True)
class Estimate:
    """A mean reward per decision, and its 95 % interval.

    Attributes:
        effective_samples: (Σw)² / Σw² (Kish): how many decisions of the new policy's own the log is worth, about.
    """

    value: float
    low: float
    high: float
    effective_samples: float


def ips(
    rewards: NDArray[np.float64],
    propensities: NDArray[np.float64],
    target: NDArray[np.float64],
    *,
    interval: Interval = "normal",
    seed: int = 0,
) -> Estimate:
    """Inverse propensity scoring (Horvitz and Thompson 1952): the mean of w·r. Unbiased; its spread grows with w.

    Args:
        rewards: float64 [n], finite.
        propensities: float64 [n], above 0 up to 1: of the action that was taken.
        target: float64 [n], 0 to 1: the new policy's probability of that action.
        interval: ``normal``: by the standard error; ``bootstrap``: percentiles of 1,000 resamples of the decisions.
        seed: of the bootstrap.

    Raises:
        UsageError: fewer than 2 decisions, lengths that differ, a number out of its range, or no decision that the new
            policy could have made.
    """
    weights = _weights(rewards, propensities, target)
    return _estimate(weights * rewards, np.ones_like(weights), weights, interval, seed)


def self_normalised_ips(
    rewards: NDArray[np.float64],
    propensities: NDArray[np.float64],
    target: NDArray[np.float64],
    *,
    interval: Interval = "normal",
    seed: int = 0,
) -> Estimate:
    """Σ w·r / Σ w (Swaminathan and Joachims 2015): within the range of the rewards, with a bias of about 1/n.

    The arguments and errors are those of :func:`ips`. The normal interval is that of a ratio (delta method).
    """
    weights = _weights(rewards, propensities, target)
    return _estimate(weights * rewards, weights, weights, interval, seed)


def doubly_robust(
    rewards: NDArray[np.float64],
    propensities: NDArray[np.float64],
    target: NDArray[np.float64],
    chosen: NDArray[np.intp],
    features: NDArray[np.floating],
    *,
    ridge: float = 1.0,
    interval: Interval = "normal",
    seed: int = 0,
) -> Estimate:
    """The mean of Σ_a π(a)·q(a) + w·(r − q(taken)) (Dudík, Langford and Li 2011): unbiased; steadier, the better q is.

    q is a ridge regression of the rewards on the features of the taken action, with an intercept that is not penalized.
    The decisions are dealt to two folds in turn, and each one's q is learned from the other fold, so that no decision
    judges itself. The bootstrap resamples the decisions and keeps q.

    Args:
        rewards, propensities, interval, seed: see :func:`ips`.
        target: float64 [n, m], each row 0 to 1 with the sum 1: the new policy's probability of each of m actions. If a
            context has fewer, the rest of its row is 0.
        chosen: int [n], the number in 0 … m−1 of the action that was taken.
        features: float [n, m, d], finite: of each action in its context.
        ridge: above 0, the strength of the penalty.

    Raises:
        UsageError: see :func:`ips`; or shapes that do not fit, or a ridge that is not positive.
    """
    n = len(rewards)
    if target.ndim != 2 or len(target) != n or features.ndim != 3 or features.shape[:2] != target.shape:
        problem = f"have the shapes {list(target.shape)} and {list(features.shape)} for {n} rewards"
        raise UsageError(problem, place="target and features", remedy="give [n, m] and [n, m, d]")
    if chosen.shape != (n,) or not ((chosen >= 0) & (chosen < target.shape[1])).all():
        problem = f"is not {n} numbers from 0 to {target.shape[1] - 1}"
        raise UsageError(problem, place="chosen", remedy="give the position of the action that was taken")
    _check_range("target", target, (target >= 0) & (target <= 1), "probabilities from 0 to 1")
    _check_range("target", target.sum(axis=1), np.abs(target.sum(axis=1) - 1) < 1e-6, "rows that add up to 1")
    _check_range("features", features, np.isfinite(features), "finite numbers")
    if not ridge > 0:
        raise UsageError(f"is {ridge!r}", place="ridge", remedy="use a positive number")
    decisions = np.arange(n)
    weights = _weights(rewards, propensities, target[decisions, chosen])
    expected = np.empty(target.shape)
    for fold in range(_FOLDS):
        inside = decisions % _FOLDS == fold
        taken = features[decisions[~inside], chosen[~inside]].astype(np.float64)
        slope, intercept = _ridge_regression(taken, rewards[~inside], ridge)
        expected[inside] = features[inside] @ slope + intercept
    terms = (target * expected).sum(axis=1) + weights * (rewards - expected[decisions, chosen])
    return _estimate(terms, np.ones(n), weights, interval, seed)


def _ridge_regression(
    x: NDArray[np.float64], y: NDArray[np.float64], ridge: float
) -> tuple[NDArray[np.float64], float]:
    centre, mean = x.mean(axis=0), float(y.mean())
    around = x - centre
    slope = np.linalg.solve(around.T @ around + ridge * np.eye(x.shape[1]), around.T @ (y - mean))
    return slope, mean - float(centre @ slope)


def _weights(
    rewards: NDArray[np.float64], propensities: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.float64]:
    n = len(rewards)
    if n < 2 or not rewards.shape == propensities.shape == target.shape == (n,):
        problem = f"have the shapes {list(rewards.shape)}, {list(propensities.shape)} and {list(target.shape)}"
        remedy = "give one of each for every decision, and at least 2"
        raise UsageError(problem, place="rewards, propensities and target", remedy=remedy)
    _check_range("rewards", rewards, np.isfinite(rewards), "finite numbers")
    _check_range("propensities", propensities, (propensities > 0) & (propensities <= 1), "above 0 up to 1")
    _check_range("target", target, (target >= 0) & (target <= 1), "probabilities from 0 to 1")
    if not target.any():
        problem = "the new policy would have made none of the decisions"
        raise UsageError(problem, place="target", remedy="log with exploration over what the new policy would do")
    return target / propensities


def _check_range(name: str, values: NDArray[np.floating], fits: NDArray[np.bool_], noun: str) -> None:
    if not fits.all():
        wrong = values[~fits].flat[0]
        raise UsageError(f"has {wrong!s}", place=name, remedy=f"give {noun}")


def _estimate(
    numerators: NDArray[np.float64],
    denominators: NDArray[np.float64],
    weights: NDArray[np.float64],
    interval: Interval,
    seed: int,
) -> Estimate:
    """The ratio of two sums over decisions, with its interval."""
    n = len(numerators)
    value = float(numerators.sum() / denominators.sum())
    if interval == "normal":
        squares = float(((numerators - value * denominators) ** 2).sum())
        half = _Z * float(np.sqrt(squares * n / (n - 1)) / denominators.sum())
        low, high = value - half, value + half
    elif interval == "bootstrap":
        low, high = _bootstrap(numerators, denominators, seed)
    else:
        raise UsageError(f"is {interval!r}", place="interval", remedy="use 'normal' or 'bootstrap'")
    return Estimate(value, low, high, float(weights.sum() ** 2 / (weights**2).sum()))


def _bootstrap(numerators: NDArray[np.float64], denominators: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """The percentiles of 2.5 and 97.5 of the ratio over resamples; those in which nothing has weight say nothing."""
    rng = np.random.default_rng(seed)
    n = len(numerators)
    values = []
    for _ in range(_RESAMPLES):
        drawn = rng.integers(n, size=n)
        below = denominators[drawn].sum()
        if below > 0:
            values.append(numerators[drawn].sum() / below)
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
