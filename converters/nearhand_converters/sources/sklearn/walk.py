"""The walk through a pipeline: from the table's columns to values of the graph.

The walk is made with a builder whose graph is thrown away until it finds nothing new about the table (which columns are
categories, and all of their known values); so whatever has no graph is refused when a model is read.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from nearhand_converters.errors import SourceError, UnsupportedModelError
from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.graph.inputs import FIRST_KNOWN, GraphInputs, Lowering, clamp_codes
from nearhand_converters.graph.trees.form import floor32
from nearhand_converters.sources.sklearn.columns import (
    BinKey,
    CategoryKey,
    Coded,
    Column,
    Dense,
    Key,
    Number,
    Numeric,
    Operation,
    Text,
    Untouched,
    last_below,
)
from nearhand_converters.sources.sklearn.library import check_fitted, class_name, custom_class, is_sklearn
from nearhand_converters.sources.sklearn.operations import apply_operations, centred, merged, scale_and_offset
from nearhand_converters.sources.sklearn.table import Table

if TYPE_CHECKING:
    from nearhand_converters.sources.sklearn.trees import Folded

Value: TypeAlias = Callable[[], str]
"""Appends its nodes when it is first called, and gives a value of the graph."""


def lazily(value: Value) -> Value:
    """``value``, called once at most."""
    return functools.cache(value)


@dataclass(frozen=True)
class Answer:
    """What a model gives, each made only if somebody reads it; None where the original has no such method.

    Attributes:
        scores: the decision function, float32 [batch, 1] for two classes, else [batch, classes].
        probability: float32 [batch, classes].
        label: int32 [batch]: the class's place, or the cluster.
        log_odds: the value [batch, 1] whose sigmoid is the second class's probability, if it is one.
        value: float32 [batch, targets] of a regression.
        distance: float32 [batch, clusters].
        tree: the trees, where the model is nothing but trees.
        tied: for what reaches the model, float64 [rows, columns]: whether its answer hangs on a tie that float32 cannot
            see, bool [rows].
    """

    scores: Value | None = None
    probability: Value | None = None
    label: Value | None = None
    value: Value | None = None
    distance: Value | None = None
    tree: Folded | None = None
    tied: Callable[[NDArray[np.float64]], NDArray[np.bool_]] | None = None
    log_odds: Value | None = None


Columns: TypeAlias = Sequence[Column]
Transform: TypeAlias = "Callable[[Walk, Any, Columns, str], list[Column]]"
Model: TypeAlias = "Callable[[Walk, Any, Columns, str], Answer]"


@dataclass(frozen=True)
class Registry:
    """Class name → what converts it. The names are those of scikit-learn's own classes.

    Attributes:
        other_model: for everything else: gives None if it does not know the class either.
    """

    transformers: Mapping[str, Transform]
    models: Mapping[str, Model]
    refused: Mapping[str, tuple[str, str, str]]
    """Class name → code, reason and remedy."""
    other_model: Callable[[Walk, Any, Columns, str], Answer | None]

    def is_model(self, estimator: Any) -> bool:
        """Whether it predicts, rather than transforms; the estimator is no pipeline."""
        name = type(estimator).__name__ if is_sklearn(estimator) else ""
        return name in self.models or (name not in self.transformers and hasattr(estimator, "predict"))


class Walk:
    """One walk, with one builder.

    Attributes:
        notes: what a reader of the conversion should know, in order.
        cuts: source → where the model jumps as a function of that number.
        jumps: whether something is compared with a threshold.
        ranges: source → a range in which that number usually is.
        lowest: source → the smallest number that the model is made for.
        kept: place → trees that a former walk through the same table has folded.
        dry: the walk only finds out about the table: it need not make what takes long.
        sample: a row as the original has it at this step; None in a dry walk.
    """

    def __init__(
        self,
        g: GraphBuilder,
        inputs: GraphInputs,
        lowering: Lowering,
        table: Table,
        registry: Registry,
        kept: dict[str, Folded] | None = None,
        *,
        dry: bool = False,
    ) -> None:
        self.g = g
        self.inputs = inputs
        self.lowering: Lowering = lowering
        self.table = table
        self.notes: dict[str, None] = {}
        self.cuts: dict[int, list[float]] = {}
        self.jumps = False
        self.ranges: dict[int, tuple[float, float]] = {}
        self.lowest: dict[int, float] = {}
        self.kept: dict[str, Folded] = {} if kept is None else kept
        self.dry = dry
        self.sample: Any = None
        self._registry = registry
        self._clamped = ""
        self._matrices: dict[tuple[int, ...], tuple[str, Columns]] = {}

    # What converts a class

    def transform(self, transformer: Any, columns: Columns, place: str) -> list[Column]:
        """The columns that a fitted transformer makes of these.

        Raises:
            UnsupportedModelError, SourceError
        """
        if transformer is None or (isinstance(transformer, str) and transformer == "passthrough"):
            return list(columns)
        convert = self._registry.transformers.get(type(transformer).__name__) if is_sklearn(transformer) else None
        if convert is None:
            raise self._unknown(transformer, place, "transformer", self._registry.transformers)
        check_fitted(transformer, place)
        _check_width(transformer, columns, place)
        return convert(self, transformer, columns, place)

    def answer(self, model: Any, columns: Columns, place: str) -> Answer:
        """What a fitted model gives for these columns.

        Raises:
            UnsupportedModelError, SourceError
        """
        convert = self._registry.models.get(type(model).__name__) if is_sklearn(model) else None
        if convert is not None:
            check_fitted(model, place)
            _check_width(model, columns, place)
            return convert(self, model, columns, place)
        answer = self._registry.other_model(self, model, columns, place)
        if answer is None:
            raise self._unknown(model, place, "estimator", self._registry.models)
        return answer

    def _unknown(self, estimator: Any, place: str, what: str, known: Mapping[str, Any]) -> UnsupportedModelError:
        name = class_name(estimator)
        if not is_sklearn(estimator):
            return custom_class(estimator, what, place)
        if name in self._registry.refused:
            code, reason, remedy = self._registry.refused[name]
            return UnsupportedModelError(f"{name} {reason}", code=code, place=place, remedy=remedy)
        return UnsupportedModelError(
            f"{name} is not converted",
            code=f"unsupported-{what}",
            place=place,
            remedy="use one of " + ", ".join(sorted(known)),
        )

    # What reads a column

    def numeric(self, columns: Columns, place: str) -> list[Numeric]:
        """The columns as a model reads them; inputs that nothing has read yet are numbers."""
        found: list[Numeric] = []
        for column in columns:
            if isinstance(column, Text):
                raise UnsupportedModelError(
                    f"reads column {self.table.names[column.key.source]!r}, which holds texts",
                    code="text-without-encoder",
                    place=place,
                    remedy="put a OneHotEncoder or an OrdinalEncoder before it",
                )
            found.append(Number(column.source) if isinstance(column, Untouched) else column)
        return found

    def category(self, column: Column, values: Sequence[Any], place: str) -> Text | Coded:
        """The column as an encoder reads it, whose known values these are."""
        if isinstance(column, (Text, Coded)):
            if isinstance(column, Text) and isinstance(column.key, CategoryKey):
                self.table.read_category(column.key.source, values, place)
                if len(column.values) != len(self.table.category_values(column.key.source)):
                    return self._text(column.key.source)  # a walk that is thrown away
            return column
        if isinstance(column, Number) and all(
            operation.kind == "fill" for step in column.steps for operation in step.operations
        ):
            self.table.read_category(column.source, values, place)
            text = self._text(column.source)
            if not column.steps:
                return text
            filled = column.exact(text.values.astype(np.float64))
            return Text(text.key, filled.astype(object))
        if isinstance(column, Untouched):
            self.table.read_category(column.source, values, place)
            return self._text(column.source)
        raise UnsupportedModelError(
            "encodes the results of a calculation",
            code="encoded-calculation",
            place=place,
            remedy="encode the table's own columns, or use KBinsDiscretizer",
        )

    def _text(self, source: int) -> Text:
        values = self.table.category_values(source)
        return Text(CategoryKey(source, len(values)), values)

    def cut(self, number: Number, cuts: Sequence[float], place: str) -> BinKey:
        """A key that counts the cuts below a number."""
        self.table.read_number(number.source, place)
        self.cuts.setdefault(number.source, []).extend(cuts)
        self.jumps = True
        return BinKey(number.source, tuple(cuts))

    def usually(self, column: Column, low: float, high: float) -> None:
        """Note the range of a column, if it is a function of one number that nothing is known of."""
        number = Number(column.source) if isinstance(column, Untouched) else column
        if isinstance(number, Number) and number.direction and number.source not in self.ranges and low <= high:
            ends = last_below(number, np.array([low, high]), dtype="float32")
            if np.isfinite(ends).all():
                self.ranges[number.source] = (float(ends.min()), float(ends.max()))

    def not_below(self, column: Column, low: float) -> None:
        """Note that a column is not made for smaller numbers, if it is a function of one that never falls."""
        number = Number(column.source) if isinstance(column, Untouched) else column
        if isinstance(number, Number) and number.direction > 0:
            end = float(last_below(number, np.array([low]), dtype="float32")[0])
            self.lowest[number.source] = max(end, self.lowest.get(number.source, -np.inf))

    def constant(self, value: float, columns: Columns, place: str) -> Coded:
        """A column that is the same in every row; ``columns`` are any that are there."""
        for column in columns:
            if isinstance(column, (Coded, Text)):
                return Coded(column.key, np.full(column.key.size, value))
            if isinstance(column, (Number, Untouched)):
                return Coded(self.cut(Number(column.source), (), place), np.full(2, value))
        raise UnsupportedModelError(
            "adds a constant to the results of a calculation only",
            code="constant-column",
            place=place,
            remedy="use include_bias=False",
        )

    # What makes values of the graph

    def ints(self, *values: int) -> str:
        return self.g.constant(np.array(values, np.int64))

    def floats(self, values: Any) -> str:
        """A float32 constant of the same shape."""
        with np.errstate(over="ignore"):
            return self.g.constant(np.asarray(values, np.float64).astype(np.float32))

    def take(self, value: str, places: Sequence[int], width: int) -> str:
        """Columns of a value [batch, width]: [batch, len(places)]."""
        if list(places) == list(range(width)):
            return value
        return self.g.add("Gather", value, self.g.constant(np.array(places, np.int32)), axis=1)

    def joined(self, values: Sequence[str]) -> str:
        """Side by side."""
        return values[0] if len(values) == 1 else self.g.add("Concat", *values, axis=1)

    def dense(self, value: str, width: int) -> list[Column]:
        """The columns of a value [batch, width]."""
        return [Dense(value, place, width) for place in range(width)]

    def matrix(self, columns: Columns, place: str) -> str:
        """The columns as one value, float32 [batch, columns]."""
        known = tuple(map(id, columns))
        if known not in self._matrices:
            self._matrices[known] = self._matrix(self.numeric(columns, place), place), columns
        return self._matrices[known][0]

    def product(self, columns: Columns, weights: NDArray[np.float64], bias: NDArray[np.float64], place: str) -> str:
        """columns @ weights + bias, float32 [batch, outputs], with scalers and categories taken into the constants.

        Args:
            weights: float64 [columns, outputs]; bias: float64 [outputs].
        """
        numeric = self.numeric(columns, place)
        if weights.ndim != 2 or bias.shape != weights.shape[1:]:
            raise SourceError(f"its weights are {list(weights.shape)}", place=place, remedy="train again")
        if len(numeric) != len(weights):
            raise SourceError(
                f"has weights for {len(weights)} columns, and gets {len(numeric)}",
                place=place,
                remedy="train the whole pipeline again",
            )
        blocks, rows, bias = [], [], bias.copy()
        for value, places, scale, offset in self._blocks(numeric, place, keep_scale=False):
            blocks.append(value)
            rows.append(weights[places] * scale[:, None])
            bias += offset @ weights[places]
        summed = self._table_sum(numeric, weights, place)
        if not blocks:
            return self.g.add("Add", summed, self.floats(bias))
        gemm = self.g.add("Gemm", self.joined(blocks), self.floats(np.concatenate(rows)), self.floats(bias))
        return self.g.add("Add", gemm, summed) if summed else gemm

    def codes(self, keys: Sequence[Key], place: str) -> str:
        """The codes of the keys, int32 [batch, keys]."""
        parts, order = [], []
        categories = [i for i, key in enumerate(keys) if isinstance(key, CategoryKey)]
        if categories:
            places = [self.table.place_of_category(keys[i].source) for i in categories]
            parts.append(self.take(self._clamped_codes(), places, len(self.table.categories())))
            order += categories
        bins = [(i, key) for i, key in enumerate(keys) if isinstance(key, BinKey)]
        if bins:
            parts.append(self._bin_codes([key for _, key in bins], place))
            order += [i for i, _ in bins]
        return self.take(self.joined(parts), list(np.argsort(order)), len(order))

    def tree_inputs(self) -> GraphInputs:
        """The table's own inputs, for trees that ask about them."""
        codes = self._clamped_codes() if self.table.categories() else ""
        return GraphInputs(self.inputs.numbers, codes)

    def number_inputs(self, sources: Sequence[int], place: str) -> str:
        """Inputs as they are, float32 [batch, sources]."""
        for source in sources:
            self.table.read_number(source, place)
        places = [self.table.place_of_number(source) for source in sources]
        return self.take(self.inputs.numbers, places, len(self.table.numbers()))

    def _clamped_codes(self) -> str:
        if not self._clamped:
            known = [len(self.table.category_values(source)) - FIRST_KNOWN for source in self.table.categories()]
            self._clamped = clamp_codes(self.g, self.inputs.categories, known)
        return self._clamped

    def _bin_codes(self, keys: Sequence[BinKey], place: str) -> str:
        """int32 [batch, keys]."""
        x = self.number_inputs([key.source for key in keys], place)
        most = max(len(key.cuts) for key in keys)
        absent = self.g.add("Cast", self.g.add("IsNaN", x), to=TensorProto.INT32)
        after_last = self.g.constant(np.array([[len(key.cuts) + 1 for key in keys]], np.int32))
        code = self.g.add("Mul", absent, after_last)
        if most:
            cuts = np.full((len(keys), most), np.inf, np.float32)
            for row, key in zip(cuts, keys, strict=True):
                row[: len(key.cuts)] = floor32(np.array(key.cuts, np.float64))
            above = self.g.add("Greater", self.g.add("Unsqueeze", x, self.ints(2)), self.g.constant(cuts[None]))
            above = self.g.add("Cast", above, to=TensorProto.INT32)
            code = self.g.add("Add", code, self.g.add("ReduceSum", above, self.ints(2), keepdims=0))
        return code

    def _blocks(
        self, numeric: Sequence[Numeric], place: str, *, keep_scale: bool
    ) -> list[tuple[str, list[int], NDArray[np.float64], NDArray[np.float64]]]:
        """Numbers and dense columns as values: (value [batch, n], places, and the scale and offset left to do [n])."""
        groups: dict[Any, list[int]] = {}
        operations: dict[int, tuple[Operation, ...]] = {}
        for i, column in enumerate(numeric):
            if isinstance(column, Number):
                operations[i] = merged(operation for step in column.steps for operation in step.operations)
                signature = tuple((operation.kind, operation.name) for operation in operations[i])
                groups.setdefault(signature, []).append(i)
            elif isinstance(column, Dense):
                groups.setdefault(column.value, []).append(i)
        found = []
        for signature, places in groups.items():
            scale, offset = np.ones(len(places)), np.zeros(len(places))
            if isinstance(signature, str):
                columns = [column for i in places if isinstance(column := numeric[i], Dense)]
                value = self.take(signature, [column.place for column in columns], columns[0].width)
            else:
                sources = [column.source for i in places if isinstance(column := numeric[i], Number)]
                value = self.number_inputs(sources, place)
                each = [operations[i] for i in places]
                if signature and signature[-1][0] == "affine" and not keep_scale:
                    value = centred(self.g, apply_operations(self.g, value, [own[:-1] for own in each]), each)
                    scale, offset = scale_and_offset(each)
                else:
                    value = apply_operations(self.g, value, each)
            found.append((value, places, scale, offset))
        return found

    def _matrix(self, numeric: Sequence[Numeric], place: str) -> str:
        values, order = [], []
        for value, places, _, _ in self._blocks(numeric, place, keep_scale=True):
            values.append(value)
            order += places
        for key, places in _by_key(numeric).items():
            columns = [column.values for i in places if isinstance(column := numeric[i], Coded)]
            values.append(self._look_up(key, np.stack(columns, axis=1), place))
            order += places
        if not values:
            raise SourceError("has no columns", place=place, remedy="train again with columns")
        return self.take(self.joined(values), list(np.argsort(order)), len(order))

    def _look_up(self, key: Key, table: NDArray[np.float64], place: str) -> str:
        """Rows of a table [codes, width] by a key's code: [batch, width]."""
        code = self.g.add("Squeeze", self.codes([key], place), self.ints(1))
        return self.g.add("Gather", self.floats(table), code, axis=0)

    def _table_sum(self, numeric: Sequence[Numeric], weights: NDArray[np.float64], place: str) -> str:
        """What the coded columns add to a product, [batch, outputs]; "" if there are none."""
        by_key = _by_key(numeric)
        if not by_key:
            return ""
        tables = []
        for places in by_key.values():
            columns = [column.values for i in places if isinstance(column := numeric[i], Coded)]
            tables.append(np.stack(columns, axis=1) @ weights[places])
        keys = list(by_key)
        if len(keys) == 1:
            return self._look_up(keys[0], tables[0], place)
        starts = np.cumsum([0, *(len(table) for table in tables[:-1])]).astype(np.int32)
        at = self.g.add("Add", self.codes(keys, place), self.g.constant(starts[None]))
        rows = self.g.add("Gather", self.floats(np.concatenate(tables)), at, axis=0)
        return self.g.add("ReduceSum", rows, self.ints(1), keepdims=0)


def _check_width(estimator: Any, columns: Columns, place: str) -> None:
    width = getattr(estimator, "n_features_in_", len(columns))
    if width != len(columns):
        raise SourceError(
            f"{class_name(estimator)} was fitted on {width} columns, and gets {len(columns)}",
            place=place,
            remedy="train the whole pipeline again",
        )


def _by_key(numeric: Sequence[Numeric]) -> dict[Key, list[int]]:
    """The places of the coded columns, by their key."""
    found: dict[Key, list[int]] = {}
    for i, column in enumerate(numeric):
        if isinstance(column, Coded):
            found.setdefault(column.key, []).append(i)
    return found
