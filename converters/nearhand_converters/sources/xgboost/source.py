"""Reads XGBoost's models: its ``.json`` and ``.ubj`` files, Boosters, and the scikit-learn wrappers.

The trees are those of the library's own dump, after it has loaded a file itself.

- **A scikit-learn wrapper** stopped early predicts with its best iteration, and its file does too; a plain Booster
  predicts with all of them. Slice it for fewer.
- **Missing values** are NaN, and what the wrapper's ``missing`` says. Neither a file nor a Booster keeps that number:
  give NaN for a missing value of theirs, or convert the wrapper in memory.
- **An unknown category** of a column whose names the model keeps (trained on a data frame, since XGBoost 3.1) counts
  as missing: XGBoost 3.2 raises for it if it sorts after all names, and else takes it for the next name. Of a column
  of bare numbers it goes left, as it does in XGBoost.
- **An objective that is a function** is refused where it can be seen, in a wrapper. A Booster trained with one names
  another, by default ``reg:squarederror``: it predicts as that, and is converted as that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import SourceError, UnsupportedModelError
from nearhand_converters.graph.trees.form import Trees
from nearhand_converters.sources.boosted import Role, category_numbers, outputs_of, unused_number
from nearhand_converters.sources.model import InputColumn, Outputs, Rows, TabularModel, Task
from nearhand_converters.sources.tree_model import TreeModel
from nearhand_converters.sources.xgboost.document import Document, read_document
from nearhand_converters.sources.xgboost.objectives import objective_named, task_of
from nearhand_converters.sources.xgboost.trees import known_categories, linear_trees, read_trees

_WIDEST_LINEAR = 4_000_000
"""Numbers in the matrix that a linear model becomes: columns × columns × scores."""


@dataclass(frozen=True)
class XGBoostSource:
    """Implements :class:`~nearhand_converters.sources.model.Source`."""

    @property
    def name(self) -> str:
        return "xgboost"

    def claims(self, path: Path, head: bytes) -> bool:
        """Files whose first object holds a ``learner``, and whatever else is called ``.ubj``."""
        json_like = head.lstrip()[:1] == b"{" and b'"learner"' in head
        return json_like or head.startswith(b"{L\0\0\0\0\0\0\0\x07learner") or path.suffix.lower() == ".ubj"

    def read(self, path: Path) -> TabularModel:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise SourceError(f"cannot be read ({error.strerror})", place=str(path), remedy="give a file") from error
        document = read_document(data, path.name)
        objective_named(document.objective, path.name)
        xgboost = _library(path.name)
        booster = xgboost.Booster()
        try:
            booster.load_model(bytearray(data))
        except xgboost.core.XGBoostError as error:
            raise _refused(error, path.name) from error
        role = _role_in(document.attributes.get("scikit_learn"))
        return _model(booster, "Booster", role, np.nan, path.name)

    def adopts(self, model: object) -> bool:
        xgboost = sys.modules.get("xgboost")
        return xgboost is not None and isinstance(model, (xgboost.Booster, xgboost.XGBModel))

    def adopt(self, model: object) -> TabularModel:
        place = type(model).__name__
        xgboost = _library(place)
        if isinstance(model, xgboost.Booster):
            return _model(model, place, "", np.nan, place)
        wrapper = cast(Any, model)
        if callable(wrapper.objective):
            raise UnsupportedModelError(
                "has an objective that is a function, which no file describes",
                code="custom-objective",
                place=place,
                remedy="train with one of XGBoost's own objectives",
            )
        if not wrapper.__sklearn_is_fitted__():
            raise SourceError("is not fitted", place=place, remedy="call fit first")
        role: Role = "regressor"
        if isinstance(wrapper, xgboost.XGBClassifier):
            role = "classifier"
        elif isinstance(wrapper, xgboost.XGBRanker):
            role = "ranker"
        missing = np.nan if wrapper.missing is None else float(wrapper.missing)
        return _model(wrapper.get_booster(), place, role, missing, place)


def _model(booster: Any, kind: str, role: Role, missing: float, place: str) -> TreeModel:
    xgboost = _library(place)
    try:
        data = bytes(booster.save_raw("ubj"))
    except xgboost.core.XGBoostError as error:
        raise SourceError("is not fitted", place=place, remedy="train it first") from error
    document = read_document(data, place)
    objective = objective_named(document.objective, place)
    task = task_of(document.objective, role, document.groups, place)
    rounds = _rounds(document, role)
    if rounds:
        document = _first_rounds(document, rounds)
    base = objective.margin(document.base_score)
    if not np.isfinite(base).all():
        raise UnsupportedModelError(
            f"has base_score {document.base_score.min():g}, of which {document.objective} makes no finite score",
            code="infinite-base",
            place=place,
            remedy="train on labels that are not all 0",
        )
    known = known_categories(document)
    trees, places = _neutral(document, base, missing, place)
    # XGBClassifier compares the score with 0.5 even where that is no probability.
    above = 0.0 if document.objective == "binary:logitraw" and role != "classifier" else 0.5
    tables = _tables(document, known, missing)
    original = _Original(booster, document, tables, missing, rounds, task, above, tuple(places))
    return TreeModel(
        source=f"xgboost {kind} {document.objective}",
        columns=_columns(document, known, place),
        task=task,
        classes=_classes(document, task),
        trees=trees,
        link=objective.link,
        original=original.predict,
        original_leaves=original.leaves,
        gives_probability=objective.gives_probability,
        label_above=above,
    )


@dataclass(frozen=True)
class _Original:
    """The library itself on rows.

    Attributes:
        tables: for each category column, the library's number of each of our codes.
        rounds: the boosting rounds it predicts with, 0 for all.
        places: for each tree, where its nodes are among those of the neutral form; () for a linear model.
    """

    booster: Any
    document: Document
    tables: tuple[NDArray[np.float64], ...]
    missing: float
    rounds: int
    task: Task
    label_above: float
    places: tuple[NDArray[np.int32], ...]

    def predict(self, rows: Rows) -> Outputs:
        if self.document.objective == "multi:softmax":
            label = self._predict(rows)[:, 0]
            return {"score": self._predict(rows, output_margin=True), "label": label.astype(np.int32)}
        probability = self.document.objective != "binary:logitraw"
        return outputs_of(self._predict(rows), self.task, probability=probability, above=self.label_above)

    def leaves(self, rows: Rows) -> NDArray[np.int32] | None:
        if not self.places:
            return None
        leaf = self._predict(rows, pred_leaf=True).astype(np.int64)
        return np.stack([place[leaf[:, tree]] for tree, place in enumerate(self.places)], axis=1)

    def _predict(self, rows: Rows, **options: bool) -> NDArray[Any]:
        """[rows, scores or trees]."""
        xgboost = _library("predict")
        document = self.document
        matrix = np.empty((len(rows), document.columns), np.float32)
        is_category = np.array(document.is_category)
        matrix[:, ~is_category] = rows.numbers
        matrix[:, is_category] = category_numbers(rows.categories, self.tables)
        table = xgboost.DMatrix(
            matrix,
            missing=self.missing,
            feature_names=list(document.names) or None,
            feature_types=list(document.types) or None,
            nthread=1,  # more have to wait for each other, and rows are few
        )
        found: NDArray[Any] = self.booster.predict(table, iteration_range=(0, self.rounds), **options)
        return found.reshape(len(rows), -1)


def _tables(document: Document, known: Sequence[NDArray[np.int64]], missing: float) -> tuple[NDArray[np.float64], ...]:
    """For each category column, XGBoost's number of each of our codes."""
    names = [names for names, yes in zip(document.categories, document.is_category, strict=True) if yes]
    tables = []
    for has_names, own in zip(names, known, strict=True):
        unknown = np.nan if has_names else unused_number([*own.tolist(), missing])
        tables.append(np.array([np.nan, unknown, *own]))
    return tuple(tables)


