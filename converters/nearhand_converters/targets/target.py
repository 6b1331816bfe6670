"""What a target is: one way of writing a graph down as a model file that a runtime reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import onnx

from nearhand.bundle.schema import RuntimeName, TensorSpec
from nearhand_converters.errors import UnsupportedOperatorError

_DTYPES: dict[int, Any] = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.INT32: "int32"}


@dataclass(frozen=True)
class Artifact:
    """A model file that is not on disk yet. The fields but the last are those of the manifest's ``Variant``.

    Attributes:
        build_config: what a runtime must have to run the file, in the form that builds a runtime of just that; None
            where there are no such builds.
    """

    data: bytes
    versions: dict[str, int]
    operators: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    build_config: bytes | None = None


class Target(Protocol):
    """A file format. A registry is a mapping of names to these, and an argument."""

    @property
    def name(self) -> RuntimeName:
        """The runtime that reads it."""
        ...

    def write(self, model: onnx.ModelProto) -> Artifact:
        """The model in this format, the same bytes each time; the argument is not changed.

        Raises:
            UnsupportedOperatorError: an operator, or a use of it, has no form here; names the node.
        """
        ...


def interface(model: onnx.ModelProto) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The model's inputs and outputs as the manifest says them.

    Raises:
        UnsupportedOperatorError: one is neither float32 nor int32, which is all that every runtime reads.
    """
    inputs, outputs = (tuple(map(_spec, values)) for values in (model.graph.input, model.graph.output))
    return inputs, outputs


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    if tensor.elem_type not in _DTYPES:
        raise UnsupportedOperatorError(
            f"input or output {value.name} is neither float32 nor int32",
            place="the graph's inputs and outputs",
            remedy="cast it inside of the graph",
        )
    shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim)
    return TensorSpec(value.name, _DTYPES[tensor.elem_type], shape)
