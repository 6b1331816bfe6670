"""From ranked candidates to a list: freshness, diversity, category caps, pinned items and exploration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from nearhand.bundle.schema import Items
from nearhand.bundle.serving import Exploration, ListPolicy
from nearhand.errors import ModelError, UsageError
from nearhand.features.arithmetic import decayed
from nearhand.ranking.categories import Categories
from nearhand.records import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DAY_MS = 86_400_000
_LOG2_E = 1.4426950408889634  # nearest float64
_LN_2 = 0.6931471805599453
_OCTAVES, _STEPS = 64, 256
_GRID = 2.0**24
_COLDEST = 1e-9  # in spreads of the scores: what is that much worse is then never drawn, and no quotient overflows
_LARGEST = 1e100  # a lift in spreads: the difference of two is far from overflowing


class Uniform(Protocol):
    """A source of random numbers, such as ``random.Random`` or numpy's ``Generator``."""

    def random(self) -> float:
        """Uniform in [0, 1)."""
        ...


@dataclass(frozen=True)
class Listed:
    """A list, top first: index = position.

    Attributes:
        rows: int32 [m] item rows.
        candidates: intp [m], which of the candidates each is; -1: a pinned item that is not among them.
        scores: float64 [m], what each was chosen by, in spreads of the candidates' scores below the best of them (the
            best score itself is 0.0); 0.0 for a pinned item that is not among them.
        propensities: float64 [m], the probability with which each was chosen for its place, given those above it.
    """

    rows: NDArray[np.int32]
    candidates: NDArray[np.intp]
    scores: NDArray[np.float64]
    propensities: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)


