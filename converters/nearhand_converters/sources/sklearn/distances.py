"""Distances from rows to stored points, as sums of squared differences: they keep the precision of small distances."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.sources.sklearn.scaling import shifted
from nearhand_converters.sources.sklearn.walk import Columns, Walk

MOST_NUMBERS = 1 << 20
"""Points × columns that a model may store: 4 MB."""
MOST_COLUMNS = 256
_AT_ONCE = 4096
"""Points × columns up to which all differences of a row are made at once."""


def distances(walk: Walk, columns: Columns, points: NDArray[np.float64], metric: str, place: str) -> str:
    """Euclidean distances squared, or Manhattan ones, float32 [batch, points].

    Args:
        points: float64 [points, columns].
        metric: ``euclidean`` or ``manhattan``.

    Raises:
        UnsupportedModelError: there are too many points.
    """
    check_points(points, place)
    width = points.shape[1]
    note_range(walk, columns, points)
    around, rest = shifted(walk, columns, points.mean(axis=0), place)
    x = walk.matrix(around, place)
    points = points - points.mean(axis=0) + rest
    if points.size <= _AT_ONCE:
        difference = walk.g.add("Sub", walk.g.add("Unsqueeze", x, walk.ints(1)), walk.floats(points[None]))
        return walk.g.add("ReduceSum", _measure(walk, difference, metric), walk.ints(2), keepdims=0)
    total = ""
    for i in range(width):
        difference = walk.g.add("Sub", walk.take(x, [i], width), walk.floats(points[None, :, i]))
        part = _measure(walk, difference, metric)
        total = walk.g.add("Add", total, part) if total else part
    return total


def check_points(points: NDArray[np.float64], place: str) -> None:
    """Raises UnsupportedModelError if a device should not store so many."""
    count, width = points.shape
    if points.size > MOST_NUMBERS or width > MOST_COLUMNS:
        raise UnsupportedModelError(
            f"stores {count} points of {width} columns, more than {MOST_NUMBERS} numbers or {MOST_COLUMNS} columns",
            code="too-many-points",
            place=place,
            remedy="keep fewer points (a sample, or KMeans centres), or project them with PCA first",
        )


def note_range(walk: Walk, columns: Columns, points: NDArray[np.float64]) -> None:
    """The columns usually are where the points are, and a little around."""
    margin = np.ptp(points, axis=0) / 4
    for column, *ends in zip(columns, points.min(axis=0) - margin, points.max(axis=0) + margin, strict=False):
        walk.usually(column, *map(float, ends))


def exact_distances(
    rows: NDArray[np.float64], points: NDArray[np.float64], metric: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances in float64 [rows, points], and what :func:`distances` may be off by in float32, [rows, 1]."""
    middle = points.mean(axis=0)
    found = np.zeros((len(rows), len(points)))
    for column, own in zip(rows.T, points.T, strict=True):
        difference = np.abs(column[:, None] - own)
        found += difference if metric == "manhattan" else difference**2
    found = found if metric == "manhattan" else np.sqrt(found)
    size = np.abs(rows - middle).sum(axis=1, keepdims=True) + np.abs(points - middle).sum(axis=1).max()
    return found, 2.0**-22 * (size + rows.shape[1] * found.min(axis=1, keepdims=True))


def _measure(walk: Walk, difference: str, metric: str) -> str:
    return walk.g.add("Abs", difference) if metric == "manhattan" else walk.g.add("Mul", difference, difference)


def metric_of(model: Any, place: str) -> str:
    """``euclidean`` or ``manhattan``.

    Raises:
        UnsupportedModelError: it is another.
    """
    metric = getattr(model, "effective_metric_", model.metric)
    parameters = getattr(model, "effective_metric_params_", model.metric_params) or {}
    if metric == "minkowski":
        power = parameters.get("p", model.p) or 2
        metric = {1: "manhattan", 2: "euclidean"}.get(power, f"minkowski with p={power}")
    known = {"euclidean": "euclidean", "l2": "euclidean", "manhattan": "manhattan", "l1": "manhattan"}
    known["cityblock"] = "manhattan"
    if not isinstance(metric, str) or metric not in known or parameters.get("w") is not None:
        raise UnsupportedModelError(
            f"{type(model).__name__} measures distances by {metric}",
            code="metric",
            place=place,
            remedy="use the metric 'euclidean' or 'manhattan'",
        )
    return known[metric]
