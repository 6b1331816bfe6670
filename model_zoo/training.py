"""What a training of the zoo gives."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nearhand_converters.errors import DataError


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
