"""A conversion, comparison with the original included, beside loading the model and scoring the same rows with it."""

from __future__ import annotations

from pathlib import Path

import lightgbm
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from nearhand_converters.parity.rows import verification_rows
from nearhand_converters.recipe import TableRecipe
from nearhand_converters.registry import default_sources, read_model
from nearhand_converters.tabular import convert_tabular
from tests.benchmarks.test_trees import LEAVES, TREES, booster


@pytest.mark.parametrize("contender", ["nearhand convert, two targets", "LightGBM load and predict"])
def test_convert(benchmark: BenchmarkFixture, contender: str, tmp_path: Path) -> None:
    """10,000 rows, one thread. Reading the file, both artifacts, their leaves and outputs, and the bundle."""
    path = tmp_path / "ranker.txt"
    booster().save_model(path)
    recipe = TableRecipe(name="ranker")
    rows = verification_rows(read_model(path, default_sources()).model, recipe.rows, 0)
    benchmark.group = f"convert a ranker of {TREES} trees with {LEAVES} leaves"

    def convert() -> int:
        found = read_model(path, default_sources())
        out = tmp_path / "ranker.nearhand"
        made = convert_tabular(found.model, out, recipe, targets=["onnx", "tflite"], provenance=found.provenance)
        return made.manifest.table_models[0].parity.rows_made

    def score() -> int:
        return len(lightgbm.Booster(model_file=path).predict(rows.numbers, num_threads=1))

    work = convert if contender.startswith("nearhand") else score
    assert benchmark.pedantic(work, rounds=3) == len(rows)  # type: ignore[no-untyped-call]
