"""``python -m nearhand_cloud``: one endpoint process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from socket import socket
from types import FrameType

import uvicorn

from nearhand.errors import NearhandError
from nearhand_cloud.app import create_app
from nearhand_cloud.service import Service
from nearhand_cloud.settings import Settings, read_settings

KEEP_ALIVE_S = 75


def main(arguments: Sequence[str]) -> int:
    """Serve until a signal says to stop; the exit code is 0 then, and 2 if the endpoint could not start."""
    try:
        settings = read_settings(arguments, os.environ)
        _Server(settings).run()
    except NearhandError as error:
        print(f"nearhand-cloud: {error}", file=sys.stderr)
        return 2
    return 0


class _Server(uvicorn.Server):
    """Says where it listens, and ends a stop by a signal with exit code 0."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app = create_app(settings)
        super().__init__(
            uvicorn.Config(
                self._app,
                host=settings.host,
                port=settings.port,
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=round(settings.shutdown_s),
            )
        )

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            address = f"[{host}]" if ":" in host else host
            print(f"nearhand-cloud: listening on http://{address}:{port}", flush=True)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        service: Service = self._app.state.service
        service.stop()
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
