"""What TFLite's kernels read, and since which version: only what every runtime from tflite-runtime 2.14 on has.

The versions are those of TensorFlow's own versioning rules. Stamping them honestly lets a runtime that is too old
refuse a model instead of computing garbage. What is absent here is absent on purpose; some kernels take a type and
end the process over it (8-bit comparisons and additions without a scale), or compute something else (16-bit sums).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_NUMBERS = {"float32": 1, "int32": 1}
_COPIED = {"float32": 1, "int32": 1, "int8": 2, "uint8": 1, "int16": 1, "bool": 1}

KERNELS: Mapping[str, Mapping[str, int]] = {
    "ABS": {"float32": 1},
    "ADD": _NUMBERS,
    "ARG_MAX": {**_NUMBERS, "int8": 2, "uint8": 1},
    "ARG_MIN": {**_NUMBERS, "int8": 2, "uint8": 1},
    "BATCH_MATMUL": {"float32": 1, "int8": 2},
    "CAST": {**_COPIED, "int8": 3},
    "CONCATENATION": {**_COPIED, "int16": 3},
    "DIV": _NUMBERS,
    "EQUAL": {**_NUMBERS, "int16": 4, "bool": 1},
    "FLOOR": {"float32": 1},
    "FULLY_CONNECTED": {"float32": 1, "int8": 3},
    "GATHER": {**_COPIED, "int16": 4, "bool": 3},
    "GREATER_EQUAL": {**_NUMBERS, "int16": 3},
    "LEAKY_RELU": {"float32": 1},
    "LESS": {**_NUMBERS, "int16": 3},
    "LOG": {"float32": 1},
    "LOGICAL_AND": {"bool": 1},
    "LOGICAL_NOT": {"bool": 1},
    "LOGICAL_OR": {"bool": 1},
    "LOGISTIC": {"float32": 1},
    "MAXIMUM": {**_NUMBERS, "int8": 2, "uint8": 1, "int16": 4},
    "MEAN": {"float32": 1},
    "MINIMUM": {**_NUMBERS, "int8": 2, "uint8": 1, "int16": 4},
    "MUL": _NUMBERS,
    "NEG": _NUMBERS,
    "NOT_EQUAL": {"float32": 1},
    "POW": {"float32": 1},
    "REDUCE_MAX": {**_NUMBERS, "int8": 2, "uint8": 1},
    "REDUCE_MIN": {**_NUMBERS, "int8": 2, "uint8": 1},
    "RELU": {"float32": 1},
    "RESHAPE": {**_COPIED, "int8": 1},
    "ROUND": {"float32": 1},
    "SELECT_V2": {**_COPIED, "int8": 1},
    "SIGN": {"float32": 1},
    "SOFTMAX": {"float32": 1},
    "SPLIT_V": {**_NUMBERS, "int8": 2, "uint8": 1, "int16": 1},
    "STRIDED_SLICE": {**_COPIED, "bool": 3},
    "SUB": _NUMBERS,
    "SUM": _NUMBERS,
    "TANH": {"float32": 1},
    "TILE": {**_NUMBERS, "int8": 3, "uint8": 1, "bool": 1},
    "TOPK_V2": _NUMBERS,
    "TRANSPOSE": {**_COPIED, "int16": 5, "bool": 3},
}
"""Operator → type of what it works on → the version that brought it."""

GATHER_BATCHED = 5
"""The version of GATHER with rows of its own for each element of the batch."""

FULLY_CONNECTED_UNBIASED = 6
"""The version of FULLY_CONNECTED that needs no bias."""

MAX_RANK = 4
"""Beyond it several operators need a later version, or have no kernel."""

_OPERAND = {"SELECT_V2": 1}
"""Which input an operator works on, where it is not the first."""


def operand(operator: str, dtypes: Iterable[str]) -> str:
    """The type that an operator works on, of those of its inputs."""
    return list(dtypes)[_OPERAND.get(operator, 0)]


def version(operator: str, dtypes: Iterable[str]) -> int:
    """The version that is needed for the types of all inputs and outputs."""
    return max(KERNELS[operator].get(dtype, 1) for dtype in dtypes)
