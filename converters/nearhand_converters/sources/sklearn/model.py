"""A fitted scikit-learn model or pipeline: its graph, and the original beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import SourceError
from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.graph.inputs import FIRST_KNOWN, MISSING, UNKNOWN, GraphInputs, Lowering
from nearhand_converters.graph.links import Link, arg_max_label
from nearhand_converters.graph.trees.form import Trees
from nearhand_converters.sources.model import InputColumn, Outputs, Rows, Task
from nearhand_converters.sources.sklearn.clusters import with_wide_centres
from nearhand_converters.sources.sklearn.compose import steps_of
from nearhand_converters.sources.sklearn.library import class_name, quiet
from nearhand_converters.sources.sklearn.rounding import LIKELY, rounded_twins
from nearhand_converters.sources.sklearn.table import Table
from nearhand_converters.sources.sklearn.trees import Folded
from nearhand_converters.sources.sklearn.walk import Answer, Registry, Walk
from nearhand_converters.sources.texts import text_of

Kind = Literal["probability", "score", "value", "cluster", "transform", "trees"]
"""Which of the original's methods are asked."""

_PLACE = "model"


@dataclass(frozen=True)
class SklearnModel:
    """Implements :class:`~nearhand_converters.sources.model.TabularModel`.

    Attributes:
        source, columns, task, classes, trees: as the protocol says.
        link: from the scores of ``trees`` to the prediction, if there are trees.
        notes: what a reader of the conversion should know, one sentence each.
        missing_allowed, unknown_allowed: for each column whether the original takes a missing value, and a category
            that it has never seen. Where it raises, the graph gives something, as a note says.
        ranges: for each number column (low, high): where its numbers usually are; None: nothing is known.
        edges: for each number column, where a model without trees jumps, float64 ascending.
    """

    source: str
    columns: tuple[InputColumn, ...]
    task: Task
    classes: tuple[str, ...]
    trees: Trees | None
    link: Link | None
    notes: tuple[str, ...]
    ranges: tuple[tuple[float, float], ...] | None
    edges: tuple[NDArray[np.float64], ...]
    original: Original
    registry: Registry
    kept: Mapping[str, Folded]
    missing_allowed: tuple[bool, ...] = ()
    unknown_allowed: tuple[bool, ...] = ()

    def build(self, g: GraphBuilder, inputs: GraphInputs, lowering: Lowering) -> Mapping[str, str]:
        """The pipeline as nodes, with scalers and encoders in the constants of what reads them."""
        original = self.original
        walk = Walk(g, inputs, lowering, original.table, self.registry, dict(self.kept))
        walk.sample = original.table.original(_usual_row(self.columns, self.ranges))
        return _outputs(walk, original.estimator, self.task)[0]

    def predict(self, rows: Rows) -> Outputs:
        return self.original.answer(rows)

    def leaves(self, rows: Rows) -> NDArray[np.integer] | None:
        return self.original.leaves(rows)

    def with_trees(self, trees: Trees) -> SklearnModel:
        """The same model, but its graph is built of ``trees``: the same nodes over other numbers."""
        kept = {
            place: replace(folded, trees=trees) if folded.trees is self.trees else folded
            for place, folded in self.kept.items()
        }
        return replace(self, trees=trees, kept=kept)

    def decided(self, rows: Rows) -> NDArray[np.bool_]:
        """Where the original's answer does not hang on a tie that float32 cannot see, bool [rows]."""
        return self.original.decided(rows)

    def float32_error(self, rows: Rows) -> Mapping[str, NDArray[np.float64]]:
        """What the original itself loses in float32, beside what its inputs lose: output → [rows, values]."""
        return self.original.float32_error(rows)


