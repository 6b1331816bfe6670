"""How the matrix's models of scikit-learn are trained."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tests.conformance.matrix_data import Recipe, data

_MODULES = (
    "linear_model",
    "svm",
    "discriminant_analysis",
    "neural_network",
    "tree",
    "ensemble",
    "dummy",
    "isotonic",
    "cluster",
    "neighbors",
    "naive_bayes",
    "decomposition",
    "cross_decomposition",
    "random_projection",
    "preprocessing",
    "impute",
    "feature_selection",
    "feature_extraction.text",
)
_SMALL: dict[str, Any] = {
    "n_estimators": 8,
    "max_depth": 6,
    "random_state": 0,
    "hidden_layer_sizes": (8,),
    "n_clusters": 4,
    "n_init": 1,
}
"""Taken where a constructor has such an argument."""
_MOST_ITERATIONS = {"Hist": 8, "MLP": 60, "Logistic": 100, "": 300}
"""By how the class's name begins."""


def _class(name: str) -> Any:
    importlib.import_module("sklearn.experimental.enable_iterative_imputer")
    modules = (importlib.import_module(f"sklearn.{module}") for module in _MODULES)
    return next(getattr(module, name) for module in modules if hasattr(module, name))


def _small(name: str, **options: Any) -> Any:
    """An estimator, not fitted. One that needs another gets a LogisticRegression."""
    kind = _class(name)
    known = inspect.signature(kind).parameters
    own = {key: value for key, value in _SMALL.items() if key in known}
    if "max_iter" in known:
        own["max_iter"] = next(most for start, most in _MOST_ITERATIONS.items() if name.startswith(start))
    if "estimator" in known and known["estimator"].default is inspect.Parameter.empty:
        own["estimator"] = _small("LogisticRegression")
    return kind(**{**own, **options})


def _plain(recipe: Recipe) -> Any:
    table, target = data(recipe)
    model = _small(recipe.name, **recipe.options)
    return model.fit(table) if target is None else model.fit(table, target)


def _options(recipe: Recipe) -> dict[str, Any]:
    return {key: value for key, value in recipe.options.items() if key != "transformer"}


def _fitted(recipe: Recipe, *steps: Any) -> Any:
    from sklearn.pipeline import make_pipeline

    return make_pipeline(*steps).fit(*data(recipe))


def _transformed(recipe: Recipe) -> Any:
    """The transformer, then the estimator that the objective names."""
    transformer = _small(recipe.options["transformer"], **_options(recipe))
    return _fitted(recipe, transformer, _small(recipe.objective))


def _mixed(recipe: Recipe) -> Any:
    """Texts encoded, numbers scaled."""
    from sklearn.compose import ColumnTransformer

    encoder = _small(recipe.options["transformer"], **_options(recipe))
    parts = [
        ("texts", encoder, ["city", "plan"]),
        ("numbers", _class("StandardScaler")(), ["age", "spend", "rate", "visits"]),
    ]
    return _fitted(recipe, ColumnTransformer(parts, sparse_threshold=0), _small(recipe.objective))


def _words(recipe: Recipe) -> Any:
    """Texts split into words."""
    from sklearn.compose import ColumnTransformer

    transformer = _class(recipe.options["transformer"])(**_options(recipe))
    return _fitted(recipe, ColumnTransformer([("words", transformer, "city")]), _small(recipe.objective))


def _union(recipe: Recipe) -> Any:
    from sklearn.pipeline import make_union

    union = make_union(_class("StandardScaler")(), _class("PCA")(n_components=2))
    return _fitted(recipe, union, _small(recipe.objective))


def _projected(recipe: Recipe) -> Any:
    return _fitted(recipe, _class("StandardScaler")(), _class("PCA")(n_components=3), _small(recipe.objective))


def _own_function(x: Any) -> Any:
    return x * 2


def _function(recipe: Recipe) -> Any:
    from sklearn.preprocessing import FunctionTransformer

    name = recipe.options["function"]
    step = FunctionTransformer(_own_function if name == "own" else getattr(np, name))
    return _fitted(recipe, step, _small(recipe.objective))


def _calibrated(recipe: Recipe) -> Any:
    from sklearn.calibration import CalibratedClassifierCV

    options = _options(recipe)
    estimator = _small(options.pop("estimator"))
    return CalibratedClassifierCV(estimator, cv=3, **options).fit(*data(recipe))


def _boosting_on_linear(recipe: Recipe) -> Any:
    return _small(recipe.name, init=_small("LogisticRegression")).fit(*data(recipe))


def _one_against_the_rest(recipe: Recipe) -> Any:
    from sklearn.multiclass import OneVsRestClassifier

    return OneVsRestClassifier(_small(recipe.objective)).fit(*data(recipe))


def _together(recipe: Recipe) -> Any:
    """A linear model and trees vote, or are stacked."""
    regresses = recipe.name.endswith("Regressor")
    names = ("Ridge", "DecisionTreeRegressor") if regresses else ("LogisticRegression", "DecisionTreeClassifier")
    options = {"final_estimator": _small(names[0])} if recipe.name.startswith("Stacking") else {}
    model = _class(recipe.name)([(name, _small(name)) for name in names], **options, **recipe.options)
    return model.fit(*data(recipe))


def _transformed_target(recipe: Recipe) -> Any:
    from sklearn.compose import TransformedTargetRegressor

    return TransformedTargetRegressor(_small("Ridge"), func=np.log, inverse_func=np.exp).fit(*data(recipe))


def _frozen(recipe: Recipe) -> Any:
    from sklearn.frozen import FrozenEstimator

    return FrozenEstimator(_small(recipe.objective).fit(*data(recipe)))


def _isotonic(recipe: Recipe) -> Any:
    table, target = data(recipe)
    return _class(recipe.name)(out_of_bounds="clip").fit(table[:, :1], target)


MAKERS: Mapping[str, Callable[[Recipe], Any]] = {
    "scikit-learn": _plain,
    "transformed": _transformed,
    "mixed": _mixed,
    "words": _words,
    "union": _union,
    "projected": _projected,
    "function": _function,
    "calibrated": _calibrated,
    "boosting_on_linear": _boosting_on_linear,
    "one_against_the_rest": _one_against_the_rest,
    "together": _together,
    "transformed_target": _transformed_target,
    "frozen": _frozen,
    "isotonic": _isotonic,
}
