"""Around the runtimes an app brings: whatever native code raises, the SDK meets a ModelError."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearhand.bundle.schema import RuntimeName
from nearhand.errors import ModelError, NearhandError
from nearhand.runtime.boundary import runtime_failure
from nearhand.runtime.protocol import Runtime, Session, Tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray


def guarded(runtimes: Mapping[RuntimeName, Callable[[], Runtime]]) -> dict[RuntimeName, Callable[[], Runtime]]:
    """The same runtimes; one that cannot be made, load or run raises ModelError, whatever it raised itself.

    A missing package still is an ImportError.
    """
    return {name: _constructor(name, make) for name, make in runtimes.items()}


def _constructor(name: RuntimeName, make: Callable[[], Runtime]) -> Callable[[], Runtime]:
    def made() -> Runtime:
        try:
            return _GuardedRuntime(make())
        except (NearhandError, ImportError):
            raise
        except Exception as error:
            raise runtime_failure(Path(name), "does not start", error) from error

    return made


class _GuardedRuntime:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.name, self.version = runtime.name, runtime.version

    def load(self, path: Path) -> Session:
        try:
            return _GuardedSession(self._runtime.load(path), path)
        except NearhandError:
            raise
        except Exception as error:
            raise runtime_failure(path, "does not load", error) from error


class _GuardedSession:
    def __init__(self, session: Session, path: Path) -> None:
        self._session = session
        self._path = path
        self.inputs, self.outputs = session.inputs, session.outputs
        self._names = frozenset(spec.name for spec in session.outputs)

    def run(self, tensors: Tensors) -> dict[str, NDArray[Any]]:
        try:
            outputs = self._session.run(tensors)
        except NearhandError:
            raise
        except Exception as error:
            raise runtime_failure(self._path, "does not run", error) from error
        if missing := self._names.difference(outputs):
            problem = f"gives no output {min(missing)!r}"
            raise ModelError(problem, place=self._path.name, remedy="use another variant or rebuild the bundle")
        return outputs

    def close(self) -> None:
        self._session.close()
