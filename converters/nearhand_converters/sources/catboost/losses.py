"""Which prediction each of CatBoost's losses makes: what the library's own ``predict`` and ``predict_proba`` give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.graph.links import Link
from nearhand_converters.sources.model import Task

_PLACE = "CatBoost model: loss"


@dataclass(frozen=True)
class Prediction:
    """What is done to a model's raw scores.

    Attributes:
        kind: the library's name of it.
    """

    task: Task
    link: Link
    kind: Literal["RawFormulaVal", "Exponent", "Probability"]


_VALUE = Prediction("regression", Link("identity"), "RawFormulaVal")
_EXPONENT = Prediction("regression", Link("exp"), "Exponent")
_RANK = Prediction("ranking", Link("identity"), "RawFormulaVal")
_BINARY = Prediction("binary", Link("sigmoid"), "Probability")

_PREDICTIONS: dict[str, Prediction] = {
    **dict.fromkeys(
        (
            "RMSE",
            "MAE",
            "Quantile",
            "LogLinQuantile",
            "MAPE",
            "RMSPE",
            "Lq",
            "Huber",
            "LogCosh",
            "Expectile",
            "SurvivalAft",
            "Cox",
            "MultiRMSE",
            "MultiRMSEWithMissingValues",
            "MultiQuantile",
        ),
        _VALUE,
    ),
    **dict.fromkeys(("Poisson", "Tweedie"), _EXPONENT),
    **dict.fromkeys(("Logloss", "CrossEntropy", "Focal"), _BINARY),
    "MultiClass": Prediction("multiclass", Link("softmax"), "Probability"),
    "MultiClassOneVsAll": Prediction("multiclass", Link("sigmoid"), "Probability"),
    **dict.fromkeys(
        (
            "YetiRank",
            "YetiRankPairwise",
            "PairLogit",
            "PairLogitPairwise",
            "QueryRMSE",
            "QuerySoftMax",
            "LambdaMart",
            "StochasticRank",
            "StochasticFilter",
            "GroupQuantile",
        ),
        _RANK,
    ),
}

_REFUSED = {
    "RMSEWithUncertainty": (
        "uncertainty",
        "predicts a variance beside each value",
        "train with RMSE, or with MultiQuantile for an interval",
    ),
    **dict.fromkeys(
        ("MultiLogloss", "MultiCrossEntropy"),
        ("multi-label", "gives several labels at once", "train one model with Logloss for each label"),
    ),
    **dict.fromkeys(
        ("PythonUserDefinedPerObject", "PythonUserDefinedMultiTarget", "UserPerObjMetric", "UserQuerywiseMetric"),
        (
            "custom-objective",
            "is code of its author's: what its scores mean is not in the model",
            "train with one of CatBoost's own losses",
        ),
    ),
}


def loss_of(document: Mapping[str, Any]) -> str:
    """The name of the loss that a model was trained with.

    Raises:
        UnsupportedModelError: the model does not say.
    """
    try:
        name = document["model_info"]["params"]["loss_function"]["type"]
    except (KeyError, TypeError):
        name = None
    if not isinstance(name, str):
        raise UnsupportedModelError(
            "is not in the model (a sum of models has none)",
            code="no-objective",
            place=_PLACE,
            remedy="convert the models by themselves",
        )
    return name


def prediction_of(loss: str) -> Prediction:
    """What a loss predicts.

    Raises:
        UnsupportedModelError: something that is not one of our tasks, or a loss that we do not know.
    """
    if loss in _PREDICTIONS:
        return _PREDICTIONS[loss]
    code, problem, remedy = _REFUSED.get(
        loss,
        ("objective", "is not one that is known here", "train with one of: " + ", ".join(sorted(_PREDICTIONS))),
    )
    raise UnsupportedModelError(f"{loss} {problem}", code=code, place=_PLACE, remedy=remedy)
