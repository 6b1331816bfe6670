"""The app that embeds the SDK is safe from it: many threads, little memory, broken models and files, odd values."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearhand import Event, Personalizer, UsageError
from nearhand.decisions import Decision
from nearhand.errors import ModelError, NearhandError, RuntimeUnavailableError, StorageError
from nearhand.hybrid import HybridConfig, Surroundings
from nearhand.network import Answer, Call
from nearhand.sync import SyncConfig
from nearhand.testing import Fault, FaultyTransport, ManualClock
from tests.sdk.hooked_runtime import NAME, HookedRuntime, Outputs
from tests.sdk.lives import bundle_with_pushed
from tests.sdk.serving_device import PLAIN, Device, assert_valid, plain, record, rows_of
from tests.sdk.serving_factory import DEVICES
from tests.sdk.sync_device import CONFIG, MemoryEndpoint
from tests.tiny import ITEMS

ALL = ("churn", "encoder", "index", "kind", "order")


def use_all(one: Personalizer) -> None:
    """Load and run every model."""
    record(one, "item_liked", [2, 8])
    one.recommend(10)
    one.predict("churn")
    one.segment("kind")


# Many threads

_THREADS, _CALLS = 8, 60


class _User:
    """One of the threads: it does anything, and checks what it is given."""

    def __init__(self, one: Personalizer, number: int) -> None:
        self._one = one
        self._random = random.Random(number)
        self._number = number
        self.kept: dict[str, str | None] = {}
        self.decisions: list[Decision] = []
        self.calls = 0

    def work(self) -> None:
        verbs = [
            *[self._record] * 6, *[self._recommend] * 6, self._similar, self._predict, self._segment, self._decide,
            self._status, self._vector, self._less, self._block, self._forget, self._pause, self._shed, self._time,
            self._explain,
        ]  # fmt: skip
        for _ in range(_CALLS):
            self._random.choice(verbs)()
            self.calls += 1

    def _record(self) -> None:
        row = self._number * 30 + self._random.randrange(30)
        event = self._random.choice(["item_viewed", "item_liked", "impression"])
        recorded = self._one.record(Event(event, f"m_{row}"))
        self.kept[recorded.event_id] = recorded.item_id if event == "item_viewed" else None

    def _recommend(self) -> None:
        preferences = self._one.privacy.preferences
        absent = [*preferences.blocked_items, *preferences.less_like, *filter(None, self.kept.values())]
        k = self._random.randrange(1, 12)
        found = self._one.recommend(
            k,
            context={"device": self._random.choice(DEVICES)},
            deadline_ms=self._random.choice([None, 60_000]),
            candidates=["m_299", "unheard of"],
        )
        assert_valid(found, k, absent=[int(item_id[2:]) for item_id in absent])

    def _explain(self) -> None:
        assert all(each.explanation.text for each in self._one.recommend(3))

    def _similar(self) -> None:
        row = self._random.randrange(ITEMS)
        found = rows_of(self._one.similar(f"m_{row}", 5))
        assert len(set(found)) == 5
        assert row not in found

    def _predict(self) -> None:
        assert 0 <= self._one.predict("churn").value <= 1

    def _segment(self) -> None:
        assert self._one.segment("kind").label in range(3)

    def _decide(self) -> None:
        self.decisions.append(self._one.decide("retention"))

    def _status(self) -> None:
        assert self._one.status().events >= len(self.kept)

    def _vector(self) -> None:
        assert np.isfinite(self._one.features.vector({}).floats).all()

    def _less(self) -> None:
        self._one.privacy.less_like(f"m_{240 + self._number}")

    def _block(self) -> None:
        self._one.privacy.block(item_id=f"m_{250 + self._number}")

    def _forget(self) -> None:
        if self.kept:
            event_id = self._random.choice(list(self.kept))
            assert self._one.privacy.forget(event_id)
            del self.kept[event_id]

    def _pause(self) -> None:
        self._one.pause()
        if self._random.random() < 0.5:
            self._one.resume()

    def _shed(self) -> None:
        self._one.shed_memory(all_models=self._random.random() < 0.5)

    def _time(self) -> None:
        assert 0 <= self._one.best_time().local_hour < 24


def test_many_threads_do_everything_at_once(device: Device) -> None:
    runtime = HookedRuntime()
    with device.opened(runtime) as one:
        users = [_User(one, number) for number in range(_THREADS)]
        with ThreadPoolExecutor(_THREADS) as pool:
            for done in [pool.submit(user.work) for user in users]:
                done.result(120)
        assert [user.calls for user in users] == [_CALLS] * _THREADS
        assert {event.event_id for event in device.events(one)} == {each for user in users for each in user.kept}
        decisions = [decision for user in users for decision in user.decisions]
        assert len(decisions) > 1
        assert sum(decision.action != "none" for decision in decisions) <= 1, "the cooldown is two days"
        degradations = one.status().degradations
        assert set(degradations) <= {"a candidate that was passed is not in the catalogue"}, degradations
        journal = device.exposures(one)
        assert len({each.recommendation_id for each in journal}) == len(journal) > _THREADS
        one.pause()
        assert runtime.open == []
        after = plain(one.recommend(10, deadline_ms=60_000))
        assert {each.source for each in after} == {"local"}


CALLS: dict[str, Callable[[Personalizer], object]] = {
    "record": lambda one: one.record(Event("item_viewed", "m_1")),
    "record_many": lambda one: one.record_many([Event("item_viewed", "m_1"), Event("item_liked", "m_2")]),
    "recommend": lambda one: one.recommend(10),
    "recommend in time": lambda one: one.recommend(10, deadline_ms=60_000),
    "similar": lambda one: one.similar("m_1"),
    "predict": lambda one: one.predict("churn"),
    "segment": lambda one: one.segment("kind"),
    "decide": lambda one: one.decide("retention"),
    "best_time": lambda one: one.best_time(),
    "status": lambda one: one.status(),
    "features": lambda one: one.features.vector({}),
    "block": lambda one: one.privacy.block(item_id="m_200"),
    "pause": lambda one: one.pause(),
    "resume": lambda one: one.resume(),
    "shed_memory": lambda one: one.shed_memory(all_models=True),
}


@pytest.mark.parametrize("verb", CALLS)
def test_after_close_every_verb_says_so(device: Device, verb: str) -> None:
    with device.opened() as one:
        one.close()
        with pytest.raises(UsageError, match="the Personalizer is closed; open it again"):
            CALLS[verb](one)


@pytest.mark.parametrize("attempt", range(3))
def test_closing_while_others_call_ends_them_with_a_usage_error(device: Device, attempt: int) -> None:
    runtime = HookedRuntime()

    def work(verb: str) -> UsageError:
        try:
            while True:
                CALLS[verb](one)
        except UsageError as error:
            return error

    with device.opened(runtime) as one, ThreadPoolExecutor(len(CALLS)) as pool:
        use_all(one)
        working = [pool.submit(work, verb) for verb in CALLS]
        for _ in range(20 * attempt):
            one.record(Event("item_liked", "m_3"))
        one.close()
        for ended in working:
            assert "closed" in ended.result(60).problem
    assert runtime.open == [], "loaded when nobody would close it any more"


@pytest.mark.parametrize("deadline_ms", [None, 60_000])
@pytest.mark.parametrize("stage", ["retrieve", "rank"])
def test_a_list_that_is_closed_on_the_way_loads_nothing_again(
    device: Device, stage: str, deadline_ms: float | None
) -> None:
    class Closing(threading.Event):
        """Asked before each stage."""

        def is_set(self) -> bool:
            if stage == "retrieve":
                one.close()
            return False

    def closing(item_id: str) -> bool:
        """Asked between the two stages."""
        if stage == "rank":
            one.close()
        return True

    runtime = HookedRuntime()
    with device.opened(runtime) as one:
        use_all(one)
        with pytest.raises(UsageError, match="the Personalizer is closed"):
            one.recommend(predicate=closing, cancelled=Closing(), deadline_ms=deadline_ms)
        assert runtime.open == []


def test_explanations_can_be_read_after_the_end(device: Device) -> None:
    runtime = HookedRuntime()
    with device.opened(runtime) as one:
        record(one, "item_liked", [2, 8])
        early, late = one.recommend(2)
        prediction, unread = one.predict("churn"), one.predict("churn")
        texts = early.explanation.text, prediction.explanation.text
    assert (early.explanation.text, prediction.explanation.text) == texts
    with pytest.raises(NearhandError):
        _ = unread.explanation.text
    assert runtime.open == []
    assert late.item_id


@pytest.mark.degrades
def test_an_explanation_first_read_after_the_end_says_less(device: Device) -> None:
    runtime = HookedRuntime()
    with device.opened(runtime) as one:
        record(one, "item_liked", [2, 8])
        best = one.recommend(1)[0]
    assert best.explanation.text == "Because of your recent activity"
    assert best.explanation.evidence == ()
    assert runtime.open == []


# Little memory, and the background


def test_a_pause_unloads_every_model_and_each_verb_loads_its_own(device: Device) -> None:
    runtime = HookedRuntime()
    clock = ManualClock()
    with device.opened(runtime, clock=clock) as one:
        assert sorted(runtime.open) == ["encoder", "index"]
        use_all(one)
        assert sorted(runtime.open) == sorted(ALL)
        similar, prediction, segment = plain(one.similar("m_3")), one.predict("churn"), one.segment("kind")
        verbs: list[tuple[Callable[[], bool], list[str]]] = [
            (lambda: plain(one.similar("m_3")) == similar, ["encoder", "index"]),
            (lambda: one.predict("churn") == prediction, ["churn"]),
            (lambda: one.segment("kind") == segment, ["kind"]),
            (lambda: one.recommend(1)[0].source == "local", ["encoder", "index", "order"]),
            (lambda: one.decide("retention").prediction == prediction.value, ["churn"]),
        ]
        for verb, loads in verbs:
            one.pause()
            one.pause()
            assert runtime.open == []
            assert one.status().is_paused
            assert one.status().runtime is None
            one.record(Event("search", properties={"query": "noir"}))
            one.best_time()
            one.features.vector({})
            assert runtime.open == [], "none of these needs a model"
            assert verb()
            assert sorted(runtime.open) == loads
            assert one.status().is_paused == ("encoder" not in loads)
        one.pause()
        one.resume()
        assert sorted(runtime.open) == ["encoder", "index"]
        assert not one.status().is_paused


def test_low_memory_drops_predictors_or_all_models(device: Device) -> None:
    runtime = HookedRuntime()
    with device.opened(runtime) as one:
        use_all(one)
        misses = one.status().features
        one.shed_memory()
        assert sorted(runtime.open) == ["encoder", "index"]
        assert not one.status().is_paused
        one.features.vector({})
        assert misses is not None
        after = one.status().features
        assert after is not None
        assert after.misses == misses.misses + 1, "the vectors in memory were dropped"
        use_all(one)
        assert sorted(runtime.open) == sorted(ALL)
        one.shed_memory(all_models=True)
        assert runtime.open == []
        use_all(one)
        assert sorted(runtime.open) == sorted(ALL)


def test_a_model_that_runs_is_not_unloaded_under_its_caller(device: Device) -> None:
    runtime = HookedRuntime()

    def unload(model: str) -> None:
        if model in ("order", "churn", "kind"):
            runtime.before = lambda model: None
            one.shed_memory()
            assert model in runtime.open

    with device.opened(runtime) as one:
        use_all(one)
        verbs: list[tuple[Callable[[], bool], str]] = [
            (lambda: one.recommend(3)[0].source == "local", "order"),
            (lambda: one.predict("churn").label in ("yes", "no"), "churn"),
            (lambda: one.segment("kind").label in range(3), "kind"),
        ]
        for verb, model in verbs:
            runtime.before = unload
            assert verb()
            assert model not in runtime.open, "closed when it had run"
        assert one.status().degradations == {}


def test_lists_that_are_made_at_once_share_what_they_know_of_items(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage that a deadline left behind still works when the next list is made; here the one is within the other."""
    monkeypatch.setattr("nearhand.recommending.sources._KNOWN_VECTORS", 40)
    runtime = HookedRuntime()
    runs = iter(range(100))

    def make_another(model: str) -> None:
        if model == "encoder" and next(runs) == 1:
            one.recommend(5, candidates=[f"m_{row}" for row in range(100, 160)])

    with device.opened(runtime) as one:
        use_all(one)
        one.recommend(5, candidates=["m_290"])
        runtime.before = make_another
        assert_valid(one.recommend(10, candidates=["m_290", "m_200"]), 10, absent=[2, 8])
        assert next(runs) > 3, "both were made"


