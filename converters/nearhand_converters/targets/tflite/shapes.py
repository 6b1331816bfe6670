"""Operators that only move numbers: look-ups, shapes, parts and joints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from nearhand_converters.targets.tflite import kernels
from nearhand_converters.targets.tflite.assembler import Value
from nearhand_converters.targets.tflite.context import Lowering, OperatorLowering, attribute, last_axis


def _constant(x: Lowering, node: onnx.NodeProto) -> None:
    (given,) = node.attribute
    if given.name == "value":
        x.constants[node.output[0]] = numpy_helper.to_array(given.t)
    elif given.name in ("value_float", "value_floats"):
        x.constants[node.output[0]] = np.array(onnx.helper.get_attribute_value(given), np.float32)
    elif given.name in ("value_int", "value_ints"):
        x.constants[node.output[0]] = np.array(onnx.helper.get_attribute_value(given), np.int64)
    else:
        raise x.refuse(node, f"not with {given.name}")


def _gather(x: Lowering, node: onnx.NodeProto) -> None:
    table, rows = x.value(node.input[0]), x.value(node.input[1])
    axis = attribute(node, "axis", 0) % len(table.shape)
    _check_indices(x, node, table.shape[axis])
    x.add(node, "GATHER", [table, rows], x.result(node), options="GatherOptions", axis=axis)


def _gather_elements(x: Lowering, node: onnx.NodeProto) -> None:
    table, places = x.value(node.input[0]), x.value(node.input[1])
    before = len(table.shape) - 1
    if before < 1 or not last_axis(attribute(node, "axis", 0), table):
        raise x.refuse(node, "only along the last of at least 2 axes")
    if any(name in x.constants for name in node.input):
        fits = table.shape[:-1] == places.shape[:-1]
    else:
        dimensions = [x.dimensions(name)[:-1] for name in node.input]
        fits = dimensions[0] == dimensions[1] and "" not in dimensions[0]
    if not fits:
        raise x.refuse(node, "only with indices for every row of the data, by dimensions of the same size or name")
    _check_indices(x, node, table.shape[-1])
    x.add(
        node,
        "GATHER",
        [table, places],
        x.result(node),
        options="GatherOptions",
        at_least=kernels.GATHER_BATCHED,
        axis=before,
        batchDims=before,
    )


def _check_indices(x: Lowering, node: onnx.NodeProto, size: int) -> None:
    """Of constant indices, that none is negative (ONNX then counts from the end) or beyond the end."""
    indices = x.constants.get(node.input[1])
    if indices is None or indices.size == 0:
        return
    if indices.min() < 0:
        raise x.refuse(node, f"index {indices.min()} is negative: count it from the start")
    if indices.max() >= size >= 0:
        raise x.refuse(node, f"index {indices.max()} is beyond the axis of {size}")


def _transpose(x: Lowering, node: onnx.NodeProto) -> None:
    constant = x.constants.get(node.input[0])
    if constant is not None and constant.ndim == 2 and attribute(node, "perm", [1, 0]) == [1, 0]:
        x.flipped[node.output[0]] = node.input[0]
        return
    source = x.value(node.input[0])
    reverse = list(range(len(source.shape)))[::-1]
    permutation = x.out.constant(np.array(attribute(node, "perm", reverse), np.int32))
    x.add(node, "TRANSPOSE", [source, permutation], x.result(node), options="TransposeOptions")


def _reshape(x: Lowering, node: onnx.NodeProto) -> None:
    shape = x.constant(node, 1, "the shape")
    assert shape is not None
    result = x.result(node)
    if attribute(node, "allowzero", 0):
        raise x.refuse(node, "not with allowzero")
    x.reshape(node, x.value(node.input[0]), result, result.shape if 0 in shape else shape.tolist())


def _same_numbers(x: Lowering, node: onnx.NodeProto) -> None:
    """Flatten, Squeeze and Unsqueeze: what ONNX inferred says the shape."""
    x.reshape(node, x.value(node.input[0]), x.result(node))


def _expand(x: Lowering, node: onnx.NodeProto) -> None:
    shape = x.constant(node, 1, "the shape")
    assert shape is not None
    source, result = x.value(node.input[0]), x.result(node)
    rank = len(result.shape)
    given = [1] * (rank - len(source.shape)) + list(source.shape)
    wanted = [1] * (rank - len(shape)) + shape.tolist()
    if any(old == -1 and new != 1 for old, new in zip(given, wanted, strict=True)):
        raise x.refuse(node, "a dimension that is decided at run time must have a 1 in the shape")
    _tile_by(x, node, source, given, [new if old == 1 else 1 for old, new in zip(given, wanted, strict=True)])


def _tile(x: Lowering, node: onnx.NodeProto) -> None:
    repeats = x.constant(node, 1, "the number of repeats")
    assert repeats is not None
    source = x.value(node.input[0])
    _tile_by(x, node, source, source.shape, repeats.tolist())


def _tile_by(x: Lowering, node: onnx.NodeProto, source: Value, shape: Sequence[int], repeats: Sequence[int]) -> None:
    """Repeat ``source``, seen in another shape."""
    result = x.result(node)
    if len(shape) > len(source.shape):
        seen = x.out.tensor(source.dtype, shape)
        x.reshape(node, source, seen)
        source = seen
    multiples = x.out.constant(np.array(repeats, np.int32))
    x.add(node, "TILE", [source, multiples], result, options="TileOptions")


def _concat(x: Lowering, node: onnx.NodeProto) -> None:
    parts = [x.value(name) for name in node.input]
    axis = attribute(node, "axis", 0) % len(parts[0].shape)
    x.add(node, "CONCATENATION", parts, x.result(node), options="ConcatenationOptions", axis=axis)


def _slice(x: Lowering, node: onnx.NodeProto) -> None:
    source = x.value(node.input[0])
    starts, ends = (x.constant(node, place, "start and end") for place in (1, 2))
    assert starts is not None
    assert ends is not None
    given = x.constant(node, 3, "the axes"), x.constant(node, 4, "the steps")
    axes = np.arange(len(starts)) if given[0] is None else given[0] % len(source.shape)
    steps = np.ones(len(starts), np.int64) if given[1] is None else given[1]
    begin, end, stride = (np.zeros(len(source.shape), np.int32) for _ in range(3))
    stride[:] = 1
    whole = set(range(len(source.shape)))
    for axis, first, last, step in zip(axes.tolist(), starts.tolist(), ends.tolist(), steps.tolist(), strict=True):
        size = source.shape[axis]
        if step < 1:
            raise x.refuse(node, "only with positive steps")
        if size == -1:
            raise x.refuse(node, "not along a dimension that is decided at run time")
        begin[axis], end[axis], stride[axis] = slice(first, last, step).indices(size)
        if begin[axis] >= end[axis]:
            raise x.refuse(node, f"nothing is left of axis {axis}")
        whole.discard(axis)
    mask = sum(1 << axis for axis in whole)
    limits = [x.out.constant(limit) for limit in (begin, end, stride)]
    options: dict[str, Any] = {"options": "StridedSliceOptions", "beginMask": mask, "endMask": mask}
    x.add(node, "STRIDED_SLICE", [source, *limits], x.result(node), **options)


def _split(x: Lowering, node: onnx.NodeProto) -> None:
    source = x.value(node.input[0])
    axis = attribute(node, "axis", 0) % len(source.shape)
    results = [x.result(node, place) for place in range(len(node.output))]
    sizes = [result.shape[axis] for result in results]
    if -1 in sizes:
        raise x.refuse(node, "not along a dimension that is decided at run time")
    inputs = [source, x.out.constant(np.array(sizes, np.int32)), x.out.constant(np.array(axis, np.int32))]
    x.add(node, "SPLIT_V", inputs, *results, options="SplitVOptions", numSplits=len(results))


OPERATORS: dict[str, OperatorLowering] = {
    "Concat": _concat,
    "Constant": _constant,
    "Expand": _expand,
    "Flatten": _same_numbers,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _same_numbers,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _same_numbers,
}
