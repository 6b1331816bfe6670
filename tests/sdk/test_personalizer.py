"""The public door: a real bundle, real runtimes, and a device that fails in every way it can."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest

from nearhand import Config, Event, EventError, Personalizer, Recommendation, UsageError
from nearhand.bundle.schema import Precision, RuntimeName
from nearhand.clock import Clock
from nearhand.errors import BundleError, ModelError, RuntimeUnavailableError, StorageError
from nearhand.events import RecordedEvent
from nearhand.ids import is_id
from nearhand.retrieval import HistoryFold
from nearhand.runtime import Runtime, installed_runtimes
from nearhand.testing import ALWAYS, FailingRuntime, ManualClock
from nearhand.testing.faults import Outputs
from tests.tiny import ITEMS, PRECISIONS, TASTES, WINDOW, Tiny, taste_of

RUNTIMES = tuple(installed_runtimes())
VARIANTS = [(runtime, precision) for runtime in RUNTIMES for precision in PRECISIONS]
PLAIN = Config(durability="process")  # no fsync for every event: these tests pull no plug
BOTH = pytest.mark.skipif(len(RUNTIMES) < 2, reason="one runtime is installed")

Runtimes = Mapping[RuntimeName, Callable[[], Runtime]]


class Open(Protocol):
    def __call__(
        self,
        config: Config = PLAIN,
        *,
        source: Path | None = None,
        data_dir: Path | None = None,
        runtimes: Runtimes | None = None,
        clock: Clock | None = None,
    ) -> Personalizer: ...


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def opened(tiny: Tiny, data_dir: Path) -> Iterator[Open]:
    """Opens Personalizers on the tiny bundle, and closes them."""
    made: list[Personalizer] = []
    own_data_dir = data_dir

    def open_one(
        config: Config = PLAIN,
        *,
        source: Path | None = None,
        data_dir: Path | None = None,
        runtimes: Runtimes | None = None,
        clock: Clock | None = None,
    ) -> Personalizer:
        one = Personalizer.open(
            source or tiny.path, data_dir or own_data_dir, config=config, runtimes=runtimes, clock=clock
        )
        made.append(one)
        return one

    yield open_one
    for one in made:
        one.close()


@pytest.fixture
def personalizer(opened: Open) -> Personalizer:
    return opened()


@pytest.fixture
def fakes() -> dict[RuntimeName, FailingRuntime]:
    return {name: FailingRuntime(make()) for name, make in installed_runtimes().items()}


def given(fakes: Mapping[RuntimeName, FailingRuntime]) -> Runtimes:
    return {name: (lambda fake=fake: fake) for name, fake in fakes.items()}  # type: ignore[misc]


def liked(row: int, **fields: Any) -> Event:
    return Event("item_liked", f"m_{row}", **fields)


def record(personalizer: Personalizer, event: str, rows: Iterable[int]) -> list[RecordedEvent]:
    return [personalizer.record(Event(event, f"m_{row}")) for row in rows]


def rows_of(recommendations: list[Recommendation]) -> list[int]:
    return [int(one.item_id.removeprefix("m_")) for one in recommendations]


def plain(recommendations: list[Recommendation]) -> list[Recommendation]:
    """Without the identifier, which is another for every list."""
    return [dataclasses.replace(one, recommendation_id="") for one in recommendations]


def exact_list(tiny: Tiny, precision: Precision, events: Iterable[RecordedEvent], k: int) -> list[tuple[int, float]]:
    """The list as the definition has it: fold, float64 solve, all items, best first."""
    fold = HistoryFold(
        tiny.manifest.retrieval.policy, {item_id: row for row, item_id in enumerate(tiny.items.item_ids)}
    )
    fold.fold(events)
    history = fold.history()
    table = tiny.tables[precision].astype(np.float64)
    rows, confidences = history.padded(WINDOW)
    files = tiny.files(RUNTIMES[0], precision)
    scores = table @ files.user_vector({"history_rows": rows, "history_confidences": confidences})
    left = [row for row in range(ITEMS) if row not in fold.seen and row not in {item.row for item in history.items}]
    return sorted(((row, float(scores[row])) for row in left), key=lambda one: (-one[1], one[0]))[:k]


# Recommending


@pytest.mark.parametrize(("runtime", "precision"), VARIANTS)
def test_every_variant_recommends_what_the_model_says(
    tiny: Tiny, opened: Open, runtime: RuntimeName, precision: Precision
) -> None:
    one = opened(dataclasses.replace(PLAIN, runtime=runtime, precision=precision))
    status = one.status()
    assert (status.runtime, status.precision) == (runtime, precision)
    generator = np.random.Generator(np.random.PCG64(5))
    events = []
    types = ("item_viewed", "item_clicked", "item_saved", "item_liked", "item_disliked", "item_purchased", "impression")
    for _ in range(40):
        row = int(generator.integers(0, 80))
        events.append(one.record(Event(types[int(generator.integers(0, len(types)))], f"m_{row}")))
        recommendations = one.recommend(10)
        wanted = exact_list(tiny, precision, events, 10)
        if recommendations[0].source == "local":
            assert rows_of(recommendations) == [row for row, _ in wanted]
            assert [r.score for r in recommendations] == pytest.approx([score for _, score in wanted], rel=1e-5)
    assert recommendations[0].source == "local"


def test_a_list_has_one_identifier_and_its_positions(personalizer: Personalizer) -> None:
    personalizer.record(liked(3))
    first, second = personalizer.recommend(5), personalizer.recommend(5)
    assert [one.position for one in first] == [0, 1, 2, 3, 4]
    assert len({one.recommendation_id for one in first}) == 1
    assert is_id(first[0].recommendation_id)
    assert first[0].recommendation_id != second[0].recommendation_id
    assert plain(first) == plain(second)
    assert {one.propensity for one in first} == {1.0}
    assert [one.title for one in first] == [f"Film {row}" for row in rows_of(first)]
    assert [one.score for one in first] == sorted((one.score for one in first), reverse=True)


def test_the_list_reacts_to_what_was_just_recorded(personalizer: Personalizer) -> None:
    before = personalizer.recommend(10)
    record(personalizer, "item_liked", [2, 8, 14])  # all of taste 2
    first = personalizer.recommend(10)
    assert sum(taste_of(row) == 2 for row in rows_of(first)) >= 8
    assert plain(first) != plain(before)
    record(personalizer, "item_purchased", [3, 9, 15, 21, 27, 33])
    second = personalizer.recommend(10)
    assert sum(taste_of(row) == 3 for row in rows_of(second)) > sum(taste_of(row) == 3 for row in rows_of(first))


def test_what_was_seen_or_is_in_the_history_is_not_recommended(tiny: Tiny, personalizer: Personalizer) -> None:
    generator = np.random.Generator(np.random.PCG64(9))
    types = ("item_viewed", "item_clicked", "item_saved", "item_liked", "recommendation_dismissed", "item_disliked")
    met: set[int] = set()
    for _ in range(30):  # fewer than the window, so all that counts is in the history
        best = rows_of(personalizer.recommend(10))
        assert not met & set(best)
        row = best[int(generator.integers(0, len(best)))]
        personalizer.record(Event(types[int(generator.integers(0, len(types)))], f"m_{row}"))
        met.add(row)
    assert {"item_clicked", "item_saved"}.isdisjoint(tiny.manifest.retrieval.policy.seen)
    assert not met & set(rows_of(personalizer.recommend(ITEMS)))


def test_seen_items_stay_away_when_they_leave_the_window(personalizer: Personalizer) -> None:
    record(personalizer, "item_viewed", range(WINDOW + 20))
    assert set(range(WINDOW + 20)).isdisjoint(rows_of(personalizer.recommend(ITEMS)))


def test_what_was_chosen_or_recorded_between_two_lists_holds_for_the_second(personalizer: Personalizer) -> None:
    personalizer.record(liked(3))
    first, second, third, *_ = rows_of(personalizer.recommend(5))
    assert rows_of(personalizer.recommend(5, unavailable=[f"m_{first}"]))[:2] == [second, third]
    assert rows_of(personalizer.recommend(5))[0] == first
    personalizer.privacy.block(item_id=f"m_{first}")
    assert rows_of(personalizer.recommend(5))[:2] == [second, third]
    assert rows_of(personalizer.recommend(5, pinned={1: f"m_{third}"}))[:2] == [second, third]
    personalizer.privacy.unblock(item_id=f"m_{first}")
    assert rows_of(personalizer.recommend(5))[0] == first
    record(personalizer, "item_viewed", [first])
    assert first not in rows_of(personalizer.recommend(ITEMS))
    personalizer.privacy.reset()
    assert first in rows_of(personalizer.recommend(ITEMS))


def test_a_list_is_as_long_as_the_catalogue_allows(personalizer: Personalizer) -> None:
    record(personalizer, "item_viewed", range(ITEMS - 3))
    assert len(personalizer.recommend(2)) == 2
    assert sorted(rows_of(personalizer.recommend(10))) == [ITEMS - 3, ITEMS - 2, ITEMS - 1]
    assert sorted(rows_of(personalizer.recommend(10**12))) == [ITEMS - 3, ITEMS - 2, ITEMS - 1]
    record(personalizer, "item_viewed", range(ITEMS - 3, ITEMS))
    assert personalizer.recommend(10) == []


def test_all_of_the_catalogue_in_one_list(tiny: Tiny, personalizer: Personalizer) -> None:
    event = personalizer.record(liked(0))
    recommendations = personalizer.recommend(ITEMS)
    assert len(recommendations) == ITEMS - 1
    assert rows_of(recommendations)[:50] == [row for row, _ in exact_list(tiny, "int8", [event], 50)]


BAD_K: list[Any] = [0, -1, True, 2.5, 10.0, "3", None, np.int64(3)]


@pytest.mark.parametrize("k", BAD_K, ids=repr)
def test_a_k_that_is_no_positive_integer_is_named(personalizer: Personalizer, k: Any) -> None:
    with pytest.raises(UsageError) as caught:
        personalizer.recommend(k)
    assert (caught.value.place, caught.value.problem) == ("k", f"k is {k!r}")
    with pytest.raises(UsageError) as caught:
        personalizer.similar("m_1", k)
    assert (caught.value.place, caught.value.problem) == ("k", f"k is {k!r}")


# Without a history


def popular(tiny: Tiny) -> list[int]:
    return sorted(range(ITEMS), key=lambda row: (-tiny.items.popularity[row], row))


def test_a_new_user_gets_what_is_popular(tiny: Tiny, personalizer: Personalizer) -> None:
    recommendations = personalizer.recommend(20)
    assert rows_of(recommendations) == popular(tiny)[:20]
    assert {one.source for one in recommendations} == {"fallback"}
    assert {one.explanation.text for one in recommendations} == {"Popular with many people"}
    assert {one.explanation.evidence for one in recommendations} == {()}
    total = sum(tiny.items.popularity)
    assert [one.score for one in recommendations] == pytest.approx(
        [tiny.items.popularity[row] / total for row in popular(tiny)[:20]]
    )
    assert personalizer.status().degradations == {}


def test_a_user_of_dislikes_gets_what_else_is_popular(tiny: Tiny, personalizer: Personalizer) -> None:
    order = popular(tiny)
    record(personalizer, "item_disliked", order[:3])
    recommendations = personalizer.recommend(5)
    assert {one.source for one in recommendations} == {"fallback"}
    assert rows_of(recommendations) == order[3:8]


def test_events_that_say_nothing_of_taste_make_no_history(tiny: Tiny, personalizer: Personalizer) -> None:
    record(personalizer, "impression", [0, 1, 2])
    personalizer.record(Event("search", properties={"query": "noir"}))
    personalizer.record(Event("item_liked", "of another catalogue"))
    assert {one.source for one in personalizer.recommend(3)} == {"fallback"}
    assert personalizer.status().unknown_items == 1


# Explaining


def test_an_explanation_names_recorded_events_and_sums_to_the_score(personalizer: Personalizer) -> None:
    recorded = record(personalizer, "item_liked", [4]) + record(personalizer, "item_viewed", [10, 10, 16])
    recorded += record(personalizer, "item_disliked", [5])
    for one in personalizer.recommend(10):
        evidence = one.explanation.evidence
        assert {each.event_id: (each.event, each.item_id) for each in evidence} == {
            event.event_id: (event.event, event.item_id) for event in recorded
        }
        assert sum(each.contribution for each in evidence) == pytest.approx(one.score, rel=1e-5)
        amounts = [each.contribution for each in evidence]
        assert amounts == sorted(amounts, reverse=True)
        assert one.explanation.text.startswith("Because you ")
        assert evidence[0].title in one.explanation.text
    assert any("liked Film 4" in one.explanation.text for one in personalizer.recommend(10))


def test_an_item_far_from_the_history_is_not_explained_away(personalizer: Personalizer) -> None:
    record(personalizer, "item_viewed", [0])
    worst = personalizer.recommend(ITEMS)[-1]
    assert worst.score < 0
    assert worst.explanation.text == "Because of your recent activity"


# Similar items


@pytest.mark.parametrize(("runtime", "precision"), VARIANTS)
def test_similar_is_by_cosine(tiny: Tiny, opened: Open, runtime: RuntimeName, precision: Precision) -> None:
    one = opened(dataclasses.replace(PLAIN, runtime=runtime, precision=precision))
    table = tiny.tables[precision].astype(np.float64)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    given_cosines = {}
    for row in (0, 7, 100, 299):
        found = one.similar(f"m_{row}", k=10)
        cosines = table @ table[row]
        assert len(found) == 10
        assert row not in rows_of(found)
        assert [r.score for r in found] == pytest.approx([cosines[other] for other in rows_of(found)], abs=1e-5)
        assert [r.score for r in found] == sorted((r.score for r in found), reverse=True)
        assert {r.source for r in found} == {"local"}
        assert {r.explanation.text for r in found} == {f"Similar to Film {row}"}
        given_cosines[row] = {int(r.item_id[2:]): r.score for r in found}
    best = max(given_cosines[0], key=lambda other: given_cosines[0][other])
    back = {int(r.item_id[2:]): r.score for r in one.similar(f"m_{best}", k=ITEMS)}
    assert back[0] == pytest.approx(given_cosines[0][best], abs=1e-5)


def test_similar_items_are_of_one_taste(personalizer: Personalizer) -> None:
    found = [(row, other) for row in range(24) for other in rows_of(personalizer.similar(f"m_{row}", k=5))]
    assert sum(taste_of(row) == taste_of(other) for row, other in found) / len(found) > 0.9


def test_similar_asks_for_no_history_and_hides_nothing_but_the_item(personalizer: Personalizer) -> None:
    before = personalizer.similar("m_6", k=ITEMS)
    assert len(before) == ITEMS - 1
    record(personalizer, "item_viewed", [12, 18])
    assert plain(personalizer.similar("m_6", k=ITEMS)) == plain(before)


@pytest.mark.parametrize("item_id", ["m_300", "", "M_1", "Film 1"])
def test_similar_to_an_unknown_item_names_it(personalizer: Personalizer, item_id: str) -> None:
    with pytest.raises(UsageError, match=r"similar\(item_id\)") as caught:
        personalizer.similar(item_id)
    assert repr(item_id) in str(caught.value)
    assert "tiny" in str(caught.value)


# What is kept, and where


def test_a_restart_changes_nothing(tiny: Tiny, opened: Open) -> None:
    first = opened()
    recorded = record(first, "item_liked", [4, 10]) + record(first, "item_viewed", [5, 11, 10])
    before, similar = plain(first.recommend(20)), plain(first.similar("m_4"))
    first.close()
    second = opened()
    assert plain(second.recommend(20)) == before
    assert plain(second.similar("m_4")) == similar
    assert second.status().events == len(recorded)


def test_when_events_happened_decides_and_not_when_they_were_recorded(opened: Open, tmp_path: Path) -> None:
    times = [(row, 1_700_000_000_000 + 1000 * row) for row in range(WINDOW + 10)]
    lists = []
    for name, order in (("forwards", times), ("backwards", times[::-1])):
        one = opened(data_dir=tmp_path / name)
        for row, when in order:
            one.record(Event("item_saved", f"m_{row}", timestamp=when))
        lists.append([(r.item_id, r.score) for r in one.recommend(20)])
    assert lists[0] == lists[1]


def test_profiles_know_nothing_of_each_other(opened: Open) -> None:
    anna, ben = (opened(dataclasses.replace(PLAIN, profile=name)) for name in ("anna", "ben"))
    record(anna, "item_liked", [2, 8])
    assert anna.recommend(1)[0].source == "local"
    assert ben.recommend(1)[0].source == "fallback"
    assert (anna.status().events, ben.status().events) == (2, 0)
    assert (anna.status().profile, ben.status().profile) == ("anna", "ben")


def test_two_personalizers_of_one_profile_see_each_others_events(opened: Open) -> None:
    one, other = opened(), opened()
    assert other.recommend(1)[0].source == "fallback"
    record(one, "item_liked", [2, 8])
    assert plain(other.recommend(10)) == plain(one.recommend(10))
    record(other, "item_viewed", [9])
    assert plain(one.recommend(10)) == plain(other.recommend(10))
    assert 9 not in rows_of(one.recommend(ITEMS))
    assert one.status().events == other.status().events == 3


def test_an_event_recorded_twice_under_its_own_identifier_counts_once(opened: Open, tmp_path: Path) -> None:
    once, twice = opened(), opened(data_dir=tmp_path / "other")
    once.record(liked(3))
    for _ in range(2):
        twice.record(liked(3, event_id="app-1"))
    assert [r.score for r in twice.recommend()] == [r.score for r in once.recommend()]


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Event("item_viewed"), "item_id"),
        (lambda: Event("item_watched", "m_1"), "event"),
        (lambda: Event("search"), "properties.query"),
    ],
)
def test_a_malformed_event_is_named_and_not_kept(
    personalizer: Personalizer, make: Callable[[], Event], field: str
) -> None:
    with pytest.raises(EventError) as caught:
        personalizer.record(make())
    assert caught.value.field == field
    assert personalizer.status().events == 0


def test_nothing_is_written_outside_the_data_folder(
    tiny: Tiny, opened: Open, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    for name in ("home", "temporary", "working"):
        (elsewhere / name).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(elsewhere / "home"))
    monkeypatch.setenv("TMPDIR", str(elsewhere / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(elsewhere / "working")
    bundle = tmp_path / "app" / "films.nearhand"
    bundle.parent.mkdir()
    shutil.copyfile(tiny.path, bundle)
    before = (bundle.read_bytes(), bundle.stat().st_mtime_ns)
    one = opened(source=bundle)
    record(one, "item_liked", [1, 2])
    one.recommend()
    one.similar("m_1")
    one.status()
    one.close()
    assert [path for path in elsewhere.rglob("*") if path.is_file()] == []
    assert (bundle.read_bytes(), bundle.stat().st_mtime_ns) == before
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere", "app", "data"}
    assert {path.name for path in bundle.parent.iterdir()} == {"films.nearhand"}
    assert {path.name for path in data_dir.iterdir()} == {"slots", "profiles", "selftests"}


def test_a_slot_is_opened_without_its_bundle(tiny: Tiny, opened: Open, data_dir: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "films.nearhand"
    shutil.copyfile(tiny.path, bundle)
    first = opened(source=bundle)
    record(first, "item_liked", [2, 8])
    before, slot = plain(first.recommend()), Path(first.status().slot)
    first.close()
    bundle.unlink()
    assert slot.parent == data_dir / "slots"
    second = opened(source=slot)
    assert plain(second.recommend()) == before
    assert second.status().digest == slot.name


def test_a_damaged_bundle_or_none_at_all_is_refused(tiny: Tiny, opened: Open, data_dir: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "films.nearhand"
    bundle.write_bytes(tiny.path.read_bytes()[:-1])
    with pytest.raises(BundleError):
        opened(source=bundle)
    with pytest.raises(StorageError):
        opened(source=tmp_path / "missing.nearhand")
    assert not data_dir.exists()


@pytest.mark.parametrize("taken", ["", "slots", "profiles", "selftests"])
def test_a_data_folder_that_cannot_be_used_is_a_storage_error(opened: Open, data_dir: Path, taken: str) -> None:
    path = data_dir / taken
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a file where a folder is needed")
    with pytest.raises(StorageError):
        opened()


# The start


LATE = (
    *("hashlib", "hmac", "random", "zlib", "asyncio", "concurrent.futures"),
    *("nearhand.bundle.archive", "nearhand.decisions", "nearhand.explain.occlusion", "nearhand.explain.texts"),
    *("nearhand.learning.learner", "nearhand.privacy.privacy", "nearhand.sync.syncer", "nearhand.hybrid"),
)
"""What a first list does not need."""


def test_a_first_list_imports_only_what_it_needs(tiny: Tiny, tmp_path: Path) -> None:
    code = f"""
