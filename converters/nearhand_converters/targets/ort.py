"""ONNX Runtime's own format: what its graph optimizer makes of a graph, ready to load without it."""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import onnx

from nearhand.bundle.schema import RuntimeName
from nearhand_converters.errors import UnsupportedOperatorError
from nearhand_converters.targets import ort_format
from nearhand_converters.targets.onnx import oldest_form, versions
from nearhand_converters.targets.target import Artifact, interface

OLDEST_RUNTIME = (1, 27)
"""The oldest onnxruntime that such files are tested on. The format promises nothing about older ones."""


class OrtTarget:
    """Writes with the installed onnxruntime, optimized as far as ONNX's own operators go.

    The next levels bring operators that onnxruntime can be built without, then what suits this processor alone; with
    graphs as small as ours they gain nothing that can be measured.
    """

    name: RuntimeName = "ort"

    def write(self, model: onnx.ModelProto) -> Artifact:
        inputs, outputs = interface(model)
        oldest = oldest_form(model)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.ort")
            _optimize(oldest, path)
            fields = ort_format.read(path.read_bytes())
            required, build_config = _required_operators(path)
        return Artifact(
            data=ort_format.write(fields),
            versions={
                **versions(oldest),
                "ort_format": int(fields[0]),
                "onnxruntime_major": OLDEST_RUNTIME[0],
                "onnxruntime_minor": OLDEST_RUNTIME[1],
            },
            operators=required,
            inputs=inputs,
            outputs=outputs,
            build_config=build_config,
        )


def _optimize(model: onnx.ModelProto, path: Path) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.optimized_model_filepath = str(path)
    options.add_session_config_entry("session.save_model_format", "ORT")
    try:
        onnxruntime.InferenceSession(
            model.SerializeToString(deterministic=True), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UnsupportedOperatorError(
            f"onnxruntime {onnxruntime.__version__} has no kernel for an operator, or a use of it ({reason[0]})",
            place=f"graph {model.graph.name}",
            remedy="use --target onnx for this model",
        ) from error


def _required_operators(path: Path) -> tuple[tuple[str, ...], bytes]:
    """The operators in a file, and the configuration that builds an onnxruntime of just these and their types."""
    tools = _tools()
    required: dict[str, dict[int, set[str]]] = {}
    types = tools.OperatorTypeUsageManager()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves the file to be closed by chance
        tools.OrtFormatModelProcessor(str(path), required, types).process()
    lines = [
        f"{domain};{opset};" + ",".join(f"{op}{types.get_config_entry(domain, op) or ''}" for op in sorted(operators))
        for domain, by_opset in sorted(required.items())
        for opset, operators in sorted(by_opset.items())
    ]
    every = {op for by_opset in required.values() for operators in by_opset.values() for op in operators}
    return tuple(sorted(every)), ("\n".join(lines) + "\n").encode()


def _tools() -> Any:
    """onnxruntime's tools for its format. Importing them sets up the logging of the whole process: that is undone."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    try:
        from onnxruntime.tools import ort_format_model
    finally:
        root.handlers[:] = handlers
    return ort_format_model
