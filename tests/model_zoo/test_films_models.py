"""The zoo's ranker, churn predictor and segments still learn what they learned, and see nothing that comes later."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from model_zoo.__main__ import MODELS
from model_zoo.__main__ import main as zoo
from model_zoo.datasets import sample_dataset
from model_zoo.films_als import train as als
from model_zoo.films_churn import golden as churn
from model_zoo.films_churn.train import HOUR_MS, calibration_error
from model_zoo.films_churn.train import train as train_churn
from model_zoo.films_ranker import golden as ranker
from model_zoo.films_ranker.candidates import CandidateSource
from model_zoo.films_ranker.train import train as train_ranker
from model_zoo.films_segments import golden as segments
from model_zoo.films_segments.train import segment_names
from model_zoo.replays import Viewers
from model_zoo.training import GOLDEN_USERS, booster_golden
from nearhand import Config, Event, Personalizer
from nearhand.retrieval import HistoryFold
from nearhand.testing import ManualClock
from nearhand_converters.data import Dataset, positives, temporal_split
from nearhand_converters.parity.source import SourceModel
from nearhand_converters.recipe import Recipe, read_recipe
from nearhand_converters.sources.factors import FactorModel, read_factors
from tests.end_to_end.commands import run

ROOT = Path(__file__).parents[2]
DAY_MS = 86_400_000
OVER_FEATURES = ("films-ranker", "films-churn", "films-segments")


@dataclass(frozen=True)
class Zoo:
    """A folder with the three models, each trained once on the sample, and what each says of its golden rows."""

    folder: Path
    ranker: dict[str, NDArray[np.float64]]
    churn: dict[str, NDArray[np.float64]]
    segments: dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    folder = tmp_path_factory.mktemp("zoo")
    with np.load(ranker.PATH, allow_pickle=False) as stored:
        ranked = booster_golden(train_ranker, folder / "films-ranker", stored["rows"])
    churned = booster_golden(train_churn, folder / "films-churn")
    return Zoo(folder, ranked, churned, segments.compute(folder / "films-segments"))


@pytest.fixture(scope="module")
def sample() -> Dataset:
    return sample_dataset(GOLDEN_USERS)


@pytest.fixture(scope="module")
def converted(built: Zoo, sample: Dataset) -> dict[str, Path]:
    """The bundles of the models, for one runtime."""
    als.train(sample, built.folder / "films-als")
    given = {"films-als": "npz", "films-ranker": "txt", "films-churn": "txt", "films-segments": "skops"}
    bundles = {model: built.folder / f"{model}.nearhand" for model in given}
    for model, ending in given.items():
        folder = built.folder / model
        rows = ("--data", folder) if model == "films-als" else ("--rows", folder / "rows.parquet")
        done = run("convert", folder / f"model.{ending}", *rows, "--recipe", folder / "recipe.toml",
                   "--target", "onnx", "-o", bundles[model])  # fmt: skip
        assert done.code == 0, done.err
    return bundles


class TestGolden:
    """Another processor's arithmetic may move a score, but not what was learned."""

    def test_ranker(self, built: Zoo) -> None:
        with np.load(ranker.PATH, allow_pickle=False) as stored:
            assert np.corrcoef(built.ranker["scores"], stored["scores"])[0, 1] >= 0.95

    def test_churn(self, built: Zoo) -> None:
        with np.load(churn.PATH, allow_pickle=False) as stored:
            np.testing.assert_array_equal(
                built.churn["rows"], stored["rows"]
            )  # a replay gives the same bits everywhere
            np.testing.assert_allclose(built.churn["scores"], stored["scores"], atol=0.02)

    def test_segments(self, built: Zoo) -> None:
        with np.load(segments.PATH, allow_pickle=False) as stored:
            np.testing.assert_array_equal(built.segments["rows"], stored["rows"])
            assert np.mean(built.segments["labels"] == stored["labels"]) >= 0.95


def test_segments_are_the_same_bytes_in_another_process(built: Zoo, tmp_path: Path) -> None:
    arguments = ["-m", "model_zoo", "train", "films-segments", "--users", str(GOLDEN_USERS), "-o", str(tmp_path)]
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=ROOT)
    assert (tmp_path / "model.skops").read_bytes() == (built.folder / "films-segments" / "model.skops").read_bytes()


