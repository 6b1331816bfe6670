"""How each row of the matrix is trained: small models, one thread, seeded."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.conformance import matrix_sklearn
from tests.conformance.matrix_data import GROUPS, ROWS, Recipe, data, groups, numbers, whole


def train(recipe: Recipe, folder: Path) -> Any:
    """The fitted model; or its file, in ``folder``."""
    maker = _MAKERS[recipe.make or recipe.library]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of training libraries, about how small these models are
        model = maker(recipe)
    if not recipe.file:
        return model
    path = folder / f"model{recipe.file}"
    _SAVED[recipe.file](model, path, recipe)
    return path


# --- XGBoost ---------------------------------------------------------------------------------------------------------

_XGBOOST = {"n_estimators": 8, "max_depth": 4, "n_jobs": 1, "random_state": 0, "tree_method": "hist"}


def _xgboost(recipe: Recipe, **fit: Any) -> Any:
    import xgboost

    table, target = data(recipe)
    options = {key: list(value) if isinstance(value, tuple) else value for key, value in recipe.options.items()}
    model = getattr(xgboost, recipe.name)(objective=recipe.objective, **{**_XGBOOST, **options})
    if recipe.name == "XGBRanker":
        fit["qid"] = groups()
    return model.fit(table, whole(target), **fit)


def _xgboost_early_stopping(recipe: Recipe) -> Any:
    """Trained beyond its best round."""
    import xgboost

    table, target = data(recipe)
    label = whole(target)
    options = {**_XGBOOST, "n_estimators": 60, "learning_rate": 0.8, "early_stopping_rounds": 5}
    model = xgboost.XGBClassifier(objective=recipe.objective, **options)
    model.fit(table[:200], label[:200], eval_set=[(table[200:], label[200:])], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    return model


def _matrix(recipe: Recipe) -> Any:
    import xgboost

    table, target = data(recipe)
    matrix = xgboost.DMatrix(table)
    if recipe.target == "interval":
        matrix.set_float_info("label_lower_bound", target[:, 0])
        matrix.set_float_info("label_upper_bound", target[:, 1])
    else:
        matrix.set_label(whole(target))
    if recipe.target == "relevance":
        matrix.set_group(np.bincount(groups()))
    return matrix


def _xgboost_booster(recipe: Recipe) -> Any:
    import xgboost

    options = {"objective": recipe.objective, "max_depth": 4, "nthread": 1, "seed": 0, **recipe.options}
    return xgboost.train(options, _matrix(recipe), 8)


def _xgboost_own_objective(recipe: Recipe) -> Any:
    import xgboost

    def own(predicted: NDArray[Any], matrix: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        return np.tanh(predicted - matrix.get_label()), np.ones_like(predicted)

    return xgboost.train({"max_depth": 4, "nthread": 1}, _matrix(recipe), 8, obj=own)


def _scaled_xgboost(recipe: Recipe) -> Any:
    import xgboost
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    table, target = data(recipe)
    return make_pipeline(StandardScaler(), xgboost.XGBClassifier(**_XGBOOST)).fit(table, whole(target))


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

    table, target = data(recipe)
    model = getattr(lightgbm, recipe.name)(objective=recipe.objective, **{**_LIGHTGBM, **recipe.options})
    if recipe.name == "LGBMRanker":
        fit["group"] = np.bincount(groups())
    return model.fit(table, target, **fit)


def _lightgbm_early_stopping(recipe: Recipe) -> Any:
    """A booster that still has the rounds after its best one."""
    import lightgbm

    table, target = data(recipe)
    label = whole(target)
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


def _lightgbm_booster(recipe: Recipe) -> Any:
    import lightgbm

    table, target = data(recipe)
    options = {"objective": recipe.objective, "num_leaves": 15, "num_threads": 1, "seed": 0, "verbose": -1}
    return lightgbm.train(options, lightgbm.Dataset(table, target), 8)


def _lightgbm_own_objective(recipe: Recipe) -> Any:
    import lightgbm

    def own(predicted: NDArray[Any], data: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        return np.tanh(predicted - data.get_label()), np.ones_like(predicted)

    table, target = data(recipe)
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

    table, target = data(recipe)
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
    model.save_model(str(path), format="json", pool=catboost.Pool(data(recipe)[0], cat_features=cat_features))


def _pairs(relevance: NDArray[np.int64]) -> list[tuple[int, int]]:
    """In each list the first row with every less relevant one."""
    size = ROWS // GROUPS
    return [
        (start, start + i)
        for start in range(0, ROWS, size)
        for i in range(1, size)
        if relevance[start + i] < relevance[start]
    ]


def _catboost_early_stopping(recipe: Recipe) -> Any:
    """Trained beyond its best round, which CatBoost then forgets."""
    import catboost

    table, target = data(recipe)
    model = catboost.CatBoostClassifier(
        loss_function=recipe.objective, **{**_CATBOOST, "iterations": 60, "learning_rate": 0.8}
    )
    model.fit(table[:200], target[:200], eval_set=(table[200:], target[200:]), early_stopping_rounds=5)
    assert model.tree_count_ < 60
    return model


class _OwnLoss:
    """A squared error that CatBoost calls back for."""

    def calc_ders_range(self, predicted: Any, target: Any, weights: Any) -> list[tuple[float, float]]:
        return [(wanted - found, -1.0) for found, wanted in zip(predicted, target, strict=True)]


def _catboost_own_objective(recipe: Recipe) -> Any:
    import catboost

    model = catboost.CatBoostRegressor(loss_function=_OwnLoss(), eval_metric="RMSE", **{**_CATBOOST, "iterations": 2})
    return model.fit(*data(recipe))


def _catboost_scale_and_bias(recipe: Recipe) -> Any:
    model = _catboost(recipe)
    model.set_scale_and_bias(0.5, 0.25)
    return model


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

_MAKERS: Mapping[str, Callable[[Recipe], Any]] = {
    "xgboost": _xgboost,
    "xgboost_booster": _xgboost_booster,
    "xgboost_early_stopping": _xgboost_early_stopping,
    "xgboost_own_objective": _xgboost_own_objective,
    "scaled_xgboost": _scaled_xgboost,
    "lightgbm": _lightgbm,
    "lightgbm_booster": _lightgbm_booster,
    "lightgbm_early_stopping": _lightgbm_early_stopping,
    "lightgbm_own_objective": _lightgbm_own_objective,
    "catboost": _catboost,
    "catboost_early_stopping": _catboost_early_stopping,
    "catboost_own_objective": _catboost_own_objective,
    "catboost_scale_and_bias": _catboost_scale_and_bias,
    **matrix_sklearn.MAKERS,
}
