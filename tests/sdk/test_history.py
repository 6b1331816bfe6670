"""From events to the encoder's history: what counts, in which order, and how much."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearhand.bundle.schema import Policy
from nearhand.events import RecordedEvent
from nearhand.retrieval import History, HistoryFold, padded

ROWS = {f"m_{row}": row for row in range(12)}
CONFIDENCES = {
    "item_viewed": Decimal("0.1"),  # tenths, because their float sums do not cancel out
    "item_liked": Decimal("0.2"),
    "item_saved": Decimal("1"),
    "item_disliked": Decimal("-0.3"),
}
TYPES = (*CONFIDENCES, "impression", "recommendation_dismissed")


def make_policy(*, window: int = 5, cap: str = "0.5", seen: tuple[str, ...] = ("item_viewed",)) -> Policy:
    return Policy(
        window=window,
        confidences=CONFIDENCES,
        confidence_cap=Decimal(cap),
        seen=(*seen, "recommendation_dismissed"),
        candidates=100,
        verbs=dict.fromkeys(CONFIDENCES, "met"),
    )


def make_event(
    sequence: int, event: str, item_id: str | None, timestamp: int | None = None, epoch: int = 0
) -> RecordedEvent:
    when = sequence if timestamp is None else timestamp
    return RecordedEvent(f"e{sequence}", sequence, when, when, 0, event, item_id, None, None, epoch, {}, {})


def fold(events: Iterable[RecordedEvent], **policy: Any) -> HistoryFold:
    folded = HistoryFold(make_policy(**policy), ROWS)
    folded.fold(events)
    return folded


def confidences(history: History) -> dict[int, float]:
    return {item.row: item.confidence for item in history.items}


@st.composite
def logs(draw: st.DrawFn) -> list[RecordedEvent]:
    """Events in the order of recording; they happened in any order, some of them at once."""
    items = st.sampled_from([*list(ROWS)[:4], "stranger", None])  # few, so that events meet on an item
    each = st.tuples(st.sampled_from(TYPES), items, st.integers(0, 8))
    drawn = draw(st.lists(each, max_size=40))
    return [make_event(number, *fields) for number, fields in enumerate(drawn, start=1)]


@given(logs(), st.data())
def test_neither_the_order_nor_the_portions_of_folding_matter(log: list[RecordedEvent], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(log))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log)), max_size=4)))
    at_once, piecewise = fold(log), HistoryFold(make_policy(), ROWS)
    for start, end in zip([0, *cuts], [*cuts, len(log)], strict=True):
        piecewise.fold(shuffled[start:end])
        piecewise.history()  # what it keeps for later must not go stale
    assert piecewise.history() == at_once.history()
    assert piecewise.whole_history() == at_once.whole_history()
    assert (piecewise.seen, piecewise.unknown_items) == (at_once.seen, at_once.unknown_items)


@given(logs(), st.integers(1, 5))
def test_the_history_is_what_the_definition_says(log: list[RecordedEvent], window: int) -> None:
    """Against the definition written down naively, in exact arithmetic."""
    folded = fold(log, window=window)
    sums: dict[int, Decimal] = {}
    latest: dict[int, tuple[int, int]] = {}
    behind: dict[int, list[tuple[tuple[int, int], str]]] = {}
    for event in log:
        if event.item_id in ROWS and event.event in CONFIDENCES:
            row, order = ROWS[event.item_id], (event.timestamp, event.sequence)
            sums[row] = sums.get(row, Decimal(0)) + CONFIDENCES[event.event]
            latest[row] = max(latest.get(row, order), order)
            behind.setdefault(row, []).append((order, event.event_id))
    left = sorted((row for row in sums if sums[row] != 0), key=lambda row: latest[row])[-window:]
    history = folded.history()
    assert [item.row for item in history.items] == left
    assert [item.confidence for item in history.items] == [
        pytest.approx(float(max(Decimal("-0.5"), min(Decimal("0.5"), sums[row]))), rel=1e-12) for row in left
    ]
    for item in history.items:
        assert [event.event_id for event in item.events] == [event_id for _, event_id in sorted(behind[item.row])]
    assert folded.unknown_items == sum(event.item_id == "stranger" for event in log)
    seen = {"item_viewed", "recommendation_dismissed"}
    assert folded.seen == {ROWS[event.item_id] for event in log if event.item_id in ROWS and event.event in seen}


def test_repeats_add_up_within_the_cap_either_way() -> None:
    views = [make_event(n, "item_viewed", "m_1") for n in range(1, 4)]
    dislikes = [make_event(n, "item_disliked", "m_2") for n in range(4, 8)]
    likes = [make_event(n, "item_liked", "m_3") for n in range(8, 18)]
    found = confidences(fold(views + dislikes + likes).history())
    assert found == {1: pytest.approx(0.3), 2: -0.5, 3: 0.5}


def test_a_capped_item_keeps_all_of_its_events() -> None:
    (item,) = fold(make_event(n, "item_liked", "m_3") for n in range(1, 11)).history().items
    assert len(item.events) == 10


def test_an_item_whose_events_cancel_out_is_gone_and_may_come_back() -> None:
    # As floats 0.1 + 0.2 − 0.3 is 5.6e-17, which would be a history item that pushes its own kind away.
    folded = fold(
        [
            make_event(1, "item_viewed", "m_1"),
            make_event(2, "item_liked", "m_1"),
            make_event(3, "item_disliked", "m_1"),
            make_event(4, "item_saved", "m_2"),
        ]
    )
    assert confidences(folded.history()) == {2: 0.5}
    assert 1 in folded.seen
    folded.fold([make_event(5, "item_liked", "m_1")])
    assert confidences(folded.history()) == {2: 0.5, 1: pytest.approx(0.2)}


def test_the_cap_is_on_the_sum_and_not_on_its_way() -> None:
    """Ten likes and one dislike is still a like: the events are summed first."""
    likes = [make_event(n, "item_liked", "m_1") for n in range(1, 11)]
    folded = fold([*likes, make_event(11, "item_disliked", "m_1")])
    assert confidences(folded.history()) == {1: 0.5}


def test_a_cancelled_item_takes_no_place_in_the_window() -> None:
    events = [make_event(n, "item_saved", f"m_{n}") for n in (1, 2, 3)]
    cancelled = [make_event(4, "item_viewed", "m_4"), make_event(5, "item_liked", "m_4")]
    folded = fold([*events, *cancelled, make_event(6, "item_disliked", "m_4")], window=2)
    assert [item.row for item in folded.history().items] == [2, 3]


def test_the_window_keeps_the_most_recent_items_by_when_they_happened_then_by_sequence() -> None:
    events = [
        make_event(1, "item_saved", "m_1", timestamp=50),
        make_event(2, "item_saved", "m_2", timestamp=50),
        make_event(3, "item_saved", "m_3", timestamp=10),  # recorded last, happened first
        make_event(4, "item_saved", "m_4", timestamp=90),
        make_event(5, "item_viewed", "m_4", timestamp=20),
    ]
    assert [item.row for item in fold(events, window=3).history().items] == [1, 2, 4]
    assert [item.row for item in fold(events, window=2).history().items] == [2, 4]
    assert [item.row for item in fold(events, window=2).whole_history().items] == [3, 1, 2, 4]


def test_a_new_event_on_an_old_item_makes_it_recent() -> None:
    folded = fold(make_event(n, "item_saved", f"m_{n}") for n in range(1, 8))
    assert [item.row for item in folded.history().items] == [3, 4, 5, 6, 7]
    folded.fold([make_event(8, "item_viewed", "m_1")])
    assert [item.row for item in folded.history().items] == [4, 5, 6, 7, 1]


def test_events_without_confidence_item_or_catalogue_entry_leave_no_history() -> None:
    folded = fold(
        [
            make_event(1, "impression", "m_1"),
            make_event(2, "recommendation_dismissed", "m_2"),
            make_event(3, "search", None),
            make_event(4, "item_liked", "stranger"),
            make_event(5, "impression", "stranger"),
        ]
    )
    assert folded.history() == History(())
    assert folded.seen == {2}
    assert folded.unknown_items == 2


def test_padding_fills_up_with_rows_that_no_item_has() -> None:
    rows, given_confidences = fold([make_event(1, "item_liked", "m_7")]).history().padded(4)
    assert (rows.tolist(), rows.dtype.name) == ([7, -1, -1, -1], "int32")
    assert given_confidences.tolist() == [pytest.approx(0.2), 0, 0, 0]
    assert given_confidences.dtype.name == "float32"
    assert [array.tolist() for array in padded([], [], 2)] == [[-1, -1], [0, 0]]


def test_a_reset_begins_anew() -> None:
    before = [make_event(1, "item_liked", "m_7"), make_event(2, "item_viewed", "gone")]
    reset = make_event(3, "preferences_reset", None, epoch=1)
    found = fold([*before, reset, make_event(4, "item_viewed", "m_3", epoch=1)])
    assert [item.row for item in found.history().items] == [3]
    assert found.seen == {3}
    assert found.unknown_items == 0
    assert fold([*before, reset]).history().items == ()
