"""How each row of the matrix is trained: small models, one thread, seeded."""

from __future__ import annotations

import importlib
import pickle
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.conformance.matrix_data import GROUPS, ROWS, TABLES, TARGETS, groups, numbers


@dataclass(frozen=True)
class Recipe:
    """What a row of the matrix says about training.

    Attributes:
        name: of the class.
        table, target: names of ``TABLES`` and ``TARGETS``.
        options: what the constructor gets beside the objective and the defaults.
        make: a function of this module, or "" for a constructor and a fit.
        file: how the name of its file ends; "" for the model in memory.
    """

    library: str
    name: str
    objective: str
    table: str
    target: str
    options: Mapping[str, Any] = field(default_factory=dict)
    make: str = ""
    file: str = ""


def train(recipe: Recipe, folder: Path) -> Any:
    """The fitted model; or its file, in ``folder``."""
    maker = globals()[recipe.make] if recipe.make else _BY_LIBRARY[recipe.library]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of training libraries, about how small these models are
        model = maker(recipe)
    if not recipe.file:
        return model
    path = folder / f"model{recipe.file}"
    _SAVED[recipe.file](model, path, recipe)
    return path


def _whole(target: NDArray[Any]) -> NDArray[Any]:
    """Classes as whole numbers from 0, for a library that takes no others."""
    return np.unique(target, return_inverse=True)[1] if target.dtype.kind == "U" else target


def _data(recipe: Recipe) -> tuple[Any, Any]:
    return TABLES[recipe.table](), TARGETS[recipe.target]()


# --- XGBoost ---------------------------------------------------------------------------------------------------------

_XGBOOST = {"n_estimators": 8, "max_depth": 4, "n_jobs": 1, "random_state": 0, "tree_method": "hist"}


def _xgboost(recipe: Recipe, **fit: Any) -> Any:
    import xgboost

    table, target = _data(recipe)
    options = {key: list(value) if isinstance(value, tuple) else value for key, value in recipe.options.items()}
    model = getattr(xgboost, recipe.name)(objective=recipe.objective, **{**_XGBOOST, **options})
    if recipe.name == "XGBRanker":
        fit["qid"] = groups()
    return model.fit(table, _whole(target), **fit)


