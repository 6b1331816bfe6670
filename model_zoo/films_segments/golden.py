"""``python -m model_zoo.films_segments.golden``: regenerates golden.npz, what this recipe learns from the sample."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_zoo.datasets import sample_dataset
from model_zoo.films_segments.train import train
from model_zoo.training import GOLDEN_USERS, read_rows

CASES = 64
PATH = Path(__file__).with_name("golden.npz")


def compute(folder: Path, rows: NDArray[np.float64] | None = None) -> dict[str, NDArray[Any]]:
    """Train in ``folder`` and say which segment each row is of.

    Args:
        rows: float64 [64, columns]; None: some that the training gives.

    Returns:
        ``rows`` and ``labels`` int32 [64].
    """
    import pandas
    import skops.io

    train(sample_dataset(GOLDEN_USERS), folder)
    if rows is None:
        rows = read_rows(folder / "rows.parquet")[:CASES]
    model = skops.io.load(folder / "model.skops")
    named = pandas.DataFrame(rows, columns=model.feature_names_in_)
    return {"rows": rows, "labels": model.predict(named).astype(np.int32)}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        content = compute(Path(name))
        np.savez(PATH, rows=content["rows"], labels=content["labels"])