import sys
from contextlib import suppress
for runtime in ("onnxruntime", "ai_edge_litert.interpreter", "tflite_runtime.interpreter"):
    with suppress(ImportError):
        __import__(runtime)  # what it imports is its own
before = set(sys.modules)
from nearhand import Config, Personalizer
with Personalizer.open(sys.argv[1], sys.argv[2], config=Config(runtime={RUNTIMES[0]!r})) as one:
    assert one.recommend(10)
    print(*sorted(set({LATE!r}) & (set(sys.modules) - before)))
"""
    command = [sys.executable, "-c", code, str(tiny.slot.folder), str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == []


# Status, and the end


def test_status_says_what_is_loaded_and_what_was_done(tiny: Tiny, opened: Open) -> None:
    clock = ManualClock()
    one = opened(dataclasses.replace(PLAIN, runtime=RUNTIMES[0], precision="fp32"), clock=clock)
    record(one, "item_liked", [1, 2, 2])
    one.record(Event("item_liked", "stranger"))
    one.recommend()
    one.similar("m_1")
    status = one.status()
    assert (status.bundle, status.bundle_version, status.digest) == ("tiny", "1.0.0", tiny.slot.digest)
    assert (status.runtime, status.precision) == (RUNTIMES[0], "fp32")
    assert status.runtime_version == installed_runtimes()[RUNTIMES[0]]().version
    assert (status.profile, status.items, status.events, status.unknown_items) == ("default", ITEMS, 4, 1)
    assert status.log_bytes > 0
    assert status.eviction_failures == 0
    assert {verb: latency.calls for verb, latency in status.latencies.items()} == {
        "record": 4, "recommend": 1, "similar": 1,
    }  # fmt: skip
    assert {latency.p99_ms for latency in status.latencies.values()} == {0.0}, "measured by another clock"
    assert status.degradations == {}


def test_what_the_api_gives_is_json(personalizer: Personalizer) -> None:
    personalizer.recommend(2)
    record(personalizer, "item_liked", [1])
    given_out: list[Any] = [*personalizer.recommend(3), *personalizer.similar("m_1", 2), personalizer.status()]
    for value in given_out:
        assert json.loads(json.dumps(dataclasses.asdict(value), allow_nan=False))
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(value)[0].name, "another")


VERBS: dict[str, Callable[[Personalizer], object]] = {
    "record": lambda one: one.record(liked(1)),
    "recommend": lambda one: one.recommend(),
    "similar": lambda one: one.similar("m_1"),
    "status": lambda one: one.status(),
}


@pytest.mark.parametrize("verb", VERBS)
def test_after_close_every_verb_says_so(personalizer: Personalizer, verb: str) -> None:
    personalizer.close()
    personalizer.close()
    with pytest.raises(UsageError, match="the Personalizer is closed; open it again"):
        VERBS[verb](personalizer)


def test_a_with_block_closes(tiny: Tiny, data_dir: Path, fakes: dict[RuntimeName, FailingRuntime]) -> None:
    with Personalizer.open(tiny.path, data_dir, config=PLAIN, runtimes=given(fakes)) as one:
        one.record(liked(1))
        assert sum(fake.open_sessions for fake in fakes.values()) == 2
    with pytest.raises(UsageError):
        one.recommend()
    assert sum(fake.open_sessions for fake in fakes.values()) == 0
    assert_log_closed(data_dir)


def assert_log_closed(data_dir: Path) -> None:
    """SQLite removes a log's side files when its last connection is closed."""
    files = {path.name for path in (data_dir / "profiles" / "default").iterdir()}
    assert files == {"events.db", "profile.db"}, "a database that is open has a write-ahead log too"


