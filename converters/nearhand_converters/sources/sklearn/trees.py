"""Trees at the end of a pipeline: what stands before them becomes part of their thresholds, so that they stay exact.

A column that is a function of one number never falls (or never rises), so f(x) > t is x > T for one number T, which
bisection finds by calling the fitted transformers themselves. A column that is a function of a category is greater than
t for a set of categories. So the trees ask about the table's own columns, and no scaler is computed on the device.

Where a column is not such a function (a projection, a square), the columns are computed in float32 and compared there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.graph.inputs import FIRST_KNOWN, MISSING, UNKNOWN, GraphInputs
from nearhand_converters.graph.links import apply_link, arg_max_label, binary_probability, threshold_label
from nearhand_converters.graph.trees import form
from nearhand_converters.graph.trees.lower import tree_scores
from nearhand_converters.sources.model import InputColumn, Rows, Source, TabularModel
from nearhand_converters.sources.sklearn.columns import BinKey, CategoryKey, Coded, Number, Numeric, last_below
from nearhand_converters.sources.sklearn.walk import Answer, Columns, Value, Walk, lazily
from nearhand_converters.sources.sklearn_trees import sklearn_tree_model
from nearhand_converters.sources.sklearn_trees.histogram import category_columns
from nearhand_converters.sources.tree_model import TreeModel

_TINY = 5e-324
"""The smallest number above 0."""


@dataclass(frozen=True)
class Folded:
    """Trees in a pipeline.

    Attributes:
        model: as its own source reads the estimator: its columns are what reaches it.
        trees: of the table's own inputs, or of ``matrix``.
        matrix: the columns that the trees ask about, where they cannot ask about the inputs.
        numbers: for each number input of ``model``, the place of the column that reaches it.
        categories: the same for category inputs.
        known: for each category input of ``model``, what its known categories are in that column.
        zero_is_missing: whether what a sparse matrix does not store is missing.
    """

    model: TreeModel
    trees: form.Trees
    matrix: tuple[Numeric, ...] | None
    numbers: tuple[int, ...]
    categories: tuple[int, ...]
    known: tuple[NDArray[np.float64], ...]
    zero_is_missing: bool = False

    def rows(self, found: Any) -> Rows:
        """What reaches the estimator [rows, columns], as rows of ``model``.

        Args:
            found: an array, a data frame or a sparse matrix.
        """
        if self.zero_is_missing:
            stored = found.tocoo()
            table = np.full(found.shape, np.nan)
            table[stored.row, stored.col] = stored.data
        else:
            table = np.asarray(found.toarray() if hasattr(found, "toarray") else found, np.float64)
        codes = np.zeros((len(table), len(self.categories)), np.int32)
        for i, (place, known) in enumerate(zip(self.categories, self.known, strict=True)):
            codes[:, i] = _codes(table[:, place], known)
        return Rows(table[:, list(self.numbers)], codes)


def _codes(values: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.int32]:
    """The codes of an estimator's category column for the numbers that an encoder gives."""
    found = np.full(len(values), UNKNOWN, np.int32)
    found[np.isnan(values)] = MISSING
    for i, value in enumerate(known):
        found[values == value] = FIRST_KNOWN + i
    return found


