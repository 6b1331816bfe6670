"""``python -m model_zoo.films_heavy.golden``: regenerates golden.npz, what this recipe learns from the sample."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from model_zoo.films_heavy.train import train
from model_zoo.training import booster_golden

PATH = Path(__file__).with_name("golden.npz")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        content = booster_golden(train, Path(name))
        np.savez(PATH, rows=content["rows"], scores=content["scores"])
