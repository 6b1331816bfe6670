"""What a training of the zoo gives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any


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
