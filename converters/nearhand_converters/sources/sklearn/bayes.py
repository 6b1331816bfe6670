"""Naive Bayes: joint log-likelihoods, then a softmax."""

from __future__ import annotations

from typing import Any

import numpy as np

from nearhand_converters.graph.links import Link, apply_link, arg_max_label
from nearhand_converters.sources.sklearn.distances import note_range
from nearhand_converters.sources.sklearn.library import finite
from nearhand_converters.sources.sklearn.linear import check_classes
from nearhand_converters.sources.sklearn.scaling import jumping, shifted
from nearhand_converters.sources.sklearn.walk import Answer, Columns, Model, Value, Walk, lazily


def _answer(walk: Walk, likelihood: Value, classes: int) -> Answer:
    difference = walk.floats([[-1.0], [1.0]])
    return Answer(
        log_odds=lazily(lambda: walk.g.add("MatMul", likelihood(), difference)) if classes == 2 else None,
        probability=lazily(lambda: apply_link(walk.g, likelihood(), Link("softmax"))),
        label=lazily(lambda: arg_max_label(walk.g, likelihood())),
    )


def _gaussian(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    classes = check_classes(model, place)
    means, variances = finite(model.theta_, "theta_", place), finite(model.var_, "var_", place)
    constant = np.log(finite(model.class_prior_, "class_prior_", place)) - 0.5 * np.log(2 * np.pi * variances).sum(
        axis=1
    )
    scale = np.sqrt(0.5 / variances)

    away_from = 4 * np.sqrt(variances)
    note_range(walk, columns, np.concatenate([means - away_from, means + away_from]))

    def likelihood() -> str:
        middle = means.mean(axis=0)
        around, rest = shifted(walk, columns, middle, place)
        own = means - middle + rest
        x = walk.g.add("Unsqueeze", walk.matrix(around, place), walk.ints(1))
        away = walk.g.add("Mul", walk.g.add("Sub", x, walk.floats(own[None])), walk.floats(scale[None]))
        squares = walk.g.add("Mul", away, away)  # [batch, classes, columns]
        # A column that is far from all classes says nothing of them, but would be all that float32 keeps of the sum.
        more = walk.g.add("Sub", squares, walk.g.add("ReduceMin", squares, axes=[1], keepdims=1))
        return walk.g.add("Sub", walk.floats(constant[None]), walk.g.add("ReduceSum", more, walk.ints(2), keepdims=0))

    return _answer(walk, lazily(likelihood), classes)


def _bernoulli(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    classes = check_classes(model, place)
    logs = finite(model.feature_log_prob_, "feature_log_prob_", place)
    without = np.log1p(-np.exp(logs))
    bias = finite(model.class_log_prior_, "class_log_prior_", place) + without.sum(axis=1)
    if model.binarize is not None:
        columns = jumping(walk, columns, float(model.binarize), place)
    return _answer(walk, lazily(lambda: walk.product(columns, (logs - without).T, bias, place)), classes)


def _multinomial(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    classes = check_classes(model, place)
    logs = finite(model.feature_log_prob_, "feature_log_prob_", place)
    bias = finite(model.class_log_prior_, "class_log_prior_", place)
    return _answer(walk, lazily(lambda: walk.product(columns, logs.T, bias, place)), classes)


def _complement(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    classes = check_classes(model, place)
    logs = finite(model.feature_log_prob_, "feature_log_prob_", place)
    return _answer(walk, lazily(lambda: walk.product(columns, logs.T, np.zeros(len(logs)), place)), classes)


MODELS: dict[str, Model] = {
    "BernoulliNB": _bernoulli,
    "ComplementNB": _complement,
    "GaussianNB": _gaussian,
    "MultinomialNB": _multinomial,
}
