"""Which past events made an item come up, for models whose scores are no sum: what a score loses without them.

The contribution of a group of events to an item is the item's score less its score if the group had not happened, with
all else as it was (occlusion, or leave-one-out; Robnik-Šikonja and Kononenko 2008). Of a model that is a sum these are
its parts. Otherwise they do not sum to the score: groups that tell the model the same have small contributions, since
each stands in for the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nearhand.errors import ModelError, UsageError
from nearhand.retrieval import HistoryItem

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIMIT = 12
"""How many history items are occluded for a list, unless the caller says otherwise: each is one more run of it."""


def occlude(
    score_all: Callable[[Sequence[frozenset[str]]], NDArray[np.float64]], groups: Sequence[frozenset[str]]
) -> NDArray[np.float64]:
    """The contribution of each group of events to each item's score.

    Args:
        score_all: called once, with the event ids that each variant of the history lacks; the first variant lacks
            nothing. Gives float64 [variants, n_items], so a model can run all variants as one batch.
        groups: the event ids of each group.

    Returns:
        float64 [n_items, n_groups]: score − score without the group. Positive: the group speaks for the item.

    Raises:
        UsageError: ``score_all`` gives another shape.
        ModelError: a score is not finite.
    """
    variants = [frozenset[str](), *groups]
    scores = np.asarray(score_all(variants), np.float64)
    if scores.ndim != 2 or len(scores) != len(variants):
        raise UsageError(
            f"the scores have the shape {list(scores.shape)}",
            place="score_all",
            remedy=f"give one row of item scores for each of the {len(variants)} variants",
        )
    if not np.isfinite(scores).all():
        variant = int(np.argmin(np.isfinite(scores).all(axis=1)))
        without = f"without {len(variants[variant])} events" if variant else "of the whole history"
        raise ModelError(
            f"a score {without} is not finite", place="explanation", remedy="check the model on rows of few events"
        )
    return np.ascontiguousarray((scores[0] - scores[1:]).T)


def promising(
    history: Sequence[HistoryItem], *, limit: int = LIMIT, prior: NDArray[np.float64] | None = None
) -> tuple[HistoryItem, ...]:
    """The history items that are worth occluding, in the history's order.

    They are those whose prior has the largest magnitude, in any of the recommended items; of equal ones, and without a
    prior, the most recent. A quarter of the limit is for the most recent of the others, which features of recency and
    sequence rest on. What matters little to the retrieval model may matter to a ranker, so this is a guess, made
    because each item costs a run. Explain with what it gives: ``explain(promising(…), occlude(…), …)``.

    Args:
        history: oldest first.
        limit: how many at most, from 0.
        prior: float64 [m, n], such as the :func:`nearhand.explain.contributions` of the retrieval model.

    Raises:
        UsageError: ``limit`` is no such number, or the prior is of another shape.
    """
    if type(limit) is not int or limit < 0:
        raise UsageError(f"limit is {limit!r}", place="promising", remedy="give a whole number from 0")
    count = len(history)
    weight = np.zeros(count)
    if prior is not None:
        if prior.ndim != 2 or prior.shape[1] != count:
            raise UsageError(
                f"the prior has the shape {list(prior.shape)}",
                place="promising",
                remedy=f"give one column for each of the {count} history items",
            )
        weight = np.abs(prior).max(axis=0, initial=0.0)
    order = np.lexsort((-np.arange(count), -weight))
    by_prior, others = order[: limit - limit // 4], order[limit - limit // 4 :]
    recent = np.sort(others)[::-1][: limit // 4]
    return tuple(history[place] for place in sorted([*by_prior.tolist(), *recent.tolist()]))


def event_ids(item: HistoryItem) -> frozenset[str]:
    """The events behind a history item, as one group: together they are what the user did with it."""
    return frozenset(event.event_id for event in item.events)
