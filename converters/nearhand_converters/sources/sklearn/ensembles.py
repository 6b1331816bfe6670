"""Models made of other models: one against the rest, votes, stacks, transformed targets; and constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.graph.links import arg_max_label, threshold_label
from nearhand_converters.sources.sklearn.calibration import check_decision, mean_of
from nearhand_converters.sources.sklearn.columns import Column, Operation, Step
from nearhand_converters.sources.sklearn.library import class_name, finite
from nearhand_converters.sources.sklearn.linear import binary, check_classes, sigmoids_normalized
from nearhand_converters.sources.sklearn.operations import FUNCTIONS, function_name
from nearhand_converters.sources.sklearn.scaling import elementwise
from nearhand_converters.sources.sklearn.walk import Answer, Columns, Model, Value, Walk, lazily


def _needed(value: Value | None, model: Any, what: str, place: str) -> Value:
    if value is None:
        raise _gives_none(model, what, place)
    return value


def _gives_none(model: Any, what: str, place: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"needs {what} of {class_name(model)}, which gives none",
        code="unsupported-estimator",
        place=place,
        remedy=f"use an estimator that gives {what}",
    )


def _one_versus_rest(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    classes = check_classes(model, place)
    own = [f"{place}.estimators_[{i}]" for i in range(len(model.estimators_))]
    answers = [walk.answer(each, columns, at) for each, at in zip(model.estimators_, own, strict=True)]
    for each, answer, at in zip(model.estimators_, answers, own, strict=True):
        check_decision(each, answer, at)
    scores = probability = None
    if all(answer.scores for answer in answers):
        scores = lazily(lambda: walk.joined([answer.scores() for answer in answers if answer.scores]))

    def second() -> str:
        return walk.joined([walk.take(answer.probability(), [1], 2) for answer in answers if answer.probability])

    if classes > 2 and all(answer.log_odds for answer in answers):
        odds = lazily(lambda: walk.joined([answer.log_odds() for answer in answers if answer.log_odds]))
        probability = lazily(lambda: sigmoids_normalized(walk, odds(), np.zeros((1, classes))))
    elif all(answer.probability for answer in answers):
        probability = lazily(lambda: _normalized_or_zero(walk, second()))
        probability = binary(walk, lazily(second)) if classes == 2 else probability
    elif scores is None:
        raise _gives_none(model.estimators_[0], "scores or probabilities", own[0])
    decides = scores or lazily(second)
    if classes == 2:
        limit = 0.0 if scores else 0.5
        return Answer(scores, probability, lazily(lambda: threshold_label(walk.g, decides(), limit)))
    return Answer(scores, probability, lazily(lambda: arg_max_label(walk.g, decides())))


def _normalized_or_zero(walk: Walk, value: str) -> str:
    """Each row divided by its sum, unless that is 0."""
    total = walk.g.add("ReduceSum", value, walk.ints(1), keepdims=1)
    none = walk.g.add("Equal", total, walk.floats(0.0))
    return walk.g.add("Div", value, walk.g.add("Where", none, walk.floats(1.0), total))


def _never_or_always(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    """What stands in OneVsRestClassifier for a class that every row, or no row, had."""
    always = float(model.y_[0])
    return Answer(
        scores=lazily(lambda: _same(walk, columns, np.array([always]), place)),
        probability=lazily(lambda: _same(walk, columns, np.array([1 - always, always]), place)),
    )


def _same(walk: Walk, columns: Columns, values: Any, place: str) -> str:
    """These values in every row: [batch, values]."""
    return walk.matrix([walk.constant(value, columns, place) for value in np.asarray(values).tolist()], place)


def _voting_classifier(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    check_classes(model, place)
    if model.voting != "soft":
        raise UnsupportedModelError(
            "VotingClassifier counts votes, and gives neither scores nor probabilities",
            code="hard-voting",
            place=place,
            remedy="train with voting='soft'",
        )
    probabilities = [
        _needed(walk.answer(each, columns, own).probability, each, "probabilities", own)
        for each, own in zip(model.estimators_, _members(model, place), strict=True)
    ]
    weights = model._weights_not_none or np.ones(len(probabilities))
    return Answer(probability=lazily(lambda: mean_of(walk, [value() for value in probabilities], weights)))


def _voting_regressor(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    values = [
        _needed(walk.answer(each, columns, own).value, each, "predictions", own)
        for each, own in zip(model.estimators_, _members(model, place), strict=True)
    ]
    weights = model._weights_not_none or np.ones(len(values))
    return Answer(value=lazily(lambda: mean_of(walk, [value() for value in values], weights)))


def _members(model: Any, place: str) -> list[str]:
    return [f"{place} / {name}" for name, each in model.estimators if not isinstance(each, str)]


def _stacking(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    found: list[Column] = []
    two = len(getattr(model, "classes_", ())) == 2
    for each, method, own in zip(model.estimators_, model.stack_method_, _members(model, place), strict=True):
        answer = walk.answer(each, columns, own)
        if method == "predict_proba":
            value = _needed(answer.probability, each, "probabilities", own)()
            width = len(each.classes_)
            found += walk.dense(value, width)[1 if two else 0 :]
        elif method == "decision_function":
            found += walk.dense(_needed(answer.scores, each, "scores", own)(), 1 if two else len(each.classes_))
        else:
            found += walk.dense(_needed(answer.value, each, "predicted numbers", own)(), 1)
    if model.passthrough:
        found += columns
    if hasattr(model, "classes_"):
        check_classes(model, place)
    # What reaches the last model is nothing that the pipeline's own steps have made.
    return replace(walk.answer(model.final_estimator_, found, f"{place}.final_estimator_"), tree=None, tied=None)


def _transformed_target(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    inner = f"{place}.regressor_"
    value = _needed(walk.answer(model.regressor_, columns, inner).value, model.regressor_, "predictions", inner)
    width = int(model.transformer_.n_features_in_)
    steps = _inverse(model.transformer_, width, f"{place}.transformer_")

    def back() -> str:
        own = f"{place}.transformer_"
        return walk.matrix(elementwise(walk, walk.dense(value(), width), steps, own), own)

    return Answer(value=lazily(back))


def _inverse(transformer: Any, width: int, place: str) -> list[Step]:
    """What a target's transformer does backwards, as steps on values of the graph."""
    name = class_name(transformer)
    operations: list[Operation]
    if name == "FunctionTransformer":
        if transformer.inverse_func is None:
            return [Step((), _not_asked, 1)] * width
        function = function_name(transformer.inverse_func)
        if function is None or transformer.inv_kw_args:
            raise UnsupportedModelError(
                f"the target's inverse is {getattr(transformer.inverse_func, '__name__', '?')!r}, "
                "whose code does not run on a device",
                code="custom-function",
                place=place,
                remedy="use one of numpy's " + ", ".join(sorted(FUNCTIONS)),
            )
        operations = [Operation("function", name=function)] * width
    elif name in _INVERSES:
        centre, scale, offset = (np.broadcast_to(each, width) for each in _INVERSES[name](transformer, place))
        operations = [Operation("affine", each) for each in zip(centre, scale, offset, strict=True)]
    else:
        raise UnsupportedModelError(
            f"the target's transformer is {name}",
            code="unsupported-transformer",
            place=place,
            remedy="use func and inverse_func, StandardScaler, RobustScaler, MinMaxScaler or MaxAbsScaler",
        )
    return [Step((operation,), _not_asked, 1) for operation in operations]


