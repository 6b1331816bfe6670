"""A large bundle that is served whole: 10,000 items of 64 factors, a ranker of 200 trees, MMR, lists that are noted."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd

from nearhand.bundle import install_bundle
from nearhand.bundle.schema import RuntimeName
from nearhand.bundle.serving import ListPolicy
from nearhand.features import ItemTable, compile_program
from nearhand.ranking import feature_places
from nearhand.version import __version__
from nearhand_converters.data import Catalogue, Dataset, Interactions
from nearhand_converters.door import convert_model
from nearhand_converters.merge import merge_bundles
from nearhand_converters.pipeline import convert
from nearhand_converters.recipe import BudgetRecipe, HistoryRecipe, Recipe, TableRecipe
from nearhand_converters.sources.factors import FactorModel
from tests.benchmarks.program import thirty_views

ITEMS, FACTORS, USERS, TASTES = 10_000, 64, 200, 32
GENRES = ("Action", "Comedy", "Crime", "Drama", "Horror", "Romance", "Sci-Fi", "War")


def serving_bundle(folder: Path, runtime: RuntimeName) -> Path:
    """The bundle, for one runtime. Its models are made of random numbers: they cost what real ones do."""
    generator = np.random.Generator(np.random.PCG64(7))
    tastes = generator.standard_normal((TASTES, FACTORS))
    of_item = np.arange(ITEMS) % TASTES
    vectors = tastes[of_item] + 0.7 * generator.standard_normal((ITEMS, FACTORS))
    chosen = [generator.permutation(np.flatnonzero(of_item == user % TASTES))[:30] for user in range(USERS)]
    count = 30 * USERS
    dataset = Dataset(
        name="large",
        licence="CC0-1.0",
        description="made for benchmarks",
        catalogue=Catalogue(
            tuple(f"m_{row}" for row in range(ITEMS)),
            tuple(f"Film {row}" for row in range(ITEMS)),
            tuple(1950 + row % 70 for row in range(ITEMS)),
            tuple((GENRES[row % len(GENRES)], GENRES[row // 7 % len(GENRES)]) for row in range(ITEMS)),
            tuple(f"Director {row % 900}" for row in range(ITEMS)),
        ),
        interactions=Interactions(
            users=tuple(f"u_{user}" for user in range(USERS)),
            user=np.repeat(np.arange(USERS, dtype=np.int32), 30),
            item=np.concatenate(chosen).astype(np.int32),
            rating=None,
            timestamp=np.arange(count, dtype=np.int64) * 1000 + 1_600_000_000_000,
        ),
    )
    program = thirty_views()
    recipe = Recipe(
        name="large",
        licence="CC0-1.0",
        bootstrap_samples=10,
        golden_cases=2,
        features=program,
        history=HistoryRecipe(),
        budget=BudgetRecipe(ndcg_change=-1, recall_change=-1, top10_overlap=0.5, user_vector_error=1e-3),
    )
    model = FactorModel(0.1 * vectors, regularization=1.0, alpha=2.0, sha256="0" * 64)
    retrieval, ranker = folder / "large.nearhand", folder / "order.nearhand"
    convert(model, dataset, recipe, retrieval, targets=[runtime], precisions=["int8"])
    items = install_bundle(retrieval, folder / "slots", sdk_version=__version__).items()
    places = feature_places(compile_program(program, ItemTable.of_bundle(items)))
    names = [name for name, place in places.items() if place.dtype == "float32"]
    table = pd.DataFrame(generator.standard_normal((4000, len(names))).astype(np.float32), columns=names)
    target = table["genre_match"] + table["popularity"] * table["year"]
    settings: dict[str, Any] = {"n_estimators": 200, "num_leaves": 31, "random_state": 1, "n_jobs": 1, "verbose": -1}
    trained = lightgbm.LGBMRegressor(**settings).fit(table, target)
    order = TableRecipe(name="order", role="ranker", licence="CC0-1.0", rows=300, golden_rows=2)
    convert_model(trained, ranker, order, targets=[runtime], sample=table)
    out = folder / f"serving-{runtime}.nearhand"
    listing = ListPolicy(ranker="order", diversity=Decimal("0.2"), category_cap=4)
    merge_bundles([retrieval, ranker], out=out, listing=listing)
    return out
