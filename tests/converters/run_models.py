"""Run model files as the SDK does: `python run_models.py CASES.pickle OUTPUT.pickle`, alone on any machine.

The first holds a runtime's name and a list of (file, batches); the other gets for each what the batches gave, or the
error's text.
"""

import pickle
import sys
import tempfile
from pathlib import Path
from typing import Any

from nearhand.bundle.schema import RuntimeName
from nearhand.errors import ModelError
from nearhand.runtime import installed_runtimes


def run_cases(name: RuntimeName, cases: list[tuple[bytes, list[dict[str, Any]]]]) -> list[list[dict[str, Any]] | str]:
    """Every case's outputs, one session for all batches of a case."""
    runtime = installed_runtimes()[name]()
    results: list[list[dict[str, Any]] | str] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model")
        for data, batches in cases:
            path.write_bytes(data)
            try:
                session = runtime.load(path)
                results.append([session.run(batch) for batch in batches])
            except ModelError as error:
                results.append(str(error))
    return results


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(pickle.dumps(run_cases(*pickle.loads(Path(sys.argv[1]).read_bytes())), protocol=4))
