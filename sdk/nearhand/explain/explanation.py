"""An explanation: a sentence, and the events that are its evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

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


@dataclass(frozen=True, init=False)
class Explanation:
    """Why an item is recommended.

    Attributes:
        text: a sentence for the user.
        evidence: every history event with its contribution, largest first. They sum to the recommendation's score.
            Empty where the recommendation does not come from the history.
    """

    text: str
    evidence: tuple[Evidence, ...]

    # A list of ten holds hundreds of Evidence objects, and an app shows those of one item, if any: they are made when
    # they are first read. Until then `evidence` is not set, so Python asks __getattr__ for it.
    def __init__(self, text: str, evidence: tuple[Evidence, ...] | Callable[[], tuple[Evidence, ...]] = ()) -> None:
        vars(self).update({"text": text, "_make" if callable(evidence) else "evidence": evidence})

    def __getattr__(self, name: str) -> tuple[Evidence, ...]:
        if name != "evidence" or "_make" not in vars(self):
            raise AttributeError(name)
        return vars(self).setdefault("evidence", vars(self)["_make"]())  # type: ignore[no-any-return]


POPULAR = Explanation("Popular with many people")


def explain(
    history: Sequence[HistoryItem], parts: NDArray[np.float64], items: Items, verbs: Mapping[str, str]
) -> list[Explanation]:
    """The explanation of each recommended item.

    Args:
        parts: float64 [m, n], the part of each of the n history items in each of m scores.
        verbs: event type → past-tense verb.
    """
    return [
        Explanation(_sentence(history, row, items, verbs), partial(_evidence, history, row, items)) for row in parts
    ]


def _evidence(history: Sequence[HistoryItem], parts: NDArray[np.float64], items: Items) -> tuple[Evidence, ...]:
    """Each history item's part, divided among its events as their confidences are."""
    evidence = []
    for item, part in zip(history, parts.tolist(), strict=True):
        total = sum(event.confidence for event in item.events)
        for event in item.events:
            item_id, title = items.item_ids[item.row], items.titles[item.row]
            share = part * event.confidence / total
            evidence.append(Evidence(event.event_id, event.event, item_id, title, share))
    return tuple(sorted(evidence, key=lambda one: -one.contribution))  # stable: ties stay in history order


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
