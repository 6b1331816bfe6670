"""No skew: living through a history and replaying it give the same features, bit for bit, on every machine."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import example, given, settings

from nearhand.features import CompiledProgram, FeatureFold, Label, ReplayEvent, fold, replay_profile
from tests.conformance.compute_features import Device, candidates_of, reading
from tests.conformance.programs import CANDIDATES, ITEMS, OPERATORS, PROGRAMS, compiled, document
from tests.conformance.streams import (
    Action,
    Era,
    Reading,
    Tape,
    clock_set_back,
    long_session,
    streams,
    visible_from,
    written,
)
from tests.environments import Environment, environments


@settings(max_examples=200)
@given(streams)
@example(long_session())
@example(clock_set_back())
def test_living_and_replaying_give_the_same_features(stream: tuple[int, Sequence[Action]]) -> None:
    """Each operator with each kind of state, through one stream after another."""
    check(stream)


@pytest.mark.torture
@settings(max_examples=5000)
@given(streams)
def test_living_and_replaying_give_the_same_features_5000_times(stream: tuple[int, Sequence[Action]]) -> None:
    check(stream)


def check(stream: tuple[int, Sequence[Action]]) -> None:
    """That all programs read the same through a stream, however it is folded."""
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


def by_definition(program: CompiledProgram, era: Era) -> list[bytes]:
    """For each reading a fresh state that is given what counts and nothing else: in order, or in any other."""
    chance = random.Random(len(era.events))
    found = []
    for each in era.readings:
        events = counting(era, each.as_of)
        if chance.random() < 0.5:
            chance.shuffle(events)
        found.append(read(folded(program, events), each))
    return found


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


REPLAYS = {"in one batch": in_one_batch, "with restarts": with_restarts, "by definition": by_definition}


def test_a_burst_of_one_millisecond_keeps_its_order() -> None:
    first = ReplayEvent(1000, 1, 1000, 0, 0, "item_viewed", "c", {}, {})
    burst = [first, first._replace(sequence=2, item_id="b"), first._replace(sequence=3, item_id="a")]
    (vector,) = replay_profile(compiled("last_n"), reversed(burst), [Label(2000)])
    assert vector.ints.tolist() == [2, 3, 4, 0, 0]  # the codes of a, b and c


def test_events_of_one_number_are_no_stumbling_block() -> None:
    """A log gives every event a number of its own; a file for training may not."""
    first = ReplayEvent(1000, 1, 1000, 0, 0, "item_viewed", None, {}, {})
    others = [first._replace(item_id="a"), first._replace(properties={"value": 1})]
    (vector,) = replay_profile(compiled("count"), [first, *others], [Label(2000)])
    assert vector.floats.tolist() == [3.0]


# On every machine


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The arguments of compute_features.py: every program, in two versions, and 40 tapes."""
    tapes = [written(*long_session()).steps]

    @settings(max_examples=39)
    @given(streams)
    def collect(stream: tuple[int, Sequence[Action]]) -> None:
        tapes.append(written(*stream).steps)

    collect()
    programs = {
        name: [document(name, views).decode(), document(name, views, "2.0.0").decode()]
        for name, views in OPERATORS.items()
    }
    content = {"programs": programs, "item_ids": ITEMS.item_ids, "columns": ITEMS.columns, "candidates": CANDIDATES}
    folder = tmp_path_factory.mktemp("tapes")
    (folder / "programs.json").write_text(json.dumps(content))
    (folder / "tapes.json").write_text(json.dumps(tapes))
    return folder / "programs.json", folder / "tapes.json"


@pytest.fixture(scope="module")
def native_digests(inputs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What this machine reads."""
    return compute(environments()["native"], inputs, tmp_path_factory.mktemp("native"))


def compute(environment: Environment, inputs: tuple[Path, Path], folder: Path) -> dict[str, str]:
    """Run compute_features.py on a machine: program → digest of all readings."""
    output = folder / "digests.json"
    environment.run(Path(__file__).with_name("compute_features.py"), inputs, output)
    digests: dict[str, str] = json.loads(output.read_text())
    return digests


@pytest.mark.soak
def test_every_machine_reads_the_same(
    environment: Environment, inputs: tuple[Path, Path], native_digests: dict[str, str], tmp_path: Path
) -> None:
    assert native_digests.keys() == PROGRAMS.keys()
    assert compute(environment, inputs, tmp_path) == native_digests
