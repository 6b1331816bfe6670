"""The small complete bundle at the app's door: lists, what is noted and learned of them, predictions and decisions."""

from __future__ import annotations

import copy
import json
import os
import pickle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearhand import Config, Event, Personalizer, Recommendation, UsageError
from nearhand.bundle import Archive, parse, serialize, write_archive
from nearhand.bundle.manifest import Manifest
from nearhand.bundle.schema import MANIFEST_PATH
from nearhand.bundle.serving import Learning, ListPolicy
from nearhand.bundle.tables import TableModel
from nearhand.explain.occlusion import LIMIT
from nearhand.ids import is_id
from nearhand.profile import ProfileStore
from nearhand.ranking import FeatureRows, Predictor
from nearhand.recommending.reasons import Reasons
from nearhand.retrieval import HistoryItem
from nearhand.testing import ManualClock
from nearhand_converters.output import add_file
from tests.sdk.serving_device import PLAIN, Device, assert_valid, plain, record, rows_of
from tests.sdk.serving_factory import NOW, PROGRAM, serving_bundle
from tests.tiny import FACTORS, ITEMS, taste_of

EAGER = ListPolicy(learning=Learning(rewards={"item_clicked": Decimal(1)}, weight=Decimal(8), optimism=Decimal(0)))
"""Nothing is drawn, and what was learned counts far more than the model."""


def installed(folder: Path, **policies: Any) -> Device:
    folder.mkdir(exist_ok=True)
    return Device(serving_bundle(folder, **policies), folder / "data")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serving")


@pytest.fixture(scope="module")
def device(folder: Path) -> Device:
    return installed(folder / "whole")


@pytest.fixture(scope="module")
def eager(folder: Path) -> Device:
    return installed(folder / "eager", listing=EAGER, decisions=())


@pytest.fixture(scope="module")
def ranked(folder: Path) -> Device:
    """Its lists are in the order of the ranker, and nothing else."""
    return installed(folder / "ranked", listing=ListPolicy(ranker="order"), decisions=())


@pytest.fixture(scope="module")
def blended(folder: Path) -> Device:
    """Its lists are in the order of a ranker that reads the retrieval scores, and nothing else."""
    return installed(folder / "blended", listing=ListPolicy(ranker="blend"), decisions=())


def by_hand(device: Device, one: Personalizer, model: str) -> tuple[Predictor, FeatureRows]:
    """A model of the installed bundle, run without the Personalizer."""
    predictor = Predictor.open(Path(one.status().slot), device.folder, model=model)
    return predictor, FeatureRows(one.features.program, predictor.model, predictor.encoder)


def answer(one: Personalizer, recommendations: Iterable[Recommendation], event: str) -> None:
    """An event for each of them that names its list."""
    for each in recommendations:
        one.record(Event(event, each.item_id, recommendation_id=each.recommendation_id))


# Lists


def test_a_recommendation_is_whole_and_every_list_is_noted(device: Device) -> None:
    clock = ManualClock(NOW)
    with device.opened(clock=clock) as one:
        lists = [one.recommend(10)]
        record(one, "item_liked", [2, 8])
        for k in (10, 3):
            clock.advance(1000)
            lists.append(one.recommend(k, context={"device": "tv"}))
        for found, k in zip(lists, (10, 10, 3), strict=True):
            assert_valid(found, k)
            assert is_id(found[0].recommendation_id)
        assert min(each.propensity for each in lists[1]) < 1, "places are drawn"
        assert [{each.source for each in found} for found in lists] == [{"fallback"}, {"local"}, {"local"}]
        journal = device.exposures(one)
        assert [line.recommendation_id for line in journal] == [found[0].recommendation_id for found in lists]
        for line, found in zip(journal, lists, strict=True):
            assert line.item_ids == tuple(each.item_id for each in found)
            assert line.propensities == tuple(each.propensity for each in found)
            assert line.scores == tuple(each.score for each in found)
            assert line.source == found[0].source
        assert [line.at for line in journal] == [NOW, NOW + 1000, NOW + 2000]
        assert [dict(line.context) for line in journal] == [{}, {"device": "tv"}, {"device": "tv"}]
        assert len({line.space for line in journal}) == 1
        assert [line.features.shape for line in journal] == [(10, 0), (10, FACTORS + 1), (3, FACTORS + 1)]
        directions = np.linalg.norm(journal[1].features[:, :-1], axis=1)
        assert directions == pytest.approx(np.ones(10), rel=1e-5)


