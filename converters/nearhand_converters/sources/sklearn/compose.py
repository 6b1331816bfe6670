"""What only arranges other transformers, or chooses columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from nearhand_converters.errors import SourceError
from nearhand_converters.sources.sklearn.columns import Column, Operation, Step
from nearhand_converters.sources.sklearn.library import class_name, quiet
from nearhand_converters.sources.sklearn.scaling import elementwise
from nearhand_converters.sources.sklearn.walk import Answer, Columns, Model, Transform, Walk


def steps_of(estimator: Any) -> list[Any]:
    """The steps of a pipeline, and of the pipelines in it, that do something; else the estimator itself."""
    if class_name(estimator) == "FrozenEstimator":
        return steps_of(estimator.estimator)
    if class_name(estimator) != "Pipeline":
        return [estimator]
    some = [step for _, step in estimator.steps if step is not None and step != "passthrough"]
    return [own for step in some for own in steps_of(step)]


def before_last(walk: Walk, pipeline: Any, columns: Columns, place: str) -> list[Column]:
    """What reaches a pipeline's last step."""
    found = list(columns)
    for i, (_, step) in enumerate(pipeline.steps[:-1]):
        found = walk.transform(step, found, step_place(pipeline, i, place))
    return found


def _sample_before_last(pipeline: Any, sample: Any) -> Any:
    """What the original's own steps make of a row."""
    with quiet():
        for _, step in pipeline.steps[:-1]:
            if step is not None and step != "passthrough" and sample is not None:
                sample = step.transform(sample)
    return sample


def step_place(pipeline: Any, i: int, place: str) -> str:
    """Such as ``pipeline.steps[1] 'prep'``."""
    return f"{place}.steps[{i}] {pipeline.steps[i][0]!r}"


def _pipeline(walk: Walk, pipeline: Any, columns: Columns, place: str) -> list[Column]:
    last = len(pipeline.steps) - 1
    before = before_last(walk, pipeline, columns, place)
    return walk.transform(pipeline.steps[-1][1], before, step_place(pipeline, last, place))


def _pipeline_model(walk: Walk, pipeline: Any, columns: Columns, place: str) -> Answer:
    last = len(pipeline.steps) - 1
    before = before_last(walk, pipeline, columns, place)
    sample = walk.sample
    walk.sample = _sample_before_last(pipeline, sample)
    answer = walk.answer(pipeline.steps[-1][1], before, step_place(pipeline, last, place))
    walk.sample = sample
    return answer


def _column_transformer(walk: Walk, transformer: Any, columns: Columns, place: str) -> list[Column]:
    weights = transformer.transformer_weights or {}
    found: list[Column] = []
    for name, each, _ in transformer.transformers_:
        chosen = [columns[int(i)] for i in transformer._transformer_to_input_indices[name]]
        if not chosen or (isinstance(each, str) and each == "drop"):
            continue
        own = f"{place} / {name}"
        found += _weighted(walk, walk.transform(each, chosen, own), weights.get(name, 1.0), own)
    return _some(found, place)


def _feature_union(walk: Walk, union: Any, columns: Columns, place: str) -> list[Column]:
    weights = union.transformer_weights or {}
    found: list[Column] = []
    for name, each in union.transformer_list:
        if isinstance(each, str) and each == "drop":
            continue
        own = f"{place} / {name}"
        found += _weighted(walk, walk.transform(each, columns, own), weights.get(name, 1.0), own)
    return _some(found, place)


def _weighted(walk: Walk, columns: list[Column], weight: float, place: str) -> list[Column]:
    if weight == 1.0:
        return columns
    step = Step((Operation("affine", (0.0, float(weight), 0.0)),), lambda x: x * weight, int(np.sign(weight)))
    return elementwise(walk, columns, [step] * len(columns), place)


def _selection(walk: Walk, selector: Any, columns: Columns, place: str) -> list[Column]:
    chosen = selector.get_support(indices=True)
    return _some([columns[int(i)] for i in chosen], place)


def _some(columns: list[Column], place: str) -> list[Column]:
    if not columns:
        raise SourceError("leaves no column", place=place, remedy="choose at least one column")
    return columns


_SELECTORS = (
    "GenericUnivariateSelect",
    "RFE",
    "RFECV",
    "SelectFdr",
    "SelectFpr",
    "SelectFromModel",
    "SelectFwe",
    "SelectKBest",
    "SelectPercentile",
    "SequentialFeatureSelector",
    "VarianceThreshold",
)

TRANSFORMERS: dict[str, Transform] = {
    "ColumnTransformer": _column_transformer,
    "FeatureUnion": _feature_union,
    "Pipeline": _pipeline,
    **dict.fromkeys(_SELECTORS, _selection),
}
MODELS: dict[str, Model] = {"Pipeline": _pipeline_model}
