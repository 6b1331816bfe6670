"""XGBoost's files: which are known, what is read, and what is refused before the library or memory is harmed."""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

from nearhand_converters.errors import ConversionError, SourceError, UnsupportedModelError
from nearhand_converters.parity.rows import verification_rows
from nearhand_converters.sources.tree_model import TreeModel
from tests.converters.booster_checks import assert_same_as_library, predicted
from tests.converters.random_boosters import Recipe, quiet, train_xgboost
from tests.converters.xgboost_models import (
    LINEAR,
    ROWS,
    SOURCE,
    adopted,
    booster,
    category_booster,
    custom,
    fitted,
    signal,
    table,
)

# --- files ------------------------------------------------------------------------------------------------------------


def claimed(path: Path) -> bool:
    return SOURCE.claims(path, path.read_bytes()[:4096])


@pytest.mark.parametrize("form", ["json", "ubj"])
@pytest.mark.parametrize("name", ["model.{}", "MODEL.{}.backup"])
def test_a_file_is_known_by_its_content_and_read_as_it_is(tmp_path: Path, form: str, name: str) -> None:
    model = booster("multi:softprob")
    path = tmp_path / name.format(form)
    path.write_bytes(model.save_raw(form))
    before = path.read_bytes()
    assert claimed(path)
    read = SOURCE.read(path)
    assert path.read_bytes() == before
    assert isinstance(read, TreeModel)
    memory = adopted(model)
    assert (read.columns, read.link, read.task) == (memory.columns, memory.link, memory.task)
    for field in ("roots", "column", "threshold", "left", "right", "values", "output", "base"):
        np.testing.assert_array_equal(getattr(read.trees, field), getattr(memory.trees, field))
    assert_same_as_library(read, 300)


def test_a_file_of_a_wrapper_says_what_the_wrapper_is_for(tmp_path: Path) -> None:
    told = {}
    for kind in (xgboost.XGBClassifier, xgboost.XGBRegressor):
        estimator = kind(objective="binary:logistic", n_estimators=2, n_jobs=1).fit(table(), signal(table()) > 0)
        estimator.save_model(tmp_path / "model.ubj")
        told[kind] = SOURCE.read(tmp_path / "model.ubj").task
    assert told == {xgboost.XGBClassifier: "binary", xgboost.XGBRegressor: "regression"}


@pytest.mark.parametrize("content", [b"", b"{}", b'{"tree": 1}', b"tree\nversion=v4\n", b"\x80\x04\x95", b"PK\x03\x04"])
def test_other_files_are_not_claimed(tmp_path: Path, content: bytes) -> None:
    assert not SOURCE.claims(tmp_path / "model.json", content)
    assert not SOURCE.adopts(content)


def older(document: dict[str, Any], version: list[int]) -> dict[str, Any]:
    """A document as an older XGBoost wrote it: one base score, no names of categories, no rounds."""
    document["version"] = version
    document["learner"]["learner_model_param"]["base_score"] = "4E-1"
    model = document["learner"]["gradient_booster"]["model"]
    del model["cats"]
    if version[0] < 2:
        del model["iteration_indptr"]
    return document


@pytest.mark.parametrize("version", [[3, 0, 2], [2, 1, 4], [1, 7, 6]])
def test_a_file_of_an_older_xgboost_is_read_as_this_one_loads_it(tmp_path: Path, version: list[int]) -> None:
    document = older(json.loads(booster("binary:hinge").save_raw("json")), version)
    path = tmp_path / "older.json"
    path.write_text(json.dumps(document))
    model = SOURCE.read(path)
    assert_same_as_library(model, 300)
    assert model.trees is not None
    assert model.trees.base[0] == np.float32(0.4)


# --- refusals ---------------------------------------------------------------------------------------------------------


MEMORY: dict[str, tuple[Callable[[], Any], str]] = {
    "custom-objective": (lambda: fitted(xgboost.XGBRegressor, objective=custom), "objective that is a function"),
    "classifier-objective": (lambda: fitted(xgboost.XGBClassifier, objective="count:poisson"), "no probability"),
    "gblinear": (
        lambda: train_xgboost(
            Recipe("reg:squarederror", ROWS, 1, ("normal",), outputs=2, missing=-1.0, options=LINEAR)
        ),
        "stands for its missing values",
    ),
    "infinite-base": (
        lambda: xgboost.train({"objective": "count:poisson"}, xgboost.DMatrix(table(), np.zeros(ROWS), nthread=1), 1),
        "no finite score",
    ),
    "no-trees": (
        lambda: xgboost.train({"nthread": 1}, xgboost.DMatrix(table(), signal(table()), nthread=1), 0),
        "no trees",
    ),
}


@pytest.mark.parametrize("code", MEMORY)
def test_a_model_that_is_not_converted_says_which_kind_it_is(code: str) -> None:
    make, problem = MEMORY[code]
    with quiet():
        model = make()
    with pytest.raises(UnsupportedModelError, match=problem) as error:
        SOURCE.adopt(model)
    assert error.value.code == code
    assert "\n" not in str(error.value)
    assert error.value.remedy


@pytest.mark.parametrize("model", [xgboost.XGBClassifier(), xgboost.XGBRegressor(), xgboost.Booster()])
def test_an_unfitted_model_is_refused(model: Any) -> None:
    assert SOURCE.adopts(model)
    with pytest.raises(SourceError, match="not fitted"):
        SOURCE.adopt(model)


def changed(path: str, value: Any) -> bytes:
    """A model's JSON with one value changed, or without it if the new value is None."""
    document = json.loads(category_booster(7).save_raw("json"))
    *way, last = (int(step) if step.isdecimal() else step for step in path.split("/"))
    place = document
    for step in way:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return json.dumps(document).encode()


