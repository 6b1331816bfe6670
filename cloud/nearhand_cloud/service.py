"""What the endpoint does with a request, whatever framework has brought it."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from hashlib import sha256
from hmac import compare_digest
from typing import Any, TypeAlias
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from nearhand.clock import Clock
from nearhand.ids import is_id
from nearhand_cloud.audit import Audit
from nearhand_cloud.body import Reading, parsed, shutting_down
from nearhand_cloud.documents import MAX_FEATURE_BYTES, read_erasure, read_features
from nearhand_cloud.events import install_digest
from nearhand_cloud.limiter import Limiter
from nearhand_cloud.metrics import Metrics
from nearhand_cloud.refusal import RefusalError, UnavailableError, wrong_install_key
from nearhand_cloud.settings import Settings
from nearhand_cloud.shapes import MAX_BODY_BYTES, Intake, read_batch, read_cloudevents
from nearhand_cloud.sinks.sink import Batch, Kept, Sink

_KEY = re.compile("[0-9a-f]{64}")
CLOUDEVENT = "application/cloudevents+json"
CLOUDEVENTS = "application/cloudevents-batch+json"
JSON = "application/json"

Handler: TypeAlias = "Callable[[Request, Trace], Awaitable[Response]]"


class Trace:
    """What the audit log is told of a request."""

    __slots__ = ("details", "install_id")

    def __init__(self) -> None:
        self.install_id: str | None = None
        self.details: dict[str, Any] = {}


class Service:
    """One endpoint: its sink, its limits, and what it tells of itself.

    Args:
        settings: the operator's choices.
        sink: where events go.
        limiter: counts the requests of installs.
        audit: gets a line for each request.
        metrics: count them.
        clock: what durations are read from.
    """

    def __init__(
        self, settings: Settings, sink: Sink, limiter: Limiter, audit: Audit, metrics: Metrics, clock: Clock
    ) -> None:
        self.metrics = metrics
        self._settings = settings
        self._sink = sink
        self._limiter = limiter
        self._audit = audit
        self._clock = clock
        self._reading = Reading(settings.body_s)
        self._write_keys = [_digest(key) for key in settings.write_keys]
        self._server_key = None if settings.server_key is None else _digest(settings.server_key)
        self._in_flight = 0
        self._stopping = False

    def stop(self) -> None:
        """From now on refuse what has not arrived as a whole; what has is still done and answered."""
        self._stopping = True
        self._reading.stop()

    async def close(self) -> None:
        """Finish what was begun, and let go of everything."""
        await self._sink.close()
        await self._limiter.close()
        self._audit.close()

    async def answer(self, action: str, handler: Handler, request: Request) -> Response:
        """Run one handler, and count, log and answer whatever comes of it."""
        started = self._clock.monotonic_ns()
        trace = Trace()
        code = ""
        self._in_flight += 1
        self.metrics.in_flight.set(self._in_flight)
        try:
            if self._in_flight > self._settings.in_flight:
                problem = f"more than {self._settings.in_flight:,} requests are being worked on"
                raise RefusalError(503, "busy", problem, "send it again", retry_after_s=1, close=True)
            if self._stopping:
                raise shutting_down()
            response = await handler(request, trace)
        except RefusalError as refusal:
            code = refusal.code
            response = refused(refusal)
        except UnavailableError as error:
            code = "unavailable"
            self.metrics.sink_failures.inc()
            trace.details["problem"] = str(error)
            problem, remedy = "events cannot be stored now", "send it again"
            response = refused(RefusalError(503, code, problem, remedy, retry_after_s=2))
        finally:
            self._in_flight -= 1
            self.metrics.in_flight.set(self._in_flight)
        seconds = (self._clock.monotonic_ns() - started) / 1e9
        self.metrics.requests.labels(action, response.status_code, code).inc()
        self.metrics.seconds.labels(action).observe(seconds)
        milliseconds = round(seconds * 1000, 1)
        self._audit.write(
            action, response.status_code, trace.install_id, code=code, **trace.details, milliseconds=milliseconds
        )
        return response

    async def batch(self, request: Request, trace: Trace) -> Response:
        """``POST /v1/batch``."""
        install_key = await self._device(request)
        _require_type(request, JSON)
        return await self._kept(read_batch(await self._json(request)), install_key, trace)

    async def events(self, request: Request, trace: Trace) -> Response:
        """``POST /v1/events``: a batch, one event in structured mode, or one in binary mode."""
        install_key = await self._device(request)
        _require_type(request, JSON, CLOUDEVENT, CLOUDEVENTS)
        content_type = _content_type(request)
        if content_type == CLOUDEVENTS:
            return await self._kept(read_cloudevents(await self._json(request)), install_key, trace)
        if content_type == CLOUDEVENT:
            return await self._kept(read_cloudevents([await self._json(request)]), install_key, trace)
        event = {**_attributes(request), "data": await self._json(request)}
        return await self._kept(read_cloudevents([event]), install_key, trace)

    async def erasures(self, request: Request, trace: Trace) -> Response:
        """``POST /v1/erasures``."""
        self._check_write_key(request)
        _require_type(request, JSON)
        install_key = _install_key(request) if "x-nearhand-install-key" in request.headers else None
        erasure = read_erasure(await self._json(request), install_key)
        trace.install_id = erasure.install_id
        await self._take_token(install_digest(erasure.install_id))
        erased = await self._sink.erase(erasure)
        self.metrics.erased.inc(erased)
        trace.details |= {"scope": "install" if erasure.event_ids is None else "events", "erased": erased}
        return _json({"erased": erased})

    async def features(self, request: Request, trace: Trace) -> Response:
        """``GET /v1/features``."""
        install_key = await self._device(request)
        install_id = trace.install_id = _install_id(request.query_params.get("install_id", ""))
        text = await self._sink.features(install_id, install_key)
        if text is None:
            raise RefusalError(404, "no-features", "nothing was pushed for this install", "ask again later")
        etag = f'"{sha256(text.encode()).hexdigest()[:32]}"'
        known = request.headers.get("if-none-match", "")
        if etag in (tag.strip().removeprefix("W/") for tag in known.split(",")) or known.strip() == "*":
            return Response(status_code=304, headers={"etag": etag})
        return Response(text, media_type=JSON, headers={"etag": etag})

    async def put_features(self, request: Request, trace: Trace) -> Response:
        """``PUT /v1/installs/{install_id}/features``."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        key = self._server_key
        if scheme.lower() != "bearer" or key is None or not compare_digest(_digest(given.strip()), key):
            raise RefusalError(
                401, "server-key", "the server key is missing or wrong", "send Authorization: Bearer KEY"
            )
        install_id = trace.install_id = _install_id(request.path_params["install_id"])
        _require_type(request, JSON)
        text = read_features(await self._json(request, MAX_FEATURE_BYTES))
        await self._sink.put_features(install_id, text)
        return Response(status_code=204)

    async def ready(self, request: Request, trace: Trace) -> Response:
        """``GET /readyz``: whether a batch could be stored now."""
        await self._sink.check()
        return _json({"ready": True})

    async def _device(self, request: Request) -> bytes:
        """The install key of a device's request, once its write key was found to be good and it may go on."""
        self._check_write_key(request)
        install_key = _install_key(request)
        await self._take_token(sha256(install_key).digest())
        return install_key

    def _check_write_key(self, request: Request) -> None:
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        try:
            name, _, _ = base64.b64decode(credentials.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):
            name = b""
        given = sha256(name).digest()
        # All of them, whichever is the right one: how long it takes tells nothing.
        good = [compare_digest(given, key) for key in self._write_keys]
        if scheme.lower() != "basic" or not any(good):
            problem = "the write key is missing or wrong"
            raise RefusalError(401, "write-key", problem, 'send Authorization: Basic base64(KEY + ":")')

    async def _take_token(self, install: bytes) -> None:
        wait = await self._limiter.wait_s(install)
        if wait > 0:
            problem, seconds = "this install makes too many requests", math.ceil(wait)
            raise RefusalError(429, "rate", problem, "send fewer, larger batches", retry_after_s=seconds, close=True)

    async def _json(self, request: Request, limit: int = MAX_BODY_BYTES) -> Any:
        body = await self._reading.body(request, limit)
        self.metrics.bytes.inc(len(body))
        return parsed(body)

    async def _kept(self, intake: Intake, install_key: bytes, trace: Trace) -> Response:
        """Store what is well formed, and say what is not."""
        trace.install_id = intake.install_id
        kept = Kept(0, 0)
        if intake.install_id is not None and intake.events:
            kept = await self._sink.keep(Batch(intake.install_id, install_key, intake.events))
        self.metrics.accepted.inc(kept.accepted)
        self.metrics.duplicates.inc(kept.duplicates)
        codes: dict[str, int] = {}
        for refused_event in intake.refused:
            codes[refused_event.code] = codes.get(refused_event.code, 0) + 1
            self.metrics.refused.labels(refused_event.code).inc()
        trace.details |= {"accepted": kept.accepted, "duplicates": kept.duplicates, "refused": codes}
        return _json({**asdict(kept), "refused": [asdict(each) for each in intake.refused]})


