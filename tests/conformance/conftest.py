"""Bundles that are trained and converted once for the whole run, on real data where there is some."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from model_zoo.datasets.movielens import movielens_dataset
from model_zoo.datasets.sample import sample_dataset
from model_zoo.films_als.train import train
from nearhand.bundle import BundleFolder, install_bundle
from nearhand.version import __version__
from nearhand_converters.data import Dataset, positives, read_dataset, temporal_split
from nearhand_converters.output import Conversion
from nearhand_converters.parity.holdout import HeldOutUser, held_out_users
from nearhand_converters.pipeline import convert
from nearhand_converters.recipe import Recipe, read_recipe
from nearhand_converters.sources.factors import FactorModel, read_factors
from tests.environments.fixtures import environment
from tests.real_data import real_data

__all__ = ["environment"]


@dataclass(frozen=True)
class Films:
    """A trained model, its bundle, and 200 histories of held-out users."""

    model: FactorModel
    recipe: Recipe
    conversion: Conversion
    bundle: BundleFolder
    users: list[HeldOutUser]


def make_films(dataset: Dataset, folder: Path, *, histories: int = 200) -> Films:
    """Train and convert as `make demo` does."""
    train(dataset, folder)
    recipe, model = read_recipe(folder / "recipe.toml"), read_factors(folder / "model.npz")
    conversion = convert(
        model,
        read_dataset(folder),
        recipe,
        folder / "films.nearhand",
        targets=["onnx", "tflite"],
        precisions=["fp32", "int8"],
    )
    split = temporal_split(positives(dataset.interactions, recipe.minimum_rating))
    users = list(held_out_users(split, recipe.policy(model.alpha), recipe.interaction_event))
    chosen = [users[i] for i in np.linspace(0, len(users) - 1, histories).astype(int)]
    bundle = install_bundle(conversion.path, folder / "slots", sdk_version=__version__)
    return Films(model, recipe, conversion, bundle, chosen)


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Films:
    """ml-latest-small where NEARHAND_DATA has it, else the built-in sample."""
    data = Path(os.environ.get("NEARHAND_DATA", "")) / "ml-latest-small"
    dataset = movielens_dataset(data) if data.is_dir() else sample_dataset(2000)
    return make_films(dataset, tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="session")
def movielens_films(films: Films) -> Films:
    """The same, on ml-latest-small only."""
    real_data("ml-latest-small")
    return films
