"""The whole conversion, top to bottom: model → graph → quantized graph → artifacts → evidence → bundle."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from nearhand import __version__
from nearhand.bundle.document import serialize
from nearhand.bundle.manifest import Manifest
from nearhand.bundle.schema import (
    FORMAT_VERSION,
    FeaturesReference,
    Golden,
    GoldenCase,
    GoldenReference,
    Items,
    ItemsReference,
    Model,
    Policy,
    Precision,
    Role,
    RuntimeName,
    VariantEvidence,
)
from nearhand.features import ItemTable, Program, compile_program
from nearhand.retrieval import Retriever, check_golden, padded
from nearhand.runtime import Runtime
from nearhand_converters.data import Catalogue, Dataset, Split, positives, temporal_split
from nearhand_converters.errors import DataError
from nearhand_converters.graph.fold_in import FoldIn, fold_in_exact, fold_in_graph, fold_in_steps, whiten
from nearhand_converters.graph.index import index_graph
from nearhand_converters.output import Conversion, add_file, check_out, load_runtimes, variant_of, write_conversion
from nearhand_converters.parity.evidence import Evaluation, Progress, check_budget
from nearhand_converters.parity.holdout import HeldOutUser, held_out_users
from nearhand_converters.parity.source import SourceModel, top_rows
from nearhand_converters.quantize.int8 import quantize_int8
from nearhand_converters.quantize.rows import quantize_rows
from nearhand_converters.recipe import Recipe
from nearhand_converters.sources.factors import FactorModel
from nearhand_converters.targets.artifact import Artifact, write_artifact

GOLDEN_TOLERANCE = Decimal("0.00001")
"""Relative to a list's best score; float32 arithmetic of these models stays well below it on every processor."""

VariantKey = tuple[RuntimeName, Precision]


@dataclass(frozen=True)
class BuiltVariant:
    """Both artifacts of one variant, and the item rows that are in them as float32 [items, factors]."""

    artifacts: Mapping[Role, Artifact]
    table: NDArray[np.float32]

    @property
    def bytes(self) -> int:
        """Size of encoder and index together."""
        return sum(len(artifact.data) for artifact in self.artifacts.values())


def convert(
    model: FactorModel,
    dataset: Dataset,
    recipe: Recipe,
    out: Path,
    *,
    targets: Sequence[RuntimeName],
    precisions: Sequence[Precision],
    progress: Progress = lambda stage, done, total: None,
) -> Conversion:
    """Build, prove and write a bundle.

    Args:
        dataset: the training data with its catalogue, rows in the model's order; its last interactions are held out.
        out: the bundle's path if it ends in ``.nearhand``, else a folder for ``NAME-VERSION.nearhand``.
        precisions: fp32 is always built as the yardstick of size, but kept only if it is listed.

    Raises:
        DataError: the data does not fit the model.
        ProgramError: the feature program reads what the catalogue does not have.
        BudgetError: a variant loses more than the budget; nothing is written.
        RuntimeUnavailableError: a target's runtime is not installed, so nothing could be proved.
        StorageError: the bundle cannot be written.
    """
    # Matrices here are small: BLAS threads cost more than they give, and another number of them gives other last bits.
    with threadpool_limits(1, "blas"):
        check_out(out, recipe.name, recipe.version)
        _check_fit(model, dataset)
        runtimes = load_runtimes(targets)
        policy = recipe.policy(model.alpha)
        split = temporal_split(positives(dataset.interactions, recipe.minimum_rating))
        users = list(held_out_users(split, policy, recipe.interaction_event))
        popularity = np.bincount(split.train.item, minlength=len(dataset.catalogue)).tolist()

        items = _items(dataset.catalogue, popularity)
        if recipe.features is not None:
            compile_program(recipe.features, ItemTable.of_bundle(items))  # refuses what a device would

        progress("graphs", 0, 1)
        table = whiten(model.item_factors, model.regularization).astype(np.float32)
        built, dropped = build_variants(table, policy, targets, precisions)
        progress("graphs", 1, 1)

        evaluation = Evaluation(
            SourceModel(model), users, popularity, bootstrap_samples=recipe.bootstrap_samples, progress=progress
        )
        golden = golden_cases(users, {precision: v.table for (_, precision), v in built.items()}, recipe.golden_cases)
        measured: list[VariantEvidence] = []
        latency: dict[str, float] = {}
        for (runtime, precision), variant in built.items():
            with tempfile.TemporaryDirectory() as folder:
                retriever = _load(runtimes[runtime], variant, policy, len(table), Path(folder))
                check_golden(retriever, golden, precision, place=f"{runtime}/{precision}")
                measured.append(evaluation.measure(runtime, precision, variant.bytes, retriever, variant.table))
                latency[f"{runtime}/{precision}"] = measure_latency(retriever, users)
                retriever.close()
        budget = recipe.budgets()
        check_budget(budget, measured)
        evidence = evaluation.evidence(_describe(dataset, split), budget, measured, dropped)

    files: dict[str, bytes] = {}
    manifest = Manifest(
        format=FORMAT_VERSION,
        name=recipe.name,
        version=recipe.version,
        licence=recipe.licence or dataset.licence or "unstated",
        min_sdk=__version__,
        models=tuple(_model(role, built, files) for role in ("encoder", "index")),
        items=ItemsReference(add_file(files, "items.json", serialize(items)), len(dataset.catalogue)),
        event_types=dict(recipe.event_types),
        policy=policy,
        golden=GoldenReference(add_file(files, "golden.json", serialize(golden)), len(golden.cases)),
        evidence=evidence,
        provenance={
            "source": "implicit ALS",
            "source_sha256": model.sha256,
            "nearhand": __version__,
            "numpy": np.__version__,
            "onnx": onnx.__version__,
            **{f"{name}_runtime": runtime.version for name, runtime in runtimes.items()},
        },
        features=_features(recipe.features, files),
        listing=recipe.listing,
    )
    return write_conversion(out, manifest, files, latency, runtimes)


