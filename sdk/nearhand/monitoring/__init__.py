"""What the SDK measures and counts about itself, for ``status()``."""

from __future__ import annotations

from nearhand.monitoring.meter import Latency, Meter

__all__ = ["Latency", "Meter"]
