"""Runtimes that fail on demand: a real one, wrapped behind the same Protocol."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nearhand.bundle.schema import RuntimeName
from nearhand.errors import ModelError
from nearhand.runtime import Runtime, Session, Tensors

ALWAYS = range(1, sys.maxsize)
"""Every load, or every run."""

Outputs = dict[str, NDArray[Any]]


class FailingRuntime:
    """A :class:`nearhand.runtime.Runtime` that fails, or computes wrongly, where it is told to, and counts.

    The attributes ``fail_load``, ``fail_run`` and ``distort`` may be changed while it is in use.

    Args:
        runtime: the one that does the work.
        fail_load: numbers of the loads that raise ModelError; the first load is 1.
        fail_run: numbers of the runs that raise ModelError, counted over all sessions; the first run is 1.
        distort: what becomes of a run's outputs, for a device that computes wrongly.
        version: the version to report; the wrapped runtime's if None.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        fail_load: Container[int] = (),
        fail_run: Container[int] = (),
        distort: Callable[[Outputs], Outputs] | None = None,
        version: str | None = None,
    ) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        self.name: RuntimeName = runtime.name
        self.version = runtime.version if version is None else version
        self.fail_load = fail_load
        self.fail_run = fail_run
        self.distort = distort
        self.loads = 0
        """How often a model was loaded, or failed to."""
        self.runs = 0
        """How often a model was run, or failed to."""
        self.open_sessions = 0
        """How many sessions are loaded and not closed."""

    def load(self, path: Path) -> Session:
        with self._lock:
            self.loads += 1
            number = self.loads
        if number in self.fail_load:
            raise _injected(f"load {number}", path.name)
        session = FailingSession(self._runtime.load(path), self, path.name)
        with self._lock:
            self.open_sessions += 1
        return session

    def count_run(self, place: str) -> None:
        """Count one run of a session; raises ModelError if it is one that fails."""
        with self._lock:
            self.runs += 1
            number = self.runs
        if number in self.fail_run:
            raise _injected(f"run {number}", place)

    def count_close(self) -> None:
        """Count one session as closed."""
        with self._lock:
            self.open_sessions -= 1


class FailingSession:
    """A :class:`nearhand.runtime.Session` of a :class:`FailingRuntime`, which decides what fails."""

    def __init__(self, session: Session, runtime: FailingRuntime, place: str) -> None:
        self._session = session
        self._runtime = runtime
        self._place = place
        self._closed = False
        self.inputs = session.inputs
        self.outputs = session.outputs

    def run(self, tensors: Tensors) -> Outputs:
        self._runtime.count_run(self._place)
        outputs = self._session.run(tensors)
        distort = self._runtime.distort
        return outputs if distort is None else distort(outputs)

    def close(self) -> None:
        self._session.close()
        if not self._closed:
            self._closed = True
            self._runtime.count_close()


def _injected(what: str, place: str) -> ModelError:
    return ModelError(f"{what} fails as the test asked", place=place, remedy="expect it")