class TestTables:
    """What was written beside the models."""

    def test_the_ranker_learns_from_likes_that_follow_its_rows(self, built: Zoo, sample: Dataset) -> None:
        table = pq.read_table(built.folder / "films-ranker" / "training.parquet").to_pylist()
        liked = temporal_split(positives(sample.interactions, 3.5))
        item_ids, known = sample.catalogue.item_ids, {}
        for user, item, at in zip(liked.train.user.tolist(), liked.train.item.tolist(), liked.train.timestamp.tolist(),
                                  strict=True):  # fmt: skip
            known[str(user), item_ids[item]] = at
        held = zip(liked.held_out.user.tolist(), liked.held_out.item.tolist(), strict=True)
        later = {(str(user), item_ids[item]) for user, item in held}
        assert {row["liked"] for row in table} == {0, 1}
        for row in table:
            pair = row["user"], row["item_id"]
            if row["liked"]:
                assert known[pair] >= row["timestamp"]
                assert pair not in later, "what the measurement asks for is not learned"
            assert row["times_met"] == 0, "what was seen is no candidate"

    def test_the_ranker_reads_scores_of_what_was_known_then(self, built: Zoo, sample: Dataset) -> None:
        """By a retrieval model without the likes that the rows ask for, of the history before them."""
        recipe, settings = als_recipe()
        known = temporal_split(temporal_split(positives(sample.interactions, 3.5)).train).train
        trained = als.fit_als(known, len(sample.catalogue), settings)
        factors = trained.item_factors.astype(np.float64)
        source = SourceModel(FactorModel(factors, settings["regularization"], settings["alpha"], ""))
        viewers, rows = Viewers(sample), {item: row for row, item in enumerate(sample.catalogue.item_ids)}
        table = pq.read_table(built.folder / "films-ranker" / "training.parquet").to_pylist()
        users = sorted({row["user"] for row in table})[::10]
        assert len(users) >= 10
        for user in users:
            own = [row for row in table if row["user"] == user]
            fold = HistoryFold(recipe.policy(settings["alpha"]), rows)
            fold.fold(event for event in viewers.events(int(user)) if event.timestamp < own[0]["timestamp"])
            history = fold.history().items
            scores = source.scores(
                np.array([item.row for item in history], np.int32), np.array([item.confidence for item in history])
            )
            found = [row["retrieval.score"] for row in own]
            np.testing.assert_allclose(found, [scores[rows[row["item_id"]]] for row in own], atol=1e-4)
            assert len(set(found)) > 10

    def test_who_left_did_nothing_for_thirty_days(self, built: Zoo, sample: Dataset) -> None:
        viewers = Viewers(sample)
        table = pq.read_table(built.folder / "films-churn" / "training.parquet").to_pylist()
        assert {row["left"] for row in table} == {0, 1}
        end = int(sample.interactions.timestamp.max())
        for row in table:
            times, at = viewers.times(int(row["user"])), row["timestamp"]
            assert row["left"] == (not ((times > at) & (times <= at + 30 * DAY_MS)).any())
            assert at + 30 * DAY_MS <= end, "nobody knows yet"
            assert at - times[times < at].max() >= HOUR_MS
            assert not ((times > at - HOUR_MS) & (times <= at)).any()

    def test_reports(self, built: Zoo) -> None:
        measured = {model: json.loads((built.folder / model / "measured.json").read_text()) for model in OVER_FEATURES}
        assert 0 < measured["films-ranker"]["retrieval"]["value"] < 1
        assert measured["films-ranker"]["change"]["low"] < measured["films-ranker"]["change"]["high"]
        assert 0.5 < measured["films-churn"]["auc"]["value"] < 1
        assert sum(measured["films-segments"]["sizes"]) == measured["films-segments"]["users"]
        for model, found in measured.items():
            assert found["data"] == "sample"
            assert found["said"][0].startswith(model)

    def test_every_folder_is_ready_for_the_converter(self, built: Zoo) -> None:
        for model in OVER_FEATURES:
            found = CliRunner().invoke(zoo, ["find", str(built.folder / model), "Heat"])
            assert (found.exit_code, len(found.output.split(","))) == (0, 1)
            assert 'licence = "Apache-2.0"' in (built.folder / model / "recipe.toml").read_text()


def test_list_names_every_model() -> None:
    shown = CliRunner().invoke(zoo, ["list"])
    assert [line.split()[0] for line in shown.output.splitlines()] == list(MODELS)
    assert json.loads(CliRunner().invoke(zoo, ["list", "--json"]).output) == MODELS


