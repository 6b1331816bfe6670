"""Histogram-based gradient boosting: float64 thresholds, categories by bit sets, NaN either way.

An estimator with categories encodes them itself: its table's category columns come first in what its trees see.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.graph.links import Link, LinkKind
from nearhand_converters.graph.trees.form import Column, Membership, Number, Trees
from nearhand_converters.sources.model import FIRST_KNOWN, MISSING, UNKNOWN, Task
from nearhand_converters.sources.sklearn_trees.reading import Reading, category_values

_LINKS: dict[str, LinkKind] = {
    "squared_error": "identity",
    "absolute_error": "identity",
    "quantile": "identity",
    "poisson": "exp",
    "gamma": "exp",
}
_LARGEST = float(np.finfo(np.float64).max)


def category_columns(estimator: Any) -> dict[int, list[Any]]:
    """For each category column of the table, what the estimator's encoder has found, in the order of its numbers."""
    if estimator.is_categorical_ is None:
        return {}
    encoder = estimator._preprocessor.named_transformers_["encoder"]
    columns = np.flatnonzero(estimator.is_categorical_)
    return {int(column): list(found) for column, found in zip(columns, encoder.categories_, strict=True)}


def known_categories(found: list[Any]) -> tuple[list[Any], NDArray[np.object_]]:
    """The known categories, and what all the codes of such a column stand for.

    The encoder puts None and NaN last; NaN is missing to the trees, but None is a category like any other.
    """
    known = [value for value in found if value is not None and value == value]  # noqa: PLR0124, NaN is not itself
    return known, category_values(known, None if None in found[len(known) :] else np.nan)


def read_histogram(estimator: Any) -> Reading:
    """Histogram-based gradient boosting."""
    iterations = estimator._predictors
    predictors = [predictor for iteration in iterations for predictor in iteration]
    trees = _trees(estimator, predictors, [output for each in iterations for output in range(len(each))])

    def apply(table: NDArray[Any]) -> NDArray[np.integer]:
        from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

        seen = estimator._preprocess_X(table, reset=False)
        known, place = estimator._bin_mapper.make_known_categories_bitsets()
        found = np.empty((len(table), len(predictors)), np.int64)
        for tree, predictor in enumerate(predictors):
            # The library routes rows but does not say where to: let each node's value be its number.
            nodes = predictor.nodes.copy()
            nodes["value"] = np.arange(len(nodes)) + trees.roots[tree]
            numbered = TreePredictor(nodes, predictor.binned_left_cat_bitsets, predictor.raw_left_cat_bitsets)
            found[:, tree] = numbered.predict(seen, known, place, 1)
        return found

    if not hasattr(estimator, "classes_"):
        return Reading("regression", trees, Link(_LINKS[estimator.loss]), apply)
    task: Task = "binary" if len(trees.base) == 1 else "multiclass"
    return Reading(task, trees, Link("sigmoid" if task == "binary" else "softmax"), apply)


def _trees(estimator: Any, predictors: list[Any], output: list[int]) -> Trees:
    nodes = np.concatenate([predictor.nodes for predictor in predictors])
    sizes = [len(predictor.nodes) for predictor in predictors]
    roots = np.cumsum([0, *sizes[:-1]])
    leaf = nodes["is_leaf"].astype(np.bool_)
    place, start = np.arange(len(nodes)), np.repeat(roots, sizes)
    columns = _Columns(estimator)
    column = np.zeros(len(nodes), np.int32)
    for tree, predictor in enumerate(predictors):
        for node in np.flatnonzero(leaf[roots[tree] : roots[tree] + sizes[tree]] == 0):
            column[roots[tree] + node] = columns.place(predictor.nodes[node], predictor.raw_left_cat_bitsets)
    # A split of NaN against everything else has the threshold +inf; here NaN itself is +inf, and has to be above it.
    threshold = np.where(nodes["is_categorical"], 0.5, np.minimum(nodes["num_threshold"], _LARGEST))
    return Trees(
        columns=columns.found,
        roots=roots.astype(np.int32),
        column=column,
        threshold=np.where(leaf, np.inf, threshold),
        left=np.where(leaf, place, nodes["left"] + start).astype(np.int32),
        right=np.where(leaf, place, nodes["right"] + start).astype(np.int32),
        values=np.where(leaf, nodes["value"], 0.0)[:, None],
        output=np.array(output, np.int32),
        base=np.asarray(estimator._baseline_prediction, np.float64).reshape(-1),
        precision="float64",
    )


class _Columns:
    """The columns that the nodes ask about, each once."""

    def __init__(self, estimator: Any) -> None:
        categorical = estimator.is_categorical_
        features = estimator.n_features_in_
        is_category = np.zeros(features, np.bool_) if categorical is None else np.asarray(categorical)
        order = np.concatenate([np.flatnonzero(is_category), np.flatnonzero(~is_category)])
        among_kind = np.where(is_category, np.cumsum(is_category), np.cumsum(~is_category)) - 1
        self._feature = among_kind[order]
        """For each feature as the trees see it: its place among the table's numbers, or among its categories."""
        self._categories = list(category_columns(estimator).values())
        self._places: dict[Column, int] = {}

    @property
    def found(self) -> tuple[Column, ...]:
        return tuple(self._places)

    def place(self, node: Any, bitsets: NDArray[np.uint32]) -> int:
        """The place of a split's column among those found."""
        feature = int(self._feature[node["feature_idx"]])
        nan_left = bool(node["missing_go_to_left"])
        column: Column
        if node["is_categorical"]:
            column = Membership(feature, self._right(feature, bitsets[node["bitset_idx"]], nan_left))
        else:
            column = Number(feature, -np.inf if nan_left else np.inf)
        return self._places.setdefault(column, len(self._places))

    def _right(self, feature: int, bits: NDArray[np.uint32], nan_left: bool) -> tuple[int, ...]:
        """The codes that go right: known ones that are not in the set; unknown ones go where NaN goes."""
        found = self._categories[feature]
        known, values = known_categories(found)
        right = [FIRST_KNOWN + i for i in range(len(known)) if not bits[i // 32] >> (i % 32) & 1]
        i = len(known)
        none_left = nan_left if values[MISSING] is not None else bool(bits[i // 32] >> (i % 32) & 1)
        return tuple(([] if none_left else [MISSING]) + ([] if nan_left else [UNKNOWN]) + right)