def test_a_list_is_repeated_with_its_seed_and_only_with_it(device: Device) -> None:
    lists = []
    for seed in (5, 5, 6, None, None):
        with device.opened(config=replace(PLAIN, seed=seed), clock=ManualClock(NOW)) as one:
            record(one, "item_liked", [2, 8])
            lists.append([rows_of(one.recommend(10)) for _ in range(3)])
    assert lists[0] == lists[1]
    assert len({str(found) for found in lists}) == 4
    assert lists[0][0] != lists[0][1], "each list is drawn anew"


def test_without_a_listing_lists_are_as_they_were(folder: Path) -> None:
    bare = installed(folder / "bare", listing=None, decisions=())
    with bare.opened() as one:
        record(one, "item_liked", [2, 8])
        found = one.recommend(20)
        assert plain(one.recommend(20)) == plain(found)
        assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
        assert {each.propensity for each in found} == {1.0}
        for each in found:  # the model is a sum, and the evidence is its summands
            evidence = each.explanation.evidence
            assert sum(part.contribution for part in evidence) == pytest.approx(each.score, rel=1e-5)
        assert bare.exposures(one) == []
        assert one.status().learned is None


def test_the_ranker_orders_the_list_as_it_does_by_hand(ranked: Device) -> None:
    with ranked.opened(clock=ManualClock(NOW)) as one:
        record(one, "item_viewed", [2, 8, 14, 3])
        record(one, "item_liked", [2, 8])
        context = {"device": "tv"}
        found = one.recommend(15, context=context)
        scores = [each.score for each in found]
        assert scores == sorted(scores, reverse=True)
        predictor, rows = by_hand(ranked, one, "order")
        with predictor:
            vector, candidates = one.features.candidates([each.item_id for each in found], context)
            assert scores == pytest.approx(predictor.scores(rows.rows(vector, candidates, context)).tolist(), abs=1e-6)
            others = [f"m_{row}" for row in range(20, 60) if f"m_{row}" not in {each.item_id for each in found}]
            vector, candidates = one.features.candidates(others, context)
            assert np.mean(predictor.scores(rows.rows(vector, candidates, context))) < scores[-1]
        assert {each.propensity for each in found} == {1.0}


def test_a_ranker_reads_the_scores_of_retrieval(blended: Device, folder: Path) -> None:
    bare = installed(folder / "unranked", listing=None, decisions=())
    with blended.opened(clock=ManualClock(NOW)) as one, bare.opened(clock=ManualClock(NOW)) as plainly:
        for each in (one, plainly):
            record(each, "item_viewed", [2, 8, 14, 3])
            record(each, "item_disliked", [20])
        retrieved = {each.item_id: each.score for each in plainly.recommend(60)}
        found = one.recommend(20, candidates=list(retrieved))
        item_ids = [each.item_id for each in found]
        scores = np.array([retrieved[item_id] for item_id in item_ids])
        predictor, rows = by_hand(blended, one, "blend")
        with predictor:
            vector, candidates = one.features.candidates(item_ids)
            given = predictor.scores(rows.rows(vector, candidates, None, scores))
            assert [each.score for each in found] == pytest.approx(given.tolist(), abs=1e-6)
            assert np.abs(given - predictor.scores(rows.rows(vector, candidates))).min() > 0.5


def test_what_is_popular_has_no_score_of_retrieval(blended: Device) -> None:
    with blended.opened(clock=ManualClock(NOW)) as one:
        found = one.recommend(20)
        assert {each.source for each in found} == {"fallback"}
        predictor, rows = by_hand(blended, one, "blend")
        with predictor:
            vector, candidates = one.features.candidates([each.item_id for each in found])
            nothing = predictor.scores(rows.rows(vector, candidates, None, np.full(20, np.nan)))
            assert [each.score for each in found] == pytest.approx(nothing.tolist(), abs=1e-6)
            zero = predictor.scores(rows.rows(vector, candidates, None, np.zeros(20)))
            assert np.abs(nothing - zero).min() > 0.5


