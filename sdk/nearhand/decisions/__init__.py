"""Decisions: a prediction and declared rules make an action; and the best time to notify."""
