"""Transformers that mix columns: their results are values of the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.sources.sklearn.columns import Column
from nearhand_converters.sources.sklearn.distances import note_range
from nearhand_converters.sources.sklearn.library import finite
from nearhand_converters.sources.sklearn.scaling import shifted
from nearhand_converters.sources.sklearn.walk import Columns, Transform, Walk

MOST_PRODUCTS = 4096


def _projected(
    walk: Walk, columns: Columns, mean: NDArray[np.float64], components: NDArray[np.float64], place: str
) -> list[Column]:
    """(x − mean) @ components, [columns, outputs]."""
    around, rest = shifted(walk, columns, mean, place)
    value = walk.product(around, components, -rest @ components, place)
    return walk.dense(value, components.shape[1])


def _pca(walk: Walk, pca: Any, columns: Columns, place: str) -> list[Column]:
    components = finite(pca.components_, "components_", place).T
    variance = finite(pca.explained_variance_, "explained_variance_", place)
    mean = finite(pca.mean_, "mean_", place)
    deviation = np.sqrt(components**2 @ variance)
    note_range(walk, columns, np.stack([mean - 3 * deviation, mean + 3 * deviation]))
    if pca.whiten:
        components = components / np.maximum(np.sqrt(variance), np.finfo(np.float64).eps)
    return _projected(walk, columns, mean, components, place)


def _products(walk: Walk, model: Any, columns: Columns, place: str) -> list[Column]:
    components = finite(model.components_, "components_", place).T
    return walk.dense(walk.product(columns, components, np.zeros(components.shape[1]), place), components.shape[1])


def _discriminant(walk: Walk, model: Any, columns: Columns, place: str) -> list[Column]:
    if model.solver == "lsqr":
        raise UnsupportedModelError(
            "LinearDiscriminantAnalysis with the solver 'lsqr' does not transform",
            code="unsupported-transformer",
            place=place,
            remedy="train with solver='svd'",
        )
    scalings = finite(model.scalings_, "scalings_", place)[:, : model._max_components]
    mean = finite(model.xbar_, "xbar_", place) if model.solver == "svd" else np.zeros(len(scalings))
    return _projected(walk, columns, mean, scalings, place)


def _normalizer(walk: Walk, normalizer: Any, columns: Columns, place: str) -> list[Column]:
    x = walk.matrix(columns, place)
    if normalizer.norm == "max":
        size = walk.g.add("ReduceMax", walk.g.add("Abs", x), axes=[1], keepdims=1)
    elif normalizer.norm == "l1":
        size = walk.g.add("ReduceSum", walk.g.add("Abs", x), walk.ints(1), keepdims=1)
    else:
        size = walk.g.add("Sqrt", walk.g.add("ReduceSum", walk.g.add("Mul", x, x), walk.ints(1), keepdims=1))
    none = walk.g.add("Equal", size, walk.floats(0.0))
    scaled = walk.g.add("Div", x, walk.g.add("Where", none, walk.floats(1.0), size))
    return walk.dense(scaled, len(columns))


def _polynomial(walk: Walk, polynomial: Any, columns: Columns, place: str) -> list[Column]:
    powers = polynomial.powers_
    if len(powers) > MOST_PRODUCTS:
        raise UnsupportedModelError(
            f"PolynomialFeatures makes {len(powers)} columns, more than {MOST_PRODUCTS}",
            code="too-many-columns",
            place=place,
            remedy="lower the degree, or choose columns first",
        )
    numeric = walk.numeric(columns, place)
    degrees = powers.sum(axis=1)
    found: list[Column | None] = [None] * len(powers)
    for degree in sorted(set(degrees.tolist())):
        places = np.flatnonzero(degrees == degree)
        factors = [np.repeat(np.arange(len(numeric)), powers[i]) for i in places]
        if degree == 0:
            own: list[Column] = [walk.constant(1.0, numeric, place)]
        elif degree == 1:
            own = [numeric[int(factor[0])] for factor in factors]
        else:
            x = walk.matrix(numeric, place)
            parts = [walk.take(x, [int(f[k]) for f in factors], len(numeric)) for k in range(degree)]
            product = parts[0]
            for part in parts[1:]:
                product = walk.g.add("Mul", product, part)
            own = walk.dense(product, len(places))
        for i, column in zip(places, own, strict=True):
            found[i] = column
    return [column for column in found if column is not None]


TRANSFORMERS: dict[str, Transform] = {
    "GaussianRandomProjection": _products,
    "IncrementalPCA": _pca,
    "LinearDiscriminantAnalysis": _discriminant,
    "Normalizer": _normalizer,
    "PCA": _pca,
    "PolynomialFeatures": _polynomial,
    "SparseRandomProjection": _products,
    "TruncatedSVD": _products,
}
