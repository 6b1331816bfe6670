"""The state of one lowering: which TFLite tensor each ONNX value has become, and how operators are appended.

TFLite counts and indexes with int32, so int64 values of the ONNX graph are int32 here and casts between them vanish.
The transposition of a constant is a flag of the product that reads it, and no operator: one table of item rows serves
the search, whose kernel wants rows, and the look-up of the candidates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from nearhand_converters.errors import UnsupportedOperatorError
from nearhand_converters.targets.tflite import kernels
from nearhand_converters.targets.tflite.assembler import Assembler, Value

DTYPES: Mapping[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int32",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "uint8",
    TensorProto.INT16: "int16",
    TensorProto.BOOL: "bool",
}
"""ONNX element type → the TFLite type that stands for it."""

_REMEDY = "use --target onnx for this model"
_INT32 = np.iinfo(np.int32)


class Lowering:
    """An ONNX graph on its way into a TFLite file."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.out = Assembler(graph.name)
        self.constants: dict[str, NDArray[Any]] = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.values: dict[str, Value] = {}
        self.infos = {info.name: info for info in (*graph.input, *graph.value_info, *graph.output)}
        self.readers = Counter(name for node in graph.node for name in node.input)
        """Value → how many inputs of nodes it is."""
        self.flipped: dict[str, str] = {}
        """Value → the constant matrix that it is the transposition of."""
        self.widened: dict[str, str] = {}
        """Float value → the constant int8 matrix whose numbers it has."""

    def run(self, operators: Mapping[str, OperatorLowering]) -> tuple[bytes, dict[str, int]]:
        """Lower every node; gives the file, and the version of each TFLite operator in it."""
        inputs = {value.name: self.new(value.name, f"graph {self.graph.name}") for value in self.graph.input}
        self.values.update(inputs)
        for node in self.graph.node:
            lowering = operators.get(node.op_type) if node.domain in ("", "ai.onnx") else None
            if lowering is None:
                raise UnsupportedOperatorError(
                    f"operator {node.op_type} has no TFLite form",
                    place=self._place(node),
                    remedy="use --target onnx, or build the model from " + ", ".join(sorted(operators)),
                )
            lowering(self, node)
        outputs: dict[str, Value] = {}
        for value in self.graph.output:
            source = self.value(value.name)
            taken = source in inputs.values() or source in outputs.values() or value.name in self.constants
            outputs[value.name] = self._copy(source) if taken else source
        return self.out.serialize(inputs, outputs), self.out.versions

    def value(self, name: str) -> Value:
        """The TFLite tensor of an ONNX value; a constant becomes one where it is first read."""
        if name not in self.values:
            if name in self.flipped:
                array = self.constants[self.flipped[name]].T
            elif name in self.widened:
                array = self.constants[self.widened[name]].astype(np.float32)
            else:
                array = self.constants[name]
            self.values[name] = self.out.constant(self._narrow(name, array))
        return self.values[name]

    def alias(self, name: str, source: str) -> None:
        """Let ``name`` be what ``source`` is, without an operator."""
        known: tuple[dict[str, Any], ...] = (self.constants, self.values, self.flipped, self.widened)
        for table in known:
            if source in table:
                table[name] = table[source]

    def constant(self, node: onnx.NodeProto, place: int, what: str) -> NDArray[Any] | None:
        """The constant that an input is; None if the node does not have the input."""
        if len(node.input) <= place or not node.input[place]:
            return None
        if node.input[place] not in self.constants:
            raise self.refuse(node, f"{what} must be constant")
        return self.constants[node.input[place]]

    def new(self, name: str, place: str) -> Value:
        """A fresh TFLite tensor with the type and shape that ONNX inferred for ``name``."""
        tensor = self.infos[name].type.tensor_type if name in self.infos else None
        if tensor is None or tensor.elem_type not in DTYPES or not tensor.HasField("shape"):
            raise UnsupportedOperatorError(
                f"value {name} has a type that is not one of {_types()}, or no number of dimensions",
                place=place,
                remedy=_REMEDY,
            )
        shape = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]
        return self.out.tensor(DTYPES[tensor.elem_type], shape)

    def dimensions(self, name: str) -> list[int | str]:
        """The dimensions of a value that is no constant; one that is decided at run time is its name, or ""."""
        shape = self.infos[name].type.tensor_type.shape
        return [d.dim_value if d.HasField("dim_value") else d.dim_param for d in shape.dim]

    def result(self, node: onnx.NodeProto, index: int = 0) -> Value:
        """The tensor of a node's output."""
        name = node.output[index]
        self.values[name] = self.new(name, self._place(node))
        return self.values[name]

    def temporary(self, like: Value, *, dtype: str | None = None) -> Value:
        """A tensor between two operators of one node."""
        return self.out.tensor(dtype or like.dtype, like.shape)

    def add(
        self,
        node: onnx.NodeProto,
        operator: str,
        inputs: Sequence[Value],
        *outputs: Value,
        options: str | None = None,
        at_least: int = 1,
        **settings: object,
    ) -> None:
        """Append a TFLite operator for ``node``, if runtimes have it for these types and shapes.

        Args:
            at_least: the version that this use of the operator needs, apart from its types.
        """
        dtype = kernels.operand(operator, [value.dtype for value in inputs])
        if dtype not in kernels.KERNELS[operator]:
            raise self.refuse(node, f"not for {dtype}, only for {', '.join(kernels.KERNELS[operator])}")
        every = (*inputs, *outputs)
        if max(len(value.shape) for value in every) > kernels.MAX_RANK:
            raise self.refuse(node, f"only for at most {kernels.MAX_RANK} dimensions")
        version = max(at_least, kernels.version(operator, (value.dtype for value in every)))
        self.out.add(operator, inputs, *outputs, version=version, options=options, **settings)

    def reshape(self, node: onnx.NodeProto, source: Value, result: Value, shape: Sequence[int] | None = None) -> None:
        """Append a RESHAPE to ``shape``, by default that of the result."""
        wanted = list(result.shape if shape is None else shape)
        if wanted.count(-1) > 1:
            raise self.refuse(node, "more than one dimension of the result is decided at run time")
        inputs = [source, self.out.constant(np.array(wanted, np.int32))]
        self.add(node, "RESHAPE", inputs, result, options="ReshapeOptions", newShape=wanted)

    def put_nan_back(self, node: onnx.NodeProto, source: Value, found: Value, result: Value) -> None:
        """Append what gives ``found``, but NaN where ``source`` is NaN: for kernels that lose it."""
        known = self.temporary(source, dtype="bool")
        self.add(node, "EQUAL", [source, source], known, options="EqualOptions")
        self.add(node, "SELECT_V2", [known, found, source], result, options="SelectV2Options")

    def refuse(self, node: onnx.NodeProto, reason: str) -> UnsupportedOperatorError:
        """The error for a use of an operator that is not on the list."""
        return UnsupportedOperatorError(f"operator {node.op_type}: {reason}", place=self._place(node), remedy=_REMEDY)

    def _copy(self, source: Value) -> Value:
        """A tensor of its own for a value that has a name already: a TFLite tensor has one."""
        copy = self.temporary(source)
        version = kernels.version("CAST", [source.dtype])
        self.out.add("CAST", [source], copy, version=version, options="CastOptions")
        return copy

    def _narrow(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        if array.dtype == np.int64 and (array.size == 0 or _INT32.min <= array.min() <= array.max() <= _INT32.max):
            return array.astype(np.int32)
        if array.dtype.name not in DTYPES.values():
            raise UnsupportedOperatorError(
                f"constant {name} is {array.dtype.name}"
                + (" with numbers beyond int32" if array.dtype == np.int64 else f", not one of {_types()}"),
                place=f"graph {self.graph.name}",
                remedy=_REMEDY,
            )
        return array

    def _place(self, node: onnx.NodeProto) -> str:
        return f"node {node.output[0]} of graph {self.graph.name}"


OperatorLowering: TypeAlias = Callable[[Lowering, onnx.NodeProto], None]
"""Appends the TFLite form of one node."""


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """An attribute's value."""
    return next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def attributes_are(node: onnx.NodeProto, wanted: Mapping[str, Any]) -> bool:
    """Whether a node has exactly these attributes."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute} == wanted


def last_axis(axis: int, value: Value) -> bool:
    """Whether ``axis`` is the last one of a value."""
    return axis in (-1, len(value.shape) - 1)


def _types() -> str:
    return ", ".join(dict.fromkeys(DTYPES.values()))
