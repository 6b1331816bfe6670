"""Support vector machines: a kernel of the row with each support vector, and a weighted sum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.sources.sklearn.distances import check_points, distances, note_range
from nearhand_converters.sources.sklearn.library import class_name, finite
from nearhand_converters.sources.sklearn.linear import check_classes, label_of_scores
from nearhand_converters.sources.sklearn.walk import Answer, Columns, Model, Value, Walk, lazily


def _sums(walk: Walk, model: Any, columns: Columns, place: str) -> Value:
    """The decision function of two classes, or the value of a regression, [batch, 1]."""
    if not isinstance(model.kernel, str) or model.kernel not in ("linear", "poly", "rbf", "sigmoid"):
        raise UnsupportedModelError(
            f"{class_name(model)} has the kernel {model.kernel!r}",
            code="custom-function",
            place=place,
            remedy="use the kernel 'linear', 'poly', 'rbf' or 'sigmoid'",
        )
    if hasattr(model.support_vectors_, "toarray"):
        raise UnsupportedModelError(
            "was trained on a sparse matrix", code="sparse-neighbours", place=place, remedy="train on a dense one"
        )
    points = finite(model.support_vectors_, "support_vectors_", place)
    weights = finite(model.dual_coef_, "dual_coef_", place).T
    bias = finite(model.intercept_, "intercept_", place)
    check_points(points, place)
    order = _mixed(weights[:, 0])
    points, weights = points[order], weights[order]
    note_range(walk, columns, points)
    gamma, shift = float(model._gamma), float(model.coef0)

    def value() -> str:
        g = walk.g
        if model.kernel == "linear":
            return walk.product(columns, points.T @ weights, bias, place)
        if model.kernel == "rbf":
            squares = distances(walk, columns, points, "euclidean", place)
            kernel = g.add("Exp", g.add("Mul", squares, walk.floats(-gamma)))
        else:
            inner = walk.product(columns, points.T * gamma, shift + 0 * points[:, 0], place)
            kernel = g.add("Tanh", inner) if model.kernel == "sigmoid" else inner
            if model.kernel == "poly":
                for _ in range(model.degree - 1):
                    kernel = g.add("Mul", kernel, inner)
        # In parts, then the parts: a sum of n numbers one after another loses √n times as much.
        each = math.isqrt(len(weights)) + 1
        parts = np.zeros((len(weights), each))
        parts[np.arange(len(parts)), np.arange(len(parts)) // each] = weights[:, 0]
        sums = g.add("ReduceSum", g.add("MatMul", kernel, walk.floats(parts)), walk.ints(1), keepdims=1)
        return g.add("Add", sums, walk.floats(bias))

    return lazily(value)


def _mixed(weights: NDArray[np.float64]) -> NDArray[np.intp]:
    """An order in which positive and negative weights take turns.

    scikit-learn has all of one class first: their sum in float32 is large before the other class takes it back.
    """
    turn = np.empty(len(weights))
    for side in (weights > 0, weights <= 0):
        turn[side] = (np.arange(side.sum()) + 0.5) / max(side.sum(), 1)
    return np.argsort(turn, kind="stable")


def _regressor(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    return Answer(value=_sums(walk, model, columns, place))


def _classifier(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    if check_classes(model, place) > 2:
        raise UnsupportedModelError(
            f"{class_name(model)} lets each pair of its {len(model.classes_)} classes vote",
            code="one-versus-one",
            place=place,
            remedy=f"train OneVsRestClassifier({class_name(model)}())",
        )
    scores = _sums(walk, model, columns, place)
    return Answer(scores=scores, label=label_of_scores(walk, scores, 2))


MODELS: dict[str, Model] = {"NuSVC": _classifier, "NuSVR": _regressor, "SVC": _classifier, "SVR": _regressor}
