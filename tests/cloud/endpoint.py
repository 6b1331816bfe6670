"""A real endpoint: a process of its own on a free port."""

from __future__ import annotations

import base64
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WRITE_KEY = "test-write-key"
SERVER_KEY = "test-server-key-of-the-backend"
START_S = 60.0


@dataclass
class Endpoint:
    """An endpoint process that accepts requests.

    Attributes:
        url: where it listens, such as ``http://127.0.0.1:40123``.
        write_key: what devices authenticate with.
        server_key: what the backend authenticates with.
        process: the process; it may be killed, and :meth:`restart` starts another one on the same port and data.
        data: the folder of its SQLite files.
        errors: the file that its standard error goes to; the audit log is there.
        kafka: the bootstrap servers and the topic, if that is where events go.
    """

    url: str
    write_key: str
    server_key: str
    process: subprocess.Popen[str]
    data: Path
    errors: Path
    arguments: list[str]
    kafka: tuple[str, str] | None = None

    @property
    def authorization(self) -> str:
        """The value of the header Authorization of a device."""
        return "Basic " + base64.b64encode(f"{self.write_key}:".encode()).decode()

    def stored(self) -> list[dict[str, Any]]:
        """The stored events, as a consumer reads them: in the order in which they were stored, or by partition."""
        if self.kafka is None:
            return stored_in_sqlite(self.data / "events.db")
        from tests.cloud.brokers import consumed  # Kafka's client is slow to import

        return [{name: record[name] for name in record if name != "key"} for record in consumed(*self.kafka)]

    def restart(self) -> None:
        """End the process if it runs, and start it again."""
        self.kill()
        self.process = _started(self.arguments, self.errors)
        _address(self.process, self.errors)

    def kill(self) -> None:
        """``kill -9``."""
        self.process.kill()
        self._gone()

    def stop(self, timeout_s: float = 40.0) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self._gone(timeout_s)

    def _gone(self, timeout_s: float = 40.0) -> int:
        code = self.process.wait(timeout_s)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


@contextmanager
def running_endpoint(tmp_path: Path, **options: object) -> Iterator[Endpoint]:
    """An endpoint with its data in ``tmp_path / "cloud"``.

    Args:
        tmp_path: a folder that is this test's own.
        options: further options of ``python -m nearhand_cloud``: ``rate=0`` for ``--rate 0``.
    """
    data = tmp_path / "cloud"
    data.mkdir(exist_ok=True)
    errors = tmp_path / "cloud-errors.txt"
    chosen = {
        "write_key": WRITE_KEY,
        "server_key": SERVER_KEY,
        "data": data,
        "port": 0,
        "topic": "nearhand.events",
        **options,
    }
    process = _started(_arguments(chosen), errors)
    url = _address(process, errors)
    arguments = _arguments({**chosen, "port": url.rpartition(":")[2]})
    kafka = (str(chosen["kafka"]), str(chosen["topic"])) if chosen.get("sink") == "kafka" else None
    write_key = str(chosen["write_key"]).split(",")[0]
    endpoint = Endpoint(url, write_key, str(chosen["server_key"]), process, data, errors, arguments, kafka)
    try:
        yield endpoint
    finally:
        if endpoint.process.poll() is None:
            endpoint.stop()


def stored_in_sqlite(path: Path) -> list[dict[str, Any]]:
    """The events of an SQLite sink; an empty list if it was never opened."""
    if not path.exists():
        return []
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        connection.row_factory = sqlite3.Row
        rows = [dict(row) for row in connection.execute("SELECT * FROM event ORDER BY number")]
    for row in rows:
        del row["number"]
        row |= {name: json.loads(row[name]) for name in ("context", "properties")}
    return rows


def _arguments(options: dict[str, object]) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None]


def _started(arguments: list[str], errors: Path) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NEARHAND_CLOUD_")}
    with errors.open("a") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "nearhand_cloud", *arguments],
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
            env=environment,
        )


def _address(process: subprocess.Popen[str], errors: Path) -> str:
    """What the endpoint prints as soon as it accepts requests."""
    assert process.stdout is not None
    deadline = time.monotonic() + START_S
    line = process.stdout.readline()
    if " listening on " not in line or time.monotonic() > deadline:
        process.kill()
        process.wait()
        raise AssertionError(f"the endpoint did not start: {line!r}\n{errors.read_text()}")
    return line.split()[-1]
