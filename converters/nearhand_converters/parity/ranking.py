"""Ranking metrics for each user, and paired bootstrap intervals of their means."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from nearhand.bundle.schema import Estimate

Rankings = NDArray[np.int32]
"""int32 [users, depth]: item rows, best first; −1 behind the end where the catalogue has no more."""


class Targets:
    """The items that each user turned to: what a ranking should have had near its top."""

    def __init__(self, rows: Sequence[NDArray[np.integer]], items: int) -> None:
        """
        Args:
            rows: for each user, distinct item rows; may be empty.
            items: number of items in the catalogue.
        """
        self._items = items
        self.counts = np.array([len(own) for own in rows], np.int64)
        """int64 [users]"""
        users = np.repeat(np.arange(len(rows)), self.counts)
        self._keys = users * items + np.concatenate([np.empty(0, np.int64), *rows]).astype(np.int64)

    def hits(self, rankings: Rankings) -> NDArray[np.bool_]:
        """bool [users, depth]: whether the item at that rank is a target."""
        users = np.arange(len(rankings))[:, None]
        return np.isin(users * self._items + rankings, self._keys) & (rankings >= 0)

    def only(self, among: NDArray[np.bool_]) -> Targets:
        """Those targets alone whose item is ``among``, bool [items]."""
        chosen = among[self._keys % self._items]
        left = Targets([], self._items)
        left._keys = self._keys[chosen]
        left.counts = np.bincount(left._keys // self._items, minlength=len(self.counts))
        return left


def ndcg_at(k: int, hits: NDArray[np.bool_], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Normalized discounted cumulative gain with binary relevance (Järvelin, Kekäläinen 2002), float64 [users].

    Args:
        hits: bool [users, depth >= k].
        counts: int64 [users], how many targets there are; NaN is returned where there is none.
    """
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[np.nan], np.cumsum(discounts)])[np.minimum(counts, k)]
    ndcg: NDArray[np.float64] = hits[:, :k] @ discounts / ideal
    return ndcg


def recall_at(k: int, hits: NDArray[np.bool_], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the targets among the first ``k``, float64 [users]; NaN where there is no target."""
    found = hits[:, :k].sum(axis=1)
    recall: NDArray[np.float64] = np.divide(found, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return recall


def overlap_at(k: int, rankings: Rankings, references: Rankings) -> NDArray[np.float64]:
    """Share of the reference's first ``k`` that are among the ranking's first ``k``, float64 [users]."""
    mine, theirs = rankings[:, None, :k], references[:, :k, None]
    found = ((mine == theirs) & (theirs >= 0)).any(axis=2).sum(axis=1)
    overlap: NDArray[np.float64] = found / (references[:, :k] >= 0).sum(axis=1)
    return overlap


class Bootstrap:
    """Resamples users with replacement; the same resamples for every metric, so differences are paired."""

    def __init__(self, users: int, samples: int, seed: int = 0) -> None:
        generator = np.random.Generator(np.random.PCG64(seed))
        # How often each user was drawn, by sample. 255 draws of one user of two or more do not happen.
        self._counts = np.empty((samples, users), np.uint8)
        for row in self._counts:
            row[:] = np.bincount(generator.integers(0, users, users), minlength=users)

    def mean(self, metric: NDArray[np.float64]) -> Estimate:
        """The mean of a metric float64 [users] with its 95 % percentile interval."""
        return _estimate(float(metric.mean()), self._sums(metric)[0] / len(metric))

    def relative_change(
        self, metric: NDArray[np.float64], reference: NDArray[np.float64], among: NDArray[np.bool_] | None = None
    ) -> Estimate:
        """mean(metric) / mean(reference) − 1, paired by user, over the users ``among``.

        Where the reference's mean is 0 the change is 0 if the metric's is 0 too, else 1: a gain, but of no known size.
        """
        chosen = np.ones(len(metric), np.bool_) if among is None else among
        a, b = metric * chosen, reference * chosen
        return _estimate(float(_ratio(a.sum(), b.sum())), _ratio(*self._sums(a, b)))

    def _sums(self, *metrics: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64 [metrics, samples]: each metric's sum over each resample."""
        columns = np.stack(metrics, axis=1)
        chunks = [self._counts[i : i + 64].astype(np.float64) @ columns for i in range(0, len(self._counts), 64)]
        return np.concatenate(chunks).T


def _ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """a / b − 1 for sums of non-negative metrics; finite, because a manifest holds no NaN."""
    change: NDArray[np.float64] = np.where(b == 0, np.sign(a), a / np.where(b == 0, 1.0, b) - 1)
    return change


def _estimate(value: float, samples: NDArray[np.float64]) -> Estimate:
    low, high = np.percentile(samples, [2.5, 97.5])
    return Estimate(decimal(value), decimal(float(low)), decimal(float(high)))


def decimal(value: float, places: int = 6) -> Decimal:
    """A measured number as it stands in a manifest."""
    return Decimal(f"{value:.{places}f}")


def concentrated(popularity: Sequence[int], share: float = 0.5) -> NDArray[np.bool_]:
    """bool [items]: the head, the fewest most popular items that have ``share`` of all interactions."""
    counts = np.asarray(popularity, np.int64)
    order = np.argsort(-counts, kind="stable")
    needed = int(np.searchsorted(np.cumsum(counts[order]), share * counts.sum())) + 1
    head = np.zeros(len(counts), np.bool_)
    head[order[:needed]] = True
    return head
