"""Copies of a fitted model whose numbers are off by what float32 may round them: how much of an answer that is."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

_HALF_ULP = 2.0**-24
_COPIES = 8
_NUMBERS = frozenset(
    (
        *("a_", "b_", "beta_", "center_", "class_log_prior_", "class_prior_", "cluster_centers_", "coef_", "coefs_"),
        *("components_", "constant_", "encodings_", "explained_variance_", "feature_log_prob_", "intercept_"),
        *("intercepts_", "mean_", "min_", "scale_", "scalings_", "statistics_", "target_mean_", "theta_", "var_"),
        *("xbar_", "y_thresholds_", "X_thresholds_", "_fit_X", "_y"),
    )
)
"""Attributes that predictions are calculated from; none that something is only compared with."""


def rounded_twins(estimator: Any) -> list[Any]:
    """Copies of a fitted estimator, each with all its numbers moved by half an ulp of float32; the same each time."""
    random = np.random.Generator(np.random.PCG64(0))
    found = []
    for _ in range(_COPIES):
        twin = copy.deepcopy(estimator)
        _move(twin, random, set())
        found.append(twin)
    return found


def _move(value: Any, random: np.random.Generator, seen: set[int]) -> None:
    """Move the numbers of an estimator and of all estimators in it, in place."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, (list, tuple)):
        for each in value:
            _move(each, random, seen)
    elif isinstance(value, dict):
        for each in value.values():
            _move(each, random, seen)
    elif type(value).__module__.split(".")[0] == "sklearn" and hasattr(value, "__dict__"):
        for name, each in vars(value).items():
            if name in _NUMBERS:
                setattr(value, name, _moved(each, random))
            else:
                _move(each, random, seen)


def _moved(value: Any, random: np.random.Generator) -> Any:
    if isinstance(value, list):
        return [_moved(each, random) for each in value]
    if isinstance(value, np.ndarray) and value.dtype == np.float64:
        return value * (1 + _HALF_ULP * random.choice((-1.0, 1.0), value.shape))
    if isinstance(value, (float, np.floating)):
        return type(value)(value * (1 + _HALF_ULP * random.choice((-1.0, 1.0))))
    return value
