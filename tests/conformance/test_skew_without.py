"""What is read without some events is, bit for bit, what folding the others gives, whatever the states are."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nearhand.events import RecordedEvent
from nearhand.features import (
    CandidateFeatures,
    CompiledProgram,
    FeatureFold,
    FeatureVector,
    ReplayEvent,
    compile_program,
    fold,
    read_program,
)
from nearhand.features.without import RemovableFold
from tests.conformance.programs import CANDIDATES, ITEMS, PROGRAMS, compiled, document, everything
from tests.conformance.streams import Action, Reading, clock_set_back, long_session, streams, visible_from, written
from tests.sdk import any_program

EVERYTHING = compile_program(read_program(document("everything", everything()), place="everything.json"), ITEMS)
_events = st.builds(
    lambda gap, event, item_id, seconds, tag, recorded_later: any_program.EVENT._replace(
        timestamp=any_program.EVENT.timestamp + gap,
        recorded_at=any_program.EVENT.timestamp + gap + recorded_later,
        event=event,
        item_id=item_id,
        properties={"seconds": seconds, "tag": tag, "a": {"b": seconds}},
    ),
    gap=st.sampled_from((0, 0, 1, 999, 30 * 60_000, 3_600_000, 86_400_000, 10**9, 10**10)),
    event=st.sampled_from(("item_viewed", "item_liked", "search", "own type")),
    item_id=st.sampled_from(("m_1", "m_2", "other", None)),
    seconds=st.sampled_from((0, 1, 41.5, -7, 1e15, None)),
    tag=st.sampled_from(("a", "b", ["a", "b"], ["b", "c", "a"], 7, None)),
    recorded_later=st.sampled_from((0, 0, 10**7, 10**9)),
)


@settings(max_examples=100)
@given(streams, st.integers(0, 2**32))
@example(long_session(), 0)
@example(clock_set_back(), 0)
def test_reading_without_events_is_folding_the_others(stream: tuple[int, Sequence[Action]], seed: int) -> None:
    """Every operator, with events that are late, of one millisecond, of several epochs, or were let go."""
    check(stream, seed, ["everything"])


@pytest.mark.torture
@settings(max_examples=2000)
@given(streams, st.integers(0, 2**32))
def test_reading_without_events_is_folding_the_others_2000_times(
    stream: tuple[int, Sequence[Action]], seed: int
) -> None:
    check(stream, seed, ["everything", *PROGRAMS])


def check(stream: tuple[int, Sequence[Action]], seed: int, names: Sequence[str]) -> None:
    """That a program reads the same, at one of the readings of a stream."""
    chance = random.Random(seed)
    era = chance.choice(written(*stream).eras)
    program = EVERYTHING if (name := chance.choice(names)) == "everything" else compiled(name)
    assert_as_folded(program, era.events, chance.choice(era.readings), CANDIDATES, chance)


def assert_as_folded(
    program: CompiledProgram,
    events: Sequence[ReplayEvent],
    when: Reading,
    item_ids: Sequence[str],
    chance: random.Random,
) -> None:
    """Compare, for a few variants. Some of the events may be in a checkpoint already."""
    evicted = chance.sample(events, chance.choice((0, 0, len(events) // 3)))
    rest = [event for event in events if event not in evicted]
    numbers = [event.sequence for event in rest]
    some = [frozenset(chance.sample(numbers, min(len(numbers), chance.choice((1, 1, 2, 9))))) for _ in range(4)]
    variants = [frozenset[int](), *some, frozenset(numbers), frozenset[int]()]
    with mock.patch.object(fold, "_TRIM_EVERY", 3):
        first = FeatureFold(program)
        fill(first, evicted, when.as_of)
        checkpoint = first.dump()
        taken = RemovableFold.load(program, checkpoint)
        taken.begin(chance.sample([recorded(event) for event in rest], len(rest)), when.as_of)
        times = [when.as_of, when.as_of + chance.choice((0, 1, 3_600_000))] if taken.is_whole else [when.as_of]
        for as_of in times:  # the same fold may be read again later
            vectors, candidates = taken.features_without(
                [frozenset(map(str, lacking)) for lacking in variants], as_of, item_ids, *when[1:]
            )
            for lacking, vector, of_items in zip(variants, vectors, candidates, strict=True):
                other = FeatureFold.load(program, checkpoint)
                fill(other, [event for event in rest if event.sequence not in lacking], as_of)
                assert bits(vector) == bits(other.read(as_of, *when[1:]))
                assert bits(of_items) == bits(other.candidates(as_of, item_ids, *when[1:]))


def fill(state: FeatureFold, events: Iterable[ReplayEvent], as_of: int) -> None:
    """Fold them one by one, as far as they are visible."""
    for event in events:
        state.offer(event)
        state.advance(min(as_of, visible_from(event)))


def recorded(event: ReplayEvent) -> RecordedEvent:
    """The same as the log has it; its id is its number."""
    fields: dict[str, Any] = dict(zip(ReplayEvent._fields, event, strict=True))
    return RecordedEvent(event_id=str(event.sequence), user=None, recommendation_id=None, **fields)


def bits(features: FeatureVector | CandidateFeatures) -> tuple[int, bytes, bytes]:
    """All of it, the sign of 0 included."""
    assert features.floats.dtype == np.float32
    assert features.ints.dtype == np.int32
    return features.as_of, features.floats.tobytes(), features.ints.tobytes()


def test_an_epoch_that_has_lost_all_its_events_is_no_epoch() -> None:
    """A reset's marker may have left the log, and not be in the checkpoint."""
    program = compiled("count")
    first = RecordedEvent("1", 1, 1000, 1000, 0, "item_viewed", "a", None, None, 0, {}, {})
    events = [first, *(recorded(ReplayEvent(2000, n, 2000, 0, 1, "item_viewed", "a", {}, {})) for n in (2, 3))]
    variants = [frozenset[str](), frozenset({"2"}), frozenset({"2", "3"}), frozenset({"1"})]
    taken = RemovableFold(program)
    taken.begin(events, 3000)
    vectors, _ = taken.features_without(variants, 3000, (), 0, None, {})
    assert [vector.floats.tolist() for vector in vectors] == [[2], [1], [1], [2]]


@settings(max_examples=150)
@given(any_program.programs(), st.lists(_events, max_size=12), st.integers(0, 2**32))
def test_of_any_program(content: dict[str, Any], events: Sequence[ReplayEvent], seed: int) -> None:
    program = compile_program(read_program(json.dumps(content).encode(), place="p.json"), any_program.ITEMS)
    events = [event._replace(sequence=number) for number, event in enumerate(events)]
    last = max(map(visible_from, events), default=0)
    when = Reading(last + 60_000, 120, {"seconds": 1.5, "a": "b"}, {})
    assert_as_folded(program, events, when, ("m_1", "m_2", "m_3"), random.Random(seed))
