"""Trains implicit ALS on the positive interactions that are not held out."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from threadpoolctl import threadpool_limits

from model_zoo.training import Report
from nearhand_converters.data import Dataset, Interactions, positives, temporal_split, write_dataset
from nearhand_converters.errors import DataError
from nearhand_converters.recipe import read_recipe

RECIPE = "recipe.toml"
FEATURES = "features.json"


def train(dataset: Dataset, out: Path, changes: Mapping[str, str | int] | None = None) -> Report:
    """Train and write everything that ``nearhand convert`` needs into the folder ``out``.

    Writes ``model.npz`` (implicit's own format), ``items.csv``, ``interactions.csv``, ``dataset.toml``,
    ``recipe.toml`` and its feature program. The last interactions of each user are kept from the training; the
    conversion holds out the same.

    Args:
        changes: settings of the recipe, by name, that are others for this model.

    Raises:
        DataError: no interaction is positive.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in (RECIPE, FEATURES):
        with resources.as_file(resources.files(__package__) / name) as path:
            shutil.copyfile(path, out / name)
    text = (out / RECIPE).read_text(encoding="utf-8")
    for name, value in (changes or {}).items():
        text = re.sub(rf"^{name} = .*$", f"{name} = {json.dumps(value)}", text, count=1, flags=re.MULTILINE)
    (out / RECIPE).write_text(text, encoding="utf-8")
    recipe = read_recipe(out / RECIPE)
    settings = tomllib.loads((out / RECIPE).read_text(encoding="utf-8"))["train"]
    split = temporal_split(positives(dataset.interactions, recipe.minimum_rating))
    if len(split.train) == 0:
        raise DataError(
            f"no interaction is rated {recipe.minimum_rating} or more",
            place=f"data set {dataset.name!r}",
            remedy="lower [bundle] minimum_rating in the recipe, or leave the ratings out",
        )
    model = fit_als(split.train, len(dataset.catalogue), settings)
    write_dataset(dataset, out)
    temporary = out / "model.part.npz"
    model.save(str(temporary))
    temporary.replace(out / "model.npz")
    counts = {
        "users": len(dataset.interactions.users),
        "items": len(dataset.catalogue),
        "interactions": len(split.train),
        "held_out": len(split.held_out),
    }
    said = (
        f"films-als on {counts['interactions']:,} positive interactions of {counts['users']:,} users with "
        f"{counts['items']:,} items; {counts['held_out']:,} later ones held out"
    )
    return Report(out, [said], counts)


def fit_als(train: Interactions, items: int, settings: Mapping[str, Any]) -> Any:
    """implicit's model of these interactions, by the ``[train]`` table of a recipe."""
    from implicit.cpu.als import AlternatingLeastSquares

    interactions = scipy.sparse.csr_matrix(
        (np.ones(len(train), np.float32), (train.user, train.item)), shape=(len(train.users), items)
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
    return model