class TreeEstimators:
    """Answers for the tree estimators of any library.

    Args:
        sources: of the other libraries.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    def answer(self, walk: Walk, estimator: Any, columns: Columns, place: str) -> Answer | None:
        """The answer of a tree estimator; None: it is not one."""
        folded = walk.kept.get(place)
        walk.jumps = True
        if folded is None:
            found = self._read(walk, estimator, len(columns), place)
            if found is None:
                return None
            folding = _Folding(walk, *found, columns, place)
            if walk.dry:
                return _nothing_yet(found[0])
            folded = folding.folded()
            if folded.matrix is None:
                walk.kept[place] = folded
        return _answer(walk, estimator, folded, place)

    def _read(
        self, walk: Walk, estimator: Any, width: int, place: str
    ) -> tuple[TreeModel, dict[int, NDArray[np.float64]], bool] | None:
        """The model, the known numbers of its category columns, and whether zeros of a sparse matrix are missing."""
        known = _category_columns(estimator)
        columns = tuple(
            InputColumn(f"x{i}", "category", tuple(map(str, known[i].tolist())))
            if i in known
            else InputColumn(f"x{i}", "number")
            for i in range(width)
        )
        model: TabularModel | None = sklearn_tree_model(estimator, columns)
        if model is not None:
            return cast(TreeModel, model), known, False
        for source in self._sources:
            if source.adopts(estimator):
                model = source.adopt(estimator)
                kinds = {column.kind for column in model.columns}
                if not isinstance(model, TreeModel) or kinds != {"number"} or len(model.columns) != width:
                    raise UnsupportedModelError(
                        f"{type(estimator).__name__} stands in a pipeline and has categories of its own",
                        code="categories-in-pipeline",
                        place=place,
                        remedy="encode the categories in the pipeline, or convert the estimator without the pipeline",
                    )
                # XGBoost takes what is not stored in a sparse matrix for missing, others for 0.
                return model, {}, source.name == "xgboost" and hasattr(walk.sample, "toarray")
        return None


def _category_columns(estimator: Any) -> dict[int, NDArray[np.float64]]:
    """The known numbers of each category column of a HistGradientBoosting estimator: what an encoder gives it."""
    if getattr(estimator, "is_categorical_", None) is None:
        return {}
    found = {}
    for column, values in category_columns(estimator).items():
        try:
            numbers = np.array(values, np.float64)
        except (TypeError, ValueError):
            continue  # texts: the estimator reads the table's own column
        found[column] = numbers[~np.isnan(numbers)]
    return found


def _answer(walk: Walk, estimator: Any, folded: Folded, place: str) -> Answer:
    g, model = walk.g, folded.model

    def sums() -> str:
        inputs = walk.tree_inputs() if folded.matrix is None else GraphInputs(walk.matrix(folded.matrix, place), "")
        return tree_scores(g, folded.trees, inputs, walk.lowering)

    raw = lazily(sums)
    linked = lazily(lambda: apply_link(g, raw(), model.link))
    if model.task in ("regression", "ranking"):
        return Answer(value=linked, tree=folded)
    if model.task == "multiclass":
        # Of the scores, not of what the link has rounded: two sigmoids near 1 are equal before their scores are.
        label, probability = lazily(lambda: arg_max_label(g, raw())), linked
    else:
        label = lazily(lambda: threshold_label(g, linked(), model.label_above))
        probability = lazily(lambda: binary_probability(g, linked()))
    if not model.gives_probability:
        return Answer(scores=linked, label=label, tree=folded)
    return Answer(_decision(walk, estimator, raw), probability, label, tree=folded)


def _decision(walk: Walk, estimator: Any, raw: Value) -> Value | None:
    """What scikit-learn's classes with a decision function make of the trees' sums."""
    name = type(estimator).__name__
    if name == "AdaBoostClassifier":
        factor = max(len(estimator.classes_) - 1, 1)
        return lazily(lambda: walk.g.add("Mul", raw(), walk.floats(factor)))
    return raw if name in ("GradientBoostingClassifier", "HistGradientBoostingClassifier") else None


def _nothing_yet(model: TreeModel) -> Answer:
    """An answer for a walk that is thrown away."""
    if model.task in ("regression", "ranking"):
        return Answer(value=str)
    if not model.gives_probability:
        return Answer(scores=str, label=str)
    return Answer(scores=str, probability=str, label=str)


@dataclass(frozen=True)
class _Question:
    """What a node asks now: is ``column`` greater than ``threshold``; if ``flipped``, yes goes left."""

    column: form.Column
    threshold: float
    flipped: bool = False


class _Folding:
    """Rewrites the trees of one estimator, column by column."""

    def __init__(
        self,
        walk: Walk,
        model: TreeModel,
        known: dict[int, NDArray[np.float64]],
        zero_is_missing: bool,
        columns: Columns,
        place: str,
    ) -> None:
        self._walk, self._model, self._known, self._place = walk, model, known, place
        self._zero_is_missing = zero_is_missing
        self._columns = [
            self._category(column, known[i]) if i in known else walk.numeric([column], place)[0]
            for i, column in enumerate(columns)
        ]
        for column in self._columns:
            if isinstance(column, Number):
                walk.table.read_number(column.source, place)
        self._numbers = tuple(i for i in range(len(columns)) if i not in known)
        self._categories = tuple(known)
        self._untouched = not zero_is_missing and all(
            not column.steps if isinstance(column, Number) else isinstance(column, Coded) for column in self._columns
        )
        self._matrix: list[Numeric] = []

    def _category(self, column: Any, known: NDArray[np.float64]) -> Coded:
        """What an encoder has made of a category, or a number that the estimator itself takes for one."""
        read = self._walk.category(column, known.tolist(), self._place)
        return Coded(read.key, read.values.astype(np.float64))

    def folded(self) -> Folded:
        trees = self._model.trees
        if trees.linear is not None:
            raise UnsupportedModelError(
                f"{self._model.source} has linear leaves, and stands behind other steps",
                code="linear-leaves-in-pipeline",
                place=self._place,
                remedy="train with linear_tree=False, or without the steps",
            )
        inner = ~trees.is_leaf
        nodes = {k: np.flatnonzero(inner & (trees.column == k)) for k in np.unique(trees.column[inner]).tolist()}
        limits = {k: np.unique(trees.threshold[own]) for k, own in nodes.items()}
        questions = {k: self._of_inputs(trees.columns[k], limits[k]) for k in nodes}
        whole = all(own is not None for own in questions.values())
        if not whole:
            questions = {k: self._of_matrix(trees.columns[k], limits[k], questions[k]) for k in nodes}
        asked: dict[form.Column, int] = {}
        column, threshold = trees.column * 0, trees.threshold.copy()
        left, right = trees.left.copy(), trees.right.copy()
        for k, own in nodes.items():
            which = np.searchsorted(limits[k], trees.threshold[own])
            for i, question in enumerate(questions[k] or ()):
                chosen = own[which == i]
                column[chosen] = asked.setdefault(question.column, len(asked))
                threshold[chosen] = question.threshold
                if question.flipped:
                    left[chosen], right[chosen] = trees.right[chosen], trees.left[chosen]
        precision = trees.precision if whole and self._untouched else "float64"
        new = replace(
            trees, columns=tuple(asked), column=column, threshold=threshold, left=left, right=right, precision=precision
        )
        known = tuple(self._known.values())
        matrix = None if whole else tuple(self._matrix)
        return Folded(self._model, new, matrix, self._numbers, self._categories, known, self._zero_is_missing)

    def _flow(self, asked: form.Column) -> Numeric:
        return self._columns[(self._numbers if isinstance(asked, form.Number) else self._categories)[asked.feature]]

    def _of_inputs(self, asked: form.Column, limits: NDArray[np.float64]) -> list[_Question] | None:
        """The questions of one column about the table's own inputs; None if there are none that ask the same."""
        column = self._flow(asked)
        if isinstance(column, Coded):
            yes = self._sets(asked, column, limits)
            if isinstance(column.key, CategoryKey):
                feature = self._walk.table.place_of_category(column.key.source)
                sets = [tuple(np.flatnonzero(own).tolist()) for own in yes]
                return [_Question(form.Membership(feature, own), 0.5) for own in sets]
            return self._of_bins(column.key, yes)
        if not isinstance(column, Number) or not isinstance(asked, form.Number):
            return None
        feature = self._walk.table.place_of_number(column.source)
        if self._untouched:
            return [_Question(replace(asked, feature=feature), limit) for limit in limits.tolist()]
        return self._of_number(asked, column, limits, feature)

    def _of_number(
        self, asked: form.Number, column: Number, limits: NDArray[np.float64], feature: int
    ) -> list[_Question] | None:
        if not column.direction or (column.steps and (asked.zero_is_missing or asked.sentinel is not None)):
            return None

        flipped, precision = column.direction < 0, self._model.trees.precision
        thresholds = last_below(column, limits, rounded=precision)
        with np.errstate(over="ignore"):
            absent = float(column.exact(np.array([np.nan])).astype(precision)[0])
        sentinel = asked.sentinel
        if self._zero_is_missing:
            absent = np.nan if absent == 0 else absent
            zeros = self._zeros(column)
            if zeros is None:
                return None
            if len(zeros):
                sentinel = float(zeros[0])
        stand_ins = [asked.missing] if np.isnan(absent) else [absent]
        if sentinel is not None:
            stand_ins.append(asked.missing)
        missing = _stand_in(stand_ins, limits, thresholds, flipped)
        if missing is None:
            return None
        asks = replace(asked, feature=feature, missing=missing, sentinel=sentinel)
        return [_Question(asks, threshold, flipped) for threshold in thresholds.tolist()]

    def _zeros(self, column: Number) -> NDArray[np.float64] | None:
        """The one float32 input that gives exactly 0, if there is one; None: there are several."""
        ends = np.array([-_TINY, 0.0] if column.direction > 0 else [0.0, -_TINY])
        before, last = last_below(column, ends, rounded=self._model.trees.precision)
        top = form.floor32(np.array([last]))
        if top[0] <= before:
            return np.empty(0)
        return None if np.nextafter(top[0], np.float32(-np.inf)) > before else top.astype(np.float64)

    def _of_bins(self, key: BinKey, yes: list[NDArray[np.bool_]]) -> list[_Question] | None:
        """Questions about the number that was binned; each set has to be all bins above a cut, or all below."""
        feature = self._walk.table.place_of_number(key.source)
        found = []
        for own in yes:
            bins, absent = own[:-1], bool(own[-1])
            jumps = np.flatnonzero(np.diff(bins.astype(np.int8)))
            if len(jumps) > 1:
                return None
            flipped = bool(bins[0])
            cut = key.cuts[jumps[0]] if len(jumps) else np.inf
            asks = form.Number(feature, np.inf if absent != flipped else -np.inf)
            found.append(_Question(asks, min(cut, float(np.finfo(np.float64).max)), flipped))
        return found

    def _sets(self, asked: form.Column, column: Coded, limits: NDArray[np.float64]) -> list[NDArray[np.bool_]]:
        """For each limit: for which codes of the column's key the answer is yes."""
        if isinstance(asked, form.Membership):
            of_estimator = _codes(column.values, self._known[self._categories[asked.feature]])
            return [np.isin(of_estimator, asked.members)] * len(limits)
        values = np.where(self._zero_is_missing & (column.values == 0), np.nan, column.values)
        with np.errstate(over="ignore"):
            rounded = values.astype(self._model.trees.precision)[:, None]
        seen = replace(asked, feature=0).values(rounded)
        return [seen > limit for limit in limits]

    def _of_matrix(
        self, asked: form.Column, limits: NDArray[np.float64], of_inputs: list[_Question] | None
    ) -> list[_Question]:
        """The questions of one column about a column of the matrix."""
        column, place = self._flow(asked), len(self._matrix)
        if isinstance(column, Coded):
            # How many limits a code's value is above: a whole number, the same in float32.
            yes = self._sets(asked, column, limits)
            self._matrix.append(Coded(column.key, np.sum(yes, axis=0, dtype=np.float64)))
            return [_Question(form.Number(place, -np.inf), i + 0.5) for i in range(len(limits))]
        assert isinstance(asked, form.Number)
        if of_inputs is not None and isinstance(column, Number):
            self._matrix.append(Number(column.source))
            return [replace(own, column=replace(cast(form.Number, own.column), feature=place)) for own in of_inputs]
        self._matrix.append(column)
        sentinel = 0.0 if self._zero_is_missing else asked.sentinel
        asks = replace(asked, feature=place, sentinel=sentinel)
        return [_Question(asks, limit) for limit in limits.tolist()]


def _stand_in(
    values: list[float], limits: NDArray[np.float64], thresholds: NDArray[np.float64], flipped: bool
) -> float | None:
    """A number on the same sides of the thresholds as each of the values is of the limits; None: there is none."""
    yes = [(value > limits) != flipped for value in values]
    if any((own != yes[0]).any() for own in yes[1:]):
        return None
    if yes[0].all() or not yes[0].any():
        return np.inf if yes[0].any() else -np.inf
    low, high = thresholds[yes[0]].max(), thresholds[~yes[0]].min()
    return float(np.nextafter(low, np.inf)) if low < high else None
