"""Learning on the device: what was shown, what came of it, and a bandit that re-ranks by it."""