# Choosing a variant


def test_the_smallest_variant_of_the_bundles_first_runtime_is_taken(tiny: Tiny, personalizer: Personalizer) -> None:
    status = personalizer.status()
    assert (status.runtime, status.precision) == (tiny.manifest.model("encoder").variants[0].runtime, "int8")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_first_installed_runtime_is_taken(opened: Open, precision: Precision) -> None:
    last = RUNTIMES[-1]
    one = opened(dataclasses.replace(PLAIN, precision=precision), runtimes={last: installed_runtimes()[last]})
    assert (one.status().runtime, one.status().precision) == (last, precision)
    assert one.status().degradations == {}, "what is not installed is no degradation"


def test_no_runtime_at_all_says_what_to_install(opened: Open, data_dir: Path) -> None:
    with pytest.raises(RuntimeUnavailableError) as caught:
        opened(runtimes={})
    for runtime, precision in VARIANTS:
        assert f"{runtime}/{precision}: its runtime is not installed" in caught.value.problem
    assert "install nearhand[onnx] or nearhand[tflite]" in caught.value.remedy
    assert caught.value.place == "bundle tiny"
    assert_log_closed(data_dir)


@BOTH
def test_a_config_that_wants_what_is_not_installed_says_which(opened: Open) -> None:
    onnx, tflite, *_ = RUNTIMES
    with pytest.raises(RuntimeUnavailableError, match=f"{tflite}/int8: its runtime is not installed") as caught:
        opened(Config(runtime=tflite), runtimes={onnx: installed_runtimes()[onnx]})
    assert onnx not in caught.value.problem


