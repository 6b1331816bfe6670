"""Small XGBoost models that several tests share."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from nearhand_converters.sources.tree_model import TreeModel
from nearhand_converters.sources.xgboost import XGBoostSource
from tests.converters.random_boosters import Recipe, quiet, train_xgboost

SOURCE = XGBoostSource()
ROWS = 240


@cache
def recipe(objective: str, **options: Any) -> Recipe:
    return Recipe(
        objective,
        rows=ROWS,
        seed=5,
        columns=("normal", "missing", "sparse", "integers"),
        outputs=3,
        rounds=4,
        options={"max_depth": 4, "eta": 0.5, **options},
    )


@cache
def booster(objective: str = "reg:squarederror", **options: Any) -> Any:
    return train_xgboost(recipe(objective, **options))


def adopted(model: object) -> TreeModel:
    assert SOURCE.adopts(model)
    found = SOURCE.adopt(model)
    assert isinstance(found, TreeModel)
    return found


def table(rows: int = ROWS, seed: int = 7) -> NDArray[np.float32]:
    random = np.random.Generator(np.random.PCG64(seed))
    found = random.standard_normal((rows, 4)).astype(np.float32)
    found[random.random(found.shape) < 0.1] = np.nan
    found[random.random(found.shape) < 0.1] = 0
    return found


def signal(numbers: NDArray[np.float32]) -> NDArray[np.float64]:
    known = np.nan_to_num(numbers.astype(np.float64))
    found: NDArray[np.float64] = known[:, 0] + np.where(known[:, 1] > 0, known[:, 2], -1.0) + np.isnan(numbers[:, 3])
    return found


def fitted(kind: type[Any], **options: Any) -> Any:
    """A scikit-learn wrapper, fitted to what it is for."""
    numbers = table()
    label: NDArray[Any] = signal(numbers)
    given: dict[str, Any] = {}
    if issubclass(kind, xgboost.XGBClassifier):
        label = np.digitize(label, [-1, 1]) if options.pop("classes", 2) == 3 else (label > 0).astype(int)
    elif issubclass(kind, xgboost.XGBRanker):
        label, given = (label > 0).astype(int), {"qid": np.arange(ROWS) // 20}
    options = {"n_estimators": 4, "max_depth": 3, "n_jobs": 1, **options}
    missing = options.get("missing", np.nan)
    if not np.isnan(missing):
        numbers = np.where(np.isnan(numbers), np.float32(missing), numbers)
    with quiet():
        return kind(**options).fit(numbers, label, **given)


LINEAR = {"booster": "gblinear"}


def category_booster(*sizes: int, **options: Any) -> Any:
    return train_xgboost(
        Recipe("reg:logistic", 600, 3, ("normal", "missing"), sizes, rounds=5, options={"max_depth": 5, **options})
    )


def custom(label: NDArray[np.float64], prediction: NDArray[np.float64]) -> tuple[Any, Any]:
    return prediction - label, np.ones_like(label)
