"""Evidence: every variant beside the source model on the same held-out users, and the budget it must keep."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nearhand.bundle.schema import Budget, Evidence, Precision, RuntimeName, SliceEvidence, VariantEvidence
from nearhand.retrieval import Retriever, padded
from nearhand_converters.errors import BudgetError, DataError
from nearhand_converters.graph.fold_in import fold_in_exact
from nearhand_converters.parity.holdout import HeldOutUser
from nearhand_converters.parity.ranking import (
    Bootstrap,
    Rankings,
    Targets,
    concentrated,
    decimal,
    ndcg_at,
    overlap_at,
    recall_at,
)
from nearhand_converters.parity.source import SourceModel, top_rows

DEPTH = 50
"""How deep every ranking goes: the largest cut-off of the metrics."""

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class RankedUsers:
    """The rankings of one model for all users, with their metrics float64 [users].

    Attributes:
        ndcg_head, ndcg_tail: NDCG@10 against the targets that are head or tail items only; NaN where there is none.
    """

    rankings: Rankings
    ndcg: NDArray[np.float64]
    recall: NDArray[np.float64]
    ndcg_head: NDArray[np.float64]
    ndcg_tail: NDArray[np.float64]


class Evaluation:
    """Held-out users, the source model's rankings for them, and the measurement of variants against it."""

    def __init__(
        self,
        source: SourceModel,
        users: Sequence[HeldOutUser],
        popularity: Sequence[int],
        *,
        bootstrap_samples: int,
        progress: Progress,
    ) -> None:
        """
        Raises:
            DataError: there are fewer than two held-out users, so no interval can be computed.
        """
        if len(users) < 2:
            raise DataError(
                f"{len(users)} users have interactions to hold out",
                place="evaluation",
                remedy="give data in which users have at least 5 positive interactions",
            )
        self._users = users
        self._head = concentrated(popularity)
        self._samples = bootstrap_samples
        self._bootstrap = Bootstrap(len(users), bootstrap_samples)
        self._progress = progress
        self._targets = Targets([user.targets for user in users], len(popularity))
        lengths = np.array([len(user.all_rows) for user in users])
        self._short = lengths <= np.median(lengths)
        counts = np.asarray(popularity, np.float64)
        self._source = self._ranked("source model", lambda u: source.scores(u.rows, u.confidences))
        self._whole = self._beyond_the_window(source)
        self._popular = self._ranked("popularity", lambda _: counts)

    def measure(
        self, runtime: RuntimeName, precision: Precision, size: int, retriever: Retriever, table: NDArray[np.float32]
    ) -> VariantEvidence:
        """Run one variant for every user.

        Args:
            size: bytes of its encoder and index.
            table: the variant's own (de-quantized) item rows, for the error of its arithmetic.
        """
        rankings, worst = _empty(len(self._users)), 0.0
        for done, user in enumerate(self._users):
            self._progress(f"{runtime}/{precision}", done, len(self._users))
            encoded = retriever.encode(*padded(user.rows, user.confidences, retriever.window))
            found = retriever.retrieve(encoded.vector, exclude=_excluded(user), k=DEPTH)
            _put(rankings, done, found.rows)
            exact = fold_in_exact(table, user.rows, user.confidences)
            size_of_exact = float(np.linalg.norm(exact))
            if size_of_exact > 0:
                error = float(np.linalg.norm(encoded.vector[0] - exact)) / size_of_exact
                worst = max(worst, error if math.isfinite(error) else math.inf)  # max() would pass over a NaN
        self._progress(f"{runtime}/{precision}", len(self._users), len(self._users))
        ranked, source, bootstrap = self._metrics(rankings), self._source, self._bootstrap
        return VariantEvidence(
            runtime=runtime,
            precision=precision,
            bytes=size,
            ndcg_at_10=bootstrap.mean(ranked.ndcg),
            recall_at_50=bootstrap.mean(ranked.recall),
            ndcg_change=bootstrap.relative_change(ranked.ndcg, source.ndcg),
            recall_change=bootstrap.relative_change(ranked.recall, source.recall),
            top10_overlap=decimal(float(overlap_at(10, rankings, source.rankings).mean())),
            user_vector_error=decimal(worst, 9),
            slices=(
                self._slice("short histories", ranked.ndcg, source.ndcg, self._short),
                self._slice("long histories", ranked.ndcg, source.ndcg, ~self._short),
                self._slice("head items", ranked.ndcg_head, source.ndcg_head),
                self._slice("tail items", ranked.ndcg_tail, source.ndcg_tail),
            ),
        )

    def evidence(
        self, data: str, budget: Budget, variants: Sequence[VariantEvidence], dropped: Mapping[str, str]
    ) -> Evidence:
        """The whole evidence, as it stands in the manifest."""
        source, bootstrap = self._source, self._bootstrap
        return Evidence(
            data=data,
            users=len(self._users),
            bootstrap_samples=self._samples,
            budget=budget,
            source_ndcg_at_10=bootstrap.mean(source.ndcg),
            source_recall_at_50=bootstrap.mean(source.recall),
            window_ndcg_change=bootstrap.relative_change(source.ndcg, self._whole.ndcg),
            popularity_ndcg_at_10=bootstrap.mean(self._popular.ndcg),
            variants=tuple(variants),
            dropped=dict(dropped),
        )

    def _ranked(self, stage: str, scores: Callable[[HeldOutUser], NDArray[np.float64]]) -> RankedUsers:
        rankings = _empty(len(self._users))
        for done, user in enumerate(self._users):
            self._progress(stage, done, len(self._users))
            _put(rankings, done, top_rows(scores(user), _excluded(user), DEPTH))
        self._progress(stage, len(self._users), len(self._users))
        return self._metrics(rankings)

    def _beyond_the_window(self, source: SourceModel) -> RankedUsers:
        """The source model with whole histories; where the window holds all of it, the ranking is known already."""
        rankings = self._source.rankings.copy()
        for i, user in enumerate(self._users):
            if len(user.rows) < len(user.all_rows):
                scores = source.scores(user.all_rows, user.all_confidences)
                _put(rankings, i, top_rows(scores, _excluded(user), DEPTH))
        return self._metrics(rankings)

    def _metrics(self, rankings: Rankings) -> RankedUsers:
        every, head, tail = self._targets, self._targets.only(self._head), self._targets.only(~self._head)
        ndcg = [ndcg_at(10, targets.hits(rankings), targets.counts) for targets in (every, head, tail)]
        return RankedUsers(rankings, ndcg[0], recall_at(DEPTH, every.hits(rankings), every.counts), ndcg[1], ndcg[2])

    def _slice(
        self,
        name: str,
        metric: NDArray[np.float64],
        reference: NDArray[np.float64],
        among: NDArray[np.bool_] | None = None,
    ) -> SliceEvidence:
        chosen = ~np.isnan(metric) if among is None else among
        change = self._bootstrap.relative_change(np.nan_to_num(metric), np.nan_to_num(reference), chosen)
        return SliceEvidence(name, int(chosen.sum()), change)