@pytest.mark.parametrize(("liked", "disliked"), [([2, 8, 14, 3], [20, 9]), ([2], [20])])
def test_reasons_are_true_of_a_ranker_that_reads_the_scores_of_retrieval(
    blended: Device, liked: list[int], disliked: list[int]
) -> None:
    with blended.opened(clock=ManualClock(NOW)) as one:
        events = [*record(one, "item_viewed", liked), *record(one, "item_liked", liked[:2])]
        events += record(one, "item_disliked", disliked)
        found = one.recommend(10)
        item_ids = [each.item_id for each in found]
        largest = 0.0
        for row in (*liked, *disliked):
            own = [event for event in events if event.item_id == f"m_{row}"]
            for event in own:
                one.privacy.forget(event.event_id)
            without = {each.item_id: each.score for each in one.recommend(10, only=item_ids)}
            one.record_many(
                [Event(each.event, each.item_id, timestamp=each.timestamp, event_id=each.event_id) for each in own]
            )
            for each in found:
                told = sum(part.contribution for part in each.explanation.evidence if part.item_id == f"m_{row}")
                assert told == pytest.approx(each.score - without[each.item_id], abs=1e-5)
                largest = max(largest, abs(told))
        assert largest > 0.1
        assert one.status().degradations == {}


def test_more_of_the_history_is_examined_for_what_the_likely_part_does_not_explain(
    ranked: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, list[str]]] = []

    def occluded(self: Reasons, chosen: Sequence[HistoryItem], items: Any) -> Any:
        """The first item is explained by the likely part; the others by one event outside it, or by none."""
        item_ids = items.item_ids
        asked.append((len(chosen), list(item_ids)))
        if len(asked) == 1:
            return np.array([[1.0] + [-1.0] * (len(chosen) - 1), *[[-1.0] * len(chosen)] * (len(item_ids) - 1)])
        return np.array([[0.5 if item == item_ids[0] else -2.0] + [-2.0] * (len(chosen) - 1) for item in item_ids])

    with ranked.opened() as one:
        one.record_many([Event("item_viewed", f"m_{number}") for number in range(30)])
        found = one.recommend(4)
        monkeypatch.setattr(Reasons, "_occluded", occluded)
        evidence = [each.explanation.evidence for each in found]
    assert asked == [(LIMIT, [each.item_id for each in found]), (30 - LIMIT, [each.item_id for each in found[1:]])]
    assert [len(each) for each in evidence] == [LIMIT, 30, 30, 30]
    assert [each[0].contribution for each in evidence] == [1.0, 0.5, -1.0, -1.0]
    assert {part.item_id for part in evidence[1]} == {f"m_{number}" for number in range(30)}


def test_categories_are_capped(device: Device) -> None:
    with device.opened() as one:
        record(one, "item_liked", [2, 8, 14, 20])
        for _ in range(10):
            assert_valid(one.recommend(20), 20)
        assert_valid(one.recommend(300), 24)
        pins = {0: "m_26", 1: "m_32", 2: "m_38", 3: "m_44", 4: "m_50"}
        tastes = [taste_of(row) for row in rows_of(one.recommend(12, pinned=pins))]
        assert tastes[:4] == [2, 2, 2, 2]
        assert tastes.count(2) == 4


# What the app asks for


@pytest.mark.parametrize("history", [True, False])
def test_passed_candidates_come_in_from_the_cloud(eager: Device, history: bool) -> None:
    with eager.opened() as one:
        if history:
            record(one, "item_liked", [2, 8])
        own = {each.item_id for each in one.recommend(200)}
        assert len(own) == 200
        passed = ["m_295", "m_131", "unknown", "m_8" if history else "m_7", "m_295"]
        found = one.recommend(ITEMS, candidates=passed)
        cloud = {each.item_id for each in found if each.source == "cloud"}
        assert cloud == {"m_295", "m_131"} | (set() if history else {"m_7"}), "what was seen stays away"
        assert {each.source for each in found} == {"cloud", "local" if history else "fallback"}
        one.privacy.block(item_id="m_295")
        assert "m_295" not in {each.item_id for each in one.recommend(ITEMS, candidates=passed)}
        assert one.status().degradations == {"a candidate that was passed is not in the catalogue": 2}


