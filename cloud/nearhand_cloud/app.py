"""The ASGI application: which request goes where."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from nearhand.clock import Clock, SystemClock
from nearhand.version import __version__
from nearhand_cloud import openapi
from nearhand_cloud.audit import Audit
from nearhand_cloud.files import Files
from nearhand_cloud.limiter import Limiter, MemoryLimiter, Unlimited
from nearhand_cloud.metrics import CONTENT_TYPE, Metrics
from nearhand_cloud.refusal import RefusalError
from nearhand_cloud.service import Handler, Service, refused
from nearhand_cloud.settings import Settings
from nearhand_cloud.sinks.ledger import Ledger
from nearhand_cloud.sinks.sink import Sink
from nearhand_cloud.sinks.sqlite import SqliteSink
from nearhand_cloud.sinks.sqlite_ledger import SqliteLedger

_DAY_MS = 86_400_000


@asynccontextmanager
async def opened(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Service]:
    """One endpoint, from the moment its sink is open until what was begun is finished.

    Args:
        settings: the operator's choices.
        clock: the time; None: the system's.

    Raises:
        UnavailableError: the sink cannot be opened.
    """
    clock = clock or SystemClock()
    metrics = Metrics()
    audit = Audit(settings.audit, clock)
    limiter = _limiter(settings, clock)
    service = Service(settings, _sink(settings, clock, metrics), limiter, audit, metrics, clock)
    try:
        yield service
    finally:
        await service.close()


def create_app(service: Service, settings: Settings) -> FastAPI:
    """The ASGI application of an endpoint."""
    app = FastAPI(
        title="Nearhand cloud",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    files = Files(settings.files)

    def route(method: str, path: str, action: str, handler: Handler) -> None:
        async def endpoint(request: Request) -> Response:
            return await service.answer(action, handler, request)

        app.add_route(path, endpoint, methods=[method])

    route("POST", "/v1/batch", "batch", service.batch)
    route("POST", "/v1/events", "events", service.events)
    route("POST", "/v1/erasures", "erasures", service.erasures)
    route("GET", "/v1/features", "features", service.features)
    route("PUT", "/v1/installs/{install_id}/features", "put-features", service.put_features)
    route("GET", "/readyz", "ready", service.ready)
    route("GET", "/v1/files/{path:path}", "files", lambda request, trace: files.answer(request))

    @app.get("/healthz")
    async def healthz() -> dict[str, bool]:
        return {"healthy": True}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/openapi.json")
    async def description() -> dict[str, Any]:
        return openapi.DOCUMENT

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        code = {404: "no-route", 405: "method"}.get(error.status_code, "http")
        response = refused(RefusalError(error.status_code, code, str(error.detail), "see /openapi.json"))
        response.headers.update(error.headers or {})
        return response

    return app


def _sink(settings: Settings, clock: Clock, metrics: Metrics) -> Sink:
    """The sink that the settings name. What Kafka and Redis need is imported if they are used."""
    if settings.data is not None:
        settings.data.mkdir(parents=True, exist_ok=True)
    if settings.sink == "sqlite":
        return SqliteSink(_folder(settings), clock)
    from nearhand_cloud.sinks.kafka import KafkaSink, lease_ms

    options = {**dict(settings.kafka_options), "bootstrap.servers": settings.kafka}
    lease, keep = lease_ms(options), settings.dedup_days * _DAY_MS
    ledger: Ledger
    if settings.redis is not None and settings.dedup == "redis":
        from nearhand_cloud.sinks.redis_ledger import RedisLedger

        prefix = f"nearhand:{settings.topic}:"
        ledger = RedisLedger(settings.redis, prefix, lease_ms=lease, keep_ms=keep)
    else:
        ledger = SqliteLedger(_folder(settings), clock, lease_ms=lease, keep_ms=keep)
    return KafkaSink(options, settings.topic, ledger, clock, metrics)


def _folder(settings: Settings) -> Path:
    assert settings.data is not None, "the settings were checked"
    return settings.data


def _limiter(settings: Settings, clock: Clock) -> Limiter:
    if not settings.rate:
        return Unlimited()
    if settings.redis is None or settings.dedup != "redis":
        return MemoryLimiter(settings.rate, settings.burst, clock)
    from nearhand_cloud.redis_limiter import RedisLimiter

    return RedisLimiter(settings.redis, f"nearhand:{settings.topic}:", settings.rate, settings.burst)