def check_budget(budget: Budget, variants: Sequence[VariantEvidence]) -> None:
    """Refuse variants that lose more than the budget allows.

    Raises:
        BudgetError: names every variant and quantity that is over, and by how much.
    """
    faults = []
    for variant in variants:
        name = f"{variant.runtime}/{variant.precision}"
        for what, low, bound in (
            ("relative change of NDCG@10", variant.ndcg_change.low, budget.ndcg_change),
            ("relative change of Recall@50", variant.recall_change.low, budget.recall_change),
        ):
            if low < bound:
                faults.append(f"{name}: the lower bound of the {what} is {low}, below {bound}")
        if variant.top10_overlap < budget.top10_overlap:
            faults.append(f"{name}: top-10 overlap {variant.top10_overlap} is below {budget.top10_overlap}")
        if variant.user_vector_error > budget.user_vector_error:
            faults.append(
                f"{name}: user vectors are off by {variant.user_vector_error}, over {budget.user_vector_error}"
            )
    if faults:
        raise BudgetError(
            "; ".join(faults),
            place="evidence",
            remedy="nothing was written; leave that variant out (--target, --quantize) or change [bundle.budget]",
        )


def _excluded(user: HeldOutUser) -> set[int]:
    return {*user.seen, *user.rows.tolist()}


def _empty(users: int) -> Rankings:
    return np.full((users, DEPTH), -1, np.int32)


def _put(rankings: Rankings, user: int, rows: NDArray[np.int32]) -> None:
    rankings[user, : min(len(rows), DEPTH)] = rows[:DEPTH]
