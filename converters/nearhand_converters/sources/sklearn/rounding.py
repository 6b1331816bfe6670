"""What a fitted model loses in float32: copies of it whose numbers are off by what rounding them does, half an ulp."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from nearhand_converters.sources.sklearn.library import parts_of, quiet

_HALF_ULP = 2.0**-24
_COPIES = 8
LIKELY = 3.0
"""How many standard deviations a row may be off; one in some hundred is off by more."""
_OF_MODELS = frozenset(
    (
        *("a_", "b_", "beta_", "class_log_prior_", "class_prior_", "cluster_centers_", "coef_", "coefs_", "constant_"),
        *("feature_log_prob_", "intercept_", "intercepts_", "theta_", "var_", "y_thresholds_", "X_thresholds_"),
        *("_dual_coef_", "_fit_X", "_intercept_", "_y", "support_vectors_"),
    )
)
_OF_TRANSFORMERS = frozenset(
    (
        *("center_", "components_", "encodings_", "explained_variance_", "mean_", "min_", "scale_", "scalings_"),
        *("statistics_", "target_mean_", "xbar_"),
    )
)
"""Attributes that predictions are calculated from; none that something is only compared with."""


def rounded_twins(estimator: Any, *, jumps: bool) -> list[Any]:
    """Copies of a fitted estimator, each with all its numbers moved by half an ulp of float32, the same each time.

    Args:
        jumps: whether something is compared with what transformers give; then their numbers stay, as a row on the
            other side of a threshold says nothing about rounding.
    """
    random = np.random.Generator(np.random.PCG64(0))
    names = _OF_MODELS if jumps else _OF_MODELS | _OF_TRANSFORMERS
    found = []
    for _ in range(_COPIES):
        with quiet():
            twin = copy.deepcopy(estimator)
        for part in parts_of(twin):
            for name in sorted(names.intersection(vars(part))):
                setattr(part, name, _moved(getattr(part, name), random))
        found.append(twin)
    return found


def _moved(value: Any, random: np.random.Generator) -> Any:
    if isinstance(value, list):
        return [_moved(each, random) for each in value]
    if isinstance(value, np.ndarray) and value.dtype == np.float64:
        return value * (1 + _HALF_ULP * random.choice((-1.0, 1.0), value.shape))
    if isinstance(value, (float, np.floating)):
        return type(value)(value * (1 + _HALF_ULP * random.choice((-1.0, 1.0))))
    return value
