"""Calibrated classifiers and isotonic regression."""

from __future__ import annotations

from typing import Any

import numpy as np

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.graph.links import Link, apply_link, binary_probability
from nearhand_converters.sources.sklearn.distances import note_range
from nearhand_converters.sources.sklearn.library import class_name, finite
from nearhand_converters.sources.sklearn.linear import check_classes, normalized, sigmoids_normalized
from nearhand_converters.sources.sklearn.walk import Answer, Columns, Model, Walk, lazily


def _calibrated(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    classes = check_classes(model, place)
    members = [
        _member(walk, member, columns, f"{place}.calibrated_classifiers_[{i}]", classes)
        for i, member in enumerate(model.calibrated_classifiers_)
    ]
    return Answer(probability=lazily(lambda: mean_of(walk, members, np.ones(len(members)))))


def mean_of(walk: Walk, values: list[str], weights: Any) -> str:
    """The weighted mean of values of one shape."""
    share = np.asarray(weights, np.float64) / np.sum(weights)
    total = ""
    for value, own in zip(values, share.tolist(), strict=True):
        part = value if own == 1 else walk.g.add("Mul", value, walk.floats(own))
        total = walk.g.add("Add", total, part) if total else part
    return total


def check_decision(estimator: Any, answer: Answer, place: str) -> None:
    """Raises if scikit-learn would ask for a decision function that we do not have."""
    if answer.scores is None and hasattr(estimator, "decision_function"):
        raise UnsupportedModelError(
            f"needs the decision function of {class_name(estimator)}",
            code="unsupported-estimator",
            place=place,
            remedy="use a linear model, GradientBoostingClassifier or a forest",
        )


def _member(walk: Walk, member: Any, columns: Columns, place: str, classes: int) -> str:
    """One calibrated classifier's probability, [batch, classes]."""
    answer = walk.answer(member.estimator, columns, place)
    check_decision(member.estimator, answer, place)
    response = answer.scores or answer.probability
    if response is None:
        raise UnsupportedModelError(
            f"calibrates {class_name(member.estimator)}, which gives neither scores nor probabilities",
            code="unsupported-estimator",
            place=place,
            remedy="calibrate a classifier that gives scores",
        )
    value = response()
    is_score = answer.scores is not None
    if member.method == "temperature":
        return _tempered(walk, value, float(member.calibrators[0].beta_), classes, is_score)
    if classes == 2 and not is_score:
        value = walk.take(value, [1], 2)
    at = np.searchsorted(member.classes, member.estimator.classes_)
    # A fold may never have seen some class.
    places = None if list(at) == list(range(classes)) else np.eye(classes)[at]
    if member.method == "sigmoid":
        scores = _log_odds(walk, member.calibrators, value, place)
        if classes > 2:
            return sigmoids_normalized(walk, scores, np.full((1, classes), 1 / classes), places)
        return binary_probability(walk.g, apply_link(walk.g, scores, Link("sigmoid")))
    each = [walk.take(value, [i], len(member.calibrators)) for i in range(len(member.calibrators))]
    pieces = [_piecewise(walk, own, column, place) for own, column in zip(member.calibrators, each, strict=True)]
    if classes == 2:
        return binary_probability(walk.g, pieces[0])
    calibrated = walk.joined(pieces)
    if places is not None:
        calibrated = walk.g.add("MatMul", calibrated, walk.floats(places))
    return normalized(walk, calibrated, classes)


def _log_odds(walk: Walk, calibrators: list[Any], value: str, place: str) -> str:
    """What the sigmoids are of, [batch, calibrators]."""
    slope = finite([[calibrator.a_ for calibrator in calibrators]], "a_", place)
    offset = finite([[calibrator.b_ for calibrator in calibrators]], "b_", place)
    return walk.g.add("Add", walk.g.add("Mul", value, walk.floats(-slope)), walk.floats(-offset))


def _tempered(walk: Walk, value: str, beta: float, classes: int, is_score: bool) -> str:
    if is_score and classes == 2:
        return binary_probability(walk.g, apply_link(walk.g, value, Link("sigmoid", 2 * beta)))
    if not is_score:
        value = walk.g.add("Log", walk.g.add("Add", value, walk.floats(1e-12)))
    return apply_link(walk.g, walk.g.add("Mul", value, walk.floats(beta)), Link("softmax"))


def _piecewise(walk: Walk, isotonic: Any, x: str, place: str) -> str:
    """An isotonic regression of a column [batch, 1]: a line between its thresholds, level outside.

    As a sum of the rises of all pieces, away from the threshold whose value is nearest to 0: to its right each piece
    goes from 0 to its whole, to its left from 0 to minus its whole. Nothing is looked up, and nothing cancels.
    """
    if isotonic.out_of_bounds != "clip":
        raise UnsupportedModelError(
            f"IsotonicRegression has out_of_bounds={isotonic.out_of_bounds!r}",
            code="out-of-bounds",
            place=place,
            remedy="train with out_of_bounds='clip'",
        )
    at = finite(isotonic.X_thresholds_, "X_thresholds_", place)
    values = finite(isotonic.y_thresholds_, "y_thresholds_", place)
    if len(at) == 1:
        at, values = np.array([at[0], at[0] + 1]), np.repeat(values, 2)
    low, high = walk.floats(at[None, :1]), walk.floats(at[None, -1:])
    inside = walk.g.add("Min", walk.g.add("Max", x, low), high)
    with np.errstate(over="ignore"):
        steep = np.minimum(1 / np.diff(at), np.finfo(np.float32).max)
    start = int(np.abs(values).argmin())
    left = np.arange(len(at) - 1) < start
    part = walk.g.add("Sub", inside, walk.floats(np.where(left, at[1:], at[:-1])[None]))
    part = walk.g.add("Mul", part, walk.floats(steep[None]))
    part = walk.g.add("Max", part, walk.floats(np.where(left, -1.0, 0.0)[None]))
    part = walk.g.add("Min", part, walk.floats(np.where(left, 0.0, 1.0)[None]))
    return walk.g.add("Gemm", part, walk.floats(np.diff(values)[:, None]), walk.floats(values[start : start + 1]))


def _isotonic(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    note_range(walk, columns, np.asarray(model.X_thresholds_, np.float64)[:, None])
    return Answer(value=lazily(lambda: _piecewise(walk, model, walk.matrix(columns, place), place)))


MODELS: dict[str, Model] = {"CalibratedClassifierCV": _calibrated, "IsotonicRegression": _isotonic}
