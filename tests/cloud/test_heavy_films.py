"""The zoo's heavy model learns what it learned, its bundle has the devices' catalogue, and serves what was trained."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from model_zoo.datasets import sample_dataset
from model_zoo.films_als.train import train as train_als
from model_zoo.films_heavy import golden
from model_zoo.films_heavy.train import RETRIEVAL, CandidateRows, train
from model_zoo.films_ranker.train import asked_users, likes_of, popularity_of
from model_zoo.replays import Viewers, zoo_program
from model_zoo.training import GOLDEN_USERS, booster_golden
from nearhand.features import FeatureFold
from nearhand.ranking import SentFeatures
from nearhand.retrieval import HistoryFold
from nearhand_cloud.heavy import HeavyModel
from nearhand_converters.data import Dataset, read_dataset
from nearhand_converters.door import convert_model
from nearhand_converters.merge import merge_bundles
from nearhand_converters.pipeline import convert
from nearhand_converters.recipe import TableRecipe, read_recipe, read_serving
from nearhand_converters.sources.factors import read_factors

SERVING = Path(golden.__file__).with_name("serving.toml")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heavy")
    with np.load(golden.PATH, allow_pickle=False) as stored:
        found = booster_golden(train, folder, stored["rows"])
        assert np.corrcoef(found["scores"], stored["scores"])[0, 1] >= 0.95  # another processor moves scores a little
    return folder


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return sample_dataset(GOLDEN_USERS)


@pytest.fixture(scope="module")
def heavy(trained: Path) -> Iterator[HeavyModel]:
    retrieval = _converted(trained / RETRIEVAL, trained / "als.nearhand")
    ranker = trained / "ranker.nearhand"
    recipe = TableRecipe(name="heavy-ranker", role="ranker", licence="Apache-2.0", rows=300, golden_rows=4)
    convert_model(lightgbm.Booster(model_file=trained / "model.txt"), ranker, recipe, targets=["onnx"])
    listing = read_serving(SERVING).listing
    merged = merge_bundles([retrieval, ranker], out=trained / "films-heavy.nearhand", listing=listing)
    with HeavyModel.open(merged.path) as model:
        yield model


def _converted(folder: Path, out: Path) -> Path:
    recipe = replace(read_recipe(folder / "recipe.toml"), bootstrap_samples=20, golden_cases=2)
    model, data = read_factors(folder / "model.npz"), read_dataset(folder)
    return convert(model, data, recipe, out, targets=["onnx"], precisions=["fp32"]).path


def test_it_says_how_it_compares(trained: Path) -> None:
    measured = json.loads((trained / "measured.json").read_text(encoding="utf-8"))
    assert measured["change"]["low"] < measured["change"]["value"] < measured["change"]["high"]
    assert 0 < measured["device"]["value"] < 1
    assert measured["said"][0].startswith("films-heavy on ")


def test_rows_mean_what_they_mean_on_the_devices(heavy: HeavyModel, dataset: Dataset, tmp_path: Path) -> None:
    train_als(dataset, tmp_path)
    with HeavyModel.open(_converted(tmp_path, tmp_path / "films.nearhand")) as device:
        assert (heavy.catalogue, heavy.name, device.name) == (device.catalogue, "films-heavy", "films")


def test_the_server_scores_as_the_model_was_trained(heavy: HeavyModel, trained: Path, dataset: Dataset) -> None:
    settings = tomllib.loads((trained / "recipe.toml").read_text(encoding="utf-8"))["train"]
    liked, viewers = likes_of(dataset), Viewers(dataset)
    program = zoo_program(dataset.catalogue, popularity_of(dataset, liked).astype(int).tolist())
    model = read_factors(trained / RETRIEVAL / "model.npz")
    policy = read_recipe(trained / RETRIEVAL / "recipe.toml").policy(model.alpha)
    source = CandidateRows(dataset, model, policy, viewers, program, settings["columns"])
    booster = lightgbm.Booster(model_file=trained / "model.txt")
    sent = SentFeatures(program, heavy.columns)
    for asked in asked_users(dataset, liked, viewers, 8):
        expected = booster.predict(source.rows(asked))
        fold = FeatureFold(program)
        history = HistoryFold(policy, {item_id: row for row, item_id in enumerate(dataset.catalogue.item_ids)})
        for event in viewers.events(asked.user, asked.before):
            fold.offer(event)
        history.fold(viewers.events(asked.user, asked.before))
        items = history.history().items
        found = heavy.scores(
            [item.row for item in items],
            [item.confidence for item in items],
            asked.pool.rows,
            sent.of(fold.read(asked.before)),
        )
        # A retrieval score in float32 may fall on the other side of a tree's threshold.
        assert np.median(np.abs(found - expected)) < 1e-5
        np.testing.assert_allclose(found, expected, atol=0.05)
