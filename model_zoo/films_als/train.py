"""Trains implicit ALS on the positive interactions that are not held out."""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import scipy.sparse
from threadpoolctl import threadpool_limits

from nearhand_converters.data import Dataset, positives, temporal_split, write_dataset
from nearhand_converters.errors import DataError
from nearhand_converters.recipe import read_recipe

RECIPE = "recipe.toml"
FEATURES = "features.json"


@dataclass(frozen=True)
class Training:
    """What was trained, and on what."""

    folder: Path
    users: int
    items: int
    interactions: int
    held_out: int


def train(dataset: Dataset, out: Path) -> Training:
    """Train and write everything that ``nearhand convert`` needs into the folder ``out``.

    Writes ``model.npz`` (implicit's own format), ``items.csv``, ``interactions.csv``, ``dataset.toml``,
    ``recipe.toml`` and its feature program. The last interactions of each user are kept from the training; the
    conversion holds out the same.

    Raises:
        DataError: no interaction is positive.
    """
    from implicit.cpu.als import AlternatingLeastSquares

    out.mkdir(parents=True, exist_ok=True)
    for name in (RECIPE, FEATURES):
        with resources.as_file(resources.files(__package__) / name) as path:
            shutil.copyfile(path, out / name)
    recipe = read_recipe(out / RECIPE)
    settings = tomllib.loads((out / RECIPE).read_text(encoding="utf-8"))["train"]
    split = temporal_split(positives(dataset.interactions, recipe.minimum_rating))
    if len(split.train) == 0:
        raise DataError(
            f"no interaction is rated {recipe.minimum_rating} or more",
            place=f"data set {dataset.name!r}",
            remedy="lower [bundle] minimum_rating in the recipe, or leave the ratings out",
        )
    interactions = scipy.sparse.csr_matrix(
        (np.ones(len(split.train), np.float32), (split.train.user, split.train.item)),
        shape=(len(dataset.interactions.users), len(dataset.catalogue)),
    )
    with threadpool_limits(1, "blas"):  # implicit runs its own threads; and one BLAS thread gives the same bytes again
        model = AlternatingLeastSquares(
            factors=settings["factors"],
            regularization=settings["regularization"],
            alpha=settings["alpha"],
            iterations=settings["iterations"],
            random_state=settings["seed"],
        )
        model.fit(interactions, show_progress=False)
    write_dataset(dataset, out)
    temporary = out / "model.part.npz"
    model.save(str(temporary))
    temporary.replace(out / "model.npz")
    return Training(out, len(dataset.interactions.users), len(dataset.catalogue), len(split.train), len(split.held_out))
