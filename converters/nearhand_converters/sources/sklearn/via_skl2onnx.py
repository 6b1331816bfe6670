"""Estimators whose graph skl2onnx writes: the estimator alone, behind the columns that its pipeline makes."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np

from nearhand_converters.errors import SourceError, UnsupportedModelError
from nearhand_converters.graph.builder import ML_DOMAIN, ML_OPSET, OPSET
from nearhand_converters.graph.inline import inline
from nearhand_converters.sources.sklearn.columns import Column
from nearhand_converters.sources.sklearn.library import class_name
from nearhand_converters.sources.sklearn.linear import check_classes
from nearhand_converters.sources.sklearn.walk import Answer, Columns, Model, Transform, Walk, lazily


def _converted(walk: Walk, estimator: Any, columns: Columns, output: str, place: str) -> str:
    """One output of the estimator's graph, float32 [batch, width]."""
    try:
        from skl2onnx import convert_sklearn
        from skl2onnx.common.data_types import FloatTensorType
        from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
    except ImportError as error:
        raise SourceError(
            f"{class_name(estimator)} is converted by skl2onnx, which is not installed",
            place=place,
            remedy="pip install nearhand-converters[sklearn]",
        ) from error
    twin = copy.deepcopy(estimator)
    if hasattr(twin, "classes_"):
        twin.classes_ = np.arange(len(twin.classes_))  # texts have no place in the graph
    options = {id(twin): {"zipmap": False}} if hasattr(twin, "classes_") else None
    types = [("X", FloatTensorType([None, len(columns)]))]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = convert_sklearn(twin, "part", types, target_opset={"": OPSET, ML_DOMAIN: ML_OPSET}, options=options)
    except (MissingConverter, MissingShapeCalculator, NotImplementedError, RuntimeError, NameError) as error:
        raise UnsupportedModelError(
            f"{class_name(estimator)} is not converted by skl2onnx ({str(error).splitlines()[0]})",
            code="unsupported-estimator",
            place=place,
            remedy="use another estimator",
        ) from error
    return inline(walk.g, found.graph, {"X": walk.matrix(columns, place)}, [output])[0]


def _classifier(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    check_classes(model, place)
    return Answer(probability=lazily(lambda: _converted(walk, model, columns, "probabilities", place)))


def _regressor(walk: Walk, model: Any, columns: Columns, place: str) -> Answer:
    return Answer(value=lazily(lambda: _converted(walk, model, columns, "variable", place)))


def _power(walk: Walk, model: Any, columns: Columns, place: str) -> list[Column]:
    if model.method == "box-cox":
        for column in columns:
            walk.not_below(column, 1e-6)
    value = _converted(walk, model, columns, "variable", place)
    return walk.dense(value, len(model.get_feature_names_out()))


MODELS: dict[str, Model] = {
    "PLSRegression": _regressor,
    "QuadraticDiscriminantAnalysis": _classifier,
}
TRANSFORMERS: dict[str, Transform] = {"PowerTransformer": _power}