def test_the_app_may_change_its_working_directory(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "serving.nearhand").write_bytes(device.bundle.read_bytes())
    monkeypatch.chdir(tmp_path)
    with Personalizer.open("serving.nearhand", "data", config=PLAIN) as one:
        one.privacy.block(item_id="m_1")
        monkeypatch.chdir("elsewhere")
        use_all(one)
        one.pause()
        use_all(one)
        one.privacy.block(item_id="m_3")
        one.privacy.export("mine.json")
        assert one.recommend(3)[0].source == "local"
        assert one.status().degradations == {}
    assert [path.name for path in Path.cwd().iterdir()] == ["mine.json"]
    with Personalizer.open(tmp_path / "serving.nearhand", "../data", config=PLAIN) as one:
        assert one.privacy.preferences.blocked_items == ("m_1", "m_3")
        assert one.status().events == 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize("pauses", [True, False])
def test_what_a_pause_wrote_is_not_folded_again_after_a_kill(device: Device, pauses: bool) -> None:
    profile, few = device.new_profile(), 3
    with device.opened(profile=profile) as one:
        pass
    child = os.fork()
    if not child:  # no runtime is loaded here: native threads do not survive a fork
        code = 1
        try:
            with device.opened(profile=profile) as one:
                record(one, "item_viewed", range(few))
                if pauses:
                    one.pause()
                os._exit(0)
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    connection = sqlite3.connect(device.folder / "profiles" / profile / "events.db")
    snapshots = connection.execute("SELECT through FROM snapshot").fetchall()
    connection.close()
    assert snapshots == ([(few,)] if pauses else [(0,)])
    with device.opened(profile=profile) as one:
        features = one.status().features
        assert features is not None
        assert (features.events, features.ahead) == ((few, 0) if pauses else (0, few)), "folded, and to be folded"


