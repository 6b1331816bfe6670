"""A small data set of four blocks of taste, the model that implicit trains on it, and its conversion.

Run as a module it converts into the folder that it is given: for comparing the bytes of two processes.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from nearhand.bundle.schema import Precision, RuntimeName
from nearhand_converters.data import Catalogue, Dataset, Interactions, temporal_split, write_dataset
from nearhand_converters.output import Conversion
from nearhand_converters.pipeline import convert
from nearhand_converters.recipe import BudgetRecipe, HistoryRecipe, Recipe
from nearhand_converters.sources.factors import FactorModel, read_factors

USERS, ITEMS, BLOCKS, FACTORS = 240, 200, 4, 16
ALPHA, REGULARIZATION = 3.0, 0.5
TARGETS: tuple[RuntimeName, ...] = ("onnx", "tflite")
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")

RECIPE = Recipe(
    name="blocks",
    version="0.3.0",
    licence="CC0-1.0",
    bootstrap_samples=200,
    golden_cases=5,
    history=HistoryRecipe(window=12),
    budget=BudgetRecipe(ndcg_change=-0.2, recall_change=-0.2, top10_overlap=0.9),  # 240 users prove little
)
"""The window is shorter than many histories."""


@cache
def dataset() -> Dataset:
    """Every user meets 5 to 30 items, nine in ten of them of the user's own block; now and then one twice."""
    generator = np.random.Generator(np.random.PCG64(3))
    users, items = [], []
    for user in range(USERS):
        count = int(generator.integers(5, 31))
        block = np.where(generator.random(count) < 0.9, user % BLOCKS, generator.integers(0, BLOCKS, count))
        users += [user] * count
        # The square makes low numbers the popular ones.
        items += (np.floor(generator.random(count) ** 2 * ITEMS / BLOCKS).astype(int) * BLOCKS + block).tolist()
    times = 1_700_000_000_000 + generator.permutation(len(users)).astype(np.int64) * 60_000
    return Dataset(
        name="four blocks",
        licence="CC0-1.0",
        description="made for tests",
        catalogue=catalogue(ITEMS),
        interactions=Interactions(
            tuple(f"u{user}" for user in range(USERS)),
            np.array(users, np.int32),
            np.array(items, np.int32),
            None,
            times,
        ),
    )


def catalogue(items: int) -> Catalogue:
    """``items`` films, of a genre for each block."""
    return Catalogue(
        tuple(f"b_{row}" for row in range(items)),
        tuple(f"Film {row}" for row in range(items)),
        tuple(None if row % 7 == 0 else 1950 + row % 70 for row in range(items)),
        tuple((f"block {row % BLOCKS}",) for row in range(items)),
        ("",) * items,
    )


def save_model(path: Path) -> None:
    """Trains on all but the held-out interactions; the file is implicit's own."""
    train = temporal_split(dataset().interactions).train
    matrix = scipy.sparse.csr_matrix((np.ones(len(train), np.float32), (train.user, train.item)), shape=(USERS, ITEMS))
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=FACTORS, regularization=REGULARIZATION, alpha=ALPHA, iterations=8, random_state=5, num_threads=1
        )
        model.fit(matrix, show_progress=False)
    model.save(str(path))


def model(folder: Path) -> FactorModel:
    """The model, by way of a file in ``folder``."""
    path = folder / "model.npz"
    if not path.exists():
        save_model(path)
    return read_factors(path)


def convert_blocks(source: FactorModel, out: Path, recipe: Recipe = RECIPE, **options: Any) -> Conversion:
    """Converts with both targets and precisions unless told otherwise."""
    settings = {"targets": TARGETS, "precisions": PRECISIONS, **options}
    return convert(source, settings.pop("dataset", dataset()), recipe, out, **settings)


def write_inputs(folder: Path) -> None:
    """What the command line takes: ``model.npz``, the data set, and ``recipe.toml``."""
    save_model(folder / "model.npz")
    write_dataset(dataset(), folder / "data")
    budget = RECIPE.budget
    (folder / "recipe.toml").write_text(
        f'[bundle]\nname = "{RECIPE.name}"\nversion = "{RECIPE.version}"\nlicence = "{RECIPE.licence}"\n'
        f"bootstrap_samples = {RECIPE.bootstrap_samples}\ngolden_cases = {RECIPE.golden_cases}\n"
        f"[bundle.history]\nwindow = {RECIPE.history.window}\n"
        f"[bundle.budget]\nndcg_change = {budget.ndcg_change}\nrecall_change = {budget.recall_change}\n"
        f"top10_overlap = {budget.top10_overlap}\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    target = Path(sys.argv[1])
    convert_blocks(model(target), target / "blocks.nearhand")