# Failing


@pytest.mark.degrades
@pytest.mark.parametrize("load", [1, 2], ids=["encoder", "index"])
def test_a_model_that_does_not_load_is_passed_over(
    opened: Open, fakes: dict[RuntimeName, FailingRuntime], load: int
) -> None:
    fakes[RUNTIMES[0]].fail_load = {load}
    one = opened(runtimes=given(fakes))
    status = one.status()
    assert (status.runtime, status.precision) == (RUNTIMES[0], "fp32")
    assert len(status.degradations) == 1
    ((reason, count),) = status.degradations.items()
    assert reason.startswith(f"variant {RUNTIMES[0]}/int8 was passed over: ")
    assert f"load {load} fails as the test asked" in reason
    assert count == 1
    assert fakes[RUNTIMES[0]].open_sessions == 2, "what was loaded before the failure stays open"
    record(one, "item_liked", [1])
    assert one.recommend(1)[0].source == "local"


@BOTH
@pytest.mark.degrades
def test_a_runtime_that_does_not_even_import_is_passed_over(opened: Open) -> None:
    def broken() -> Runtime:
        raise ImportError("libfoo.so.1: cannot open shared object file")

    first, second, *_ = RUNTIMES
    one = opened(runtimes={first: broken, second: installed_runtimes()[second]})
    status = one.status()
    assert (status.runtime, status.precision) == (second, "int8")
    assert list(status.degradations) == [
        f"variant {first}/{precision} was passed over: libfoo.so.1: cannot open shared object file"
        for precision in ("int8", "fp32")
    ]


