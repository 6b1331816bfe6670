"""What is read from any of scikit-learn's tree estimators, and the table that the estimator itself takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.graph.links import Link
from nearhand_converters.graph.trees.form import Trees
from nearhand_converters.sources.model import FIRST_KNOWN, InputColumn, Rows, Task
from nearhand_converters.sources.texts import UNSEEN


@dataclass(frozen=True)
class Reading:
    """An estimator as trees and a link.

    Attributes:
        apply: the estimator's leaf for each row of its table and each tree, as nodes of ``trees``.
        label_above: for binary: the label is 1 where the linked score is greater.
    """

    task: Task
    trees: Trees
    link: Link
    apply: Callable[[NDArray[Any]], NDArray[np.integer]]
    label_above: float = 0.5


@dataclass(frozen=True)
class Table:
    """The columns of an estimator's table, and how a row's codes become the values that it was trained on.

    Attributes:
        columns: in the order of the training table.
        values: for each category column, what the codes from 0 stand for, objects.
    """

    columns: tuple[InputColumn, ...]
    values: tuple[NDArray[np.object_], ...] = ()

    def of(self, rows: Rows) -> NDArray[Any]:
        """The table of some rows [rows, columns]: float64, or objects if there are categories."""
        if not self.values:
            return rows.numbers
        table = np.empty((len(rows), len(self.columns)), object)
        number = [column.kind == "number" for column in self.columns]
        table[:, number] = rows.numbers
        for place, (column, values) in enumerate(zip(np.flatnonzero(~np.array(number)), self.values, strict=True)):
            table[:, column] = values[rows.categories[:, place]]
        return table


def category_values(known: list[Any], missing: Any) -> NDArray[np.object_]:
    """What the codes of a column stand for: none, one that nobody knows, then the known ones."""
    values = np.empty(FIRST_KNOWN + len(known), object)
    values[:] = [missing, UNSEEN, *known]
    return values
