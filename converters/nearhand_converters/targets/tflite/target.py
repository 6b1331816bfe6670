"""TFLite as a target."""

from __future__ import annotations

import onnx

from nearhand.bundle.schema import RuntimeName
from nearhand_converters.targets.target import Artifact, interface
from nearhand_converters.targets.tflite.lowering import lower


class TFLiteTarget:
    """Writes TFLite's flatbuffer directly."""

    name: RuntimeName = "tflite"

    def write(self, model: onnx.ModelProto) -> Artifact:
        inputs, outputs = interface(model)
        data, versions = lower(model)
        return Artifact(data, versions, tuple(sorted(versions)), inputs, outputs)
