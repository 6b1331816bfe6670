"""From a fitted estimator to a :class:`~nearhand_converters.sources.tree_model.TreeModel`, or a refusal."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import SourceError, UnsupportedModelError
from nearhand_converters.sources.model import InputColumn, Outputs, Rows
from nearhand_converters.sources.sklearn_trees.forests import (
    read_ada_boost,
    read_bagging,
    read_forest,
    read_gradient_boosting,
    read_single,
)
from nearhand_converters.sources.sklearn_trees.histogram import category_columns, known_categories, read_histogram
from nearhand_converters.sources.sklearn_trees.reading import Reading, Table
from nearhand_converters.sources.texts import text_of
from nearhand_converters.sources.tree_model import TreeModel

_READERS: dict[str, Callable[[Any], Reading | None]] = {
    "sklearn.tree._classes.DecisionTreeClassifier": read_single,
    "sklearn.tree._classes.DecisionTreeRegressor": read_single,
    "sklearn.tree._classes.ExtraTreeClassifier": read_single,
    "sklearn.tree._classes.ExtraTreeRegressor": read_single,
    "sklearn.ensemble._forest.RandomForestClassifier": read_forest,
    "sklearn.ensemble._forest.RandomForestRegressor": read_forest,
    "sklearn.ensemble._forest.ExtraTreesClassifier": read_forest,
    "sklearn.ensemble._forest.ExtraTreesRegressor": read_forest,
    "sklearn.ensemble._bagging.BaggingClassifier": read_bagging,
    "sklearn.ensemble._bagging.BaggingRegressor": read_bagging,
    "sklearn.ensemble._gb.GradientBoostingClassifier": read_gradient_boosting,
    "sklearn.ensemble._gb.GradientBoostingRegressor": read_gradient_boosting,
    "sklearn.ensemble._weight_boosting.AdaBoostClassifier": read_ada_boost,
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier": read_histogram,
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingRegressor": read_histogram,
}

_REFUSED = {
    "sklearn.ensemble._weight_boosting.AdaBoostRegressor": (
        "weighted-median",
        "predicts a weighted median of its trees, which is no sum",
        "train a GradientBoostingRegressor",
    ),
    "sklearn.ensemble._iforest.IsolationForest": (
        "anomaly-score",
        "gives anomaly scores, which are no kind of prediction here",
        "train a classifier on its labels",
    ),
    "sklearn.ensemble._forest.RandomTreesEmbedding": (
        "tree-embedding",
        "gives one column for each leaf, not a prediction",
        "train a forest on the target",
    ),
}


def sklearn_tree_model(estimator: Any, columns: tuple[InputColumn, ...] | None) -> TreeModel | None:
    """A fitted tree estimator of scikit-learn's own; None: it is not one.

    A float64 number beyond the largest float32, or an infinite one, is refused by the estimators that round to float32.
    A HistGradientBoosting estimator takes +inf: if it was trained with missing values, +inf goes where NaN goes.

    Args:
        columns: what the estimator's inputs are, if it stands in a pipeline; None: they are its own table's. A column
            that the estimator treats as categories has to be a category column, with as many categories as the
            estimator has found, in the order of its encoder's numbers.

    Raises:
        SourceError: it is not fitted.
        UnsupportedModelError: it predicts what trees with a link do not.
    """
    kind = f"{type(estimator).__module__}.{type(estimator).__qualname__}"
    name = type(estimator).__name__
    if kind in _REFUSED:
        code, problem, remedy = _REFUSED[kind]
        raise UnsupportedModelError(problem, code=code, place=name, remedy=remedy)
    if kind not in _READERS:
        return None
    _check_fitted(estimator)
    _check_outputs(estimator)
    found = _READERS[kind](estimator)
    if found is None:
        return None
    reading, table = found, _table(estimator, columns)
    classes = tuple(text_of(value, f"{name}: classes_") for value in getattr(estimator, "classes_", ()))
    objective = getattr(estimator, "loss", None) or getattr(estimator, "criterion", "")
    return TreeModel(
        source=f"scikit-learn {name} {objective}".rstrip(),
        columns=table.columns,
        task=reading.task,
        classes=classes,
        trees=reading.trees,
        link=reading.link,
        original=lambda rows: _predict(estimator, table.of(rows)),
        original_leaves=lambda rows: _quietly(reading.apply, table.of(rows)),
        label_above=reading.label_above,
        missing_allowed=_takes_missing(estimator, table),
    )


def _check_fitted(estimator: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise SourceError("is not fitted", place=type(estimator).__name__, remedy="call its fit first") from error


def _check_outputs(estimator: Any) -> None:
    place = type(estimator).__name__
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        loss = getattr(estimator, "loss", "")
        if not isinstance(loss, str):
            raise _custom_loss(place, loss)
        return
    if getattr(estimator, "n_outputs_", 1) > 1:
        raise UnsupportedModelError(
            f"predicts {estimator.n_outputs_} classes at once",
            code="multi-output-classifier",
            place=place,
            remedy="train one classifier for each target",
        )
    if len(classes) < 2:
        raise UnsupportedModelError(
            f"knows one class only, {classes[0]!r}",
            code="one-class",
            place=place,
            remedy="train on two classes or more",
        )
    if not isinstance(getattr(estimator, "loss", ""), str):
        raise _custom_loss(place, estimator.loss)


def _custom_loss(place: str, loss: object) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"has the loss {type(loss).__name__}, an object",
        code="custom-loss",
        place=place,
        remedy="train with one of the losses that scikit-learn names",
    )


def _table(estimator: Any, columns: tuple[InputColumn, ...] | None) -> Table:
    place = type(estimator).__name__
    categories: dict[int, list[Any]] = {}
    if getattr(estimator, "is_categorical_", None) is not None:
        categories = category_columns(estimator)
    known = {column: known_categories(found) for column, found in categories.items()}
    values = tuple(values for _, values in known.values())
    count = int(estimator.n_features_in_)
    if columns is None:
        names = getattr(estimator, "feature_names_in_", [f"x{i}" for i in range(count)])
        own = []
        for i, name in enumerate(names):
            texts = tuple(text_of(value, f"{place}: column {name!r}") for value in known[i][0]) if i in known else ()
            if len(set(texts)) < len(texts):
                raise UnsupportedModelError(
                    "has different categories with the same text",
                    code="category-texts",
                    place=f"{place}: column {name!r}",
                    remedy="train on texts",
                )
            own.append(InputColumn(str(name), "category" if i in known else "number", texts))
        return Table(tuple(own), values)
    if len(columns) != count:
        raise ValueError(f"{len(columns)} columns for an estimator of {count}")
    for i, column in enumerate(columns):
        if (column.kind == "category") != (i in known) or (i in known and len(column.categories) != len(known[i][0])):
            raise UnsupportedModelError(
                f"treats column {column.name!r} as {'categories' if i in known else 'a number'}, which it is not here",
                code="category-mismatch",
                place=place,
                remedy="let the estimator see the categories themselves (categorical_features='from_dtype')",
            )
    return Table(columns, values)


def _predict(estimator: Any, table: NDArray[Any]) -> Outputs:
    if not hasattr(estimator, "classes_"):
        return {"value": _quietly(estimator.predict, table).reshape(len(table), -1)}
    label = np.searchsorted(estimator.classes_, _quietly(estimator.predict, table))
    return {"probability": _quietly(estimator.predict_proba, table), "label": label.astype(np.int32)}


def _quietly(call: Callable[[NDArray[Any]], NDArray[Any]], table: NDArray[Any]) -> NDArray[Any]:
    """The table has the training table's columns, without their names.

    scikit-learn adds up all numbers to see whether one is infinite; sums of large ones are, and then it looks again.
    """
    with warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore"):
        warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
        return call(table)


def _takes_missing(estimator: Any, table: Table) -> bool:
    """Whether the estimator predicts for NaN: some classes refuse it, some only with some options."""
    numbers = sum(column.kind == "number" for column in table.columns)
    row = Rows(np.full((1, numbers), np.nan), np.zeros((1, len(table.columns) - numbers), np.int32))
    try:
        _quietly(estimator.predict, table.of(row))
    except ValueError:
        return False
    return True
