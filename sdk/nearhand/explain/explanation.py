"""An explanation: a sentence, and the events that are its evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from nearhand.bundle.schema import Items
from nearhand.records import dataclass
from nearhand.retrieval import HistoryItem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nearhand.explain.texts import Message

Basis: TypeAlias = Literal["score", "device"]

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
        evidence: the history's events with their contributions, largest first. Of an additive model these are all
            events, and they sum to the recommendation's score; else the events that were examined, each with what the
            score loses without its item's events. Empty where the recommendation does not come from the history.
        basis: ``score``: these are the reasons of the recommendation's score. ``device``: the score is the cloud's,
            and these are the reasons that the device's own models have for the item; the contributions are parts of
            their score.
    """

    text: str
    evidence: tuple[Evidence, ...]
    basis: Basis

    # A list of ten holds hundreds of Evidence objects, and an app shows those of one item, if any: they, and the text,
    # are made when they are first read. Until then the attribute is not set, so Python asks __getattr__ for it.
    def __init__(
        self,
        text: str | Callable[[], str],
        evidence: tuple[Evidence, ...] | Callable[[], tuple[Evidence, ...]] = (),
        basis: Basis = "score",
    ) -> None:
        values = vars(self)
        values["_make_text" if callable(text) else "text"] = text
        values["_make_evidence" if callable(evidence) else "evidence"] = evidence
        values["basis"] = basis

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            """Called for a field that is not set yet."""
            values = vars(self)
            if (make := values.get(f"_make_{name}")) is None:
                raise AttributeError(name)
            return values.setdefault(name, make())

        def __getstate__(self) -> object:
            """For copies and pickles: what it says, without what it is made of."""
            return {"text": self.text, "evidence": self.evidence, "basis": self.basis}


def plain(message: Message, locale: str = "en", **fields: str) -> Explanation:
    """An explanation that does not come from the history; see :func:`nearhand.explain.say`."""

    def text() -> str:
        from nearhand.explain.texts import say  # no list waits for the texts of six languages

        return say(message, locale, **fields)

    return Explanation(text)


POPULAR = plain("popular")


def explain(
    history: Sequence[HistoryItem],
    parts: NDArray[np.float64],
    items: Items,
    verbs: Mapping[str, str],
    locale: str = "en",
) -> list[Explanation]:
    """The explanation of each recommended item. Texts and evidence are made when they are first read.

    Args:
        parts: float64 [m, n], the part of each of the n history items in each of m scores.
        verbs: event type → English past-tense verb. Other languages have verbs of their own for the types that every
            bundle knows, and do without one for a bundle's own types.
        locale: such as ``de-AT``; in a language that there are no texts of, explanations are in English.
    """
    return [
        Explanation(partial(_sentence, history, row, items, verbs, locale), partial(_evidence, history, row, items))
        for row in parts
    ]


def _evidence(history: Sequence[HistoryItem], parts: NDArray[np.float64], items: Items) -> tuple[Evidence, ...]:
    """Each history item's part, divided among its events as their confidences are."""
    evidence = []
    for item, part in zip(history, parts.tolist(), strict=True):
        total = sum(event.confidence for event in item.events)
        for event in item.events:
            item_id, title = items.item_id(item.row), items.title(item.row)
            share = part * event.confidence / total
            evidence.append(Evidence(event.event_id, event.event, item_id, title, share))
    return tuple(sorted(evidence, key=lambda one: -one.contribution))  # stable: ties stay in history order


def _sentence(
    history: Sequence[HistoryItem], parts: NDArray[np.float64], items: Items, verbs: Mapping[str, str], locale: str
) -> str:
    from nearhand.explain.texts import because  # as above

    strongest = [i for i in (-parts).argsort(kind="stable")[:NAMED_ITEMS].tolist() if parts[i] > 0]
    acts = []
    for i in strongest:
        main = max(history[i].events, key=lambda event: event.confidence)
        acts.append((main.event, items.title(history[i].row)))
    return because(acts, verbs, locale)
