"""Where events go, and what remembers which of them are there."""
