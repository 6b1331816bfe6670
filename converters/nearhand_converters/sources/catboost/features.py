"""CatBoost's features: the input columns, and the questions that its trees ask about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.graph.trees.form import Column, Membership, Number
from nearhand_converters.sources.catboost.ctr import Statistic, read_statistic
from nearhand_converters.sources.model import FIRST_KNOWN, MISSING, UNKNOWN, InputColumn

Question: TypeAlias = tuple[Column, float]
"""A column of the neutral form, and the threshold above which the answer is yes."""


@dataclass(frozen=True)
class Features:
    """What a model reads.

    Attributes:
        columns: in the order of the training table.
        questions: by the ``split_index`` of the JSON form.
    """

    columns: tuple[InputColumn, ...]
    questions: tuple[Question, ...]


def read_features(document: Mapping[str, Any]) -> Features:
    """The features of a model's JSON form.

    A category column's known categories are those that the trees can tell from an unseen one: all others, and missing
    ones, are unseen to CatBoost too, which takes texts and whole numbers only.

    Raises:
        UnsupportedModelError: statistics that we cannot compute, or categories without their texts.
        LookupError, TypeError, ValueError: it is not such a form.
    """
    info = document["features_info"]
    numbers, categories = info.get("float_features") or [], info.get("categorical_features") or []
    flat = sorted([int(each["flat_feature_index"]) for each in (*numbers, *categories)])
    if flat != list(range(len(flat))):
        raise ValueError("columns are missing")
    statistics = [read_statistic(each, document["ctr_data"]) for each in info.get("ctrs") or []]
    known = _known_categories(categories, statistics, info.get("cat_features_hash") or [])
    questions: list[Question] = []
    for place, number in _by_place(numbers):
        # Without NaN in the training data the library compares NaN itself, which is greater than nothing.
        right = number["has_nans"] and number["nan_value_treatment"] == "AsTrue"
        column = Number(place, np.inf if right else -np.inf)
        questions += [(column, _border(border)) for border in number["borders"]]
    for place, category in _by_place(categories):
        code = {each: FIRST_KNOWN + i for i, each in enumerate(known[place])}
        values = category.get("values") or []
        questions += [(Membership(place, (code[int(value) & 0xFFFFFFFF],)), 0.5) for value in values]
    for feature, statistic in zip(info.get("ctrs") or [], statistics, strict=True):
        of_unseen = statistic.of(None)
        of_known = [statistic.of(each) for each in known[statistic.cat_feature]]
        for border in map(_border, feature["borders"]):
            members = [MISSING, UNKNOWN] if of_unseen > border else []
            members += [FIRST_KNOWN + i for i, value in enumerate(of_known) if value > border]
            questions.append((Membership(statistic.cat_feature, tuple(members)), 0.5))
    texts = {
        int(category["flat_feature_index"]): tuple(known[place].values()) for place, category in _by_place(categories)
    }
    names = {int(each["flat_feature_index"]): each["feature_id"] for each in (*numbers, *categories)}
    columns = tuple(
        InputColumn(names[i] or str(i), "category" if i in texts else "number", texts.get(i, ())) for i in flat
    )
    return Features(columns, tuple(questions))


def _by_place(features: Sequence[Mapping[str, Any]]) -> list[tuple[int, Mapping[str, Any]]]:
    """Features of one kind with their places among those: they stand in the order of the training table."""
    for place, feature in enumerate(features):
        before = features[place - 1]["flat_feature_index"] if place else -1
        if int(feature["feature_index"]) != place or int(feature["flat_feature_index"]) <= before:
            raise ValueError(f"feature {feature['feature_index']} is at place {place}")
    return list(enumerate(features))


def _border(number: Any) -> float:
    """A float32 as the library reads it."""
    border = float(np.float32(number))
    if not np.isfinite(border):
        raise ValueError(f"a border is {number!r}")
    return border


def _known_categories(
    categories: Sequence[Mapping[str, Any]], statistics: Sequence[Statistic], table: Sequence[Mapping[str, Any]]
) -> list[dict[int, str]]:
    """For each category column: hash of a category that its trees know → its text, in the order of the texts."""
    text_of = {
        int(entry["hash"]): str(entry["value"]) for entry in sorted(table, key=lambda entry: str(entry["value"]))
    }
    found = []
    for place, category in _by_place(categories):
        values = {int(value) & 0xFFFFFFFF for value in category.get("values") or []}
        own = [each for each in statistics if each.cat_feature == place]
        known = {h: text for h, text in text_of.items() if h in values or any(each.known(h) for each in own)}
        if not values <= set(known) or any(sum(map(each.known, known)) < len(each.counts) for each in own):
            raise UnsupportedModelError(
                "the texts of its categories are not in the model, only their hashes",
                code="catboost-category-texts",
                place=f"CatBoost model: column {category['feature_id'] or category['flat_feature_index']}",
                remedy="save it with model.save_model('model.json', format='json', pool=…), the pool it was trained on",
            )
        found.append(known)
    return found