def off(outputs: Outputs) -> Outputs:
    return {key: value * np.float32(1.01) if key == "user_vector" else value for key, value in outputs.items()}


def not_numbers(outputs: Outputs) -> Outputs:
    return {key: value * np.float32("nan") if key == "candidate_scores" else value for key, value in outputs.items()}


def too_few(outputs: Outputs) -> Outputs:
    return {key: value[:1] if key.startswith("candidate") else value for key, value in outputs.items()}


@BOTH
@pytest.mark.degrades
@pytest.mark.parametrize("distort", [off, not_numbers, too_few])
def test_a_runtime_that_computes_wrongly_is_passed_over(
    opened: Open, fakes: dict[RuntimeName, FailingRuntime], distort: Callable[[Outputs], Outputs]
) -> None:
    first, second, *_ = RUNTIMES
    fakes[first].distort = distort
    one = opened(runtimes=given(fakes))
    status = one.status()
    assert (status.runtime, status.precision) == (second, "int8")
    assert len(status.degradations) == 2
    assert all("golden case" in reason for reason in status.degradations)
    assert fakes[first].open_sessions == 0


@pytest.mark.degrades
def test_a_model_of_a_slot_that_is_not_the_bundles_is_passed_over(tiny: Tiny, opened: Open, tmp_path: Path) -> None:
    """Opening a slot hashes nothing; the golden vectors still find a table of other items."""
    slot = tmp_path / "slot"
    shutil.copytree(tiny.slot.folder, slot)
    index = next(slot.glob(f"models/index-int8.{RUNTIMES[0]}"))
    content = bytearray(index.read_bytes())
    at = content.find(tiny_int8_bytes(tiny))
    assert at > 0
    content[at : at + 2 * ITEMS] = bytes(2 * ITEMS)
    index.write_bytes(content)
    one = opened(source=slot)
    assert one.status().precision == "fp32"
    assert [reason.partition(":")[0] for reason in one.status().degradations] == [
        f"variant {RUNTIMES[0]}/int8 was passed over"
    ]


