"""The sentence, and the order of the evidence."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict, replace

import numpy as np
import pytest

from nearhand.bundle.schema import Items
from nearhand.explain import POPULAR, Evidence, Explanation, explain
from nearhand.retrieval import HistoryItem
from nearhand.retrieval.history import HistoryEvent

VERBS = {"item_viewed": "watched", "item_liked": "liked", "item_disliked": "disliked", "item_saved": "saved"}
TITLES = ("Alien", "Brazil", "Casablanca", "Drive")
ITEMS = Items(
    item_ids=("a", "b", "c", "d"), titles=TITLES, years=(0,) * 4, genres=((),) * 4, directors=("",) * 4,
    popularity=(0,) * 4,
)  # fmt: skip


def item(row: int, *events: tuple[str, float]) -> HistoryItem:
    behind = tuple(HistoryEvent(f"{row}-{number}", *event) for number, event in enumerate(events))
    return HistoryItem(row, sum(confidence for _, confidence in events), behind)


def told(history: list[HistoryItem], *parts: float) -> Explanation:
    return explain(history, np.array([parts]), ITEMS, VERBS)[0]


VIEWED, LIKED, DISLIKED = ("item_viewed", 1.0), ("item_liked", 2.0), ("item_disliked", -1.5)


@pytest.mark.parametrize(
    ("events", "parts", "text"),
    [
        ((VIEWED, VIEWED), (0.2, 0.5), "Because you watched Brazil and Alien"),
        ((VIEWED, VIEWED, VIEWED), (0.1, 0.3, 0.2), "Because you watched Brazil and Casablanca"),
        ((VIEWED,), (0.2,), "Because you watched Alien"),
        ((VIEWED, LIKED), (0.2, 0.5), "Because you liked Brazil and watched Alien"),
        ((LIKED, VIEWED), (0.5, 0.2), "Because you liked Alien and watched Brazil"),
        ((LIKED, VIEWED), (0.5, 0.0), "Because you liked Alien"),
        ((LIKED, VIEWED), (0.5, -0.1), "Because you liked Alien"),
        ((LIKED, DISLIKED), (0.5, 0.0), "Because you liked Alien"),
        ((VIEWED, VIEWED, VIEWED), (0.2, 0.2, 0.2), "Because you watched Alien and Brazil"),
        ((VIEWED, VIEWED), (0.0, -0.3), "Because of your recent activity"),
        ((DISLIKED,), (0.0,), "Because of your recent activity"),
        ((), (), "Because of your recent activity"),
    ],
)
def test_the_sentence_names_the_two_strongest(
    events: tuple[tuple[str, float], ...], parts: tuple[float, ...], text: str
) -> None:
    history = [item(row, event) for row, event in enumerate(events)]
    assert told(history, *parts).text == text


def test_the_verb_is_that_of_the_items_weightiest_event() -> None:
    assert told([item(0, VIEWED, LIKED, VIEWED)], 0.3).text == "Because you liked Alien"
    assert told([item(0, DISLIKED, LIKED)], 0.3).text == "Because you liked Alien"


def test_evidence_is_every_event_largest_first_and_ties_in_history_order() -> None:
    explanation = told([item(0, VIEWED), item(1, VIEWED, VIEWED), item(2, LIKED), item(3, DISLIKED)], 0.2, 0.4, 0.5, 0)
    assert [(one.event_id, one.contribution) for one in explanation.evidence] == [
        ("2-0", 0.5), ("0-0", 0.2), ("1-0", 0.2), ("1-1", 0.2), ("3-0", pytest.approx(0)),
    ]  # fmt: skip
    first = explanation.evidence[0]
    assert (first.event, first.item_id, first.title) == ("item_liked", "c", "Casablanca")


def test_an_event_against_its_item_counts_against_it() -> None:
    explanation = told([item(0, LIKED, DISLIKED)], 0.1)  # 2 − 1.5 leaves 0.5
    assert {one.event: one.contribution for one in explanation.evidence} == {
        "item_liked": pytest.approx(0.4), "item_disliked": pytest.approx(-0.3),
    }  # fmt: skip


def test_each_recommended_item_has_an_explanation_of_its_own() -> None:
    history = [item(0, VIEWED), item(1, LIKED, VIEWED)]
    parts = np.array([[0.2, 0.0], [0.1, 0.6], [-0.1, -0.2]])
    together = explain(history, parts, ITEMS, VERBS)
    assert together == [told(history, *row) for row in parts.tolist()]
    assert [one.text for one in together] == [
        "Because you watched Alien", "Because you liked Brazil and watched Alien", "Because of your recent activity",
    ]  # fmt: skip
    assert [[each.event_id for each in one.evidence] for one in together] == [
        ["0-0", "1-0", "1-1"], ["1-0", "1-1", "0-0"], ["1-1", "0-0", "1-0"],
    ]  # fmt: skip


def test_no_recommended_item_no_explanation() -> None:
    assert explain([item(0, VIEWED)], np.zeros((0, 1)), ITEMS, VERBS) == []


def test_evidence_is_an_ordinary_value() -> None:
    (one,) = told([item(0, VIEWED)], 0.2).evidence
    assert one == Evidence("0-0", "item_viewed", "a", "Alien", 0.2)
    assert hash(one) == hash(Evidence("0-0", "item_viewed", "a", "Alien", 0.2))
    assert asdict(one) == vars(one)
    with pytest.raises(FrozenInstanceError):
        one.contribution = 1.0  # type: ignore[misc]


def test_what_is_popular_has_no_evidence() -> None:
    assert (POPULAR.text, POPULAR.evidence) == ("Popular with many people", ())


def test_text_and_evidence_are_made_when_first_read_and_then_kept() -> None:
    made: list[str] = []

    def text() -> str:
        made.append("text")
        return "Because"

    def evidence() -> tuple[Evidence, ...]:
        made.append("evidence")
        return (Evidence("0-0", "item_viewed", "a", "Alien", 0.2),)

    lazy = Explanation(text, evidence)
    assert made == []
    assert (lazy.text, lazy.text) == ("Because", "Because")
    assert made == ["text"]
    assert lazy.evidence is lazy.evidence
    assert made == ["text", "evidence"]


def test_a_lazy_explanation_is_an_ordinary_value() -> None:
    evidence = (Evidence("0-0", "item_viewed", "a", "Alien", 0.2),)
    lazy, ready = Explanation(lambda: "Because", lambda: evidence), Explanation("Because", evidence)
    assert lazy == ready
    assert hash(lazy) == hash(ready)
    assert repr(Explanation(lambda: "Because", lambda: evidence)) == repr(ready)
    assert replace(Explanation(lambda: "Because", lambda: evidence), text="So") == Explanation("So", evidence)
    assert asdict(Explanation(lambda: "Because")) == {"text": "Because", "evidence": (), "basis": "score"}
    with pytest.raises(FrozenInstanceError):
        lazy.text = "So"  # type: ignore[misc]
    with pytest.raises(AttributeError, match="reason"):
        _ = lazy.reason  # type: ignore[attr-defined]


def test_explanations_can_be_copied_and_sent_before_they_are_read() -> None:
    (one,) = explain([item(0, VIEWED)], np.array([[0.2]]), ITEMS, VERBS)
    for copied in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert copied == told([item(0, VIEWED)], 0.2)


def test_explaining_ten_items_makes_no_text_and_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar is 50 µs for ten items; what would break it is work that is done before anybody asks."""
    history = [item(row % 4, *[VIEWED] * 3) for row in range(256)]
    parts = np.random.Generator(np.random.PCG64(1)).normal(size=(10, 256))

    def too_early(*_: object) -> object:
        raise AssertionError("nobody has read it yet")

    for name in ("explanation._sentence", "explanation._evidence", "texts.because"):
        monkeypatch.setattr(f"nearhand.explain.{name}", too_early)
    assert len(explain(history, parts, ITEMS, VERBS, "de")) == 10
