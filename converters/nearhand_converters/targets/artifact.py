"""One artifact: a model file in a target's format, with what the manifest says about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx

from nearhand.bundle.schema import RuntimeName, TensorSpec
from nearhand_converters.targets.tflite.lowering import lower

_DTYPES: dict[int, Any] = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.INT32: "int32"}


@dataclass(frozen=True)
class Artifact:
    """A model file that is not on disk yet. The fields but ``data`` are those of the manifest's ``Variant``."""

    data: bytes
    versions: dict[str, int]
    operators: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def write_artifact(model: onnx.ModelProto, runtime: RuntimeName) -> Artifact:
    """``model`` in the format that ``runtime`` reads.

    Raises:
        UnsupportedOperatorError: TFLite has no form for an operator.
    """
    inputs, outputs = (tuple(map(_spec, values)) for values in (model.graph.input, model.graph.output))
    if runtime == "tflite":
        data, versions = lower(model)
        return Artifact(data, versions, tuple(sorted(versions)), inputs, outputs)
    operators = tuple(sorted({node.op_type for node in model.graph.node}))
    versions = {"ir": model.ir_version, "opset": model.opset_import[0].version}
    return Artifact(model.SerializeToString(deterministic=True), versions, operators, inputs, outputs)


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim)
    return TensorSpec(value.name, _DTYPES[tensor.elem_type], shape)
