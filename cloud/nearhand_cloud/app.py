"""The ASGI application: which request goes where."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
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
from nearhand_cloud.metrics import CONTENT_TYPE
from nearhand_cloud.refusal import RefusalError
from nearhand_cloud.service import Handler, Service, refused
from nearhand_cloud.settings import Settings
from nearhand_cloud.sinks.sink import Sink
from nearhand_cloud.sinks.sqlite import SqliteSink


def create_app(settings: Settings, clock: Clock | None = None) -> FastAPI:
    """The endpoint. ``app.state.service`` is there while it runs.

    Args:
        settings: the operator's choices.
        clock: the time; None: the system's.

    Raises:
        UnavailableError: at start-up, if the sink cannot be opened.
    """
    running_clock = clock or SystemClock()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        audit = Audit(settings.audit, running_clock)
        sink = open_sink(settings, running_clock)
        app.state.service = Service(settings, sink, open_limiter(settings, running_clock), audit, running_clock)
        try:
            yield
        finally:
            await app.state.service.close()

    app = FastAPI(
        title="Nearhand cloud",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    files = Files(settings.files)

    def route(method: str, path: str, action: str, handler: Callable[[Service], Handler]) -> None:
        async def endpoint(request: Request) -> Response:
            service: Service = request.app.state.service
            return await service.answer(action, handler(service), request)

        app.add_route(path, endpoint, methods=[method])

    route("POST", "/v1/batch", "batch", lambda service: service.batch)
    route("POST", "/v1/events", "events", lambda service: service.events)
    route("POST", "/v1/erasures", "erasures", lambda service: service.erasures)
    route("GET", "/v1/features", "features", lambda service: service.features)
    route("PUT", "/v1/installs/{install_id}/features", "put-features", lambda service: service.put_features)
    route("GET", "/readyz", "ready", lambda service: service.ready)
    route("GET", "/v1/files/{path:path}", "files", lambda service: lambda request, trace: files.answer(request))

    @app.get("/healthz")
    async def healthz() -> dict[str, bool]:
        return {"healthy": True}

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        service: Service = request.app.state.service
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


def open_sink(settings: Settings, clock: Clock) -> Sink:
    """The sink that the settings name."""
    assert settings.data is not None
    settings.data.mkdir(parents=True, exist_ok=True)
    return SqliteSink(settings.data, clock)


def open_limiter(settings: Settings, clock: Clock) -> Limiter:
    """What counts the requests of installs."""
    return MemoryLimiter(settings.rate, settings.burst, clock) if settings.rate else Unlimited()
