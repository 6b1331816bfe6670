"""Runs on every machine: scores and leaves of trees for given rows, on each runtime that is there.

    python compute_trees.py FOLDER OUTPUT.npz

``FOLDER`` has ``ROWS.npz`` files, each with the inputs of the models ``ROWS.NAME.RUNTIME``.
Needs numpy, nearhand and a runtime, nothing else.
"""

import sys
from pathlib import Path

import numpy as np

from nearhand.runtime import installed_runtimes


def main() -> None:
    """See the module."""
    folder, output = map(Path, sys.argv[1:3])
    found: dict[str, np.ndarray] = {}
    for runtime, construct in installed_runtimes().items():
        engine = construct()
        for path in sorted(folder.glob(f"*.{runtime}")):
            with np.load(folder / f"{path.name.split('.')[0]}.npz") as file:
                rows = {name: file[name] for name in file.files}
            session = engine.load(path)
            for name, values in session.run(rows).items():
                found[f"{path.name}/{name}"] = values
            session.close()
    np.savez(output, **found)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
