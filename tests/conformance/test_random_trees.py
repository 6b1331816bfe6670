"""Random models of every tree library, with random options and data, converted as the product does.

Columns are constant, huge, tiny, on a grid, neighbours of one another, missing; trees are one leaf or 20 deep; there
are up to 1,000 categories. ONNX has the operator for trees and TFLite the ranks, so that both lowerings are compared;
the graphs read numbers, or the ranks that the device makes of them. The strategies are those of the sources' tests.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nearhand_converters.recipe import TableRecipe
from nearhand_converters.tabular import convert_tabular
from tests.conformance.matrix import read
from tests.converters import random_boosters, random_forests

ROWS = 600


@dataclass(frozen=True)
class Library:
    """Where random models of a library come from.

    Attributes:
        examples: a strategy of what ``train`` makes a model of, or the file of one in a folder.
        share: how many of 300 models are of this library.
    """

    examples: Callable[[], st.SearchStrategy[Any]]
    train: Callable[[Any, Path], Any]
    share: int


def _catboost_file(fitted: random_forests.Fitted, folder: Path) -> Path:
    """The form that holds the texts of the categories, too."""
    import catboost

    path = folder / "model.json"
    table = fitted.data.table
    texts = list(range(fitted.data.numbers.shape[1], table.shape[1]))
    pool = catboost.Pool(table, cat_features=texts or None, thread_count=1)
    fitted.estimator.save_model(str(path), format="json", pool=pool)
    return path


LIBRARIES = {
    "xgboost": Library(random_boosters.xgboost_recipes, lambda given, _: random_boosters.train_xgboost(given), 90),
    "lightgbm": Library(random_boosters.lightgbm_recipes, lambda given, _: random_boosters.train_lightgbm(given), 90),
    "scikit-learn": Library(random_forests.sklearn_models, lambda fitted, _: fitted.estimator, 70),
    "catboost": Library(random_forests.catboost_models, _catboost_file, 50),
}


def test_three_hundred_models_are_compared_in_every_run() -> None:
    assert sum(library.share for library in LIBRARIES.values()) == 300


# Strategies train, and libraries that train use Python's own random numbers.
_trains_in_strategies = pytest.mark.filterwarnings(
    "ignore:Do not use the `random` module inside strategies:hypothesis.errors.HypothesisDeprecationWarning"
)


@_trains_in_strategies
@pytest.mark.parametrize("name", LIBRARIES)
def test_a_random_model_is_computed_as_its_library_computes_it(name: str) -> None:
    _compare(LIBRARIES[name], LIBRARIES[name].share)


@pytest.mark.torture
@_trains_in_strategies
@pytest.mark.parametrize("name", LIBRARIES)
def test_ten_thousand_random_models_are_computed_as_their_libraries_compute_them(name: str) -> None:
    _compare(LIBRARIES[name], LIBRARIES[name].share * 10_000 // 300 + 1)


def _compare(library: Library, models: int) -> None:
    @settings(
        max_examples=models,
        phases=(Phase.explicit, Phase.generate),  # an example is a line to read; to shrink one takes minutes
        suppress_health_check=list(HealthCheck),
    )
    @given(library.examples(), st.sampled_from(["auto", "values"]))
    def holds(example: Any, inputs: Literal["auto", "values"]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            model = read(library.train(example, Path(folder)))
            recipe = TableRecipe(rows=ROWS, inputs=inputs)
            out = Path(folder) / "model.nearhand"
            conversion = convert_tabular(model, out, recipe, targets=("onnx", "tflite"), provenance={})
        (described,) = conversion.manifest.table_models
        assert described.parity.rows_made == ROWS
        assert {variant.runtime for variant in described.parity.variants} == {"onnx", "tflite"}

    holds()
