"""Target statistics ("CTRs") of one category column: a split on one is true for a set of categories.

CatBoost keeps, for each category's hash, the counts of the target that it has seen. A statistic is a float32 formula of
these counts, so which categories are above a border is known when the model is read; one that was not in the training
data has no counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nearhand_converters.errors import UnsupportedModelError

_WORD = (1 << 64) - 1
_MULTIPLIER = 0x4906BA494954CB65
_NO_HASH = _WORD
"""The hash of the table's empty places, which the JSON form lists as if they were categories."""


@dataclass(frozen=True)
class Statistic:
    """A target statistic of one category column.

    Attributes:
        cat_feature: the column's place among the category columns.
        counts: hash of a category, as CatBoost's tables have it, → its counts.
    """

    cat_feature: int
    counts: Mapping[int, Sequence[float]]
    _kind: str
    _denominator: int
    _border_index: int
    _prior: tuple[np.float32, np.float32]
    _shift: np.float32
    _scale: np.float32

    def known(self, category: int) -> bool:
        """Whether it was counted; ``category`` is the 32-bit hash of its text."""
        return _table_hash(category) in self.counts

    def of(self, category: int | None) -> np.float32:
        """The statistic of a category by the 32-bit hash of its text; None: one that was not counted."""
        counts = None if category is None else self.counts.get(_table_hash(category))
        good, total = self._good_and_total(counts)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = (np.float32(good) + self._prior[0]) / (np.float32(total) + self._prior[1])
            return np.float32((ratio + self._shift) * self._scale)

    def _good_and_total(self, counts: Sequence[float] | None) -> tuple[float, float]:
        if self._kind == "Counter":
            return (0 if counts is None else counts[0]), self._denominator
        if counts is None:
            return 0, 0
        if self._kind == "Buckets":
            return counts[self._border_index], sum(counts)
        if self._kind == "BinarizedTargetMeanValue":
            return counts[0], counts[1]
        first = self._border_index + 1 if len(counts) > 2 else 1
        return sum(counts[first:]), sum(counts)


def read_statistic(feature: Mapping[str, Any], tables: Mapping[str, Any]) -> Statistic:
    """A ``ctrs`` entry of the JSON form, with its counts from ``ctr_data``.

    Raises:
        UnsupportedModelError: it is one of a combination of columns, or of a kind that we cannot compute exactly.
    """
    elements = feature["elements"]
    if len(elements) != 1 or elements[0]["combination_element"] != "cat_feature_value":
        raise _refusal("uses statistics of combinations of columns", "train with max_ctr_complexity=1")
    kind = feature["ctr_type"]
    if kind not in ("Borders", "Buckets", "Counter", "BinarizedTargetMeanValue"):
        raise _refusal(f"uses statistics of the kind {kind}", "train with simple_ctr=['Borders', 'Counter']")
    table = tables[feature["identifier"]]
    stride, flat = int(table["hash_stride"]), table["hash_map"]
    if stride < 2 or len(flat) % stride:
        raise ValueError(f"a table of {len(flat)} entries of {stride}")
    counts = {int(flat[i]): [float(each) for each in flat[i + 1 : i + stride]] for i in range(0, len(flat), stride)}
    counts.pop(_NO_HASH, None)
    if not all(each.is_integer() for own in counts.values() for each in own):
        # The library itself drops the fractions of such sums when it reads the JSON form.
        raise _refusal("uses means of the target, which its JSON form holds only roughly", "train with Borders")
    border_index = int(feature["target_border_idx"])
    if not 0 <= border_index < stride - 1 or (kind == "BinarizedTargetMeanValue" and stride != 3):
        raise ValueError(f"{kind} statistics with {stride - 1} counts, of border {border_index}")
    return Statistic(
        int(elements[0]["cat_feature_index"]),
        counts,
        kind,
        int(table["counter_denominator"]),
        border_index,
        (np.float32(feature["prior_numerator"]), np.float32(feature["prior_denomerator"])),
        np.float32(feature["shift"]),
        np.float32(feature["scale"]),
    )


def _table_hash(category: int) -> int:
    """What the tables are keyed by: the text's hash, as a signed number widened to 64 bits, hashed again."""
    wide = (category - (1 << 32) if category >> 31 else category) & _WORD
    return _MULTIPLIER * (_MULTIPLIER * wide & _WORD) & _WORD


def _refusal(problem: str, remedy: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        problem,
        code="catboost-ctr",
        place="CatBoost model: categories",
        remedy=f"{remedy}, or with one_hot_max_size at least the number of categories",
    )
