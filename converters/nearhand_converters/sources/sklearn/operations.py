"""Elementwise operations as nodes, and the functions that a FunctionTransformer may have."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.sources.sklearn.columns import Operation


def merged(operations: Iterable[Operation]) -> tuple[Operation, ...]:
    """The same with neighbouring affine operations made one, in float64, and the centre taken off before a fill.

    What a mean imputer fills in is no float32, and may be large where its distance from the scaler's centre is not.
    """
    found: list[Operation] = []
    for operation in operations:
        if operation.kind != "affine" or not found:
            found.append(operation)
        elif found[-1].kind == "affine":
            found[-1] = _composed(found[-1].parameters, operation.parameters)
        elif found[-1].kind == "fill":
            (value,), (centre, scale, offset) = found.pop().parameters, operation.parameters
            near = float(np.float32(centre))
            found = [
                *merged([*found, Operation("affine", (near, 1.0, 0.0))]),
                Operation("fill", (value - near,)),
                Operation("affine", (0.0, scale, offset + (near - centre) * scale)),
            ]
        else:
            found.append(operation)
    return tuple(found)


def _composed(first: tuple[float, ...], second: tuple[float, ...]) -> Operation:
    """One centre, chosen where the second has its own: so that no large numbers cancel after the first rounding."""
    centre, scale, offset = first
    if scale == 0:
        return Operation("affine", (centre, 0.0, (offset - second[0]) * second[1] + second[2]))
    return Operation("affine", (centre + (second[0] - offset) / scale, scale * second[1], second[2]))


def centred(g: GraphBuilder, value: str, operations: Sequence[Sequence[Operation]]) -> str:
    """The value [batch, n] minus the centres of each column's last operation, an affine one."""
    centre = np.array([[own[-1].parameters[0] for own in operations]], np.float64).astype(np.float32)
    return g.add("Sub", value, g.constant(centre)) if centre.any() else value


