"""The audit log: one line of JSON for each request that was answered, with no key and nothing of what an event says."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nearhand.clock import Clock
from nearhand_cloud.events import install_digest


class Audit:
    """Writes lines to a file that may be rotated under it, or to standard error.

    Args:
        target: a path, or ``"-"`` for standard error.
        clock: what the time of a line is read from.
    """

    def __init__(self, target: str, clock: Clock) -> None:
        from logging.handlers import WatchedFileHandler

        self._clock = clock
        self._handler: logging.StreamHandler[Any] = (
            logging.StreamHandler(sys.stderr)
            if target == "-"
            else WatchedFileHandler(Path(target), encoding="utf-8", delay=True)
        )

    def write(self, action: str, status: int, install_id: str | None, **details: Any) -> None:
        """Write a line.

        Args:
            action: what was asked for.
            status: the HTTP status of the answer.
            install_id: whose request it was, if that is known: 64 bits of its SHA-256 are written.
            details: numbers and codes; those that are None or 0 are left out.
        """
        at = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC).isoformat(timespec="milliseconds")
        line = {"at": at.replace("+00:00", "Z"), "action": action, "status": status}
        if install_id is not None:
            line["install"] = install_digest(install_id).hex()[:16]
        line |= {name: value for name, value in details.items() if value}
        self._handler.emit(logging.makeLogRecord({"msg": json.dumps(line, separators=(",", ":"))}))

    def close(self) -> None:
        """Let go of the file."""
        self._handler.close()