class Listing:
    """Makes lists of a catalogue's items under one policy. Safe to share between threads.

    All is computed from IEEE 754's + − × ÷ and √, in an order that no library or processor changes, so that the same
    candidates and the same random numbers give the same list everywhere.
    """

    def __init__(self, items: Items, policy: ListPolicy, categories: Categories | None = None) -> None:
        """
        Args:
            categories: those of the policy's kind, if they are known already.
        """
        self._count = items.count
        self._diversity = float(policy.diversity)
        self._exploration = policy.exploration
        self._cap = policy.category_cap
        self._categories = (categories or Categories(items, policy.category)) if policy.category_cap else None
        self._freshness = float(policy.freshness.weight) if policy.freshness and items.added_at else 0.0
        if policy.freshness and self._freshness:
            self._half_life_ms = max(float(policy.freshness.half_life_days) * _DAY_MS, 1.0)
            self._added_at = np.array(items.added_at, np.float64)

    def make(
        self,
        rows: NDArray[np.int32],
        scores: NDArray[np.float32] | NDArray[np.float64],
        vectors: NDArray[np.float32],
        *,
        k: int,
        now_ms: int,
        keep: NDArray[np.bool_] | None = None,
        learned: NDArray[np.float64] | None = None,
        adjustment: NDArray[np.float64] | None = None,
        pinned: Mapping[int, int] | None = None,
        random: Uniform | None = None,
    ) -> Listed:
        """At most ``k`` items of the candidates, each once.

        The unit of everything that is added to a score is the spread: the standard deviation of the kept candidates'
        scores, or 1 where all are equal. An item's relevance is

            rel = (score − best score) / spread + weight · 2^(−age / half-life) + learned + adjustment

        where the second term is the policy's freshness; an item whose date is unknown has none, one from the future
        has all of it. Places are filled from the top by maximal marginal relevance (Carbonell and Goldstein, SIGIR
        1998, with λ = 1 − diversity):

            value = (1 − diversity) · rel − diversity · range · max over the items above of cos(item, item above)

        ``range`` is the best score less the worst, in spreads (1 where all are equal). This is their formula for
        scores standardised to 0 … 1, times the range: one whole range of scores weighs as much as a cosine of 1, and
        values stay in spreads. What lifts or lowers single items does not change how much diversity counts. Cosines
        are of vectors that are rounded to 2⁻²⁴, and those of a zero vector are 0.

        Each place gets the greatest value that is left; of equal ones the lower row. With exploration it is drawn
        from the best ``exploration.candidates`` that are left, with the odds exp(value / temperature) and one random
        number. A temperature below 10⁻⁹ counts as that, and odds below 2⁻⁶⁴ of the best item's as those.

        No category has more than ``category_cap`` items, pinned ones included: when what is left is all of full
        categories the list is shorter than ``k``.

        A pinned item stands at its position even if it is no candidate, unless ``keep`` leaves it out, or the pinned
        items above it have filled one of its categories. The list has no gaps: where candidates run out before its
        position, it follows the last of them. A position from ``k`` on is passed over. The items below it
        count it as above them if it is a candidate; of others no vector is known.

        Args:
            rows: int32 [n], distinct item rows, in any order.
            scores: float32 or float64 [n]; higher is better.
            vectors: float32 [n, factors]; looked at for diversity only.
            now_ms: ms since the epoch; looked at for freshness only.
            keep: bool [items], what may be listed (``Kept.mask``); None: everything.
            learned: float64 [n], in spreads, with the policy's ``learning.weight`` in it already.
            adjustment: float64 [n], in spreads: above 0 lifts an item, below lowers it.
            pinned: position → item row.
            random: needed if the policy explores; one number of it is used for each place that is not pinned.

        Raises:
            UsageError: an argument has the wrong shape, a row twice, or a row that the catalogue does not have; ``k``
                is not a positive integer; a number is not finite; ``random`` is missing.
            ModelError: a score or a vector is not finite.
        """
        self._check(rows, scores, vectors, keep, learned, adjustment, k, random)
        order = self._kept_by_row(rows, keep)
        kept = rows.take(order)
        relevance, score_range = _standardised(scores.take(order).astype(np.float64))
        if self._freshness:
            relevance += self._freshness * self._fresh(kept, now_ms)
        lifts = [lift for lift in (learned, adjustment) if lift is not None]
        for lift in lifts:
            relevance += lift.take(order)
        if lifts and not (np.abs(relevance) < _LARGEST).all():  # asked so that a NaN fails
            raise UsageError(
                f"is not finite, or beyond {_LARGEST:g} spreads",
                place="learned + adjustment",
                remedy="give finite numbers; use a Filter to leave an item out",
            )
        pool = _Pool(
            kept,
            relevance * (1.0 - self._diversity),
            vectors.take(order, axis=0) if self._diversity else None,
            self._diversity * score_range,
            self._categories,
            self._cap,
        )
        pins = self._pins(pinned or {}, keep, k, pool)
        listed: list[tuple[int, int, float, float]] = []
        while len(listed) < k:
            row = pins.pop(len(listed), None)
            drawn = pool.draw(self._exploration, random) if row is None else pool.pinned(row)
            if drawn is None:
                break
            listed.append(drawn)
        listed += [pool.pinned(pins[position]) for position in sorted(pins)]
        return _listed(listed, order)

    def _check(
        self,
        rows: NDArray[np.int32],
        scores: NDArray[np.float32] | NDArray[np.float64],
        vectors: NDArray[np.float32],
        keep: NDArray[np.bool_] | None,
        learned: NDArray[np.float64] | None,
        adjustment: NDArray[np.float64] | None,
        k: int,
        random: Uniform | None,
    ) -> None:
        if type(k) is not int or k < 1:
            raise UsageError(f"is {k!r}", place="k", remedy="ask for at least 1 item")
        if self._exploration is not None and random is None:
            raise UsageError("is missing, and the policy explores", place="random", remedy="give a random.Random")
        n = len(rows)
        if vectors.ndim != 2:
            raise UsageError(f"has the shape {list(vectors.shape)}", place="vectors", remedy="give [n, factors]")
        for name, array, expected in (
            ("rows", rows, (n,)),
            ("scores", scores, (n,)),
            ("vectors", vectors, (n, vectors.shape[1])),
            ("learned", learned, (n,)),
            ("adjustment", adjustment, (n,)),
            ("keep", keep, (self._count,)),
        ):
            if array is not None and array.shape != expected:
                problem = f"has the shape {list(array.shape)}, not {list(expected)}"
                raise UsageError(problem, place=name, remedy="give one value for each candidate; keep: for each item")

    def _kept_by_row(self, rows: NDArray[np.int32], keep: NDArray[np.bool_] | None) -> NDArray[np.intp]:
        """The candidates that may be listed, by row: the first of equal values then is the one with the lower row."""
        order = rows.argsort(kind="stable")
        ordered = rows.take(order)
        if len(ordered):
            if ordered[0] < 0 or ordered[-1] >= self._count:
                raise self._no_such_row(ordered[0] if ordered[0] < 0 else ordered[-1], "rows")
            if np.count_nonzero(twice := ordered[1:] == ordered[:-1]):
                row = ordered[int(np.argmax(twice))]
                raise UsageError(f"row {row} stands twice", place="rows", remedy="give each candidate once")
        return order if keep is None else order.compress(keep.take(ordered))

    def _fresh(self, rows: NDArray[np.int32], now_ms: int) -> NDArray[np.float64]:
        """2^(−age / half-life); 0 where the date is unknown."""
        added_at = self._added_at[rows]
        half_lives = np.maximum((now_ms - added_at) / self._half_life_ms, 0.0)
        return np.where(added_at > 0, _halved(half_lives), 0.0)

    def _pins(self, pinned: Mapping[int, int], keep: NDArray[np.bool_] | None, k: int, pool: _Pool) -> dict[int, int]:
        """Those that will be in the list. Their places in their categories are taken from the start."""
        if not pinned:
            return {}
        if len(set(pinned.values())) != len(pinned):
            raise UsageError("a row stands twice", place="pinned", remedy="pin each item to one position")
        found: dict[int, int] = {}
        for position in sorted(pinned):
            row = pinned[position]
            if position < 0:
                raise UsageError(f"has the position {position}", place="pinned", remedy="0 is the top of the list")
            if not 0 <= row < self._count:
                raise self._no_such_row(row, "pinned")
            if position < k and (keep is None or keep[row]) and pool.pin(row):
                found[position] = row
        return found

    def _no_such_row(self, row: int, place: str) -> UsageError:
        problem = f"has the row {row}, and the catalogue 0 … {self._count - 1}"
        return UsageError(problem, place=place, remedy="give rows of this bundle's catalogue")