def build_variants(
    table: NDArray[np.float32], policy: Policy, targets: Sequence[RuntimeName], precisions: Sequence[Precision]
) -> tuple[dict[VariantKey, BuiltVariant], dict[str, str]]:
    """Every variant that earns its place, and the reason for each that does not.

    Args:
        table: whitened item rows, float32 [items, factors].
    """
    weakest = min(map(abs, policy.confidences.values()), default=Decimal(1))
    steps = fold_in_steps(float(policy.confidence_cap), float(weakest))
    graphs: dict[Role, onnx.ModelProto] = {
        "encoder": fold_in_graph(FoldIn(table, policy.window, steps)),
        "index": index_graph(table),
    }
    built: dict[VariantKey, BuiltVariant] = {}
    dropped: dict[str, str] = {}
    for runtime in targets:
        plain = BuiltVariant({role: write_artifact(graph, runtime) for role, graph in graphs.items()}, table)
        if "fp32" in precisions:
            built[runtime, "fp32"] = plain
        if "int8" in precisions:
            small = BuiltVariant(
                {
                    role: write_artifact(quantize_int8(graph, integer_product=runtime != "tflite"), runtime)
                    for role, graph in graphs.items()
                },
                quantize_rows(table).dequantized(),
            )
            if small.bytes < plain.bytes:
                built[runtime, "int8"] = small
            else:
                dropped[f"{runtime}/int8"] = f"{small.bytes} bytes are not fewer than {plain.bytes} of fp32"
                built[runtime, "fp32"] = plain
    return built, dropped


def golden_cases(users: Sequence[HeldOutUser], tables: Mapping[Precision, NDArray[np.float32]], count: int) -> Golden:
    """Golden vectors from real histories, computed exactly (float64, all items) and not by any runtime.

    The last case of the list is one item; the others are spread over the users.
    """
    chosen = [users[i] for i in np.linspace(0, len(users) - 1, count).astype(int)]
    histories = [(user.rows, user.confidences) for user in chosen if len(user.rows)]
    histories[-1] = (histories[-1][0][-1:], histories[-1][1][-1:])
    return Golden(GOLDEN_TOLERANCE, tuple(_golden_case(rows, c, tables) for rows, c in histories))


def measure_latency(retriever: Retriever, users: Sequence[HeldOutUser], runs: int = 200) -> float:
    """Median time of encoding and retrieving, in microseconds."""
    durations = []
    for i in range(runs):
        user = users[i % len(users)]
        rows, confidences = padded(user.rows, user.confidences, retriever.window)
        start = time.perf_counter_ns()
        retriever.retrieve(retriever.encode(rows, confidences).vector, exclude=(), k=10)
        durations.append(time.perf_counter_ns() - start)
    return statistics.median(durations) / 1e3


def _check_fit(model: FactorModel, dataset: Dataset) -> None:
    if len(model.item_factors) != len(dataset.catalogue):
        raise DataError(
            f"has {len(dataset.catalogue)} items, the model has {len(model.item_factors)}",
            place=f"data set {dataset.name!r}",
            remedy="give the items file that the model was trained with, in the order of the model's rows",
        )


def _load(runtime: Runtime, variant: BuiltVariant, policy: Policy, items: int, folder: Path) -> Retriever:
    sessions = {}
    for role, artifact in variant.artifacts.items():
        path = folder / role
        path.write_bytes(artifact.data)
        sessions[role] = runtime.load(path)
    return Retriever(
        sessions["encoder"],
        sessions["index"],
        items=items,
        window=policy.window,
        candidates=policy.candidates,
    )


def _golden_case(
    rows: NDArray[np.int32], confidences: NDArray[np.float64], tables: Mapping[Precision, NDArray[np.float32]]
) -> GoldenCase:
    expected: dict[str, tuple[int, ...]] = {}
    scores: dict[str, tuple[Decimal, ...]] = {}
    for precision, table in tables.items():
        every = table.astype(np.float64) @ fold_in_exact(table, rows, confidences)
        best = top_rows(every, set(rows.tolist()), 10)
        expected[precision] = tuple(best.tolist())
        scores[precision] = tuple(Decimal(f"{score:.9g}") for score in every[best])
    return GoldenCase(tuple(rows.tolist()), tuple(Decimal(repr(c)) for c in confidences.tolist()), expected, scores)


def _model(role: Role, built: Mapping[VariantKey, BuiltVariant], files: dict[str, bytes]) -> Model:
    variants = tuple(
        variant_of(variant.artifacts[role], role, runtime, precision, files)
        for (runtime, precision), variant in built.items()
    )
    return Model(role, "fold_in" if role == "encoder" else "inner_product", variants)


def _features(program: Program | None, files: dict[str, bytes]) -> FeaturesReference | None:
    if program is None:
        return None
    return FeaturesReference(add_file(files, "features.json", serialize(program)), program.name, program.version)


def _items(catalogue: Catalogue, popularity: Sequence[int]) -> Items:
    return Items(
        item_ids=catalogue.item_ids,
        titles=catalogue.titles,
        years=tuple(year or 0 for year in catalogue.years),
        genres=catalogue.genres,
        directors=catalogue.directors,
        popularity=tuple(popularity),
    )


def _describe(dataset: Dataset, split: Split) -> str:
    return (
        f"{dataset.name}: {len(split.train)} positive interactions to learn from, the last {len(split.held_out)} "
        "of their users held out"
    )
