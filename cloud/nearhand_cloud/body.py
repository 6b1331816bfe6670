"""The body of a request: read as it comes, decompressed as it comes, and given up as soon as it is too large."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import ClientDisconnect, Request

from nearhand_cloud.refusal import RefusalError

_GZIP = 16 + zlib.MAX_WBITS
_READ_ON_BYTES = 4_000_000  # of a body that is too large, so that a well-meant client gets to read why
_READ_ON_S = 2.0


class Reading:
    """Reads bodies, each within a time, until it is told to stop.

    Args:
        seconds: how long a body may take to arrive.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeouts: set[asyncio.Timeout] = set()
        self._stopped = False

    def stop(self) -> None:
        """Refuse the bodies that have not arrived yet, and those to come: the endpoint is shutting down."""
        self._stopped = True
        now = asyncio.get_running_loop().time()
        for timeout in self._timeouts:
            timeout.reschedule(now)

    async def body(self, request: Request, limit: int) -> bytes:
        """The decompressed body of a request.

        Args:
            limit: how many bytes it may have, compressed and decompressed.

        Raises:
            RefusalError: it is too large, not what its headers say, too slow, or the endpoint is shutting down.
        """
        if self._stopped:
            raise shutting_down()
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip"):
            remedy = "send it as it is, or with Content-Encoding: gzip"
            raise RefusalError(415, "content-encoding", f"the content encoding {encoding[:40]!r} is not known", remedy)
        try:
            async with asyncio.timeout(self._seconds) as timeout:
                self._timeouts.add(timeout)
                try:
                    return await _read(request, limit, gzip=encoding == "gzip")
                finally:
                    self._timeouts.discard(timeout)
        except TimeoutError:
            if self._stopped:
                raise shutting_down() from None
            problem = f"the body did not arrive within {self._seconds:g} s"
            raise RefusalError(408, "timeout", problem, "send it again", close=True) from None
        except ClientDisconnect:
            raise RefusalError(
                400, "body", "the connection ended before the body did", "send it again", close=True
            ) from None


def parsed(body: bytes) -> Any:
    """The JSON value of a body.

    Raises:
        RefusalError: it is not JSON, or has a name twice in one object.
    """
    try:
        return json.loads(body.decode(), object_pairs_hook=_object, parse_constant=_constant)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        problem = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RefusalError(400, "json", f"the body is not JSON: {problem[:200]}", "send UTF-8 JSON") from None


def shutting_down() -> RefusalError:
    return RefusalError(
        503, "shutting-down", "this endpoint is shutting down", "send it again", retry_after_s=1, close=True
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):  # readers do not agree which of the two is meant
        raise ValueError("an object has a name twice")
    return found


def _constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


async def _read(request: Request, limit: int, *, gzip: bool) -> bytes:
    stream = request.stream()
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise await _too_large(stream, limit)
    inflater = zlib.decompressobj(_GZIP) if gzip else None
    parts: list[bytes] = []
    received = size = 0
    async for chunk in stream:
        received += len(chunk)
        if inflater is not None and chunk:
            try:
                chunk = inflater.decompress(chunk, limit + 1 - size)  # noqa: PLW2901 - what counts is what it holds
            except zlib.error as error:
                raise _no_gzip(str(error)) from None
            if inflater.unused_data:
                raise _no_gzip("something follows its end")
        size += len(chunk)
        if size > limit or received > limit:
            raise await _too_large(stream, limit)
        parts.append(chunk)
    if inflater is not None and not inflater.eof:
        raise _no_gzip("it ends too early")
    return b"".join(parts)


def _no_gzip(problem: str) -> RefusalError:
    return RefusalError(400, "gzip", f"the body is not gzip: {problem[:100]}", "send one gzip member", close=True)


async def _too_large(stream: AsyncIterator[bytes], limit: int) -> RefusalError:
    """The refusal, after what the client is just sending: else it would see a broken connection instead."""
    received = 0
    try:
        async with asyncio.timeout(_READ_ON_S):
            async for chunk in stream:
                received += len(chunk)
                if received > _READ_ON_BYTES:
                    break
    except (TimeoutError, ClientDisconnect):
        pass
    return RefusalError(413, "too-large", f"the body is larger than {limit:,} bytes", "send less at once", close=True)
