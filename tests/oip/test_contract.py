"""The contract with servers of the Open Inference Protocol v2: one suite, asked of each of them over a real socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nearhand.errors import UsageError
from nearhand.hybrid import DTYPES, InferenceClient, RefusedError
from tests.oip.models import ECHO, RERANK, rerank
from tests.oip.servers import Running, Scripted

Array = NDArray[Any]


@pytest.fixture
def client(server: Running) -> Iterator[InferenceClient]:
    made = InferenceClient(server.url)
    yield made
    made.close()


def question(items: int = 200) -> dict[str, Array]:
    """A ranking request."""
    draw = np.random.default_rng(3)
    return {
        "history": draw.integers(0, 300, (1, 20), np.int32),
        "weights": draw.normal(size=(1, 20)).astype(np.float32),
        "candidates": draw.permutation(300)[None, :items].astype(np.int32),
    }


def extremes(datatype: str) -> Array:
    """Values at the ends of a datatype's range, float32 and float64 with as many digits as they can have."""
    dtype = DTYPES[datatype]
    if datatype == "BYTES":
        return np.array([[b"", "größer".encode()], [b'"\\', b"a\nb"]], object)
    if datatype == "BOOL":
        return np.array([[True, False, True]])
    if dtype.kind == "f":
        info = np.finfo(dtype)
        return np.array([[info.max, info.min, info.tiny, info.smallest_subnormal, 0.1, 1 / 3, -0.0, 5]], dtype)
    limits = np.iinfo(dtype)
    return np.array([[limits.max, limits.min, 0]], dtype)


def test_the_server_says_what_it_is(server: Running, client: InferenceClient) -> None:
    found = client.server()
    assert found.name == server.kind
    assert found.version
    assert client.is_ready()


def test_a_model_says_what_it_takes_and_gives(client: InferenceClient) -> None:
    model = client.model(RERANK)
    assert model.name == RERANK
    assert [(spec.name, spec.datatype, spec.shape) for spec in model.inputs] == [
        ("history", "INT32", (-1, -1)),
        ("weights", "FP32", (-1, -1)),
        ("candidates", "INT32", (-1, -1)),
    ]
    assert [(spec.name, spec.datatype) for spec in model.outputs] == [("scores", "FP32")]
    assert client.is_ready(RERANK)


def test_a_model_that_is_not_there_is_not_ready_and_refused_by_name(client: InferenceClient) -> None:
    assert not client.is_ready("nothing")
    for ask in (lambda: client.model("nothing"), lambda: client.infer("nothing", question(), ["scores"])):
        with pytest.raises(RefusedError, match="nothing") as refused:
            ask()
        assert refused.value.status in (400, 404)
        assert refused.value.text


def test_scores_are_the_models(client: InferenceClient) -> None:
    asked = question()
    found = client.infer(RERANK, asked, ["scores"], parameters={"bundle_version": "1.0.0"})
    assert found.model_name == RERANK
    assert found.outputs.keys() == {"scores"}
    assert found.outputs["scores"].dtype == np.float32
    np.testing.assert_array_equal(found.outputs["scores"], rerank(**asked))
    assert found.sent_bytes > 0
    assert found.received_bytes > 0


@pytest.mark.parametrize("datatype", DTYPES)
def test_every_datatype_comes_back_to_the_bit(server: Running, client: InferenceClient, datatype: str) -> None:
    given = extremes(datatype)
    if datatype == "FP16" and server.kind == "triton" and not is_binary(server, client):
        with pytest.raises(RefusedError, match="FP16"):
            client.infer(ECHO, {"x": given}, ["x"])
        return
    found = client.infer(ECHO, {"x": given}, ["x"]).outputs["x"]
    assert found.dtype == DTYPES[datatype]
    assert found.shape == given.shape
    if given.dtype.kind == "f":
        assert found.tobytes() == given.tobytes()
    else:
        assert found.tolist() == given.tolist()


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 0), (2, 3), (2, 1, 3), (1, 1, 1, 1)])
def test_every_shape_comes_back(client: InferenceClient, shape: tuple[int, ...]) -> None:
    given = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    found = client.infer(ECHO, {"x": given}, ["x"]).outputs["x"]
    assert found.shape == shape
    np.testing.assert_array_equal(found, given)


def test_several_tensors_are_told_apart_by_name_and_only_what_is_wanted_comes(client: InferenceClient) -> None:
    given: dict[str, Array] = {
        "b": np.array([1.5], np.float32),
        "a": np.array([[1, 2]], np.int64),
        "text": np.array(["x", "yz"]),
    }
    everything = client.infer(ECHO, given).outputs
    assert everything.keys() == given.keys()
    assert everything["text"].tolist() == [b"x", b"yz"]
    one = client.infer(ECHO, given, ["a"]).outputs
    np.testing.assert_array_equal(one["a"], given["a"])


def test_memory_in_any_order_is_sent_row_by_row(client: InferenceClient) -> None:
    given = np.arange(12, dtype=">i4").reshape(3, 4).T[::-1]
    np.testing.assert_array_equal(client.infer(ECHO, {"x": given}, ["x"]).outputs["x"], given)


def test_what_the_model_does_not_take_is_refused_and_the_next_question_answered(client: InferenceClient) -> None:
    with pytest.raises(RefusedError) as refused:
        client.infer(RERANK, {"history": question()["history"]}, ["scores"])
    assert refused.value.status in (400, 500)
    assert client.infer(RERANK, question(5), ["scores"]).outputs["scores"].shape == (1, 5)


