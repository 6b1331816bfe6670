"""Learning on the device: what was shown, what came of it, and a bandit that re-ranks by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nearhand.lazily import lazily
from nearhand.learning.exposures import Exposure, Exposures

if TYPE_CHECKING:
    from nearhand.learning.bandit import LinearBandit
    from nearhand.learning.learner import Learner
    from nearhand.learning.offpolicy import Estimate, doubly_robust, ips, self_normalised_ips
else:
    __getattr__ = lazily(
        __name__,
        {
            "bandit": ["LinearBandit"],
            "learner": ["Learner"],
            "offpolicy": ["Estimate", "doubly_robust", "ips", "self_normalised_ips"],
        },
    )

__all__ = [
    "Estimate",
    "Exposure",
    "Exposures",
    "Learner",
    "LinearBandit",
    "doubly_robust",
    "ips",
    "self_normalised_ips",
]
