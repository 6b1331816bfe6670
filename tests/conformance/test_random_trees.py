"""Random models of every tree library, with random options and data, in both lowerings and on both runtimes.

Columns are constant, huge, tiny, on a grid, neighbours of one another, missing; trees are one leaf or 20 deep; there
are up to 1,000 categories. The strategies are those that the sources are tested with.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nearhand_converters.parity.rows import verification_rows
from nearhand_converters.parity.tabular import Original
from nearhand_converters.sources.model import TabularModel
from tests.conformance.matrix import compared, read
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


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_random_model_is_computed_as_its_library_computes_it(name: str) -> None:
    _compare(LIBRARIES[name], LIBRARIES[name].share)


@pytest.mark.torture
@pytest.mark.parametrize("name", LIBRARIES)
def test_ten_thousand_random_models_are_computed_as_their_libraries_compute_them(name: str) -> None:
    _compare(LIBRARIES[name], LIBRARIES[name].share * 10_000 // 300 + 1)


def _compare(library: Library, models: int) -> None:
    @settings(
        max_examples=models,
        # A model is a second to shrink and a line to read.
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(library.examples())
    def holds(example: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            _hold_to_the_rule(read(library.train(example, Path(folder))))

    holds()


def _hold_to_the_rule(model: TabularModel) -> None:
    original = Original(model, verification_rows(model, ROWS))
    assert compared(original, "onnx").rows == ROWS
    assert compared(original, "tflite").rows == ROWS
