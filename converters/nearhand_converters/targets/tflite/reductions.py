"""Operators over an axis: sums, extremes, where they are, the largest few, and softmax."""

from __future__ import annotations

import numpy as np
import onnx

from nearhand_converters.targets.tflite.context import Lowering, OperatorLowering, attribute, last_axis


def _reduce(operator: str) -> OperatorLowering:
    """The extremes of a row with a NaN are arbitrary here, as they are on ONNX Runtime."""

    def lowering(x: Lowering, node: onnx.NodeProto) -> None:
        source = x.value(node.input[0])
        axes = attribute(node, "axes", None)
        if axes is None:
            given = x.constant(node, 1, "the axes")
            axes = [] if given is None else given.tolist()
        if not axes and attribute(node, "noop_with_empty_axes", 0):
            raise x.refuse(node, "not with noop_with_empty_axes")
        x.add(
            node,
            operator,
            [source, x.out.constant(np.array(axes or list(range(len(source.shape))), np.int32))],
            x.result(node),
            options="ReducerOptions",
            keepDims=bool(attribute(node, "keepdims", 1)),
        )

    return lowering


def _arg(operator: str, options: str) -> OperatorLowering:
    """Of equals the first, in both formats; of a row with a NaN, arbitrary in both."""

    def lowering(x: Lowering, node: onnx.NodeProto) -> None:
        source, result = x.value(node.input[0]), x.result(node)
        if not last_axis(attribute(node, "axis", 0), source) or attribute(node, "select_last_index", 0):
            raise x.refuse(node, "only the first along the last axis")
        keeps = bool(attribute(node, "keepdims", 1))
        found = x.out.tensor("int32", source.shape[:-1]) if keeps else result
        axis = x.out.constant(np.array(len(source.shape) - 1, np.int32))
        x.add(node, operator, [source, axis], found, options=options, outputType=2)  # 2 is the schema's INT32
        if keeps:
            x.reshape(node, found, result)

    return lowering


def _top_k(x: Lowering, node: onnx.NodeProto) -> None:
    """Largest first, of equals the lower index first: the same in both formats."""
    source = x.value(node.input[0])
    if not last_axis(attribute(node, "axis", -1), source) or not attribute(node, "largest", 1):
        raise x.refuse(node, "only the largest along the last axis")
    outputs = [x.result(node, i) for i in range(2)]
    x.add(node, "TOPK_V2", [source, x.value(node.input[1])], *outputs, options="TopKV2Options")


def _softmax(x: Lowering, node: onnx.NodeProto) -> None:
    source = x.value(node.input[0])
    if not last_axis(attribute(node, "axis", -1), source):
        raise x.refuse(node, "only along the last axis")
    x.add(node, "SOFTMAX", [source], x.result(node), options="SoftmaxOptions", beta=1.0)


OPERATORS: dict[str, OperatorLowering] = {
    "ArgMax": _arg("ARG_MAX", "ArgMaxOptions"),
    "ArgMin": _arg("ARG_MIN", "ArgMinOptions"),
    "ReduceMax": _reduce("REDUCE_MAX"),
    "ReduceMean": _reduce("MEAN"),
    "ReduceMin": _reduce("REDUCE_MIN"),
    "ReduceSum": _reduce("SUM"),
    "Softmax": _softmax,
    "TopK": _top_k,
}
