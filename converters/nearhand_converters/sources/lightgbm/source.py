"""Reads LightGBM's models: its ``.txt`` files, Boosters, and the scikit-learn wrappers.

Everything is in the text that the library saves, its thresholds and leaves with all their digits.

- **Categories** have the data frame's names where it was one. Else they are whole numbers: those of the training data
  and of the nodes are known. LightGBM treats any other, a negative one and a missing one the same.
- **A model stopped early** predicts with its best iteration, as the library does and saves.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import SourceError
from nearhand_converters.graph.trees.form import Trees
from nearhand_converters.sources.boosted import Role, category_numbers, outputs_of, unused_number
from nearhand_converters.sources.lightgbm.categories import Categories, read_categories
from nearhand_converters.sources.lightgbm.objectives import Objective, read_objective, task_of
from nearhand_converters.sources.lightgbm.text import ModelText, read_text
from nearhand_converters.sources.lightgbm.trees import read_trees
from nearhand_converters.sources.model import InputColumn, Outputs, Rows, TabularModel, Task
from nearhand_converters.sources.tree_model import TreeModel


@dataclass(frozen=True)
class LightGBMSource:
    """Implements :class:`~nearhand_converters.sources.model.Source`."""

    @property
    def name(self) -> str:
        return "lightgbm"

    def claims(self, path: Path, head: bytes) -> bool:
        """Files that begin as LightGBM's do, whatever they are called."""
        return head.replace(b"\r\n", b"\n").startswith(b"tree\nversion=")

    def read(self, path: Path) -> TabularModel:
        try:
            # The library finds the trees by sizes that count one byte for the end of a line.
            data = path.read_bytes().replace(b"\r\n", b"\n")
        except OSError as error:
            raise SourceError(f"cannot be read ({error.strerror})", place=str(path), remedy="give a file") from error
        lightgbm = _library(path.name)
        model = _read(data, "Booster", "", (), path.name)
        try:
            return model.of(lightgbm.Booster(model_str=model.text.checked))
        except lightgbm.basic.LightGBMError as error:
            raise SourceError(
                f"is refused by LightGBM ({error})", place=path.name, remedy="save it again with Booster.save_model"
            ) from error

    def adopts(self, model: object) -> bool:
        lightgbm = sys.modules.get("lightgbm")
        return lightgbm is not None and isinstance(model, (lightgbm.Booster, lightgbm.LGBMModel))

    def adopt(self, model: object) -> TabularModel:
        kind = type(model).__name__
        lightgbm = _library(kind)
        booster = cast(Any, model)
        role: Role = ""
        classes: tuple[str, ...] = ()
        if isinstance(model, lightgbm.LGBMModel):
            if not booster.__sklearn_is_fitted__():
                raise SourceError("is not fitted", place=kind, remedy="call fit first")
            role = "regressor"
            if isinstance(model, lightgbm.LGBMClassifier):
                role, classes = "classifier", tuple(str(label) for label in booster.classes_.tolist())
            elif isinstance(model, lightgbm.LGBMRanker):
                role = "ranker"
            booster = booster.booster_
        return _read(booster.model_to_string().encode(), kind, role, classes, kind).of(booster)


@dataclass(frozen=True)
class _Read:
    """A model whose text is read and checked, before the library has it."""

    text: ModelText
    categories: Categories
    trees: Trees
    leaf_places: tuple[NDArray[np.int32], ...]
    objective: Objective
    task: Task
    source: str
    classes: tuple[str, ...]

    def of(self, booster: Any) -> TreeModel:
        """The model with the library's own beside it."""
        categories = self.categories
        unknown = [np.nan if categories.named else unused_number(known.tolist()) for known in categories.known]
        tables = tuple(np.array([np.nan, u, *known]) for u, known in zip(unknown, categories.known, strict=True))
        original = _Original(booster, categories.is_category, tables, self.task, self.leaf_places)
        return TreeModel(
            source=self.source,
            columns=self._columns(),
            task=self.task,
            classes=self.classes,
            trees=self.trees,
            link=self.objective.link,
            original=original.predict,
            original_leaves=original.leaves,
        )

    def _columns(self) -> tuple[InputColumn, ...]:
        names = iter(self.categories.names)
        return tuple(
            InputColumn(name, "category", next(names)) if is_category else InputColumn(name, "number")
            for name, is_category in zip(self.text.names, self.categories.is_category, strict=True)
        )


def _read(data: bytes, kind: str, role: Role, classes: tuple[str, ...], place: str) -> _Read:
    text = read_text(data, place)
    objective = read_objective(text.objective, text.scores, place)
    task = task_of(objective, role, place)
    count = {"binary": 2, "multiclass": text.scores}.get(task, 0)
    if task != "multiclass" and text.scores != 1:
        raise SourceError(f"is damaged ({text.scores} scores of one)", place=place, remedy="save the model again")
    categories = read_categories(text, place)
    try:
        trees, leaf_places = read_trees(text, categories.is_category, categories.known)
    except ValueError as error:
        raise SourceError(f"is damaged ({error})", place=place, remedy="save the model again") from error
    return _Read(
        text=text,
        categories=categories,
        trees=trees,
        leaf_places=tuple(leaf_places),
        objective=objective,
        task=task,
        source=f"lightgbm {kind} {objective.name}",
        classes=(classes or tuple(map(str, range(count)))) if count else (),
    )


@dataclass(frozen=True)
class _Original:
    """The library itself on rows.

    Attributes:
        tables: for each category column, the library's number of each of our codes.
        leaf_places: for each tree, where its leaves are among the nodes of the neutral form.
    """

    booster: Any
    is_category: NDArray[np.bool_]
    tables: tuple[NDArray[np.float64], ...]
    task: Task
    leaf_places: tuple[NDArray[np.int32], ...]

    def predict(self, rows: Rows) -> Outputs:
        return outputs_of(self._predict(rows), self.task)

    def leaves(self, rows: Rows) -> NDArray[np.int32]:
        leaf = self._predict(rows, pred_leaf=True).astype(np.int64)
        return np.stack([place[leaf[:, tree]] for tree, place in enumerate(self.leaf_places)], axis=1)

    def _predict(self, rows: Rows, **options: bool) -> NDArray[Any]:
        """[rows, scores or trees]."""
        table = np.empty((len(rows), len(self.is_category)))
        table[:, ~self.is_category] = rows.numbers
        table[:, self.is_category] = category_numbers(rows.categories, self.tables)
        found: NDArray[Any] = self.booster.predict(table, **options)
        return found.reshape(len(rows), -1)


def _library(place: str) -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise SourceError(
            "needs the library LightGBM", place=place, remedy="pip install nearhand-converters[lightgbm]"
        ) from error
    return lightgbm
