"""Heavy models: a bundle that is too big for devices, served by MLServer over the Open Inference Protocol."""

from nearhand_cloud.heavy.model import MAX_CANDIDATES, MAX_HISTORY, Asked, HeavyModel
from nearhand_cloud.heavy.settings import BUNDLE_FILE, write_settings

__all__ = ["BUNDLE_FILE", "MAX_CANDIDATES", "MAX_HISTORY", "Asked", "HeavyModel", "write_settings"]
