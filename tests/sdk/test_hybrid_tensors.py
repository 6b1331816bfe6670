"""Tensors as JSON and as bytes, and answers that are not what they should be."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from nearhand.errors import UsageError
from nearhand.hybrid import DTYPES, InferenceClient, ProtocolError, RefusedError
from nearhand.network import Answer, Call

SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
NUMBERS = st.one_of(
    [
        arrays.arrays(
            DTYPES[name],
            SHAPES,
            elements={"allow_nan": False, "allow_infinity": False} if DTYPES[name].kind == "f" else None,
        )
        for name in DTYPES
        if name != "BYTES"
    ]
)


@dataclass
class Mirror:
    """A transport whose server gives each input back, as JSON with nested or flat data, or as bytes."""

    nested: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)

    def send(self, call: Call) -> Answer:
        assert call.body is not None
        length = int(call.headers.get("inference-header-content-length", len(call.body)))
        document = json.loads(call.body[:length])
        for one in document["inputs"]:
            if self.nested and "data" in one:
                one["data"] = (
                    np.array(one["data"], object).reshape(one["shape"]).tolist() if one["shape"] else one["data"]
                )
        answer = {"id": document["id"], "model_name": "m", "model_version": "1", "outputs": document["inputs"]}
        text = json.dumps(answer).encode()
        headers = {"inference-header-content-length": str(len(text))} if length < len(call.body) else {}
        return Answer(200, headers, text + call.body[length:])

    def close(self) -> None:
        pass


@dataclass
class Saying:
    """A transport whose server answers every question the same."""

    answer: Answer

    def send(self, call: Call) -> Answer:
        return self.answer

    def close(self) -> None:
        pass


def there_and_back(array: NDArray[Any], *, binary: bool, nested: bool = False) -> NDArray[Any]:
    client = InferenceClient("http://localhost", transport=Mirror(nested), binary=binary)
    return client.infer("m", {"x": array}, ["x"]).outputs["x"]


@given(NUMBERS, st.sampled_from(["json", "nested", "binary"]))
def test_every_array_comes_back_to_the_bit(array: NDArray[Any], how: str) -> None:
    found = there_and_back(array, binary=how == "binary", nested=how == "nested")
    assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert found.flags.writeable


@given(st.lists(st.text(max_size=5), max_size=6), st.booleans())
def test_texts_come_back_as_their_bytes(texts: list[str], binary: bool) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    found = there_and_back(np.array(texts, object), binary=binary)
    assert found.tolist() == [text.encode() for text in texts]


@given(st.lists(st.binary(max_size=5), max_size=6))
def test_any_bytes_come_back_in_the_binary_form(given_bytes: list[bytes]) -> None:
    assert there_and_back(np.array(given_bytes, object), binary=True).tolist() == given_bytes


def test_bytes_that_are_no_text_are_refused_in_json() -> None:
    with pytest.raises(UsageError, match="input 'x': has bytes that are not UTF-8"):
        there_and_back(np.array([b"\xff"], object), binary=False)


def ask(answer: Answer) -> Any:
    client = InferenceClient("http://localhost", transport=Saying(answer), binary=False)
    return client.infer("m", {"x": np.ones(1, np.float32)}, ["y"]).outputs["y"]


def output(**changes: Any) -> dict[str, Any]:
    return {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [1, 2.5], **changes}


def said(*outputs: Any, tail: bytes = b"", **changes: Any) -> Answer:
    text = json.dumps({"model_name": "m", "outputs": list(outputs), **changes}).encode()
    headers = {"inference-header-content-length": str(len(text))} if tail else {}
    return Answer(200, headers, text + tail)


def as_bytes(size: Any, **changes: Any) -> dict[str, Any]:
    made = output(parameters={"binary_data_size": size}, **changes)
    del made["data"]
    return made


def test_a_good_answer_is_good() -> None:
    """Of which the answers below differ in one thing each."""
    np.testing.assert_array_equal(ask(said(output())), np.array([[1, 2.5]], np.float32))
    np.testing.assert_array_equal(ask(said(output(data=[[1, 2.5]]))), np.array([[1, 2.5]], np.float32))
    np.testing.assert_array_equal(ask(said(as_bytes(8), tail=struct.pack("<2f", 1, 2.5))), [[1, 2.5]])


WRONG: dict[str, tuple[Answer, str]] = {
    "empty": (Answer(200, {}, b""), "is no JSON"),
    "page": (Answer(200, {}, b"<html>Welcome to the hotel</html>"), "is no JSON"),
    "not utf-8": (Answer(200, {}, b'{"model_name": "\xff"}'), "is no JSON"),
    "deep": (Answer(200, {}, b"[" * 200_000), "is no JSON"),
    "digits": (Answer(200, {}, b"9" * 100_000), "is no JSON"),
    "list": (Answer(200, {}, b"[]"), "is no JSON object"),
    "null": (Answer(200, {}, b"null"), "is no JSON object"),
    "nan": (Answer(200, {}, said(output(data=[1, math.nan])).body), "is no JSON"),
    "infinity": (Answer(200, {}, said(output(data=[1, math.inf])).body), "is no JSON"),
    "too large": (said(output(data=[1, 1e39])), "not finite"),
    "far too large": (Answer(200, {}, said(output(data=[1, 7])).body.replace(b"7", b"1e999")), "not finite"),
    "no model": (said(output(), model_name=None), "has no model_name"),
    "no outputs": (said(output(), outputs=None), "has no list of outputs"),
    "outputs of another kind": (said(1), "has no list of outputs"),
    "missing": (said(), "has no output 'y'"),
    "other name": (said(output(name="z")), "has no output 'y'"),
    "no name": (said(output(name=None)), "has no name"),
    "twice": (said(output(), output()), "output 'y': stands there twice"),
    "other id": (said(output(), id="somebody else's"), 'answers the request "somebody else\'s"'),
    "datatype": (said(output(datatype="BF16")), "has the datatype 'BF16'"),
    "no datatype": (said(output(datatype=7)), "has no datatype"),
    "no shape": (said(output(shape=None)), "no list of lengths"),
    "negative": (said(output(shape=[-1, 2])), "no list of lengths"),
    "truth as length": (said(output(shape=[True, 2])), "no list of lengths"),
    "dimensions": (said(output(shape=[1] * 40)), "no list of lengths"),
    "enormous": (said(output(shape=[10**9, 10**9])), "has 2 elements"),
    "fewer": (said(output(data=[1])), "has 1 elements"),
    "ragged": (said(output(shape=[2, 1], data=[[1], [2, 3]])), "rows that do not make up"),
    "nested otherwise": (said(output(shape=[2, 1], data=[[1], 2])), "rows that do not make up"),
    "no data": (said(output(data=None)), "has no data"),
    "object": (said(output(data={})), "has no data"),
    "texts": (said(output(data=["1", "2"])), "has a str among its FP32"),
    "nulls": (said(output(data=[None, 1])), "has a NoneType among its FP32"),
    "truths": (said(output(data=[True, False])), "has a bool among its FP32"),
    "floats as integers": (said(output(datatype="INT32")), "has a float among its INT32"),
    "range": (said(output(datatype="INT8", data=[1, 128])), "that INT8 cannot hold"),
    "sign": (said(output(datatype="UINT8", data=[1, -1])), "that UINT8 cannot hold"),
    "integer beyond float": (said(output(data=[1, 10**400])), "that FP32 cannot hold"),
    "numbers as texts": (said(output(datatype="BYTES")), "among its BYTES"),
    "short": (said(as_bytes(4), tail=b"\0" * 4), "has 4 bytes"),
    "too few": (said(as_bytes(8), tail=b"\0" * 4), "binary_data_size 8, and 4 bytes"),
    "too many": (said(as_bytes(8), tail=b"\0" * 9), "has 1 bytes after its last tensor"),
    "negative size": (said(as_bytes(-8), tail=b"\0" * 8), "binary_data_size -8"),
    "size of another kind": (said(as_bytes("8"), tail=b"\0" * 8), "binary_data_size 8"),
    "binary nan": (said(as_bytes(8), tail=struct.pack("<2f", 1, math.nan)), "not finite"),
    "binary truth": (said(as_bytes(2, datatype="BOOL"), tail=b"\1\2"), "other than 0 and 1"),
    "binary texts cut": (said(as_bytes(6, datatype="BYTES"), tail=b"\5\0\0\0ab"), "not 2 BYTES elements"),
    "binary texts missing": (said(as_bytes(5, datatype="BYTES"), tail=b"\1\0\0\0a"), "not 2 BYTES elements"),
    "length": (Answer(200, {"inference-header-content-length": "x"}, b"{}"), "says 'x' bytes of JSON"),
    "length beyond": (Answer(200, {"inference-header-content-length": "3"}, b"{}"), "says '3' bytes of JSON"),
    "length negative": (Answer(200, {"inference-header-content-length": "-1"}, b"{}"), "says '-1' bytes of JSON"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_answer_that_is_wrong_in_one_thing_is_refused_and_says_in_which(wrong: str) -> None:
    answer, problem = WRONG[wrong]
    with pytest.raises(ProtocolError, match=problem.replace("(", r"\(")):
        ask(answer)


@given(st.binary(max_size=200), st.sampled_from([None, "0", "7", "200"]))
def test_no_answer_raises_anything_else(body: bytes, length: str | None) -> None:
    headers = {} if length is None else {"inference-header-content-length": length}
    with pytest.raises(ProtocolError):
        ask(Answer(200, headers, body))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(output())), inner, max_size=4),
    max_leaves=8,
)


@given(st.sampled_from([*output(), "parameters"]), JSON)
def test_no_field_of_an_answer_raises_anything_else(name: str, value: Any) -> None:
    try:
        found = ask(said(output(**{name: value})))
    except ProtocolError:
        return
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "7"}, 7000),
        ({"retry-after": " 0 "}, 0),
        (
            {"retry-after": "Fri, 27 Nov 2026 19:00:30 GMT", "date": "Fri, 27 Nov 2026 19:00:00 GMT"},
            30_000,
        ),
        ({"retry-after": "Fri, 27 Nov 2026 18:00:00 GMT", "date": "Fri, 27 Nov 2026 19:00:00 GMT"}, 0),
        ({"retry-after": "Fri, 27 Nov 2026 19:00:30 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_a_refusal_tells_when_to_come_again(headers: dict[str, str], expected: int | None) -> None:
    with pytest.raises(RefusedError, match="answers 429: too many") as refused:
        ask(Answer(429, headers, b'{"error": "too  many"}'))
    assert refused.value.status == 429
    assert refused.value.retry_after_ms == expected


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"detail": "gone"}', "gone"),
        (b"\xffpage\n" + b"x" * 500, "\ufffdpage " + "x" * 194),
        (b"", ""),
        (b"[1]", "[1]"),
    ],
    ids=["detail", "page", "nothing", "list"],
)
def test_whatever_a_server_says_of_an_error_is_one_short_line(body: bytes, text: str) -> None:
    with pytest.raises(RefusedError) as refused:
        ask(Answer(500, {}, body))
    assert refused.value.text == text


@pytest.mark.parametrize(
    ("endpoint", "problem"),
    [
        ("models.example.org", "no address"),
        ("ftp://models.example.org", "no address"),
        ("https://user:secret@models.example.org", "no address"),
        ("https://models.example.org?x=1", "no address"),
        ("http://models.example.org", "not encrypted"),
        ("http://localhost.example.org", "not encrypted"),
    ],
)
def test_an_endpoint_is_an_address_that_nobody_reads_along(endpoint: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        InferenceClient(endpoint)


@pytest.mark.parametrize(
    "endpoint", ["http://localhost:8080", "http://127.0.0.1", "http://[::1]:9/", "https://a.example/models/"]
)
def test_this_machine_needs_no_encryption(endpoint: str) -> None:
    assert InferenceClient(endpoint).endpoint == endpoint.rstrip("/")
    assert InferenceClient("http://10.0.0.7:8000", allow_http=True).endpoint == "http://10.0.0.7:8000"


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a b", "ä", "a?b"])
def test_a_model_name_is_part_of_an_address(name: str) -> None:
    with pytest.raises(UsageError, match="is no name of a model"):
        InferenceClient("http://localhost").infer(name, {})
