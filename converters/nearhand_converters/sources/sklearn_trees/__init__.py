"""scikit-learn's tree estimators: one door, ``sklearn_tree_model``, for single trees, forests and boosting."""

from nearhand_converters.sources.sklearn_trees.door import sklearn_tree_model

__all__ = ["sklearn_tree_model"]
