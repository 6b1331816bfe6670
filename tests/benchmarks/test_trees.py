"""A ranker of 300 trees with 31 leaves over 40 features, one thread: both lowerings, both runtimes, and what others do.

What runs on ONNX Runtime runs through the same session of the SDK, the peer's model too.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import tl2cgen
import treelite
from numpy.typing import NDArray
from onnxmltools.convert import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType
from pytest_benchmark.fixture import BenchmarkFixture

from nearhand.runtime import installed_runtimes
from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.graph.inputs import GraphInputs, Lowering
from nearhand_converters.sources.lightgbm.source import LightGBMSource
from nearhand_converters.targets.artifact import write_artifact
from tests.benchmarks.turns import ratio_in_turns

TREES, LEAVES, FEATURES = 300, 31, 40
PEER = "onnxmltools on ONNX Runtime"
CONTENDERS = [
    "nearhand operator onnx",
    "nearhand ranks onnx",
    "nearhand ranks tflite",
    "LightGBM",
    PEER,
    "tl2cgen",
]


@cache
def booster() -> lightgbm.Booster:
    """A lambdarank model of 10,000 documents in lists of 20."""
    generator = np.random.Generator(np.random.PCG64(5))
    x = generator.standard_normal((10_000, FEATURES))
    quality = x @ generator.standard_normal(FEATURES) + 2 * np.sin(3 * x[:, 0]) + x[:, 1] * x[:, 2]
    grades = np.digitize(quality, np.quantile(quality, [0.5, 0.75, 0.9, 0.97]))
    settings = {"objective": "lambdarank", "num_leaves": LEAVES, "num_threads": 1, "seed": 1, "verbose": -1}
    return lightgbm.train(settings, lightgbm.Dataset(x, grades, group=[20] * 500), TREES)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The booster as C, compiled by gcc."""
    path = tmp_path_factory.mktemp("tl2cgen") / "ranker.so"
    model = treelite.frontend.from_lightgbm(booster())
    tl2cgen.export_lib(model, toolchain="gcc", libpath=path, params={"parallel_comp": TREES}, nthread=2)
    return path


def rows(count: int) -> NDArray[np.float32]:
    return np.random.Generator(np.random.PCG64(6)).standard_normal((count, FEATURES)).astype(np.float32)


def ours(lowering: Lowering, x: NDArray[np.float32], runtime: str, folder: Path) -> Callable[[], Any]:
    g = GraphBuilder("ranker")
    inputs = GraphInputs(g.input("numbers", "float32", ["batch", FEATURES]), "")
    outputs = LightGBMSource().adopt(booster()).build(g, inputs, lowering)
    g.output(outputs["value"], "value", "float32", ["batch", 1])
    path = folder / "ranker"
    path.write_bytes(write_artifact(g.model(), runtime).data)  # type: ignore[arg-type]
    session = installed_runtimes()[runtime]().load(path)  # type: ignore[index]
    return lambda: session.run({"numbers": x})["value"]


def onnxmltools_model(x: NDArray[np.float32], folder: Path) -> Callable[[], Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        types = [("numbers", FloatTensorType([None, FEATURES]))]
        model = convert_lightgbm(booster(), initial_types=types, name="ranker", zipmap=False)
    path = folder / "ranker"
    path.write_bytes(model.SerializeToString())
    session = installed_runtimes()["onnx"]().load(path)
    (output,) = session.outputs
    return lambda: session.run({"numbers": x})[output.name]


@pytest.mark.parametrize("count", [1, 100, 1000])
@pytest.mark.parametrize("contender", CONTENDERS)
def test_ranker(
    benchmark: BenchmarkFixture,
    contender: str,
    count: int,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> None:
    x = rows(count)
    if contender.startswith("nearhand"):
        _, lowering, runtime = contender.split()
        call = ours("operator" if lowering == "operator" else "ranks", x, runtime, tmp_path)
    elif contender == "LightGBM":

        def call() -> Any:
            return booster().predict(x, num_threads=1)

    elif contender == "tl2cgen":
        predictor = tl2cgen.Predictor(request.getfixturevalue("compiled"), nthread=1)
        matrix = tl2cgen.DMatrix(x)

        def call() -> Any:
            return predictor.predict(matrix)

    else:
        call = onnxmltools_model(x, tmp_path)
    benchmark.group = f"ranker of {TREES} trees, {count:,} row{'s' if count > 1 else ''}"
    found = np.ravel(benchmark(call))
    if contender == CONTENDERS[0]:
        peer = onnxmltools_model(x, tmp_path_factory.mktemp("peer"))
        ratio = ratio_in_turns(call, peer, rounds=20_000 // count + 30)
        benchmark.extra_info[f"{contender} / {PEER}, in turns"] = f"{ratio:.2f}"
    tolerance = 1e-5 if contender.startswith("nearhand") else 1e-4
    np.testing.assert_allclose(found, booster().predict(x, num_threads=1), rtol=tolerance)
