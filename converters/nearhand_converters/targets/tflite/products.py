"""Matrix products."""

from __future__ import annotations

import numpy as np
import onnx

from nearhand_converters.targets.tflite import kernels
from nearhand_converters.targets.tflite.assembler import Value
from nearhand_converters.targets.tflite.context import Lowering, OperatorLowering, attribute, attributes_are


def _matmul(x: Lowering, node: onnx.NodeProto) -> None:
    left = x.value(node.input[0])
    weights = _weights(x, node, left, transposed=False)
    if weights is not None:
        _fully_connected(x, node, [left, weights], x.result(node))
        return
    right, transposed = _right(x, node.input[1])
    if min(len(left.shape), len(right.shape)) < 2:
        raise x.refuse(node, "needs two matrices, or stacks of them")
    x.add(node, "BATCH_MATMUL", [left, right], x.result(node), options="BatchMatMulOptions", adjY=transposed)


def _gemm(x: Lowering, node: onnx.NodeProto) -> None:
    if attribute(node, "alpha", 1.0) != 1.0 or attribute(node, "beta", 1.0) != 1.0:
        raise x.refuse(node, "only alpha = beta = 1 is written")
    left = x.value(node.input[0])
    addend = node.input[2] if len(node.input) == 3 else ""
    if node.input[1] in x.widened and attributes_are(node, {"transB": 1}) and not addend:
        _dynamic_range_product(x, node, left)
        return
    transposes = {"adjX": bool(attribute(node, "transA", 0)), "adjY": bool(attribute(node, "transB", 0))}
    result = x.result(node)
    weights = None if transposes["adjX"] else _weights(x, node, left, transposed=transposes["adjY"])
    bias = x.constants.get(addend)
    if weights is not None and bias is not None and bias.size == weights.shape[0] == bias.shape[-1]:
        _fully_connected(x, node, [left, weights, x.out.constant(bias.ravel())], result)
        return
    product = x.temporary(result) if addend else result
    if weights is not None:
        _fully_connected(x, node, [left, weights], product)
    else:
        right, transposed = _right(x, node.input[1])
        transposes["adjY"] ^= transposed
        if left.shape == (1, 1) and not transposes["adjY"]:  # a scalar times a row: no matrix product needed
            x.add(node, "MUL", [left, right], product, options="MulOptions")
        else:
            x.add(node, "BATCH_MATMUL", [left, right], product, options="BatchMatMulOptions", **transposes)
    if addend:
        x.add(node, "ADD", [x.value(addend), product], result, options="AddOptions")


def _weights(x: Lowering, node: onnx.NodeProto, left: Value, *, transposed: bool) -> Value | None:
    """A constant right side as rows for FULLY_CONNECTED, the faster product; None if there is no such.

    Its kernels copy their constant, so a table that other nodes read too stays one.
    """
    name = node.input[1]
    flipped = name in x.flipped
    weights = x.constants.get(x.flipped.get(name, name))
    if weights is None or weights.dtype != np.float32 or weights.ndim != 2 or len(left.shape) != 2:
        return None
    if x.readers[x.flipped.get(name, name)] > 1:
        return None
    return x.out.constant(weights if flipped != transposed else weights.T)


def _fully_connected(x: Lowering, node: onnx.NodeProto, inputs: list[Value], result: Value) -> None:
    at_least = 1 if len(inputs) == 3 else kernels.FULLY_CONNECTED_UNBIASED
    x.add(node, "FULLY_CONNECTED", inputs, result, options="FullyConnectedOptions", at_least=at_least)


def _dynamic_range_product(x: Lowering, node: onnx.NodeProto, left: Value) -> None:
    """Float activations times int8 rows: TFLite's kernel quantizes the activations to 8 bits as it runs.

    So the result is approximate, in a way that depends on the runtime. The rows have one scale, 1, which every
    runtime since 2.x reads rightly; per-row scales would need a newer version of the operator.
    """
    weights = x.out.constant(x.constants[x.widened[node.input[1]]], scale=1.0)
    _fully_connected(x, node, [left, weights], x.result(node))


def _right(x: Lowering, name: str) -> tuple[Value, bool]:
    """The right side of a matrix product, and whether the product has to transpose it."""
    return (x.value(x.flipped[name]), True) if name in x.flipped else (x.value(name), False)


def _matmul_integer(x: Lowering, node: onnx.NodeProto) -> None:
    """u8 activations around a zero point become s8 around zero: TFLite multiplies int8 by int8 into int32.

    Exact for activations whose distance from the zero point fits int8, as our 7-bit ones do.
    """
    table = x.constants.get(x.flipped.get(node.input[1], node.input[1]))
    if table is None or table.ndim != 2 or table.dtype != np.int8 or len(node.input) != 3:
        raise x.refuse(node, "needs a constant int8 matrix at the right and a zero point of the left")
    if node.input[2] not in x.constants or x.constants[node.input[2]].size != 1:
        raise x.refuse(node, "needs one constant zero point for the whole left side")
    activation = x.value(node.input[0])
    wide, centred = (x.temporary(activation, dtype="int32") for _ in range(2))
    narrow = x.temporary(activation, dtype="int8")
    zero_point = x.out.constant(x.constants[node.input[2]].astype(np.int32))
    x.add(node, "CAST", [activation], wide, options="CastOptions")
    x.add(node, "SUB", [wide, zero_point], centred, options="SubOptions")
    x.add(node, "CAST", [centred], narrow, options="CastOptions")
    right, transposed = _right(x, node.input[1])
    x.add(node, "BATCH_MATMUL", [narrow, right], x.result(node), options="BatchMatMulOptions", adjY=transposed)


OPERATORS: dict[str, OperatorLowering] = {"Gemm": _gemm, "MatMul": _matmul, "MatMulInteger": _matmul_integer}