def test_candidates_that_retrieval_would_not_find_are_ranked_with_the_others(ranked: Device) -> None:
    with ranked.opened(clock=ManualClock(NOW)) as one:
        record(one, "item_liked", [2, 8])
        whole = one.recommend(ITEMS)  # so many are retrieved that everything is
        assert len(whole) == ITEMS - 2
        found = one.recommend(100, candidates=[each.item_id for each in whole])
        assert scored(found) == scored(whole[:100])
        assert {each.source for each in found} == {"cloud"}


def test_pinned_items_stand_where_they_are_pinned(device: Device) -> None:
    with device.opened() as one:
        record(one, "item_viewed", [2, 8])
        one.privacy.block(item_id="m_5")
        pins = {0: "m_100", 3: "m_2", 5: "m_5", 6: "m_9", 7: "m_11", 8: "m_13", 9: "m_200", 40: "m_1"}
        found = one.recommend(
            10, pinned=pins, user_age=12, unavailable=["m_11"], predicate=lambda item_id: item_id != "m_13"
        )
        assert_valid(found, 10, absent=[5, 8, 9, 11, 13])
        assert [found[place].item_id for place in (0, 3, 9)] == ["m_100", "m_2", "m_200"], "one of them was seen"
        pinned = {each.explanation.text for each in found if each.item_id in ("m_100", "m_2", "m_200")}
        others = {each.explanation.text for each in found if each.item_id not in ("m_100", "m_2", "m_200")}
        assert pinned == {"Placed here by the app"}, "and not because of anything the user has done or wished"
        assert not pinned & others
        assert {found[place].propensity for place in (0, 3, 9)} == {1.0}


