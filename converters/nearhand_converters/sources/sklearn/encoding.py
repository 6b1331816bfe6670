"""Encoders of categories: their results are tables, filled by asking the fitted encoder about every category."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.sources.model import UNKNOWN
from nearhand_converters.sources.sklearn.columns import CategoryKey, Coded, Column
from nearhand_converters.sources.sklearn.library import transformed
from nearhand_converters.sources.sklearn.table import is_missing
from nearhand_converters.sources.sklearn.walk import Columns, Transform, Walk


def _one_hot(walk: Walk, encoder: Any, columns: Columns, place: str) -> list[Column]:
    return _encoded(walk, encoder, columns, encoder._n_features_outs, 0.0, place)


def _ordinal(walk: Walk, encoder: Any, columns: Columns, place: str) -> list[Column]:
    return _encoded(walk, encoder, columns, [1] * len(columns), -1.0, place)


def _target(walk: Walk, encoder: Any, columns: Columns, place: str) -> list[Column]:
    outputs = len(encoder.classes_) if encoder.target_type_ == "multiclass" else 1
    return _encoded(walk, encoder, columns, [outputs] * len(columns), 0.0, place)


def _encoded(
    walk: Walk, encoder: Any, columns: Columns, outputs: Sequence[int], stranger: float, place: str
) -> list[Column]:
    """The encoder's results for each code of each column.

    Args:
        outputs: how many columns it makes of each.
        stranger: what a category gives that the encoder raises for.
    """
    read = [
        walk.category(column, list(known), place) for column, known in zip(columns, encoder.categories_, strict=True)
    ]
    most = max(len(column.values) for column in read)
    rows = np.empty((most, len(read)), object)
    raises = []
    for i, (column, known) in enumerate(zip(read, encoder.categories_, strict=True)):
        refused = np.array([not _accepts(encoder, value, known) for value in column.values])
        raises.append(refused)
        rows[:, i] = known[0]
        rows[: len(refused), i] = np.where(refused, known[0], column.values)
        if isinstance(column.key, CategoryKey) and refused[UNKNOWN]:
            walk.notes[
                f"{place}: {type(encoder).__name__} raises for a category it has not seen in column "
                f"{walk.table.names[column.key.source]!r}; on the device it gives {stranger:g} in its columns"
            ] = None
    found: list[Column] = []
    numbers = all(known.dtype.kind in "iuf" for known in encoder.categories_)
    values = transformed(encoder, rows.astype(np.float64) if numbers else rows)
    if values.shape[1] != sum(outputs):
        raise UnsupportedModelError(
            f"{type(encoder).__name__} gives {values.shape[1]} columns where {sum(outputs)} were expected",
            code="unsupported-transformer",
            place=place,
            remedy="fit it again with this version of scikit-learn",
        )
    for column, refused, count in zip(read, raises, outputs, strict=True):
        for _ in range(count):
            own = values[: len(refused), len(found)].astype(np.float64)
            found.append(Coded(column.key, np.where(refused, stranger, own)))
    return found


def _accepts(encoder: Any, value: Any, known: Sequence[Any]) -> bool:
    """Whether the encoder gives something for a value, and does not raise."""
    if getattr(encoder, "handle_unknown", "ignore") != "error":
        return True
    return any(is_missing(other) for other in known) if is_missing(value) else value in set(known)


TRANSFORMERS: dict[str, Transform] = {"OneHotEncoder": _one_hot, "OrdinalEncoder": _ordinal, "TargetEncoder": _target}
