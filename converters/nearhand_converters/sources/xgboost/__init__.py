"""XGBoost's models."""

from nearhand_converters.sources.xgboost.source import XGBoostSource

__all__ = ["XGBoostSource"]
