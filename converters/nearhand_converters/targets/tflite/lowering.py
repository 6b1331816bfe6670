"""ONNX → TFLite, one function for each ONNX operator of a closed list. Anything else is refused by name.

TFLite counts and indexes with int32, so int64 values of the ONNX graph are int32 here and casts between them vanish.
The transposition of a constant is a flag of the product that reads it, and no operator: one table of item rows serves
the search, whose kernel wants rows, and the look-up of the candidates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from nearhand_converters.errors import UnsupportedOperatorError
from nearhand_converters.targets.tflite.assembler import Assembler, Value

_DTYPES = {
    TensorProto.FLOAT: "float32",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int32",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "uint8",
}

_NUMBERS = ("float32", "int32")
_ANY = tuple(dict.fromkeys(_DTYPES.values()))
_READS = {
    "ABS": ("float32",),
    "ADD": _NUMBERS,
    "BATCH_MATMUL": ("float32", "int8"),
    "CAST": _ANY,
    "DIV": _NUMBERS,
    "FULLY_CONNECTED": ("float32",),
    "GATHER": _ANY,
    "MAXIMUM": _NUMBERS,
    "MINIMUM": _NUMBERS,
    "MUL": _NUMBERS,
    "REDUCE_MAX": _NUMBERS,
    "RELU": ("float32",),
    "RESHAPE": _ANY,
    "ROUND": ("float32",),
    "SUB": _NUMBERS,
    "TOPK_V2": _NUMBERS,
    "TRANSPOSE": _ANY,
}
"""TFLite operator → the types of its first input that every runtime has at the version that we stamp."""

_MAX_RANK = 4
"""Beyond it several operators need a later version, or have no kernel."""


def lower(model: onnx.ModelProto) -> tuple[bytes, dict[str, int]]:
    """The TFLite file of an ONNX graph, and the version of each TFLite operator in it.

    Raises:
        UnsupportedOperatorError: an operator, or a use of it, that is not on the list; names the node.
    """
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    return _Lowering(graph).run()


class _Lowering:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.out = Assembler(graph.name)
        self.constants: dict[str, NDArray[Any]] = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.values: dict[str, Value] = {}
        self.infos = {info.name: info for info in (*graph.input, *graph.value_info, *graph.output)}
        self.flipped: dict[str, str] = {}
        """Value → the constant matrix that it is the transposition of."""
        self.widened: dict[str, str] = {}
        """Float value → the constant int8 matrix whose numbers it has."""

    def run(self) -> tuple[bytes, dict[str, int]]:
        inputs = {value.name: self.new(value.name, f"graph {self.graph.name}") for value in self.graph.input}
        self.values.update(inputs)
        for node in self.graph.node:
            lowering = OPERATORS.get(node.op_type)
            if lowering is None:
                raise UnsupportedOperatorError(
                    f"operator {node.op_type} has no TFLite form",
                    place=self._place(node),
                    remedy="use --target onnx, or build the model from " + ", ".join(sorted(OPERATORS)),
                )
            lowering(self, node)
        outputs = {value.name: self.value(value.name) for value in self.graph.output}
        if len({value.index for value in (*inputs.values(), *outputs.values())}) < len(inputs) + len(outputs):
            raise UnsupportedOperatorError(
                "one value is two inputs or outputs, and a TFLite tensor has one name",
                place=f"graph {self.graph.name}",
                remedy="use --target onnx for this model",
            )
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
            self.values[name] = self.out.constant(array.astype(np.int32) if array.dtype == np.int64 else array)
        return self.values[name]

    def right(self, name: str) -> tuple[Value, bool]:
        """The right side of a matrix product, and whether the product has to transpose it."""
        return (self.value(self.flipped[name]), True) if name in self.flipped else (self.value(name), False)

    def new(self, name: str, place: str) -> Value:
        """A fresh TFLite tensor with the type and shape that ONNX inferred for ``name``."""
        tensor = self.infos[name].type.tensor_type if name in self.infos else None
        if tensor is None or tensor.elem_type not in _DTYPES or not tensor.HasField("shape"):
            raise UnsupportedOperatorError(
                f"value {name} has a type that is not one of {', '.join(_ANY)}, or no number of dimensions",
                place=place,
                remedy="use --target onnx for this model",
            )
        shape = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]
        return self.out.tensor(_DTYPES[tensor.elem_type], shape)

    def result(self, node: onnx.NodeProto, index: int = 0) -> Value:
        """The tensor of a node's output."""
        name = node.output[index]
        self.values[name] = self.new(name, self._place(node))
        return self.values[name]

    def add(
        self,
        node: onnx.NodeProto,
        operator: str,
        inputs: list[Value],
        *outputs: Value,
        options: str | None = None,
        **settings: object,
    ) -> None:
        """Append a TFLite operator for ``node``, if runtimes have it for these types and shapes."""
        if inputs[0].dtype not in _READS[operator]:
            raise self.refuse(node, f"not for {inputs[0].dtype}, only for {', '.join(_READS[operator])}")
        if max(len(value.shape) for value in (*inputs, *outputs)) > _MAX_RANK:
            raise self.refuse(node, f"only for at most {_MAX_RANK} dimensions")
        self.out.add(operator, inputs, *outputs, options=options, **settings)

    def dynamic_range_product(self, node: onnx.NodeProto, left: Value) -> None:
        """Float activations times int8 rows: TFLite's kernel quantizes the activations to 8 bits as it runs.

        So the result is approximate, in a way that depends on the runtime. The rows have one scale, 1, which every
        runtime since 2.x reads rightly; per-row scales would need a newer version of the operator.
        """
        weights = self.out.constant(self.constants[self.widened[node.input[1]]], scale=1.0)
        self.add(node, "FULLY_CONNECTED", [left, weights], self.result(node), options="FullyConnectedOptions")

    def refuse(self, node: onnx.NodeProto, reason: str) -> UnsupportedOperatorError:
        return UnsupportedOperatorError(
            f"operator {node.op_type}: {reason}",
            place=self._place(node),
            remedy="use --target onnx for this model",
        )

    def _place(self, node: onnx.NodeProto) -> str:
        return f"node {node.output[0]} of graph {self.graph.name}"


