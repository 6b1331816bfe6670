"""MLServer with one bundle: in this process, or in a child beside the endpoint."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from nearhand.bundle import verify_bundle
from nearhand.errors import UsageError
from nearhand.version import __version__
from nearhand_cloud.heavy.settings import write_settings

DEFAULT_PORT = 8090
_READY = "nearhand-cloud: heavy model "
_GRACE_S = 10.0
_LONGEST_START_S = 120.0
_POLL_S = 0.02


@dataclass(frozen=True)
class HeavyProcess:
    """A running server.

    Attributes:
        url: where it answers, without a path: ``http://127.0.0.1:8090``.
        model: the name under which the bundle is served.
    """

    url: str
    model: str
    process: subprocess.Popen[str]

    @property
    def line(self) -> str:
        """What is said when it is ready."""
        return ready_line(self.model, self.url)


def ready_line(model: str, url: str) -> str:
    """The line that says that a model can be asked."""
    return f"{_READY}{model} on {url}"


@contextmanager
def running(bundle: str | Path, *, host: str = "127.0.0.1", port: int = DEFAULT_PORT) -> Iterator[HeavyProcess]:
    """Serve a bundle by a child process within the block; the child ends with the block, or with this process.

    Args:
        port: 0 for a free one.

    Raises:
        BundleError: the bundle is refused.
        UsageError: the server did not come up, as when the port is taken; what it said went to stderr.
        StorageError: the bundle cannot be read.
    """
    verify_bundle(Path(bundle), sdk_version=__version__)  # here, so that the error is the caller's
    command = [sys.executable, "-m", "nearhand_cloud.heavy", "serve", str(bundle)]
    command += ["--host", host, "--port", str(port), "--with-parent"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    slow = threading.Timer(_LONGEST_START_S, process.kill)
    slow.start()
    try:
        said = process.stdout.readline()
        slow.cancel()
        if not said.startswith(_READY):
            remedy = "see what it said above; is the port free, and is nearhand-cloud[heavy] installed?"
            raise UsageError("the heavy model's server did not start", place=f"{host}:{port}", remedy=remedy)
        model, url = said.removeprefix(_READY).rstrip().rsplit(" on ", 1)
        yield HeavyProcess(url, model, process)
    finally:
        slow.cancel()
        _end(process)


def serve(bundle: str | Path, *, host: str, port: int, metrics_port: int | None = None) -> bool:
    """Serve a bundle until SIGTERM or SIGINT comes. Says on stdout when it is ready; MLServer's log goes to stderr.

    Args:
        port: 0 for a free one. The protocol's gRPC form gets a free port of its own.
        metrics_port: of Prometheus metrics; None: there are none.

    Returns:
        whether it was asked to end; else it failed, and the log says why.

    Raises:
        BundleError: the bundle is refused.
        UsageError: it makes no recommendations, or the port is taken.
        StorageError: it cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="nearhand-heavy-") as folder:
        server = {"host": host, "grpc_port": 0, "metrics_endpoint": None}
        if metrics_port is not None:
            server |= {"metrics_endpoint": "/metrics", "metrics_port": metrics_port}
        write_settings(bundle, folder, server=server)
        out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # MLServer logs to stdout
        return asyncio.run(_serve(folder, host, port, out))


def end_with_parent() -> None:
    """End this process when whoever started it has ended, which closes its stdin."""

    def wait() -> None:
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()


async def _serve(folder: str, host: str, port: int, out: TextIO) -> bool:
    from mlserver import MLServer
    from mlserver.cli.serve import load_settings

    settings, models = await load_settings(folder)
    settings.http_port = _free_port(host, port)  # taken as late as can be
    server = MLServer(settings)
    loop = asyncio.get_running_loop()
    stopping: list[asyncio.Task[None]] = []

    def stop(kind: signal.Signals) -> None:
        stopping.append(loop.create_task(server.stop(kind)))

    for kind in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(kind, stop, kind)
    announcing = loop.create_task(_announce(host, settings.http_port, models[0].name, out))
    try:
        await server.start(models)
    finally:
        announcing.cancel()
    return bool(stopping)


async def _announce(host: str, port: int, model: str, out: TextIO) -> None:
    local = "127.0.0.1" if host == "0.0.0.0" else host
    while not await asyncio.to_thread(is_ready, local, port, model):
        await asyncio.sleep(_POLL_S)
    print(ready_line(model, f"http://{local}:{port}"), file=out, flush=True)


def is_ready(host: str, port: int, model: str) -> bool:
    """Whether a server says that it can be asked."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", f"/v2/models/{model}/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _free_port(host: str, port: int) -> int:
    """The port, or a free one for 0.

    Raises:
        UsageError: it is taken. MLServer would end with a traceback, and whoever has it would answer for this one.
    """
    with socket.socket() as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server binds it
        try:
            found.bind((host, port))
        except OSError as error:
            raise UsageError(str(error.strerror), place=f"{host}:{port}", remedy="give another port") from None
        return int(found.getsockname()[1])


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
