"""Operators that work on each element by itself: arithmetic, functions, comparisons, logic, choice."""

from __future__ import annotations

import numpy as np
import onnx

from nearhand_converters.targets.tflite.assembler import Value
from nearhand_converters.targets.tflite.context import DTYPES, Lowering, OperatorLowering, attribute

_EXPONENT = 64
"""The rounding of e⁶⁴ to a float32 is 1/64 of the error that the rounding of e would make in a power."""


def _same(operator: str, options: str | None, inputs: int = 2) -> OperatorLowering:
    """An operator that takes the same inputs in the same order and broadcasts alike."""

    def lowering(x: Lowering, node: onnx.NodeProto) -> None:
        if len(node.input) != inputs:
            raise x.refuse(node, f"has {len(node.input)} inputs, only {inputs} are written")
        x.add(node, operator, [x.value(name) for name in node.input], x.result(node), options=options)

    return lowering


def _comparison(operator: str, options: str, *, swapped: bool = False) -> OperatorLowering:
    """a > b is b < a: 16-bit kernels for the other two came late. 8-bit numbers have none, and are compared as 16."""

    def lowering(x: Lowering, node: onnx.NodeProto) -> None:
        sides = [_wider(x, node, name) for name in node.input]
        x.add(node, operator, sides[::-1] if swapped else sides, x.result(node), options=options)

    return lowering


def _wider(x: Lowering, node: onnx.NodeProto, name: str) -> Value:
    """A side of a comparison, int16 if it is an 8-bit number."""
    if name in x.constants and x.constants[name].dtype in (np.int8, np.uint8):
        return x.out.constant(x.constants[name].astype(np.int16))
    side = x.value(name)
    if side.dtype not in ("int8", "uint8"):
        return side
    wide = x.temporary(side, dtype="int16")
    x.add(node, "CAST", [side], wide, options="CastOptions")
    return wide


def _extreme(operator: str) -> OperatorLowering:
    def lowering(x: Lowering, node: onnx.NodeProto) -> None:
        if len(node.input) != 2:
            raise x.refuse(node, f"has {len(node.input)} inputs, only 2 are written")
        _larger_or_smaller(x, node, operator)

    return lowering


def _larger_or_smaller(x: Lowering, node: onnx.NodeProto, operator: str) -> None:
    """Of a number and NaN, ONNX gives NaN; TFLite gives the second input, if no kernel for a scalar swaps them."""
    names = sorted(node.input, key=lambda name: name not in x.constants)
    result = x.result(node)
    sides = [x.value(name) for name in names]
    if names[0] in x.constants and -1 not in result.shape and sides[1].shape == result.shape:
        sides[0] = x.out.constant(np.broadcast_to(x.constants[names[0]], result.shape))
        numbers = []
    else:
        numbers = [s for s, name in zip(sides, names, strict=True) if s.dtype == "float32" and name not in x.constants]
    found = result if not numbers else x.temporary(result)
    x.add(node, operator, sides, found, options="MaximumMinimumOptions")
    for place, source in enumerate(numbers, 1):
        guarded = result if place == len(numbers) else x.temporary(result)
        x.put_nan_back(node, source, found, guarded)
        found = guarded


def _clip(x: Lowering, node: onnx.NodeProto) -> None:
    source, result = x.value(node.input[0]), x.result(node)
    bounds = [(operator, x.constant(node, place, "a bound")) for place, operator in ((1, "MAXIMUM"), (2, "MINIMUM"))]
    found = source
    for operator, bound in bounds:
        if bound is not None:
            limited = x.temporary(result)
            x.add(node, operator, [x.out.constant(bound), found], limited, options="MaximumMinimumOptions")
            found = limited
    if found is source:
        x.alias(node.output[0], node.input[0])
    elif source.dtype == "float32":
        x.put_nan_back(node, source, found, result)
    else:
        x.values[node.output[0]] = found


def _cast(x: Lowering, node: onnx.NodeProto) -> None:
    """Where a float is NaN or does not fit into the integer, each runtime has its own result, ONNX Runtime too."""
    kind = attribute(node, "to", 0)
    constant = x.constants.get(node.input[0])
    if kind == onnx.TensorProto.FLOAT and constant is not None and constant.ndim == 2 and constant.dtype == np.int8:
        x.widened[node.output[0]] = node.input[0]
        return
    source = x.value(node.input[0])
    if DTYPES.get(kind) == source.dtype:
        x.alias(node.output[0], node.input[0])
    else:
        x.add(node, "CAST", [source], x.result(node), options="CastOptions")


def _identity(x: Lowering, node: onnx.NodeProto) -> None:
    x.alias(node.output[0], node.input[0])