def test_an_output_that_it_does_not_have_is_an_error(client: InferenceClient) -> None:
    with pytest.raises(RefusedError, match="nothing"):
        client.infer(ECHO, {"x": np.ones(1, np.int32)}, ["nothing"])


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.array([1, np.nan]), "not finite"),
        (np.array([np.inf], np.float32), "not finite"),
        (np.array([1j]), "complex128"),
        (np.array(["2026-11-27"], "datetime64[D]"), "datetime64"),
        (np.array([b"x", 1], object), "int among"),
        ([1.0], "is a list"),
    ],
    ids=["nan", "infinite", "complex", "date", "mixed", "list"],
)
def test_what_the_protocol_does_not_have_is_named_and_not_sent(
    client: InferenceClient, array: Any, problem: str
) -> None:
    with pytest.raises(UsageError, match=f"input 'x': .*{problem}"):
        client.infer(ECHO, {"x": array}, ["x"])


# How servers differ.


def is_binary(server: Running, client: InferenceClient) -> bool:
    return "binary_tensor_data" in client.server().extensions


def test_tensors_go_as_bytes_only_where_that_is_advertised(triton: Scripted) -> None:
    for extensions, content in (([], "application/json"), (["binary_tensor_data"], "application/octet-stream")):
        triton.fail(extensions=extensions)
        client = InferenceClient(triton.url)
        client.infer(RERANK, question(), ["scores"])
        last = triton.counts()["last"]
        assert last["headers"]["content-type"] == content
        assert ("inference-header-content-length" in last["headers"]) == bool(extensions)
        assert ("binary_data" in last["text"]) == bool(extensions)
        client.close()
    triton.fail()


def test_what_is_pinned_is_not_asked_for(triton: Scripted) -> None:
    triton.fail(extensions=[])
    before = triton.counts()["metadata"]
    client = InferenceClient(triton.url, binary=True)
    found = client.infer(RERANK, question(), ["scores"])
    np.testing.assert_array_equal(found.outputs["scores"], rerank(**question()))
    assert triton.counts()["metadata"] == before
    client.close()
    triton.fail()


def test_what_is_advertised_is_remembered_and_asked_again_after_an_error(triton: Scripted) -> None:
    triton.fail()
    client = InferenceClient(triton.url)
    before = triton.counts()["metadata"]
    for _ in range(3):
        client.infer(RERANK, question(), ["scores"])
    assert triton.counts()["metadata"] == before + 1
    triton.fail("status", status=503)
    with pytest.raises(RefusedError):
        client.infer(RERANK, question(), ["scores"])
    triton.fail(extensions=[])  # another server is there now
    client.infer(RERANK, question(), ["scores"])
    assert triton.counts()["metadata"] == before + 2
    assert triton.counts()["last"]["headers"]["content-type"] == "application/json"
    client.close()
    triton.fail()


def test_a_gateway_that_shows_models_only_is_asked_in_json(triton: Scripted) -> None:
    triton.fail("status", status=404, text="no route", everywhere=True)
    client = InferenceClient(triton.url)
    with pytest.raises(RefusedError, match="404: no route"):
        client.infer(RERANK, question(), ["scores"])
    assert triton.counts()["last"]["headers"]["content-type"] == "application/json"
    client.close()
    triton.fail()


def test_a_version_is_part_of_the_address(triton: Scripted) -> None:
    client = InferenceClient(triton.url)
    assert client.model(RERANK, version="1").versions == ("1",)
    assert client.is_ready(RERANK, version="1")
    assert client.infer(RERANK, question(), ["scores"], version="1").model_version == "1"
    with pytest.raises(RefusedError, match="version 2 is not found"):
        client.infer(RERANK, question(), ["scores"], version="2")
    client.close()


@pytest.mark.parametrize(
    ("answer", "ready"),
    [
        ({"status": 200}, True),
        ({"status": 200, "text": '{"name": "tiny", "ready": true}'}, True),  # KServe
        ({"status": 200, "text": '{"name": "tiny", "ready": false}'}, False),
        ({"status": 400, "text": '{"error": "not ready"}'}, False),
        ({"status": 404}, False),
        ({"status": 503}, False),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else str(value),
)
def test_readiness_is_told_by_status_or_by_body(triton: Scripted, answer: dict[str, Any], ready: bool) -> None:
    triton.fail("status", everywhere=True, **answer)
    client = InferenceClient(triton.url)
    assert client.is_ready(RERANK) is ready
    assert client.is_ready() is ready
    client.close()
    triton.fail()


def test_the_scripted_server_speaks_as_tritons_own_client_expects(triton: Scripted) -> None:
    """The server that stands for Triton is itself checked, by the client that NVIDIA publishes."""
    from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

    triton.fail()
    peer = InferenceServerClient(triton.url.removeprefix("http://"))
    assert peer.is_server_ready()
    assert peer.is_model_ready(RERANK)
    assert not peer.is_model_ready("nothing")
    assert "binary_tensor_data" in peer.get_server_metadata()["extensions"]
    asked = question()
    for as_bytes in (True, False):
        inputs = []
        for name, array in asked.items():
            one = InferInput(name, list(array.shape), "INT32" if array.dtype == np.int32 else "FP32")
            one.set_data_from_numpy(array, binary_data=as_bytes)
            inputs.append(one)
        found = peer.infer(RERANK, inputs, outputs=[InferRequestedOutput("scores", binary_data=as_bytes)])
        np.testing.assert_array_equal(found.as_numpy("scores"), rerank(**asked))
    texts = np.array([b"a", "größer".encode()], object)
    one = InferInput("x", [2], "BYTES")
    one.set_data_from_numpy(texts, binary_data=True)
    assert peer.infer(ECHO, [one]).as_numpy("x").tolist() == texts.tolist()
    peer.close()
