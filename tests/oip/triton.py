"""A server that answers as Triton does, written after its published protocol and extensions, and that fails on demand.

``python -m tests.oip.triton`` prints two addresses: the server's, and one through which a test tells it what is to go
wrong and reads what has come in, so that this is not counted with it. It speaks HTTP/1.1 with kept connections.

As Triton: tensors in its binary extension, for each tensor by itself; no FP16 as JSON; datatypes, shapes and names are
checked against the model's; errors are 400 with ``{"error": …}``, also for a model that is not there or not ready.
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.oip.models import ECHO, RERANK, RERANK_INPUTS, RERANK_OUTPUTS, metadata, rerank

DTYPES = {
    "BOOL": "?",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
EXTENSIONS = ["classification", "sequence", "model_repository", "schedule_policy", "binary_tensor_data", "parameters"]
LENGTH = "inference-header-content-length"

Array = NDArray[Any]


class RefusedError(Exception):
    """Triton's 400."""


class Server:
    """The state of one process."""

    def __init__(self) -> None:
        self.fault: dict[str, Any] = {}
        self.extensions = EXTENSIONS
        self.counts = {"connections": 0, "requests": 0, "infers": 0, "metadata": 0, "bytes": 0, "answered": 0}
        self.last: dict[str, Any] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts["connections"] += 1
        await self._each_request(reader, writer, self._answer)

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._each_request(reader, writer, self._control)

    async def _each_request(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        handle: Callable[[str, str, dict[str, str], bytes, asyncio.StreamWriter], Awaitable[None]],
    ) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                request, *lines = head.decode("latin-1").split("\r\n")[:-2]
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                method, path, _ = request.split(" ")
                if handle == self._answer:
                    self.counts["bytes"] += len(head) + len(body)
                await handle(method, path, headers, body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _control(
        self, method: str, path: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter
    ) -> None:
        if method == "PUT":
            given = json.loads(body)
            self.extensions = given.pop("extensions", EXTENSIONS)
            self.fault = given
        await _send(writer, 200, json.dumps({**self.counts, "last": self.last}).encode())

    async def _answer(
        self, method: str, path: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter
    ) -> None:
        self.counts["requests"] += 1
        is_infer = path.endswith("/infer")
        self.counts["infers" if is_infer else "metadata"] += 1
        if is_infer:
            self.last = {"headers": headers, "text": body[: int(headers.get(LENGTH, len(body)))].decode()}
        if self.fault and (is_infer or self.fault.get("everywhere")):
            kind = self.fault["kind"]
            if kind != "delay":
                await FAULTS[kind](self, self.fault, writer, (path, headers, body))
                return
            await asyncio.sleep(self.fault["seconds"])
        try:
            status, found, more = 200, *self.found(method, path, headers, body)
        except RefusedError as error:
            status, found, more = 400, json.dumps({"error": str(error)}).encode(), {}
        self.counts["answered"] += len(found)
        await _send(writer, status, found, more)

    def found(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[bytes, dict[str, str]]:
        parts = path.strip("/").split("/")
        match parts:
            case ["v2"]:
                found = {"name": "triton", "version": "2.60.0", "extensions": self.extensions}
                return json.dumps(found).encode(), {}
            case ["v2", "health", "ready" | "live"]:
                return b"", {}
            case ["v2", "models", name, *rest]:
                if name not in (ECHO, RERANK):
                    raise RefusedError(f"Request for unknown model: '{name}' is not found")
                if rest[:1] == ["versions"]:
                    if rest[1] != "1":
                        raise RefusedError(f"Request for unknown model: '{name}' version {rest[1]} is not found")
                    rest = rest[2:]
                if rest == ["ready"]:
                    return b"", {}
                if rest == ["infer"] and method == "POST":
                    return infer(name, headers, body)
                if not rest:
                    return json.dumps(_described(name)).encode(), {}
        raise RefusedError("not found")


Asked = tuple[str, dict[str, str], bytes]
Failing = Callable[[Server, dict[str, Any], asyncio.StreamWriter, Asked], Awaitable[None]]


async def _status(server: Server, fault: dict[str, Any], writer: asyncio.StreamWriter, asked: Asked) -> None:
    await _send(writer, fault["status"], fault.get("text", "").encode("latin-1"), fault.get("headers", {}))


async def _silence(server: Server, fault: dict[str, Any], writer: asyncio.StreamWriter, asked: Asked) -> None:
    await asyncio.sleep(3600)


async def _reset(server: Server, fault: dict[str, Any], writer: asyncio.StreamWriter, asked: Asked) -> None:
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def _slow_body(server: Server, fault: dict[str, Any], writer: asyncio.StreamWriter, asked: Asked) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n")
    await _trickle(writer, b" ")


async def _slow_head(server: Server, fault: dict[str, Any], writer: asyncio.StreamWriter, asked: Asked) -> None:
    await _trickle(writer, b"H")


async def _huge(server: Server, fault: dict[str, Any], writer: asyncio.StreamWriter, asked: Asked) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")
    for _ in range(500):
        writer.write(b"1" * 100_000)
        await writer.drain()


async def _cut(server: Server, fault: dict[str, Any], writer: asyncio.StreamWriter, asked: Asked) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b'{"model_name": "tiny", "outputs": [')
    writer.close()


async def _twist(server: Server, fault: dict[str, Any], writer: asyncio.StreamWriter, asked: Asked) -> None:
    """A true answer, changed."""
    path, headers, body = asked
    found, more = server.found("POST", path, headers, body)
    length = int(more.get(LENGTH, len(found)))
    document, tail = json.loads(found[:length]), bytearray(found[length:])
    TWISTS[fault["how"]](document, tail)
    text = json.dumps(document).encode()
    if tail or LENGTH in more:
        more[LENGTH] = str(len(text))
    await _send(writer, 200, text + tail, more)


FAULTS: dict[str, Failing] = {
    "status": _status,
    "silence": _silence,
    "reset": _reset,
    "slow_body": _slow_body,
    "slow_head": _slow_head,
    "huge": _huge,
    "cut": _cut,
    "twist": _twist,
}


def _other_shape(document: dict[str, Any], tail: bytearray) -> None:
    document["outputs"][0]["shape"].reverse()


def _other_count(document: dict[str, Any], tail: bytearray) -> None:
    document["outputs"][0]["shape"][1] -= 1


def _fewer(document: dict[str, Any], tail: bytearray) -> None:
    output = document["outputs"][0]
    output["shape"][1] -= 1
    if tail:
        del tail[-4:]
        output["parameters"]["binary_data_size"] -= 4
    else:
        output["data"].pop()


def _other_dtype(document: dict[str, Any], tail: bytearray) -> None:
    output = document["outputs"][0]
    output["datatype"] = "INT32"
    if not tail:
        output["data"] = [1] * len(output["data"])


def _first(number: float) -> Callable[[dict[str, Any], bytearray], None]:
    def twist(document: dict[str, Any], tail: bytearray) -> None:
        if tail:
            tail[:4] = struct.pack("<f", number if abs(number) < 1e38 else math.inf)
        else:
            document["outputs"][0]["data"][0] = number

    return twist


def _texts(document: dict[str, Any], tail: bytearray) -> None:
    output = document["outputs"][0]
    output.pop("parameters", None)
    tail.clear()
    output["data"] = ["1"] * output["shape"][1]


def _missing(document: dict[str, Any], tail: bytearray) -> None:
    document["outputs"].clear()
    tail.clear()


def _other_name(document: dict[str, Any], tail: bytearray) -> None:
    document["outputs"][0]["name"] = "score"


def _other_id(document: dict[str, Any], tail: bytearray) -> None:
    document["id"] = "another"


def _twice(document: dict[str, Any], tail: bytearray) -> None:
    document["outputs"] *= 2
    tail += bytes(tail)


def _more_bytes(document: dict[str, Any], tail: bytearray) -> None:
    tail += b"...."


TWISTS: dict[str, Callable[[dict[str, Any], bytearray], None]] = {
    "shape": _other_shape,
    "count": _other_count,
    "fewer": _fewer,
    "dtype": _other_dtype,
    "nan": _first(math.nan),
    "overflow": _first(1e300),
    "texts": _texts,
    "missing": _missing,
    "name": _other_name,
    "id": _other_id,
    "twice": _twice,
    "more_bytes": _more_bytes,
}


def infer(name: str, headers: dict[str, str], body: bytes) -> tuple[bytes, dict[str, str]]:
    """The answer's body and headers."""
    length = int(headers.get(LENGTH, len(body)))
    try:
        request = json.loads(body[:length])
    except ValueError:
        raise RefusedError("failed to parse the request JSON buffer") from None
    if "inputs" not in request:
        raise RefusedError("Unable to parse 'inputs': attempt to access non-existing object member 'inputs'")
    inputs = _inputs(name, request["inputs"], body[length:])
    found = inputs if name == ECHO else {"scores": ("FP32", _reranked(inputs))}
    by_default = bool(request.get("parameters", {}).get("binary_data_output"))
    outputs, tail = [], b""
    for one in request.get("outputs") or [{"name": each} for each in found]:
        if one["name"] not in found:
            raise RefusedError(f"unexpected inference output '{one['name']}' for model '{name}'")
        is_binary = one.get("parameters", {}).get("binary_data", by_default)
        output, part = _output(one["name"], *found[one["name"]], is_binary=is_binary)
        outputs.append(output)
        tail += part
    answer: dict[str, Any] = {"model_name": name, "model_version": "1", "outputs": outputs}
    if "id" in request:
        answer["id"] = request["id"]
    text = json.dumps(answer).encode()
    if any("parameters" in output for output in outputs):
        return text + tail, {LENGTH: str(len(text)), "Content-Type": "application/octet-stream"}
    return text, {}


def _described(name: str) -> dict[str, Any]:
    described: dict[str, Any] = {"name": name, "versions": ["1"], "platform": "python", "inputs": [], "outputs": []}
    if name == RERANK:
        described |= {"inputs": metadata(RERANK_INPUTS), "outputs": metadata(RERANK_OUTPUTS)}
    return described


def _inputs(name: str, given: list[dict[str, Any]], rest: bytes) -> dict[str, tuple[str, Array]]:
    inputs: dict[str, tuple[str, Array]] = {}
    for one in given:
        size = one.get("parameters", {}).get("binary_data_size")
        if size is None:
            array = _of_json(one)
        else:
            array, rest = _of_binary(one, rest[:size]), rest[size:]
        inputs[one["name"]] = one["datatype"], array
    if rest:
        raise RefusedError(f"unexpected additional input data for model '{name}'")
    return inputs


def _output(name: str, datatype: str, array: Array, *, is_binary: bool) -> tuple[dict[str, Any], bytes]:
    output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
    if is_binary:
        part = _bytes(datatype, array)
        return {**output, "parameters": {"binary_data_size": len(part)}}, part
    if datatype == "FP16":
        raise RefusedError("sending FP16 data via JSON is not supported. Please use the binary data format")
    data = [each.decode() if datatype == "BYTES" else each for each in array.ravel().tolist()]
    return {**output, "data": data}, b""


def _reranked(inputs: dict[str, tuple[str, Array]]) -> Array:
    specs = {name: (datatype, shape) for name, datatype, shape in RERANK_INPUTS}
    if len(inputs) != len(specs):
        raise RefusedError(f"expected {len(specs)} inputs but got {len(inputs)} inputs for model '{RERANK}'")
    for name, (datatype, array) in inputs.items():
        if name not in specs:
            raise RefusedError(f"unexpected inference input '{name}' for model '{RERANK}'")
        if datatype != specs[name][0]:
            problem = f"inference input '{name}' data-type is '{datatype}', but model '{RERANK}' expects"
            raise RefusedError(f"{problem} '{specs[name][0]}'")
        if array.ndim != len(specs[name][1]):
            raise RefusedError(f"unexpected shape for input '{name}' for model '{RERANK}'")
    return rerank(inputs["history"][1], inputs["weights"][1], inputs["candidates"][1])


def _of_json(one: dict[str, Any]) -> Array:
    if one["datatype"] == "FP16":
        raise RefusedError("receiving FP16 data via JSON is not supported. Please use the binary data format")
    data = np.array(one["data"], object).ravel()
    if data.size != math.prod(one["shape"]):
        raise RefusedError(f"Unable to parse 'data': got {data.size} elements for input '{one['name']}'")
    if one["datatype"] == "BYTES":
        return np.array([each.encode() for each in data.tolist()], object).reshape(one["shape"])
    return data.astype(DTYPES[one["datatype"]]).reshape(one["shape"])


def _of_binary(one: dict[str, Any], data: bytes) -> Array:
    count = math.prod(one["shape"])
    if one["datatype"] == "BYTES":
        found, at = [], 0
        while at < len(data):
            (length,) = struct.unpack_from("<I", data, at)
            found.append(data[at + 4 : at + 4 + length])
            at += 4 + length
        if len(found) != count:
            raise RefusedError(f"expected {count} string inference elements, got {len(found)}")
        array = np.empty(count, object)
        array[:] = found
        return array.reshape(one["shape"])
    dtype = np.dtype(DTYPES[one["datatype"]])
    if len(data) != count * dtype.itemsize:
        problem = f"input byte size mismatch for input '{one['name']}'"
        raise RefusedError(f"{problem}. Expected {count * dtype.itemsize}, got {len(data)}")
    return np.frombuffer(data, dtype).reshape(one["shape"])


def _bytes(datatype: str, array: Array) -> bytes:
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(each)) + each for each in array.ravel().tolist())
    return array.tobytes()


async def _send(writer: asyncio.StreamWriter, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    lines = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body)
    await writer.drain()


async def _trickle(writer: asyncio.StreamWriter, byte: bytes) -> None:
    while True:
        writer.write(byte)
        await writer.drain()
        await asyncio.sleep(0.02)


async def main() -> None:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    control = await asyncio.start_server(server.control, "127.0.0.1", 0)
    ports = [one.sockets[0].getsockname()[1] for one in (listening, control)]
    print(*(f"http://127.0.0.1:{port}" for port in ports), flush=True)
    async with listening, control:
        await asyncio.gather(listening.serve_forever(), control.serve_forever())


if __name__ == "__main__":
    asyncio.run(main())