def tiny_int8_bytes(tiny: Tiny) -> bytes:
    """The first bytes of the int8 table as the index holds it: one row for each item."""
    scales = np.abs(tiny.tables["fp32"]).max(axis=1) / np.float32(127)
    values = np.rint(tiny.tables["fp32"] / scales[:, None]).astype(np.int8)
    return bytes(values.tobytes()[:ITEMS])


@pytest.mark.degrades
def test_when_all_fail_every_reason_is_told_and_nothing_stays_open(
    opened: Open, fakes: dict[RuntimeName, FailingRuntime], data_dir: Path
) -> None:
    for fake in fakes.values():
        fake.fail_load = {1}
        fake.distort = off
    with pytest.raises(RuntimeUnavailableError) as caught:
        opened(runtimes=given(fakes))
    for runtime in RUNTIMES:
        assert f"{runtime}/int8: " in caught.value.problem
        assert f"{runtime}/fp32: " in caught.value.problem
    assert caught.value.problem.count("load 1 fails as the test asked") == len(RUNTIMES)
    assert caught.value.problem.count("golden case") == len(RUNTIMES)
    assert [fake.open_sessions for fake in fakes.values()] == [0] * len(fakes)
    assert_log_closed(data_dir)


def test_in_tests_a_variant_that_is_passed_over_is_an_error(
    opened: Open, fakes: dict[RuntimeName, FailingRuntime], data_dir: Path
) -> None:
    fakes[RUNTIMES[0]].fail_load = ALWAYS
    with pytest.raises(ModelError, match="as the test asked"):
        opened(runtimes=given(fakes))
    assert_log_closed(data_dir)