# What breaks


def broken(model: str, error: Exception) -> Callable[[str], None]:
    def fail(running: str) -> None:
        if running == model:
            raise error

    return fail


ERRORS = [RuntimeError("out of memory"), ModelError("does not run"), KeyError("a"), MemoryError(), OSError(5, "io")]


@pytest.mark.degrades
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("model", ["encoder", "index", "order"])
def test_a_model_that_fails_costs_its_stage(device: Device, model: str, error: Exception) -> None:
    runtime = HookedRuntime()
    with device.opened(runtime) as one:
        use_all(one)
        for deadline_ms in (None, 60_000):
            runtime.before = broken(model, error)
            found = one.recommend(10, deadline_ms=deadline_ms)
            assert_valid(found, 10, absent=[2, 8])
            assert {each.source for each in found} == {"local" if model == "order" else "fallback"}
            assert all(each.explanation.text for each in found)
            runtime.before = lambda running: None
            assert {each.source for each in one.recommend(10)} == {"local"}
        lost = "recommend kept the order of retrieval" if model == "order" else "recommend fell back to popularity"
        reasons = {reason: times for reason, times in one.status().degradations.items() if "explanation" not in reason}
        assert [reason.partition(":")[0] for reason in reasons] == [lost]
        assert sum(reasons.values()) == 2
        if model != "order":
            runtime.before = broken(model, error)
            with pytest.raises(ModelError):
                one.similar("m_1")


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_predictor_that_fails_is_a_model_error(device: Device, error: Exception) -> None:
    runtime = HookedRuntime()
    with device.opened(runtime) as one:
        use_all(one)
        runtime.before = lambda running: (_ for _ in ()).throw(error)
        for verb in (lambda: one.predict("churn"), lambda: one.segment("kind"), lambda: one.decide("retention")):
            with pytest.raises(ModelError):
                verb()
        runtime.before = lambda running: None
        assert one.predict("churn").label in ("yes", "no")


