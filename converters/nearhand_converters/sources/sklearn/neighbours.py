"""The nearest neighbours by brute force, in the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.sources.sklearn.distances import check_points, distances, exact_distances, metric_of
from nearhand_converters.sources.sklearn.library import finite
from nearhand_converters.sources.sklearn.linear import check_classes
from nearhand_converters.sources.sklearn.walk import Answer, Columns, Model, Value, Walk, lazily

_AT_ONCE = 500
_MOST_TIED = 0.5
_TOO_NEAR = 64
"""Times what a distance may be off by: nearer than that, float32 does not know the weight of a neighbour."""


def _mean_of_neighbours(walk: Walk, model: Any, columns: Columns, targets: NDArray[np.float64], place: str) -> Value:
    """The neighbours' targets, weighted, [batch, targets]; of equally near ones the first of the training rows.

    Args:
        targets: float64 [training rows, targets].
    """
    if model.weights not in ("uniform", "distance", None):
        raise UnsupportedModelError(
            "its weights are a function of its own, whose code does not run on a device",
            code="custom-function",
            place=place,
            remedy="use weights='uniform' or weights='distance'",
        )
    if hasattr(model._fit_X, "toarray"):
        raise UnsupportedModelError(
            "was trained on a sparse matrix", code="sparse-neighbours", place=place, remedy="train on a dense one"
        )
    points, metric = finite(model._fit_X, "the training rows", place), metric_of(model, place)
    check_points(points, place)
    count, g = int(model.n_neighbors), walk.g

    def mean() -> str:
        near = g.add("Neg", distances(walk, columns, points, metric, place))
        values, rows = g.add_many("TopK", 2, near, walk.ints(count), axis=1)
        own = g.add("Gather", walk.floats(targets), rows, axis=0)  # [batch, neighbours, targets]
        if model.weights != "distance":
            return g.add("ReduceMean", own, axes=[1], keepdims=0)
        distance = g.add("Neg", values)
        if metric == "euclidean":
            distance = g.add("Sqrt", distance)
        weights = g.add("Unsqueeze", _by_distance(walk, distance), walk.ints(2))
        total = g.add("ReduceSum", weights, walk.ints(1), keepdims=0)
        return g.add("Div", g.add("ReduceSum", g.add("Mul", own, weights), walk.ints(1), keepdims=0), total)

    return lazily(mean)


def _tied(model: Any, targets: NDArray[np.float64], place: str) -> Callable[[NDArray[np.float64]], NDArray[np.bool_]]:
    """Whether a row's last neighbour and the next one are equally far, as float32 sees it, and have other targets.

    Or whether a neighbour that is weighted by its distance is so near that it may as well be at 0.
    """
    points, metric, count = finite(model._fit_X, "the training rows", place), metric_of(model, place), model.n_neighbors

    def tied(rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        found = np.zeros(len(rows), np.bool_)
        for start in range(0, len(rows), _AT_ONCE):
            distance, error = exact_distances(rows[start : start + _AT_ONCE], points, metric)
            last = np.partition(distance, count - 1, axis=1)[:, count - 1, None]
            off = 2 * error + 2.0**-20 * last
            near, reached = np.abs(distance - last) <= off, (distance <= last + off).sum(axis=1)
            for row in np.flatnonzero(reached > count):
                found[start + row] = np.ptp(targets[near[row]], axis=0).any()
            if model.weights == "distance":
                nearest = distance.min(axis=1, keepdims=True)
                found[start : start + _AT_ONCE] |= ((nearest > 0) & (nearest < _TOO_NEAR * error))[:, 0]
        return found

    if tied(points[:_AT_ONCE]).mean() > _MOST_TIED:
        raise UnsupportedModelError(
            "most rows have neighbours that are equally far, and which of them count is chance",
            code="tied-neighbours",
            place=place,
            remedy="leave out duplicate training rows, scale the columns, or train another model",
        )
    return tied


def _by_distance(walk: Walk, distance: str) -> str:
    """1 / distance; in a row that has neighbours at 0, those have 1 and the others 0. [batch, neighbours]"""
    g, zero, one = walk.g, walk.floats(0.0), walk.floats(1.0)
    at = g.add("Equal", distance, zero)
    equal = g.add("Where", at, one, zero)
    inverse = g.add("Div", one, g.add("Where", at, one, distance))
    some = g.add("Greater", g.add("ReduceMax", equal, axes=[1], keepdims=1), zero)
    return g.add("Where", some, equal, inverse)


def _classifier(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    classes = check_classes(model, place)
    votes = np.eye(classes)[model._y.ravel()]
    probability = _mean_of_neighbours(walk, model, columns, votes, place)
    return Answer(probability=probability, tied=_tied(model, votes, place))


def _regressor(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    targets = finite(model._y, "the training targets", place).reshape(len(model._y), -1)
    return Answer(value=_mean_of_neighbours(walk, model, columns, targets, place), tied=_tied(model, targets, place))


MODELS: dict[str, Model] = {"KNeighborsClassifier": _classifier, "KNeighborsRegressor": _regressor}
