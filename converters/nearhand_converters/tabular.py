"""Rankers and predictors, top to bottom: model → graphs → artifacts → parity → golden vectors → bundle."""

from __future__ import annotations

import statistics
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import onnx
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from nearhand import __version__
from nearhand.bundle.document import serialize
from nearhand.bundle.manifest import Manifest
from nearhand.bundle.schema import FORMAT_VERSION, GoldenReference, RuntimeName
from nearhand.bundle.tables import Column, Parity, Ranks, TableModel, VocabulariesReference
from nearhand.ranking import RowEncoder, TableRows, check_table_golden
from nearhand.runtime import Runtime, Session
from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.graph.inputs import GraphInputs, Lowering
from nearhand_converters.graph.trees.device_ranks import needs_ranks, ranked_trees
from nearhand_converters.graph.trees.form import Number, Trees
from nearhand_converters.graph.trees.lower import tree_leaves
from nearhand_converters.output import Conversion, add_file, check_out, load_runtimes, variant_of, write_conversion
from nearhand_converters.parity.rows import single, verification_rows
from nearhand_converters.parity.table_evidence import golden_vectors, variant_parity
from nearhand_converters.parity.tabular import Leaves, Original
from nearhand_converters.recipe import TableRecipe
from nearhand_converters.sources.model import Rows, TabularModel
from nearhand_converters.targets.artifact import Artifact, write_artifact

LEAF_ROWS = 2_048
"""How many rows are asked for their leaves where trees are plain operators: the first ones, which stand on thresholds.
All of them would take as long again as the comparison of the outputs.
"""

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Sample:
    """Rows of the engineer's own data.

    Attributes:
        name: for a reader, such as the file's.
        unread: the columns of the data that the model does not read.
    """

    rows: Rows
    name: str
    unread: tuple[str, ...] = ()


@runtime_checkable
class OfTrees(Protocol):
    """A model that may be nothing but trees of its own inputs; then its graph can be built of others."""

    @property
    def trees(self) -> Trees | None: ...

    def with_trees(self, trees: Trees) -> TabularModel:
        """The same model, but its graph is built of ``trees``."""
        ...


@dataclass(frozen=True)
class Coded:
    """A model as its graph sees it.

    Attributes:
        model: builds the graph.
        thresholds: for each number column, if the device gives ranks instead of numbers; else none.
        reason: why it has to.
    """

    model: TabularModel
    thresholds: tuple[NDArray[np.float64], ...] = ()
    reason: str = ""


