"""Say what an environment is: `python probe.py MODEL.onnx NUMBERS.npz MODEL.tflite OUTPUT.json`.

Runs inside every environment, so it imports nothing but numpy, nearhand and whichever runtimes are there.
"""

import importlib
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

import nearhand


def count_wrong_sums(model: str, activations: "np.ndarray[Any, Any]", weights: "np.ndarray[Any, Any]") -> int:
    """Return how many int32 sums of the model's u8×s8 product differ from the exact ones."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    (sums,) = session.run(None, {"activations": activations})
    return int(np.count_nonzero(sums != activations.astype(np.int64) @ weights.astype(np.int64)))


def run_tflite(module: str, model: str) -> "list[float] | None":
    """Return the outputs of the TFLite model for -1, 0, 1, 2, or None where this runtime is not installed."""
    try:
        runtime = importlib.import_module(f"{module}.interpreter")
    except ModuleNotFoundError:
        return None
    interpreter = runtime.Interpreter(model_path=model)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.array([-1, 0, 1, 2], np.float32))
    interpreter.invoke()
    outputs: list[float] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).tolist()
    return outputs


def main(onnx_model: str, numbers: str, tflite_model: str, output: str) -> None:
    """Write the answers as JSON."""
    data = np.load(numbers)
    runtimes = {"ai-edge-litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}
    outputs = {name: run_tflite(module, tflite_model) for name, module in runtimes.items()}
    answers = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": ort.__version__,
        # Only where it imports: package metadata alone would not show that it does.
        **{name: None if outputs[name] is None else version(name) for name in runtimes},
        "tflite_outputs": outputs,
        "nearhand": Path(nearhand.__file__).name,
        "sums": int(data["wide"].shape[0] * data["weights"].shape[1]),
        "wrong_sums_8_bit": count_wrong_sums(onnx_model, data["wide"], data["weights"]),
        "wrong_sums_7_bit": count_wrong_sums(onnx_model, data["wide"] >> 1, data["weights"]),
    }
    Path(output).write_text(json.dumps(answers), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
