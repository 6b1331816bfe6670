"""LightGBM's models."""

from nearhand_converters.sources.lightgbm.source import LightGBMSource

__all__ = ["LightGBMSource"]
