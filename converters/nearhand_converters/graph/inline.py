"""Another graph's nodes, appended to a graph that is being built; the simple ones of ai.onnx.ml as plain operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nearhand_converters.graph.builder import ML_DOMAIN, GraphBuilder

Attributes = Mapping[str, Any]


def inline(g: GraphBuilder, graph: onnx.GraphProto, inputs: Mapping[str, str], outputs: Sequence[str]) -> list[str]:
    """Append what ``outputs`` need of another graph.

    Args:
        graph: of the operator sets that the builder emits, without nodes that hold graphs.
        inputs: the graph's input → a value of the builder.
        outputs: names of the graph's values.

    Returns:
        The builder's value of each output.
    """
    values = {"": "", **inputs}
    constants = {tensor.name: tensor for tensor in graph.initializer}

    def value(name: str) -> str:
        if name not in values:
            values[name] = g.constant(numpy_helper.to_array(constants[name]))
        return values[name]

    for node in _needed(graph, outputs):
        if node.op_type == "Constant" and node.domain == "":
            constants[node.output[0]] = _constant(node)
            continue
        own = [value(name) for name in node.input]
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        rewrite = _REWRITTEN.get((node.domain, node.op_type))
        made = rewrite(g, own, attributes) if rewrite is not None else None
        if made is None:
            if node.domain == ML_DOMAIN:
                attributes["domain"] = ML_DOMAIN
            found: tuple[str, ...] = g.add_many(node.op_type, len(node.output), *own, **attributes)
        else:
            found = (made,)
        values.update(zip(node.output, found, strict=False))
    return [value(name) for name in outputs]


def _needed(graph: onnx.GraphProto, outputs: Sequence[str]) -> Iterator[onnx.NodeProto]:
    """The nodes that outputs are calculated from, in their order."""
    wanted, kept = set(outputs), list[onnx.NodeProto]()
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return reversed(kept)


def _constant(node: onnx.NodeProto) -> onnx.TensorProto:
    attribute = node.attribute[0]
    found = helper.get_attribute_value(attribute)
    if isinstance(found, onnx.TensorProto):
        return found
    dtype = np.float32 if attribute.name.startswith("value_float") else np.int64
    return numpy_helper.from_array(np.array(found, dtype))


def _floats(g: GraphBuilder, values: Any) -> str:
    return g.constant(np.array(values, np.float32))


def _scaler(g: GraphBuilder, inputs: list[str], attributes: Attributes) -> str:
    centred = g.add("Sub", inputs[0], _floats(g, [attributes["offset"]]))
    return g.add("Mul", centred, _floats(g, [attributes["scale"]]))


def _normalizer(g: GraphBuilder, inputs: list[str], attributes: Attributes) -> str:
    norm, x = attributes.get("norm", b"MAX"), inputs[0]
    axis = g.constant(np.array([1], np.int64))
    if norm == b"MAX":
        size = g.add("ReduceMax", x, axes=[1], keepdims=1)
    elif norm == b"L1":
        size = g.add("ReduceSum", g.add("Abs", x), axis, keepdims=1)
    else:
        size = g.add("Sqrt", g.add("ReduceSum", g.add("Mul", x, x), axis, keepdims=1))
    none = g.add("Equal", size, _floats(g, 0.0))
    return g.add("Div", x, g.add("Where", none, _floats(g, 1.0), size))


def _linear_regressor(g: GraphBuilder, inputs: list[str], attributes: Attributes) -> str | None:
    if attributes.get("post_transform", b"NONE") != b"NONE":
        return None
    targets = attributes.get("targets", 1)
    weights = np.array(attributes["coefficients"], np.float32).reshape(targets, -1).T
    bias = np.array(attributes.get("intercepts") or [0.0] * targets, np.float32)
    return g.add("Gemm", inputs[0], g.constant(weights), g.constant(bias))


def _feature_extractor(g: GraphBuilder, inputs: list[str], _: Attributes) -> str:
    places = g.add("Reshape", inputs[1], g.constant(np.array([-1], np.int64)))
    return g.add("Gather", inputs[0], places, axis=-1)


def _imputer(g: GraphBuilder, inputs: list[str], attributes: Attributes) -> str | None:
    values = attributes.get("imputed_value_floats")
    if not values:
        return None
    missing = attributes.get("replaced_value_float", 0.0)
    absent = g.add("IsNaN", inputs[0]) if np.isnan(missing) else g.add("Equal", inputs[0], _floats(g, missing))
    return g.add("Where", absent, _floats(g, [values]), inputs[0])


def _sum(g: GraphBuilder, inputs: list[str], _: Attributes) -> str:
    return reduce(lambda total, value: g.add("Add", total, value), inputs)


def _identity(_: GraphBuilder, inputs: list[str], __: Attributes) -> str:
    return inputs[0]


_REWRITTEN: dict[tuple[str, str], Callable[[GraphBuilder, list[str], Attributes], str | None]] = {
    ("", "Identity"): _identity,
    ("", "Sum"): _sum,
    (ML_DOMAIN, "ArrayFeatureExtractor"): _feature_extractor,
    (ML_DOMAIN, "Imputer"): _imputer,
    (ML_DOMAIN, "LinearRegressor"): _linear_regressor,
    (ML_DOMAIN, "Normalizer"): _normalizer,
    (ML_DOMAIN, "Scaler"): _scaler,
}
"""Domain and operator → the same as plain operators; None where its options have no such form."""
