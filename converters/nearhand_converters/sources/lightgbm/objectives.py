"""LightGBM's objectives: how a raw score becomes a prediction."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.graph.links import Link, LinkKind
from nearhand_converters.sources.boosted import Role
from nearhand_converters.sources.model import Task

_OBJECTIVES: dict[str, tuple[Task, LinkKind]] = {
    "regression": ("regression", "identity"),
    "regression_l1": ("regression", "identity"),
    "huber": ("regression", "identity"),
    "fair": ("regression", "identity"),
    "poisson": ("regression", "exp"),
    "quantile": ("regression", "identity"),
    "mape": ("regression", "identity"),
    "gamma": ("regression", "exp"),
    "tweedie": ("regression", "exp"),
    "binary": ("binary", "sigmoid"),
    "multiclass": ("multiclass", "softmax"),
    "multiclassova": ("multiclass", "sigmoid"),
    "cross_entropy": ("regression", "sigmoid"),
    "cross_entropy_lambda": ("regression", "log1p_exp"),
    "lambdarank": ("ranking", "identity"),
    "rank_xendcg": ("ranking", "identity"),
}


@dataclass(frozen=True)
class Objective:
    """What an objective makes of raw scores, and what a plain Booster with it is for."""

    name: str
    task: Task
    link: Link


def read_objective(words: tuple[str, ...], scores: int, place: str) -> Objective:
    """The objective in a model's text, such as ``binary sigmoid:1``.

    Raises:
        UnsupportedModelError: it is not known, or the user's own.
    """
    if not words:
        raise UnsupportedModelError(
            "has an objective that is a function, which no file describes",
            code="custom-objective",
            place=place,
            remedy="train with one of LightGBM's own objectives",
        )
    name, parameters = words[0], set(words[1:])
    slope, squares = 1.0, False
    for word in words[1:]:
        key, _, value = word.partition(":")
        if (key, name) in {("sigmoid", "binary"), ("sigmoid", "multiclassova")}:
            slope = _positive(value)
        elif word == "sqrt":
            squares = True
        elif word != f"num_class:{scores}":
            break
        parameters.discard(word)
    if name not in _OBJECTIVES or parameters or slope == 0:
        raise UnsupportedModelError(
            f"has the objective {' '.join(words)!r}, which is not known",
            code="unknown-objective",
            place=place,
            remedy=f"train with one of {', '.join(_OBJECTIVES)}",
        )
    task, kind = _OBJECTIVES[name]
    if squares and kind == "identity":
        kind = "signed_square"
    return Objective(name, task, Link(kind, slope))


def _positive(text: str) -> float:
    """0 if it is no positive number."""
    return float(text) if re.fullmatch(r"\d+\.?\d*([eE][+-]?\d+)?", text, re.ASCII) else 0.0


def task_of(objective: Objective, role: Role, place: str) -> Task:
    """What a model is for; a regressor gives values whatever its objective.

    Raises:
        UnsupportedModelError: a classifier whose objective gives no probability.
    """
    if objective.task in ("multiclass", "ranking"):
        return objective.task
    if role == "classifier":
        if objective.name not in ("binary", "cross_entropy"):
            raise UnsupportedModelError(
                f"is a classifier with the objective {objective.name!r}, which gives no probability",
                code="classifier-objective",
                place=place,
                remedy="train LGBMRegressor with it, or the classifier with binary",
            )
        return "binary"
    return objective.task if role == "" else "regression"
