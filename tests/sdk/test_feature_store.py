"""The features of a profile on the device: fresh after every event, cheap when nothing happened, kept over restarts."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearhand.errors import UsageError
from nearhand.events import Caps, Event, EventLog
from nearhand.features import CompiledProgram, FeatureVector, ItemTable, Label, compile_program, read_program
from nearhand.features.cache import PushedFeatures
from nearhand.features.replay import replay_profile
from nearhand.features.store import FeatureStore, ProgramCheckpointer
from nearhand.monitoring import Meter
from nearhand.testing import ManualClock

NOW = 1_700_000_000_000
DAY_MS = 86_400_000
VIEWS: list[dict[str, Any]] = [
    {"op": "count", "name": "week", "events": ["item_viewed"], "window": "7d"},
    {"op": "count", "name": "ever", "events": ["item_viewed"]},
    {"op": "last_n", "name": "last", "events": ["item_viewed"], "of": "item_id", "n": 3, "encode": {"buckets": 1000}},
    {"op": "context", "name": "tv", "key": "device", "encode": {"vocabulary": "devices"}},
    {"op": "pushed", "name": "ltv", "width": 2, "default": -1},
    {"op": "item_count", "name": "met", "events": ["item_viewed"]},
]


def program(views: list[dict[str, Any]] = VIEWS, **more: Any) -> CompiledProgram:
    content = {
        "format": 1,
        "name": "p",
        "version": "1.0.0",
        "views": views,
        "vocabularies": {"devices": ["tv"]},
        **more,
    }
    return compile_program(read_program(json.dumps(content).encode(), place="p.json"), ItemTable.empty())


class Device:
    """A folder with a profile's log and pushed features, and the clock of the device."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock(NOW)
        self.offset = 0

    @contextmanager
    def opened(
        self, compiled: CompiledProgram | None = None, caps: Caps | None = None
    ) -> Iterator[tuple[EventLog, FeatureStore]]:
        compiled = compiled or program()
        meter = Meter(self.clock)
        with ExitStack() as stack:
            log = stack.enter_context(
                EventLog(
                    self.folder / "events.db",
                    clock=self.clock,
                    durability="process",
                    caps=caps or Caps(),
                    checkpointer=ProgramCheckpointer(compiled, meter),
                )
            )
            pushed = PushedFeatures(self.folder / "pushed.db", clock=self.clock, meter=meter, budget_bytes=10_000)
            store = stack.enter_context(closing(FeatureStore(compiled, log, pushed, clock=self.clock, meter=meter)))
            yield log, store


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def view(log: EventLog, item_id: str = "a", **more: Any) -> str:
    return log.append(Event("item_viewed", item_id=item_id, **more)).event_id


def value(store: FeatureStore, name: str, context: dict[str, Any] | None = None) -> list[float]:
    return values(store.program, store.vector(context), name)


def values(compiled: CompiledProgram, vector: FeatureVector, name: str) -> list[float]:
    column = compiled.column(name)
    array = vector.floats if column.dtype == "float32" else vector.ints
    return [float(number) for number in array[column.offset : column.offset + column.width]]


def test_an_event_is_in_the_next_reading(device: Device) -> None:
    with device.opened() as (log, store):
        assert value(store, "week") == [0]
        view(log)
        assert value(store, "week") == [1]
        log.append_many([Event("item_viewed", item_id="b")] * 3)
        assert value(store, "week") == [4]


def test_when_nothing_happens_the_vector_is_served_from_memory(device: Device) -> None:
    with device.opened() as (log, store):
        view(log)
        first = store.vector()
        device.clock.advance(59_000)
        assert store.vector() is first
        status = store.status()
        assert (status.hits, status.misses, status.hit_rate) == (1, 1, 0.5)
        assert status.staleness_ms == 59_000


def test_a_vector_is_not_served_beyond_its_time_to_live(device: Device) -> None:
    with device.opened(program(ttl="10s")) as (log, store):
        view(log)
        first = store.vector()
        device.clock.advance(9_999)
        assert store.vector() is first
        device.clock.advance(1)
        second = store.vector()
        assert second.as_of == first.as_of + 10_000


