"""A thin builder over ONNX protobufs: names are made in order, so the same calls give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
"""The oldest operator set that has every operator we emit: phones run older runtimes than desktops."""
IR_VERSION = 8
ML_DOMAIN, ML_OPSET = "ai.onnx.ml", 3
"""ONNX's operators for trees, and the oldest set of them that takes thresholds of both precisions."""

Dimension = int | str
_DTYPES = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32, "int64": TensorProto.INT64}


class GraphBuilder:
    """Collects nodes, constants, inputs and outputs, then gives a checked model.

    A value is its name. A dimension that is a string is decided at run time.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._declared: list[onnx.ValueInfoProto] = []

    def input(self, name: str, dtype: Literal["float32", "int32"], shape: Sequence[Dimension]) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, _DTYPES[dtype], shape))
        return name

    def output(self, value: str, name: str, dtype: Literal["float32", "int32"], shape: Sequence[Dimension]) -> None:
        """Declare ``value`` as the graph's output ``name``."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, _DTYPES[dtype], shape))

    def declare_input(self, value: onnx.ValueInfoProto) -> None:
        """An input with the declaration of another graph's."""
        self._inputs.append(value)

    def declare_output(self, value: str, declaration: onnx.ValueInfoProto) -> None:
        """``value`` as an output with the declaration of another graph's."""
        self._nodes.append(helper.make_node("Identity", [value], [declaration.name]))
        self._outputs.append(declaration)

    def declare(self, value: str, dtype: Literal["float32", "int32", "int64"], shape: Sequence[Dimension]) -> str:
        """Say what ONNX does not infer of a value: which dimension it is that a Reshape has calculated."""
        self._declared.append(helper.make_tensor_value_info(value, _DTYPES[dtype], shape))
        return value

    def constant(self, value: NDArray[np.generic], name: str | None = None) -> str:
        """An initializer. Without a name, equal constants are one."""
        tensor = numpy_helper.from_array(np.ascontiguousarray(value))
        if name is None:
            key = (tensor.data_type, tuple(tensor.dims), tensor.raw_data)
            for known, other in self._constants.items():
                if (other.data_type, tuple(other.dims), other.raw_data) == key:
                    return known
            name = f"c{len(self._constants)}"
        tensor.name = name
        self._constants[name] = tensor
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append one node with one output; returns the output's name."""
        return self.add_many(operator, 1, *inputs, **attributes)[0]

    def add_many(self, operator: str, outputs: int, *inputs: str, **attributes: Any) -> tuple[str, ...]:
        """Append one node; returns the names of its outputs."""
        number = len(self._nodes)
        names = tuple(f"t{number}" if i == 0 else f"t{number}_{i}" for i in range(outputs))
        self._nodes.append(helper.make_node(operator, list(inputs), list(names), **attributes))
        return names

    def model(self) -> onnx.ModelProto:
        """The finished model, checked by ONNX itself."""
        graph = helper.make_graph(
            self._nodes,
            self._name,
            self._inputs,
            self._outputs,
            initializer=list(self._constants.values()),
            value_info=self._declared,
        )
        return finish(graph)


def finish(graph: onnx.GraphProto) -> onnx.ModelProto:
    """A checked model around ``graph``, with our opset and IR version and without Identity nodes before outputs."""
    _fold_output_identities(graph)
    opsets = [helper.make_opsetid("", OPSET)]
    if any(node.domain == ML_DOMAIN for node in graph.node):
        opsets.append(helper.make_opsetid(ML_DOMAIN, ML_OPSET))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="nearhand")
    onnx.checker.check_model(model, full_check=True)
    return model


def _fold_output_identities(graph: onnx.GraphProto) -> None:
    """Let the producing node write the output directly where one Identity only gives it its name."""
    produced = {name for node in graph.node for name in node.output if node.op_type != "Identity"}
    rename: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in produced and node.input[0] not in rename:
            rename[node.input[0]] = node.output[0]
    nodes = [n for n in graph.node if not (n.op_type == "Identity" and rename.get(n.input[0]) == n.output[0])]
    for node in nodes:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = rename.get(name, name)
    del graph.node[:]
    graph.node.extend(nodes)
