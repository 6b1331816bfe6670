"""Checks of a loaded model's contents that scikit-learn itself does not make before it indexes memory by them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import SourceError
from nearhand_converters.sources.sklearn.library import class_name, parts_of


def check_contents(model: Any, place: str) -> None:
    """Refuse trees whose nodes or columns are not there, and support vectors whose counts do not fit.

    A file may hold any numbers, and scikit-learn reads memory where they point to. Its trees for neighbours are made
    anew from the training rows.

    Raises:
        SourceError: names the class.
    """
    for part in parts_of(model):
        own = vars(part)
        name = class_name(part)
        if name == "TreePredictor" or "tree_" in own:
            fits = _tree_fits(part, own["tree_"]) if "tree_" in own else _nodes_fit(part.nodes)
        elif "_predictors" in own:
            fits = all(_predictor_fits(part, predictor) for stage in part._predictors for predictor in stage)
        elif "_n_support" in own:
            fits = _support_fits(part)
        else:
            fits = True
        if not fits:
            raise SourceError(
                f"{name} is damaged: its parts point to what is not there", place=place, remedy="save the model again"
            )
        if own.get("_tree") is not None:
            options = part.effective_metric_params_ or {}
            part._tree = type(part._tree)(
                part._fit_X, leaf_size=part.leaf_size, metric=part.effective_metric_, **options
            )


def _tree_fits(estimator: Any, tree: Any) -> bool:
    inner = tree.children_left != -1
    width = int(tree.n_features)
    return (
        int(estimator.n_features_in_) == width
        and _children_fit(tree.children_left, tree.children_right, inner)
        and _within(tree.feature[inner], width)
    )


def _nodes_fit(nodes: NDArray[Any]) -> bool:
    return _children_fit(nodes["left"].astype(np.int64), nodes["right"].astype(np.int64), nodes["is_leaf"] == 0)


def _predictor_fits(estimator: Any, predictor: Any) -> bool:
    """The columns and the sets of categories of a histogram's tree; its nodes are checked by themselves."""
    inner = predictor.nodes[predictor.nodes["is_leaf"] == 0]
    width = int(estimator.n_features_in_)
    if int(estimator._n_features) != width or not _within(inner["feature_idx"], width):
        return False
    sets = inner[inner["is_categorical"] != 0]
    categorical = estimator.is_categorical_
    return len(sets) == 0 or (
        categorical is not None
        and len(categorical) == width
        and bool(np.all(categorical[sets["feature_idx"]]))
        and _within(sets["bitset_idx"], len(predictor.raw_left_cat_bitsets))
    )


def _children_fit(left: NDArray[Any], right: NDArray[Any], inner: NDArray[np.bool_]) -> bool:
    """Whether the children of inner nodes are there and come after them, so that every way ends."""
    place = np.flatnonzero(inner)
    return all(_within(side[inner], len(side)) and bool((side[inner] > place).all()) for side in (left, right))


def _within(values: NDArray[Any], size: int) -> bool:
    return bool(((values >= 0) & (values < size)).all())


def _support_fits(model: Any) -> bool:
    count = model.support_vectors_.shape[0]
    classes = max(len(model._n_support) - 1, 1) if hasattr(model, "classes_") else 1
    return bool(
        int(np.sum(model._n_support[: classes + 1] if hasattr(model, "classes_") else model._n_support[:1])) == count
        and model.support_vectors_.shape[1] == model.n_features_in_
        and model._dual_coef_.shape == (classes, count)
        and len(model.support_) == count
        and len(model._intercept_) >= classes * (classes + 1) // 2
    )