def xgboost_early_stopping(recipe: Recipe) -> Any:
    """Trained beyond its best round."""
    import xgboost

    table, target = _data(recipe)
    label = _whole(target)
    options = {**_XGBOOST, "n_estimators": 60, "learning_rate": 0.8, "early_stopping_rounds": 5}
    model = xgboost.XGBClassifier(objective=recipe.objective, **options)
    model.fit(table[:200], label[:200], eval_set=[(table[200:], label[200:])], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    return model


def _matrix(recipe: Recipe) -> Any:
    import xgboost

    table, target = _data(recipe)
    matrix = xgboost.DMatrix(table)
    if recipe.target == "interval":
        matrix.set_float_info("label_lower_bound", target[:, 0])
        matrix.set_float_info("label_upper_bound", target[:, 1])
    else:
        matrix.set_label(_whole(target))
    if recipe.target == "relevance":
        matrix.set_group(np.bincount(groups()))
    return matrix


def xgboost_booster(recipe: Recipe) -> Any:
    import xgboost

    options = {"objective": recipe.objective, "max_depth": 4, "nthread": 1, "seed": 0, **recipe.options}
    return xgboost.train(options, _matrix(recipe), 8)


def xgboost_own_objective(recipe: Recipe) -> Any:
    import xgboost

    def own(predicted: NDArray[Any], matrix: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        return np.tanh(predicted - matrix.get_label()), np.ones_like(predicted)

    return xgboost.train({"max_depth": 4, "nthread": 1}, _matrix(recipe), 8, obj=own)


def scaled_xgboost(recipe: Recipe) -> Any:
    import xgboost
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    table, target = _data(recipe)
    return make_pipeline(StandardScaler(), xgboost.XGBClassifier(**_XGBOOST)).fit(table, _whole(target))


# --- LightGBM --------------------------------------------------------------------------------------------------------

_LIGHTGBM = {
    "n_estimators": 8,
    "num_leaves": 15,
    "min_child_samples": 5,
    "n_jobs": 1,
    "random_state": 0,
    "verbose": -1,
    "deterministic": True,
    "force_row_wise": True,
}


def _lightgbm(recipe: Recipe, **fit: Any) -> Any:
    import lightgbm

    table, target = _data(recipe)
    model = getattr(lightgbm, recipe.name)(objective=recipe.objective, **{**_LIGHTGBM, **recipe.options})
    if recipe.name == "LGBMRanker":
        fit["group"] = np.bincount(groups())
    return model.fit(table, target, **fit)


def lightgbm_early_stopping(recipe: Recipe) -> Any:
    """A booster that still has the rounds after its best one."""
    import lightgbm

    table, target = _data(recipe)
    label = _whole(target)
    options = {"objective": recipe.objective, "learning_rate": 0.8, "num_threads": 1, "seed": 0, "verbose": -1}
    train_set = lightgbm.Dataset(table[:200], label[:200])
    stop = lightgbm.early_stopping(5, verbose=False)
    model = lightgbm.train(
        options,
        train_set,
        60,
        valid_sets=[lightgbm.Dataset(table[200:], label[200:], reference=train_set)],
        callbacks=[stop],
        keep_training_booster=True,
    )
    assert 0 < model.best_iteration < model.current_iteration()
    return model


def lightgbm_booster(recipe: Recipe) -> Any:
    import lightgbm

    table, target = _data(recipe)
    options = {"objective": recipe.objective, "num_leaves": 15, "num_threads": 1, "seed": 0, "verbose": -1}
    return lightgbm.train(options, lightgbm.Dataset(table, target), 8)


def lightgbm_own_objective(recipe: Recipe) -> Any:
    import lightgbm

    def own(predicted: NDArray[Any], data: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        return np.tanh(predicted - data.get_label()), np.ones_like(predicted)

    table, target = _data(recipe)
    options = {"objective": own, "num_leaves": 15, "num_threads": 1, "seed": 0, "verbose": -1}
    return lightgbm.train(options, lightgbm.Dataset(table, target), 8)


# --- CatBoost --------------------------------------------------------------------------------------------------------

_CATBOOST = {
    "iterations": 8,
    "depth": 3,
    "learning_rate": 0.3,
    "thread_count": 1,
    "random_seed": 0,
    "verbose": False,
    "allow_writing_files": False,
}


def _catboost(recipe: Recipe) -> Any:
    import catboost

    table, target = _data(recipe)
    extra: dict[str, Any] = {}
    if recipe.table == "texts":
        extra["cat_features"] = ["city", "plan"]
    if recipe.name == "CatBoostRanker":
        extra["group_id"] = groups()
        if recipe.objective.startswith("PairLogit"):
            extra["pairs"] = _pairs(target)
    own = {**_CATBOOST, **recipe.options}
    model = getattr(catboost, recipe.name)(loss_function=recipe.objective, **own)
    return model.fit(catboost.Pool(table, target, **extra))


def _save_catboost_json(model: Any, path: Path, recipe: Recipe) -> None:
    import catboost

    cat_features = ["city", "plan"] if recipe.table == "texts" else None
    model.save_model(str(path), format="json", pool=catboost.Pool(_data(recipe)[0], cat_features=cat_features))


def _pairs(relevance: NDArray[np.int64]) -> list[tuple[int, int]]:
    """In each list the first row with every less relevant one."""
    size = ROWS // GROUPS
    return [
        (start, start + i)
        for start in range(0, ROWS, size)
        for i in range(1, size)
        if relevance[start + i] < relevance[start]
    ]


def catboost_early_stopping(recipe: Recipe) -> Any:
    """Trained beyond its best round, which CatBoost then forgets."""
    import catboost

    table, target = _data(recipe)
    model = catboost.CatBoostClassifier(
        loss_function=recipe.objective, **{**_CATBOOST, "iterations": 60, "learning_rate": 0.8}
    )
    model.fit(table[:200], target[:200], eval_set=(table[200:], target[200:]), early_stopping_rounds=5)
    assert model.tree_count_ < 60
    return model


def catboost_scale_and_bias(recipe: Recipe) -> Any:
    model = _catboost(recipe)
    model.set_scale_and_bias(0.5, 0.25)
    return model


# --- scikit-learn ----------------------------------------------------------------------------------------------------

_MODULES = {
    "sklearn.linear_model": "LinearRegression Ridge Lasso ElasticNet SGDRegressor LogisticRegression SGDClassifier",
    "sklearn.svm": "LinearSVC",
    "sklearn.neural_network": "MLPClassifier MLPRegressor",
    "sklearn.tree": "DecisionTreeClassifier DecisionTreeRegressor",
    "sklearn.ensemble": "RandomForestClassifier RandomForestRegressor ExtraTreesClassifier ExtraTreesRegressor "
    "GradientBoostingClassifier GradientBoostingRegressor HistGradientBoostingClassifier "
    "HistGradientBoostingRegressor BaggingClassifier BaggingRegressor AdaBoostClassifier AdaBoostRegressor "
    "IsolationForest RandomTreesEmbedding",
    "sklearn.cluster": "KMeans MiniBatchKMeans DBSCAN",
    "sklearn.neighbors": "KNeighborsClassifier KNeighborsRegressor",
    "sklearn.naive_bayes": "GaussianNB",
    "sklearn.decomposition": "PCA TruncatedSVD NMF",
    "sklearn.preprocessing": "StandardScaler MinMaxScaler RobustScaler MaxAbsScaler",
}
_SMALL: dict[str, Any] = {
    "n_estimators": 8,
    "max_depth": 6,
    "random_state": 0,
    "max_iter": {"Hist": 8, "MLP": 60, "": 300},
    "hidden_layer_sizes": (8,),
    "n_clusters": 4,
    "n_init": 1,
}
"""Taken where a constructor has such an argument; ``max_iter`` by how the class's name begins."""


def _class(name: str) -> Any:
    module = next(module for module, names in _MODULES.items() if name in names.split())
    return getattr(importlib.import_module(module), name)


def _sklearn(recipe: Recipe) -> Any:
    table, target = _data(recipe)
    kind = _class(recipe.name)
    known = kind().get_params()
    options = {key: value for key, value in _SMALL.items() if key in known}
    if isinstance(options.get("max_iter"), dict):
        options["max_iter"] = next(v for start, v in options["max_iter"].items() if recipe.name.startswith(start))
    model = kind(**{**options, **recipe.options})
    return model.fit(table) if target is None else model.fit(table, target)


def _fitted(recipe: Recipe, *steps: Any) -> Any:
    from sklearn.pipeline import make_pipeline

    return make_pipeline(*steps).fit(*_data(recipe))


def calibrated(recipe: Recipe) -> Any:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import LinearSVC

    return CalibratedClassifierCV(LinearSVC(), cv=3, **recipe.options).fit(*_data(recipe))


def calibrated_forest(recipe: Recipe) -> Any:
    from sklearn.calibration import CalibratedClassifierCV

    forest = _class("RandomForestClassifier")(n_estimators=8, max_depth=5, random_state=0)
    return CalibratedClassifierCV(forest, cv=3, **recipe.options).fit(*_data(recipe))


def gradient_boosting_on_linear(recipe: Recipe) -> Any:
    model = _class(recipe.name)(n_estimators=8, random_state=0, init=_class("LogisticRegression")())
    return model.fit(*_data(recipe))


def scaled(recipe: Recipe) -> Any:
    return _fitted(recipe, _class(recipe.options["scaler"])(), _class(recipe.objective)())


def scaled_trees(recipe: Recipe) -> Any:
    trees = _class(recipe.objective)(n_estimators=8, random_state=0)
    return _fitted(recipe, _class("StandardScaler")(), trees)


def imputed(recipe: Recipe) -> Any:
    from sklearn.impute import SimpleImputer

    return _fitted(recipe, SimpleImputer(**recipe.options), _class(recipe.objective)())


def _mixed_pipeline(recipe: Recipe, encoder: Any, model: Any) -> Any:
    """Texts encoded, numbers scaled."""
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import StandardScaler

    numbers = ["age", "spend", "rate", "visits"]
    return _fitted(
        recipe,
        ColumnTransformer([("texts", encoder, ["city", "plan"]), ("numbers", StandardScaler(), numbers)]),
        model,
    )


def mixed_one_hot(recipe: Recipe) -> Any:
    from sklearn.preprocessing import OneHotEncoder

    encoder = OneHotEncoder(**{"handle_unknown": "ignore", **recipe.options})
    return _mixed_pipeline(recipe, encoder, _class("LogisticRegression")(max_iter=300))


def mixed_one_hot_forest(recipe: Recipe) -> Any:
    from sklearn.preprocessing import OneHotEncoder

    forest = _class(recipe.objective)(n_estimators=8, max_depth=6, random_state=0)
    return _mixed_pipeline(recipe, OneHotEncoder(handle_unknown="ignore", sparse_output=False), forest)


def mixed_ordinal(recipe: Recipe) -> Any:
    from sklearn.preprocessing import OrdinalEncoder

    forest = _class(recipe.objective)(n_estimators=8, max_depth=6, random_state=0)
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return _mixed_pipeline(recipe, encoder, forest)


def binned(recipe: Recipe) -> Any:
    from sklearn.preprocessing import KBinsDiscretizer

    bins = KBinsDiscretizer(5, quantile_method="averaged_inverted_cdf", **recipe.options)
    return _fitted(recipe, bins, _class(recipe.objective)())


def _own_function(x: Any) -> Any:
    return x * 2


def function(recipe: Recipe) -> Any:
    from sklearn.preprocessing import FunctionTransformer

    name = recipe.options["function"]
    step = FunctionTransformer(_own_function if name == "own" else getattr(np, name))
    return _fitted(recipe, step, _class(recipe.objective)())


def projected(recipe: Recipe) -> Any:
    return _fitted(recipe, _class("StandardScaler")(), _class("PCA")(n_components=3), _class(recipe.objective)())


def _save_onnx(model: Any, path: Path, recipe: Recipe) -> None:
    import skl2onnx

    options = {id(model): {"zipmap": False}} if hasattr(model, "classes_") else None
    document = skl2onnx.to_onnx(
        model, numbers()[:1].astype(np.float32), options=options, target_opset=17, naming="", name="model"
    )
    path.write_bytes(document.SerializeToString())


def _save_skops(model: Any, path: Path, recipe: Recipe) -> None:
    import skops.io

    skops.io.dump(model, path)


def _save_pickle(model: Any, path: Path, recipe: Recipe) -> None:
    path.write_bytes(pickle.dumps(model))


def _save_joblib(model: Any, path: Path, recipe: Recipe) -> None:
    import joblib  # type: ignore[import-untyped]

    joblib.dump(model, path)


_SAVED: Mapping[str, Callable[[Any, Path, Recipe], None]] = {
    ".ubj": lambda model, path, _: model.save_model(path),
    ".xgboost.json": lambda model, path, _: model.save_model(path),
    ".txt": lambda model, path, _: getattr(model, "booster_", model).save_model(path),
    ".cbm": lambda model, path, _: model.save_model(str(path)),
    ".catboost.json": _save_catboost_json,
    ".onnx": _save_onnx,
    ".skops": _save_skops,
    ".pkl": _save_pickle,
    ".joblib": _save_joblib,
}

_BY_LIBRARY = {"xgboost": _xgboost, "lightgbm": _lightgbm, "catboost": _catboost, "scikit-learn": _sklearn}