def numbers(model: str, value: float) -> Callable[[str, Outputs], Outputs]:
    """All that is float of one model's outputs becomes a number."""

    def distort(running: str, outputs: Outputs) -> Outputs:
        if running != model:
            return outputs
        return {
            name: np.full_like(output, value) if output.dtype == np.float32 else output
            for name, output in outputs.items()
        }

    return distort


@pytest.mark.degrades
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("model", ["encoder", "index", "order"])
def test_numbers_that_are_not_finite_cost_their_stage(device: Device, model: str, value: float) -> None:
    runtime = HookedRuntime()
    with device.opened(runtime) as one:
        use_all(one)
        runtime.after = numbers(model, value)
        found = one.recommend(10, candidates=["m_250"])
        assert_valid(found, 10, absent=[2, 8])
        assert {each.source for each in found} - {"cloud"} == {"local" if model == "order" else "fallback"}
        assert all(np.isfinite(each.score) for each in found)
        assert any("not finite" in reason for reason in one.status().degradations)
        runtime.after = lambda running, outputs: outputs
        again = one.recommend(10, candidates=["m_250"])
        assert_valid(again, 10, absent=[2, 8])
        assert "fallback" not in {each.source for each in again}, "nothing of it was kept"


@pytest.mark.degrades
def test_a_runtime_that_forgets_an_output_costs_its_stage(device: Device) -> None:
    runtime = HookedRuntime()
    with device.opened(runtime) as one:
        use_all(one)
        runtime.after = lambda model, outputs: {}
        assert {each.source for each in one.recommend(10)} == {"fallback"}
        with pytest.raises(ModelError, match="gives no output"):
            one.predict("churn")


def test_a_prediction_that_is_no_number_is_a_model_error(device: Device) -> None:
    runtime = HookedRuntime()
    with device.opened(runtime) as one:
        runtime.after = numbers("churn", float("nan"))
        for verb in (lambda: one.predict("churn"), lambda: one.decide("retention")):
            with pytest.raises(ModelError, match="not finite"):
                verb()


@pytest.mark.degrades
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_model_that_cannot_be_loaded_again_after_a_pause(device: Device, error: Exception) -> None:
    runtime = HookedRuntime()
    with device.opened(runtime) as one:
        use_all(one)
        one.pause()
        runtime.loading = lambda model: (_ for _ in ()).throw(error)
        found = one.recommend(10)
        assert_valid(found, 10, absent=[2, 8])
        assert {each.source for each in found} == {"fallback"}
        for verb in (lambda: one.similar("m_1"), lambda: one.predict("churn"), one.resume):
            with pytest.raises(RuntimeUnavailableError):
                verb()
        runtime.loading = lambda model: None
        assert {each.source for each in one.recommend(10)} == {"local"}


