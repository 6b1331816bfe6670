"""Small LightGBM models that several tests share."""

from __future__ import annotations

from functools import cache
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from nearhand_converters.sources.lightgbm import LightGBMSource
from nearhand_converters.sources.tree_model import TreeModel
from tests.converters.random_boosters import Recipe, quiet, train_lightgbm

SOURCE = LightGBMSource()
ROWS = 240
FOREST = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}
COLUMNS = ("normal", "missing", "sparse", "integers")
SMALL = {"num_leaves": 9, "min_data_in_leaf": 2, "learning_rate": 0.5}


@cache
def booster(objective: str = "regression", columns: tuple[str, ...] = COLUMNS, **options: Any) -> Any:
    return train_lightgbm(Recipe(objective, ROWS, 5, columns, outputs=3, rounds=4, options={**SMALL, **options}))


def adopted(model: object) -> TreeModel:
    assert SOURCE.adopts(model)
    found = SOURCE.adopt(model)
    assert isinstance(found, TreeModel)
    return found


def table(rows: int = ROWS, seed: int = 7) -> NDArray[np.float64]:
    random = np.random.Generator(np.random.PCG64(seed))
    found = random.standard_normal((rows, 4))
    found[random.random(found.shape) < 0.1] = np.nan
    found[random.random(found.shape) < 0.1] = 0
    return found


def signal(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.nan_to_num(numbers)
    found: NDArray[np.float64] = known[:, 0] + np.where(known[:, 1] > 0, known[:, 2], -1.0) + np.isnan(numbers[:, 3])
    return found


def fitted(kind: type[Any], **options: Any) -> Any:
    """A scikit-learn wrapper, fitted to what it is for."""
    numbers = table()
    label: NDArray[Any] = signal(numbers)
    given: dict[str, Any] = {}
    if issubclass(kind, lightgbm.LGBMClassifier):
        label = np.array(["no", "perhaps", "yes"])[np.digitize(label, [-1, 1])]
        if options.pop("classes", 2) == 2:
            label = np.where(label == "perhaps", "no", label)
    elif issubclass(kind, lightgbm.LGBMRanker):
        label, given = (label > 0).astype(int), {"group": [20] * (ROWS // 20)}
    options = {"n_estimators": 4, "num_leaves": 7, "n_jobs": 1, "verbose": -1, **options}
    with quiet():
        return kind(**options).fit(numbers, label, **given)


@cache
def category_booster(*sizes: int, **options: Any) -> Any:
    options = {"cat_smooth": 0.0, "cat_l2": 0.0, "min_data_per_group": 1, "max_cat_threshold": 64, **SMALL, **options}
    return train_lightgbm(Recipe("binary", 600, 3, ("normal", "missing"), sizes, rounds=5, options=options))


def custom(label: NDArray[np.float64], prediction: NDArray[np.float64]) -> tuple[Any, Any]:
    return prediction - label, np.ones_like(label)
