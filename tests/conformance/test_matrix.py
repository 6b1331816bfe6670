"""Every row of the matrix is trained, converted for every target and held to the rule, or refused as the row says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nearhand_converters.sources.catboost import losses as catboost
from nearhand_converters.sources.lightgbm import objectives as lightgbm
from nearhand_converters.sources.sklearn import SklearnSource
from nearhand_converters.sources.sklearn_trees import door
from nearhand_converters.sources.xgboost import objectives as xgboost
from tests.conformance.matrix import TARGETS, Refusal, Row, read_matrix, run

MATRIX = read_matrix()
PAGE = (Path(__file__).parents[2] / "docs" / "CONVERSION.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in MATRIX])
def test_a_row_converts_as_the_original_computes_or_is_refused_as_it_says(row: Row) -> None:
    found = run(row)
    assert {target: result.code for target, result in found.items() if isinstance(result, Refusal)} == row.refused
    for refusal in (result for result in found.values() if isinstance(result, Refusal)):
        problem, _, remedy = refusal.message.partition("; ")
        assert remedy
        assert f"| `{refusal.code}` | {problem}; " in PAGE, "run `make docs`"


def test_enough_classes_and_objectives_convert_for_onnx_and_for_tflite() -> None:
    converted = {
        (row.recipe.library, row.recipe.name, row.recipe.objective)
        for row in MATRIX
        if not {"onnx", "tflite"} & set(row.refused)
    }
    assert len(converted) >= 45


def test_rows_are_named_once_each_and_few_compare_less_than_the_whole() -> None:
    assert len({row.id for row in MATRIX}) == len(MATRIX)
    assert sum(row.rows < 10_000 for row in MATRIX) <= 5


@pytest.mark.parametrize(
    ("library", "known"),
    [
        ("xgboost", set(xgboost.OBJECTIVES)),
        ("lightgbm", set(lightgbm._OBJECTIVES)),
        # What is the user's own is one row.
        ("catboost", {name for name in (*catboost._PREDICTIONS, *catboost._REFUSED) if "User" not in name}),
    ],
)
def test_every_objective_that_a_source_knows_has_a_row(library: str, known: set[str]) -> None:
    assert known
    rows = {row.recipe.objective for row in MATRIX if row.recipe.library == library}
    assert known <= (rows if library != "catboost" else {objective.partition(":")[0] for objective in rows})


def test_every_class_of_scikit_learn_that_is_known_has_a_row() -> None:
    """A transformer, which stands in a pipeline, is named in the row's option."""
    ids = [row.id for row in MATRIX if row.recipe.library == "scikit-learn"]
    registry = SklearnSource()._registry
    trees = {path.rpartition(".")[2] for path in (*door._READERS, *door._REFUSED)}
    known = {*registry.transformers, *registry.models, *registry.refused, *trees} - {"_ConstantPredictor"}
    assert len(known) > 100
    assert [name for name in sorted(known) if not any(re.search(rf"\b{name}\b", text) for text in ids)] == []


@pytest.mark.parametrize(
    ("library", "note", "rows"),
    [
        ("xgboost", "onnxmltools: off by 6.2", {"Booster rank:ndcg"}),
        ("xgboost", "onnxmltools: off by 6.0", {"XGBRegressor reg:logistic"}),
        ("xgboost", "onnxmltools: off by 4.3", {"XGBClassifier binary:hinge"}),
        ("xgboost", "onnxmltools: off by 13.8", {"XGBRegressor reg:squarederror"}),
        ("xgboost", "onnxmltools: refused", {"XGBRanker rank:ndcg", "XGBClassifier binary:logistic"}),
        ("lightgbm", "onnxmltools: off by 3.7", {"LGBMRegressor regression"}),
        ("lightgbm", "onnxmltools: off by 1.3", {"LGBMRegressor regression"}),
        ("lightgbm", "onnxmltools: off by 0.86", {"LGBMRegressor regression", "LGBMClassifier binary"}),
        ("lightgbm", "onnxmltools: off by 0.84", {"LGBMRegressor regression"}),
        (
            "lightgbm",
            "onnxmltools: a row exactly on a threshold goes the wrong way",
            {"LGBMRegressor regression"},
        ),
        ("catboost", "its own ONNX export: refused", {"CatBoostRegressor RMSE", "CatBoostClassifier MultiClass"}),
    ],
)
def test_what_other_converters_get_wrong_or_refuse_converts(library: str, note: str, rows: set[str]) -> None:
    converts = {
        f"{row.recipe.name} {row.recipe.objective}"
        for row in MATRIX
        if row.recipe.library == library and row.notes == note and not row.refused
    }
    assert rows <= converts


def test_the_page_has_the_rows_of_the_matrix() -> None:
    cells = r" \| (\S+)" * len(TARGETS)
    found = re.findall(rf"^\| (.+) \| (.+) \| (.*){cells} \| (?:\S+ of \S+|none)? \|$", PAGE, re.MULTILINE)
    expected = []
    for row in MATRIX:
        results = [f"`{row.refused[target]}`" if target in row.refused else "yes" for target in TARGETS]
        option = f"{row.option} ({row.notes})".strip() if row.notes else row.option
        expected.append((row.recipe.name, row.recipe.objective, option, *results))
    assert found == expected, "run `make docs`"
