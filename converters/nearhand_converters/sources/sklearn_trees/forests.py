"""Estimators made of scikit-learn's ``Tree``: single trees, forests, bagging, gradient boosting and AdaBoost.

They round their inputs to float32 and go left where ``x <= threshold``, a float64; a node says where NaN goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.graph.links import Link
from nearhand_converters.graph.trees.form import Number, Trees
from nearhand_converters.sources.sklearn_trees.reading import Reading

_JUST_BELOW_HALF = float(np.nextafter(np.float32(0.5), np.float32(0)))
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class _Member:
    """One tree of an ensemble.

    Attributes:
        tree: scikit-learn's ``Tree``.
        values: float64 [nodes, outputs]: what its leaves add; nodes that are no leaves are ignored.
        output: the output it adds to, if it has one value.
        features: the estimator's features that it sees, where it does not see all of them.
    """

    tree: Any
    values: NDArray[np.float64]
    output: int = 0
    features: NDArray[np.integer] | None = None


def read_single(estimator: Any) -> Reading:
    """A decision tree or an extra tree."""
    return _mean(estimator, [estimator], None)


def read_forest(estimator: Any) -> Reading:
    """A random forest or extra trees: the mean of their trees."""
    return _mean(estimator, estimator.estimators_, None)


def read_bagging(estimator: Any) -> Reading | None:
    """The mean of trees that may each see some of the features, or know some of the classes; None: not of trees."""
    from sklearn import tree

    plain = (tree.DecisionTreeClassifier, tree.DecisionTreeRegressor, tree.ExtraTreeClassifier, tree.ExtraTreeRegressor)
    if not all(type(each) in plain for each in estimator.estimators_):
        return None
    return _mean(estimator, estimator.estimators_, estimator.estimators_features_)


def read_gradient_boosting(estimator: Any) -> Reading:
    """Gradient boosting from a constant start."""
    from sklearn.dummy import DummyClassifier, DummyRegressor

    start = estimator.init_
    constant = type(start) in (DummyClassifier, DummyRegressor) and start.strategy != "stratified"
    if not (constant or (isinstance(start, str) and start == "zero")):
        raise UnsupportedModelError(
            f"starts from {start}",
            code="boosting-init",
            place=type(estimator).__name__,
            remedy="train with init=None, init='zero' or a dummy estimator that gives a constant",
        )
    base = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), np.float32))[0]
    members = [
        _Member(each.tree_, estimator.learning_rate * each.tree_.value[:, 0, :1], output)
        for stage in estimator.estimators_
        for output, each in enumerate(stage)
    ]

    def apply(table: NDArray[Any]) -> NDArray[np.integer]:
        found: NDArray[np.integer] = estimator.apply(table).reshape(len(table), -1).astype(np.int64)
        return found

    trees = _trees(members, np.asarray(base, np.float64))
    if not hasattr(estimator, "classes_"):
        return Reading("regression", trees, Link("identity"), _numbered(trees, apply))
    if len(base) > 1:
        return Reading("multiclass", trees, Link("softmax"), _numbered(trees, apply))
    slope = {"log_loss": 1.0, "exponential": 2.0}[estimator.loss]
    # This one estimator gives the second class where the score is exactly 0.
    return Reading("binary", trees, Link("sigmoid", slope), _numbered(trees, apply), _JUST_BELOW_HALF)


def read_ada_boost(estimator: Any) -> Reading | None:
    """AdaBoost (SAMME) of classification trees: each votes with its weight; None: not of trees."""
    from sklearn import tree

    trees = estimator.estimators_
    if not all(type(each) in (tree.DecisionTreeClassifier, tree.ExtraTreeClassifier) for each in trees):
        return None
    total = estimator.estimator_weights_.sum()
    classes = len(estimator.classes_)
    members = []
    for each, weight in zip(trees, estimator.estimator_weights_, strict=False):  # there are zeros after an early stop
        own = each.tree_.value[:, 0, : len(each.classes_)].argmax(axis=1)
        chosen = np.searchsorted(estimator.classes_, each.classes_)[own]
        votes = np.where(chosen[:, None] == np.arange(classes), 1.0, -1 / (classes - 1)) * (weight / total)
        members.append(_Member(each.tree_, votes[:, 1:] * 2 if classes == 2 else votes / (classes - 1)))
    found = _trees(members, np.zeros(1 if classes == 2 else classes))
    apply = _numbered(found, lambda table: np.stack([each.apply(table) for each in trees], axis=1))
    if classes == 2:
        return Reading("binary", found, Link("sigmoid"), apply)
    return Reading("multiclass", found, Link("softmax"), apply)


def _mean(estimator: Any, estimators: Sequence[Any], features: Iterable[NDArray[np.integer]] | None) -> Reading:
    seen = [None] * len(estimators) if features is None else list(features)
    classes = getattr(estimator, "classes_", None)
    members = []
    for each, own in zip(estimators, seen, strict=True):
        value = each.tree_.value
        if classes is None:
            values = value[:, :, 0]
        else:
            values = np.zeros((len(value), len(classes)))
            # Bagging trains its trees on the places of the classes, and one may never have seen some of them.
            known = slice(None) if len(each.classes_) == len(classes) else each.classes_
            values[:, known] = value[:, 0, : len(each.classes_)]
            values = values[:, 1:] if len(classes) == 2 else values
        members.append(_Member(each.tree_, values / len(estimators), features=own))
    trees = _trees(members, np.zeros(members[0].values.shape[1]))

    def apply(table: NDArray[Any]) -> NDArray[np.integer]:
        parts = [
            each.apply(table if own is None else table[:, own]) for each, own in zip(estimators, seen, strict=True)
        ]
        return np.stack(parts, axis=1)

    if classes is None:
        return Reading("regression", trees, Link("identity"), _numbered(trees, apply))
    return Reading("binary" if len(classes) == 2 else "multiclass", trees, Link("identity"), _numbered(trees, apply))


def _numbered(
    trees: Trees, apply: Callable[[NDArray[Any]], NDArray[np.integer]]
) -> Callable[[NDArray[Any]], NDArray[np.integer]]:
    """scikit-learn numbers the nodes of each tree from 0."""
    return lambda table: apply(table) + trees.roots


def _trees(members: Sequence[_Member], base: NDArray[np.float64]) -> Trees:
    """The neutral form; the nodes of each tree keep their order."""
    sizes = [member.tree.node_count for member in members]
    roots = np.cumsum([0, *sizes[:-1]])
    feature = np.concatenate([_features(member) for member in members]).astype(np.int64)
    leaf = np.concatenate([member.tree.children_left < 0 for member in members])
    place = np.arange(len(leaf))
    start = np.repeat(roots, sizes)
    left = np.concatenate([member.tree.children_left for member in members]) + start
    right = np.concatenate([member.tree.children_right for member in members]) + start
    nan_right = ~np.concatenate([member.tree.missing_go_to_left for member in members]).astype(np.bool_)
    asked, column = np.unique((2 * feature + nan_right)[~leaf], return_inverse=True)
    columns = np.zeros(len(leaf), np.int32)
    columns[~leaf] = column
    # A split of NaN against everything else has the threshold +inf; here NaN itself is +inf, and has to be above it.
    threshold = np.minimum(np.concatenate([member.tree.threshold for member in members]), _LARGEST)
    values = np.concatenate([member.values for member in members])
    return Trees(
        columns=tuple(Number(int(each) // 2, np.inf if each % 2 else -np.inf) for each in asked),
        roots=roots.astype(np.int32),
        column=columns,
        threshold=np.where(leaf, np.inf, threshold),
        left=np.where(leaf, place, left).astype(np.int32),
        right=np.where(leaf, place, right).astype(np.int32),
        values=np.where(leaf[:, None], values, 0.0),
        output=np.array([member.output for member in members], np.int32),
        base=base,
        precision="float32",
    )


def _features(member: _Member) -> NDArray[np.integer]:
    """Of each node; a leaf has one too, any."""
    feature: NDArray[np.integer] = np.maximum(member.tree.feature, 0)
    return feature if member.features is None else np.asarray(member.features)[feature]
