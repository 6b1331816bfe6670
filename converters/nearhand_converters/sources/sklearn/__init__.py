"""scikit-learn's models and pipelines."""

from nearhand_converters.sources.sklearn.source import SklearnSource

__all__ = ["SklearnSource"]
