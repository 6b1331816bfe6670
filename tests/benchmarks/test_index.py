"""The index alone: one query, 100 candidates, 64 factors, one thread; for int8 the float32 re-scoring is included."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from implicit.cpu.topk import topk
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from nearhand.runtime import installed_runtimes
from nearhand_converters.graph.index import index_graph
from nearhand_converters.quantize.int8 import quantize_int8
from nearhand_converters.targets.artifact import write_artifact

FACTORS, CANDIDATES = 64, 100
CONTENDERS = ["nearhand int8 onnx", "nearhand int8 tflite", "faiss IndexFlatIP", "faiss SQ8", "implicit topk"]


@cache
def table(items: int) -> NDArray[np.float32]:
    """Item rows whose lengths are spread as those of real factors are: many short, few long."""
    generator = np.random.default_rng(11)
    rows = generator.standard_normal((items, FACTORS))
    return (rows * generator.pareto(2.0, (items, 1)) / 8).astype(np.float32)


def query() -> NDArray[np.float32]:
    """One user vector [1, factors]."""
    return np.random.default_rng(12).standard_normal((1, FACTORS)).astype(np.float32)


def prepare(name: str, items: int, folder: Path) -> Callable[[], Any]:
    """A call that gives the best candidates for one query."""
    rows, user = table(items), query()
    if name.startswith("nearhand"):
        runtime = installed_runtimes()["onnx" if name.endswith("onnx") else "tflite"]()
        model = quantize_int8(index_graph(rows), integer_product=runtime.name == "onnx")
        path = folder / "index"
        path.write_bytes(write_artifact(model, runtime.name).data)
        session = runtime.load(path)
        inputs = {"user_vector": user, "k": np.array([CANDIDATES], np.int32)}
        return lambda: session.run(inputs)["candidate_rows"]
    if name == "implicit topk":
        return lambda: topk(rows, user, CANDIDATES, num_threads=1)[0]
    faiss.omp_set_num_threads(1)
    index = (
        faiss.IndexFlatIP(FACTORS)
        if name == "faiss IndexFlatIP"
        else faiss.IndexScalarQuantizer(FACTORS, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    )
    index.train(rows)
    index.add(rows)
    return lambda: index.search(user, CANDIDATES)[1]


@pytest.mark.parametrize("items", [10_000, 100_000])
@pytest.mark.parametrize("contender", CONTENDERS)
def test_index(benchmark: BenchmarkFixture, contender: str, items: int, tmp_path: Path) -> None:
    call = prepare(contender, items, tmp_path)
    benchmark.group = f"index of {items:,} items"
    found = np.asarray(benchmark(call)).reshape(-1)
    best = np.argsort(-(table(items) @ query()[0]))[:10]
    assert set(best[:5].tolist()) <= set(found.tolist())
