"""Rankers and predictors from file to answer: convert, verify, inspect and predict as people run them."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearhand.ranking import Predictor
from nearhand_converters import TableRecipe, convert_model
from nearhand_converters.errors import SourceError
from tests.end_to_end.commands import execute, listing, on_a_terminal, run
from tests.end_to_end.table_files import TableFiles, customers, make_table_files

FILES = {"xgboost.json": "xgboost", "LightGBM model.txt": "lightgbm-model", "catboost.cbm": "catboost"}
"""File → the name that its bundle gets."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TableFiles:
    return make_table_files(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def bundle(files: TableFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the LightGBM model."""
    out = tmp_path_factory.mktemp("bundle") / "churn.nearhand"
    outcome = run(
        "convert",
        files.folder / "LightGBM model.txt",
        "--rows",
        files.folder / "rows.csv",
        "--name",
        "churn",
        "-o",
        out,
    )
    assert outcome.code == 0, outcome.err
    return out


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


# --- convert ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_library_s_own_file_becomes_a_bundle_and_stays_as_it_was(
    files: TableFiles, tmp_path: Path, name: str
) -> None:
    before = digests(files.folder)
    outcome = run("convert", files.folder / name, "-o", tmp_path, "--json")
    assert outcome.code == 0, outcome.err
    assert digests(files.folder) == before
    document = outcome.json()
    assert set(document) == {"bundle", "bytes", "measured", "models", "latency_us"}
    path = Path(document["bundle"])
    assert path.name == f"{FILES[name]}-1.0.0.nearhand"
    assert document["bytes"] == path.stat().st_size
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([path.name, Path(document["measured"]).name])
    assert set(document["latency_us"]) == {"onnx/fp32", "tflite/fp32"}
    (model,) = document["models"]
    assert model["provenance"]["source_sha256"] == before[name]
    library = FILES[name].removesuffix("-model")
    assert model["provenance"]["source"].startswith(f"{library} ")
    assert set(model["provenance"]) == {"source", "source_sha256", library}
    assert (model["role"], model["task"], model["classes"]) == ("predictor", "binary", ["0", "1"])
    assert (model["parity"]["rows_given"], model["parity"]["rows_made"]) == (0, 10_000)
    for variant in model["parity"]["variants"]:
        assert variant["labels_equal"] + variant["labels_tied"] == 10_000
        assert variant["leaves_equal"] == 6 * (10_000 if variant["runtime"] == "onnx" else 2_048)


def test_convert_for_people(files: TableFiles, tmp_path: Path) -> None:
    outcome = execute("convert", files.folder / "xgboost.json", "--target", "onnx", "-o", tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    for words in ("predictor xgboost: xgboost", "10,000 rows made from the model", "60,000 equal", f"wrote {tmp_path}"):
        assert words in outcome.out


def test_options_go_before_the_recipe(files: TableFiles, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[bundle]\nname = "stay"\nversion = "3.0.0"\nlicence = "MIT"\nrows = 50\nlowering = "ranks"\n')
    given = ["--recipe", recipe, "--bundle-version", "3.1.0", "--role", "ranker", "--target", "onnx", "-o", tmp_path]
    outcome = run("convert", files.folder / "catboost.cbm", *given, "--json")
    assert outcome.code == 0, outcome.err
    manifest = run("inspect", tmp_path / "stay-3.1.0.nearhand", "--json").json()
    assert (manifest["name"], manifest["version"], manifest["licence"]) == ("stay", "3.1.0", "MIT")
    (model,) = manifest["models"]
    assert (model["role"], model["parity"]["rows_made"]) == ("ranker", 50)
    assert "TreeEnsembleRegressor" not in model["variants"][0]["operators"]


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_rows_of_the_engineers_own(files: TableFiles, tmp_path: Path, name: str) -> None:
    given = ["--rows", files.folder / name, "--target", "onnx", "-o", tmp_path / "a.nearhand"]
    outcome = run("convert", files.folder / "xgboost.json", *given)
    assert outcome.code == 0, outcome.err
    assert f"40 rows of {name} (not read: its columns customer); 10,000 rows made" in outcome.out


def test_progress_on_a_terminal(files: TableFiles, tmp_path: Path) -> None:
    outcome, shown = on_a_terminal(
        "convert", files.folder / "xgboost.json", "--target", "onnx", "-o", tmp_path, "--json"
    )
    assert outcome.code == 0
    assert outcome.json()["bytes"] > 0
    for stage in (b"original model", b"conversion and comparison"):
        assert stage in shown


def test_the_same_bytes_whatever_the_hash_seed(files: TableFiles, tmp_path: Path) -> None:
    made = []
    for seed in ("0", "77"):
        out = tmp_path / seed
        given = ["--rows", files.folder / "rows.csv", "-o", out]
        assert execute("convert", files.folder / "LightGBM model.txt", *given, PYTHONHASHSEED=seed).code == 0
        made.append((out / "lightgbm-model-1.0.0.nearhand").read_bytes())
    assert made[0] == made[1]


def test_an_artifact_that_computes_something_else_is_exit_code_1(
    files: TableFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nearhand.runtime.onnx import _OnnxSession

    real = _OnnxSession.run

    def wrong(self: Any, tensors: Any) -> Any:
        found = real(self, tensors)
        if "probability" in found:
            found["probability"][0, 0] += 1e-4
        return found

    monkeypatch.setattr(_OnnxSession, "run", wrong)
    before = listing(tmp_path)
    outcome = run("convert", files.folder / "xgboost.json", "-o", tmp_path / "out", "--json")
    assert outcome.code == 1
    (line,) = outcome.err.splitlines()
    assert line.startswith("error: onnx/fp32: probability is ")
    assert "nothing is written" in line
    assert outcome.json()["error"]["type"] == "ParityError"
    assert listing(tmp_path) == before


# --- verify, inspect -------------------------------------------------------------------------------------------------


def test_verify_runs_the_golden_vectors_of_every_variant(bundle: Path) -> None:
    outcome = run("verify", bundle, "--json")
    assert outcome.code == 0
    assert outcome.json() == {
        "bundle": "churn",
        "version": "1.0.0",
        "valid": True,
        "golden": {"churn onnx/fp32": "passed", "churn tflite/fp32": "passed"},
    }
    assert run("verify", bundle).out.count("passed") == 2


def test_golden_vectors_that_differ_are_exit_code_1(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nearhand.runtime.onnx import _OnnxSession

    real = _OnnxSession.run
    monkeypatch.setattr(
        _OnnxSession, "run", lambda self, tensors: {name: out * 2 for name, out in real(self, tensors).items()}
    )
    outcome = run("verify", bundle, "--json")
    assert outcome.code == 1
    golden = outcome.json()["golden"]
    assert "golden row " in golden["churn onnx/fp32"]
    assert golden["churn tflite/fp32"] == "passed"


def test_inspect_is_the_manifest(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        assert run("inspect", bundle, "--json").out.encode() == archive.read("manifest.json")
    people = run("inspect", bundle)
    assert people.code == 0
    for words in (
        "predictor churn: lightgbm",
        "classes 0, 1",
        "3: basic, family, gold",
        "numbers are given as ranks among",
        "40 rows of rows.csv (not read: its columns customer); 10,000 rows made from the model",
        "predictor (churn) on tflite needs",
    ):
        assert words in people.out, words


def test_a_bundle_that_only_predicts_does_not_recommend(bundle: Path) -> None:
    outcome = run("recommend", bundle, "--json")
    assert outcome.code == 2
    assert "makes no recommendations" in outcome.err
    assert outcome.json()["error"]["type"] == "UsageError"


# --- predict ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
@pytest.mark.parametrize("runtime", ["onnx", "tflite"])
def test_predictions_are_those_of_the_library(files: TableFiles, bundle: Path, name: str, runtime: str) -> None:
    outcome = run("predict", bundle, "--rows", files.folder / name, "--runtime", runtime, "--json")
    assert outcome.code == 0, outcome.err
    document = outcome.json()
    assert document["model"]["name"] == "churn"
    assert document["model"]["runtime"].startswith(runtime)
    assert document["rows"] == 40
    probability = np.array(document["outputs"]["probability"])
    np.testing.assert_allclose(probability[:, 1], files.original, rtol=1e-5)
    assert document["labels"] == ["1" if p > 0.5 else "0" for p in files.original]
    assert document["classes"] == ["0", "1"]


def test_predict_for_people(files: TableFiles, bundle: Path) -> None:
    outcome = run("predict", bundle, "--rows", files.folder / "rows.csv", "--model", "churn")
    assert outcome.code == 0
    assert "predictor churn on onnx" in outcome.out
    assert "… 20 more rows" in outcome.out


def test_numbers_that_json_does_not_have_are_null(tmp_path: Path) -> None:
    from tests.converters.table_models import Affine
    from tests.converters.test_tabular import convert

    path = convert(Affine(), tmp_path, targets=["onnx"]).path
    (tmp_path / "rows.csv").write_text("monthly,plan,months\n,café,1\n1e39,,1\n2,basic,0\n", encoding="utf-8")
    outcome = run("predict", path, "--rows", tmp_path / "rows.csv", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json()["outputs"] == {"value": [[None], [None], [2.0]]}
    assert "NaN" not in outcome.out


# --- from memory -----------------------------------------------------------------------------------------------------


def test_a_model_in_memory(tmp_path: Path) -> None:
    import pickle

    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame, leaves = customers()
    frame = frame.assign(plan=frame["plan"].astype(str)).fillna({"months": 0.0})
    columns = make_column_transformer(
        (StandardScaler(), ["monthly", "months"]), (OneHotEncoder(handle_unknown="ignore"), ["plan"])
    )
    model = make_pipeline(columns, LogisticRegression()).fit(frame, np.where(leaves, "leaves", "stays"))
    before = pickle.dumps(model)
    recipe = TableRecipe(name="churn", version="2.0.0", rows=500)
    converted = convert_model(model, tmp_path, recipe, sample=frame[:30])
    assert pickle.dumps(model) == before
    assert converted.path == tmp_path / "churn-2.0.0.nearhand"
    (described,) = converted.manifest.table_models
    assert (described.parity.rows_given, described.parity.rows_made) == (30, 500)
    assert described.classes == ("leaves", "stays")
    with Predictor.open(converted.path, tmp_path / "data") as predictor:
        found = predictor.predict({name: frame[name] for name in frame})
    assert list(found.labels) == model.predict(frame).tolist()
    np.testing.assert_allclose(found["probability"], model.predict_proba(frame), atol=1e-6)


def test_something_in_memory_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"builtins\.dict is not a model that we convert; give a fitted model or pip"):
        convert_model({}, tmp_path)


def test_the_package_s_door() -> None:
    import nearhand_converters

    assert nearhand_converters.__all__ == ["TableRecipe", "convert_model", "merge_bundles"]
    with pytest.raises(AttributeError):
        _ = nearhand_converters.convert_modle
