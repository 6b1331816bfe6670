"""What a training of the zoo gives."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from model_zoo.datasets import sample_dataset
from nearhand_converters.data import Dataset
from nearhand_converters.errors import DataError

GOLDEN_USERS = 150
"""How many simulated users the golden outputs of a recipe are learned from."""


@dataclass(frozen=True)
class Report:
    """What was trained.

    Attributes:
        folder: where everything is that ``nearhand convert`` needs.
        said: for people, a sentence each.
        numbers: the same for programs.
    """

    folder: Path
    said: Sequence[str]
    numbers: Mapping[str, Any]


def write_recipe(package: str, out: Path, licence: str) -> Path:
    """Copy a model's recipe to ``out``, with the licence of the data that the model is trained on."""
    text = (resources.files(package) / "recipe.toml").read_text(encoding="utf-8")
    if licence:
        text = text.replace("[bundle]\n", f"[bundle]\nlicence = {json.dumps(licence, ensure_ascii=False)}\n", 1)
    path = out / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def write_rows(path: Path, names: Sequence[str], rows: NDArray[np.float64], most: int = 2000) -> None:
    """Rows of a model as Parquet, for ``nearhand convert --rows``: about so many of them, spread evenly."""
    chosen = rows[:: max(len(rows) // most, 1)]
    pq.write_table(pa.table({name: chosen[:, place] for place, name in enumerate(names)}), path)


def read_rows(path: Path) -> NDArray[np.float64]:
    """What :func:`write_rows` wrote, float64 [rows, columns]."""
    return np.stack([column.to_numpy() for column in pq.read_table(path).columns], axis=1)


def booster_golden(
    train: Callable[[Dataset, Path], object], folder: Path, rows: NDArray[np.float64] | None = None
) -> dict[str, NDArray[np.float64]]:
    """What a recipe of LightGBM learns from 150 simulated users: train in ``folder`` and score.

    Args:
        train: the recipe's.
        rows: float64 [64, columns]; None: some that the training gives.

    Returns:
        ``rows`` and ``scores`` float64 [64].
    """
    import lightgbm

    train(sample_dataset(GOLDEN_USERS), folder)
    if rows is None:
        rows = read_rows(folder / "rows.parquet")
        rows = rows[np.linspace(0, len(rows) - 1, 64).astype(int)]
    booster = lightgbm.Booster(model_file=folder / "model.txt")
    return {"rows": rows, "scores": np.asarray(booster.predict(rows), np.float64)}


def write_report(report: Report) -> Report:
    """Leave a report as ``measured.json`` in its folder, for :func:`write_card`."""
    document = {"said": report.said, **report.numbers}
    (report.folder / "measured.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return report


def write_card(card: Path, folders: Sequence[Path]) -> None:
    """Put what trainings measured in place of what stands between the marks of a card.

    Raises:
        DataError: a folder has no measurement.
    """
    lines = []
    for folder in folders:
        try:
            measured = json.loads((folder / "measured.json").read_text(encoding="utf-8"))
        except OSError as error:
            problem = f"measured.json cannot be read ({error.strerror})"
            raise DataError(problem, place=str(folder), remedy="name a folder that a training wrote") from None
        lines.append(f"- {measured['data']}: " + ". ".join(measured["said"]) + ".\n")
    text = card.read_text(encoding="utf-8")
    found = re.sub(r"(<!-- measured -->\n).*?(<!-- end -->)", lambda marks: marks[1] + "".join(lines) + marks[2], text,
                   flags=re.DOTALL)  # fmt: skip
    card.write_text(found, encoding="utf-8")
