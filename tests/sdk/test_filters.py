"""Filters: what may be recommended, against the definition written down naively, and the app's own predicate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearhand.bundle.schema import Items
from nearhand.errors import UsageError
from nearhand.monitoring import Meter
from nearhand.ranking import Catalogue, Filter
from nearhand.testing.clock import ManualClock

GENRES = (("drama",), ("drama", "crime"), (), ("crime",), ("comedy", "drama"), ("comedy",))
DIRECTORS = ("Mann", "Mann", "", "Varda", "Varda", "drama")  # the last one's name is also a genre
AGES = (0, 16, 12, 18, 6, 0)
COUNT = len(GENRES)
ALL = np.arange(COUNT, dtype=np.int32)


def make_items(*, ages: tuple[int, ...] = AGES) -> Items:
    return Items(
        item_ids=tuple(f"m_{row}" for row in range(COUNT)),
        titles=("Title",) * COUNT,
        years=(2000,) * COUNT,
        genres=GENRES,
        directors=DIRECTORS,
        popularity=(1,) * COUNT,
        min_ages=ages,
    )


CATALOGUE = Catalogue(make_items())


def allowed(filter: Filter, catalogue: Catalogue = CATALOGUE) -> list[int]:
    return np.flatnonzero(filter.over(catalogue).mask).tolist()


IDS = st.sets(st.sampled_from([*(f"m_{row}" for row in range(COUNT)), "of an older catalogue"]))
FILTERS = st.fixed_dictionaries(
    {
        "seen": st.sets(st.integers(0, COUNT - 1)),
        "blocked_items": IDS,
        "blocked_categories": st.sets(st.sampled_from(["drama", "crime", "comedy", "Mann", "Varda", "western", ""])),
        "unavailable": IDS,
        "user_age": st.sampled_from([None, 12, 11, 16, 0]),
        "only": st.none() | IDS,
    }
)


@given(FILTERS, st.booleans(), st.sets(st.integers(0, COUNT - 1)))
def test_what_is_kept_is_what_the_definition_says(fields: dict[str, Any], rated: bool, asked: set[int]) -> None:
    def may(row: int) -> bool:
        categories = {*GENRES[row], DIRECTORS[row]} - {""}
        return not (
            row in fields["seen"]
            or f"m_{row}" in fields["blocked_items"] | fields["unavailable"]
            or categories & fields["blocked_categories"]
            or (rated and fields["user_age"] is not None and AGES[row] > fields["user_age"])
            or (fields["only"] is not None and f"m_{row}" not in fields["only"])
        )

    applied = Filter(**fields).over(CATALOGUE if rated else Catalogue(make_items(ages=())))
    assert applied.mask.dtype == np.bool_
    assert applied.mask.tolist() == [may(row) for row in range(COUNT)]
    assert applied.excluded_rows() == [row for row in range(COUNT) if not may(row)]
    kept = applied.keep(np.array(sorted(asked, reverse=True), np.int32))
    assert kept.mask.tolist() == [row in asked and may(row) for row in range(COUNT)]
    assert kept.failures == ()


def test_without_a_choice_everything_is_allowed() -> None:
    assert allowed(Filter()) == ALL.tolist()
    assert allowed(Filter(only=())) == []


@pytest.mark.parametrize(
    ("age", "rows"),
    [(0, [0, 5]), (5, [0, 5]), (6, [0, 4, 5]), (12, [0, 2, 4, 5]), (17, [0, 1, 2, 4, 5]), (18, [0, 1, 2, 3, 4, 5])],
)
def test_an_item_is_allowed_from_its_age_on(age: int, rows: list[int]) -> None:
    assert allowed(Filter(user_age=age)) == rows
    assert allowed(Filter(user_age=age), Catalogue(make_items(ages=()))) == ALL.tolist()


def test_filters_of_one_catalogue_do_not_touch_each_other() -> None:
    first = Filter(blocked_categories={"drama"}).over(CATALOGUE)
    first.mask[:] = False
    assert allowed(Filter(blocked_categories={"drama"})) == [2, 3]
    assert allowed(Filter(blocked_categories={"crime"})) == [0, 2, 4, 5]


def test_the_predicate_is_asked_once_for_each_candidate_that_all_else_allows() -> None:
    asked: list[str] = []

    def predicate(item_id: str) -> bool:
        asked.append(item_id)
        return item_id != "m_2"

    applied = Filter(seen={1}, predicate=predicate).over(CATALOGUE)
    assert applied.excluded_rows() == [1]
    assert asked == []
    kept = applied.keep(np.array([4, 1, 2, 0, 4], np.int32))
    assert asked == ["m_0", "m_2", "m_4"]
    assert np.flatnonzero(kept.mask).tolist() == [0, 4]


@pytest.mark.parametrize("yes", [True, np.True_])
def test_a_predicate_may_return_what_numpy_calls_true(yes: Any) -> None:
    assert Filter(predicate=lambda _: yes).over(CATALOGUE).keep(ALL).mask.all()


@pytest.mark.degrades
def test_an_item_on_which_the_predicate_fails_is_left_out_and_can_be_counted() -> None:
    def predicate(item_id: str) -> bool:
        if item_id in ("m_1", "m_3"):
            raise KeyError(item_id)
        return True

    kept = Filter(predicate=predicate).over(CATALOGUE).keep(ALL)
    assert np.flatnonzero(kept.mask).tolist() == [0, 2, 4, 5]
    assert [str(failure.__cause__) for failure in kept.failures] == ["'m_1'", "'m_3'"]
    meter = Meter(ManualClock())
    for failure in kept.failures:
        meter.degraded("an item was left out", failure)
    expected = "an item was left out: Filter.predicate: raised KeyError; return True or False for every item id"
    assert meter.degradations() == {expected: 2}


@pytest.mark.parametrize(("answer", "kind"), [(None, "NoneType"), (1, "int"), ("yes", "str")])
def test_an_answer_that_is_neither_true_nor_false_is_a_failure(answer: Any, kind: str) -> None:
    kept = Filter(predicate=lambda _: answer).over(CATALOGUE).keep(ALL[:2])
    assert not kept.mask.any()
    assert [failure.problem for failure in kept.failures] == [f"returned a {kind}"] * 2


def test_what_stops_the_program_is_not_held_up() -> None:
    def predicate(_: str) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Filter(predicate=predicate).over(CATALOGUE).keep(ALL)


@pytest.mark.parametrize("field", ["blocked_items", "blocked_categories", "unavailable", "only"])
def test_a_single_text_is_refused(field: str) -> None:
    text: Any = "m_1"
    with pytest.raises(UsageError, match=f"Filter.{field}: is the text 'm_1'"):
        Filter(**{field: text})


@pytest.mark.parametrize("age", [-1, 12.5, True, "12"])
def test_an_age_is_whole_years(age: Any) -> None:
    with pytest.raises(UsageError, match=r"Filter\.user_age"):
        Filter(user_age=age)


@pytest.mark.parametrize("row", [-1, COUNT])
def test_a_seen_row_is_one_of_the_catalogue(row: int) -> None:
    with pytest.raises(UsageError, match=r"Filter\.seen"):
        Filter(seen=[0, row]).over(CATALOGUE)
