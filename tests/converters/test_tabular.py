"""Rankers and predictors: what a conversion writes, what it proves, and that a refusal writes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearhand import Config, UsageError, __version__
from nearhand.bundle import install_bundle, verify_bundle
from nearhand.bundle.schema import RuntimeName
from nearhand.bundle.tables import Column
from nearhand.errors import NearhandError, RuntimeUnavailableError, StorageError
from nearhand.ranking import Predictor
from nearhand_converters import convert_model
from nearhand_converters.errors import DataError, ParityError, UnsupportedModelError
from nearhand_converters.output import Conversion, read_measured
from nearhand_converters.recipe import TableRecipe, read_table_recipe
from nearhand_converters.registry import adopt_model, default_sources
from nearhand_converters.sources.model import InputColumn, Rows, TabularModel
from nearhand_converters.tabular import Sample, convert_tabular
from tests.converters.table_models import BIG, OF_PLAN, WEIGHTS, Affine, fine_model, fine_trees

ROOT = Path(__file__).parents[2]
TARGETS: tuple[RuntimeName, ...] = ("onnx", "tflite")
RECIPE = TableRecipe(name="churn", version="1.2.0", licence="CC0-1.0", rows=300)


def convert(
    model: TabularModel, out: Path, recipe: TableRecipe = RECIPE, targets: Sequence[RuntimeName] = TARGETS, **more: Any
) -> Conversion:
    return convert_tabular(model, out, recipe, targets=targets, provenance={"library": "1.0"}, **more)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go while the test runs; its own, so that it can be seen to be empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


# --- what is written -------------------------------------------------------------------------------------------------


def test_the_bundle_is_one_that_the_sdk_accepts(tmp_path: Path, temporary: Path) -> None:
    converted = convert(Affine(), tmp_path / "out")
    assert converted.path == tmp_path / "out" / "churn-1.2.0.nearhand"
    manifest = verify_bundle(converted.path, sdk_version=__version__)
    assert manifest == converted.manifest
    assert (manifest.name, manifest.version, manifest.licence) == ("churn", "1.2.0", "CC0-1.0")
    (model,) = manifest.table_models
    assert (model.role, model.name, model.kind, model.task) == ("predictor", "churn", "graph", "regression")
    assert (model.encoding, model.ranks) == ("values", None)
    assert model.columns == (
        Column("monthly", "number"), Column("plan", "category", "churn.plan"), Column("months", "number")
    )  # fmt: skip
    assert model.provenance == {"source": "made for tests", "library": "1.0"}
    assert [(variant.runtime, variant.precision) for variant in model.variants] == [(t, "fp32") for t in TARGETS]
    assert [spec.name for spec in model.outputs] == ["value"]
    assert {"nearhand", "numpy", "onnx", "onnx_runtime", "tflite_runtime"} == set(manifest.provenance)
    slot = install_bundle(converted.path, tmp_path / "slots", sdk_version=__version__)
    assert slot.vocabularies() == {"churn.plan": ("basic", "café")}
    assert set(read_measured(converted.path)) == {"onnx/fp32", "tflite/fp32"}
    assert not list(temporary.iterdir())


def test_the_evidence_says_what_was_compared(tmp_path: Path) -> None:
    (model,) = convert(Affine("binary"), tmp_path).manifest.table_models
    parity = model.parity
    assert (parity.rows_given, parity.rows_made) == (0, 300)
    assert parity.description.startswith("300 rows made from the model")
    assert parity.description.endswith("; numbers rounded to float32")
    for variant in parity.variants:
        assert variant.labels_equal + variant.labels_tied == 300
        assert variant.labels_tied < 10
        assert variant.leaves_equal == 0
        (score,) = variant.outputs
        assert score.output == "score"
        assert score.largest_difference <= score.tolerance
        assert 0 < score.largest_relative_difference < Decimal("0.001")


def test_rows_of_the_engineers_own_are_compared_too(tmp_path: Path) -> None:
    given = Rows(np.array([[50.0, 0.1], [np.nan, 3.0]]), np.array([[2], [0]], np.int32))
    (model,) = convert(Affine(), tmp_path, sample=Sample(given, "rows.csv")).manifest.table_models
    assert (model.parity.rows_given, model.parity.rows_made) == (2, 300)
    assert model.parity.description.startswith("2 rows of rows.csv; 300 rows made from the model")


@pytest.mark.parametrize(
    ("task", "role", "expected"),
    [("ranking", "", "ranker"), ("ranking", "predictor", "predictor"), ("regression", "ranker", "ranker")],
)
def test_the_role(tmp_path: Path, task: Any, role: Any, expected: str) -> None:
    (model,) = convert(Affine(task), tmp_path, replace(RECIPE, role=role), ["onnx"]).manifest.table_models
    assert model.role == expected


@pytest.mark.parametrize("target", TARGETS)
def test_the_device_answers_as_the_original_does(tmp_path: Path, target: RuntimeName) -> None:
    converted = convert(Affine("binary"), tmp_path)
    with Predictor.open(converted.path, tmp_path / "data", config=Config(runtime=target)) as predictor:
        found = predictor.predict({"monthly": [1.0, 2.0, -3.0], "plan": ["café", "gold", None], "months": [0.5, 4, 0]})
    expected = np.array([[1.0, 0.5], [2.0, 4.0], [-3.0, 0.0]]) @ WEIGHTS + OF_PLAN[[3, 1, 0]]
    np.testing.assert_allclose(found["score"], expected, rtol=1e-6)
    assert found.labels == ("yes", "no", "no")


def test_what_the_original_refuses_the_device_refuses(tmp_path: Path) -> None:
    model = Affine(missing_allowed=False, unknown_allowed=False)
    converted = convert(model, tmp_path, targets=["onnx"])
    assert all(not (column.missing or column.unknown) for column in converted.manifest.table_models[0].columns)
    with Predictor.open(converted.path, tmp_path / "data") as predictor:
        with pytest.raises(UsageError, match="column 'plan', row 0: 'gold' is unknown, and the model refuses that"):
            predictor.predict({"monthly": 1.0, "plan": "gold", "months": 1.0})
        with pytest.raises(UsageError, match="column 'months', row 0: is missing, and the model refuses that"):
            predictor.predict({"monthly": 1.0, "plan": "basic", "months": None})


# --- ranks -----------------------------------------------------------------------------------------------------------

SECONDS = [BIG - 1, BIG, np.nextafter(BIG + 0.5, 0), BIG + 0.5, np.nextafter(BIG + 0.5, 2 * BIG), BIG + 1, BIG + 1.5]
SECONDS += [np.nextafter(BIG + 1.5, 2 * BIG), BIG + 2, np.nan, np.inf, -np.inf]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("lowering", ["operator", "ranks"])
def test_float64_thresholds_hold_on_the_device(tmp_path: Path, target: RuntimeName, lowering: Any) -> None:
    model = fine_model("binary")
    converted = convert(model, tmp_path, replace(RECIPE, lowering=lowering), [target])
    (described,) = converted.manifest.table_models
    assert (described.encoding, described.kind) == ("ranks", "trees")
    assert described.ranks is not None
    assert described.ranks.counts == (2, 1)
    assert "thresholds such as 0.1 of 'share' are no float32" in described.ranks.reason or (
        "thresholds such as 1600000000.5 of 'opened' are no float32" in described.ranks.reason
    )
    (variant,) = described.parity.variants
    assert variant.leaves_equal == 2 * 300
    assert "rounded" not in described.parity.description
    shares = [np.nextafter(0.1, 0), 0.1, np.nextafter(0.1, 1), np.nan]
    table: dict[str, Any] = {"opened": SECONDS * 4, "plan": "basic", "share": np.repeat(shares, len(SECONDS))}
    rows = Rows(np.array([SECONDS * 4, table["share"].tolist()]).T, np.full((len(SECONDS) * 4, 1), 2, np.int32))
    with Predictor.open(converted.path, tmp_path / "data") as predictor:
        found = predictor.predict(table)
    expected = np.array(model.predict(rows)["probability"], np.float64)
    np.testing.assert_allclose(found["probability"], expected, atol=1e-6)
    assert len({probability for _, probability in found["probability"].tolist()}) == 6


def test_the_recipe_may_ask_for_numbers_as_they_are(tmp_path: Path) -> None:
    """For a graph that is used without the SDK; the comparison is on numbers that float32 has, and says so."""
    (model,) = convert(fine_model(), tmp_path, replace(RECIPE, inputs="values"), ["onnx"]).manifest.table_models
    assert (model.encoding, model.ranks) == ("values", None)
    assert model.parity.description.endswith("; numbers rounded to float32")


def test_rows_of_the_engineers_own_are_rounded_where_the_device_rounds(tmp_path: Path) -> None:
    """Unrounded, the second after ``BIG`` would reach another leaf in the original than the graph can know."""
    sample = Sample(Rows(np.array([[BIG + 1, 0.5]]), np.array([[2]], np.int32)), "rows.csv")
    recipe = replace(RECIPE, inputs="values")
    (model,) = convert(fine_model(), tmp_path, recipe, ["onnx"], sample=sample).manifest.table_models
    assert model.parity.rows_given == 1


def test_thresholds_that_float32_has_need_no_ranks(tmp_path: Path) -> None:
    trees = fine_trees()
    coarse = replace(trees, threshold=trees.threshold.astype(np.float32).astype(np.float64))
    (model,) = convert(fine_model(trees=coarse), tmp_path, targets=["onnx"]).manifest.table_models
    assert model.encoding == "values"


# --- golden vectors --------------------------------------------------------------------------------------------------


def golden_of(converted: Conversion, folder: Path) -> Any:
    slot = install_bundle(converted.path, folder / "slots", sdk_version=__version__)
    return slot.table_golden(converted.manifest.table_models[0])


def test_golden_vectors_are_the_originals_answers(tmp_path: Path) -> None:
    golden = golden_of(convert(Affine("binary"), tmp_path, targets=["onnx"]), tmp_path)
    assert len(golden.numbers) == RECIPE.golden_rows
    rows = Rows(np.array(golden.numbers, np.float64), np.array(golden.categories, np.int32))
    scores = np.array(golden.outputs["score"], np.float64)
    expected = Affine("binary").predict(rows)
    np.testing.assert_allclose(scores, np.array(expected["score"], np.float64), rtol=1e-8)
    assert [int(label) for (label,) in golden.outputs["label"]] == expected["label"].tolist()
    assert golden.tolerances["label"] == 0
    assert (np.abs(scores) > 1e-4).all(), "no label hangs on the last bit"
    assert 0 < golden.tolerances["score"] < Decimal("0.0001") * Decimal(float(np.abs(scores).max()))


def test_missing_values_are_among_the_golden_vectors_where_the_model_takes_them(tmp_path: Path) -> None:
    golden = golden_of(convert(fine_model(), tmp_path, targets=["onnx"]), tmp_path)
    assert any(None in row for row in golden.numbers)
    found = [float(number) for row in golden.numbers for number in row if number is not None]
    assert any(number != float(np.float32(number)) for number in found), "and float64 numbers, for ranks"


def test_a_model_that_cannot_decide_has_no_golden_labels(tmp_path: Path) -> None:
    trees = replace(fine_trees(), values=np.zeros((10, 1)), base=np.zeros(1))
    converted = convert(fine_model("binary", trees), tmp_path, targets=["onnx"])
    assert golden_of(converted, tmp_path).tolerances["label"] > 1
    Predictor.open(converted.path, tmp_path / "data").close()


# --- refusals --------------------------------------------------------------------------------------------------------


class NotFinite(Affine):
    def predict(self, rows: Rows) -> Any:
        return {"value": np.full((len(rows), 1), np.nan)}


def _renamed(*names: str) -> Affine:
    kinds = (("number", ()), ("category", ("basic", "café")), ("number", ()))
    return Affine(columns=tuple(InputColumn(n, k, c) for n, (k, c) in zip(names, kinds, strict=True)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (Affine(wrong=0.01), ParityError, "onnx/fp32: value is "),
        (Affine("binary", wrong_label=True), ParityError, "onnx/fp32: the label is "),
        (_renamed("a", "b", "a"), UnsupportedModelError, "columns: two columns have one name, or one has none"),
        (_renamed("a", "", "b"), UnsupportedModelError, "columns: two columns have one name, or one has none"),
        (Affine(columns=(InputColumn("n", "number"), InputColumn("p", "category", ("a", "a")),
                         InputColumn("m", "number"))), UnsupportedModelError, "column 'p': two categories have one te"),
    ],
    ids=["wrong-number", "wrong-label", "one-name-twice", "no-name", "one-category-twice"],
)  # fmt: skip
def test_a_refusal_writes_nothing(
    tmp_path: Path, temporary: Path, model: Affine, error: type[NearhandError], message: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(error) as refusal:
        convert(model, out)
    assert str(refusal.value).startswith(message)
    assert refusal.value.remedy
    assert not out.exists()
    assert not list(temporary.iterdir())


def test_one_wrong_target_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the second runtime's result is off by more than the rule allows, for a single row."""
    from nearhand.runtime.tflite import _TFLiteSession

    real = _TFLiteSession.run

    def wrong(self: Any, tensors: Any) -> Any:
        outputs = real(self, tensors)
        outputs["value"][-1] *= 1.001
        return outputs

    monkeypatch.setattr(_TFLiteSession, "run", wrong)
    with pytest.raises(ParityError, match="tflite/fp32: value is"):
        convert(Affine(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    convert(Affine(), tmp_path / "out", targets=["onnx"])


def test_a_missing_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nearhand_converters.output.installed_runtimes", dict)
    with pytest.raises(RuntimeUnavailableError, match=r"pip install nearhand\[onnx\]"):
        convert(Affine(), tmp_path)


@pytest.mark.parametrize("place", ["a-folder.nearhand", "file/b.nearhand", "file/deeper/b.nearhand", "file"])
def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path, place: str) -> None:
    (tmp_path / "a-folder.nearhand").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as refusal:
        convert(Affine(wrong=1.0), tmp_path / place)
    assert refusal.value.remedy
    assert (tmp_path / "file").read_text() == ""


def test_the_recipe_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('[bundle]\nname = "churn"\nrole = "ranker"\nrows = 7\n[train]\nseed = 1\n')
    found = read_table_recipe(path, TableRecipe(name="other", version="2.0.0"))
    assert found == TableRecipe(name="churn", version="2.0.0", role="ranker", rows=7)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('nmae = "x"', "'nmae' is not a key; use one of golden_rows, inputs"),
        ('name = "Churn!"', "name 'Churn!' is not lowercase words"),
        ("name = 1", "bundle.name: is 1; give a string"),
        ('version = "1"', "version '1' is not MAJOR.MINOR.PATCH"),
        ('role = "guesser"', "role 'guesser' is not one of ranker, predictor"),
        ('lowering = "best"', "lowering 'best' is not one of operator, ranks"),
        ('inputs = "ranks"', "inputs 'ranks' is not one of auto, values"),
        ("rows = 0", "rows is 0, not from 1 to 1,000,000"),
        ("golden_rows = -1", "golden_rows is -1, not from 1"),
        ("rows = 1.5", "bundle.rows: is 1.5; give a whole number"),
        ("window = 3", "'window' is not a key"),
    ],
)
def test_a_recipe_that_is_none(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(f"[bundle]\n{line}\n")
    with pytest.raises(DataError) as refusal:
        read_table_recipe(path, TableRecipe())
    assert message in str(refusal.value)


# --- the same bytes --------------------------------------------------------------------------------------------------


def test_the_same_bytes_in_another_process_and_with_another_hash_seed(tmp_path: Path) -> None:
    program = (
        "import sys, hashlib; from pathlib import Path; from tests.converters.test_tabular import convert; "
        "from tests.converters.table_models import Affine, fine_model; out = Path(sys.argv[1]); "
        "print([hashlib.sha256(convert(m, out / str(i)).path.read_bytes()).hexdigest() "
        "for i, m in enumerate([Affine('binary'), fine_model('binary')])])"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / seed)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for seed in ("0", "4242")
    ]
    assert outputs[0] == outputs[1]
    assert len(json.loads(outputs[0].replace("'", '"'))) == 2


