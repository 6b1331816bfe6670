"""What the sources of gradient boosting libraries share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import SourceError, UnsupportedModelError
from nearhand_converters.graph.trees.form import Column
from nearhand_converters.sources.model import UNKNOWN, Outputs, Task

Role: TypeAlias = Literal["classifier", "regressor", "ranker", ""]
"""What the scikit-learn wrapper of a model is; "" for a plain Booster."""


class DamagedError(ValueError):
    """What a saved model claims does not fit together."""


@contextmanager
def damage_named(place: str) -> Iterator[None]:
    """What reading a saved model raises as an error that names it.

    Args:
        place: names the file or object.

    Raises:
        SourceError: it is damaged: what it claims does not fit together.
        UnsupportedModelError: as it was raised, with the place.
    """
    try:
        yield
    except (ValueError, OverflowError, RecursionError) as error:
        problem = next(iter(str(error).splitlines()), type(error).__name__)
        raise SourceError(
            f"is damaged ({problem})", place=place, remedy="save the model again with Booster.save_model"
        ) from error
    except UnsupportedModelError as error:
        raise UnsupportedModelError(error.problem, code=error.code, place=place, remedy=error.remedy) from error


class ColumnRegistry:
    """The neutral columns, made as nodes ask for them.

    Attributes:
        columns: so far.
        input: int [table columns], the place of each among the inputs of its kind.
    """

    def __init__(self, is_category: NDArray[np.bool_]) -> None:
        self.columns: list[Column] = []
        self.input = np.where(is_category, np.cumsum(is_category), np.cumsum(~is_category)) - 1
        self._place: dict[Column, int] = {}

    def place(self, column: Column) -> int:
        """Where the column is among ``columns``."""
        if column not in self._place:
            self._place[column] = len(self.columns)
            self.columns.append(column)
        return self._place[column]


def category_numbers(codes: NDArray[np.int32], tables: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """A library's numbers of our codes, float64 [rows, category columns].

    Args:
        codes: int32 [rows, category columns].
        tables: for each column the number of each code: of a missing category, an unknown one, then the known ones.
    """
    found = np.empty(codes.shape)
    for place, numbers in enumerate(tables):
        code = codes[:, place]
        found[:, place] = numbers[np.where((code < 0) | (code >= len(numbers)), UNKNOWN, code)]
    return found


def unused_number(taken: Sequence[float]) -> int:
    """The smallest number from 0 that is not taken."""
    every = set(taken)
    return next(number for number in range(len(every) + 1) if number not in every)


def outputs_of(found: NDArray[np.floating], task: Task, *, probability: bool = True, above: float = 0.5) -> Outputs:
    """A library's predictions as the outputs of a tabular model.

    Args:
        found: floats [rows, values]; for binary the second class's probability or score.
        probability: of the tasks binary and multiclass: whether these are probabilities.
        above: for binary: the label is 1 where the value is greater.
    """
    name = "probability" if probability else "score"
    if task == "multiclass":
        return {name: found, "label": found.argmax(axis=1).astype(np.int32)}
    if task == "binary":
        label = (found[:, 0] > above).astype(np.int32)
        return {name: np.concatenate([1 - found, found], axis=1) if probability else found, "label": label}
    return {"value": found}
