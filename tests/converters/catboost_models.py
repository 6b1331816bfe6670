"""CatBoost models as these tests train, save and read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import catboost
import numpy as np
from numpy.typing import NDArray

from nearhand_converters.sources.catboost import CatBoostSource
from nearhand_converters.sources.tree_model import TreeModel
from tests.converters.random_forests import random_data

SOURCE = CatBoostSource()
DATA = random_data(0, 200, ["normal", "missing", "constant", "huge", "tiny"], [])
CATEGORIES = random_data(2, 300, ["normal", "missing"], [8, 40])
POLICIES = ("SymmetricTree", "Depthwise", "Lossguide")
POSITIVE = np.exp(DATA.target - DATA.target.max())
GROUPS = np.repeat(np.arange(20), 10)


def options(**more: Any) -> dict[str, Any]:
    quick = {"iterations": 4, "depth": 3, "random_seed": 0, "thread_count": 1, "verbose": 0}
    return {**quick, "allow_writing_files": False, **more}


def regressor(target: NDArray[Any] = DATA.target, **more: Any) -> Any:
    return catboost.CatBoostRegressor(**options(**more)).fit(DATA.numbers, target)


def classifier(labels: NDArray[Any], **more: Any) -> Any:
    return catboost.CatBoostClassifier(**options(**more)).fit(DATA.numbers, labels)


def adopt(model: Any) -> TreeModel:
    read = SOURCE.adopt(model)
    assert isinstance(read, TreeModel)
    return read


def read(path: Path) -> TreeModel:
    model = SOURCE.read(path)
    assert isinstance(model, TreeModel)
    return model


def saved(model: Any, path: Path, pool: Any = None) -> Path:
    model.save_model(str(path), format=path.suffix[1:], pool=pool)
    return path


def trained_on_categories(data: Any = CATEGORIES, **more: Any) -> tuple[Any, Any]:
    """A model, and the pool that its categories' texts are in."""
    numbers = data.numbers.shape[1]
    places = list(range(numbers, numbers + data.categories.shape[1]))
    pool = catboost.Pool(data.table, data.target, cat_features=places, thread_count=1)
    return catboost.CatBoostRegressor(**options(iterations=10, **more)).fit(pool), pool
