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
) -> list[Explanation]:
    """The explanation of each recommended item.

    Args:
        parts: float64 [m, n], the part of each of the n history items in each of m scores.
        verbs: event type → past-tense verb.
    """
    facts: list[dict[str, object]] = []
    item_of_event, shares = [], []
    for i, item in enumerate(history):
        total = sum([event.confidence for event in item.events])
        about = {"item_id": items.item_ids[item.row], "title": items.titles[item.row]}
        for event in item.events:
            facts.append({"event_id": event.event_id, "event": event.event, **about})
            item_of_event.append(i)
            shares.append(event.confidence / total)
    by_event = parts[:, item_of_event] * np.array(shares)
    orders = np.argsort(-by_event, axis=1, kind="stable")  # ties stay in history order
    sorted_parts = np.take_along_axis(by_event, orders, axis=1)
    return [
        Explanation(_sentence(history, row, items, verbs), tuple(map(_evidence, map(facts.__getitem__, order), values)))
        for row, order, values in zip(parts, orders.tolist(), sorted_parts.tolist(), strict=True)
    ]


def _evidence(fact: dict[str, object], contribution: float) -> Evidence:
    """``Evidence(**fact, contribution=contribution)`` in half the time, without the __init__ of a frozen dataclass.

    Hundreds are made for each list: every event of the history, for every recommended item.
    """
    evidence = _new(Evidence)
    evidence.__dict__.update(fact, contribution=contribution)
    return evidence


_new = object.__new__


def _sentence(
    history: Sequence[HistoryItem], parts: NDArray[np.float64], items: Items, verbs: Mapping[str, str]
) -> str:
    strongest = [i for i in np.argsort(-parts, kind="stable")[:NAMED_ITEMS].tolist() if parts[i] > 0]
    if not strongest:
        return "Because of your recent activity"
    clauses: dict[str, list[str]] = {}
    for i in strongest:
        main = max(history[i].events, key=lambda event: event.confidence)
        clauses.setdefault(verbs[main.event], []).append(items.titles[history[i].row])
    return "Because you " + " and ".join(f"{verb} {' and '.join(titles)}" for verb, titles in clauses.items())
