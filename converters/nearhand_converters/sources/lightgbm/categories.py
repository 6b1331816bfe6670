"""Which of LightGBM's columns are categories, and what those are called."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.sources.lightgbm.text import ModelText


@dataclass(frozen=True)
class Categories:
    """The category columns of a model.

    Attributes:
        is_category: bool [columns].
        known: for each category column, LightGBM's numbers of its known categories in the order of our codes.
        names: for each category column, their texts.
        named: whether the texts are a data frame's, any other category of which LightGBM takes for a missing one.
    """

    is_category: NDArray[np.bool_]
    known: tuple[NDArray[np.int64], ...]
    names: tuple[tuple[str, ...], ...]
    named: bool


def read_categories(model: ModelText, place: str) -> Categories:
    """
    Raises:
        UnsupportedModelError: the text does not tell which names belong to which column.
    """
    numbers = _numbers(model)
    columns = sorted(numbers) if model.declared is None else list(model.declared)
    if model.tables:
        names = [tuple(map(str, table)) for table in model.tables]
        known = [np.arange(len(own)) for own in names]
        if len(columns) != len(names) or not set(numbers) <= set(columns):
            raise _ambiguous(f"names the categories of {len(names)} columns, and {len(columns)} hold categories", place)
        sizes = dict(zip(columns, map(len, names), strict=True))
        if any(own and max(own) >= sizes[i] for i, own in numbers.items()):
            raise _ambiguous("has a category without a name", place)
        if any(len(set(own)) < len(own) for own in names):
            raise _ambiguous("has two categories that are the same text", place)
    else:
        columns = sorted({*numbers, *columns})
        known = [np.array(sorted(numbers.get(i, ())), np.int64) for i in columns]
        names = [tuple(map(str, own.tolist())) for own in known]
    is_category = np.zeros(len(model.names), np.bool_)
    is_category[columns] = True
    return Categories(is_category, tuple(known), tuple(names), bool(model.tables))


def _numbers(model: ModelText) -> dict[int, set[int]]:
    """For each column that the text shows to hold categories, those of the training data and of the nodes."""
    found = {i: set(own.tolist()) for i, own in enumerate(model.seen) if own is not None}
    for tree in model.trees:
        for split, members in tree.members.items():
            found.setdefault(int(tree.feature[split]), set()).update(members.tolist())
    return found


def _ambiguous(problem: str, place: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        problem,
        code="ambiguous-categories",
        place=place,
        remedy="train with category columns that are unordered and all declared, or with whole numbers",
    )
