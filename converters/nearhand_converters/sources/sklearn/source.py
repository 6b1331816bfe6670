"""The source of scikit-learn's fitted objects. Its files are those of :mod:`nearhand_converters.sources.pickled`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from nearhand_converters.errors import SourceError
from nearhand_converters.sources.model import Source, TabularModel
from nearhand_converters.sources.sklearn import (
    bayes,
    calibration,
    clusters,
    compose,
    encoding,
    ensembles,
    linear,
    neighbours,
    networks,
    projections,
    scaling,
    support_vectors,
    via_skl2onnx,
)
from nearhand_converters.sources.sklearn.library import is_sklearn
from nearhand_converters.sources.sklearn.model import read_model
from nearhand_converters.sources.sklearn.refused import REFUSED
from nearhand_converters.sources.sklearn.trees import TreeEstimators
from nearhand_converters.sources.sklearn.walk import Registry
from nearhand_converters.sources.sklearn_trees import sklearn_tree_model


class SklearnSource:
    """Implements :class:`~nearhand_converters.sources.model.Source`.

    Args:
        others: the sources of other libraries, whose estimators may end a pipeline.
    """

    def __init__(self, others: Sequence[Source] = ()) -> None:
        self._registry = Registry(
            transformers={
                **clusters.TRANSFORMERS,
                **compose.TRANSFORMERS,
                **encoding.TRANSFORMERS,
                **projections.TRANSFORMERS,
                **scaling.TRANSFORMERS,
                **via_skl2onnx.TRANSFORMERS,
            },
            models={
                **bayes.MODELS,
                **calibration.MODELS,
                **clusters.MODELS,
                **compose.MODELS,
                **ensembles.MODELS,
                **linear.MODELS,
                **neighbours.MODELS,
                **networks.MODELS,
                **support_vectors.MODELS,
                **via_skl2onnx.MODELS,
            },
            refused=REFUSED,
            other_model=TreeEstimators(others).answer,
        )

    @property
    def name(self) -> str:
        return "scikit-learn"

    def claims(self, path: Path, head: bytes) -> bool:
        """None: scikit-learn has no file format of its own."""
        return False

    def read(self, path: Path) -> TabularModel:
        raise SourceError(
            "scikit-learn has no file format of its own", place=path.name, remedy="save the model with skops.io.dump"
        )

    def adopts(self, model: object) -> bool:
        if "sklearn" not in sys.modules:
            return False
        from sklearn.base import BaseEstimator

        return is_sklearn(model) or (isinstance(model, BaseEstimator) and not _is_of_another_library(model))

    def adopt(self, model: object) -> TabularModel:
        tree = sklearn_tree_model(model, None)
        return read_model(model, self._registry) if tree is None else tree


def _is_of_another_library(model: object) -> bool:
    return type(model).__module__.split(".")[0] in ("xgboost", "lightgbm", "catboost")
