"""LiteRT (``ai-edge-litert``) or its predecessor ``tflite-runtime`` behind the Protocol: the same interpreter."""

from __future__ import annotations

import threading
from importlib import import_module, util
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from nearhand.bundle.schema import RuntimeName, TensorSpec
from nearhand.errors import ModelError
from nearhand.runtime import DISTRIBUTIONS
from nearhand.runtime.boundary import check_inputs, runtime_failure
from nearhand.runtime.protocol import Session, Tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TFLiteRuntime:
    """The installed interpreter: LiteRT where there is one, else tflite-runtime. CPU, one thread."""

    name: RuntimeName = "tflite"

    def __init__(self) -> None:
        name = next(name for name in DISTRIBUTIONS if util.find_spec(name) is not None)
        self._interpreter = import_module(f"{name}.interpreter").Interpreter
        self.version = _version(name)

    def load(self, path: Path) -> Session:
        try:
            # From bytes, not from the path: a mapped file that an update replaces would change under the model.
            interpreter = self._interpreter(model_content=path.read_bytes(), num_threads=1)
            interpreter.allocate_tensors()
        except (OSError, ValueError, RuntimeError) as error:
            raise runtime_failure(path, "does not load", error) from error
        return _TFLiteSession(path, interpreter)


class _TFLiteSession:
    def __init__(self, path: Path, interpreter: Any) -> None:
        self._path = path
        self._interpreter = interpreter
        self._lock = threading.Lock()  # an interpreter holds its tensors: one run at a time
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self.inputs = tuple(map(_spec, inputs))
        self.outputs = tuple(map(_spec, outputs))
        self._input_indexes = [detail["index"] for detail in inputs]
        self._output_indexes = [detail["index"] for detail in outputs]
        self._shapes: list[tuple[int, ...]] = [tuple(detail["shape"].tolist()) for detail in inputs]
        """Those that memory is planned for; [] after a failure, when it is for none."""

    def run(self, tensors: Tensors) -> dict[str, NDArray[Any]]:
        arrays = check_inputs(self.inputs, tensors, place=self._path.name)
        with self._lock:
            if self._interpreter is None:
                raise ModelError("the session is closed", place=self._path.name, remedy="load the model again")
            try:
                self._fit([array.shape for array in arrays])
                for index, array in zip(self._input_indexes, arrays, strict=True):
                    self._interpreter.set_tensor(index, array)
                self._interpreter.invoke()
                outputs = [self._interpreter.get_tensor(index) for index in self._output_indexes]
            except (ValueError, RuntimeError) as error:
                raise runtime_failure(self._path, "does not run", error) from error
        return {spec.name: output for spec, output in zip(self.outputs, outputs, strict=True)}

    def close(self) -> None:
        with self._lock:
            self._interpreter = None

    def _fit(self, shapes: list[tuple[int, ...]]) -> None:
        """Plan memory for inputs of these shapes, unless it is planned for them already."""
        if shapes == self._shapes:
            return
        self._shapes = []
        for index, shape in zip(self._input_indexes, shapes, strict=True):
            self._interpreter.resize_tensor_input(index, shape)
        self._interpreter.allocate_tensors()
        self._shapes = shapes


def _version(name: str) -> str:
    """The version of an installed package as it says itself; reading its metadata takes longer than loading it."""
    said = getattr(import_module(name), "__version__", None)
    if isinstance(said, str):
        return said
    from importlib import metadata  # brings email and socket with it

    return metadata.version(DISTRIBUTIONS[name])


def _spec(detail: Any) -> TensorSpec:
    shape = tuple(int(dimension) for dimension in detail["shape_signature"])
    return TensorSpec(detail["name"], cast(Any, np.dtype(detail["dtype"]).name), shape)