def _neutral(
    document: Document, base: NDArray[np.float32], missing: float, place: str
) -> tuple[Trees, list[NDArray[np.int32]]]:
    if document.booster != "gblinear":
        try:
            return read_trees(document, base, missing)
        except ValueError as error:
            raise SourceError(f"is damaged ({error})", place=place, remedy="save the model again") from error
    refusal = ""
    if any(document.is_category):
        refusal = "is linear in the numbers of its categories, which have no order"
    elif not np.isnan(missing):
        refusal = "is linear, and a number stands for its missing values"
    elif document.columns**2 * document.groups > _WIDEST_LINEAR:
        refusal = f"is linear in {document.columns} columns, for {document.groups} scores"
    if refusal:
        raise UnsupportedModelError(
            refusal,
            code="gblinear",
            place=place,
            remedy="train scikit-learn's LinearRegression or LogisticRegression",
        )
    # XGBoost 3.2 adds the first base score to all scores of a linear model.
    return linear_trees(document, np.full(document.groups, base[0])), []


def _rounds(document: Document, role: Role) -> int:
    """How many rounds the scikit-learn wrapper predicts with; 0 for all."""
    best = str(document.attributes.get("best_iteration", ""))
    return int(best) + 1 if role and best.isdecimal() and document.booster != "gblinear" else 0


def _first_rounds(document: Document, rounds: int) -> Document:
    count = int(document.rounds[min(rounds, len(document.rounds) - 1)])
    return replace(
        document,
        trees=document.trees[:count],
        group=document.group[:count],
        tree_weights=document.tree_weights[:count],
    )


def _columns(document: Document, known: Sequence[NDArray[np.int64]], place: str) -> tuple[InputColumn, ...]:
    columns, numbers = [], iter(known)
    for i, is_category in enumerate(document.is_category):
        name = document.names[i] if document.names else f"f{i}"
        if not is_category:
            columns.append(InputColumn(name, "number"))
            continue
        own = next(numbers)
        columns.append(InputColumn(name, "category", document.categories[i] or tuple(map(str, own.tolist()))))
    return tuple(columns)


def _classes(document: Document, task: Task) -> tuple[str, ...]:
    count = {"binary": 2, "multiclass": document.groups}.get(task, 0)
    return tuple(str(i) for i in range(count))


def _role_in(attribute: object) -> Role:
    """What ``save_model`` of a scikit-learn wrapper says of itself."""
    try:
        said = json.loads(attribute).get("_estimator_type") if isinstance(attribute, str) else ""
    except (ValueError, AttributeError):
        return ""
    return cast(Role, said) if said in ("classifier", "regressor", "ranker") else ""


def _refused(error: Exception, place: str) -> SourceError:
    problem = str(error).splitlines()[0].split("] ", 1)[-1]
    return SourceError(
        f"is refused by XGBoost ({problem})", place=place, remedy="save it again with Booster.save_model"
    )


def _library(place: str) -> Any:
    try:
        import xgboost
    except ImportError as error:
        raise SourceError(
            "needs the library XGBoost", place=place, remedy="pip install nearhand-converters[xgboost]"
        ) from error
    return xgboost
