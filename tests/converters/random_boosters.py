"""Small random models of XGBoost and LightGBM: random options, and columns that are hard to compare.

A strategy draws a recipe, which says in one line what failed; ``train`` makes the model of it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

COLUMNS = ("normal", "constant", "integers", "huge", "tiny", "mixed", "sparse", "missing", "neighbours", "large")
XGBOOST_OBJECTIVES = (
    "binary:logistic",
    "binary:logitraw",
    "binary:hinge",
    "reg:squarederror",
    "reg:squaredlogerror",
    "reg:logistic",
    "reg:pseudohubererror",
    "reg:absoluteerror",
    "reg:quantileerror",
    "count:poisson",
    "reg:gamma",
    "reg:tweedie",
    "survival:cox",
    "survival:aft",
    "multi:softmax",
    "multi:softprob",
    "rank:pairwise",
    "rank:ndcg",
    "rank:map",
)
LIGHTGBM_OBJECTIVES = (
    "regression",
    "regression_l1",
    "huber",
    "fair",
    "poisson",
    "quantile",
    "mape",
    "gamma",
    "tweedie",
    "binary",
    "multiclass",
    "multiclassova",
    "cross_entropy",
    "cross_entropy_lambda",
    "lambdarank",
    "rank_xendcg",
)


@dataclass(frozen=True)
class Recipe:
    """A model to train.

    Attributes:
        rows, seed: of the data.
        columns: the kind of each number column, of ``COLUMNS``.
        categories: the number of categories of each category column.
        outputs: classes, targets or quantiles, where the objective has any.
        missing: for XGBoost, the number that stands for a missing value; None for NaN alone.
        options: given to the library as they are.
    """

    objective: str
    rows: int
    seed: int
    columns: tuple[str, ...]
    categories: tuple[int, ...] = ()
    outputs: int = 1
    rounds: int = 3
    missing: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def random(self) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(self.seed))

    def table(self, dtype: type[Any]) -> NDArray[np.float64]:
        """The columns, then the categories' numbers, with missing ones; each number is one of ``dtype``."""
        random = self.random
        columns = [_column(kind, self.rows, random, dtype) for kind in self.columns]
        for size in self.categories:
            own = random.integers(0, size, self.rows).astype(np.float64)
            own[random.random(self.rows) < 0.05] = np.nan
            columns.append(own)
        return np.stack(columns, axis=1)

    def signal(self, table: NDArray[np.float64]) -> NDArray[np.float64]:
        """A number for each row that depends on every column, about standard normal."""
        random = np.random.Generator(np.random.PCG64(self.seed + 1))
        found = 0.3 * random.standard_normal(self.rows)
        for column in table.T:
            known = np.where(np.isnan(column), -1.0, column)
            place = np.unique(known, return_inverse=True)[1].ravel()
            found += random.standard_normal(place.max() + 1)[place // max(1, (place.max() + 1) // 8)]
        scaled: NDArray[np.float64] = found / np.sqrt(table.shape[1] + 1)
        return scaled


def _column(kind: str, rows: int, random: np.random.Generator, dtype: type[Any]) -> NDArray[np.float64]:
    normal = random.standard_normal(rows)
    if kind == "constant":
        normal[:] = normal[0]
    elif kind == "integers":
        normal = np.round(normal * 3)
    elif kind == "huge":
        normal = np.clip(normal * 1e38, -3.4e38, 3.4e38)
    elif kind == "tiny":
        normal = normal * 10.0 ** random.integers(-44, -33, rows)
    elif kind == "mixed":
        normal = normal * 10.0 ** random.integers(-30, 30, rows)
    elif kind == "sparse":
        normal[random.random(rows) < 0.6] = 0.0
    elif kind == "missing":
        normal[random.random(rows) < 0.4] = np.nan
    elif kind == "neighbours":  # a few numbers, one ulp apart
        steps = dtype(1.7) + random.integers(-4, 5, rows) * np.finfo(dtype).eps
        normal = steps.astype(np.float64)
    elif kind == "large":  # beyond 2^24, where float32 has no odd numbers
        normal = np.round(normal * 20) + (1 << 25)
    with np.errstate(over="ignore", under="ignore"):
        return normal.astype(dtype).astype(np.float64)


@contextmanager
def quiet() -> Iterator[None]:
    """Training libraries warn about models as small and odd as these."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


_SHARED: dict[str, st.SearchStrategy[Any]] = {
    "rows": st.integers(2, 200),
    "seed": st.integers(0, 2**20),
    "columns": st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=5).map(tuple),
    "categories": st.lists(st.sampled_from([1, 2, 3, 8, 40, 1000]), max_size=2).map(tuple),
    "outputs": st.integers(2, 4),
    "rounds": st.integers(1, 4),
}


@st.composite
def xgboost_recipes(draw: st.DrawFn) -> Recipe:
    shared: dict[str, Any] = {name: draw(strategy) for name, strategy in _SHARED.items()}
    booster = draw(st.sampled_from(["gbtree", "gbtree", "gbtree", "dart"]))
    method = "exact" if not shared["categories"] and draw(st.booleans()) else draw(st.sampled_from(["hist", "approx"]))
    options: dict[str, Any] = {
        "booster": booster,
        "tree_method": method,
        "max_depth": draw(st.sampled_from([1, 2, 3, 6, 20])),
        "eta": draw(st.sampled_from([0.05, 0.3, 1.0])),
        "min_child_weight": draw(st.sampled_from([0, 0, 0, 1, 1e9])),
        "lambda": draw(st.sampled_from([0.1, 1.0])),
        "max_cat_to_onehot": draw(st.sampled_from([1, 4, 2000])),
        "max_cat_threshold": draw(st.sampled_from([1, 64])),
        "max_bin": draw(st.sampled_from([2, 16, 256])),
        "num_parallel_tree": draw(st.sampled_from([1, 1, 2])),
        "subsample": draw(st.sampled_from([0.6, 1.0])),
    }
    if booster == "dart":
        options.update(rate_drop=draw(st.sampled_from([0.1, 0.9])), one_drop=1)
    if method == "hist" and draw(st.booleans()):
        options.update(grow_policy="lossguide", max_leaves=draw(st.sampled_from([2, 30])))
    if draw(st.booleans()):
        options["base_score"] = draw(st.sampled_from([0.1, 0.5, 0.7]))
    objective = draw(st.sampled_from(XGBOOST_OBJECTIVES))
    if method == "hist" and booster == "gbtree" and draw(st.integers(0, 4)) == 0:
        options["multi_strategy"] = "multi_output_tree"
        objective = draw(st.sampled_from(["multi:softprob", "reg:squarederror", "reg:logistic"]))
        # What XGBoost 3.2 refuses together with vector leaves.
        shared["categories"] = ()
    return Recipe(objective, missing=draw(st.sampled_from([None, None, 0.0, 1.0, -999.0])), options=options, **shared)


def train_xgboost(recipe: Recipe) -> Any:
    """A scikit-learn wrapper if a number is missing, which only that remembers; else a Booster."""
    import xgboost

    table = recipe.table(np.float32)
    if recipe.missing is not None:
        table[recipe.random.random(table.shape) < 0.2] = recipe.missing
    signal, outputs = recipe.signal(table), recipe.outputs
    types = ["float"] * len(recipe.columns) + ["c"] * len(recipe.categories)
    options = {"nthread": 1, "objective": recipe.objective, "verbosity": 0, **recipe.options}
    if recipe.missing is not None:
        # The sentinel cannot be a category: those are left to NaN.
        table[:, len(recipe.columns) :] = np.where(
            table[:, len(recipe.columns) :] == recipe.missing, np.nan, table[:, len(recipe.columns) :]
        )
    label = _xgboost_label(recipe.objective, signal, outputs)
    if recipe.objective.startswith("multi:"):
        options["num_class"] = outputs
    elif recipe.objective == "reg:quantileerror":
        options["quantile_alpha"] = np.linspace(0.1, 0.9, outputs).tolist()
    elif recipe.options.get("multi_strategy") or recipe.objective in ("reg:squarederror", "binary:logistic"):
        label = np.stack([np.roll(label, i) for i in range(outputs - 1)], axis=1)
    missing = np.nan if recipe.missing is None else recipe.missing
    data = xgboost.DMatrix(table, label, missing=missing, feature_types=types, nthread=1)
    if recipe.objective.startswith("rank:"):
        data.set_group([recipe.rows // 2, recipe.rows - recipe.rows // 2])
    elif recipe.objective == "survival:aft":
        data.set_float_info("label_lower_bound", label)
        data.set_float_info("label_upper_bound", label * 1.5)
    with quiet():
        booster = xgboost.train(options, data, recipe.rounds)
        if recipe.missing is None:
            return booster
        # As fit leaves a wrapper; it takes no lists of relevances or bounds of times.
        wrapper = xgboost.XGBRegressor(missing=recipe.missing)
        wrapper.load_model(booster.save_raw("ubj"))
        return wrapper


def _xgboost_label(objective: str, signal: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
    if objective.startswith("multi:"):
        label = np.clip(np.digitize(signal, np.linspace(-1, 1, classes - 1)), 0, classes - 1)
        return label.astype(np.float64)
    if objective.startswith(("binary:", "rank:")) or objective == "reg:logistic":
        return (signal > 0).astype(np.float64)
    if objective in ("count:poisson", "reg:gamma", "reg:tweedie", "survival:aft", "reg:squaredlogerror"):
        return np.abs(signal) + 0.1
    return signal


@st.composite
def lightgbm_recipes(draw: st.DrawFn) -> Recipe:
    shared: dict[str, Any] = {name: draw(strategy) for name, strategy in _SHARED.items()}
    linear = draw(st.integers(0, 4)) == 0
    boosting = "gbdt" if linear else draw(st.sampled_from(["gbdt", "gbdt", "dart", "rf"]))
    options: dict[str, Any] = {
        "boosting": boosting,
        "num_leaves": draw(st.sampled_from([2, 4, 31, 200])),
        "max_depth": draw(st.sampled_from([-1, 2, 20])),
        "learning_rate": draw(st.sampled_from([0.05, 0.3, 1.0])),
        "min_data_in_leaf": draw(st.sampled_from([1, 1, 5, 1000])),
        "min_sum_hessian_in_leaf": draw(st.sampled_from([1e-9, 1e-3])),
        "min_data_in_bin": draw(st.sampled_from([1, 3])),
        "max_bin": draw(st.sampled_from([2, 16, 255])),
        "max_cat_to_onehot": draw(st.sampled_from([1, 4, 2000])),
        "cat_smooth": 0.0,
        "cat_l2": 0.0,
        "min_data_per_group": 1,
        "max_cat_threshold": draw(st.sampled_from([1, 64])),
        "lambda_l2": 0.1,
        "zero_as_missing": not linear and draw(st.sampled_from([False, False, True])),
        "use_missing": draw(st.sampled_from([True, True, False])),
        "extra_trees": draw(st.booleans()),
        "data_sample_strategy": "goss" if boosting == "gbdt" and draw(st.integers(0, 3)) == 0 else "bagging",
        "feature_pre_filter": False,
        "linear_tree": linear,
    }
    objective = draw(st.sampled_from(LIGHTGBM_OBJECTIVES))
    if linear and objective in ("regression_l1", "mape", "quantile"):  # LightGBM refuses these
        objective = "regression"
    if boosting == "rf":
        options.update(bagging_freq=1, bagging_fraction=0.7)
    if objective in ("binary", "multiclassova"):
        options.update(sigmoid=draw(st.sampled_from([0.5, 1.0, 2.5])), is_unbalance=draw(st.booleans()))
    if objective in ("regression", "fair", "quantile"):
        options["reg_sqrt"] = draw(st.booleans())
    return Recipe(objective, options=options, **shared)


def train_lightgbm(recipe: Recipe) -> Any:
    """A Booster."""
    import lightgbm

    table = recipe.table(np.float64)
    signal = recipe.signal(table)
    label: NDArray[Any] = signal
    options = {"num_threads": 1, "verbose": -1, "objective": recipe.objective, "seed": 1, **recipe.options}
    if recipe.objective.startswith("multiclass"):
        options["num_class"] = recipe.outputs
        # Every class is there: LightGBM gives up on a class without rows.
        label = np.argsort(np.argsort(signal)) % recipe.outputs
    elif recipe.objective in ("binary", "lambdarank", "rank_xendcg", "cross_entropy", "cross_entropy_lambda"):
        label = signal > np.median(signal)
    elif recipe.objective in ("poisson", "gamma", "tweedie"):
        label = np.abs(signal) + 0.1
    ranks = recipe.objective in ("lambdarank", "rank_xendcg")
    data = lightgbm.Dataset(
        table,
        label.astype(np.float64),
        group=[recipe.rows // 2, recipe.rows - recipe.rows // 2] if ranks else None,
        categorical_feature=list(range(len(recipe.columns), table.shape[1])),
    )
    with quiet():
        return lightgbm.train(options, data, recipe.rounds)
