"""What the films bundle promises: size, ranking quality, exact arithmetic, the same list everywhere."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from model_zoo.datasets.sample import sample_dataset
from model_zoo.films_als.train import train
from nearhand.bundle.schema import Precision, RuntimeName, Variant
from nearhand.explain import contributions
from nearhand.retrieval import Retriever, padded
from nearhand.runtime import installed_runtimes
from nearhand_converters.graph.fold_in import fold_in_exact, whiten
from nearhand_converters.parity.source import SourceModel, top_rows
from nearhand_converters.pipeline import convert
from nearhand_converters.quantize.rows import quantize_rows
from nearhand_converters.recipe import read_recipe
from nearhand_converters.sources.factors import read_factors
from tests.conformance.conftest import Films
from tests.environments import Environment, environments

Lists = dict[str, list[dict[str, Any]]]
"""What compute_lists.py writes."""

VARIANTS: list[tuple[RuntimeName, Precision]] = [
    ("onnx", "fp32"),
    ("onnx", "int8"),
    ("tflite", "fp32"),
    ("tflite", "int8"),
]


def files(films: Films, runtime: RuntimeName, precision: Precision) -> tuple[Variant, Variant]:
    """Encoder and index of a variant."""
    encoder, index = (
        next(
            variant
            for variant in films.bundle.manifest.model(role).variants
            if (variant.runtime, variant.precision) == (runtime, precision)
        )
        for role in ("encoder", "index")
    )
    return encoder, index


def retriever(films: Films, runtime: RuntimeName, precision: Precision) -> Retriever:
    """The variant, loaded."""
    encoder, index = files(films, runtime, precision)
    engine = installed_runtimes()[runtime]()
    policy = films.bundle.manifest.retrieval.policy
    return Retriever(
        engine.load(films.bundle.path(encoder.file)),
        engine.load(films.bundle.path(index.file)),
        items=films.bundle.manifest.retrieval.items.count,
        window=policy.window,
        candidates=policy.candidates,
    )


@pytest.mark.parametrize("runtime", ["onnx", "tflite"])
def test_int8_is_at_most_30_percent_of_fp32(films: Films, runtime: RuntimeName) -> None:
    whole, small = (
        sum(variant.file.bytes for variant in files(films, runtime, precision)) for precision in ("fp32", "int8")
    )
    assert small <= 0.30 * whole


@pytest.mark.parametrize("runtime", ["onnx", "tflite"])
def test_int8_ranks_as_well_on_movielens(movielens_films: Films, runtime: RuntimeName) -> None:
    variants = movielens_films.conversion.manifest.retrieval.evidence.variants
    evidence = next(v for v in variants if (v.runtime, v.precision) == (runtime, "int8"))
    assert evidence.ndcg_change.low >= Decimal("-0.02")
    assert evidence.top10_overlap >= Decimal("0.97")
    source = movielens_films.conversion.manifest.retrieval.evidence
    assert source.source_ndcg_at_10.low > source.popularity_ndcg_at_10.high


@pytest.mark.soak
def test_int8_ranks_as_well_for_20_000_simulated_users(tmp_path: Path) -> None:
    dataset = sample_dataset(20_000)
    train(dataset, tmp_path)
    recipe, model = read_recipe(tmp_path / "recipe.toml"), read_factors(tmp_path / "model.npz")
    out = tmp_path / "films.nearhand"
    conversion = convert(model, dataset, recipe, out, targets=["onnx", "tflite"], precisions=["int8"])
    evidence = conversion.manifest.retrieval.evidence
    assert evidence.users > 19_000
    assert {(v.runtime, v.precision) for v in evidence.variants} == {("onnx", "int8"), ("tflite", "int8")}
    for variant in evidence.variants:
        assert variant.ndcg_change.low >= Decimal("-0.01")
        assert variant.top10_overlap >= Decimal("0.97")


@pytest.mark.parametrize("runtime", ["onnx", "tflite"])
def test_fp32_lists_are_the_source_models(films: Films, runtime: RuntimeName) -> None:
    """The same ordered top 10, except that neighbours within 1e-6 relative may have changed places."""
    source, loaded = SourceModel(films.model), retriever(films, runtime, "fp32")
    for user in films.users:
        scores = source.scores(user.rows, user.confidences)
        exclude = {*user.seen, *user.rows.tolist()}
        expected = top_rows(scores, exclude, 10)
        vector = loaded.encode(*padded(user.rows, user.confidences, loaded.window)).vector
        found = loaded.retrieve(vector, exclude=exclude, k=10).rows[:10]
        np.testing.assert_allclose(scores[found], scores[expected], rtol=1e-6)


@pytest.mark.parametrize(("runtime", "precision"), VARIANTS)
def test_fold_in_is_the_exact_solve(films: Films, runtime: RuntimeName, precision: Precision) -> None:
    loaded = retriever(films, runtime, precision)
    table = whiten(films.model.item_factors, films.model.regularization).astype(np.float32)
    table = quantize_rows(table).dequantized() if precision == "int8" else table
    for user in films.users:
        exact = fold_in_exact(table, user.rows, user.confidences)
        vector = loaded.encode(*padded(user.rows, user.confidences, loaded.window)).vector[0]
        assert np.linalg.norm(vector - exact) <= 1e-5 * np.linalg.norm(exact)


@pytest.mark.parametrize(("runtime", "precision"), VARIANTS)
def test_contributions_sum_to_the_score(films: Films, runtime: RuntimeName, precision: Precision) -> None:
    loaded = retriever(films, runtime, precision)
    for user in films.users:
        encoded = loaded.encode(*padded(user.rows, user.confidences, loaded.window))
        found = loaded.retrieve(encoded.vector, exclude=set(user.rows.tolist()), k=10)
        parts = contributions(encoded.history_vectors[: len(user.rows)], user.confidences, found.vectors[:10])
        np.testing.assert_allclose(parts.sum(axis=1), found.scores[:10], rtol=1e-5)


@pytest.fixture(scope="session")
def inputs(films: Films, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The arguments of compute_lists.py."""
    folder = tmp_path_factory.mktemp("inputs")
    histories = folder / "histories.json"
    content = [{"rows": u.rows.tolist(), "confidences": u.confidences.tolist()} for u in films.users]
    histories.write_text(json.dumps(content))
    _, index = files(films, "onnx", "int8")
    model = onnx.load(films.bundle.path(index.file))
    product = next(node for node in model.graph.node if node.op_type == "MatMulInteger")
    for name, source in (("activation", product.input[0]), ("weights", product.input[1]), ("sums", product.output[0])):
        # As int32, which every runtime of ours hands out.
        model.graph.node.append(helper.make_node("Cast", [source], [name], to=onnx.TensorProto.INT32))
        model.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.INT32, None))
    sums = folder / "sums.onnx"
    onnx.save(model, sums)
    return films.conversion.path, histories, sums


