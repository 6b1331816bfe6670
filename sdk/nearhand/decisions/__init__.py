"""Decisions: a prediction and declared rules make an action; and the best time to notify."""

from __future__ import annotations

from nearhand.decisions.best_time import BestTime, LoggedRhythm, Rhythm
from nearhand.decisions.decider import Decider, Decision, Reason, policy_digest, replay

__all__ = ["BestTime", "Decider", "Decision", "LoggedRhythm", "Reason", "Rhythm", "policy_digest", "replay"]
