"""An endpoint within this process: the same application, asked without sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from nearhand.clock import Clock
from nearhand_cloud.app import create_app, opened
from nearhand_cloud.service import Service
from nearhand_cloud.settings import Settings
from tests.cloud.device import Said
from tests.cloud.endpoint import SERVER_KEY, WRITE_KEY


@dataclass(frozen=True)
class Inside:
    """An endpoint that was opened, its application, and the loop that both live in."""

    service: Service
    app: FastAPI
    runner: asyncio.Runner

    def ask(
        self, method: str, path: str, headers: Mapping[str, str], chunks: Sequence[bytes] = (b"",), query: str = ""
    ) -> Said:
        """One request, whose body comes in chunks."""
        return self.runner.run(asked(self.app, method, path, headers, chunks, query))


async def asked(
    app: FastAPI, method: str, path: str, headers: Mapping[str, str], chunks: Sequence[bytes] = (b"",), query: str = ""
) -> Said:
    """What an application answers, by the protocol between servers and applications."""
    bodies = [
        {"type": "http.request", "body": chunk, "more_body": index + 1 < len(chunks)}
        for index, chunk in enumerate(chunks)
    ]
    sent: list[Mapping[str, Any]] = []

    async def receive() -> Mapping[str, Any]:
        return bodies.pop(0) if bodies else {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    await app(scope, receive, send)  # type: ignore[arg-type]
    head = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Said(sent[0]["status"], head, b"".join(message.get("body", b"") for message in sent[1:]))


@contextmanager
def endpoint_inside(folder: Path, clock: Clock | None = None, **changes: Any) -> Iterator[Inside]:
    """An endpoint on SQLite; its audit log is ``folder / "audit.jsonl"``."""
    chosen = {"write_keys": (WRITE_KEY,), "server_key": SERVER_KEY, "data": folder, "rate": 0}
    settings = Settings(**{**chosen, "audit": str(folder / "audit.jsonl"), **changes})
    with asyncio.Runner() as runner:
        context = opened(settings, clock)
        service = runner.run(_entered(context))
        try:
            yield Inside(service, create_app(service, settings), runner)
        finally:
            runner.run(_left(context))


async def _entered(context: Any) -> Service:
    return await context.__aenter__()  # type: ignore[no-any-return]


async def _left(context: Any) -> None:
    await context.__aexit__(None, None, None)


def audit_lines(folder: Path) -> list[dict[str, Any]]:
    """What the audit log has."""
    return [json.loads(line) for line in (folder / "audit.jsonl").read_text(encoding="utf-8").splitlines()]
