"""A real runtime with a hook around every run of every model: to hold one, to fail in one, to see which are open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nearhand.bundle.schema import RuntimeName
from nearhand.runtime import Runtime, Session, Tensors, installed_runtimes

Outputs = dict[str, NDArray[Any]]
NAME: RuntimeName = "onnx"


class HookedRuntime:
    """A :class:`nearhand.runtime.Runtime`. A model is called by its name in the bundle: ``encoder``, ``order`` …

    Attributes:
        before: is called with the model's name before a run; what it raises, the run raises.
        after: makes a run's outputs of the model's name and the real ones.
        loading: is called with the model's name before it is loaded.
        open: the names of the models that are loaded and not closed.
    """

    def __init__(self) -> None:
        self._runtime = installed_runtimes()[NAME]()
        self._lock = threading.Lock()
        self.name, self.version = self._runtime.name, self._runtime.version
        self.before: Callable[[str], object] = lambda model: None
        self.after: Callable[[str, Outputs], Outputs] = lambda model, outputs: outputs
        self.loading: Callable[[str], object] = lambda model: None
        self.open: list[str] = []

    @property
    def runtimes(self) -> Mapping[RuntimeName, Callable[[], Runtime]]:
        """For ``Personalizer.open``."""
        return {NAME: lambda: self}

    def load(self, path: Path) -> Session:
        model = path.name.partition("-")[0]
        self.loading(model)
        session = _HookedSession(self, model, self._runtime.load(path))
        with self._lock:
            self.open.append(model)
        return session

    def closed(self, model: str) -> None:
        with self._lock:
            self.open.remove(model)


class _HookedSession:
    def __init__(self, runtime: HookedRuntime, model: str, session: Session) -> None:
        self._runtime = runtime
        self._model = model
        self._session = session
        self._closed = False
        self.inputs, self.outputs = session.inputs, session.outputs

    def run(self, tensors: Tensors) -> Outputs:
        self._runtime.before(self._model)
        return self._runtime.after(self._model, self._session.run(tensors))

    def close(self) -> None:
        self._session.close()
        if not self._closed:
            self._closed = True
            self._runtime.closed(self._model)


class Gate:
    """Holds the runs of some models until it is opened.

    Args:
        models: those that are held.
    """

    def __init__(self, *models: str) -> None:
        self._models = models
        self._opened = threading.Event()
        self.reached = threading.Event()
        """Set when a run is held."""

    def __call__(self, model: str) -> None:
        if model in self._models:
            self.reached.set()
            assert self._opened.wait(60), "nobody opened the gate"

    def open(self) -> None:
        """Let them go, and hold nothing any more."""
        self._opened.set()