def _is_nan(x: Lowering, node: onnx.NodeProto) -> None:
    source = x.value(node.input[0])
    x.add(node, "NOT_EQUAL", [source, source], x.result(node), options="NotEqualOptions")


def _exp(x: Lowering, node: onnx.NodeProto) -> None:
    """A power of e⁶⁴: LiteRT's EXP makes NaN a 0, and is infinite too early."""
    source, result = x.value(node.input[0]), x.result(node)
    scaled = x.temporary(source)
    scale = x.out.constant(np.array(1 / _EXPONENT, np.float32))
    x.add(node, "MUL", [source, scale], scaled, options="MulOptions")
    base = x.out.constant(np.array(np.exp(np.float64(_EXPONENT)), np.float32))
    x.add(node, "POW", [base, scaled], result, options="PowOptions")


def _log(x: Lowering, node: onnx.NodeProto) -> None:
    """LiteRT's LOG makes numbers of NaN and of infinity; from 2¹²⁷ on its relative error grows to 0.4 %."""
    source, result = x.value(node.input[0]), x.result(node)
    found, finite = x.temporary(source), x.temporary(source, dtype="bool")
    infinity = x.out.constant(np.array(np.inf, np.float32))
    x.add(node, "LOG", [source], found)
    x.add(node, "LESS", [source, infinity], finite, options="LessOptions")
    x.add(node, "SELECT_V2", [finite, found, source], result, options="SelectV2Options")


def _pow(x: Lowering, node: onnx.NodeProto) -> None:
    base, result = x.value(node.input[0]), x.result(node)
    exponent = x.constants.get(node.input[1])
    if exponent is not None and exponent.size == 1 and len(base.shape) >= exponent.ndim and exponent.item() == 2:
        x.add(node, "MUL", [base, base], result, options="MulOptions")
        return
    power = x.value(node.input[1]) if exponent is None else x.out.constant(exponent.astype(base.dtype))
    if power.dtype != base.dtype:
        raise x.refuse(node, f"not for a base of {base.dtype} and an exponent of {power.dtype}")
    x.add(node, "POW", [base, power], result, options="PowOptions")


def _sqrt(x: Lowering, node: onnx.NodeProto) -> None:
    """The power of ½: LiteRT's SQRT is off by half from 2¹²⁶ on. The root of −∞ is ∞ here, and NaN in ONNX."""
    half = x.out.constant(np.array(0.5, np.float32))
    x.add(node, "POW", [x.value(node.input[0]), half], x.result(node), options="PowOptions")


def _sign(x: Lowering, node: onnx.NodeProto) -> None:
    source, result = x.value(node.input[0]), x.result(node)
    found = x.temporary(source)
    x.add(node, "SIGN", [source], found, options="SignOptions")
    x.put_nan_back(node, source, found, result)


def _leaky_relu(x: Lowering, node: onnx.NodeProto) -> None:
    alpha = attribute(node, "alpha", 0.01)
    x.add(node, "LEAKY_RELU", [x.value(node.input[0])], x.result(node), options="LeakyReluOptions", alpha=alpha)


OPERATORS: dict[str, OperatorLowering] = {
    "Abs": _same("ABS", "AbsOptions", 1),
    "Add": _same("ADD", "AddOptions"),
    "And": _same("LOGICAL_AND", "LogicalAndOptions"),
    "Cast": _cast,
    "Clip": _clip,
    "Div": _same("DIV", "DivOptions"),
    "Equal": _comparison("EQUAL", "EqualOptions"),
    "Exp": _exp,
    "Floor": _same("FLOOR", None, 1),
    "Greater": _comparison("LESS", "LessOptions", swapped=True),
    "GreaterOrEqual": _comparison("GREATER_EQUAL", "GreaterEqualOptions"),
    "Identity": _identity,
    "IsNaN": _is_nan,
    "LeakyRelu": _leaky_relu,
    "Less": _comparison("LESS", "LessOptions"),
    "LessOrEqual": _comparison("GREATER_EQUAL", "GreaterEqualOptions", swapped=True),
    "Log": _log,
    "Max": _extreme("MAXIMUM"),
    "Min": _extreme("MINIMUM"),
    "Mul": _same("MUL", "MulOptions"),
    "Neg": _same("NEG", "NegOptions", 1),
    "Not": _same("LOGICAL_NOT", "LogicalNotOptions", 1),
    "Or": _same("LOGICAL_OR", "LogicalOrOptions"),
    "Pow": _pow,
    "Relu": _same("RELU", None, 1),
    "Round": _same("ROUND", None, 1),
    "Sigmoid": _same("LOGISTIC", None, 1),
    "Sign": _sign,
    "Sqrt": _sqrt,
    "Sub": _same("SUB", "SubOptions"),
    "Tanh": _same("TANH", None, 1),
    "Where": _same("SELECT_V2", "SelectV2Options", 3),
}
