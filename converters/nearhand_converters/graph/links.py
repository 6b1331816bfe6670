"""Links: from a model's raw scores to what it predicts, as graph nodes and, beside each, in float64.

The nodes are written so that small results keep their relative precision: a runtime's own Sigmoid is an approximation
that is only right to about 1e-8, which is a factor of two for a probability of 1e-8.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from nearhand_converters.graph.builder import GraphBuilder

LinkKind: TypeAlias = Literal[
    "identity",
    "sigmoid",
    "sigmoid_normalized",
    "softmax",
    "exp",
    "hinge",
    "log1p_exp",
    "signed_square",
]

_TERMS = 8
"""Of the series of artanh: the next one is below 10⁻⁹ of the sum."""


@dataclass(frozen=True)
class Link:
    """What is done to raw scores x, float [batch, outputs].

    Attributes:
        kind: ``sigmoid`` is 1 / (1 + e^−slope·x); ``sigmoid_normalized`` divides those of a row by their sum;
            ``softmax`` is over the outputs; ``hinge`` is 1 where x > 0, else 0; ``log1p_exp`` is log(1 + eˣ);
            ``signed_square`` is sign(x)·x².
        slope: of the two sigmoids; 1 for any other kind.
    """

    kind: LinkKind
    slope: float = 1.0

    def __post_init__(self) -> None:
        if self.slope != 1.0 and self.kind not in ("sigmoid", "sigmoid_normalized"):
            raise ValueError(f"a link of the kind {self.kind} has no slope")


def apply_link(g: GraphBuilder, value: str, link: Link) -> str:
    """The link of raw scores, float32 of the same shape [batch, outputs]."""
    return _NODES[link.kind](g, value, link.slope)


def link_reference(scores: NDArray[np.floating], link: Link) -> NDArray[np.float64]:
    """The same in float64: what the nodes are tested against."""
    x = scores.astype(np.float64)
    with np.errstate(over="ignore"):
        return _REFERENCES[link.kind](x, link.slope)


def binary_probability(g: GraphBuilder, p: str) -> str:
    """[1 − p, p], float32 [batch, 2], of the second class's probability [batch, 1]."""
    return g.add("Concat", g.add("Sub", _number(g, 1.0), p), p, axis=1)


def arg_max_label(g: GraphBuilder, value: str) -> str:
    """The place of the largest of each row, of equals the first, int32 [batch]."""
    return g.add("Cast", g.add("ArgMax", value, axis=1, keepdims=0), to=TensorProto.INT32)


def threshold_label(g: GraphBuilder, value: str, threshold: float) -> str:
    """1 where ``value`` [batch, 1] is greater, else 0: int32 [batch]."""
    greater = g.add("Cast", g.add("Greater", value, _number(g, threshold)), to=TensorProto.INT32)
    return g.add("Reshape", greater, g.constant(np.array([-1], np.int64)))


def _number(g: GraphBuilder, number: float) -> str:
    return g.constant(np.array(number, np.float32))


def _identity(g: GraphBuilder, x: str, _slope: float) -> str:
    return x


def _sigmoid(g: GraphBuilder, x: str, slope: float) -> str:
    power = g.add("Exp", g.add("Mul", x, _number(g, -slope)))
    return g.add("Div", _number(g, 1.0), g.add("Add", power, _number(g, 1.0)))


def _sigmoid_normalized(g: GraphBuilder, x: str, slope: float) -> str:
    """Of logarithms, log σ(x) = −log(1 + e⁻ˣ): in float32 all sigmoids of a row may be 0, and their quotients NaN."""
    logarithm = g.add("Neg", _log1p_exp(g, g.add("Mul", x, _number(g, -slope)), 1.0))
    return g.add("Softmax", logarithm, axis=-1)


def _softmax(g: GraphBuilder, x: str, _slope: float) -> str:
    return g.add("Softmax", x, axis=-1)


def _exp(g: GraphBuilder, x: str, _slope: float) -> str:
    return g.add("Exp", x)


def _hinge(g: GraphBuilder, x: str, _slope: float) -> str:
    return g.add("Cast", g.add("Greater", x, _number(g, 0.0)), to=TensorProto.FLOAT)


def _log1p_exp(g: GraphBuilder, x: str, _slope: float) -> str:
    """max(x, 0) + log(1 + e) with e = exp(−|x|), and log(1 + e) = 2 artanh(s) with s = e / (2 + e) ≤ ⅓ by its series.

    A runtime's Log near 1 is not good enough: of log(1 + 10⁻⁷) LiteRT has no digit right.
    """
    power = g.add("Exp", g.add("Neg", g.add("Abs", x)))
    s = g.add("Div", power, g.add("Add", power, _number(g, 2.0)))
    square = g.add("Mul", s, s)
    series = _number(g, 2 / (2 * _TERMS + 1))
    for term in reversed(range(_TERMS)):
        series = g.add("Add", g.add("Mul", square, series), _number(g, 2 / (2 * term + 1)))
    return g.add("Add", g.add("Max", x, _number(g, 0.0)), g.add("Mul", s, series))


def _signed_square(g: GraphBuilder, x: str, _slope: float) -> str:
    return g.add("Mul", x, g.add("Abs", x))


def _sigmoid_reference(x: NDArray[np.float64], slope: float) -> NDArray[np.float64]:
    found: NDArray[np.float64] = 1 / (1 + np.exp(-slope * x))
    return found


def _sigmoid_normalized_reference(x: NDArray[np.float64], slope: float) -> NDArray[np.float64]:
    each = _sigmoid_reference(x, slope)
    found: NDArray[np.float64] = each / each.sum(axis=1, keepdims=True)
    return found


def _softmax_reference(x: NDArray[np.float64], _slope: float) -> NDArray[np.float64]:
    power = np.exp(x - x.max(axis=1, keepdims=True))
    found: NDArray[np.float64] = power / power.sum(axis=1, keepdims=True)
    return found


_NODES: dict[LinkKind, Callable[[GraphBuilder, str, float], str]] = {
    "identity": _identity,
    "sigmoid": _sigmoid,
    "sigmoid_normalized": _sigmoid_normalized,
    "softmax": _softmax,
    "exp": _exp,
    "hinge": _hinge,
    "log1p_exp": _log1p_exp,
    "signed_square": _signed_square,
}

_REFERENCES: dict[LinkKind, Callable[[NDArray[np.float64], float], NDArray[np.float64]]] = {
    "identity": lambda x, _: x,
    "sigmoid": _sigmoid_reference,
    "sigmoid_normalized": _sigmoid_normalized_reference,
    "softmax": _softmax_reference,
    "exp": lambda x, _: np.exp(x),
    "hinge": lambda x, _: (x > 0).astype(np.float64),
    "log1p_exp": lambda x, _: np.logaddexp(0, x),
    "signed_square": lambda x, _: x * np.abs(x),
}
