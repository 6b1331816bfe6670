"""The matrix: every class, objective and option, trained, converted for every target and compared with the original.

python -m tests.conformance.matrix OUT.json    runs all rows and writes what was measured, for docs/CONVERSION.md
"""

from __future__ import annotations

import json
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from nearhand.runtime import installed_runtimes
from nearhand_converters.errors import UnsupportedModelError, UnsupportedOperatorError
from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.graph.inputs import GraphInputs, Lowering
from nearhand_converters.graph.trees.lower import tree_leaves
from nearhand_converters.parity.rows import verification_rows
from nearhand_converters.parity.tabular import Original, Parity
from nearhand_converters.sources.catboost import CatBoostSource
from nearhand_converters.sources.lightgbm import LightGBMSource
from nearhand_converters.sources.model import Rows, Source, TabularModel
from nearhand_converters.sources.sklearn import SklearnSource
from nearhand_converters.sources.xgboost import XGBoostSource
from nearhand_converters.targets.artifact import write_artifact
from tests.conformance.matrix_models import Recipe, train

_LIBRARIES: tuple[Source, ...] = (XGBoostSource(), LightGBMSource(), CatBoostSource())
SOURCES = (*_LIBRARIES, SklearnSource(_LIBRARIES))
Target: TypeAlias = Literal["onnx", "ort", "tflite"]
TARGETS: tuple[Target, ...] = ("onnx", "ort", "tflite")
ROWS = 10_000
_FILE = Path(__file__).with_name("matrix.toml")


@dataclass(frozen=True)
class Row:
    """A row of matrix.toml.

    Attributes:
        option: what else matters about it, in words.
        refused: target → the code with which it is refused there.
        rows: how many are compared.
        notes: what today's converters make of it.
    """

    recipe: Recipe
    option: str
    refused: Mapping[str, str]
    rows: int
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
        notes=given.get("notes", ""),
    )


def run(row: Row) -> dict[str, Parity | Refusal]:
    """Train, read, convert for every target, compare.

    Raises:
        ParityError: an artifact does not compute what the original does.
    """
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        trained = train(row.recipe, Path(folder))
        try:
            model = read(trained)
        except UnsupportedModelError as error:
            return dict.fromkeys(TARGETS, Refusal(error.code, str(error)))
        original = Original(model, verification_rows(model, row.rows))
        return {target: _result(original, target) for target in TARGETS}


def _result(original: Original, target: Target) -> Parity | Refusal:
    try:
        return compared(original, target)
    except UnsupportedModelError as error:
        return Refusal(error.code, str(error))
    except UnsupportedOperatorError as error:
        return Refusal("operator", str(error))


def read(trained: object) -> TabularModel:
    """A model in memory, or a file, as the one source sees it that knows it."""
    if isinstance(trained, Path):
        with trained.open("rb") as file:
            head = file.read(4096)
        (source,) = (source for source in SOURCES if source.claims(trained, head))
        return source.read(trained)
    (source,) = (source for source in SOURCES if source.adopts(trained))
    return source.adopt(trained)


def compared(original: Original, target: Target) -> Parity:
    """The model's artifact for a target, held to the rule; its leaves are those of a graph of the same lowering."""
    model = original.model
    linear = model.trees is not None and model.trees.linear is not None
    lowering: Lowering = "ranks" if target == "tflite" or linear else "operator"
    with artifact_of(model, target, lowering) as run_scores:
        if model.trees is None or not len(model.trees.column) or model.trees.is_leaf.all():
            return original.verify(run_scores, label=target)
        with artifact_of(model, target, lowering, leaves=True) as run_leaves:
            return original.verify(run_scores, label=target, leaves=lambda rows: run_leaves(rows)["leaves"])


@contextmanager
def artifact_of(
    model: TabularModel, target: Target, lowering: Lowering, *, leaves: bool = False
) -> Iterator[Callable[[Rows], dict[str, NDArray[Any]]]]:
    """Writes an artifact, loads it on its runtime, and runs it on rows."""
    runtime = installed_runtimes()["tflite" if target == "tflite" else "onnx"]()
    artifact = write_artifact(graph_of(model, lowering, leaves=leaves), target)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model.{target}"
        path.write_bytes(artifact.data)
        session = runtime.load(path)
    names = {spec.name for spec in session.inputs}

    def run_on(rows: Rows) -> dict[str, NDArray[Any]]:
        with np.errstate(over="ignore"):
            tensors = {"numbers": rows.numbers.astype(np.float32), "categories": rows.categories}
        return session.run({name: tensors[name] for name in names})

    yield run_on
    session.close()


def graph_of(model: TabularModel, lowering: Lowering, *, leaves: bool) -> onnx.ModelProto:
    """The model's graph, or the one of its leaves."""
    g = GraphBuilder("model")
    kinds = [column.kind for column in model.columns]
    numbers, categories = kinds.count("number"), kinds.count("category")
    inputs = GraphInputs(
        g.input("numbers", "float32", ["batch", numbers]) if numbers else "",
        g.input("categories", "int32", ["batch", categories]) if categories else "",
    )
    if leaves:
        assert model.trees is not None
        g.output(tree_leaves(g, model.trees, inputs, lowering), "leaves", "int32", ["batch", len(model.trees.roots)])
        return g.model()
    for name, value in model.build(g, inputs, lowering).items():
        g.output(
            value, name, "int32" if name == "label" else "float32", ["batch"] if name == "label" else ["batch", None]
        )
    return g.model()


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


def _figures(result: Parity | Refusal) -> dict[str, Any]:
    if isinstance(result, Refusal):
        return {"code": result.code, "message": result.message}
    worst = max(result.outputs, key=lambda output: output.difference)
    return {"difference": worst.difference, "tolerance": worst.tolerance, "rows": result.rows}


if __name__ == "__main__":
    main()
