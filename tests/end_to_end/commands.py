"""Runs the ``nearhand`` command as people do."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from nearhand_converters import cli

COMMAND = Path(sys.executable).with_name("nearhand")
"""The console script of the environment that runs the tests."""


@dataclass(frozen=True)
class Outcome:
    """What a run gave."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output as the one JSON document that it is."""
        return json.loads(self.out)


def run(*arguments: object) -> Outcome:
    """In this process."""
    result = CliRunner().invoke(cli.main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def execute(*arguments: object, **environment: str) -> Outcome:
    """By way of the installed console script."""
    done = subprocess.run(
        [COMMAND, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def listing(folder: Path) -> list[tuple[str, int]]:
    """Every file and folder below a folder, with its size."""
    return sorted((str(path), path.stat().st_size) for path in folder.rglob("*"))


def on_a_terminal(*arguments: object) -> tuple[Outcome, bytes]:
    """As :func:`execute`, but standard error is a pseudo terminal; and what was shown there."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    command = [str(COMMAND), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # how Linux says that the other side is closed
                break
            if not piece:
                break
            shown += piece
        assert process.stdout is not None
        out = process.stdout.read().decode()
    os.close(ours)
    return Outcome(process.returncode, out, ""), shown