TREE = "learner/gradient_booster/model/trees/0"
SIZES = "learner/learner_model_param"
DAMAGES = {
    "columns": changed(f"{SIZES}/num_feature", "2000000000"),
    "classes": changed(f"{SIZES}/num_class", "100000"),
    "targets": changed(f"{SIZES}/num_target", "1000000000000"),
    "base score": changed(f"{SIZES}/base_score", "[1E-1,2E-1]"),
    "base score is not finite": changed(f"{SIZES}/base_score", "[NaN]"),
    "base score is no number": changed(f"{SIZES}/base_score", "[[]]"),
    "nodes": changed(f"{TREE}/tree_param/num_nodes", "2000000000"),
    "trees": changed("learner/gradient_booster/model/gbtree_model_param/num_trees", "2000000000"),
    "child": changed(f"{TREE}/left_children/0", 99999),
    "cycle": changed(f"{TREE}/left_children/0", 0),
    "parent": changed(f"{TREE}/parents/1", 99999),
    "column": changed(f"{TREE}/split_indices/0", 99999),
    "negative column": changed(f"{TREE}/split_indices/0", -1),
    "threshold": changed(f"{TREE}/split_conditions", [float("nan")] * 3),
    "category": changed(f"{TREE}/categories/0", 1 << 30),
    "category sizes": changed(f"{TREE}/categories_sizes/0", 99999),
    "category nodes": changed(f"{TREE}/categories_nodes/0", 99999),
    "types": changed("learner/feature_types/0", "text"),
    "a category column is numbers": changed("learner/feature_types/2", "float"),
    "groups": changed("learner/gradient_booster/model/tree_info/0", 7),
    "rounds": changed("learner/gradient_booster/model/iteration_indptr/1", 99999),
    "no learner": changed("learner", None),
    "a list": b'{"learner": []}',
    "text": b'{"learner"',
    "deep": b'{"learner":' + b"[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_before_anything_is_allocated(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(DAMAGES[damage])
    SOURCE.adopts(booster())  # the library is loaded
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match=r"^model\.json: is damaged \(.+\)") as error:
            SOURCE.read(path)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()
    assert "\n" not in str(error.value)


UNSUPPORTED = {
    "unknown-version": changed("version", [9, 0, 0]),
    "unknown-objective": changed("learner/objective/name", "rank:mine"),
    "old-vector-leaves": changed(f"{TREE}/tree_param/size_leaf_vector", "2"),
    "unknown-booster": changed("learner/gradient_booster/name", "gbforest"),
}


@pytest.mark.parametrize("code", UNSUPPORTED)
def test_a_file_of_an_unknown_kind_is_refused(tmp_path: Path, code: str) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(UNSUPPORTED[code])
    with pytest.raises(UnsupportedModelError, match=r"^model\.json: ") as error:
        SOURCE.read(path)
    assert error.value.code == code


@pytest.mark.parametrize("form", ["json", "ubj"])
def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path, form: str) -> None:
    data = bytes(booster("binary:hinge").save_raw(form))
    path = tmp_path / f"model.{form}"
    for size in [*range(0, 60), *range(60, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(SourceError):
            SOURCE.read(path)


@pytest.mark.parametrize(
    "claim",
    [
        b"{L\0\0\0\0\0\0\0\x07learner[$d#L\x00\x00\x02\x54\x0b\xe4\x00\x00}",  # 2.5e12 floats
        b"{L\0\0\0\0\0\0\0\x07learner[#L\x7f\xff\xff\xff\xff\xff\xff\xff}",
        b"{L\0\0\0\0\0\0\0\x07learner[$Z#L\x7f\xff\xff\xff\xff\xff\xff\xff}",  # nothing, so often
        b"{L\0\0\0\0\0\0\0\x07learnerSL\x00\x00\x02\x54\x0b\xe4\x00\x00}",
        b"{L\0\0\0\0\0\0\0\x07learner[$d#L\xff\xff\xff\xff\xff\xff\xff\xff}",
        b"{L\0\0\0\0\0\0\0\x07learner" + b"[" * 5_000,
    ],
)
def test_a_binary_file_that_claims_more_than_it_has_is_refused(tmp_path: Path, claim: bytes) -> None:
    path = tmp_path / "model.ubj"
    path.write_bytes(claim)
    assert claimed(path)
    with pytest.raises(SourceError, match="is damaged"):
        SOURCE.read(path)


@pytest.mark.parametrize("form", ["json", "ubj"])
def test_wrong_letters_are_refused_or_harmless(tmp_path: Path, form: str) -> None:
    """The library is never given what would end the process."""
    data = bytes(category_booster(7).save_raw(form))
    random = np.random.Generator(np.random.PCG64(2))
    path = tmp_path / f"model.{form}"
    refused = 0
    for _ in range(60):
        wrong = bytearray(data)
        for place in random.integers(0, len(data), 2):
            wrong[place] = random.integers(0, 256)
        path.write_bytes(wrong)
        try:
            model = SOURCE.read(path)
            predicted(model, verification_rows(model, 20))
        except ConversionError:
            refused += 1
    assert refused > 20


def test_without_the_library_the_remedy_is_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.ubj"
    path.write_bytes(booster().save_raw("ubj"))
    monkeypatch.setitem(sys.modules, "xgboost", None)
    assert not SOURCE.adopts(object())
    with pytest.raises(SourceError, match=r"pip install nearhand-converters\[xgboost\]"):
        SOURCE.read(path)


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        SOURCE.read(tmp_path / "none.json")
