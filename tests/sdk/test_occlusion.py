"""What a score loses without some events: of any model, and with the features that there would have been."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nearhand.errors import ModelError, UsageError
from nearhand.events import Caps, Event, EventLog, Scalar
from nearhand.events import caps as caps_module
from nearhand.events import log as log_module
from nearhand.explain import event_ids, occlude, promising
from nearhand.features import CandidateFeatures, CompiledProgram, FeatureVector, compile_program, fold, read_program
from nearhand.features.cache import PushedFeatures
from nearhand.features.store import FeatureStore, ProgramCheckpointer
from nearhand.monitoring import Meter
from nearhand.retrieval import HistoryItem
from nearhand.retrieval.history import HistoryEvent
from nearhand.testing import ManualClock
from tests.conformance.programs import CANDIDATES, EVENTS, ITEMS, PUSHED, document, everything

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
NOW = 1_700_000_000_000
PROGRAM = compile_program(read_program(document("everything", everything()), place="everything.json"), ITEMS)


# --- contributions by occlusion --------------------------------------------------------------------------------------


def item(row: int, *ids: str) -> HistoryItem:
    return HistoryItem(row, 1.0, tuple(HistoryEvent(each, "item_viewed", 1.0) for each in ids))


HISTORY = [item(0, "a"), item(1, "b", "c"), item(2, "d"), item(3, "e")]


@given(st.integers(0, 5), st.integers(0, 6), st.integers(0, 2**32))
def test_of_a_sum_the_contributions_are_its_parts(items: int, size: int, seed: int) -> None:
    parts = np.random.Generator(np.random.PCG64(seed)).integers(-1000, 1000, (items, size)).astype(np.float64)
    groups = [frozenset({f"{number}-0", f"{number}-1"}) for number in range(size)]
    calls: list[Sequence[frozenset[str]]] = []

    def score_all(variants: Sequence[frozenset[str]]) -> NDArray[np.float64]:
        calls.append(variants)
        stays = np.array([[group != gone for group in groups] for gone in variants]).reshape(len(variants), size)
        return 7 + stays @ parts.T

    found = occlude(score_all, groups)
    assert found.dtype == np.float64
    assert found.tolist() == parts.tolist()
    assert calls == [[frozenset(), *groups]], "one batch, the unchanged history first"


def test_what_speaks_against_an_item_contributes_less_than_nothing() -> None:
    scores = np.array([[1.0, 2.0], [0.5, 2.5], [1.0, 0.0]])
    found = occlude(lambda variants: scores, [frozenset({"a"}), frozenset({"b"})])
    assert found.tolist() == [[0.5, 0.0], [-0.5, 2.0]]


@pytest.mark.parametrize("shape", [(2,), (1, 4), (3, 4), (2, 4, 1)])
def test_scores_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="one row of item scores for each of the 2 variants"):
        occlude(lambda variants: np.zeros(shape), [frozenset({"a"})])


@pytest.mark.parametrize(("row", "told"), [(0, "of the whole history"), (1, "without 2 events")])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_score_that_is_no_number_explains_nothing(row: int, told: str, value: float) -> None:
    scores = np.zeros((2, 3))
    scores[row, 1] = value
    with pytest.raises(ModelError, match=told):
        occlude(lambda variants: scores, [frozenset({"a", "b"})])


def test_without_a_prior_the_most_recent_items_are_examined() -> None:
    assert promising(HISTORY, limit=2) == (HISTORY[2], HISTORY[3])
    assert promising(HISTORY, limit=9) == tuple(HISTORY)
    assert promising(HISTORY, limit=0) == ()
    assert promising([]) == ()


def test_a_prior_says_which_items_are_promising() -> None:
    prior = np.array([[0.1, 0.0, 0.3, 0.2], [0.1, -0.9, 0.0, 0.2]])
    assert promising(HISTORY, limit=2, prior=prior) == (HISTORY[1], HISTORY[2])
    equal = np.array([[0.5, 0.5, 0.5, 0.1]])
    assert promising(HISTORY, limit=2, prior=equal) == (HISTORY[1], HISTORY[2])
    assert promising(HISTORY, limit=1, prior=np.empty((0, 4))) == (HISTORY[3],)


def test_a_quarter_of_what_is_promising_is_recent() -> None:
    history = [item(row, f"e{row}") for row in range(12)]
    prior = np.array([[12.0 - row for row in range(12)]])
    assert promising(history, limit=8, prior=prior) == (*history[:6], *history[-2:])
    assert promising(history, limit=12, prior=prior) == tuple(history)


@pytest.mark.parametrize("shape", [(4,), (1, 3), (4, 1)])
def test_a_prior_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="one column for each of the 4 history items"):
        promising(HISTORY, prior=np.zeros(shape))


@pytest.mark.parametrize("limit", [-1, 1.5, True, None])
def test_a_limit_is_a_whole_number(limit: Any) -> None:
    with pytest.raises(UsageError, match="whole number"):
        promising(HISTORY, limit=limit)


def test_the_events_of_an_item_are_one_group() -> None:
    assert event_ids(HISTORY[1]) == {"b", "c"}


# --- the features that there would have been -------------------------------------------------------------------------


class Device:
    """A folder with a profile, and the clock of the device."""

    def __init__(self, folder: Path, program: CompiledProgram = PROGRAM, caps: Caps | None = None) -> None:
        self.folder = folder
        self.program = program
        self.caps = caps or Caps()
        self.clock = ManualClock(NOW, utc_offset_minutes=lambda at_ms: 60 + at_ms // DAY % 2 * 330)
        self.numbers = count()

    @contextmanager
    def opened(self) -> Iterator[tuple[EventLog, FeatureStore]]:
        meter = Meter(self.clock)
        with ExitStack() as stack:
            checkpointer = ProgramCheckpointer(self.program, meter)
            log = stack.enter_context(
                EventLog(
                    self.folder / "events.db",
                    clock=self.clock,
                    durability="process",
                    caps=self.caps,
                    checkpointer=checkpointer,
                )
            )
            pushed = PushedFeatures(self.folder / "pushed.db", clock=self.clock, meter=meter, budget_bytes=10_000)
            yield (
                log,
                stack.enter_context(closing(FeatureStore(self.program, log, pushed, clock=self.clock, meter=meter))),
            )

    def record(self, log: EventLog, item_id: str = "a", event: str = "item_viewed", **more: Any) -> str:
        self.clock.advance(MINUTE)
        return log.append(Event(event, item_id=item_id, event_id=f"e{next(self.numbers)}", **more)).event_id

    @contextmanager
    def copied(self, as_of: int) -> Iterator[tuple[EventLog, FeatureStore]]:
        """The same at an instant, in another folder."""
        with TemporaryDirectory() as folder:
            other = Device(Path(folder), self.program)
            other.clock.jump_to(as_of - 1)
            for name in ("events.db", "pushed.db"):
                with (
                    closing(sqlite3.connect(self.folder / name)) as source,
                    closing(sqlite3.connect(other.folder / name)) as target,
                ):
                    source.backup(target)
            with other.opened() as opened:
                yield opened


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def assert_same(found: FeatureVector | CandidateFeatures, wanted: FeatureVector | CandidateFeatures) -> None:
    """To the bit, the sign of 0 included."""
    assert found.as_of == wanted.as_of
    for one, other in ((found.floats, wanted.floats), (found.ints, wanted.ints)):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()


def value(device: Device, vector: FeatureVector, name: str) -> float:
    return float(vector.floats[device.program.column(name).offset])


@dataclass(frozen=True)
class Recorded:
    gap: int
    event: str
    item_id: str | None
    value: Any
    tags: Any
    shift: int


_GAPS = (0, 0, 0, 1, SECOND, 30 * MINUTE, 30 * MINUTE + 1, 2 * HOUR, DAY, 3 * DAY, 9 * DAY)
_SHIFTS = (0, 0, 0, 0, 0, 0, -1, -31 * MINUTE, -26 * HOUR, -4 * DAY, -50 * DAY, 1, HOUR, 2 * DAY)
_recorded = st.builds(
    Recorded,
    gap=st.sampled_from(_GAPS),
    event=st.sampled_from(EVENTS),
    item_id=st.sampled_from(["a", "b", "c", "d", "unknown"]),
    value=st.sampled_from([0, 1, 41.5, -7, 1e15, None, "x"]),
    tags=st.sampled_from(["x", "y", 7, ["x", "y"], None]),
    shift=st.sampled_from(_SHIFTS),
)
_others = st.sampled_from(["reset", "read", "restart", -30 * SECOND, -HOUR, -DAY])
_actions = st.lists(
    st.integers(0, 8).flatmap(lambda kind: _others if kind == 8 else _recorded), min_size=1, max_size=40
)
_variants = st.lists(st.frozensets(st.integers(0, 40), max_size=8), min_size=1, max_size=7)


@settings(max_examples=30)
@given(_actions, _variants, st.sampled_from([Caps(max_bytes=3000), Caps()]))
def test_without_is_as_if_they_had_been_forgotten(
    actions: Sequence[Any], variants: Sequence[frozenset[int]], caps: Caps
) -> None:
    """Every operator in one program; late and future events, evictions, resets, restarts, clocks that are set back."""
    occluded = [frozenset(f"e{number}" for number in variant) for variant in variants]
    with (
        TemporaryDirectory() as folder,
        mock.patch.object(caps_module, "LATEST", 5),
        mock.patch.object(log_module, "CHECK_EVERY", 4),
        mock.patch.object(fold, "_TRIM_EVERY", 3),
    ):
        device = Device(Path(folder), caps=caps)
        with ExitStack() as stack:
            log, store = stack.enter_context(device.opened())
            store.push(PUSHED, [0.5, 2], ttl_seconds=10_000, source="test")
            for action in actions:
                if isinstance(action, Recorded):
                    device.clock.advance(action.gap)
                    properties = {"value": action.value, "tags": action.tags, "deep": {"value": action.value}}
                    when = device.clock.now_ms() + action.shift
                    device.record(log, action.item_id or "a", action.event, timestamp=when, properties=properties)
                elif action == "reset":
                    log.reset()
                elif action == "read":
                    store.vector({"battery": 0.5})
                elif action == "restart":
                    stack.close()
                    log, store = stack.enter_context(device.opened())
                else:
                    device.clock.jump_to(device.clock.now_ms() + action)
            context: dict[str, Scalar] = {"battery": 0.7, "device": "phone"}
            now = store.candidates(CANDIDATES, context)
            vectors, candidates = store.without([frozenset(), *occluded], CANDIDATES, context)
            assert_same(vectors[0], now[0])
            assert_same(candidates[0], now[1])
            for gone, vector, found in zip(occluded, vectors[1:], candidates[1:], strict=True):
                with device.copied(now[0].as_of) as (copied_log, copy):
                    for event_id in sorted(gone):
                        copied_log.forget(event_id)
                    wanted = copy.candidates(CANDIDATES, context)
                assert_same(vector, wanted[0])
                assert_same(found, wanted[1])
            assert_same(store.candidates(CANDIDATES, context)[0], now[0])


def test_it_changes_nothing_and_reads_the_log_once(device: Device) -> None:
    with device.opened() as (log, store):
        ids = [device.record(log, each) for each in "abcab"]
        before = store.vector()
        with mock.patch.object(log, "read", wraps=log.read) as read:
            vectors, _ = store.without([frozenset({each}) for each in ids])
        assert read.call_count == 1
        assert store.vector() is before
        assert log.count() == 5
        assert store.status().refolds == 0
        assert [value(device, vector, "count") for vector in vectors] == [4] * 5


def test_what_nobody_lacks_is_folded_once(device: Device) -> None:
    with device.opened() as (log, store):
        ids = [device.record(log, "abcd"[number % 4]) for number in range(200)]
        store.vector()
        with mock.patch.object(fold.FeatureFold, "_fold", autospec=True, side_effect=fold.FeatureFold._fold) as folded:
            store.without([frozenset({each}) for each in ids[::10]])
        assert folded.call_count < 2 * 200, "and not 20 times 199"


def test_the_fold_of_the_last_explanation_serves_until_something_happens(device: Device) -> None:
    with device.opened() as (log, store):
        ids = [device.record(log, each) for each in "abcab"]
        with mock.patch.object(log, "read", wraps=log.read) as read:

            def counted() -> tuple[list[float], int]:
                read.reset_mock()
                vectors, _ = store.without([frozenset({each}) for each in ids])
                anew = [call for call in read.call_args_list if call.kwargs.get("materialized") is False]
                return [value(device, vector, "count") for vector in vectors], len(anew)

            assert counted() == ([4] * 5, 1)
            assert counted() == ([4] * 5, 0)
            device.clock.advance(MINUTE)
            assert counted() == ([4] * 5, 0)
            ids.append(device.record(log))
            assert counted() == ([5] * 6, 1), "it has another event"
            log.forget(ids.pop(0))
            assert counted() == ([4] * 5, 1), "it has one less"
            device.record(log, timestamp=device.clock.now_ms() + HOUR)
            assert counted() == ([4] * 5, 1), "which is not seen yet"
            assert counted() == ([4] * 5, 1), "but may be, the next time"
            device.clock.advance(2 * HOUR)
            assert counted() == ([5] * 5, 1)
            store.shed()
            assert counted() == ([5] * 5, 1)


def test_no_variants_no_features(device: Device) -> None:
    with device.opened() as (log, store):
        device.record(log)
        assert store.without([]) == ([], [])


def test_without_candidates_their_arrays_are_empty(device: Device) -> None:
    with device.opened() as (log, store):
        event_id = device.record(log)
        _, (found,) = store.without([frozenset({event_id})])
        assert found.floats.shape == (0, device.program.item_floats)
        assert found.ints.shape == (0, device.program.item_ints)


def test_what_the_log_does_not_hold_changes_nothing(tmp_path: Path) -> None:
    device = Device(tmp_path, caps=Caps(max_bytes=20_000))
    with device.opened() as (log, store):
        ids = [device.record(log) for _ in range(300)]
        log.enforce_caps()
        held = {event.event_id for event in log.since(0)}
        assert ids[0] not in held
        assert ids[-1] in held
        unchanged, of_evicted, of_nobody, of_latest = store.without(
            [frozenset(), frozenset({ids[0]}), frozenset({"nobody"}), frozenset({ids[-1]})]
        )[0]
        assert_same(of_evicted, unchanged)
        assert_same(of_nobody, unchanged)
        assert (value(device, unchanged, "count"), value(device, of_latest, "count")) == (300, 299)


def test_a_reset_cannot_be_thought_away(device: Device) -> None:
    with device.opened() as (log, store):
        device.record(log)
        marker = log.reset()
        with pytest.raises(UsageError, match="is a reset"):
            store.without([frozenset({marker.event_id})])


@pytest.mark.degrades
def test_a_damaged_checkpoint_is_left_out(tmp_path: Path) -> None:
    device = Device(tmp_path, caps=Caps(max_bytes=20_000))
    with device.opened() as (log, store):
        ids = [device.record(log) for _ in range(300)]
        log.enforce_caps()
        held = log.count()
        store.vector()
        with closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as other:
            assert other.execute("UPDATE checkpoint SET state = x'00'").rowcount == 1
        (vector,), _ = store.without([frozenset({ids[-1]})])
        assert value(device, vector, "count") == held - 1


def test_a_model_of_features_is_explained_by_what_it_loses(device: Device) -> None:
    """From events to contributions, by the path that a ranker takes."""
    with device.opened() as (log, store):
        history = [item(row, device.record(log, each), device.record(log, each)) for row, each in enumerate("abd")]
        generator = np.random.Generator(np.random.PCG64(3))
        weights = generator.normal(size=device.program.floats + device.program.item_floats)

        def score_all(variants: Sequence[frozenset[str]]) -> NDArray[np.float64]:
            vectors, candidates = store.without(variants, CANDIDATES)
            rows = [
                np.concatenate([np.tile(vector.floats, (len(CANDIDATES), 1)), found.floats], axis=1)
                for vector, found in zip(vectors, candidates, strict=True)
            ]
            scores: NDArray[np.float64] = np.tanh(np.arcsinh(np.concatenate(rows)) @ weights / 100)
            return scores.reshape(len(variants), -1)

        before, chosen = score_all([frozenset()])[0], promising(history, limit=2)
        found = occlude(score_all, [event_ids(each) for each in chosen])
        assert chosen == (history[1], history[2])
        for event in chosen[0].events:
            log.forget(event.event_id)
        assert found[:, 0].tolist() == (before - score_all([frozenset()])[0]).tolist()
        assert found.any()
