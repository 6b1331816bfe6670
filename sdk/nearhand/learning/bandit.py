"""A linear contextual bandit: learns, from one user's answers, what to add to the scores of a ranker that stays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nearhand.bundle.serving import Learning
from nearhand.errors import UsageError
from nearhand.events import JSON

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_DIMENSION = 65  # 64 features and a bias
MAX_REWARD = 10.0

_VERSION = 1
_MAX_STORED = 1e9  # the sums of a million rewards of 10 are far below
# Of the trace of G: rounding errors of a million updates cannot make A lose its positive definiteness below it.
_LEAST_RIDGE = 1e-9


class LinearBandit:
    """LinUCB (Li, Chu, Langford, Schapire 2010, algorithm 1 with one shared model) that forgets.

    With the features x_i (at most of unit length) and rewards r_i of the i-th latest update, i = 0, 1, …, it keeps
    G = Σ γⁱ·x_i·x_iᵀ and b = Σ γⁱ·r_i·x_i, with γ = 1 − 1/memory. Then A = ridge·I + G: the ridge does not fade, so
    what is forgotten returns to the prior. θ = A⁻¹·b is the ridge regression of the rewards that are remembered.

    A is factored anew (Cholesky) when a bonus is asked for after an update. Nothing is kept of an inverse, so no error
    adds up in it; one update costs O(d²), one factor O(d³). Its size is fixed. The same calls give the same bits.

    Args:
        policy: ``optimism``, ``ridge`` and ``memory`` are used here.
        dimension: d, the number of features, 1 to 65.

    Raises:
        UsageError: the dimension is out of range.
    """

    def __init__(self, policy: Learning, dimension: int) -> None:
        if not 1 <= dimension <= MAX_DIMENSION:
            problem = f"{dimension} is not from 1 to {MAX_DIMENSION}"
            raise UsageError(problem, place="LinearBandit.dimension", remedy="project the features to fewer")
        self.dimension = dimension
        self._optimism = float(policy.optimism)
        self._ridge = float(policy.ridge)
        self._gamma = 1.0 - 1.0 / policy.memory
        self.reset()

    @property
    def updates(self) -> int:
        """How many updates there have been since the reset."""
        return self._updates

    def reset(self) -> None:
        """Forget everything."""
        self._gram = np.zeros((self.dimension, self.dimension))
        self._response = np.zeros(self.dimension)
        self._updates = 0
        self._solved: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def bonus(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        """The reward that is hoped for: θ·x + optimism·√(xᵀA⁻¹x), the upper confidence bound of LinUCB.

        Args:
            x: float [n, d]; rows longer than 1 are scaled to length 1.

        Returns:
            float64 [n], finite.

        Raises:
            UsageError: the shape is another one, or a number is not finite.
        """
        self._check_shape(x, (len(x), self.dimension))
        rows = x.astype(np.float64)
        squares = np.einsum("ij,ij->i", rows, rows)
        _check_finite(float(squares.sum()))
        rows /= np.sqrt(np.maximum(squares, 1.0))[:, None]
        if self._solved is None:
            self._solved = self._factored()
        inverse, theta = self._solved
        whitened = rows @ inverse.T
        found: NDArray[np.float64] = rows @ theta + self._optimism * np.sqrt(np.einsum("ij,ij->i", whitened, whitened))
        return found

    def update(self, x: NDArray[np.floating], reward: float) -> None:
        """Learn that features have earned a reward.

        Args:
            x: float [d]; scaled to length 1 if it is longer.
            reward: cut to −10 … 10.

        Raises:
            UsageError: the shape is another one, or a number is not finite.
        """
        row = self._row(x)
        self._gram *= self._gamma
        self._gram += row[:, None] * row  # symmetric to the bit, so the sum stays so
        self._response *= self._gamma
        self._response += _cut(reward) * row
        self._updates += 1
        self._solved = None

    def correct(self, x: NDArray[np.floating], before: float, after: float, update: int) -> None:
        """Make an earlier update have had another reward: b is what it would be, to rounding, had it come with it.

        Args:
            x: the features of that update.
            before, after: its reward, and what it shall have been.
            update: what :attr:`updates` was after that update.

        Raises:
            UsageError: the shape is another one, or a number is not finite.
        """
        row = self._row(x)
        weight = self._gamma ** (self._updates - update)
        self._response += weight * (_cut(after) - _cut(before)) * row
        self._solved = None

    def dump(self) -> dict[str, JSON]:
        """All that was learned, as JSON whose numbers read back are the same to the bit.

        ``version`` 1; ``dimension`` d; ``updates``; ``gram``: d·(d+1)/2 numbers, the lower triangle of G row by row;
        ``response``: the d numbers of b. The ridge and the optimism are the policy's, not part of it.
        """
        gram = self._gram[np.tril_indices(self.dimension)].tolist()
        return {
            "version": _VERSION,
            "dimension": self.dimension,
            "updates": self._updates,
            "gram": gram,
            "response": self._response.tolist(),
        }

    def load(self, content: object) -> None:
        """Become what :meth:`dump` wrote.

        Raises:
            UsageError: it is no dump of a bandit of this dimension. Nothing has changed.
        """
        d = self.dimension
        if not isinstance(content, Mapping) or content.get("version") != _VERSION:
            raise _no_dump("version", f"is not {_VERSION}")
        if content.get("dimension") != d:
            raise _no_dump("dimension", f"is {content.get('dimension')!r}, not {d}")
        updates = content.get("updates")
        if type(updates) is not int or updates < 0:
            raise _no_dump("updates", f"is {updates!r}, not a whole number from 0")
        lower, response = (_numbers(content, name, n) for name, n in (("gram", d * (d + 1) // 2), ("response", d)))
        gram = np.zeros((d, d))
        gram[np.tril_indices(d)] = lower
        gram.T[np.tril_indices(d)] = lower
        before = self._gram, self._response, self._updates, self._solved
        self._gram, self._response, self._updates = gram, response, updates
        try:
            self._solved = self._factored()
        except np.linalg.LinAlgError:
            self._gram, self._response, self._updates, self._solved = before
            raise _no_dump("gram", "is not positive semidefinite") from None

    def _factored(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """L⁻¹ [d, d] with LLᵀ = A, and θ [d]. So xᵀA⁻¹x = |L⁻¹x|², which rounding cannot make negative."""
        identity = np.eye(self.dimension)
        ridge = max(self._ridge, _LEAST_RIDGE * float(np.trace(self._gram)))
        inverse = np.linalg.solve(np.linalg.cholesky(self._gram + ridge * identity), identity)
        return inverse, inverse.T @ (inverse @ self._response)

    def _row(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        """One item's features as float64, not longer than 1."""
        self._check_shape(x, (self.dimension,))
        row: NDArray[np.float64] = x.astype(np.float64)
        square = float(row @ row)
        _check_finite(square)
        return row / math.sqrt(square) if square > 1.0 else row

    def _check_shape(self, x: NDArray[np.floating], shape: tuple[int, ...]) -> None:
        if x.shape != shape:
            problem = f"have the shape {list(x.shape)}, not {list(shape)}"
            raise UsageError(problem, place="the bandit's features", remedy="give the features of this bandit")


def _check_finite(squares: float) -> None:
    """Of features: a sum of their squares that is not finite tells of one that is not, or is beyond all measure."""
    if not math.isfinite(squares):
        raise UsageError("are not all finite", place="the bandit's features", remedy="leave the item out")


def _cut(reward: float) -> float:
    if not math.isfinite(reward):
        raise UsageError(f"{reward!r} is not finite", place="the bandit's reward", remedy="give a finite number")
    return min(max(float(reward), -MAX_REWARD), MAX_REWARD)


def _numbers(content: Mapping[str, object], name: str, count: int) -> NDArray[np.float64]:
    values = content.get(name)
    if not isinstance(values, list) or len(values) != count or any(type(value) not in (int, float) for value in values):
        raise _no_dump(name, f"is not a list of {count} numbers")
    if not all(abs(value) <= _MAX_STORED for value in values):  # NaN is not either
        raise _no_dump(name, f"has a number that is not within ± {_MAX_STORED:g}")
    return np.array(values, np.float64)


def _no_dump(field: str, problem: str) -> UsageError:
    return UsageError(problem, place=f"bandit {field}", remedy="give what dump() of such a bandit gave, or reset it")
