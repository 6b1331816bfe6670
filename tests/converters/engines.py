"""Model files on the two engines, straight from memory: ONNX Runtime as the oracle, LiteRT as what is tested."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from nearhand_converters.targets.tflite.lowering import lower

Arrays = Mapping[str, NDArray[Any]]


class OnnxModel:
    """An ONNX graph, loaded once."""

    def __init__(self, model: onnx.ModelProto) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Every output by name."""
        names = [output.name for output in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))


class TFLiteModel:
    """A TFLite file, or the TFLite form of an ONNX graph, loaded once."""

    def __init__(self, model: onnx.ModelProto | bytes) -> None:
        self.data = model if isinstance(model, bytes) else lower(model)[0]
        self._interpreter = Interpreter(model_content=self.data, num_threads=1)
        self._interpreter.allocate_tensors()

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Every output by name; inputs of another shape than declared resize the model."""
        details = {detail["name"]: detail for detail in self._interpreter.get_input_details()}
        assert set(details) == set(inputs)
        resized = [name for name, detail in details.items() if tuple(detail["shape"]) != inputs[name].shape]
        for name in resized:
            self._interpreter.resize_tensor_input(details[name]["index"], inputs[name].shape)
        if resized:
            self._interpreter.allocate_tensors()
        for name, detail in details.items():
            self._interpreter.set_tensor(detail["index"], inputs[name])
        self._interpreter.invoke()
        outputs = self._interpreter.get_output_details()
        return {detail["name"]: self._interpreter.get_tensor(detail["index"]) for detail in outputs}


def run_both(model: onnx.ModelProto, inputs: Arrays) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """The outputs on ONNX Runtime, and on LiteRT."""
    return OnnxModel(model).run(inputs), TFLiteModel(model).run(inputs)


def flatbuffer(data: bytes) -> Any:
    """A TFLite file as the schema's own objects."""
    return schema.ModelT.InitFromPackedBuf(data, 0)


def operator_versions(data: bytes) -> dict[str, set[int]]:
    """Operator name → the versions in the file, as the schema reads them back."""
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    versions: dict[str, set[int]] = {}
    for code in flatbuffer(data).operatorCodes:
        versions.setdefault(names[code.builtinCode], set()).add(code.version)
    return versions


def with_outputs(model: onnx.ModelProto, **values: int) -> onnx.ModelProto:
    """A copy that also gives intermediate values: name → ONNX element type."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for name, kind in values.items():
        copy.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    return copy


def relative_error(found: NDArray[Any], exact: NDArray[Any]) -> float:
    """Of a vector, in the Euclidean norm."""
    return float(np.linalg.norm(found.astype(np.float64) - exact) / np.linalg.norm(exact))
