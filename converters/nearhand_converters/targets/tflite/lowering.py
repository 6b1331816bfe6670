"""ONNX → TFLite: a closed list of operators. Anything else is refused by name, with its place and a remedy."""

from __future__ import annotations

import onnx

from nearhand_converters.errors import UnsupportedOperatorError
from nearhand_converters.targets.tflite import elementwise, products, reductions, shapes
from nearhand_converters.targets.tflite.context import Lowering, OperatorLowering

OPERATORS: dict[str, OperatorLowering] = {
    **elementwise.OPERATORS,
    **products.OPERATORS,
    **reductions.OPERATORS,
    **shapes.OPERATORS,
}

OPSETS = range(13, 22)
"""The ONNX operator sets whose operators mean what is lowered here."""


def lower(model: onnx.ModelProto) -> tuple[bytes, dict[str, int]]:
    """The TFLite file of an ONNX graph, and the version of each TFLite operator in it.

    Raises:
        UnsupportedOperatorError: an operator, or a use of it, that is not on the list; names the node.
    """
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)
    if opset not in OPSETS:
        raise UnsupportedOperatorError(
            f"operator set {opset} is not one of {OPSETS[0]} to {OPSETS[-1]}",
            place=f"graph {model.graph.name}",
            remedy="convert the model to one of these, as onnx.version_converter does",
        )
    try:
        graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise UnsupportedOperatorError(
            f"shapes do not fit together ({str(error).strip().splitlines()[0]})",
            place=f"graph {model.graph.name}",
            remedy="check the model with onnx.checker",
        ) from error
    return Lowering(graph).run(OPERATORS)
