"""The targets there are."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from nearhand.bundle.schema import RuntimeName
from nearhand_converters.targets.onnx import OnnxTarget
from nearhand_converters.targets.ort import OrtTarget
from nearhand_converters.targets.target import Artifact, Target
from nearhand_converters.targets.tflite.target import TFLiteTarget

__all__ = ["Artifact", "Target", "default_targets", "write_artifact"]


def default_targets() -> Mapping[RuntimeName, Target]:
    """Every target of this package, by the runtime that reads it."""
    targets: tuple[Target, ...] = (OnnxTarget(), OrtTarget(), TFLiteTarget())
    return {target.name: target for target in targets}


def write_artifact(
    model: onnx.ModelProto, runtime: RuntimeName, targets: Mapping[RuntimeName, Target] | None = None
) -> Artifact:
    """``model`` in the format that ``runtime`` reads.

    Args:
        targets: by default those of :func:`default_targets`.

    Raises:
        UnsupportedOperatorError: the format has no form for an operator.
    """
    return (default_targets() if targets is None else targets)[runtime].write(model)
