"""Requests and answers of the Open Inference Protocol v2 over HTTP, as bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from nearhand.errors import NearhandError, UsageError
from nearhand.hybrid.tensors import (
    DTYPES,
    Array,
    TensorSpec,
    binary_data,
    checked,
    json_data,
    of_binary,
    of_json,
    refuse,
    shape_of,
)
from nearhand.network import Answer
from nearhand.records import dataclass, field

JSON_LENGTH = "inference-header-content-length"
"""The header that tells how much of a body is JSON, where tensors follow it as bytes."""
BINARY_TENSORS = "binary_tensor_data"
"""The extension's name in a server's metadata."""

Parameter = str | int | float | bool
_SHOWN = 200


class RefusedError(NearhandError):
    """The server answered, and did not do it.

    Attributes:
        status: of HTTP; text: what the server said, at most 200 characters.
        retry_after_ms: how long it asks to be left alone; None: it does not say.
    """

    def __init__(self, status: int, text: str, *, place: str, retry_after_ms: float | None = None) -> None:
        self.status = status
        self.text = text
        self.retry_after_ms = retry_after_ms
        said = f": {text}" if text else ""
        super().__init__(f"answers {status}{said}", place=place, remedy="see what the server says, or try again later")


@dataclass(frozen=True)
class ServerMetadata:
    """What ``GET /v2`` tells."""

    name: str
    version: str
    extensions: tuple[str, ...]


@dataclass(frozen=True)
class ModelMetadata:
    """What ``GET /v2/models/NAME`` tells. A server may know no inputs and outputs."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, eq=False)
class Inference:
    """What a model gave.

    Attributes:
        outputs: name → array of the tensor's own shape; ``BYTES`` as an object array of ``bytes``.
        sent_bytes, received_bytes: of the two bodies.
    """

    outputs: dict[str, Array]
    model_name: str
    model_version: str
    parameters: Mapping[str, Any]
    sent_bytes: int
    received_bytes: int


@dataclass(frozen=True)
class Body:
    """A request's body and the headers that tell what it is."""

    content: bytes
    headers: Mapping[str, str]


def request_body(
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    parameters: Mapping[str, Parameter],
    *,
    request_id: str,
    is_binary: bool,
) -> Body:
    """The body of an inference request.

    Raises:
        UsageError: an input is none that the protocol has; names it.
    """
    tensors, parts = [], []
    for name, array in inputs.items():
        if not isinstance(name, str) or not name:
            raise UsageError(f"has the name {name!r}", place="inputs", remedy="name each input as the model does")
        datatype, given = checked(name, array)
        head = f'{{"name":{json.dumps(name)},"shape":{json.dumps(list(array.shape))},"datatype":"{datatype}",'
        if is_binary:
            part = binary_data(datatype, given)
            parts.append(part)
            tensors.append(f'{head}"parameters":{{"binary_data_size":{len(part)}}}}}')
        else:
            tensors.append(f'{head}"data":{json_data(datatype, given, name)}}}')
    more: dict[str, Any] = {"id": request_id, "parameters": dict(parameters)}
    if outputs:
        as_bytes = {"parameters": {"binary_data": True}} if is_binary else {}
        more["outputs"] = [{"name": name, **as_bytes} for name in outputs]
    elif is_binary:
        more["parameters"]["binary_data_output"] = True
    try:
        rest = json.dumps(more, allow_nan=False)
    except (TypeError, ValueError) as error:
        problem = "cannot be written as JSON"
        raise UsageError(problem, place="parameters", remedy="give texts, finite numbers, true or false") from error
    text = f'{rest[:-1]}, "inputs":[{",".join(tensors)}]}}'.encode()
    if not is_binary:
        return Body(text, {"content-type": "application/json"})
    headers = {"content-type": "application/octet-stream", JSON_LENGTH: str(len(text))}
    return Body(b"".join([text, *parts]), headers)


