"""No skew: living through a history and replaying it give the same features, bit for bit, on every machine."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence
from unittest import mock

from hypothesis import example, given, settings

from nearhand.features import CompiledProgram, FeatureFold, Label, ReplayEvent, fold, replay_profile
from tests.conformance.compute_features import Device, candidates_of, reading
from tests.conformance.programs import CANDIDATES, PROGRAMS, compiled
from tests.conformance.streams import Action, Era, Reading, Tape, long_session, streams, visible_from, written

STREAMS = int(os.environ.get("NEARHAND_STREAMS", "200"))
"""How many streams each operator is tried with."""


@settings(max_examples=STREAMS)
@given(streams)
@example(long_session())
def test_living_and_replaying_give_the_same_features(stream: tuple[int, Sequence[Action]]) -> None:
    """Each operator with each kind of state, through one stream after another."""
    tape = written(*stream)
    for name in PROGRAMS:
        lived = live(name, tape)
        for how, replay in REPLAYS.items():
            replayed = [each for era in tape.eras for each in replay(compiled(name), era)]
            assert lived == replayed, f"{name}: lived through, and replayed {how}"


def live(name: str, tape: Tape) -> list[bytes]:
    """What a device reads."""
    device = Device((compiled(name), compiled(name, "2.0.0")), CANDIDATES)
    with mock.patch.object(fold, "_TRIM_EVERY", 3):  # so that short streams trim, too
        for step in tape.steps:
            device.play(step)
    return device.readings


def in_one_batch(program: CompiledProgram, era: Era) -> list[bytes]:
    """Replayed as for training: a label for each reading and candidate."""
    item_ids = candidates_of(program, CANDIDATES)
    labels = [
        Label(as_of, offset, item_id, context, pushed)
        for as_of, offset, context, pushed in era.readings
        for item_id in item_ids
    ]
    rows = [row.floats.tobytes() + row.ints.tobytes() for row in replay_profile(program, era.events, labels)]
    return [b"".join(rows[first : first + len(item_ids)]) for first in range(0, len(rows), len(item_ids))]


def with_restarts(program: CompiledProgram, era: Era) -> list[bytes]:
    """Replayed with events that come in any order, and with dump and load anywhere."""
    chance = random.Random(len(era.events))
    first = min(each.as_of for each in era.readings)
    state = FeatureFold(program)
    for event in chance.sample(era.events, len(era.events)):
        state.offer(event)
        if chance.random() < 0.1:
            state.advance(min(first, visible_from(event)))
            state = FeatureFold.load(program, state.dump())
    found = {}
    for place in sorted(range(len(era.readings)), key=lambda place: era.readings[place].as_of):
        found[place] = read(state, era.readings[place])
        if chance.random() < 0.2:
            state = FeatureFold.load(program, state.dump())
    return [found[place] for place in range(len(found))]


def in_order(program: CompiledProgram, era: Era) -> list[bytes]:
    """By the definition: for each reading a fresh state that is given what counts, in order, and nothing else."""
    return [read(folded(program, counting(era, each.as_of)), each) for each in era.readings]


def in_any_order(program: CompiledProgram, era: Era) -> list[bytes]:
    """The same, in an order that has nothing to do with time."""
    chance = random.Random(len(era.events))
    events = [counting(era, each.as_of) for each in era.readings]
    return [
        read(folded(program, chance.sample(some, len(some))), each)
        for some, each in zip(events, era.readings, strict=True)
    ]


def counting(era: Era, as_of: int) -> list[ReplayEvent]:
    """What features at an instant are made of: the visible events of the latest epoch, in order."""
    visible = [event for event in era.events if event.recorded_at < as_of and event.timestamp <= as_of]
    epoch = max((event.epoch for event in visible), default=0)
    found = [event for event in visible if event.epoch == epoch]
    return sorted(found, key=lambda event: (event.timestamp, event.sequence))


def folded(program: CompiledProgram, events: Iterable[ReplayEvent]) -> FeatureFold:
    """A fresh state that takes in each event before it sees the next."""
    state = FeatureFold(program)
    for event in events:
        state.offer(event)
        state.advance(visible_from(event))
    return state


def read(state: FeatureFold, when: Reading) -> bytes:
    """A reading of a state."""
    return reading(state, when.as_of, when[1:], candidates_of(state.program, CANDIDATES))


REPLAYS = {
    "in one batch": in_one_batch,
    "with restarts": with_restarts,
    "in order": in_order,
    "in any order": in_any_order,
}