def test_events_of_a_viewer(sample: Dataset) -> None:
    rated = replace(
        sample.interactions,
        user=np.zeros(4, np.int32),
        item=np.array([3, 1, 2, 0], np.int32),
        rating=np.array([4.0, 2.0, 3.0, 4.5], np.float32),
        timestamp=np.array([20, 10, 30, 20], np.int64),
    )
    viewers = Viewers(replace(sample, interactions=rated))
    ids = sample.catalogue.item_ids
    told = [(event.timestamp, event.event, event.item_id) for event in viewers.events(0)]
    assert told == [
        (10, "item_viewed", ids[1]),
        (10, "item_disliked", ids[1]),
        (20, "item_viewed", ids[3]),
        (20, "item_liked", ids[3]),
        (20, "item_viewed", ids[0]),
        (20, "item_liked", ids[0]),
        (30, "item_viewed", ids[2]),
    ]
    assert [len(viewers.events(0, before)) for before in (10, 20, 21, 31)] == [0, 2, 6, 7]
    assert len({event.event_id for event in viewers.events(0)}) == 7
    unrated = Viewers(replace(sample, interactions=replace(rated, rating=None)))
    assert [event.event for event in unrated.events(0)] == ["item_viewed"] * 4


def test_probabilities_are_off_by_what_they_differ_from_what_happens() -> None:
    left = np.tile([0, 1], 50)
    assert calibration_error(left, left.astype(np.float64)) == 0
    assert calibration_error(left, np.full(100, 0.3)) == pytest.approx(0.2)
    said = np.repeat([0.2, 0.9], 50)  # five tenths each, of which half leave
    assert calibration_error(left, said) == pytest.approx((0.3 + 0.4) / 2)


def test_a_segment_is_named_by_what_it_has_more_of_than_everybody() -> None:
    usual = np.array([0.5, 0.3, 0.1, 0.1])
    centres = np.array([[0.5, 0.2, 0.2, 0.15], [0.5, 0.2, 0.15, 0.2], [0.6, 0.35, 0.05, 0.0]])
    names = segment_names(centres, usual, ["Drama", "Comedy", "War", "Western"])
    assert names == ["War and Western", "Western and Drama", "Drama and Comedy"]


def als_recipe() -> tuple[Recipe, dict[str, Any]]:
    """The recipe of films-als, and its settings of the training."""
    path = ROOT / "model_zoo" / "films_als" / "recipe.toml"
    return read_recipe(path), tomllib.loads(path.read_text(encoding="utf-8"))["train"]


def test_the_device_retrieves_with_the_scores_that_the_ranker_learned_from(
    built: Zoo, converted: dict[str, Path], sample: Dataset, tmp_path: Path
) -> None:
    model, viewers, ids = read_factors(built.folder / "films-als" / "model.npz"), Viewers(sample), sample.catalogue
    source = CandidateSource(model, als_recipe()[0].policy(model.alpha), viewers, ids.item_ids)
    for user in range(0, 50, 10):
        before = int(viewers.times(user)[-1])
        pool = source.pool(user, before, np.arange(len(ids), dtype=np.float64))
        assert pool is not None
        scores = {ids.item_ids[row]: score for row, score in zip(pool.rows.tolist(), pool.scores.tolist(), strict=True)}
        config = Config(durability="process", profile=f"u{user}")
        clock = ManualClock(before)
        with Personalizer.open(converted["films-als"], tmp_path, config=config, clock=clock) as one:
            events = viewers.events(user, before)
            one.record_many([Event(each.event, each.item_id, timestamp=each.timestamp) for each in events])
            found = {each.item_id: each.score for each in one.recommend(50)}
        shared = [item_id for item_id in found if item_id in scores]
        assert len(shared) >= 45
        told, learned = (np.array([each[item_id] for item_id in shared]) for each in (found, scores))
        assert np.abs(told - learned).max() < 0.05 * learned.max()


def test_the_models_are_served_together(built: Zoo, converted: dict[str, Path], tmp_path: Path) -> None:
    """As `make demo` does it, for one runtime."""
    bundle = tmp_path / "films.nearhand"
    merged = run("merge", *converted.values(), "--serving", ROOT / "model_zoo" / "serving.toml", "-o", bundle)
    assert merged.code == 0, merged.err
    names = built.folder / "films-segments" / "segments.json"
    shown = CliRunner().invoke(zoo, ["show", str(bundle), "--segments", str(names)])
    assert shown.exit_code == 0, shown.output
    assert "Popular with many people" in shown.output
    assert "Because you liked" in shown.output
    assert any(f": {name}" in shown.output for name in json.loads(names.read_text()))
    actions = re.findall(r"retention: (\S+) \((\S+)\)", shown.output)
    assert len(actions) == 3
    assert shown.output == CliRunner().invoke(zoo, ["show", str(bundle), "--segments", str(names)]).output