@dataclass(frozen=True)
class Original:
    """The original model, on rows.

    Attributes:
        folded: the trees, if the model ends in trees and nothing else.
        tied: for what reaches the last step, float64 [rows, columns]: whether its answer hangs on a tie.
        jumps: whether something in the model is compared with a threshold.
    """

    estimator: Any
    table: Table
    kind: Kind
    folded: Folded | None = None
    tied: Callable[[NDArray[np.float64]], NDArray[np.bool_]] | None = None
    jumps: bool = False
    _twins: list[Any] = field(default_factory=list)

    def answer(self, rows: Rows) -> Outputs:
        if self.folded is not None:
            return self.folded.model.predict(self.folded.rows(self._reaching_last(rows)))
        return self._answer(self.estimator, rows)

    def leaves(self, rows: Rows) -> NDArray[np.integer] | None:
        if self.folded is None or self.folded.matrix is not None:
            return None
        return self.folded.model.leaves(self.folded.rows(self._reaching_last(rows)))

    def decided(self, rows: Rows) -> NDArray[np.bool_]:
        if self.tied is None:
            return np.ones(len(rows), np.bool_)
        return ~self.tied(np.asarray(self._reaching_last(rows), np.float64))

    def _reaching_last(self, rows: Rows) -> Any:
        """What the original's own steps give to the last one: an array, a data frame or a sparse matrix."""
        table = self.table.original(rows)
        with quiet():
            for step in steps_of(self.estimator)[:-1]:
                table = step.transform(table)
        return table

    def float32_error(self, rows: Rows) -> Mapping[str, NDArray[np.float64]]:
        if self.folded is not None:
            return {}
        if not self._twins:
            self._twins.extend(rounded_twins(self.estimator, jumps=self.jumps))
        exact = self.answer(rows)
        squares = {name: np.zeros(values.shape) for name, values in exact.items() if name != "label"}
        for twin in self._twins:
            other = self._answer(twin, rows)
            for name in squares:
                with np.errstate(invalid="ignore"):
                    change = _float64(other[name]) - _float64(exact[name])
                squares[name] += np.where(np.isfinite(change), change, 0.0) ** 2
        return {name: LIKELY * np.sqrt(total / len(self._twins)) for name, total in squares.items()}

    def _answer(self, estimator: Any, rows: Rows) -> Outputs:
        table = self.table.original(rows)
        with quiet():
            if self.kind == "transform":
                found = estimator.transform(table)
                return {"transformed": np.asarray(found.toarray() if hasattr(found, "toarray") else found)}
            if self.kind == "value":
                return {"value": np.asarray(estimator.predict(table)).reshape(len(rows), -1)}
            if self.kind == "cluster":
                return self._clusters(estimator, table)
            label = np.searchsorted(estimator.classes_, estimator.predict(table)).astype(np.int32)
            if self.kind == "score":
                return {"score": estimator.decision_function(table).reshape(len(rows), -1), "label": label}
            return {"probability": estimator.predict_proba(table), "label": label}

    def _clusters(self, estimator: Any, table: Any) -> Outputs:
        last = steps_of(estimator)[-1]
        if class_name(last) != "DBSCAN":
            label = estimator.predict(table).astype(np.int32)
            return {"label": label, "distance": np.asarray(estimator.transform(table))}
        for step in steps_of(estimator)[:-1]:
            table = step.transform(table)
        return {"label": nearest_core_label(last, np.asarray(table, np.float64))}