@pytest.mark.degrades
def test_a_runtime_that_does_not_start_is_passed_over(device: Device, tmp_path: Path) -> None:
    def broken_start() -> HookedRuntime:
        raise RuntimeError("no such instruction")

    with pytest.raises(RuntimeUnavailableError, match="does not start \\(no such instruction\\)"):
        Personalizer.open(device.bundle, tmp_path, runtimes={NAME: broken_start})


@pytest.mark.degrades
def test_less_like_does_not_need_a_model_that_fails(device: Device) -> None:
    runtime = HookedRuntime()
    with device.opened(runtime) as one:
        use_all(one)
        one.privacy.less_like("m_1")
        runs = iter(range(100))

        def second_run_fails(model: str) -> None:
            if model == "encoder" and next(runs):
                raise ModelError("does not run")

        runtime.before = second_run_fails
        assert_valid(one.recommend(10), 10, absent=[1, 2, 8])


@pytest.mark.degrades
def test_a_damaged_store_costs_neither_lists_nor_history(device: Device) -> None:
    with device.opened() as one:
        use_all(one)
        shown = one.recommend(10)[0]
        other = sqlite3.connect(device.path(one, "profile.db"))
        other.executescript("DROP TABLE entry; DROP TABLE value")
        other.close()
        one.record(Event("item_clicked", shown.item_id, recommendation_id=shown.recommendation_id))
        one.record(Event("item_liked", "m_14"))
        for _ in range(5):
            found = one.recommend(10)
            assert_valid(found, 10, absent=[2, 8, 14])
            assert {each.source for each in found} == {"local"}
        reasons = {reason.partition(":")[0]: times for reason, times in one.status().degradations.items()}
        assert reasons["a list was not noted, and nothing can be learned from it"] == 5
        assert reasons["nothing was learned from the latest events"] >= 5
        for verb in (
            lambda: one.decide("retention"),
            lambda: one.privacy.block(item_id="m_3"),
            lambda: one.privacy.set_consent("off"),
        ):
            with pytest.raises(StorageError):
                verb()
        assert one.privacy.preferences.consent == "local", "as it was before"
        assert one.predict("churn").label in ("yes", "no")
        one.pause()
        assert one.record(Event("item_liked", "m_20")).sequence


def test_a_damaged_store_of_choices_does_not_allow_what_was_not_allowed(device: Device) -> None:
    profile = device.new_profile()
    with device.opened(profile=profile) as one:
        use_all(one)
        one.privacy.set_consent("off")
        path = device.path(one, "profile.db")
    path.write_bytes(b"no database" * 1000)
    for _ in range(2):  # and it stays so
        with device.opened(profile=profile) as one:
            status = one.status()
            assert status.quarantined == ("profile.db.corrupt-1",)
            assert "consent is off" in next(iter(status.degradations))
            assert one.privacy.preferences.consent == "off"
            events = status.events
            assert one.record(Event("item_liked", "m_1")).sequence == 0
            assert_valid(one.recommend(10), 10)
    with device.opened(profile=profile) as one:
        one.privacy.set_consent("local")
        assert one.record(Event("item_liked", "m_1")).sequence
        assert one.status().events == events + 1
    with device.opened(profile=profile) as one:
        assert one.privacy.preferences.consent == "local"
        assert not one.status().degradations
        one.privacy.erase()
        assert not one.status().quarantined


