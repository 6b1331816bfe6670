"""What every source of a tabular model gives: what it reads and returns, how its graph is built, and the original.

A *tabular* model maps a row of numbers and categories to a prediction: a ranker or a predictor of a bundle. Its graph
reads ``numbers`` float32 [batch, number columns] and ``categories`` int32 [batch, category columns], each only if there
is such a column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.graph.inputs import FIRST_KNOWN, MISSING, UNKNOWN, GraphInputs, Lowering
from nearhand_converters.graph.trees.form import Trees

__all__ = [
    "FIRST_KNOWN",
    "MISSING",
    "UNKNOWN",
    "GraphInputs",
    "InputColumn",
    "Lowering",
    "Outputs",
    "Rows",
    "Source",
    "TabularModel",
    "Task",
]

Task: TypeAlias = Literal["regression", "binary", "multiclass", "ranking", "cluster", "transform"]


@dataclass(frozen=True)
class InputColumn:
    """A column of the table that the model was trained on.

    Attributes:
        categories: for a category column, the texts of the known categories in the order of their codes; () for a
            number.
    """

    name: str
    kind: Literal["number", "category"]
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rows:
    """Rows of a table, split by kind.

    Attributes:
        numbers: float64 [rows, number columns]; NaN is missing.
        categories: int32 codes [rows, category columns].
    """

    numbers: NDArray[np.float64]
    categories: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, chosen: slice | NDArray[np.integer]) -> Rows:
        return Rows(self.numbers[chosen], self.categories[chosen])


Outputs: TypeAlias = Mapping[str, NDArray[np.generic]]
"""Name → array with the rows first.

=============  =====================  ======================================================================
task           output                 what it is
=============  =====================  ======================================================================
regression     ``value``              float [rows, targets]
ranking        ``value``              float [rows, 1]; larger is better, comparable within one list
binary         ``probability``        float [rows, 2], or ``score`` where the source gives none: the decision
                                      function, float [rows, 1]
multiclass     ``probability``        float [rows, classes], or ``score``
both           ``label``              int32 [rows]: the place in ``classes``
cluster        ``label``              int32 [rows]: the cluster, −1 for none; and ``distance`` float
                                      [rows, clusters] where the source has it
transform      ``transformed``        float [rows, components]
=============  =====================  ======================================================================
"""


class TabularModel(Protocol):
    """A fitted model that a source has read."""

    @property
    def source(self) -> str:
        """The library, class and objective, such as ``xgboost XGBClassifier multi:softprob``."""
        ...

    @property
    def columns(self) -> tuple[InputColumn, ...]:
        """The input columns, in the order of the training table."""
        ...

    @property
    def task(self) -> Task: ...

    @property
    def classes(self) -> tuple[str, ...]:
        """For binary and multiclass: the classes' texts; else ()."""
        ...

    @property
    def trees(self) -> Trees | None:
        """The model's trees, if it has any: what verification rows are made from and leaves are compared with."""
        ...

    def build(self, g: GraphBuilder, inputs: GraphInputs, lowering: Lowering) -> Mapping[str, str]:
        """Append the model's nodes; output name → value, float32 or int32.

        Raises:
            UnsupportedModelError: the model, or a part of it, has no graph that computes the same.
        """
        ...

    def predict(self, rows: Rows) -> Outputs:
        """What the original library gives for these rows, float64 where it computes so."""
        ...

    def leaves(self, rows: Rows) -> NDArray[np.integer] | None:
        """The original library's leaf for each row and tree, as nodes of ``trees``; None: it cannot tell."""
        ...


class Source(Protocol):
    """Reads the models of one library, from its own files and from memory. A registry is a tuple of these."""

    @property
    def name(self) -> str:
        """The library."""
        ...

    def claims(self, path: Path, head: bytes) -> bool:
        """Whether a file is one of this library's, by its name and its first 4,096 bytes. Executes nothing."""
        ...

    def read(self, path: Path) -> TabularModel:
        """The model of a file that was claimed; the file is not changed, and no code in it is run.

        Raises:
            SourceError: it is damaged, or not what its name says, or its library is not installed.
            UnsupportedModelError: it is a model that we do not convert.
        """
        ...

    def adopts(self, model: object) -> bool:
        """Whether a model in memory is one of this library's. Imports no library that is not imported."""
        ...

    def adopt(self, model: object) -> TabularModel:
        """A fitted model in memory.

        Raises:
            SourceError: it is not fitted.
            UnsupportedModelError: it is a model that we do not convert.
        """
        ...