class _Pool:
    """The candidates of one list that are left, and what the items above do to them."""

    def __init__(
        self,
        rows: NDArray[np.int32],
        relevance: NDArray[np.float64],
        vectors: NDArray[np.float32] | None,
        likeness_weight: float,
        categories: Categories | None,
        cap: int,
    ) -> None:
        """
        Args:
            rows: ascending.
            relevance: what a value is before likeness is taken off; becomes the pool's own.
            vectors: None: likeness does not count.
            categories: None: they do not count.
        """
        self._rows = rows
        self._relevance = relevance  # -inf for those that are not left
        self._pinned: dict[int, tuple[int, float]] = {}  # row → index, relevance
        self._units = None if vectors is None else _units(vectors)
        self._nearest = np.zeros(len(rows))
        self._values = np.empty(len(rows))
        self._compared = False
        self._likeness_weight = likeness_weight
        self._categories = categories
        self._codes = None if categories is None else categories.codes(rows).T.copy()  # [categories, candidates]
        self._cap = cap
        self._counts: dict[int, int] = {}

    def pin(self, row: int) -> bool:
        """Take an item's room in its categories now, to place it later; False: one of them is full."""
        if self._categories is not None and any(
            self._counts.get(code) == self._cap for code in self._categories.codes_of(row)
        ):
            return False
        index = int(self._rows.searchsorted(row))
        if index < len(self._rows) and self._rows[index] == row:
            self._pinned[row] = index, float(self._relevance[index])  # before it may fill, and so close, its category
            self._close(index)
        self._count(row)
        return True

    def pinned(self, row: int) -> tuple[int, int, float, float]:
        """Place an item that :meth:`pin` took: its row, index (-1: it is no candidate), value and propensity."""
        if row not in self._pinned:
            return row, -1, 0.0, 1.0
        index, relevance = self._pinned[row]
        value = relevance - self._likeness_weight * float(self._nearest[index])
        self._compare(index)
        return row, index, value, 1.0

    def draw(self, exploration: Exploration | None, random: Uniform | None) -> tuple[int, int, float, float] | None:
        """Place the best that is left, or one of the best: its row, index, value and propensity; None: none is left."""
        values = self._relevance
        if self._compared:
            values = np.multiply(self._nearest, -self._likeness_weight, out=self._values)
            values += self._relevance
        index, propensity = int(values.argmax()) if len(values) else -1, 1.0
        if index < 0 or values[index] == -np.inf:
            return None
        if exploration is not None and random is not None:
            best = (-values).argsort(kind="stable")[: exploration.candidates]
            best = best[values[best] > -np.inf]
            drawn, propensity = _draw(values[best], float(exploration.temperature), random)
            index = int(best[drawn])
        row, value = int(self._rows[index]), float(values[index])
        self._close(index)
        self._count(row)
        self._compare(index)
        return row, index, value, propensity

    def _close(self, chosen: int | NDArray[np.bool_]) -> None:
        self._relevance[chosen] = -np.inf

    def _count(self, row: int) -> None:
        """Count an item in its categories; what is in one that is full then is not left."""
        if self._categories is None or self._codes is None:
            return
        for code in self._categories.codes_of(row):
            if code >= 0:
                self._counts[code] = count = self._counts.get(code, 0) + 1
                if count == self._cap:
                    for own in self._codes:
                        self._close(own == code)

    def _compare(self, index: int) -> None:
        """All that follow stand below this candidate."""
        if self._units is not None:
            if self._compared:
                np.maximum(self._nearest, np.dot(self._units, self._units[index], out=self._values), out=self._nearest)
            else:
                np.dot(self._units, self._units[index], out=self._nearest)
                self._compared = True