def inference_of(answer: Answer, outputs: Sequence[str], *, request_id: str, sent_bytes: int, place: str) -> Inference:
    """What a model's answer gives.

    Raises:
        ProtocolError: it is not what the protocol says, it answers another request, or a tensor is missing, malformed
            or not finite.
    """
    length = _json_length(answer, place)
    document = _object(answer.body[:length], place)
    if (echo := document.get("id", request_id)) != request_id:
        raise refuse(f"answers the request {str(echo)[:_SHOWN]!r}, not the one that was made", place)
    rest = memoryview(answer.body)[length:]
    found: dict[str, Array] = {}
    for entry in _objects(document, "outputs", place):
        name = _text(entry, "name", place)
        at = f"{place}: output {name!r}"
        if name in found:
            raise refuse("stands there twice", at)
        datatype = _text(entry, "datatype", at)
        if datatype not in DTYPES:
            raise refuse(f"has the datatype {datatype[:_SHOWN]!r}, which numpy does not have", at)
        shape = shape_of(entry.get("shape"), at)
        size = _parameters(entry).get("binary_data_size")
        if size is None:
            found[name] = of_json(datatype, shape, entry.get("data"), at)
            continue
        if type(size) is not int or not 0 <= size <= len(rest):
            raise refuse(f"has the binary_data_size {str(size)[:_SHOWN]}, and {len(rest)} bytes are there", at)
        found[name] = of_binary(datatype, shape, rest[:size], at)
        rest = rest[size:]
    if len(rest):
        raise refuse(f"has {len(rest)} bytes after its last tensor", place)
    if missing := [name for name in outputs if name not in found]:
        raise refuse(f"has no output {missing[0]!r}", place)
    return Inference(
        outputs=found,
        model_name=_text(document, "model_name", place),
        model_version=str(document.get("model_version") or ""),
        parameters=_parameters(document),
        sent_bytes=sent_bytes,
        received_bytes=len(answer.body),
    )


def server_metadata(answer: Answer, place: str) -> ServerMetadata:
    """
    Raises:
        ProtocolError: the answer has no such metadata.
    """
    document = _object(answer.body, place)
    extensions = document.get("extensions", [])
    if not isinstance(extensions, list) or any(type(name) is not str for name in extensions):
        raise refuse("has extensions that are no list of names", place)
    return ServerMetadata(_text(document, "name", place), str(document.get("version", "")), tuple(extensions))


def model_metadata(answer: Answer, place: str) -> ModelMetadata:
    """
    Raises:
        ProtocolError: the answer has no such metadata.
    """
    document = _object(answer.body, place)
    versions = document.get("versions") or []
    return ModelMetadata(
        _text(document, "name", place),
        tuple(str(version) for version in versions) if isinstance(versions, list) else (),
        str(document.get("platform", "")),
        _specs(document, "inputs", place),
        _specs(document, "outputs", place),
        _parameters(document),
    )


def says_ready(answer: Answer, place: str) -> bool:
    """What a readiness answer with the status 200 says: some servers tell it in the body, most send none."""
    if not answer.body.strip():
        return True
    document = _object(answer.body, place)
    return document.get("ready", True) is True


def error_text(answer: Answer) -> str:
    """What a server says of an error: ``error`` of the protocol, or ``detail`` of some frameworks; one short line."""
    try:
        document = json.loads(answer.body)
        said = document.get("error") or document.get("detail") if isinstance(document, dict) else None
    except (ValueError, RecursionError):
        said = None
    text = said if isinstance(said, str) else answer.body.decode("utf-8", "replace")
    return " ".join(text.split())[:_SHOWN]


def _specs(document: Mapping[str, Any], field: str, place: str) -> tuple[TensorSpec, ...]:
    found = []
    for entry in _objects(document, field, place) if document.get(field) is not None else ():
        shape = entry.get("shape")
        if not isinstance(shape, list) or any(type(length) is not int for length in shape):
            raise refuse(f"has a shape in {field} that is no list of lengths", place)
        name, datatype = _text(entry, "name", place), _text(entry, "datatype", place)
        found.append(TensorSpec(name, datatype, tuple(shape), _parameters(entry)))
    return tuple(found)


def _parameters(document: Mapping[str, Any]) -> Mapping[str, Any]:
    found = document.get("parameters")
    return found if isinstance(found, dict) else {}


def _json_length(answer: Answer, place: str) -> int:
    said = answer.headers.get(JSON_LENGTH)
    if said is None:
        return len(answer.body)
    if not (said.isascii() and said.isdigit() and len(said) < 12 and int(said) <= len(answer.body)):
        raise refuse(f"says {said[:_SHOWN]!r} bytes of JSON, and has {len(answer.body)} bytes", place)
    return int(said)


def _object(body: bytes, place: str) -> dict[str, Any]:
    try:
        document = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise refuse("is no JSON", place) from error
    if not isinstance(document, dict):
        raise refuse("is no JSON object", place)
    return document


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _objects(document: Mapping[str, Any], field: str, place: str) -> list[dict[str, Any]]:
    entries = document.get(field)
    if not isinstance(entries, list) or any(type(entry) is not dict for entry in entries):
        raise refuse(f"has no list of {field}", place)
    return entries


def _text(document: Mapping[str, Any], field: str, place: str) -> str:
    text = document.get(field)
    if not isinstance(text, str) or not text:
        raise refuse(f"has no {field}", place)
    return text