def _not_asked(x: Any) -> Any:
    raise AssertionError("a target is a value of the graph")


def _standard(scaler: Any, place: str) -> tuple[Any, Any, Any]:
    scale = 1.0 if scaler.scale_ is None else finite(scaler.scale_, "scale_", place)
    return 0.0, scale, finite(scaler.mean_, "mean_", place) if scaler.with_mean else 0.0


def _robust(scaler: Any, place: str) -> tuple[Any, Any, Any]:
    scale = finite(scaler.scale_, "scale_", place) if scaler.with_scaling else 1.0
    return 0.0, scale, finite(scaler.center_, "center_", place) if scaler.with_centering else 0.0


def _min_max(scaler: Any, place: str) -> tuple[Any, Any, Any]:
    return finite(scaler.min_, "min_", place), 1 / finite(scaler.scale_, "scale_", place), 0.0


def _max_abs(scaler: Any, place: str) -> tuple[Any, Any, Any]:
    return 0.0, finite(scaler.scale_, "scale_", place), 0.0


_INVERSES: dict[str, Callable[[Any, str], tuple[Any, Any, Any]]] = {
    "MaxAbsScaler": _max_abs,
    "MinMaxScaler": _min_max,
    "RobustScaler": _robust,
    "StandardScaler": _standard,
}


def _frozen(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    return walk.answer(model.estimator, columns, f"{place}.estimator")


def _dummy_classifier(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    classes = check_classes(model, place)
    if model.strategy not in ("prior", "most_frequent", "constant"):
        raise UnsupportedModelError(
            f"DummyClassifier guesses ({model.strategy})",
            code="random-predictions",
            place=place,
            remedy="use strategy='prior'",
        )
    prior = finite(model.class_prior_, "class_prior_", place)
    if model.strategy == "most_frequent":
        prior = np.eye(classes)[prior.argmax()]
    elif model.strategy == "constant":
        prior = (model.classes_ == model.constant).astype(np.float64)
    return Answer(probability=lazily(lambda: _same(walk, columns, prior, place)))


def _dummy_regressor(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    constant = finite(model.constant_, "constant_", place).ravel()
    return Answer(value=lazily(lambda: _same(walk, columns, constant, place)))


MODELS: dict[str, Model] = {
    "DummyClassifier": _dummy_classifier,
    "DummyRegressor": _dummy_regressor,
    "FrozenEstimator": _frozen,
    "OneVsRestClassifier": _one_versus_rest,
    "StackingClassifier": _stacking,
    "StackingRegressor": _stacking,
    "TransformedTargetRegressor": _transformed_target,
    "VotingClassifier": _voting_classifier,
    "VotingRegressor": _voting_regressor,
    "_ConstantPredictor": _never_or_always,
}