# --- any row ---------------------------------------------------------------------------------------------------------

numbers = st.one_of(st.none(), st.floats(), st.sampled_from(SECONDS), st.integers(-(10**30), 10**30), st.just(0.1))
plans = st.one_of(st.none(), st.text(max_size=6), st.sampled_from(["basic", "gold"]))


@pytest.fixture(scope="module", params=TARGETS)
def fine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Predictor]:
    """The model of fine trees, on one runtime."""
    folder = tmp_path_factory.mktemp("fine")
    converted = convert(fine_model(), folder, targets=[request.param])
    with Predictor.open(converted.path, folder / "data") as predictor:
        yield predictor


@given(st.lists(st.fixed_dictionaries({"opened": numbers, "plan": plans, "share": numbers}), max_size=5))
def test_any_row_is_answered_as_the_original_answers_it(fine: Predictor, rows: list[dict[str, Any]]) -> None:
    codes = {None: 0, "": 0, "basic": 2, "gold": 3}
    asked = Rows(
        np.array([[row["opened"], row["share"]] for row in rows], np.float64).reshape(-1, 2),
        np.array([[codes.get(row["plan"], 1)] for row in rows], np.int32).reshape(-1, 1),
    )
    np.testing.assert_array_equal(fine.predict(rows)["value"], np.array(fine_model().predict(asked)["value"]))


