"""``python -m nearhand_cloud``: one endpoint process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from socket import AF_INET, AF_INET6, create_server, socket
from types import FrameType

import uvicorn

from nearhand.errors import NearhandError, UsageError
from nearhand_cloud.app import create_app, opened
from nearhand_cloud.service import Service
from nearhand_cloud.settings import Settings, read_settings

KEEP_ALIVE_S = 75


def main(arguments: Sequence[str]) -> int:
    """Serve until a signal says to stop; the exit code is 0 then, and 2 if the endpoint could not start."""
    try:
        settings = read_settings(arguments, os.environ)
        with (
            _listening(settings) as listener,
            _heavy(settings),
            asyncio.Runner(loop_factory=uvicorn.Config("").get_loop_factory()) as runner,
        ):
            runner.run(_serve(settings, listener))
    except NearhandError as error:
        print(f"nearhand-cloud: {error}", file=sys.stderr)
        return 2
    return 0


async def _serve(settings: Settings, listener: socket) -> None:
    async with opened(settings) as service:
        await _Server(service, settings).serve([listener])


@contextmanager
def _heavy(settings: Settings) -> Iterator[None]:
    """The heavy model beside the endpoint, if there is one: ready when the block begins, ended when that ends."""
    if settings.heavy is None:
        yield
        return
    from nearhand_cloud.heavy.serving import running  # onnxruntime, of an extra

    with running(settings.heavy, host=settings.host, port=settings.heavy_port) as heavy:
        print(heavy.line, flush=True)
        yield


def _listening(settings: Settings) -> socket:
    family = AF_INET6 if ":" in settings.host else AF_INET
    try:
        return create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        place = f"{settings.host}:{settings.port}"
        raise UsageError(str(error), place=place, remedy="choose another --host or --port") from error


class _Server(uvicorn.Server):
    """Says where it listens, and ends a stop by a signal with exit code 0."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service = service
        super().__init__(
            uvicorn.Config(
                create_app(service, settings),
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=round(settings.shutdown_s),
            )
        )

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            host, port = listener.getsockname()[:2]
            address = f"[{host}]" if ":" in host else host
            print(f"nearhand-cloud: listening on http://{address}:{port}", flush=True)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        self._service.stop()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        def stop(number: int, frame: FrameType | None) -> None:
            self.handle_exit(number, frame)

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
