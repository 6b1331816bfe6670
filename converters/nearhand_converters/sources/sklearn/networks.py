"""Multi-layer perceptrons."""

from __future__ import annotations

from typing import Any

from nearhand_converters.graph.links import Link, apply_link, threshold_label
from nearhand_converters.sources.sklearn.library import finite
from nearhand_converters.sources.sklearn.linear import binary, check_classes
from nearhand_converters.sources.sklearn.walk import Answer, Columns, Model, Value, Walk, lazily

_OPERATORS = {"tanh": "Tanh", "relu": "Relu"}


def _layers(walk: Walk, model: Any, columns: Columns, place: str) -> Value:
    """The last layer's sums, before its activation, [batch, outputs]."""
    weights = [finite(each, f"coefs_[{i}]", place) for i, each in enumerate(model.coefs_)]
    biases = [finite(each, f"intercepts_[{i}]", place) for i, each in enumerate(model.intercepts_)]

    def last() -> str:
        value = walk.product(columns, weights[0], biases[0], place)
        for weight, bias in zip(weights[1:], biases[1:], strict=True):
            if model.activation == "logistic":
                value = apply_link(walk.g, value, Link("sigmoid"))
            elif model.activation != "identity":
                value = walk.g.add(_OPERATORS[model.activation], value)
            value = walk.g.add("Gemm", value, walk.floats(weight), walk.floats(bias))
        return value

    return lazily(last)


def _classifier(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    classes = check_classes(model, place)
    sums = _layers(walk, model, columns, place)
    if classes == 2:
        second = lazily(lambda: apply_link(walk.g, sums(), Link("sigmoid")))
        label = lazily(lambda: threshold_label(walk.g, sums(), 0.0))
        return Answer(probability=binary(walk, second), label=label, log_odds=sums)
    return Answer(probability=lazily(lambda: apply_link(walk.g, sums(), Link("softmax"))))


def _regressor(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    sums = _layers(walk, model, columns, place)
    return Answer(value=lazily(lambda: walk.g.add("Exp", sums())) if model.out_activation_ == "exp" else sums)


MODELS: dict[str, Model] = {"MLPClassifier": _classifier, "MLPRegressor": _regressor}
