"""``python -m model_zoo.films_als.golden``: regenerates golden.npz, what this recipe learns from the sample."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_zoo.datasets import sample_dataset
from model_zoo.films_als.train import train
from nearhand_converters.parity.source import SourceModel, top_rows
from nearhand_converters.sources.factors import read_factors

USERS, CASES, LENGTH, DEPTH = 500, 16, 8, 10
PATH = Path(__file__).with_name("golden.npz")


def compute(folder: Path) -> dict[str, NDArray[np.int32]]:
    """Train in ``folder`` and recommend.

    Returns:
        ``histories`` int32 [16, 8] item rows: popular films at regular distances; ``lists`` int32 [16, 10] item rows.
    """
    dataset = sample_dataset(USERS)
    train(dataset, folder)
    model = read_factors(folder / "model.npz")
    source = SourceModel(model)
    popularity = np.bincount(dataset.interactions.item, minlength=len(dataset.catalogue))
    popular = np.lexsort((np.arange(len(popularity)), -popularity))[: CASES * LENGTH]
    histories = popular.reshape(LENGTH, CASES).T.astype(np.int32)
    confidences = np.full(LENGTH, model.alpha)
    lists = [top_rows(source.scores(history, confidences), set(history.tolist()), DEPTH) for history in histories]
    return {"histories": histories, "lists": np.array(lists)}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        content = compute(Path(name))
        np.savez(PATH, histories=content["histories"], lists=content["lists"])
