"""Linear models: one product, then what each class makes of the scores."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.graph.links import Link, apply_link, arg_max_label, binary_probability, threshold_label
from nearhand_converters.sources.sklearn.library import class_name, finite
from nearhand_converters.sources.sklearn.walk import Answer, Columns, Model, Value, Walk, lazily


def check_classes(model: Any, place: str) -> int:
    """The number of classes of a classifier of one target, at least two.

    Raises:
        UnsupportedModelError: it has several targets, or knows one class only.
    """
    classes = model.classes_
    several = isinstance(classes, list) or getattr(model, "multilabel_", False)
    binarizer = getattr(model, "_label_binarizer", None) or getattr(model, "label_binarizer_", None)
    if several or (binarizer is not None and str(getattr(binarizer, "y_type_", "")).startswith("multilabel")):
        raise UnsupportedModelError(
            f"{class_name(model)} predicts several classes at once",
            code="multi-output-classifier",
            place=place,
            remedy="train one classifier for each target",
        )
    if len(classes) < 2:
        raise UnsupportedModelError(
            f"{class_name(model)} knows one class only, {classes[0]!r}",
            code="one-class",
            place=place,
            remedy="train on two classes or more",
        )
    return len(classes)


def binary(walk: Walk, second: Value) -> Value:
    """[1 − p, p] of the second class's probability [batch, 1]."""
    return lazily(lambda: binary_probability(walk.g, second()))


def normalized(walk: Walk, value: str, classes: int) -> str:
    """Each row divided by its sum; where that is 0, equal shares: float32 [batch, classes]."""
    total = walk.g.add("ReduceSum", value, walk.ints(1), keepdims=1)
    none = walk.g.add("Equal", total, walk.floats(0.0))
    quotient = walk.g.add("Div", value, walk.g.add("Where", none, walk.floats(1.0), total))
    return walk.g.add("Where", none, walk.floats(np.full((1, classes), 1 / classes)), quotient)


def _scores(walk: Walk, model: Any, columns: Columns, place: str) -> Value:
    """The decision function [batch, 1] or [batch, classes], or the value of a regression [batch, targets]."""
    weights = np.atleast_2d(finite(model.coef_, "coef_", place)).T
    bias = np.broadcast_to(finite(model.intercept_, "intercept_", place), weights.shape[1:])
    return lazily(lambda: walk.product(columns, weights, np.array(bias), place))


def label_of_scores(walk: Walk, scores: Value, classes: int) -> Value:
    """The second class where the score is above 0; of more than two, the one with the largest."""
    if classes == 2:
        return lazily(lambda: threshold_label(walk.g, scores(), 0.0))
    return lazily(lambda: arg_max_label(walk.g, scores()))


