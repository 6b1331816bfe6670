"""An explanation: a sentence, and the events that are its evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nearhand.bundle.schema import Items
from nearhand.retrieval import HistoryItem

NAMED_ITEMS = 2
"""How many past items a sentence names."""


@dataclass(frozen=True)
class Evidence:
    """One event behind a recommendation.

    Attributes:
        contribution: the additive part of the recommendation's score that this event accounts for.
    """

    event_id: str
    event: str
    item_id: str
    title: str
    contribution: float


@dataclass(frozen=True)
class Explanation:
    """Why an item is recommended.

    Attributes:
        text: a sentence for the user.
        evidence: every history event with its contribution, largest first. They sum to the recommendation's score.
            Empty where the recommendation does not come from the history.
    """

    text: str
    evidence: tuple[Evidence, ...] = ()


POPULAR = Explanation("Popular with many people")


def explain(
    history: Sequence[HistoryItem], parts: NDArray[np.float64], items: Items, verbs: Mapping[str, str]
) -> Explanation:
    """The explanation of one recommended item from the ``parts`` float64 [n] of its n history items."""
    evidence = []
    for item, part in zip(history, parts.tolist(), strict=True):
        total = sum(event.confidence for event in item.events)
        for event in item.events:
            share = part * event.confidence / total
            item_id, title = items.item_ids[item.row], items.titles[item.row]
            evidence.append(Evidence(event.event_id, event.event, item_id, title, share))
    evidence.sort(key=lambda one: -one.contribution)  # stable: ties stay in history order
    return Explanation(_sentence(history, parts, items, verbs), tuple(evidence))


def _sentence(
    history: Sequence[HistoryItem], parts: NDArray[np.float64], items: Items, verbs: Mapping[str, str]
) -> str:
    strongest = [i for i in np.argsort(-parts, kind="stable")[:NAMED_ITEMS] if parts[i] > 0]
    if not strongest:
        return "Because of your recent activity"
    clauses: dict[str, list[str]] = {}
    for i in strongest:
        main = max(history[i].events, key=lambda event: event.confidence)
        clauses.setdefault(verbs[main.event], []).append(items.titles[history[i].row])
    return "Because you " + " and ".join(f"{verb} {' and '.join(titles)}" for verb, titles in clauses.items())