def test_the_window_moves_on_with_the_clock(device: Device) -> None:
    with device.opened() as (log, store):
        view(log)
        device.clock.advance(7 * DAY_MS - 2)
        assert value(store, "week") == [1]
        device.clock.advance(60_000)
        assert value(store, "week") == [0]
        assert value(store, "ever") == [1]


def test_each_context_has_its_own_vector(device: Device) -> None:
    with device.opened() as (_, store):
        assert value(store, "tv", {"device": "tv"}) == [2]
        assert value(store, "tv", {"device": "fridge"}) == [1]
        assert value(store, "tv", {"device": None}) == [0]
        assert store.vector({"device": "tv", "other": 1}) is store.vector({"device": "tv"})
        assert store.status().misses == 3


@pytest.mark.parametrize("bad", [["tv"], {"a": 1}, b"tv"])
def test_a_context_of_another_kind_is_refused(device: Device, bad: object) -> None:
    with device.opened() as (_, store), pytest.raises(UsageError, match="text, a number, true, false or None"):
        store.vector({"device": bad})  # type: ignore[dict-item]


def test_at_most_a_few_vectors_are_kept(device: Device) -> None:
    with device.opened() as (_, store):
        for number in range(65):
            store.vector({"device": number})
        store.vector({"device": 64})
        assert store.status().hits == 1
        store.vector({"device": 0})
        assert store.status().misses == 66


def test_candidates_are_of_the_vector_s_instant(device: Device) -> None:
    with device.opened() as (log, store):
        view(log, "a")
        view(log, "a")
        vector, found = store.candidates(["b", "a", "nobody"])
        assert found.as_of == vector.as_of
        assert found.floats.tolist() == [[0], [2], [0]]
        assert store.candidates([])[1].floats.shape == (0, 1)


@pytest.mark.parametrize("given", ["b", 5, None, [5], ["a", ["b"]], {"a"}])
def test_candidates_are_a_list_of_texts(device: Device, given: Any) -> None:
    with (
        device.opened() as (_, store),
        pytest.raises(UsageError, match=r"candidates\(item_ids\).*give a list of item ids"),
    ):
        store.candidates(given)


def test_another_process_s_event_is_noticed_within_a_second(device: Device) -> None:
    with device.opened() as (log, store), device.opened() as (other_log, other):
        assert value(store, "ever") == [0]
        view(other_log)
        assert value(other, "ever") == [1]
        device.clock.advance(1_000)
        assert value(store, "ever") == [1]
        view(log)
        assert value(store, "ever") == [2]
        device.clock.advance(1_000)
        assert value(other, "ever") == [2]


def test_a_pushed_feature_is_served_while_it_lives(device: Device) -> None:
    with device.opened() as (_, store):
        assert value(store, "ltv") == [-1, -1]
        store.push("ltv", [1.5, 2.5], ttl_seconds=10, source="nightly job")
        assert value(store, "ltv") == [1.5, 2.5]
        device.clock.advance(9_999)
        assert value(store, "ltv") == [1.5, 2.5]
        device.clock.advance(1)
        assert value(store, "ltv") == [-1, -1]


def test_a_pushed_feature_survives_a_restart(device: Device) -> None:
    with device.opened() as (_, store):
        store.push("ltv", [1.5, 2.5], ttl_seconds=10, source="nightly job")
    with device.opened() as (_, store):
        assert value(store, "ltv") == [1.5, 2.5]


def test_a_pushed_feature_of_another_width_is_not_served(device: Device) -> None:
    with device.opened() as (_, store):
        store.push("ltv", [1.5, 2.5], ttl_seconds=10, source="nightly job")
    wider = [{**each, "width": 3} if each["op"] == "pushed" else each for each in VIEWS]
    with device.opened(program(wider)) as (_, store):
        assert value(store, "ltv") == [-1, -1, -1]


@pytest.mark.parametrize(
    ("name", "numbers", "message"), [("ltx", [1.0], "use one of ltv"), ("ltv", [1.0], "push 2, the width of the view")]
)
def test_a_push_that_no_view_takes_is_refused(device: Device, name: str, numbers: list[float], message: str) -> None:
    with device.opened() as (_, store), pytest.raises(UsageError, match=message):
        store.push(name, numbers, ttl_seconds=10, source="s")