@pytest.fixture(scope="session")
def native_lists(inputs: tuple[Path, Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Lists:
    """What this machine computes."""
    return compute(environments()["native"], inputs, tmp_path_factory.mktemp("native"))


def compute(environment: Environment, inputs: tuple[Path, Path, Path], folder: Path) -> Lists:
    """Run compute_lists.py on a machine."""
    output = folder / "lists.json"
    environment.run(Path(__file__).with_name("compute_lists.py"), inputs, output, timeout=600)
    lists: Lists = json.loads(output.read_text())
    return lists


@pytest.mark.soak
def test_every_machine_gives_the_same_lists(
    environment: Environment,
    inputs: tuple[Path, Path, Path],
    native_lists: Lists,
    tmp_path: Path,
) -> None:
    """200 histories: one ordered int8 top 10, whatever the processor and the runtime; exact integer sums."""
    lists = compute(environment, inputs, tmp_path)
    expected = [one["rows"] for one in native_lists["onnx/int8"]]
    assert len(expected) == 200
    assert all(len(rows) == 10 for rows in expected)
    runtimes = {key.split("/")[0] for key in lists if "/" in key}
    assert runtimes == {"onnx", "tflite"}
    for runtime in runtimes:
        assert [one["rows"] for one in lists[f"{runtime}/int8"]] == expected
    for sums in lists["sums"]:
        assert sums["wrong"] == 0
        assert sums["lowest"] >= 1
        assert sums["highest"] <= 127