def scale_and_offset(operations: Sequence[Sequence[Operation]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What is left of each column's last operation after :func:`centred`, float64 [n] each."""
    centre, scale, offset = np.array([own[-1].parameters for own in operations], np.float64).T
    return scale, offset + (centre.astype(np.float32) - centre) * scale


def apply_operations(g: GraphBuilder, value: str, operations: Sequence[Sequence[Operation]]) -> str:
    """The operations of each column of a value, float32 [batch, n]; of equal kinds in all columns.

    Args:
        operations: for each column its operations.
    """
    for step, first in enumerate(operations[0]):
        each = [own[step] for own in operations]
        if first.kind == "affine":
            value = centred(g, value, [own[: step + 1] for own in operations])
            scale, offset = scale_and_offset([own[: step + 1] for own in operations])
            value = g.add("Mul", value, _row(g, scale)) if (scale != 1).any() else value
            value = g.add("Add", value, _row(g, offset)) if offset.any() else value
        elif first.kind == "function":
            value = FUNCTIONS[first.name].nodes(g, value)
        else:
            value = _NODES[first.kind](g, value, *np.array([operation.parameters for operation in each]).T)
    return value


def _row(g: GraphBuilder, values: NDArray[np.float64]) -> str:
    """A float32 constant [1, n]."""
    with np.errstate(over="ignore"):
        return g.constant(values.astype(np.float32)[None])


def _fill(g: GraphBuilder, x: str, value: NDArray[np.float64]) -> str:
    return g.add("Where", g.add("IsNaN", x), _row(g, value), x)


def _replace(g: GraphBuilder, x: str, old: NDArray[np.float64], new: NDArray[np.float64]) -> str:
    return g.add("Where", g.add("Equal", x, _row(g, old)), _row(g, new), x)


def _clip(g: GraphBuilder, x: str, low: NDArray[np.float64], high: NDArray[np.float64]) -> str:
    return g.add("Min", g.add("Max", x, _row(g, low)), _row(g, high))


def _greater(g: GraphBuilder, x: str, threshold: NDArray[np.float64]) -> str:
    return g.add("Cast", g.add("Greater", x, _row(g, threshold)), to=TensorProto.FLOAT)


_NODES: dict[str, Callable[..., str]] = {"fill": _fill, "replace": _replace, "clip": _clip, "greater": _greater}


class Elementary:
    """A function that a FunctionTransformer, or a transformed target, may have.

    Attributes:
        direction: 1 where it never falls, −1 where it never rises, 0 where it does both.
        low: the smallest number that it is made for: below, the original gives NaN or −inf.
        nodes: the function as nodes, of a value of any shape.
    """

    def __init__(self, direction: int, nodes: Callable[[GraphBuilder, str], str], low: float = -np.inf) -> None:
        self.direction = direction
        self.nodes = nodes
        self.low = low


def _one(g: GraphBuilder, number: float) -> str:
    return g.constant(np.array(number, np.float32))


def _unary(operator: str) -> Callable[[GraphBuilder, str], str]:
    return lambda g, x: g.add(operator, x)


def _series(g: GraphBuilder, x: str, coefficients: Sequence[float]) -> str:
    """c₀ + c₁·x + c₂·x² …"""
    total = _one(g, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = g.add("Add", g.add("Mul", total, x), _one(g, coefficient))
    return total


def _log1p(g: GraphBuilder, x: str) -> str:
    """Near 0: 2·artanh(s) with s = x / (2 + x), as a series: runtimes' own logarithms are off by 1e-7 around 1."""
    return _near_zero(g, x, g.add("Log", g.add("Add", x, _one(g, 1))))


def _logarithm(base: float) -> Callable[[GraphBuilder, str], str]:
    def nodes(g: GraphBuilder, x: str) -> str:
        natural = _near_zero(g, g.add("Sub", x, _one(g, 1)), g.add("Log", x))
        return natural if base == np.e else g.add("Mul", natural, _one(g, 1 / np.log(base)))

    return nodes


def _near_zero(g: GraphBuilder, x: str, far: str) -> str:
    """log(1 + x) by its series where |x| < ½, else ``far``."""
    s = g.add("Div", x, g.add("Add", x, _one(g, 2)))
    odd = _series(g, g.add("Mul", s, s), [2 / k for k in range(1, 15, 2)])
    return g.add("Where", g.add("Less", g.add("Abs", x), _one(g, 0.5)), g.add("Mul", s, odd), far)


def _expm1(g: GraphBuilder, x: str) -> str:
    """Near 0 by its series, where eˣ − 1 would cancel."""
    series = g.add("Mul", x, _series(g, x, [1 / math.factorial(k) for k in range(1, 11)]))
    far = g.add("Sub", g.add("Exp", x), _one(g, 1))
    return g.add("Where", g.add("Less", g.add("Abs", x), _one(g, 0.5)), series, far)


FUNCTIONS: dict[str, Elementary] = {
    "abs": Elementary(0, _unary("Abs")),
    "exp": Elementary(1, _unary("Exp")),
    "expm1": Elementary(1, _expm1),
    "log": Elementary(1, _logarithm(np.e), low=0.0),
    "log10": Elementary(1, _logarithm(10), low=0.0),
    "log1p": Elementary(1, _log1p, low=-1.0),
    "log2": Elementary(1, _logarithm(2), low=0.0),
    "negative": Elementary(-1, _unary("Neg")),
    "reciprocal": Elementary(0, lambda g, x: g.add("Div", _one(g, 1), x)),
    "sqrt": Elementary(1, _unary("Sqrt"), low=0.0),
    "square": Elementary(0, lambda g, x: g.add("Mul", x, x)),
    "tanh": Elementary(1, _unary("Tanh")),
}
"""numpy's name → the function. That is the whole list."""

_SAME = {"absolute": "abs", "fabs": "abs", "neg": "negative"}


def function_name(function: Any) -> str | None:
    """The name in ``FUNCTIONS`` of one of numpy's own functions; None: it is another."""
    name = getattr(function, "__name__", "")
    if not isinstance(name, str) or getattr(np, name, None) is not function:
        return None
    name = _SAME.get(name, name)
    return name if name in FUNCTIONS else None
