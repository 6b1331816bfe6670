"""Learning on the device: what was shown, what came of it, and a bandit that re-ranks by it."""

from nearhand.learning.bandit import LinearBandit
from nearhand.learning.exposures import Exposure, Exposures
from nearhand.learning.learner import Learner
from nearhand.learning.offpolicy import Estimate, doubly_robust, ips, self_normalised_ips

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