def intra_list_diversity(vectors: NDArray[np.float32]) -> float:
    """1 − the mean cosine over all pairs of a list's item vectors, float32 [m, factors]; 0.0 for fewer than 2.

    0 is a list of one direction. A zero vector has the cosine 0 with every other. (Intra-list similarity, Ziegler et
    al., WWW 2005, as a distance.)

    Raises:
        ModelError: a vector is not finite.
    """
    count = len(vectors)
    if count < 2:
        return 0.0
    units = _units(vectors)
    total = units.sum(axis=0)
    pairs = (total @ total - np.square(units).sum()) / 2
    return float(1.0 - pairs / (count * (count - 1) / 2))


def _standardised(scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """How far each score is below the best, and the worst is: in standard deviations, or as 0 and 1 if all are equal.

    Raises:
        ModelError: a score is not finite.
    """
    if not len(scores):
        return scores, 1.0
    best, worst = float(scores.max()), float(scores.min())
    if not math.isfinite(best - worst):
        raise ModelError("a score is not finite", place="scores", remedy="use the retrieval's scores, or popularity")
    if best == worst:
        return np.zeros(len(scores)), 1.0
    below = (scores - best) / (best - worst)  # in 0 … -1 first, so that no square over- or underflows
    centred = below - float(below.sum()) / len(below)
    spread = math.sqrt(float(np.square(centred).sum()) / len(below))
    return below / spread, 1.0 / spread


def _units(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """The vectors at length 1 (a zero vector stays one), rounded to whole multiples of 2⁻²⁴.

    The products of such numbers are whole multiples of 2⁻⁴⁸ and no sum of them here is above 2: float64 holds all of
    them exactly, so that a cosine has the same bits whatever order, blocks or fused operations it is summed with.

    Raises:
        ModelError: a vector is not finite.
    """
    units = vectors.astype(np.float64)
    squares = np.square(units).sum(axis=1)
    if not np.isfinite(squares).all():
        raise ModelError("an item vector is not finite", place="vectors", remedy="use another variant")
    units *= (_GRID / np.sqrt(np.where(squares > 0, squares, 1.0)))[:, None]
    np.rint(units, out=units)
    units *= 1 / _GRID
    return units


def _draw(values: NDArray[np.float64], temperature: float, random: Uniform) -> tuple[int, float]:
    """An index, drawn with the odds exp(value / temperature) by inverting their sums, and its probability.

    Args:
        values: best first.
    """
    odds = _halved((float(values[0]) - values) * (_LOG2_E / max(temperature, _COLDEST)))
    sums = np.add.accumulate(odds)
    total = float(sums[-1])
    # The greatest float64 below 1 is 1 − 2⁻⁵³; times the total that is still below the total when it is rounded.
    drawn = int(sums.searchsorted(random.random() * total, side="right"))
    return drawn, float(odds[drawn]) / total


def _halved(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """2^−x for x ≥ 0, within a relative 2e-13, and with the same bits everywhere; for x above 64 it is that of 64."""
    exact = np.minimum(x, _OCTAVES) * _STEPS
    steps = np.rint(exact)
    y = (steps - exact) * (_LN_2 / _STEPS)
    powers = _powers()[steps.astype(np.intp)]
    found: NDArray[np.float64] = powers + powers * y * (1.0 + y * (1 / 2 + y * (1 / 6)))
    return found


@cache
def _powers() -> NDArray[np.float64]:
    """2^(−i/256) for i = 0 … 64·256, and on to the end of that octave."""
    octave = [decayed(step, _STEPS) for step in range(_STEPS)]
    return np.ldexp(octave, -np.arange(_OCTAVES + 1)[:, None]).ravel()


def _listed(places: list[tuple[int, int, float, float]], order: NDArray[np.intp]) -> Listed:
    if not places:
        return Listed(np.empty(0, np.int32), np.empty(0, np.intp), np.empty(0), np.empty(0))
    rows, indices, scores, propensities = zip(*places, strict=True)
    found = np.array(indices, np.intp)
    candidates = np.where(found < 0, -1, order[found]) if len(order) else found
    return Listed(np.array(rows, np.int32), candidates, np.array(scores), np.array(propensities))