def _decision(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    classes = check_classes(model, place)
    scores = _scores(walk, model, columns, place)
    return Answer(scores=scores, label=label_of_scores(walk, scores, classes))


def _softmax_classifier(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    """Logistic regression and linear discriminant analysis: a sigmoid for two classes, else a softmax."""
    classes = check_classes(model, place)
    rest = getattr(model, "multi_class", "auto") == "ovr" or getattr(model, "solver", "") == "liblinear"
    if classes > 2 and rest:
        raise UnsupportedModelError(
            f"{class_name(model)} has several classes one against the rest, as only old versions of scikit-learn do",
            code="one-versus-rest-option",
            place=place,
            remedy="train OneVsRestClassifier(LogisticRegression())",
        )
    scores = _scores(walk, model, columns, place)
    label = label_of_scores(walk, scores, classes)
    if classes == 2:
        return _logistic(walk, scores, label)
    return Answer(scores, lazily(lambda: apply_link(walk.g, scores(), Link("softmax"))), label)


def _logistic(walk: Walk, scores: Value, label: Value) -> Answer:
    """Two classes, whose scores are log-odds."""
    second = lazily(lambda: apply_link(walk.g, scores(), Link("sigmoid")))
    return Answer(scores, binary(walk, second), label, log_odds=scores)


_NO_SIGMOID = -709.782712893384
"""At and below it, scikit-learn's sigmoid is 0."""


def sigmoids_normalized(
    walk: Walk, scores: str, if_none: NDArray[np.float64], columns: NDArray[np.float64] | None = None
) -> str:
    """Sigmoids divided by their sum, as the softmax of their logarithms: they may all be too small for float32.

    Args:
        if_none: [1, classes], where they are all too small for float64 too.
        columns: [scores, classes], 1 where a score is that of a class; None: they are in the classes' order.
    """
    minus_logarithms = apply_link(walk.g, walk.g.add("Neg", scores), Link("log1p_exp"))
    shares = apply_link(walk.g, walk.g.add("Neg", minus_logarithms), Link("softmax"))
    if columns is not None:
        shares = walk.g.add("MatMul", shares, walk.floats(columns))
    none = walk.g.add("Less", walk.g.add("ReduceMax", scores, axes=[1], keepdims=1), walk.floats(_NO_SIGMOID))
    return walk.g.add("Where", none, walk.floats(if_none), shares)


def _sgd_classifier(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    classes = check_classes(model, place)
    scores = _scores(walk, model, columns, place)
    label = label_of_scores(walk, scores, classes)
    if model.loss == "log_loss" and classes == 2:
        return _logistic(walk, scores, label)
    if model.loss == "log_loss":
        probability = lazily(lambda: sigmoids_normalized(walk, scores(), np.full((1, classes), 1 / classes)))
    elif model.loss == "modified_huber":
        probability = _modified_huber(walk, scores, classes)
    else:
        return Answer(scores=scores, label=label)
    return Answer(scores, probability, label)


def _modified_huber(walk: Walk, scores: Value, classes: int) -> Value:
    def each() -> str:
        clipped = walk.g.add("Min", walk.g.add("Max", scores(), walk.floats(-1.0)), walk.floats(1.0))
        return walk.g.add("Mul", walk.g.add("Add", clipped, walk.floats(1.0)), walk.floats(0.5))

    if classes == 2:
        return binary(walk, lazily(each))
    return lazily(lambda: normalized(walk, each(), classes))


def _regression(walk: Walk, model: Any, columns: Columns, place: str, *, link: str = "identity") -> Answer:
    value = _scores(walk, model, columns, place)
    if link == "log":
        return Answer(value=lazily(lambda: walk.g.add("Exp", value())))
    return Answer(value=value)


def _tweedie(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    link = model.link
    if link == "auto":
        link = "identity" if model.power <= 0 else "log"
    return _regression(walk, model, columns, place, link=link)


_DECISIONS = ("LinearSVC", "PassiveAggressiveClassifier", "Perceptron", "RidgeClassifier", "RidgeClassifierCV")
_REGRESSIONS = (
    "ARDRegression",
    "BayesianRidge",
    "ElasticNet",
    "ElasticNetCV",
    "HuberRegressor",
    "Lars",
    "LarsCV",
    "Lasso",
    "LassoCV",
    "LassoLars",
    "LassoLarsCV",
    "LassoLarsIC",
    "LinearRegression",
    "LinearSVR",
    "MultiTaskElasticNet",
    "MultiTaskElasticNetCV",
    "MultiTaskLasso",
    "MultiTaskLassoCV",
    "OrthogonalMatchingPursuit",
    "OrthogonalMatchingPursuitCV",
    "PassiveAggressiveRegressor",
    "QuantileRegressor",
    "Ridge",
    "RidgeCV",
    "SGDRegressor",
    "TheilSenRegressor",
)
_LOG = functools.partial(_regression, link="log")

MODELS: dict[str, Model] = {
    **dict.fromkeys(_DECISIONS, _decision),
    **dict.fromkeys(_REGRESSIONS, _regression),
    "GammaRegressor": _LOG,
    "LinearDiscriminantAnalysis": _softmax_classifier,
    "LogisticRegression": _softmax_classifier,
    "LogisticRegressionCV": _softmax_classifier,
    "PoissonRegressor": _LOG,
    "SGDClassifier": _sgd_classifier,
    "TweedieRegressor": _tweedie,
}
