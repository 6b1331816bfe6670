"""Processes that start in milliseconds and die at any moment: forks of an interpreter that has imported all they need.

As a script this is that interpreter. Each line of its input is a JSON list, a module to run as ``python -m`` does and
the arguments; what the fork says on its standard output goes where the interpreter's goes, in whole lines, between the
lines ``forked PID`` and ``ended STATUS``, which are the interpreter's own. One fork lives at a time.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60  # for anything that has to happen
LOOK_S = 0.2


def serve(imports: list[str]) -> None:
    """What the script does, until its input ends."""
    for name in imports:
        importlib.import_module(name)
    say("imported")
    for line in iter(sys.stdin.readline, ""):
        module, *arguments = json.loads(line)
        child = os.fork()
        if child == 0:
            run(module, arguments)
        say(f"forked {child}")
        say(f"ended {ended(child)}")


def ended(child: int) -> int:
    """How a fork ended, once it has. If whoever reads this script's output is gone, so is the fork."""
    pidfd = os.pidfd_open(child) if hasattr(os, "pidfd_open") else None
    while True:
        # It looks by itself too: once in some hundred runs a fork was gone, and its pidfd had not told.
        ready, _, _ = select.select([0] if pidfd is None else [0, pidfd], [], [], LOOK_S)
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid == child:
            break
        if 0 in ready:
            os.kill(child, signal.SIGKILL)
    if pidfd is not None:
        os.close(pidfd)
    return os.waitstatus_to_exitcode(status)


def run(module: str, arguments: list[str]) -> None:
    """Be that module's process. Never returns."""
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # what the interpreter is told is not for this process
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - this process ends here, and not in what it was forked from
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def say(line: str) -> None:
    """A line on standard output: unbuffered, and whole or not at all."""
    os.write(1, line.encode() + b"\n")


class Forks:
    """The interpreter, as its tests see it. A context manager.

    Args:
        imports: the modules that it has before it forks; none of them may start a thread or open a file.
        errors: a file that the standard error of it and of its forks is added to.

    Attributes:
        said: all lines that were read from forks; grows by itself.
    """

    def __init__(self, *imports: str, errors: Path) -> None:
        self.said: list[str] = []
        self._errors = errors
        self._pid: int | None = None
        self._status: int | None = None
        self._imported = False
        self._changed = threading.Condition()
        with errors.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.sync_forks", *imports],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                bufsize=1,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "default"},
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._await(lambda: self._imported)

    def start(self, module: str, *arguments: str) -> None:
        """Run a module in a fork. The one before must have ended."""
        assert self._process.stdin is not None
        self._pid = self._status = None
        self._process.stdin.write(json.dumps([module, *arguments]) + "\n")
        self._await(lambda: self._pid is not None)

    def wait_for(self, what: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until something is so that depends on what was said, or the fork has ended; gives whether it is so."""
        with self._changed:
            self._changed.wait_for(lambda: what() or self._status is not None, timeout_s)
            return what()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send the fork a signal, and wait for its end; then all it said has been read.

        Returns:
            the status it ended with, or less than 0 the signal that ended it.
        """
        assert self._pid is not None, "nothing was forked"
        if self._status is None:
            with suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(self._pid, number)
        return self.ended()

    def ended(self, patience_s: float = PATIENCE_S) -> int:
        """Wait for the end of the fork while it says something now and then; gives its status, as :meth:`kill` does.

        Args:
            patience_s: how long it may say nothing.
        """
        with self._changed:
            said = -1

            def is_more() -> bool:
                return self._status is not None or len(self.said) > said

            while self._status is None and is_more():
                said = len(self.said)
                self._changed.wait_for(is_more, patience_s)
        assert self._status is not None, f"it said nothing for {patience_s} s: {self.errors()}"
        return self._status

    def errors(self) -> str:
        """The last of what was written to standard error."""
        return self._errors.read_text()[-3000:]

    @property
    def is_running(self) -> bool:
        """Whether there is a fork that has not ended."""
        return self._pid is not None and self._status is None

    @property
    def pid(self) -> int:
        """The fork's process, for what looks at it from outside."""
        assert self._pid is not None, "nothing was forked"
        return self._pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self.is_running:
            self.kill()
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)
        self._reader.join()
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            word, _, rest = line.rstrip("\n").partition(" ")
            with self._changed:
                match word:
                    case "imported":
                        self._imported = True
                    case "forked":
                        self._pid = int(rest)
                    case "ended":
                        self._status = int(rest)
                    case _:
                        self.said.append(line.rstrip("\n"))
                self._changed.notify_all()

    def _await(self, what: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
        with self._changed:
            happened = self._changed.wait_for(what, patience_s)
        assert happened, f"nothing happened: {self.errors()}"


if __name__ == "__main__":
    serve(sys.argv[1:])