@pytest.mark.degrades
def test_a_model_that_fails_to_run_gives_what_is_popular_and_is_counted(
    tiny: Tiny, opened: Open, fakes: dict[RuntimeName, FailingRuntime]
) -> None:
    fake = fakes[RUNTIMES[0]]
    one = opened(runtimes=given(fakes))
    order = popular(tiny)
    record(one, "item_viewed", order[:1])
    record(one, "item_clicked", order[1:2])  # in the history, though not seen
    assert one.recommend(1)[0].source == "local"
    fake.fail_run = ALWAYS
    for _ in range(2):
        recommendations = one.recommend(4)
        assert {r.source for r in recommendations} == {"fallback"}
        assert rows_of(recommendations) == order[2:6]
    degradations = one.status().degradations
    assert all(reason.startswith("recommend fell back to popularity: ") for reason in degradations)
    assert sum(degradations.values()) == 2
    with pytest.raises(ModelError):
        one.similar("m_1")
    fake.fail_run = ()
    assert one.recommend(1)[0].source == "local"


@pytest.mark.degrades
@pytest.mark.parametrize("which", [1, 2], ids=["encoder", "index"])
def test_one_failing_run_costs_one_list(opened: Open, fakes: dict[RuntimeName, FailingRuntime], which: int) -> None:
    one = opened(runtimes=given(fakes))
    record(one, "item_liked", [1])
    fake = fakes[RUNTIMES[0]]
    fake.fail_run = {fake.runs + which}
    assert [one.recommend(1)[0].source for _ in range(3)] == ["fallback", "local", "local"]