def _float64(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(values, np.float64)


def nearest_core_label(model: Any, table: NDArray[np.float64]) -> NDArray[np.int32]:
    """The cluster of the nearest core sample if that is within eps, else −1: int32 [rows]."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=1, metric=model.metric, metric_params=model.metric_params, p=model.p or 2)
    distance, nearest = search.fit(model.components_).kneighbors(table)
    label = model.labels_[model.core_sample_indices_][nearest[:, 0]]
    return np.where(distance[:, 0] <= model.eps, label, -1).astype(np.int32)


def read_model(estimator: Any, registry: Registry) -> SklearnModel:
    """A fitted estimator or pipeline as a tabular model.

    Raises:
        SourceError, UnsupportedModelError: as :meth:`~nearhand_converters.sources.model.Source.adopt`.
    """
    estimator = with_wide_centres(estimator)
    table = Table.of(steps_of(estimator)[0], _PLACE)
    known, task = -1, _task(estimator, registry)
    while table.size() > known:
        known = table.size()
        _outputs(_scratch(table, registry, dry=True), estimator, task)
    walk = _scratch(table, registry, dry=False)
    walk.sample = table.original(_usual_row(table.columns(), _ranges(walk)))
    _, answer = _outputs(walk, estimator, task)
    if answer is not None and answer.tree is not None:
        task = answer.tree.model.task
    kind = _kind(answer, task)
    folded = answer.tree if answer is not None else None
    original = Original(estimator, table, kind, folded, answer.tied if answer is not None else None, walk.jumps)
    whole = folded is not None and folded.matrix is None
    model = SklearnModel(
        source=_source(estimator, folded),
        columns=table.columns(),
        task=task,
        classes=_classes(estimator, folded) if task in ("binary", "multiclass") else (),
        trees=folded.trees if folded is not None and whole else None,
        link=folded.model.link if folded is not None and whole else None,
        notes=tuple(walk.notes),
        ranges=_ranges(walk),
        edges=tuple(np.unique(np.array(walk.cuts.get(source, ()), np.float64)) for source in table.numbers()),
        original=original,
        registry=registry,
        kept=walk.kept,
    )
    return _with_what_it_takes(model)


def _scratch(table: Table, registry: Registry, *, dry: bool) -> Walk:
    """A walk whose graph is thrown away."""
    return Walk(GraphBuilder("scratch"), GraphInputs("numbers", "categories"), "ranks", table, registry, dry=dry)


def _task(estimator: Any, registry: Registry) -> Task:
    last = steps_of(estimator)[-1]
    if not registry.is_model(last):
        return "transform"
    if hasattr(last, "cluster_centers_") or hasattr(last, "core_sample_indices_"):
        return "cluster"
    classes = getattr(last, "classes_", None)
    if classes is None:
        return "regression"
    return "binary" if len(classes) == 2 else "multiclass"


def _outputs(walk: Walk, estimator: Any, task: Task) -> tuple[Mapping[str, str], Answer | None]:
    """Output name → value, and the answer that they are of, unless the estimator is a transformer."""
    columns = walk.table.untouched()
    if task == "transform":
        return {"transformed": walk.matrix(walk.transform(estimator, columns, _PLACE), _PLACE)}, None
    answer = walk.answer(estimator, columns, _PLACE)
    found = {}
    if answer.probability is not None:
        found["probability"] = answer.probability()
    elif answer.scores is not None:
        found["score"] = answer.scores()
    if answer.value is not None:
        found["value"] = answer.value()
    if answer.distance is not None:
        found["distance"] = answer.distance()
    if answer.label is not None:
        found["label"] = answer.label()
    elif answer.probability is not None:
        found["label"] = arg_max_label(walk.g, answer.probability())
    return found, answer


def _kind(answer: Answer | None, task: Task) -> Kind:
    if answer is None:
        return "transform"
    if task == "cluster":
        return "cluster"
    if answer.value is not None:
        return "value"
    return "probability" if answer.probability is not None else "score"


def _source(estimator: Any, folded: Folded | None) -> str:
    last = steps_of(estimator)[-1]
    name = class_name(last)
    option = getattr(last, "loss", "")
    what = f"{name} {option}" if isinstance(option, str) and option else name
    if name == "DBSCAN":
        what = "DBSCAN surrogate: nearest core sample within eps, else -1"
    if folded is not None:
        what = folded.model.source.removeprefix("scikit-learn ")
    return f"scikit-learn {'Pipeline ' if last is not estimator else ''}{what}"


def _classes(estimator: Any, folded: Folded | None) -> tuple[str, ...]:
    if folded is not None:
        return folded.model.classes
    return tuple(text_of(value, f"{_PLACE}.classes_") for value in estimator.classes_)


def _ranges(walk: Walk) -> tuple[tuple[float, float], ...] | None:
    if not walk.ranges and not walk.lowest:
        return None
    found = []
    for source in walk.table.numbers():
        lowest = walk.lowest.get(source, -np.inf)
        low, high = walk.ranges.get(source, (-3.0, 3.0) if lowest < -3 else (lowest, lowest + 6))
        found.append((max(low, lowest), max(high, lowest)))
    return tuple(found)


def _with_what_it_takes(model: SklearnModel) -> SklearnModel:
    """The model with what the original says to missing and unknown values: each is tried."""
    usual = _usual_row(model.columns, model.ranges)
    try:
        model.predict(usual)
    except ValueError as error:
        raise SourceError(
            f"does not predict a plain row ({str(error).splitlines()[0]})", place=_PLACE, remedy="train it again"
        ) from error
    missing, unknown = [], []
    place = {"number": 0, "category": 0}
    for column in model.columns:
        at = place[column.kind]
        place[column.kind] += 1
        if column.kind == "number":
            other = usual.numbers.copy()
            other[0, at] = np.nan
            missing.append(_takes(model, Rows(other, usual.categories)))
            unknown.append(True)
            continue
        for found, code in ((missing, MISSING), (unknown, UNKNOWN)):
            changed = usual.categories.copy()
            changed[0, at] = code
            found.append(_takes(model, Rows(usual.numbers, changed)))
    return replace(model, missing_allowed=tuple(missing), unknown_allowed=tuple(unknown))


def _usual_row(columns: tuple[InputColumn, ...], ranges: tuple[tuple[float, float], ...] | None) -> Rows:
    """A row that has every number and every category."""
    width = sum(column.kind == "number" for column in columns)
    numbers = np.array([[(low + high) / 2 for low, high in ranges]]) if ranges is not None else np.ones((1, width))
    codes = [FIRST_KNOWN if column.categories else MISSING for column in columns if column.kind == "category"]
    return Rows(numbers.reshape(1, width), np.array(codes, np.int32).reshape(1, -1))


def _takes(model: SklearnModel, rows: Rows) -> bool:
    try:
        model.predict(rows)
    except (ValueError, TypeError):
        return False
    return True