WRONG_PUSHES: dict[str, list[Any]] = {
    "name": [5, None, ["ltv"], {}],
    "values": [None, 5, "ab", {1: 2, 3: 4}, iter([1.0, 2.0]), [math.nan, 1], [10**400, 1], [10**5000, 1], [True, 1],
               ["a", "b"], [1e39, 1]],
    "ttl_seconds": [0, -1, math.inf, math.nan, "5", None, True, 10**30, 10**5000, 1e-9],
    "source": [5, None, "\ud800"],
}  # fmt: skip


@pytest.mark.parametrize("argument", WRONG_PUSHES)
def test_a_push_of_what_is_none_is_refused_by_name(device: Device, argument: str) -> None:
    good: dict[str, Any] = {"name": "ltv", "values": [1.0, 2.0], "ttl_seconds": 10, "source": "s"}
    with device.opened() as (_, store):
        for wrong in WRONG_PUSHES[argument]:
            with pytest.raises(UsageError) as caught:
                store.push(**{**good, argument: wrong})
            assert caught.value.place.startswith("push(")
            assert caught.value.remedy
        assert value(store, "ltv") == [-1, -1]


def test_a_forgotten_event_is_in_no_feature(device: Device) -> None:
    with device.opened() as (log, store):
        view(log, "a")
        gone = view(log, "secret")
        view(log, "b")
        before = value(store, "last")
        assert log.forget(gone)
        assert value(store, "ever") == [2]
        assert value(store, "last") == [before[0], before[2], 0]
        assert store.status().refolds == 1


def test_a_reset_begins_anew(device: Device) -> None:
    with device.opened() as (log, store):
        view(log)
        assert value(store, "ever") == [1]
        log.reset()
        assert value(store, "ever") == [0]
        view(log)
        assert value(store, "ever") == [1]


def test_a_reset_holds_at_once_even_if_the_clock_was_ahead_then(device: Device) -> None:
    with device.opened() as (log, store):
        view(log)
        device.clock.advance(30 * DAY_MS)
        log.reset()
        device.clock.jump_to(NOW + DAY_MS)
        assert value(store, "ever") == [0]
        view(log)
        assert value(store, "ever") == [1]


def test_a_clock_that_is_set_back_hides_what_is_ahead_of_it_until_then(device: Device) -> None:
    with device.opened() as (log, store):
        view(log)
        device.clock.jump_to(NOW + 30 * DAY_MS)
        view(log)
        assert value(store, "ever") == [2]
        device.clock.jump_to(NOW + DAY_MS)
        view(log)
        assert value(store, "ever") == [2]
        assert store.status().ahead == 1
        device.clock.jump_to(NOW + 31 * DAY_MS)
        device.clock.advance(60_000)
        assert value(store, "ever") == [3]


def test_a_small_correction_of_the_clock_folds_nothing_again(device: Device) -> None:
    with device.opened() as (log, store):
        view(log)
        last = store.vector().as_of
        device.clock.jump_to(NOW - 50_000)
        view(log)
        assert store.vector().as_of == last
        assert value(store, "ever") == [2]
        assert store.status().refolds == 0


def test_opening_takes_up_the_materialized_state(device: Device) -> None:
    with device.opened() as (log, store):
        for number in range(300):
            device.clock.advance(1000)
            view(log, f"i{number % 7}")
        expected = store.vector()
    with closing(sqlite3.connect(device.folder / "events.db")) as connection:
        connection.execute("UPDATE event SET item_id = 'changed behind its back'")
        connection.commit()
    with device.opened() as (_, store):
        vector = store.vector()
        assert (vector.floats == expected.floats).all()
        assert (vector.ints == expected.ints).all()


def test_what_was_recorded_after_the_last_close_is_folded_on_top(device: Device) -> None:
    with device.opened() as (log, _):
        view(log)
    with EventLog(device.folder / "events.db", clock=device.clock, durability="process") as log:
        view(log)
    with device.opened() as (_, store):
        assert value(store, "ever") == [2]


