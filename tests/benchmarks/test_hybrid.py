"""The client of the Open Inference Protocol beside the one that NVIDIA publishes: same questions, same server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from nearhand.hybrid import InferenceClient
from tests.oip.models import RERANK, rerank
from tests.oip.servers import Scripted, scripted

HISTORY = 50
WIRES = ["JSON", "bytes"]


@pytest.fixture(scope="module")
def server() -> Iterator[Scripted]:
    with scripted() as running:
        yield running


def question(candidates: int) -> dict[str, NDArray[Any]]:
    draw = np.random.default_rng(5)
    return {
        "history": draw.integers(0, 10_000, (1, HISTORY), np.int32),
        "weights": draw.normal(size=(1, HISTORY)).astype(np.float32),
        "candidates": draw.permutation(10_000)[None, :candidates].astype(np.int32),
    }


def nearhand_client(server: Scripted, asked: dict[str, NDArray[Any]], as_bytes: bool) -> Callable[[], NDArray[Any]]:
    client = InferenceClient(server.url, binary=as_bytes)
    return lambda: client.infer(RERANK, asked, ["scores"]).outputs["scores"]


def triton_client(server: Scripted, asked: dict[str, NDArray[Any]], as_bytes: bool) -> Callable[[], NDArray[Any]]:
    from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

    client = InferenceServerClient(server.url.removeprefix("http://"))

    def ask() -> NDArray[Any]:
        inputs = []
        for name, array in asked.items():
            one = InferInput(name, list(array.shape), "INT32" if array.dtype == np.int32 else "FP32")
            one.set_data_from_numpy(array, binary_data=as_bytes)
            inputs.append(one)
        outputs = [InferRequestedOutput("scores", binary_data=as_bytes)]
        found: NDArray[Any] = client.infer(RERANK, inputs, outputs=outputs).as_numpy("scores")
        return found

    return ask


@pytest.mark.parametrize("contender", ["nearhand", "tritonclient"])
@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("candidates", [20, 200])
def test_inference_client(
    benchmark: BenchmarkFixture, server: Scripted, candidates: int, wire: str, contender: str
) -> None:
    """A question to the ranker and its answer as numpy, over a kept connection; the server is in another process."""
    asked = question(candidates)
    make = nearhand_client if contender == "nearhand" else triton_client
    ask = make(server, asked, wire == "bytes")
    np.testing.assert_array_equal(ask(), rerank(**asked))
    before = server.counts()
    ask()
    after = server.counts()
    benchmark.group = f"inference client, {candidates} candidates as {wire}"
    benchmark.extra_info[f"{contender}: bytes of a question, with its head"] = after["bytes"] - before["bytes"]
    benchmark.extra_info[f"{contender}: bytes of the answer's body"] = after["answered"] - before["answered"]
    benchmark(ask)