def test_numbers_beyond_float32_are_no_reason_to_warn(tmp_path: Path) -> None:
    """Thresholds and neighbours of numbers near the largest float32, and beyond it."""
    import lightgbm

    x = np.linspace(-1e300, 1e300, 64)[:, None]
    settings = {"objective": "regression", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 4, "min_data_in_bin": 1}
    booster = lightgbm.train(settings, lightgbm.Dataset(x, np.arange(64.0)), 3)
    conversion = convert_model(booster, tmp_path / "huge.nearhand", TableRecipe(name="huge", rows=300))
    assert conversion.manifest.table_models[0].encoding == "ranks"


def test_no_device_is_asked_for_a_label_that_rounding_decides(tmp_path: Path) -> None:
    """Six leaves of −1/60 cancel a base score of 0.1 behind a hinge, which shows nothing of it."""
    import xgboost

    settings = {"objective": "binary:hinge", "base_score": 0.1, "max_depth": 2, "eta": 0.05, "num_parallel_tree": 2}
    x, label = np.array([[-1.0], [1.0], [2.0]]), np.array([1, 0, 0])
    booster = xgboost.train({**settings, "nthread": 1}, xgboost.DMatrix(x, label), 3)
    model = adopt_model(booster, default_sources()).model
    assert model.trees is not None
    assert np.abs(model.trees.scores(x, np.empty((3, 0), np.int32))).min() < 1e-7
    conversion = convert_model(booster, tmp_path / "hinge.nearhand", TableRecipe(name="hinge", rows=300))
    with Predictor.open(conversion.path, tmp_path / "device") as predictor:  # which asks its golden vectors
        assert predictor.predict([{"f0": -1.0}]).labels