def convert_tabular(
    model: TabularModel,
    out: Path,
    recipe: TableRecipe,
    *,
    targets: Sequence[RuntimeName],
    provenance: Mapping[str, str],
    sample: Sample | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Conversion:
    """Build a ranker or a predictor for each target, compare it with the original, and write a bundle.

    Args:
        out: the bundle's path if it ends in ``.nearhand``, else a folder for ``NAME-VERSION.nearhand``.
        provenance: what is known of the model's file and its library, for the manifest.
        sample: rows that are compared beside those that are made from the model.

    Raises:
        UnsupportedModelError: the model, or a part of it, has no graph that computes the same.
        UnsupportedOperatorError: a target has no form for an operator of it.
        ParityError: an artifact does not compute what the original does; nothing is written.
        RuntimeUnavailableError: a target's runtime is not installed, so nothing could be proved.
        StorageError: the bundle cannot be written.
    """
    # BLAS threads as in training: another number of them gives other last bits. No warning of what is beyond float32:
    # it is an infinity, and is compared as one.
    with threadpool_limits(1, "blas"), np.errstate(over="ignore"), ExitStack() as sessions:
        check_out(out, recipe.name, recipe.version)
        runtimes = load_runtimes(targets)
        columns, vocabularies = _columns(model, recipe.name)
        coded = _coded(model, recipe)
        encoder = RowEncoder(columns, vocabularies, [thresholds.tolist() for thresholds in coded.thresholds])

        progress("original model", 0, 1)
        original = Original(model, _rows(model, recipe, sample, doubles=bool(coded.thresholds)))
        outputs = original.outputs
        progress("original model", 1, 1)

        artifacts: dict[RuntimeName, Artifact] = {}
        running: dict[RuntimeName, Session] = {}
        compared = []
        for place, target in enumerate(targets):
            progress("conversion and comparison", place, len(targets))
            lowering = _lowering(model, recipe, target)
            artifacts[target] = write_artifact(_graph(coded.model, outputs, lowering), target)
            running[target] = sessions.enter_context(_session(runtimes[target], artifacts[target]))
            with _leaves(coded.model, lowering, runtimes[target], encoder) as leaves:
                found = original.verify(
                    partial(_run, running[target], encoder),
                    label=f"{target}/fp32",
                    leaves=leaves,
                    leaf_rows=None if lowering == "operator" else LEAF_ROWS,
                )
            compared.append(variant_parity(target, found))
        progress("conversion and comparison", len(targets), len(targets))

        golden = golden_vectors(
            original, [partial(_run, session, encoder) for session in running.values()], compared, recipe.golden_rows
        )
        latency = {}
        for target, session in running.items():
            check_table_golden(session, encoder, golden, place=f"{target}/fp32")
            latency[f"{target}/fp32"] = _measure_latency(session, encoder, original.rows)

    files: dict[str, bytes] = {}
    name, given = recipe.name, 0 if sample is None else len(sample.rows)
    described = TableModel(
        role=recipe.role or ("ranker" if model.task == "ranking" else "predictor"),
        name=name,
        kind="graph" if model.trees is None else "trees",
        task=model.task,
        classes=tuple(model.classes),
        columns=_with_typical(columns, sample),
        encoding="ranks" if coded.thresholds else "values",
        variants=tuple(variant_of(artifact, name, target, "fp32", files) for target, artifact in artifacts.items()),
        golden=GoldenReference(add_file(files, f"golden/{name}.json", serialize(golden)), len(golden.numbers)),
        parity=Parity(
            rows_given=given,
            rows_made=len(original.rows) - given,
            description=_describe_rows(sample, len(original.rows) - given, ranks=bool(coded.thresholds)),
            variants=tuple(compared),
        ),
        provenance={"source": model.source, **provenance},
        ranks=_ranks(name, coded, files),
        notes=tuple(getattr(model, "notes", ())),
    )
    manifest = Manifest(
        format=FORMAT_VERSION,
        name=name,
        version=recipe.version,
        licence=recipe.licence or "unstated",
        min_sdk=__version__,
        models=(described,),
        event_types={},
        provenance={
            "nearhand": __version__,
            "numpy": np.__version__,
            "onnx": onnx.__version__,
            **{f"{target}_runtime": runtime.version for target, runtime in runtimes.items()},
        },
        vocabularies=_vocabularies(vocabularies, files),
    )
    return write_conversion(out, manifest, files, latency, runtimes)


def _columns(model: TabularModel, name: str) -> tuple[tuple[Column, ...], dict[str, tuple[str, ...]]]:
    """The columns as they stand in the manifest, and their vocabularies."""
    names = [column.name for column in model.columns]
    if not all(names) or len(set(names)) != len(names):
        raise UnsupportedModelError(
            "two columns have one name, or one has none",
            code="column-names",
            place="columns",
            remedy="train on columns with different names",
        )
    missing, unknown = (_for_each(model, flag) for flag in ("missing_allowed", "unknown_allowed"))
    columns, vocabularies = [], {}
    for place, column in enumerate(model.columns):
        vocabulary = None
        if column.kind == "category":
            vocabulary = f"{name}.{column.name}"
            vocabularies[vocabulary] = tuple(column.categories)
            if len(set(column.categories)) != len(column.categories):
                raise UnsupportedModelError(
                    "two categories have one text",
                    code="category-texts",
                    place=f"column {column.name!r}",
                    remedy="make the categories texts before training",
                )
        columns.append(Column(column.name, column.kind, vocabulary, missing[place], unknown[place]))
    return tuple(columns), vocabularies


def _with_typical(columns: Sequence[Column], sample: Sample | None) -> tuple[Column, ...]:
    """The columns, each number with the median of the given rows that have it; to nine digits, as float32 has them."""
    if sample is None:
        return tuple(columns)
    given = iter(sample.rows.numbers.T)
    return tuple(
        replace(column, typical=_median(next(given))) if column.kind == "number" else column for column in columns
    )


def _median(numbers: NDArray[np.float64]) -> Decimal | None:
    """Of those that are finite, if there are any."""
    finite = numbers[np.isfinite(numbers)]
    return Decimal(f"{np.median(finite):.9g}") if len(finite) else None


def _for_each(model: TabularModel, flag: str) -> Sequence[bool]:
    """What a model may say of its columns beside the protocol; see :func:`verification_rows`."""
    said: bool | Sequence[bool] = getattr(model, flag, True)
    return [said] * len(model.columns) if isinstance(said, bool) else said


def _coded(model: TabularModel, recipe: TableRecipe) -> Coded:
    """Ranks where float32 inputs could route a row another way than the original does, unless the recipe forbids it."""
    trees = model.trees if isinstance(model, OfTrees) else None
    if not isinstance(model, OfTrees) or trees is None or recipe.inputs == "values" or not needs_ranks(trees):
        return Coded(model)
    numbers = [column.name for column in model.columns if column.kind == "number"]
    ranked = ranked_trees(trees, len(numbers))
    if ranked is None:
        return Coded(model)
    return Coded(model.with_trees(ranked.trees), ranked.thresholds, _reason(trees, numbers))


def _reason(trees: Trees, names: Sequence[str]) -> str:
    """With the first threshold that is no float32 as the example."""
    for node in np.flatnonzero(~trees.is_leaf):
        column, threshold = trees.columns[trees.column[node]], float(trees.threshold[node])
        if isinstance(column, Number) and float(np.float32(threshold)) != threshold:
            return (
                f"the original compares float64 numbers, and thresholds such as {threshold!r} of "
                f"{names[column.feature]!r} are no float32: a number beside one could be rounded to its other side, so "
                "the device compares in float64 and gives the model ranks"
            )
    raise AssertionError("every threshold is a float32")


def _rows(model: TabularModel, recipe: TableRecipe, sample: Sample | None, *, doubles: bool) -> Rows:
    """The rows to compare: those made, then those given; as float32 numbers, unless the device gives ranks."""
    rows = verification_rows(model, recipe.rows, doubles=doubles)
    if sample is not None:
        given = sample.rows if doubles else single(sample.rows)
        rows = Rows(np.concatenate([rows.numbers, given.numbers]), np.concatenate([rows.categories, given.categories]))
    if not len(rows):
        raise UnsupportedModelError(
            "no row can be made that the original accepts", code="no-rows", remedy="give rows with --rows"
        )
    return rows


def _describe_rows(sample: Sample | None, made: int, *, ranks: bool) -> str:
    parts = [] if sample is None else [f"{len(sample.rows):,} rows of {sample.name}"]
    if sample is not None and sample.unread:
        parts[0] += f" (not read: its columns {', '.join(sample.unread)})"
    parts.append(f"{made:,} rows made from the model: at and around its thresholds, its categories, missing values")
    return "; ".join(parts) + ("" if ranks else "; numbers rounded to float32")


def _lowering(model: TabularModel, recipe: TableRecipe, target: RuntimeName) -> Lowering:
    """As the recipe says; but the operator for trees has no linear leaves."""
    linear = model.trees is not None and model.trees.linear is not None
    return "ranks" if linear else recipe.lowering_for(target)


def _graph(model: TabularModel, outputs: Mapping[str, NDArray[np.generic]], lowering: Lowering) -> onnx.ModelProto:
    """The model's graph.

    Args:
        outputs: of the original, for their names and widths.
    """
    g = GraphBuilder("model")
    values = model.build(g, _inputs(g, model), lowering)
    for name in sorted(outputs, key=lambda name: (name == "label", name)):
        width = outputs[name].shape[1:]
        g.output(values[name], name, "int32" if name == "label" else "float32", ("batch", *width))
    return g.model()


def _inputs(g: GraphBuilder, model: TabularModel) -> GraphInputs:
    kinds = [column.kind for column in model.columns]
    numbers, categories = kinds.count("number"), kinds.count("category")
    return GraphInputs(
        g.input("numbers", "float32", ("batch", numbers)) if numbers else "",
        g.input("categories", "int32", ("batch", categories)) if categories else "",
    )


@contextmanager
def _session(runtime: Runtime, artifact: Artifact) -> Iterator[Session]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        path.write_bytes(artifact.data)
        session = runtime.load(path)
        try:
            yield session
        finally:
            session.close()


@contextmanager
def _leaves(model: TabularModel, lowering: Lowering, runtime: Runtime, encoder: RowEncoder) -> Iterator[Leaves | None]:
    """The leaves that the same trees, lowered in the same way, reach on the same runtime."""
    if model.trees is None or not len(model.trees.roots):
        yield None
        return
    g = GraphBuilder("leaves")
    found = tree_leaves(g, model.trees, _inputs(g, model), lowering)
    g.output(found, "leaves", "int32", ("batch", len(model.trees.roots)))
    with _session(runtime, write_artifact(g.model(), runtime.name)) as session:
        yield lambda rows: _run(session, encoder, rows)["leaves"]


def _run(session: Session, encoder: RowEncoder, rows: Rows) -> dict[str, NDArray[Any]]:
    """An artifact as the device runs it."""
    return session.run(encoder.inputs(TableRows(rows.numbers, rows.categories)))


def _measure_latency(session: Session, encoder: RowEncoder, rows: Rows, runs: int = 100) -> float:
    """Median time of one row, in microseconds."""
    durations = []
    for i in range(runs):
        row = rows[i % len(rows) : i % len(rows) + 1]
        start = time.perf_counter_ns()
        _run(session, encoder, row)
        durations.append(time.perf_counter_ns() - start)
    return statistics.median(durations) / 1e3


def _vocabularies(found: Mapping[str, Sequence[str]], files: dict[str, bytes]) -> VocabulariesReference | None:
    if not found:
        return None
    reference = add_file(files, "vocabularies.json", serialize(found))
    return VocabulariesReference(reference, {name: len(texts) for name, texts in found.items()})


def _ranks(name: str, coded: Coded, files: dict[str, bytes]) -> Ranks | None:
    if not coded.thresholds:
        return None
    data = b"".join(struct.pack(f"<{len(column)}d", *column.tolist()) for column in coded.thresholds)
    counts = tuple(map(len, coded.thresholds))
    return Ranks(add_file(files, f"thresholds/{name}.f64", data), counts, coded.reason)