@pytest.mark.degrades
@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xff", b'{"fingerprint": 7}'])
def test_a_damaged_materialized_state_is_folded_again(device: Device, damage: bytes) -> None:
    with device.opened() as (log, _):
        view(log)
    with closing(sqlite3.connect(device.folder / "events.db")) as connection:
        assert connection.execute("UPDATE snapshot SET state = ?", (damage,)).rowcount == 1
        connection.commit()
    with device.opened() as (_, store):
        assert value(store, "ever") == [1]
        assert store.status().refolds == 1


def test_a_new_program_folds_the_log_again(device: Device) -> None:
    with device.opened() as (log, _):
        view(log)
    with device.opened(program([{"op": "count", "name": "views", "events": ["item_viewed"]}])) as (log, store):
        assert value(store, "views") == [1]
        view(log)
    with device.opened() as (_, store):
        assert value(store, "ever") == [2]


def test_what_the_caps_let_go_stays_in_the_features(device: Device) -> None:
    caps = Caps(max_bytes=20_000)
    with device.opened(caps=caps) as (log, store):
        for number in range(400):
            device.clock.advance(60_000)
            view(log, f"i{number}")
        log.enforce_caps()
        assert 0 < log.count() < 200
        assert value(store, "ever") == [400]
        assert value(store, "week") == [400]
    with device.opened(caps=caps) as (log, store):
        assert value(store, "ever") == [400]
        device.clock.advance(7 * DAY_MS - 200 * 60_000)
        assert value(store, "week") == [200]


def test_what_is_forgotten_after_an_eviction_leaves_the_rest(device: Device) -> None:
    caps = Caps(max_bytes=20_000)
    with device.opened(caps=caps) as (log, store):
        ids = []
        for number in range(400):
            device.clock.advance(60_000)
            ids.append(view(log, f"i{number}"))
        log.enforce_caps()
        assert value(store, "ever") == [400]
        assert log.forget(ids[-1])
        assert not log.forget(ids[0]), "it has left the log"
        assert value(store, "ever") == [399]


def test_the_device_gives_what_a_replay_of_its_log_gives(device: Device) -> None:
    moves: list[Callable[[EventLog], object]] = [
        lambda log: view(log, "late", timestamp=NOW - 3 * DAY_MS),
        lambda log: view(log, "future", timestamp=NOW + 3 * DAY_MS),
        view,
    ]
    compiled = program()
    with device.opened() as (log, store):
        vectors = []
        for move in moves * 5:
            device.clock.advance(DAY_MS // 2)
            move(log)
            vectors.append(store.vector())
        labels = [Label(vector.as_of) for vector in vectors]
        for vector, row in zip(vectors, replay_profile(compiled, log.since(0), labels), strict=True):
            assert np.array_equal(row.floats[: compiled.floats], vector.floats)
            assert np.array_equal(row.ints[: compiled.ints], vector.ints)


@pytest.mark.degrades
def test_a_state_that_cannot_be_materialized_costs_nothing_but_the_next_opening(device: Device) -> None:
    with closing(sqlite3.connect(device.folder / "events.db", isolation_level=None)) as other:
        with device.opened() as (log, store):
            view(log)
            assert value(store, "ever") == [1]
            other.execute("CREATE TRIGGER full BEFORE INSERT ON snapshot BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        other.execute("DROP TRIGGER full")
    with device.opened() as (_, store):
        assert value(store, "ever") == [1]


@pytest.mark.degrades
def test_a_damaged_checkpoint_does_not_keep_the_log_from_letting_events_go(device: Device) -> None:
    caps = Caps(max_bytes=20_000)
    with device.opened(caps=caps) as (log, store):
        log.append_many([Event("item_viewed", item_id=f"i{number}") for number in range(200)])
        assert (before := log.drops()["log_bytes"]) > 0
        with closing(sqlite3.connect(device.folder / "events.db", isolation_level=None)) as other:
            assert other.execute("UPDATE checkpoint SET state = x'00'").rowcount == 1
        log.append_many([Event("item_viewed", item_id=f"i{number}") for number in range(200)])
        assert log.drops()["log_bytes"] > before
        assert log.eviction_failures == 0
        assert 200 <= value(store, "ever")[0] < 400
