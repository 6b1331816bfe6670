"""Inference engines behind one Protocol. Importing this package imports none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec

from nearhand.bundle.schema import RuntimeName
from nearhand.runtime.guard import guarded
from nearhand.runtime.protocol import Runtime, Session, Tensors

DISTRIBUTIONS = {"ai_edge_litert": "ai-edge-litert", "tflite_runtime": "tflite-runtime"}
"""Import name → distribution of the packages that run TFLite, the preferred one first."""

__all__ = ["DISTRIBUTIONS", "Runtime", "Session", "Tensors", "guarded", "installed_runtimes"]


def installed_runtimes(only: RuntimeName | None = None) -> Mapping[RuntimeName, Callable[[], Runtime]]:
    """A constructor for each runtime whose package is installed; calling one imports it.

    Args:
        only: the one that is looked for; None: all.
    """
    found: dict[RuntimeName, Callable[[], Runtime]] = {}
    onnxruntime = only != "tflite" and find_spec("onnxruntime") is not None
    if onnxruntime and only != "ort":
        found["onnx"] = _onnx
    if only in (None, "tflite") and any(find_spec(name) is not None for name in DISTRIBUTIONS):
        found["tflite"] = _tflite
    if onnxruntime and only != "onnx":
        found["ort"] = _ort
    return found


def _onnx() -> Runtime:
    from nearhand.runtime.onnx import OnnxRuntime

    return OnnxRuntime()


def _tflite() -> Runtime:
    from nearhand.runtime.tflite import TFLiteRuntime

    return TFLiteRuntime()


def _ort() -> Runtime:
    from nearhand.runtime.onnx import OrtRuntime

    return OrtRuntime()
