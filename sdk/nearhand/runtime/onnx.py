"""ONNX Runtime behind the Protocol, once for each of its two file formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nearhand.bundle.schema import RuntimeName, TensorSpec
from nearhand.errors import ModelError
from nearhand.runtime.boundary import check_inputs, runtime_failure
from nearhand.runtime.protocol import Session, Tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DTYPES = {"tensor(float)": "float32", "tensor(int32)": "int32"}


class OnnxRuntime:
    """The installed ``onnxruntime``, CPU provider, one thread: these models are too small for more to help."""

    name: RuntimeName = "onnx"
    _format = "ONNX"

    def __init__(self) -> None:
        import onnxruntime

        self._onnxruntime = onnxruntime
        self.version: str = onnxruntime.__version__

    def load(self, path: Path) -> Session:
        options = self._onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.load_model_format", self._format)  # whatever the file's name is
        options.log_severity_level = 4  # errors reach the caller as ModelError; the app's stderr is not ours
        try:
            session = self._onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise runtime_failure(path, "does not load", error) from error
        return _OnnxSession(path, session)


class OrtRuntime(OnnxRuntime):
    """The same, reading ONNX Runtime's own format: the only one that its builds for small devices know."""

    name: RuntimeName = "ort"
    _format = "ORT"


class _OnnxSession:
    def __init__(self, path: Path, session: Any) -> None:
        self._path = path
        self._session = session
        self.inputs = tuple(_spec(value) for value in session.get_inputs())
        self.outputs = tuple(_spec(value) for value in session.get_outputs())
        self._output_names = [spec.name for spec in self.outputs]

    def run(self, tensors: Tensors) -> dict[str, NDArray[Any]]:
        session = self._session
        if session is None:
            raise ModelError("the session is closed", place=self._path.name, remedy="load the model again")
        check_inputs(self.inputs, tensors, place=self._path.name)
        try:
            outputs = session.run(self._output_names, dict(tensors))
        except Exception as error:
            raise runtime_failure(self._path, "does not run", error) from error
        return dict(zip(self._output_names, outputs, strict=True))

    def close(self) -> None:
        self._session = None


def _spec(value: Any) -> TensorSpec:
    shape = tuple(dimension if isinstance(dimension, int) else -1 for dimension in value.shape)
    return TensorSpec(value.name, cast(Any, _DTYPES.get(value.type, value.type)), shape)
