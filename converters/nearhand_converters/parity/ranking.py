"""Ranking metrics for each user, and paired bootstrap intervals of their means."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from nearhand.bundle.schema import Estimate

Ranking = NDArray[np.int32]
"""Item rows, best first, at least as long as the largest cut-off unless the catalogue is shorter."""


def ndcg_at(k: int, ranking: Ranking, targets: NDArray[np.integer]) -> float:
    """Normalized discounted cumulative gain with binary relevance (Järvelin, Kekäläinen 2002); targets not empty."""
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    hits = np.isin(ranking[:k], targets)
    return float(discounts[: len(hits)][hits].sum() / discounts[: min(k, len(targets))].sum())


def recall_at(k: int, ranking: Ranking, targets: NDArray[np.integer]) -> float:
    """Share of the targets among the first ``k``; targets not empty."""
    return float(np.isin(targets, ranking[:k]).mean())


def overlap_at(k: int, ranking: Ranking, reference: Ranking) -> float:
    """Share of the reference's first ``k`` that are among the ranking's first ``k``."""
    return float(np.isin(reference[:k], ranking[:k]).mean())


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
        """mean(metric) / mean(reference) − 1, paired by user, over the users ``among``; 0 where both means are 0."""
        chosen = np.ones(len(metric), np.bool_) if among is None else among
        a, b = metric * chosen, reference * chosen
        return _estimate(float(_ratio(a.sum(), b.sum())), _ratio(*self._sums(a, b)))

    def _sums(self, *metrics: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64 [metrics, samples]: each metric's sum over each resample."""
        columns = np.stack(metrics, axis=1)
        chunks = [self._counts[i : i + 64].astype(np.float64) @ columns for i in range(0, len(self._counts), 64)]
        return np.concatenate(chunks).T


def _ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    equal = a == b
    return np.where(equal, 0.0, a / np.where(b == 0, np.where(equal, 1.0, np.nan), b) - 1)


def _estimate(value: float, samples: NDArray[np.float64]) -> Estimate:
    low, high = np.nanpercentile(samples, [2.5, 97.5])
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
