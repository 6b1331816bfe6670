"""CatBoost: its own files and models in memory, read from its JSON form."""

from nearhand_converters.sources.catboost.source import CatBoostSource

__all__ = ["CatBoostSource"]
