"""A client of the Open Inference Protocol v2 over HTTP: what MLServer, KServe, Seldon and Triton speak."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from nearhand.errors import NearhandError, UsageError
from nearhand.hybrid.messages import (
    BINARY_TENSORS,
    Inference,
    ModelMetadata,
    Parameter,
    RefusedError,
    ServerMetadata,
    error_text,
    inference_of,
    model_metadata,
    request_body,
    says_ready,
    server_metadata,
)
from nearhand.hybrid.tensors import Array
from nearhand.ids import random_id
from nearhand.network import Answer, Call, Transport, default_transport
from nearhand.sync.retry import retry_after_ms

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_ENDPOINT = re.compile(r"(https?)://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?")
_TRY_AGAIN = frozenset({408, 429})


class InferenceClient:
    """Asks one server. Safe for several threads; connections are kept, and the network is imported at the first call.

    Tensors go as JSON, and as bytes where the server's metadata advertise the binary tensor data extension. What they
    advertise is remembered, and asked again after an error: another server may answer the next time.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        transport: Transport | None = None,
        headers: Mapping[str, str] | None = None,
        binary: bool | None = None,
        allow_http: bool = False,
        timeout_ms: float = 10_000,
        max_answer_bytes: int = 4_000_000,
    ) -> None:
        """
        Args:
            endpoint: the address without ``/v2``; https, or http to this machine itself.
            transport: what carries the calls; by default a pool of kept connections.
            headers: sent with every call, such as an authorization or a gateway's ``Host``.
            binary: whether tensors go as bytes; None: if the server advertises it.
            allow_http: whether an endpoint elsewhere may be asked without encryption.
            timeout_ms: of a call for which none is given.
            max_answer_bytes: of one answer.

        Raises:
            UsageError: the endpoint is no such address.
        """
        self.endpoint = check_endpoint(endpoint, allow_http=allow_http)
        self._given = self._transport = transport
        self._headers = dict(headers or {})
        if not all(map(_is_header, [*self._headers, *self._headers.values()])):
            remedy = "write {'x-name': 'value'}"
            raise UsageError("are not names and values of ASCII characters", place="headers", remedy=remedy)
        self._pinned = binary
        self._advertised: bool | None = None
        self._timeout_ms = timeout_ms
        self._max_answer_bytes = max_answer_bytes

    def server(self, *, timeout_ms: float | None = None) -> ServerMetadata:
        """What the server is, and its extensions.

        Raises:
            RefusedError: it does not say. ProtocolError: its answer is not what the protocol says.
            NetworkError: there was no whole answer, or none in time.
        """
        answer, place = self._get("", timeout_ms)
        return server_metadata(_succeeded(answer, place), place)

    def model(self, name: str, *, version: str = "", timeout_ms: float | None = None) -> ModelMetadata:
        """A model's inputs and outputs. Errors as :meth:`server`."""
        answer, place = self._get(_path(name, version), timeout_ms)
        return model_metadata(_succeeded(answer, place), place)

    def is_ready(self, name: str | None = None, *, version: str = "", timeout_ms: float | None = None) -> bool:
        """Whether a model can be asked, or without a name whether the server is ready for all of its models.

        Servers say no with different statuses (400, 404, 503): any but 200 is a no.

        Raises:
            NetworkError: there was no whole answer. ProtocolError: it is neither yes nor no.
        """
        path = "/health/ready" if name is None else f"{_path(name, version)}/ready"
        answer, place = self._get(path, timeout_ms)
        return answer.status == 200 and says_ready(answer, place)

    def infer(
        self,
        name: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] = (),
        *,
        version: str = "",
        parameters: Mapping[str, Parameter] | None = None,
        timeout_ms: float | None = None,
        leaving: Callable[[int], None] | None = None,
    ) -> Inference:
        """What a model gives for some inputs.

        Args:
            name, version: the model's; without a version the server chooses one.
            inputs: name → array, of any dtype that has a datatype (:data:`DTYPES`), or of texts or bytes.
            outputs: names of those that are wanted, each of which will be there; none: all that the model has.
            parameters: of the request.
            timeout_ms: for each call; the first one also asks for the server's metadata.
            leaving: is called with the bytes of the body right before it is sent; what it raises keeps it here.

        Raises:
            UsageError: an argument is wrong; names it. RefusedError: the server did not do it.
            ProtocolError: its answer is not what the protocol says, or does not have the outputs, or a number that is
                not finite. NetworkError: there was no whole answer, or none in time, or it is too large.
        """
        path = f"{_path(name, version)}/infer"
        request_id = random_id()  # of this request alone: an answer that is another one's is noticed by it
        is_binary = self._is_binary(timeout_ms)
        body = request_body(inputs, outputs, parameters or {}, request_id=request_id, is_binary=is_binary)
        if leaving is not None:
            leaving(len(body.content))
        try:
            answer, place = self._send("POST", path, timeout_ms, body.content, body.headers)
            return inference_of(
                _succeeded(answer, place), outputs, request_id=request_id, sent_bytes=len(body.content), place=place
            )
        except NearhandError:
            self._advertised = None
            raise

    def close(self) -> None:
        """Close the connections that are kept; those of a transport that was given are its owner's."""
        if self._given is None and self._transport is not None:
            self._transport.close()

    def _is_binary(self, timeout_ms: float | None) -> bool:
        if self._pinned is not None:
            return self._pinned
        known = self._advertised
        if known is None:
            try:
                known = BINARY_TENSORS in self.server(timeout_ms=timeout_ms).extensions
            except RefusedError as error:
                if not 400 <= error.status < 500 or error.status in _TRY_AGAIN:
                    raise
                known = False  # behind some gateways there are models only
            self._advertised = known
        return known

    def _get(self, path: str, timeout_ms: float | None) -> tuple[Answer, str]:
        return self._send("GET", path, timeout_ms, None, {})

    def _send(
        self, method: str, path: str, timeout_ms: float | None, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[Answer, str]:
        if self._transport is None:
            self._transport = default_transport()
        call = Call(
            method=method,
            url=f"{self.endpoint}/v2{path}",
            headers={**self._headers, **headers},
            body=body,
            timeout_ms=self._timeout_ms if timeout_ms is None else timeout_ms,
            max_answer_bytes=self._max_answer_bytes,
        )
        return self._transport.send(call), call.url


def check_endpoint(endpoint: str, *, allow_http: bool) -> str:
    """An address as it is called.

    Raises:
        UsageError: it is no address, or one that would be asked without encryption.
    """
    found = _ENDPOINT.fullmatch(endpoint) if isinstance(endpoint, str) else None
    if found is None:
        remedy = "give one such as https://models.example.org, without /v2, a query or a password"
        raise UsageError(f"{endpoint!r} is no address", place="endpoint", remedy=remedy)
    if found[1] == "http" and found[2] not in _LOCAL and not allow_http:
        problem = f"{endpoint!r} is not encrypted, and anybody on the way could read what is sent"
        raise UsageError(problem, place="endpoint", remedy="use https, or set allow_http for a test network")
    return endpoint.rstrip("/")


def _is_header(text: object) -> bool:
    return isinstance(text, str) and text.isascii() and text.isprintable() and bool(text.strip())


def check_model_name(name: str, place: str) -> None:
    """
    Raises:
        UsageError: it cannot be part of an address.
    """
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        remedy = "use up to 128 letters, digits, '.', '_' and '-'"
        raise UsageError(f"{name!r} is no name of a model or version", place=place, remedy=remedy)


def _path(name: str, version: str) -> str:
    check_model_name(name, "name")
    if not version:
        return f"/models/{name}"
    check_model_name(version, "version")
    return f"/models/{name}/versions/{version}"


def _succeeded(answer: Answer, place: str) -> Answer:
    if answer.status != 200:
        pause = retry_after_ms(answer.headers)
        raise RefusedError(answer.status, error_text(answer), place=place, retry_after_ms=pause)
    return answer
