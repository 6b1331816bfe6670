"""The matrix: every class, objective and option, trained, converted for every target and compared with the original.

python -m tests.conformance.matrix OUT.json    runs all rows and writes what was measured, for docs/CONVERSION.md
"""

from __future__ import annotations

import json
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args
from unittest import mock

from threadpoolctl import threadpool_limits

from nearhand.bundle.schema import RuntimeName
from nearhand.bundle.tables import VariantParity
from nearhand_converters import tabular
from nearhand_converters.errors import UnsupportedModelError, UnsupportedOperatorError
from nearhand_converters.recipe import TableRecipe
from nearhand_converters.registry import adopt_model, default_sources, read_model
from nearhand_converters.sources.model import TabularModel
from tests.conformance.matrix_data import Recipe
from tests.conformance.matrix_models import train

TARGETS: tuple[RuntimeName, ...] = get_args(RuntimeName)
ROWS = 10_000
_FILE = Path(__file__).with_name("matrix.toml")


@dataclass(frozen=True)
class Row:
    """A row of matrix.toml.

    Attributes:
        option: what else matters about it, in words.
        refused: target → the code with which it is refused there.
        rows: how many are compared.
        allow_pickle: whether a file may run code.
        notes: what today's converters make of it.
    """

    recipe: Recipe
    option: str
    refused: Mapping[str, str]
    rows: int
    allow_pickle: bool
    notes: str

    @property
    def id(self) -> str:
        """Names the row in tests and in what was measured."""
        return " ".join(filter(None, (self.recipe.library, self.recipe.name, self.recipe.objective, self.option)))


@dataclass(frozen=True)
class Refusal:
    """Why a row does not convert."""

    code: str
    message: str


def read_matrix() -> tuple[Row, ...]:
    document = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return tuple(_row(library, given) for library, section in document.items() for given in section["rows"])


def _row(library: str, given: dict[str, Any]) -> Row:
    table, target = given["data"].split()
    everywhere = dict.fromkeys(TARGETS, given["refused"]) if "refused" in given else {}
    return Row(
        recipe=Recipe(
            library=library,
            name=given["class"],
            objective=given["objective"],
            table=table,
            target=target,
            options=given.get("set", {}),
            make=given.get("make", ""),
            file=given.get("file", ""),
        ),
        option=given.get("option", ""),
        refused={**everywhere, **{name: given[name] for name in TARGETS if name in given}},
        rows=given.get("rows", ROWS),
        allow_pickle=given.get("allow_pickle", False),
        notes=given.get("notes", ""),
    )


def run(row: Row) -> dict[RuntimeName, VariantParity | Refusal]:
    """Train, convert for every target as the product does, and what it measured or why it refused.

    Raises:
        ParityError: an artifact does not compute what the original does.
    """
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        trained = train(row.recipe, Path(folder))
        try:
            return _converted(trained, row, TARGETS, Path(folder))
        except (UnsupportedModelError, UnsupportedOperatorError):  # by which of the targets?
            return {target: _alone(trained, row, target, Path(folder)) for target in TARGETS}


def read(trained: object, *, allow_pickle: bool = False) -> TabularModel:
    """A model in memory, or a file."""
    sources = default_sources(allow_pickle=allow_pickle)
    found = read_model(trained, sources) if isinstance(trained, Path) else adopt_model(trained, sources)
    return found.model


def _alone(trained: object, row: Row, target: RuntimeName, folder: Path) -> VariantParity | Refusal:
    try:
        return _converted(trained, row, (target,), folder)[target]
    except UnsupportedModelError as error:
        return Refusal(error.code, str(error))
    except UnsupportedOperatorError as error:
        return Refusal("operator", str(error))


def _converted(
    trained: object, row: Row, targets: Sequence[RuntimeName], folder: Path
) -> dict[RuntimeName, VariantParity | Refusal]:
    model = read(trained, allow_pickle=row.allow_pickle)
    recipe, out = TableRecipe(rows=row.rows), folder / "model.nearhand"
    # A conversion saves time on the leaves of the slower lowering; here they are compared on every row.
    with mock.patch.object(tabular, "LEAF_ROWS", row.rows):
        conversion = tabular.convert_tabular(model, out, recipe, targets=targets, provenance={})
    (described,) = conversion.manifest.table_models
    assert described.parity.rows_made == row.rows
    if model.trees is not None:
        leaves = row.rows * len(model.trees.roots)
        assert {variant.leaves_equal for variant in described.parity.variants} == {leaves}
    return {variant.runtime: variant for variant in described.parity.variants}


def main() -> None:
    """What was measured, a list of rows in the matrix's order."""
    (out,) = sys.argv[1:]
    measured = []
    for row in read_matrix():
        print(row.id, file=sys.stderr)
        recipe = row.recipe
        measured.append(
            {
                "library": recipe.library,
                "class": recipe.name,
                "objective": recipe.objective,
                "option": row.option,
                "notes": row.notes,
                "targets": {target: _figures(result) for target, result in run(row).items()},
            }
        )
    Path(out).write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _figures(result: VariantParity | Refusal) -> dict[str, Any]:
    if isinstance(result, Refusal):
        return {"code": result.code, "message": result.message}
    worst = max(result.outputs, key=lambda output: output.largest_difference, default=None)
    if worst is None:  # labels alone
        return {"difference": 0.0, "tolerance": 0.0}
    return {"difference": float(worst.largest_difference), "tolerance": float(worst.tolerance)}


if __name__ == "__main__":
    main()