@pytest.mark.parametrize("device_of", ["device", "blended"])
def test_few_of_many_are_listed_as_they_are_among_many(
    request: pytest.FixtureRequest, device_of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = []
    for many in (1000, 100):  # the catalogue has 300
        monkeypatch.setattr("nearhand.recommending.sources._MANY", many)
        with request.getfixturevalue(device_of).opened(clock=ManualClock(NOW)) as one:
            record(one, "item_liked", [2, 8, 14, 101])
            lists.append(one.recommend(10, only=[f"m_{row}" for row in range(100, 130)]))
            assert one.status().degradations == {}
    before, after = lists
    assert [each.item_id for each in after] == [each.item_id for each in before]
    assert [each.score for each in after] == pytest.approx([each.score for each in before], rel=1e-5)


def test_filters_of_a_request_hold(device: Device) -> None:
    with device.opened() as one:
        for history in ([], [2, 8]):
            record(one, "item_liked", history)
            unfiltered = rows_of(one.recommend(20))
            unavailable = unfiltered[:10]
            assert_valid(one.recommend(20, unavailable=[f"m_{row}" for row in unavailable]), 20, absent=unavailable)
            only = [f"m_{row}" for row in range(100, 130)]
            assert set(rows_of(one.recommend(10, only=only))) <= set(range(100, 130))
            adult = range(9, ITEMS, 10)
            assert_valid(one.recommend(24, user_age=15), 24, absent=adult)
            everyone = {row for _ in range(20) for row in rows_of(one.recommend(24, user_age=16))}
            assert everyone & set(adult)
            assert all(row % 7 == 0 for row in rows_of(one.recommend(10, predicate=lambda i: int(i[2:]) % 7 == 0)))


# What comes of a list


def teach(one: Personalizer, *, names_its_list: bool) -> None:
    """Three lists, of which only what is of the third taste is clicked."""
    for _ in range(3):
        for each in one.recommend(20):
            list_id = each.recommendation_id if names_its_list else None
            one.record(Event("impression", each.item_id, recommendation_id=list_id))
            if taste_of(int(each.item_id[2:])) == 3:
                one.record(Event("item_saved", each.item_id))  # the same history for both
                one.record(Event("item_clicked", each.item_id, recommendation_id=list_id))


def scored(recommendations: list[Recommendation]) -> list[tuple[str, float]]:
    return [(each.item_id, each.score) for each in recommendations]


def of_taste(recommendations: list[Recommendation], taste: int) -> int:
    return sum(taste_of(row) == taste for row in rows_of(recommendations))


def test_answers_to_lists_move_later_ones_and_a_reset_undoes_it(eager: Device) -> None:
    with eager.opened(clock=ManualClock(NOW)) as one, eager.opened(clock=ManualClock(NOW)) as other:
        for each in (one, other):
            record(each, "item_liked", [2, 3])
        first = scored(one.recommend(20))
        assert scored(other.recommend(20)) == first
        assert one.status().learned == 0

        shown = one.recommend(20)
        answer(one, shown, "impression")
        assert one.status().learned == 20
        answer(one, shown, "impression")
        answer(one, [each for each in shown if taste_of(int(each.item_id[2:])) == 3], "item_clicked")
        assert one.status().learned == 20, "an item of a list is learned from once"
        one.record(Event("item_clicked", shown[0].item_id, recommendation_id="f" * 32))
        one.record(Event("item_clicked", "m_299", recommendation_id=shown[0].recommendation_id))
        assert one.status().learned == 20, "no such list, and not in it"

        one.privacy.reset()
        assert one.status().learned == 0
        assert {each.source for each in one.recommend(20)} == {"fallback"}
        record(one, "item_liked", [2, 3])
        assert scored(one.recommend(20)) == first, "what came before the reset is no taste any more"


def test_what_was_learned_is_the_lists_and_outlives_a_restart(eager: Device) -> None:
    profile = eager.new_profile()
    with (
        eager.opened(profile=profile, clock=ManualClock(NOW)) as one,
        eager.opened(clock=ManualClock(NOW)) as other,
    ):
        for each in (one, other):
            record(each, "item_liked", [2, 3])
        teach(one, names_its_list=True)
        teach(other, names_its_list=False)
        assert (one.status().learned or 0) >= 40
        assert other.status().learned == 0
        taught, untaught = (of_taste(each.recommend(20), 3) for each in (one, other))
        before = scored(one.recommend(10))
        assert taught > untaught
        learned = one.status().learned
    with eager.opened(profile=profile, clock=ManualClock(NOW)) as one:
        assert one.status().learned == learned
        assert scored(one.recommend(10)) == before


def test_what_was_learned_is_not_written_down_after_somebody_else_has_deleted_it(eager: Device) -> None:
    def stored() -> bytes:
        store = ProfileStore(eager.path(other, "profile.db"), durability="process")
        try:
            return store.get("bandit") or b""
        finally:
            store.close()

    profile = eager.new_profile()
    with eager.opened(profile=profile) as one, eager.opened(profile=profile) as other:
        record(one, "item_liked", [2, 3])
        shown = one.recommend(5)
        answer(one, shown, "item_clicked")
        assert one.status().learned == 5
        other.privacy.erase()
        one.pause()  # when it last looked there was something learned
        assert shown[0].recommendation_id.encode() not in stored()
        assert one.status().learned == 0

        record(one, "item_liked", [2, 3])
        shown = one.recommend(5)
        answer(one, shown, "item_clicked")
        assert one.status().learned == 5
        for event in other.events():
            other.privacy.forget(event.event_id)
        one.close()
        assert shown[0].recommendation_id.encode() not in stored()


def test_what_the_app_is_given_can_be_copied_and_sent_before_it_is_read(device: Device) -> None:
    with device.opened(clock=ManualClock(NOW)) as one:
        record(one, "item_viewed", [2, 8, 14])
        for given in (one.recommend(3), one.recommend(3), one.similar("m_2", 2), one.predict("churn"), one.segment()):
            for same in (pickle.loads(pickle.dumps(given)), copy.deepcopy(given)):
                assert same == given
        listed = one.recommend(3)
        sent = pickle.loads(pickle.dumps(listed))
        assert [film.explanation for film in sent] == [film.explanation for film in listed]
        assert sent[0].explanation.evidence
        predicted = one.predict("churn")
        assert pickle.loads(pickle.dumps(predicted)).explanation.text == predicted.explanation.text


# Predictions and decisions


def test_predictions_are_those_of_the_models_run_by_hand(device: Device) -> None:
    with device.opened(clock=ManualClock(NOW)) as one:
        for rows in ([], [2, 8, 14], range(40)):
            record(one, "item_viewed", rows)
            predictor, feature_rows = by_hand(device, one, "churn")
            with predictor:
                wanted = predictor.predict_rows(feature_rows.rows(one.features.vector({})))
            found = one.predict()
            chances = wanted.outputs["probability"][0]
            assert found == one.predict("churn")
            assert found.probabilities == dict(zip(("no", "yes"), map(float, chances), strict=True))
            assert found.value == float(chances[1])
            assert found.label == wanted.labels[0] == ("yes" if chances[1] > 0.5 else "no")
            assert (found.name, found.version) == ("churn", "1.0.0")
            assert found.explanation.text
            segmenter, feature_rows = by_hand(device, one, "kind")
            with segmenter:
                cluster = segmenter.predict_rows(feature_rows.rows(one.features.vector({}))).outputs
            segment = one.segment()
            assert segment == one.segment("kind")
            assert segment.label == int(cluster["label"][0])
            assert segment.distances == tuple(map(float, cluster["distance"][0]))


def test_a_decision_follows_from_the_prediction_and_the_caps(device: Device) -> None:
    clock = ManualClock(NOW)
    with device.opened(clock=clock) as one:
        taken = []
        for _ in range(30):
            decision = one.decide("retention", context={"screen": "home"})
            assert decision.prediction == one.predict("churn").value
            assert decision.at == clock.now_ms()
            if decision.action != "none":
                taken.append(decision.at)
            if decision.reason == "rule":
                assert decision.action == ("offer" if decision.prediction >= 0.8 else "remind")
            if decision.reason == "below_all_rules":
                assert decision.prediction < 0.5
            clock.advance(86_400_000 // 2)
        assert taken
        days = np.diff(taken) / 86_400_000
        assert (days >= 2).all(), "the cooldown"
        assert len(taken) <= 3, "three in thirty days"


def test_the_best_time_is_that_of_the_rhythm(device: Device) -> None:
    hour = 3_600_000
    midnight = NOW - NOW % (24 * hour)
    with device.opened(clock=ManualClock(midnight)) as one:
        assert one.best_time().reason == "default"
        for day in range(1, 31):
            one.record(Event("item_viewed", "m_1", timestamp=midnight - day * 24 * hour + 20 * hour))
        best = one.best_time()
        assert (best.local_hour, best.reason) == (20, "rhythm")
        assert best.at_ms == midnight + 20 * hour
        assert one.best_time(within_hours=5, quiet=None).at_ms < midnight + 5 * hour
        one.privacy.set_consent("off")
        assert one.best_time().reason == "default"


def test_texts_are_in_the_language_of_the_config(eager: Device, device: Device) -> None:
    said: dict[str, tuple[str, ...]] = {}
    for locale in ("en", "de", "de-AT", "es", "fr", "hi", "zh", "xx"):
        config = replace(PLAIN, locale=locale)
        with eager.opened(config=config, clock=ManualClock(NOW)) as one:
            popular = one.recommend(1)[0].explanation.text
            record(one, "item_liked", [2])
            best = one.recommend(2, pinned={1: "m_100"})
            similar = one.similar("m_2")[0].explanation.text
            said[locale] = popular, best[0].explanation.text, best[1].explanation.text, similar
            assert "Film 2" in similar
        with device.opened(config=config, clock=ManualClock(NOW)) as one:
            said[locale] += (one.predict("churn").explanation.text,)
    assert said["xx"] == said["en"]
    assert said["de-AT"] == said["de"]
    languages = [said[locale] for locale in ("en", "de", "es", "fr", "hi", "zh")]
    assert all(len({texts[place] for texts in languages}) == 6 for place in range(5)), said


# Other bundles


def changed(source: Path, target: Path, change: Callable[[Manifest, dict[str, bytes]], Manifest]) -> Path:
    """A copy with another manifest. What it does not name is left out."""
    with Archive.open(source) as archive:
        files = {name: archive.read(name) for name in archive.entries}
    manifest = change(parse(Manifest, files.pop(MANIFEST_PATH), place=MANIFEST_PATH), files)
    text = serialize(manifest)
    named = {name: content for name, content in files.items() if f'"{name}"'.encode() in text}
    write_archive(target, {MANIFEST_PATH: text, **named})
    return target


def without_retrieval(manifest: Manifest, files: dict[str, bytes]) -> Manifest:
    assert manifest.features is not None
    program = json.dumps({**PROGRAM, "views": PROGRAM["views"][:4], "vocabularies": {}}).encode()
    nothing: dict[str, Any] = dict.fromkeys(("items", "policy", "golden", "evidence", "listing", "vocabularies"))
    return replace(
        manifest,
        models=tuple(model for model in manifest.models if model.role == "predictor"),
        features=replace(manifest.features, file=add_file(files, "features.json", program)),
        **nothing,
    )


def test_a_bundle_of_predictors_only_predicts_and_decides(device: Device, tmp_path: Path) -> None:
    bundle = changed(device.bundle, tmp_path / "predictors.nearhand", without_retrieval)
    with device.opened(bundle=bundle, clock=ManualClock(NOW)) as one, device.opened(clock=ManualClock(NOW)) as whole:
        for each in (one, whole):
            record(each, "item_viewed", [2, 8])
        assert one.predict("churn").value == whole.predict("churn").value
        assert one.predict("churn").explanation.text == whole.predict("churn").explanation.text
        assert one.segment() == whole.segment()
        assert one.decide("retention").prediction == whole.decide("retention").prediction
        assert one.best_time() == whole.best_time()
        status = one.status()
        assert (status.runtime, status.items, status.learned, status.is_paused) == (None, 0, None, False)
        verbs: list[Callable[[], object]] = [one.recommend, lambda: one.similar("m_2")]
        for verb in verbs:
            with pytest.raises(UsageError, match="churn"):
                verb()
        one.pause()
        one.resume()
        one.shed_memory(all_models=True)
        assert one.predict("churn").value == whole.predict("churn").value


def test_of_the_versions_of_a_bundle_before_the_last_one_nothing_is_left(device: Device, tmp_path: Path) -> None:
    def slots() -> set[str]:
        return {folder.name for folder in (tmp_path / "data" / "slots").iterdir()}

    def install(version: str, name: str = "serving", *, age_s: int = 0) -> str:
        def renamed(manifest: Manifest, files: dict[str, bytes]) -> Manifest:
            return replace(manifest, version=version, name=name)

        bundle = changed(device.bundle, tmp_path / f"{name}-{version}.nearhand", renamed)
        with Personalizer.open(bundle, tmp_path / "data", config=PLAIN) as one:
            slot = Path(one.status().slot)
        installed = slot.stat().st_mtime - age_s
        os.utime(slot, (installed, installed))
        return slot.name

    day = 86_400
    (tmp_path / "data" / "slots" / "of the app").mkdir(parents=True)
    other = install("1.0.0", "other", age_s=400 * day)
    first, second, third = (install(f"1.{number}.0", age_s=(90 - number) * day) for number in range(3))
    assert slots() == {other, second, third, "of the app"}, "the one before may be gone back to"
    assert install("1.1.0") == second
    fourth, fifth = install("1.3.0"), install("1.4.0")
    assert slots() == {other, third, fourth, fifth, "of the app"}, "today's may be in use"
    with Personalizer.open(tmp_path / "serving-1.0.0.nearhand", tmp_path / "data", config=PLAIN) as one:
        assert Path(one.status().slot).name == first, "it can be installed again"
        assert one.recommend(3)


def test_a_ranker_whose_columns_the_program_does_not_give_is_refused_at_opening(device: Device, tmp_path: Path) -> None:
    def rename(manifest: Manifest, files: dict[str, bytes]) -> Manifest:
        def renamed(model: Any) -> Any:
            if not isinstance(model, TableModel) or model.role != "ranker":
                return model
            columns = [replace(each, name="era") if each.name == "year" else each for each in model.columns]
            return replace(model, columns=tuple(columns))

        return replace(manifest, models=tuple(map(renamed, manifest.models)))

    bundle = changed(device.bundle, tmp_path / "renamed.nearhand", rename)
    with pytest.raises(UsageError, match="column 'era' is not given by the feature program tiny") as caught:
        Personalizer.open(bundle, tmp_path / "data", config=Config(durability="process"))
    assert caught.value.place == "ranker order"
    files = {path.name for path in (tmp_path / "data" / "profiles" / "default").iterdir()}
    assert not any(name.endswith("-wal") for name in files), "nothing stays open"


def test_a_file_of_pushed_features_is_made_where_there_are_any(device: Device) -> None:
    file = device.folder / "profiles" / "unpushed" / "pushed.db"
    with device.opened(profile="unpushed") as one:
        record(one, "item_liked", [1, 2])
        assert one.recommend(5)
        assert not file.exists()
        pushed = one.features.status().pushed
        assert (pushed.entries, pushed.failures) == (0, 0)
        one.privacy.erase()
        assert one.recommend(5)
        assert not one.status().degradations
