"""Clusters: the nearest centre, and for DBSCAN the nearest core sample."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.graph.links import arg_max_label
from nearhand_converters.sources.sklearn.columns import Column
from nearhand_converters.sources.sklearn.distances import distances, exact_distances, metric_of
from nearhand_converters.sources.sklearn.library import class_name, finite, parts_of
from nearhand_converters.sources.sklearn.walk import Answer, Columns, Model, Transform, Walk, lazily


def with_wide_centres(estimator: Any) -> Any:
    """The estimator, or a copy whose k-means fitted on float32 have their centres as float64.

    Without that scikit-learn refuses float64 rows for them, and every original here is asked in float64.
    """
    if not any(_is_narrow(part) for part in parts_of(estimator)):
        return estimator
    estimator = copy.deepcopy(estimator)
    for part in parts_of(estimator):
        if _is_narrow(part):
            part.cluster_centers_ = part.cluster_centers_.astype(np.float64)
    return estimator


def _is_narrow(part: Any) -> bool:
    return class_name(part) in ("KMeans", "MiniBatchKMeans") and (
        getattr(getattr(part, "cluster_centers_", None), "dtype", None) == np.float32
    )


def _centres(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    centres = finite(model.cluster_centers_, "cluster_centers_", place)
    squares = lazily(lambda: distances(walk, columns, centres, "euclidean", place))
    return Answer(
        label=lazily(lambda: arg_max_label(walk.g, walk.g.add("Neg", squares()))),
        distance=lazily(lambda: walk.g.add("Sqrt", squares())),
    )


def _distances_to_centres(walk: Walk, model: Any, columns: Columns, place: str) -> list[Column]:
    distance = _centres(walk, model, columns, place).distance
    assert distance is not None
    return walk.dense(distance(), len(model.cluster_centers_))


def _dbscan(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    """DBSCAN has no predict: the cluster of the nearest core sample if that is within eps, else −1."""
    points, metric = finite(model.components_, "components_", place), metric_of(model, place)
    if not len(points):
        raise UnsupportedModelError(
            "DBSCAN found no core sample", code="no-core-samples", place=place, remedy="raise eps or lower min_samples"
        )
    limit = model.eps**2 if metric == "euclidean" else model.eps
    cluster = model.labels_[model.core_sample_indices_].astype(np.int32)

    def label() -> str:
        far = walk.g.add("Neg", distances(walk, columns, points, metric, place))
        nearest = walk.g.add("Gather", walk.g.constant(cluster), arg_max_label(walk.g, far), axis=0)
        outside = walk.g.add("Less", walk.g.add("ReduceMax", far, axes=[1], keepdims=0), walk.floats(-limit))
        return walk.g.add("Where", outside, walk.g.constant(np.array(-1, np.int32)), nearest)

    def tied(rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        distance, error = exact_distances(rows, points, metric)
        least = distance.min(axis=1, keepdims=True)
        near = distance <= least + 2 * error
        several = np.array([len(np.unique(cluster[own])) > 1 for own in near])
        at_edge: NDArray[np.bool_] = (np.abs(least - model.eps) <= 2 * error)[:, 0]
        return several | at_edge

    return Answer(label=lazily(label), tied=tied)


TRANSFORMERS: dict[str, Transform] = {
    "KMeans": _distances_to_centres,
    "MiniBatchKMeans": _distances_to_centres,
}
MODELS: dict[str, Model] = {"DBSCAN": _dbscan, "KMeans": _centres, "MiniBatchKMeans": _centres}
