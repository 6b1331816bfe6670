"""The int8 recipe as two rewrites of a float32 graph. What no rewrite matches stays float32.

**Table look-up** ``Gather(table, rows)``: int8 rows are gathered and only those are multiplied by their scales
(de-quantizing before the Gather would touch the whole table on each run).

**Retrieval** ``TopK(Reshape(MatMul(x, table)))``: x becomes 7-bit integers, the product and the choice of the k
candidates are integer, then the k candidates alone are scored again in float32 from their de-quantized rows.
Activations stay within ±63 around 64 because u8 × s8 products saturate, silently, on x86 processors without VNNI where
the sum of two neighbouring products exceeds 16 bits; 2·127·127 does not.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.quantize.rows import quantize_rows

ACTIVATION_LIMIT = 63
ZERO_POINT = 64


def quantize_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """The int8 form of a float32 graph with the same inputs and outputs; the argument is not changed."""
    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    tables = {
        node.input[0]
        for node in graph.node
        if node.op_type == "Gather"
        and (table := constants.get(node.input[0])) is not None
        and table.ndim == 2
        and table.dtype == np.float32
    }
    rewriter = _Rewriter(graph, constants, tables)
    return rewriter.run()


class _Rewriter:
    """Copies a graph node by node into a new builder, replacing what uses a quantized table."""

    def __init__(self, graph: onnx.GraphProto, constants: dict[str, np.ndarray], tables: set[str]) -> None:
        self._graph = graph
        self._constants = constants
        self._tables = tables
        self._g = GraphBuilder(graph.name)
        self._names: dict[str, str] = {}
        self._producers = {name: node for node in graph.node for name in node.output}

    def run(self) -> onnx.ModelProto:
        for value in self._graph.input:
            self._names[value.name] = value.name
            self._g.declare_input(value)
        retrieval = {node.output[0]: chain for node in self._graph.node if (chain := self._retrieval_chain(node))}
        skipped = {inner.output[0] for chain in retrieval.values() for inner in chain}
        for node in self._graph.node:
            if node.output[0] in skipped:
                continue
            if node.output[0] in retrieval:
                self._retrieve(node, retrieval[node.output[0]][0])
            elif node.op_type == "Gather" and node.input[0] in self._tables:
                self._names[node.output[0]] = self._look_up(node.input[0], self._value(node.input[1]), _axis(node))
            else:
                self._copy(node)
        for value in self._graph.output:
            self._g.declare_output(self._names[value.name], value)
        return self._g.model()

    def _copy(self, node: onnx.NodeProto) -> None:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        inputs = [self._value(name) for name in node.input]
        outputs = self._g.add_many(node.op_type, len(node.output), *inputs, **attributes)
        self._names.update(zip(node.output, outputs, strict=True))

    def _value(self, name: str) -> str:
        if name not in self._names:
            self._names[name] = self._g.constant(self._constants[name])
        return self._names[name]

    def _retrieval_chain(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """The MatMul and the Reshape before a TopK over the scores of a table's rows; empty for any other node."""
        reshape = self._producers.get(node.input[0]) if node.op_type == "TopK" else None
        matmul = self._producers.get(reshape.input[0]) if reshape is not None and reshape.op_type == "Reshape" else None
        if matmul is not None and matmul.op_type == "MatMul" and matmul.input[1] in self._tables:
            return [matmul, reshape]
        return []

    def _quantized(self, table: str, axis: int) -> tuple[str, str]:
        """The names of the int8 table, laid out as ``table`` is, and of its scales; ``axis`` is that of the rows."""
        rows = self._constants[table] if axis == 0 else self._constants[table].T
        quantized = quantize_rows(rows)
        values = quantized.values if axis == 0 else np.ascontiguousarray(quantized.values.T)
        return self._g.constant(values, "table"), self._g.constant(quantized.scales, "scales")

    def _look_up(self, table: str, rows: str, axis: int) -> str:
        values, scales = self._quantized(table, axis)
        gathered = self._g.add("Cast", self._g.add("Gather", values, rows, axis=axis), to=onnx.TensorProto.FLOAT)
        scale = self._g.add("Gather", scales, rows, axis=0)
        if axis == 0:
            scale = self._g.add("Reshape", scale, self._g.constant(np.array([-1, 1], np.int64)))
        return self._g.add("Mul", gathered, scale)

    def _retrieve(self, top_k: onnx.NodeProto, matmul: onnx.NodeProto) -> None:
        g = self._g
        x, k = self._value(matmul.input[0]), self._value(top_k.input[1])
        values, scales = self._quantized(matmul.input[1], axis=1)
        floor = g.constant(np.array(1e-30, np.float32))
        largest = g.add("Max", g.add("ReduceMax", g.add("Abs", x), keepdims=1), floor)
        factor = g.add("Div", g.constant(np.array(ACTIVATION_LIMIT, np.float32)), largest)
        shifted = g.add("Add", g.add("Round", g.add("Mul", x, factor)), g.constant(np.array(ZERO_POINT, np.float32)))
        activation = g.add("Cast", shifted, to=onnx.TensorProto.UINT8)
        sums = g.add("MatMulInteger", activation, values, g.constant(np.array(ZERO_POINT, np.uint8)))
        scaled = g.add("Mul", g.add("Cast", sums, to=onnx.TensorProto.FLOAT), scales)
        flat = g.add("Reshape", scaled, g.constant(np.array([-1], np.int64)))
        _, rows = g.add_many("TopK", 2, flat, k, axis=0)
        exact = g.add("MatMul", x, self._look_up(matmul.input[1], rows, axis=1))
        self._names[top_k.output[0]] = g.add("Reshape", exact, g.constant(np.array([-1], np.int64)))
        self._names[top_k.output[1]] = rows


def _axis(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
