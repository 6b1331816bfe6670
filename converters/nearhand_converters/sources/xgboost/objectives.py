"""XGBoost's objectives: how a raw score becomes a prediction, and ``base_score`` a raw score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.graph.links import Link
from nearhand_converters.sources.boosted import Role
from nearhand_converters.sources.model import Task


@dataclass(frozen=True)
class Objective:
    """What an objective makes of raw scores.

    Attributes:
        task: what a plain Booster is for.
        link: from the raw score to the prediction.
        margin: from ``base_score`` to the raw score, float32.
        gives_probability: of the tasks binary and multiclass.
    """

    task: Task
    link: Link
    margin: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    gives_probability: bool = True


def _identity(base: NDArray[np.float32]) -> NDArray[np.float32]:
    return base


def _logit(base: NDArray[np.float32]) -> NDArray[np.float32]:
    one, least = np.float32(1), np.float32(1e-6)
    found: NDArray[np.float32] = -np.log(one / np.clip(base, least, one - least) - one)
    return found


def _log(base: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(divide="ignore", invalid="ignore"):
        found: NDArray[np.float32] = np.log(base)
    return found


_SAME = Objective("regression", Link("identity"), _identity)
_POSITIVE = Objective("regression", Link("exp"), _log)
_RANK = Objective("ranking", Link("identity"), _identity)

OBJECTIVES: dict[str, Objective] = {
    "binary:logistic": Objective("binary", Link("sigmoid"), _logit),
    "binary:logitraw": Objective("binary", Link("identity"), _identity, gives_probability=False),
    "binary:hinge": Objective("binary", Link("hinge"), _identity),
    "reg:squarederror": _SAME,
    "reg:squaredlogerror": _SAME,
    "reg:logistic": Objective("regression", Link("sigmoid"), _logit),
    "reg:pseudohubererror": _SAME,
    "reg:absoluteerror": _SAME,
    "reg:quantileerror": _SAME,
    "count:poisson": _POSITIVE,
    "reg:gamma": _POSITIVE,
    "reg:tweedie": _POSITIVE,
    "survival:cox": _POSITIVE,
    "survival:aft": _POSITIVE,
    "multi:softmax": Objective("multiclass", Link("identity"), _identity, gives_probability=False),
    "multi:softprob": Objective("multiclass", Link("softmax"), _identity),
    "rank:pairwise": _RANK,
    "rank:ndcg": _RANK,
    "rank:map": _RANK,
}


def objective_named(name: str, place: str) -> Objective:
    """
    Raises:
        UnsupportedModelError: we do not know it.
    """
    if name not in OBJECTIVES:
        raise UnsupportedModelError(
            f"has the objective {name!r}, which is not known",
            code="unknown-objective",
            place=place,
            remedy=f"train with one of {', '.join(OBJECTIVES)}",
        )
    return OBJECTIVES[name]


def task_of(name: str, role: Role, groups: int, place: str) -> Task:
    """What a model is for.

    A classifier of several yes-or-no targets at once, and a regressor whatever its objective, give values.

    Raises:
        UnsupportedModelError: a classifier whose objective gives nothing that orders two classes.
    """
    task = objective_named(name, place).task
    if task in ("multiclass", "ranking"):
        return task
    if role == "classifier" and task == "regression" and name != "reg:logistic":
        raise UnsupportedModelError(
            f"is a classifier with the objective {name!r}, which gives no probability",
            code="classifier-objective",
            place=place,
            remedy="train XGBRegressor with it, or the classifier with binary:logistic",
        )
    binary = role == "classifier" or (role == "" and task == "binary")
    return "binary" if binary and groups == 1 else "regression"
