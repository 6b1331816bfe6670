"""Servers of the Open Inference Protocol as real processes, each with the models of :mod:`tests.oip.models`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.oip.models import ECHO, RERANK, RERANK_INPUTS, RERANK_OUTPUTS, metadata

ROOT = Path(__file__).parents[2]
_START_S = 90
_MLSERVER = "from mlserver.cli import main; main()"


@dataclass(frozen=True)
class Running:
    """A server.

    Attributes:
        kind: ``triton`` or ``mlserver``.
    """

    kind: str
    url: str
    process: subprocess.Popen[str]

    def kill(self) -> None:
        """At once, as a machine that fails."""
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class Scripted(Running):
    """The server after Triton's protocol, which fails on demand."""

    control: str

    def fail(self, kind: str | None = None, **fault: Any) -> None:
        """What goes wrong from now on with each inference, or with each request (``everywhere=True``); None: nothing.

        ``extensions=[…]`` is what the server advertises, if it is not what Triton does.
        """
        self._ask("PUT", fault if kind is None else {"kind": kind, **fault})

    def counts(self) -> dict[str, Any]:
        """What has come in: ``connections``, ``requests``, ``infers``, ``metadata``, ``bytes`` and ``last``."""
        return self._ask("GET", None)

    def _ask(self, method: str, content: Mapping[str, Any] | None) -> dict[str, Any]:
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self.control, body, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found


@contextmanager
def scripted() -> Iterator[Scripted]:
    """The server after Triton's protocol."""
    command = [sys.executable, "-m", "tests.oip.triton"]
    with subprocess.Popen(command, cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url, control = process.stdout.readline().split()
            yield Scripted("triton", url, process, control)
        finally:
            process.kill()


@contextmanager
def mlserver(folder: Path) -> Iterator[Running]:
    """A real MLServer."""
    for name, runtime in ((ECHO, "Echo"), (RERANK, "Rerank")):
        settings: dict[str, Any] = {"name": name, "implementation": f"tests.oip.runtime.{runtime}"}
        if name == RERANK:
            settings |= {"inputs": metadata(RERANK_INPUTS), "outputs": metadata(RERANK_OUTPUTS)}
        (folder / name).mkdir()
        (folder / name / "model-settings.json").write_text(json.dumps(settings))
    ports = free_ports(3)
    names = ("http_port", "grpc_port", "metrics_port")
    chosen = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False, **dict(zip(names, ports, strict=True))}
    (folder / "settings.json").write_text(json.dumps(chosen))
    with (folder / "log.txt").open("w") as log:
        command = [sys.executable, "-c", _MLSERVER, "start", str(folder)]
        with subprocess.Popen(command, cwd=ROOT, env=_environment(), stdout=log, stderr=log, text=True) as process:
            try:
                url = f"http://127.0.0.1:{ports[0]}"
                wait_until_ready(url, process, folder / "log.txt")
                yield Running("mlserver", url, process)
            finally:
                process.kill()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def wait_until_ready(url: str, process: subprocess.Popen[str], log: Path) -> None:
    """Until all of a server's models can be asked."""
    ends = time.monotonic() + _START_S
    while time.monotonic() < ends:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(log.read_text())


def _environment() -> dict[str, str]:
    paths = [str(ROOT / "sdk"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
