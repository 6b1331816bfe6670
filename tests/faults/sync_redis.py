"""A real redis-server for tests, in a process of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.needs import unavailable


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """The address of a server that keeps what it acknowledged, as an operator would set it up.

    Args:
        folder: for its files; created.
    """
    program = shutil.which("redis-server")
    if program is None:
        unavailable("there is no redis-server")
    folder.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = {
        "port": port,
        "bind": "127.0.0.1",
        "dir": folder,
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
    }
    command = [program, *(text for name, value in options.items() for text in (f"--{name}", str(value)))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        said = []
        for line in server.stdout:
            said.append(line)
            if "Ready to accept connections" in line:
                break
        else:
            raise AssertionError(f"redis-server did not start: {''.join(said)}")
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()
            server.stdout.read()
