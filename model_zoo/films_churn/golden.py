"""``python -m model_zoo.films_churn.golden``: regenerates golden.npz, what this recipe learns from the sample."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_zoo.datasets import sample_dataset
from model_zoo.films_churn.train import train
from model_zoo.training import read_rows

USERS, CASES = 150, 64
PATH = Path(__file__).with_name("golden.npz")


def compute(folder: Path, rows: NDArray[np.float64] | None = None) -> dict[str, NDArray[np.float64]]:
    """Train in ``folder`` and score.

    Args:
        rows: float64 [64, columns]; None: some that the training gives.

    Returns:
        ``rows`` and ``scores`` float64 [64], the probability that the viewer stays away.
    """
    import lightgbm

    train(sample_dataset(USERS), folder)
    if rows is None:
        rows = read_rows(folder / "rows.parquet")
        rows = rows[np.linspace(0, len(rows) - 1, CASES).astype(int)]
    booster = lightgbm.Booster(model_file=folder / "model.txt")
    return {"rows": rows, "scores": np.asarray(booster.predict(rows), np.float64)}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        content = compute(Path(name))
        np.savez(PATH, rows=content["rows"], scores=content["scores"])
