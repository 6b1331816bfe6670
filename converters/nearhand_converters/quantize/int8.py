"""The int8 recipe as two rewrites of a float32 graph. What no rewrite matches stays float32.

**Table look-up** ``Gather(table, rows)``: int8 rows are gathered and only those are multiplied by their scales
(de-quantizing before the Gather would touch the whole table on each run).

**Retrieval** ``TopK(Reshape(Gemm(x, table, transB=1)))``: the k candidates are chosen by integer products, then they
alone are scored again in float32 from their de-quantized rows, so that their order does not depend on the integers.
Either the graph itself makes x 7-bit integers and multiplies (onnxruntime), or it multiplies x by the int8 values and
the target's own kernel makes the integers (TFLite, see ADR 2). 7-bit means within ±63 around 64, because u8 × s8
products saturate, silently, on x86 processors without VNNI where the sum of two neighbouring products exceeds 16
bits; 2·127·127 does not. The integer product reads the transposed table, which onnxruntime makes once when it loads
the model; the file holds rows, so that each candidate is read from a cache line or two, and not from one for each of
its factors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.quantize.rows import quantize_rows

ACTIVATION_LIMIT = 63
ZERO_POINT = 64


def quantize_int8(model: onnx.ModelProto, *, integer_product: bool = True) -> onnx.ModelProto:
    """The int8 form of a float32 graph with the same inputs and outputs; the argument is not changed.

    Args:
        integer_product: whether the graph itself quantizes activations and multiplies integers, as described above. If
            not, it multiplies x by the int8 values as floats: for a target whose own kernel for float activations and
            int8 weights does the rest.
    """
    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    tables = {
        node.input[0]
        for node in graph.node
        if node.op_type == "Gather"
        and _attributes(node).get("axis", 0) == 0
        and (table := constants.get(node.input[0])) is not None
        and table.ndim == 2
        and table.dtype == np.float32
    }
    rewriter = _Rewriter(graph, constants, tables, integer_product)
    return rewriter.run()


class _Rewriter:
    """Copies a graph node by node into a new builder, replacing what uses a quantized table."""

    def __init__(
        self, graph: onnx.GraphProto, constants: dict[str, np.ndarray], tables: set[str], integer_product: bool
    ) -> None:
        self._graph = graph
        self._constants = constants
        self._tables = tables
        self._integer_product = integer_product
        self._g = GraphBuilder(graph.name)
        self._names: dict[str, str] = {}
        self._looked_up: dict[tuple[str, str], str] = {}
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
                self._names[node.output[0]] = self._look_up(node.input[0], self._value(node.input[1]))
            else:
                self._copy(node)
        for value in self._graph.output:
            self._g.declare_output(self._names[value.name], value)
        return self._g.model()

    def _copy(self, node: onnx.NodeProto) -> None:
        inputs = [self._value(name) for name in node.input]
        outputs = self._g.add_many(node.op_type, len(node.output), *inputs, **_attributes(node))
        self._names.update(zip(node.output, outputs, strict=True))

    def _value(self, name: str) -> str:
        if name not in self._names:
            self._names[name] = self._g.constant(self._constants[name])
        return self._names[name]

    def _retrieval_chain(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """The Gemm and the Reshape before a TopK over the scores of a table's rows; empty for any other node."""
        reshape = self._producers.get(node.input[0]) if node.op_type == "TopK" else None
        gemm = self._producers.get(reshape.input[0]) if reshape is not None and reshape.op_type == "Reshape" else None
        if gemm is not None and gemm.op_type == "Gemm" and gemm.input[1] in self._tables and _is_product(gemm):
            return [gemm, reshape]
        return []

    def _quantized(self, table: str) -> tuple[str, str]:
        """The names of the int8 rows of a table and of their scales."""
        quantized = quantize_rows(self._constants[table])
        return self._g.constant(quantized.values, table), self._g.constant(quantized.scales, f"{table}_scales")

    def _look_up(self, table: str, rows: str) -> str:
        """The de-quantized rows of a table; looked up once, however often they are asked for."""
        if (table, rows) not in self._looked_up:
            g = self._g
            values, scales = self._quantized(table)
            gathered = g.add("Cast", g.add("Gather", values, rows, axis=0), to=onnx.TensorProto.FLOAT)
            column = g.constant(np.array([-1, 1], np.int64))
            self._looked_up[table, rows] = g.add(
                "Mul", gathered, g.add("Reshape", g.add("Gather", scales, rows, axis=0), column)
            )
        return self._looked_up[table, rows]

    def _retrieve(self, top_k: onnx.NodeProto, gemm: onnx.NodeProto) -> None:
        g = self._g
        x, k = self._value(gemm.input[0]), self._value(top_k.input[1])
        values, scales = self._quantized(gemm.input[1])
        sums = self._integer_sums(x, values) if self._integer_product else self._float_sums(x, values)
        scaled = g.add("Mul", sums, scales)
        flat = g.add("Reshape", scaled, g.constant(np.array([-1], np.int64)))
        _, rows = g.add_many("TopK", 2, flat, k, axis=0)
        exact = g.add("Gemm", x, self._look_up(gemm.input[1], rows), transB=1)
        self._names[top_k.output[0]] = g.add("Reshape", exact, g.constant(np.array([-1], np.int64)))
        self._names[top_k.output[1]] = rows

    def _integer_sums(self, x: str, values: str) -> str:
        """7-bit x times the int8 rows, as exact integers in float32; up to a factor, which changes no order."""
        g = self._g
        floor = g.constant(np.array(1e-30, np.float32))
        largest = g.add("Max", g.add("ReduceMax", g.add("Abs", x), keepdims=1), floor)
        factor = g.add("Div", g.constant(np.array(ACTIVATION_LIMIT, np.float32)), largest)
        shifted = g.add("Add", g.add("Round", g.add("Mul", x, factor)), g.constant(np.array(ZERO_POINT, np.float32)))
        activation = g.add("Cast", shifted, to=onnx.TensorProto.UINT8)
        columns = g.add("Transpose", values, perm=[1, 0])
        sums = g.add("MatMulInteger", activation, columns, g.constant(np.array(ZERO_POINT, np.uint8)))
        return g.add("Cast", sums, to=onnx.TensorProto.FLOAT)

    def _float_sums(self, x: str, values: str) -> str:
        g = self._g
        return g.add("Gemm", x, g.add("Cast", values, to=onnx.TensorProto.FLOAT), transB=1)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def _is_product(gemm: onnx.NodeProto) -> bool:
    """Whether it is x times the transposed table, and nothing else."""
    return len(gemm.input) == 2 and _attributes(gemm) == {"transB": 1}