@pytest.mark.degrades
def test_a_log_that_cannot_be_read_gives_what_is_popular(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise StorageError("disk I/O error", place="events.db", remedy="try again")

    with device.opened() as one:
        use_all(one)
        one.privacy.block(item_id="m_0")
        with monkeypatch.context() as fault:
            fault.setattr("nearhand.events.EventLog.read", fails)
            fault.setattr("nearhand.events.EventLog.changed_elsewhere", fails)
            fault.setattr("nearhand.events.EventLog.append", fails)
            found = one.recommend(10)
            assert_valid(found, 10, absent=[0])
            assert {each.source for each in found} == {"fallback"}
            one.shed_memory()
            for verb in (lambda: one.predict("churn"), one.best_time, one.status):
                with pytest.raises(StorageError):
                    verb()
            with pytest.raises(StorageError):
                one.record(Event("item_liked", "m_1"))
        reasons = [reason.partition(":")[0] for reason in one.status().degradations]
        assert reasons == ["recommend made a list without the history"]
        assert {each.source for each in one.recommend(10)} == {"local"}


@pytest.mark.degrades
def test_a_predicate_that_raises_leaves_its_items_out(device: Device) -> None:
    def odd_ones(item_id: str) -> bool:
        row = int(item_id[2:])
        if row % 2 == 0:
            raise ZeroDivisionError("the app's own")
        return row % 3 != 0

    for history in (False, True):
        with device.opened() as one:
            if history:
                record(one, "item_liked", [2, 8])
            found = one.recommend(5, predicate=odd_ones)
            assert all(row % 2 and row % 3 for row in rows_of(found))
            assert len(found) == 5
            ((reason, times),) = one.status().degradations.items()
            assert reason.startswith("the app's predicate failed, and the item was left out")
            assert times > 1


# What an app may pass

WRONG: dict[str, tuple[str, Callable[[Personalizer], object]]] = {}
_HUGE = 10**5000
"""Python does not write it: no message can have it."""


def _wrong(argument: str, place: str, values: list[Any], call: Callable[[Personalizer, Any], object]) -> None:
    if not argument.endswith((" k", " user_age")):  # which may be that large
        values = [*values, _HUGE]
    for value in values:
        shown = "object()" if type(value) is object else "10**5000" if value is _HUGE else repr(value)
        WRONG[f"{argument}={shown}"] = place, lambda one, value=value: call(one, value)  # type: ignore[misc]


for _argument, _values in {
    "k": [0, -1, True, "3", None, 2.5],
    "context": [5, "phone", [("device", "phone")]],
    "deadline_ms": [0, "soon"],
    "cancelled": [True, 5, "no"],
    "candidates": [5, "m_1", [5], [None], [["m_1"]]],
    "pinned": [5, ["m_1"], {0: 5}, {0: ["m_1"]}, {-1: "m_1"}, {"0": "m_1"}, {True: "m_1"}, {0: "unknown"},
               {0: "m_1", 1: "m_1"}],
    "unavailable": [5, "m_1", [5], None],
    "only": [5, "m_1", [["m_1"]]],
    "user_age": [-1, "12", 12.5, True],
    "predicate": [5, "m_1", True],
}.items():  # fmt: skip
    _wrong(
        f"recommend {_argument}",
        _argument,
        _values,
        lambda one, value, argument=_argument: one.recommend(**{argument: value}),  # type: ignore[misc]
    )
_BAD_VALUES: list[Any] = [
    [1], {}, object(), b"phone", float("nan"), float("inf"), np.int64(3), {1, 2}, 2**63, -(10**400), "\ud800",
]  # fmt: skip
for _name, _verb in {
    "recommend": lambda one, context: one.recommend(context=context),
    "predict": lambda one, context: one.predict("churn", context=context),
    "segment": lambda one, context: one.segment("kind", context=context),
    "decide": lambda one, context: one.decide("retention", context=context),
}.items():
    _wrong(
        f"{_name} context device", "context['device']", _BAD_VALUES,
        lambda one, value, verb=_verb: verb(one, {"device": value}),  # type: ignore[misc]
    )  # fmt: skip
    _wrong(f"{_name} context", "context", [{5: 1}, 5, {"\ud800": 1}], lambda one, value, verb=_verb: verb(one, value))  # type: ignore[misc]
_wrong("similar item_id", "similar(item_id)", ["unknown", 5, None, ["m_1"]], lambda one, value: one.similar(value))
_wrong("similar k", "k", [0, "3"], lambda one, value: one.similar("m_1", value))
_wrong(
    "predict name",
    "bundle serving",
    ["kind", "unknown", 5, ["churn"], np.array(["churn", "kind"])],
    lambda one, value: one.predict(value),
)
_wrong(
    "segment name",
    "bundle serving",
    ["churn", "order", 5, np.array(["kind", "churn"])],
    lambda one, value: one.segment(value),
)
_wrong(
    "decide name",
    "decide(name)",
    ["churn", "", 5, ["retention"], {}, np.array(["retention", "x"])],
    lambda one, value: one.decide(value),
)
_wrong(
    "best_time within_hours", "best_time(within_hours)", [0, 169, "24", 2.5, None, True],
    lambda one, value: one.best_time(within_hours=value),
)  # fmt: skip
_wrong(
    "best_time quiet", "best_time(quiet)", [5, (22,), (22, 24), (8, 8), "22", ("22", "8"), (1, 2, 3)],
    lambda one, value: one.best_time(quiet=value),
)  # fmt: skip
_wrong(
    "best_time not_before_ms", "best_time(not_before_ms)", ["now", 1.5, [1], -1, 10**30, 2**63],
    lambda one, value: one.best_time(not_before_ms=value),
)  # fmt: skip
_wrong("record event", "append", ["item_viewed", 5, None], lambda one, value: one.record(value))
_wrong("record_many events", "events", [5, None], lambda one, value: one.record_many(value))
_wrong("block category", "block(category)", ["unknown", 5, ["taste 1"], {}],
       lambda one, value: one.privacy.block(category=value))  # fmt: skip
_wrong("less_like item_id", "less_like(item_id)", ["unknown", 5, ["m_1"], {}, np.array(["m_1", "m_2"])],
       lambda one, value: one.privacy.less_like(value))  # fmt: skip
_wrong("forget event_id", "forget(event_id)", [5, None, ["x"], "", "\ud800", 10**30, b"x", "x" * 257],
       lambda one, value: one.privacy.forget(value))  # fmt: skip
_wrong("set_consent level", "set_consent", ["on", 5, None, np.array(["on", "off"])],
       lambda one, value: one.privacy.set_consent(value))  # fmt: skip
_wrong(
    "vector context", "context", [5, "phone", ["a"], np.array([1, 2])], lambda one, value: one.features.vector(value)
)
_wrong("set_consent include_past", "set_consent(include_past)", ["no", 1, None],
       lambda one, value: one.privacy.set_consent("sync", include_past=value))  # fmt: skip
_wrong("set_personalized", "set_personalized", ["no", 0, None], lambda one, value: one.privacy.set_personalized(value))
_NO_PATHS: list[Any] = [5, None, b"x", "", "a\0b", "\ud800"]
_wrong("export path", "export(path)", [*_NO_PATHS, "/", "."], lambda one, value: one.privacy.export(value))
_wrong("import path", "import_(path)", _NO_PATHS, lambda one, value: one.privacy.import_(value))


@pytest.fixture(scope="module")
def listener(device: Device) -> Any:
    with device.opened() as one:
        use_all(one)
        yield one


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_argument_is_named(listener: Personalizer, wrong: str) -> None:
    place, call = WRONG[wrong]
    with pytest.raises(UsageError) as caught:
        call(listener)
    assert caught.value.place == place
    assert caught.value.remedy


@pytest.mark.parametrize("verb", ["recommend", "predict", "segment", "decide"])
def test_a_context_is_small_because_it_is_noted_with_each_list(listener: Personalizer, verb: str) -> None:
    calls: dict[str, Callable[[Any], object]] = {
        "recommend": lambda context: listener.recommend(context=context),
        "predict": lambda context: listener.predict("churn", context=context),
        "segment": lambda context: listener.segment("kind", context=context),
        "decide": lambda context: listener.decide("retention", context=context),
    }
    call = calls[verb]
    call({"device": "x" * 3_994})
    call({f"n{number}": number for number in range(100)})
    huge: Any = 10**5000  # no text can be made of it
    for context in ({"device": "x" * 3_995}, {f"n{number}": number for number in range(101)}, {"device": huge}):
        with pytest.raises(UsageError) as caught:
            call(context)
        assert caught.value.place.startswith("context")
        assert caught.value.remedy
        assert len(str(caught.value)) < 300


@pytest.mark.degrades
@pytest.mark.parametrize(
    "feature",
    [
        '{"name": "ltv", "values": [1, 2], "ttl_ms": Infinity, "source": "s"}',
        '{"name": "ltv", "values": [1, 2], "ttl_ms": 1e999, "source": "s"}',
        '{"name": "ltv", "values": [1, 2], "ttl_ms": 1' + "0" * 400 + ', "source": "s"}',
        '{"name": "ltv", "values": [1, 2], "ttl_ms": NaN, "source": "s"}',
        '{"name": "ltv", "values": [1, 2], "ttl_ms": "5", "source": "s"}',
        '{"name": "ltv", "values": [1, 2], "ttl_ms": 5000, "source": 5}',
        '{"name": "ltv", "values": [1, 1' + "0" * 400 + '], "ttl_ms": 5000, "source": "s"}',
        '{"name": "ltv", "values": {"a": 1, "b": 2}, "ttl_ms": 5000, "source": "s"}',
        '{"name": "ltv", "values": null, "ttl_ms": 5000, "source": "\\ud800"}',
        '{"name": ["ltv"], "values": [1, 2], "ttl_ms": 5000, "source": "s"}',
    ],
)
def test_features_of_an_endpoint_that_are_none_are_passed_over(device: Device, tmp_path: Path, feature: str) -> None:
    endpoint = MemoryEndpoint()
    wire = FaultyTransport(endpoint)
    good = '{"name": "ltv", "values": [1.5, 2.5], "ttl_ms": 5000, "source": "s"}'
    answer = Answer(200, {}, f'{{"features": [{feature}, {good}]}}'.encode())
    wire.fault = lambda number, call: Fault(0, answer=answer) if call.method == "GET" else None
    bundle = bundle_with_pushed(tmp_path, None)
    with device.opened(bundle=bundle, sync=CONFIG, transport=wire, clock=ManualClock()) as one:
        one.privacy.set_consent("sync")
        one.record(Event("item_viewed", "m_1"))
        report = one.sync()
        assert (report.features, report.errors) == (1, ())
        column = one.features.program.column("ltv")
        assert one.features.vector({}).floats[column.offset :][:2].tolist() == [1.5, 2.5]
        assert any("was not taken over" in reason for reason in one.status().degradations)


class AppsTransport:
    """Does not keep to the protocol."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.calls = 0

    def send(self, call: Call) -> Any:
        self.calls += 1
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def close(self) -> None:
        raise AssertionError("it is the app's to close")


_ANSWERS: list[Any] = [
    KeyError("x"), OSError(5, "io"), RuntimeError("of its library"), MemoryError(), None, 5,
    Answer(200, {}, None), Answer("200", {}, b"{}"), Answer(200, None, b"{}"),  # type: ignore[arg-type]
]  # fmt: skip


@pytest.mark.parametrize("answer", _ANSWERS, ids=repr)
def test_a_transport_of_the_app_that_breaks_the_protocol_is_a_broken_network(device: Device, answer: Any) -> None:
    transport = AppsTransport(answer)
    hybrid = HybridConfig("https://models.test")
    options: dict[str, Any] = {"sync": CONFIG, "hybrid": hybrid, "transport": transport}
    with device.opened(surroundings=lambda: Surroundings("unmetered", 0.9), **options) as one:
        one.privacy.set_consent("sync")
        record(one, "item_liked", [2, 8])
        report = one.sync()
        assert not report.is_complete
        assert "the app's transport" in report.errors[0]
        assert {each.source for each in one.recommend(3)} == {"local"}
        status = one.status().hybrid
        assert status is not None
        assert status.last[-1].outcome == "network"
        assert transport.calls >= 2


@pytest.mark.parametrize("cancelled", [5, "no", True])
def test_what_cancels_a_sync_is_an_event(device: Device, cancelled: Any) -> None:
    with device.opened(sync=SyncConfig("http://127.0.0.1:9", "key")) as one, pytest.raises(UsageError) as caught:
        one.sync(cancelled=cancelled)
    assert caught.value.place == "sync(cancelled)"


WRONG_OF_OPEN: dict[str, tuple[str, list[Any]]] = {
    "bundle": ("open(bundle)", _NO_PATHS),
    "data_dir": ("open(data_dir)", _NO_PATHS),
    "config": ("open(config)", [{"locale": "de"}, {}, "de", 0]),
    "clock": ("open(clock)", [5, "now"]),
    "runtimes": ("open(runtimes)", [5, ["onnx"]]),
    "transport": ("open(transport)", [5, "urllib3"]),
    "sync": ("open(sync)", ["https://events.example.com", {}]),
    "hybrid": ("open(hybrid)", ["https://models.example.com", {}]),
    "surroundings": ("open(surroundings)", [5, {"network": "none"}]),
    "key_provider": ("the key provider", [b"x" * 32, "key", object()]),
}


@pytest.mark.parametrize("name", WRONG_OF_OPEN)
def test_a_wrong_argument_of_open_is_named_and_makes_nothing(device: Device, tmp_path: Path, name: str) -> None:
    place, values = WRONG_OF_OPEN[name]
    for value in values:
        arguments: dict[str, Any] = {"bundle": device.bundle, "data_dir": tmp_path / "data", name: value}
        with pytest.raises(UsageError) as caught:
            Personalizer.open(**arguments)
        assert caught.value.place == place
        assert caught.value.remedy
    assert not any(tmp_path.iterdir())


def test_what_was_refused_has_left_no_trace(device: Device) -> None:
    with device.opened() as one:
        use_all(one)
        before = one.status().events, len(device.exposures(one))
        for _, call in WRONG.values():
            with pytest.raises(UsageError):
                call(one)
        assert (one.status().events, len(device.exposures(one))) == before
        assert one.status().degradations == {}
        one.privacy.set_consent("off")
        for event in ("item_viewed", 5, None):
            with pytest.raises(UsageError):
                one.record(event)  # type: ignore[arg-type]


ODD_BUT_FINE: list[dict[str, Any]] = [
    {"context": {}}, {"context": None}, {"context": {"device": "fridge", "x": None, "y": 1.5, "z": True, "ü" * 99: 3}},
    {"candidates": []}, {"candidates": ["unknown", "m_3", "m_3"]}, {"candidates": {"m_3"}}, {"pinned": {}},
    {"pinned": None}, {"pinned": {99: "m_3"}}, {"pinned": {0: "m_3"}}, {"unavailable": frozenset({"m_3", "unknown"})},
    {"only": None}, {"user_age": 0}, {"user_age": 10**30}, {"predicate": lambda item_id: True}, {"cancelled": None},
    {"k": 10},
]  # fmt: skip


def _id_of(request_: dict[str, Any]) -> str:
    """The same in every process, as the order of a set is not."""
    return " ".join(f"{name} {type(value).__name__}" for name, value in request_.items())


@pytest.mark.parametrize("request_", ODD_BUT_FINE, ids=_id_of)
def test_what_is_odd_but_fine_is_answered(listener: Personalizer, request_: dict[str, Any]) -> None:
    assert_valid(listener.recommend(**request_), 10, absent=[2, 8])


def test_no_items_are_allowed(listener: Personalizer) -> None:
    assert listener.recommend(only=[]) == []
    assert listener.recommend(only=["m_2"]) == [], "it was seen"
    assert listener.recommend(unavailable=[f"m_{row}" for row in range(ITEMS)]) == []
    assert listener.recommend(predicate=lambda item_id: False) == []
    assert listener.recommend(only=[], deadline_ms=1e-6) == []
