"""Inference engines behind one Protocol. Importing this package imports none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec

from nearhand.bundle.schema import RuntimeName
from nearhand.runtime.guard import guarded
from nearhand.runtime.onnx import OnnxRuntime, OrtRuntime
from nearhand.runtime.protocol import Runtime, Session, Tensors
from nearhand.runtime.tflite import DISTRIBUTIONS, TFLiteRuntime

__all__ = ["Runtime", "Session", "Tensors", "guarded", "installed_runtimes"]


def installed_runtimes() -> Mapping[RuntimeName, Callable[[], Runtime]]:
    """A constructor for each runtime whose package is installed; calling one imports it."""
    found: dict[RuntimeName, Callable[[], Runtime]] = {}
    onnxruntime = find_spec("onnxruntime") is not None
    if onnxruntime:
        found["onnx"] = OnnxRuntime
    if any(find_spec(name) is not None for name in DISTRIBUTIONS):
        found["tflite"] = TFLiteRuntime
    if onnxruntime:
        found["ort"] = OrtRuntime
    return found
