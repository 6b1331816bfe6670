"""Runs on every machine: the ordered int8 lists of a bundle for given histories, on each runtime that is there.

    python compute_lists.py BUNDLE HISTORIES.json SUMS.onnx OUTPUT.json

Needs numpy, nearhand and a runtime, nothing else. ``SUMS.onnx`` is the int8 ONNX index with its integer activations
and sums as further outputs, so that the integer arithmetic itself can be checked.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from nearhand.bundle import install_bundle
from nearhand.retrieval import Retriever, check_golden, padded
from nearhand.runtime import Runtime, installed_runtimes
from nearhand.version import __version__


def main() -> None:
    """See the module."""
    bundle, histories_path, sums_path, output = map(Path, sys.argv[1:5])
    histories = json.loads(histories_path.read_text())
    result: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        slot = install_bundle(bundle, Path(folder), sdk_version=__version__)
        manifest, golden = slot.manifest, slot.golden()
        for name, construct in installed_runtimes().items():
            runtime = construct()
            variants = zip(manifest.model("encoder").variants, manifest.model("index").variants, strict=True)
            for encoder, index in variants:
                if encoder.runtime != name:
                    continue
                retriever = Retriever(
                    runtime.load(slot.path(encoder.file)),
                    runtime.load(slot.path(index.file)),
                    items=manifest.retrieval.items.count,
                    window=manifest.retrieval.policy.window,
                    candidates=manifest.retrieval.policy.candidates,
                )
                check_golden(retriever, golden, encoder.precision, place=f"{name}/{encoder.precision}")
                if encoder.precision != "int8":  # other lists are equal only as far as the golden vectors ask for
                    continue
                lists, vectors = [], []
                for history in histories:
                    rows, confidences = padded(history["rows"], history["confidences"], retriever.window)
                    user = retriever.encode(rows, confidences)
                    found = retriever.retrieve(user.vector, exclude=set(history["rows"]), k=10)
                    lists.append({"rows": found.rows[:10].tolist(), "scores": found.scores[:10].tolist()})
                    vectors.append(user.vector)
                result[f"{name}/{encoder.precision}"] = lists
                if name == "onnx":
                    result["sums"] = integer_sums(runtime, sums_path, vectors)
    output.write_text(json.dumps(result))


def integer_sums(runtime: Runtime, path: Path, vectors: list[np.ndarray]) -> list[dict[str, int]]:
    """For each user vector: how many of the integer sums are wrong, and the range of the activations."""
    session = runtime.load(path)
    table, found = None, []
    for vector in vectors:
        outputs = session.run({"user_vector": vector, "k": np.array([1], np.int32)})
        table = outputs["weights"].astype(np.int64) if table is None else table
        activation = outputs["activation"].astype(np.int64)
        exact = (activation - 64) @ table
        found.append(
            {
                "wrong": int((exact != outputs["sums"].astype(np.int64)).sum()),
                "items": int(exact.size),
                "lowest": int(activation.min()),
                "highest": int(activation.max()),
            }
        )
    return found


if __name__ == "__main__":
    main()