Lowering = Callable[[_Lowering, onnx.NodeProto], None]


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    return next((onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def _attributes_are(node: onnx.NodeProto, wanted: dict[str, Any]) -> bool:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute} == wanted


def _elementwise(operator: str, options: str | None, inputs: int = 2) -> Lowering:
    """An operator that takes the same inputs in the same order and broadcasts alike."""

    def lowering(x: _Lowering, node: onnx.NodeProto) -> None:
        if len(node.input) != inputs:
            raise x.refuse(node, f"has {len(node.input)} inputs, only {inputs} are written")
        x.add(node, operator, [x.value(name) for name in node.input], x.result(node), options=options)

    return lowering


def _cast(x: _Lowering, node: onnx.NodeProto) -> None:
    constant = x.constants.get(node.input[0])
    to_float = _attribute(node, "to", 0) == TensorProto.FLOAT
    if to_float and constant is not None and constant.ndim == 2 and constant.dtype == np.int8:
        x.widened[node.output[0]] = node.input[0]
        return
    source = x.value(node.input[0])
    if _DTYPES.get(_attribute(node, "to", 0)) == source.dtype:
        x.values[node.output[0]] = source
    else:
        x.add(node, "CAST", [source], x.result(node), options="CastOptions")


def _gather(x: _Lowering, node: onnx.NodeProto) -> None:
    table, rows = x.value(node.input[0]), x.value(node.input[1])
    x.add(node, "GATHER", [table, rows], x.result(node), options="GatherOptions", axis=_attribute(node, "axis", 0))


def _transpose(x: _Lowering, node: onnx.NodeProto) -> None:
    constant = x.constants.get(node.input[0])
    if constant is not None and constant.ndim == 2 and _attribute(node, "perm", [1, 0]) == [1, 0]:
        x.flipped[node.output[0]] = node.input[0]
        return
    source = x.value(node.input[0])
    reverse = list(range(len(source.shape)))[::-1]
    permutation = x.out.constant(np.array(_attribute(node, "perm", reverse), np.int32))
    x.add(node, "TRANSPOSE", [source, permutation], x.result(node), options="TransposeOptions")


def _reshape(x: _Lowering, node: onnx.NodeProto) -> None:
    shape = x.constants.get(node.input[1])
    if shape is None or 0 in shape:
        raise x.refuse(node, "needs a constant shape without zeros")
    inputs = [x.value(node.input[0]), x.value(node.input[1])]
    x.add(node, "RESHAPE", inputs, x.result(node), options="ReshapeOptions", newShape=shape.tolist())


def _matmul(x: _Lowering, node: onnx.NodeProto) -> None:
    left = x.value(node.input[0])
    right, transposed = x.right(node.input[1])
    if min(len(left.shape), len(right.shape)) < 2:
        raise x.refuse(node, "needs two matrices, or stacks of them")
    x.add(node, "BATCH_MATMUL", [left, right], x.result(node), options="BatchMatMulOptions", adjY=transposed)


def _matmul_integer(x: _Lowering, node: onnx.NodeProto) -> None:
    """u8 activations around a zero point become s8 around zero: TFLite multiplies int8 by int8 into int32.

    Exact for activations whose distance from the zero point fits int8, as our 7-bit ones do.
    """
    table = x.constants.get(x.flipped.get(node.input[1], node.input[1]))
    if table is None or table.ndim != 2 or table.dtype != np.int8 or len(node.input) != 3:
        raise x.refuse(node, "needs a constant int8 matrix at the right and a zero point of the left")
    if node.input[2] not in x.constants or x.constants[node.input[2]].size != 1:
        raise x.refuse(node, "needs one constant zero point for the whole left side")
    activation = x.value(node.input[0])
    wide, centred = (x.out.tensor("int32", activation.shape) for _ in range(2))
    narrow = x.out.tensor("int8", activation.shape)
    zero_point = x.out.constant(x.constants[node.input[2]].astype(np.int32))
    x.add(node, "CAST", [activation], wide, options="CastOptions")
    x.add(node, "SUB", [wide, zero_point], centred, options="SubOptions")
    x.add(node, "CAST", [centred], narrow, options="CastOptions")
    right, transposed = x.right(node.input[1])
    x.add(node, "BATCH_MATMUL", [narrow, right], x.result(node), options="BatchMatMulOptions", adjY=transposed)


def _gemm(x: _Lowering, node: onnx.NodeProto) -> None:
    if _attribute(node, "alpha", 1.0) != 1.0 or _attribute(node, "beta", 1.0) != 1.0:
        raise x.refuse(node, "only alpha = beta = 1 is written")
    left = x.value(node.input[0])
    if node.input[1] in x.widened and _attributes_are(node, {"transB": 1}) and len(node.input) == 2:
        x.dynamic_range_product(node, left)
        return
    right, transposed = x.right(node.input[1])
    transposes = {
        "adjX": bool(_attribute(node, "transA", 0)),
        "adjY": bool(_attribute(node, "transB", 0)) != transposed,
    }
    result = x.result(node)
    product = x.out.tensor(result.dtype, result.shape) if len(node.input) == 3 else result
    if left.shape == (1, 1) and not transposes["adjY"]:  # a scalar times a row: no matrix product needed
        x.add(node, "MUL", [left, right], product, options="MulOptions")
    else:
        x.add(node, "BATCH_MATMUL", [left, right], product, options="BatchMatMulOptions", **transposes)
    if len(node.input) == 3:
        x.add(node, "ADD", [x.value(node.input[2]), product], result, options="AddOptions")


def _top_k(x: _Lowering, node: onnx.NodeProto) -> None:
    """Largest first, of equals the lower index first: the same in both formats."""
    source = x.value(node.input[0])
    if _attribute(node, "axis", -1) not in (-1, len(source.shape) - 1) or not _attribute(node, "largest", 1):
        raise x.refuse(node, "only the largest along the last axis")
    outputs = [x.result(node, i) for i in range(2)]
    x.add(node, "TOPK_V2", [source, x.value(node.input[1])], *outputs, options="TopKV2Options")


def _reduce_max(x: _Lowering, node: onnx.NodeProto) -> None:
    source = x.value(node.input[0])
    axes = _attribute(node, "axes", list(range(len(source.shape))))
    x.add(
        node,
        "REDUCE_MAX",
        [source, x.out.constant(np.array(axes, np.int32))],
        x.result(node),
        options="ReducerOptions",
        keepDims=bool(_attribute(node, "keepdims", 1)),
    )


OPERATORS: dict[str, Lowering] = {
    "Abs": _elementwise("ABS", "AbsOptions", 1),
    "Add": _elementwise("ADD", "AddOptions"),
    "Cast": _cast,
    "Div": _elementwise("DIV", "DivOptions"),
    "Gather": _gather,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "MatMulInteger": _matmul_integer,
    "Max": _elementwise("MAXIMUM", "MaximumMinimumOptions"),
    "Min": _elementwise("MINIMUM", "MaximumMinimumOptions"),
    "Mul": _elementwise("MUL", "MulOptions"),
    "ReduceMax": _reduce_max,
    "Relu": _elementwise("RELU", None, 1),
    "Reshape": _reshape,
    "Round": _elementwise("ROUND", None, 1),
    "Sub": _elementwise("SUB", "SubOptions"),
    "TopK": _top_k,
    "Transpose": _transpose,
}