def refused(refusal: RefusalError) -> Response:
    """The answer that tells a refusal."""
    headers = {}
    if refusal.retry_after_s is not None:
        headers["retry-after"] = str(refusal.retry_after_s)
    if refusal.close:
        headers["connection"] = "close"
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer" if refusal.code == "server-key" else 'Basic realm="write key"'
    content = {"code": refusal.code, "problem": refusal.problem, "remedy": refusal.remedy}
    return _json(content, refusal.status, headers)


def _json(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return Response(text, status, headers, media_type=JSON)


def _digest(key: str) -> bytes:
    return sha256(key.encode()).digest()


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _require_type(request: Request, *allowed: str) -> None:
    found = _content_type(request)
    charset = re.search(r"charset\s*=\s*\"?([^\s;\"]*)", request.headers.get("content-type", ""), re.IGNORECASE)
    if found not in allowed or (charset is not None and charset[1].lower() != "utf-8"):
        problem = f"the content type is {found[:60]!r}" + (f" in {charset[1][:20]!r}" if charset is not None else "")
        raise RefusalError(415, "content-type", problem, f"send {' or '.join(allowed)}, in UTF-8")


def _install_key(request: Request) -> bytes:
    text = request.headers.get("x-nearhand-install-key", "")
    if not _KEY.fullmatch(text):
        raise wrong_install_key()
    return bytes.fromhex(text)


def _install_id(value: str) -> str:
    if not is_id(value):
        raise RefusalError(
            422, "install", "the install id is not 32 hexadecimal digits", "send the device's install id"
        )
    return value


def _attributes(request: Request) -> dict[str, Any]:
    """The attributes of a CloudEvent in binary mode: headers, percent-encoded; whole numbers as numbers."""
    found: dict[str, Any] = {}
    for name, value in request.headers.items():
        if name.startswith("ce-"):
            text = unquote(value.strip().strip('"'))
            name = name.removeprefix("ce-")  # noqa: PLW2901
            is_number = name in ("nearhandsequence", "nearhandoffset", "nearhandepoch")
            found[name] = int(text) if is_number and re.fullmatch("-?[0-9]{1,18}", text, re.ASCII) else text
    return found