# The self-test


def test_golden_vectors_run_once_for_each_bundle_variant_and_runtime_version(
    tiny: Tiny, opened: Open, fakes: dict[RuntimeName, FailingRuntime], data_dir: Path
) -> None:
    fake = fakes[RUNTIMES[0]]
    cases = len(tiny.slot.golden().cases)

    def runs_of_opening(config: Config = PLAIN) -> int:
        before = fake.runs
        opened(config, runtimes=given(fakes)).close()
        return fake.runs - before

    assert runs_of_opening() == 2 * cases  # the encoder and the index for each
    assert runs_of_opening() == 0
    assert runs_of_opening(dataclasses.replace(PLAIN, profile="other")) == 0
    assert runs_of_opening(dataclasses.replace(PLAIN, precision="fp32")) == 2 * cases
    fake.version += ".post1"
    assert runs_of_opening() == 2 * cases
    assert runs_of_opening() == 0
    shutil.rmtree(data_dir / "selftests")
    assert runs_of_opening() == 2 * cases


@pytest.mark.degrades
def test_a_failed_self_test_is_not_remembered_as_passed(
    opened: Open, fakes: dict[RuntimeName, FailingRuntime], data_dir: Path
) -> None:
    fake = fakes[RUNTIMES[0]]
    fake.distort = off
    only = {RUNTIMES[0]: fake}
    for _ in range(2):
        with pytest.raises(RuntimeUnavailableError, match="golden case 0"):
            opened(runtimes=given(only))
    fake.distort = None
    assert opened(runtimes=given(only)).status().precision == "int8"


# Several threads


def test_threads_record_and_recommend_at_once(opened: Open) -> None:
    one = opened()
    count, each = 8, 40

    def work(thread: int) -> list[RecordedEvent]:
        mine = []
        for number in range(each):
            mine.append(one.record(liked((thread * each + number) % 100)))
            recommendations = one.recommend(5)
            assert len(recommendations) == 5
            assert mine[-1].item_id not in {r.item_id for r in recommendations}
            if number % 10 == 0:
                assert len(one.similar(f"m_{number}", k=3)) == 3
                assert one.status().events >= len(mine)
        return mine

    with ThreadPoolExecutor(count) as pool:
        recorded = [event for events in pool.map(work, range(count)) for event in events]
    assert one.status().events == count * each
    assert len({event.event_id for event in recorded}) == count * each
    after = plain(one.recommend(20))
    assert plain(opened().recommend(20)) == after
    latencies = one.status().latencies
    assert (latencies["record"].calls, latencies["recommend"].calls) == (count * each, count * each + 1)


def test_every_thread_gets_what_one_thread_gets(opened: Open) -> None:
    one = opened()
    record(one, "item_liked", [2, 8, 14, 3])
    wanted = plain(one.recommend(10))
    with ThreadPoolExecutor(8) as pool:
        lists = list(pool.map(lambda _: plain(one.recommend(10)), range(200)))
    assert all(given_list == wanted for given_list in lists)


def test_closing_while_others_work_ends_them_with_a_usage_error(opened: Open) -> None:
    one = opened()
    record(one, "item_liked", [2, 8])

    def work(thread: int) -> str:
        verb = list(VERBS.values())[thread % len(VERBS)]
        try:
            while True:
                verb(one)
        except UsageError as error:
            return error.problem

    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(work, thread) for thread in range(8)]
        record(one, "item_viewed", range(20, 30))
        one.close()
        said = [one.result(timeout=30) for one in waiting]
    assert set(said) <= {"the Personalizer is closed", "the event log is closed"}


def test_tastes_are_told_apart_by_the_tiny_model(opened: Open, tmp_path: Path) -> None:
    """If this fails, the model is at fault, and the other tests say little."""
    for taste in range(TASTES):
        one = opened(data_dir=tmp_path / str(taste))
        record(one, "item_liked", [taste, taste + TASTES, taste + 2 * TASTES])
        assert sum(taste_of(row) == taste for row in rows_of(one.recommend(10))) >= 8


def test_events_are_what_was_recorded_in_that_order(personalizer: Personalizer) -> None:
    recorded = [personalizer.record(Event("item_viewed", item_id=f"m_{row}")) for row in range(3)]
    assert personalizer.events() == recorded
    assert personalizer.events(recorded[0].sequence) == recorded[1:]
    personalizer.privacy.forget(recorded[1].event_id)
    assert personalizer.events() == [recorded[0], recorded[2]]
