"""A ranker or a predictor on the device: rows in, predictions out, and a typed error for anything that is neither."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nearhand import Config, UsageError
from nearhand.bundle import install_bundle
from nearhand.bundle.schema import RuntimeName, TensorSpec
from nearhand.bundle.tables import Column
from nearhand.errors import BundleError, ModelError, RuntimeUnavailableError
from nearhand.ranking import Predictions, Predictor, RowEncoder, Table
from nearhand.ranking.predictor import BATCH
from nearhand.runtime import Runtime, Session, Tensors
from nearhand.runtime.boundary import check_inputs
from tests.sdk.bundle_factory import SDK_VERSION, write_bundle
from tests.sdk.table_factory import (
    THRESHOLDS,
    VOCABULARIES,
    make_predictor,
    make_ranker,
    make_table_files,
    write_table_bundle,
)

FILES = make_table_files()


@dataclass
class ShopSession:
    """Computes the two models of the shop's bundle; ``wrong`` is added to the first output."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    wrong: float
    runs: list[Tensors] = field(default_factory=list)
    closed: bool = False

    def run(self, tensors: Tensors) -> dict[str, NDArray[Any]]:
        if self.closed:
            raise ModelError("the session is closed")
        check_inputs(self.inputs, tensors, place="shop")
        self.runs.append(tensors)
        numbers = tensors["numbers"]
        if "categories" not in tensors:
            return {"value": numbers * np.float32(2) + np.float32(self.wrong)}
        yes = np.where(np.isnan(numbers[:, 1]) | (numbers[:, 0] >= 0), 0.75, 0.0).astype(np.float32)
        probability = np.stack([1 - yes, yes], axis=1) + np.float32(self.wrong)
        return {"probability": probability, "label": (yes > 0.5).astype(np.int32)}

    def close(self) -> None:
        self.closed = True


@dataclass
class ShopRuntime:
    """Implements Runtime for the shop's files, whose bytes are no models."""

    name: RuntimeName = "onnx"
    wrong: float = 0.0
    version: str = "1.0"
    loaded: list[ShopSession] = field(default_factory=list)

    def load(self, path: Path) -> Session:
        model = make_predictor(FILES) if path.read_bytes().startswith(b"churn") else make_ranker(FILES)
        self.loaded.append(ShopSession(model.variants[0].inputs, model.outputs, self.wrong))
        return self.loaded[-1]


def runtimes(*given: ShopRuntime) -> Mapping[RuntimeName, Callable[[], Runtime]]:
    def constructor(runtime: ShopRuntime) -> Callable[[], Runtime]:
        return lambda: runtime

    return {runtime.name: constructor(runtime) for runtime in given}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_table_bundle(tmp_path / "shop.nearhand")


@pytest.fixture
def onnx() -> ShopRuntime:
    return ShopRuntime()


@pytest.fixture
def churn(bundle: Path, tmp_path: Path, onnx: ShopRuntime) -> Predictor:
    return Predictor.open(bundle, tmp_path / "data", model="churn", runtimes=runtimes(onnx))


def encoder() -> RowEncoder:
    return RowEncoder(make_predictor(FILES).columns, VOCABULARIES, THRESHOLDS)


ROW: dict[str, Any] = {"monthly": 0.1, "plan": "basic", "months": None}


# --- opening ---------------------------------------------------------------------------------------------------------


def test_it_opens_by_name_from_a_file_and_from_a_slot(bundle: Path, tmp_path: Path) -> None:
    slot = install_bundle(bundle, tmp_path / "slots", sdk_version=SDK_VERSION)
    for source in (bundle, str(bundle), slot.folder):
        for name in ("churn", "order"):
            with Predictor.open(source, tmp_path / "data", model=name, runtimes=runtimes(ShopRuntime())) as predictor:
                assert predictor.model.name == name
                assert (predictor.runtime, predictor.runtime_version, predictor.precision) == ("onnx", "1.0", "fp32")
                assert predictor.passed_over == ()


@pytest.mark.parametrize("name", [None, "chrun"])
def test_a_model_that_is_not_there(bundle: Path, tmp_path: Path, name: str | None) -> None:
    with pytest.raises(UsageError, match="name one of 'churn', 'order'"):
        Predictor.open(bundle, tmp_path / "data", model=name, runtimes=runtimes(ShopRuntime()))


def test_a_bundle_that_only_recommends(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "films.nearhand")
    with pytest.raises(UsageError, match=r"bundle films: has 0 rankers and predictors; convert it with"):
        Predictor.open(path, tmp_path / "data", runtimes=runtimes(ShopRuntime()))


def test_a_damaged_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    bundle.write_bytes(bundle.read_bytes()[:-30])
    with pytest.raises(BundleError):
        Predictor.open(bundle, tmp_path / "data", model="churn", runtimes=runtimes(ShopRuntime()))
    assert not list((tmp_path / "data").glob("*"))


def test_a_runtime_that_computes_wrongly_is_passed_over_and_says_so(bundle: Path, tmp_path: Path) -> None:
    wrong, right = ShopRuntime("onnx", wrong=0.001), ShopRuntime("tflite")
    predictor = Predictor.open(bundle, tmp_path / "data", model="churn", runtimes=runtimes(wrong, right))
    assert predictor.runtime == "tflite"
    (reason,) = predictor.passed_over
    assert reason.startswith("onnx/fp32: churn: golden row 0 gives probability 0.251, 0.751, not 0.25, 0.75")
    assert all(session.closed for session in wrong.loaded)


@pytest.mark.parametrize("wrong", [0.001, math.nan, math.inf])
def test_no_runtime_that_computes_rightly(bundle: Path, tmp_path: Path, wrong: float) -> None:
    with pytest.raises(RuntimeUnavailableError, match="golden row 0 gives probability") as refusal:
        Predictor.open(bundle, tmp_path / "data", model="churn", runtimes=runtimes(ShopRuntime(wrong=wrong)))
    assert "tflite/fp32: its runtime is not installed" in str(refusal.value)
    assert "bundle shop: churn" in str(refusal.value)


def test_the_config_chooses(bundle: Path, tmp_path: Path) -> None:
    both = runtimes(ShopRuntime("onnx"), ShopRuntime("tflite"))
    config = Config(runtime="tflite")
    assert Predictor.open(bundle, tmp_path, model="churn", config=config, runtimes=both).runtime == "tflite"
    assert Predictor.open(bundle, tmp_path, model="churn", runtimes=both).runtime == "onnx"
    with pytest.raises(RuntimeUnavailableError, match="no variant fits the Config"):
        Predictor.open(bundle, tmp_path, model="order", config=config, runtimes=both)
    with pytest.raises(RuntimeUnavailableError, match="no variant fits the Config"):
        Predictor.open(bundle, tmp_path, model="churn", config=Config(precision="int8"), runtimes=both)


def test_golden_vectors_run_once_for_each_model_and_runtime_version(bundle: Path, tmp_path: Path) -> None:
    def golden_runs(name: str, version: str) -> int:
        runtime = ShopRuntime(version=version)
        Predictor.open(bundle, tmp_path / "data", model=name, runtimes=runtimes(runtime))
        return len(runtime.loaded[0].runs)

    assert [golden_runs("churn", "1.0"), golden_runs("churn", "1.0")] == [1, 0]
    assert [golden_runs("order", "1.0"), golden_runs("churn", "1.1"), golden_runs("churn", "1.1")] == [1, 1, 0]


def test_closed_is_closed(churn: Predictor) -> None:
    churn.close()
    churn.close()
    with pytest.raises(ModelError):
        churn.predict([ROW])


# --- predictions -----------------------------------------------------------------------------------------------------


def test_predictions_of_a_classifier(churn: Predictor) -> None:
    found = churn.predict([ROW, {"monthly": -3, "plan": None, "months": 1}])
    assert isinstance(found, Predictions)
    assert len(found) == 2
    assert found["probability"].tolist() == [[0.25, 0.75], [1.0, 0.0]]
    assert found["label"].tolist() == [1, 0]
    assert found.labels == ("yes", "no")
    assert found.classes == ("no", "yes")


def test_predictions_of_a_ranker(bundle: Path, tmp_path: Path) -> None:
    order = Predictor.open(bundle, tmp_path / "data", model="order", runtimes=runtimes(ShopRuntime()))
    found = order.predict({"price": [1, 2.5]})
    assert found["value"].tolist() == [[2.0], [5.0]]
    assert found.labels == ()
    with pytest.raises(UsageError, match=r"column 'price', row 1: is missing, and the model refuses that; give a numb"):
        order.predict({"price": np.array([1.0, np.nan])})


@pytest.mark.parametrize("count", [0, 1, 2, 7, BATCH, BATCH + 1, 2 * BATCH + 5])
def test_one_form_whatever_the_number_of_rows(churn: Predictor, onnx: ShopRuntime, count: int) -> None:
    rows: list[dict[str, Any]] = [
        {"monthly": float(i % 5 - 2), "plan": ("basic", "café", None)[i % 3], "months": i} for i in range(count)
    ]
    found = churn.predict(rows)
    assert len(found) == count
    assert found["probability"].shape == (count, 2)
    assert found["label"].shape == (count,)
    assert [found[name].dtype for name in ("probability", "label")] == [np.float32, np.int32]
    assert len(found.labels) == count
    assert max(len(tensors["numbers"]) for tensors in onnx.loaded[0].runs) <= BATCH
    for i in {0, count // 2, count - 1} & set(range(count)):
        alone = churn.predict([rows[i]])
        assert alone["probability"][0].tolist() == found["probability"][i].tolist()


def test_threads_share_one(churn: Predictor) -> None:
    rows: list[dict[str, Any]] = [{"monthly": i, "plan": "basic", "months": 1} for i in range(-50, 50)]
    expected = churn.predict(rows)["label"].tolist()
    found: list[list[int]] = []
    threads = [threading.Thread(target=lambda: found.append(churn.predict(rows)["label"].tolist())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


# --- rows ------------------------------------------------------------------------------------------------------------


class SeriesLike:
    """What can become an array without being one, as a column of pandas."""

    def __init__(self, values: list[Any]) -> None:
        self._values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        return np.array(self._values, dtype or object)


@pytest.mark.parametrize(
    "table",
    [
        [{"monthly": 1, "plan": "café", "months": 2.5}, {"monthly": 3, "plan": "café", "months": None}],
        {"monthly": [1, 3], "plan": ["café", "café"], "months": [2.5, None]},
        {"monthly": np.array([1, 3]), "plan": np.array(["café", "café"]), "months": np.array([2.5, np.nan])},
        {"monthly": (1.0, 3.0), "plan": "café", "months": SeriesLike([2.5, None])},
        {"monthly": np.array([1, 3], np.uint8), "plan": np.array("café"), "months": np.array([2.5, None], object),
         "customer": ["a", "b"]},
    ],
    ids=["mappings", "lists", "arrays", "one-value-for-all", "more-columns"],
)  # fmt: skip
def test_the_forms_of_rows(table: Table) -> None:
    rows = encoder().rows(table)
    assert rows.numbers.dtype == np.float64
    assert rows.categories.dtype == np.int32
    np.testing.assert_array_equal(rows.numbers, [[1, 2.5], [3, np.nan]])
    assert rows.categories.tolist() == [[3], [3]]


def test_single_values_are_one_row() -> None:
    assert encoder().rows(ROW).categories.tolist() == [[2]]
    assert len(encoder().rows([])) == 0


@pytest.mark.parametrize(
    ("value", "number"),
    [(None, math.nan), (math.nan, math.nan), (np.float32(0.5), 0.5), (np.int64(7), 7), (True, 1), (np.True_, 1),
     (math.inf, math.inf), (-math.inf, -math.inf), (-0.0, 0.0),
     pytest.param(10**400, math.inf, id="huge"), pytest.param(-(10**400), -math.inf, id="minus-huge")],
)  # fmt: skip
def test_what_a_number_may_be(value: Any, number: float) -> None:
    for table in ([{**ROW, "monthly": value}], {**ROW, "monthly": [value]}):
        np.testing.assert_array_equal(encoder().rows(table).numbers[0, 0], number)


@pytest.mark.parametrize(
    ("value", "code"),
    [("basic", 2), ("café", 3), (np.str_("café"), 3), (None, 0), (math.nan, 0), (np.float32(math.nan), 0), ("", 0)],
)
def test_what_a_category_may_be(value: Any, code: int) -> None:
    for table in ([{**ROW, "plan": value}], {**ROW, "plan": [value]}):
        assert encoder().rows(table).categories.tolist() == [[code]]


@pytest.mark.parametrize(
    ("value", "code"),
    [(3, 2), (np.int8(3), 2), (3.0, 2), ("3", 2), (3.5, 1), (math.inf, 1), (True, 3), (np.True_, 3), ("4", 1), ("", 4)],
)
def test_whole_numbers_stand_for_their_texts(value: Any, code: int) -> None:
    coder = RowEncoder([Column("plan", "category", "plan")], {"plan": ("3", "True", "")})
    assert coder.rows([{"plan": value}]).categories.tolist() == [[code]]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([{"monthly": 1, "plan": "basic"}], "row 0: column 'months' is absent; give it, as None where it is missing"),
        ([ROW, {"plan": "basic", "months": 1}], "row 1: column 'monthly' is absent"),
        ({"monthly": [1], "months": [1]}, "rows: column 'plan' is absent"),
        ([ROW, "basic"], "row 1: is a str, not a mapping"),
        ([[1, "basic", 2]], "row 0: is a list, not a mapping"),
        ("basic", "rows: are of the type str; give a list of mappings"),
        (7, "rows: are of the type int"),
        (np.zeros((2, 3)), "row 0: is a ndarray, not a mapping"),
        ([{**ROW, "monthly": "12"}], "column 'monthly', row 0: is '12', not a number; give a number, or None"),
        ({**ROW, "monthly": np.array(["1", "2"])}, "column 'monthly', row 0: is '1', not a number"),
        ({**ROW, "monthly": np.array(["2020-01-01"], "M8[D]")}, "column 'monthly', row 0: is a date, not a number"),
        ([ROW, {**ROW, "monthly": [1]}], "column 'monthly', row 1: is a list, not a number"),
        ([{**ROW, "monthly": 1j}], "column 'monthly', row 0: is a complex, not a number"),
        ([{**ROW, "plan": ["basic"]}], "column 'plan', row 0: is a list, not a text"),
        ([{**ROW, "plan": b"basic"}], "column 'plan', row 0: is a bytes, not a text"),
        ([ROW, {**ROW, "plan": "gold\nplus"}],
         "column 'plan', row 1: 'gold\\nplus' is unknown, and the model refuses that; give one of basic, café"),
        ({**ROW, "monthly": np.zeros((2, 2))}, "column 'monthly': has the shape [2, 2]; give one value for each row"),
        ({"monthly": [1, 2], "plan": "basic", "months": [1, 2, 3]}, "column 'monthly': has 2 values, and another"),
        ({**ROW, "monthly": {1, 2}}, "column 'monthly': is a set"),
        ({**ROW, "monthly": {"a": 1}}, "column 'monthly': is a dict"),
    ],
)  # fmt: skip
def test_rows_that_are_none_are_refused_with_column_and_remedy(table: Any, message: str) -> None:
    with pytest.raises(UsageError) as refusal:
        encoder().rows(table)
    assert str(refusal.value).startswith(message)
    assert refusal.value.remedy
    assert "\n" not in str(refusal.value)


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=2),
    st.lists(st.none()),
)


@given(st.lists(st.fixed_dictionaries({"monthly": anything, "plan": anything, "months": anything}), max_size=4))
def test_any_values_make_inputs_or_a_typed_error(rows: list[dict[str, Any]]) -> None:
    coder = encoder()
    try:
        inputs = coder.inputs(coder.rows(rows))
    except UsageError:
        return
    check_inputs(make_predictor(FILES).variants[0].inputs, inputs, place="any")
    assert len(inputs["numbers"]) == len(rows)


# --- inputs ----------------------------------------------------------------------------------------------------------


def test_values_are_rounded_to_float32() -> None:
    coder = RowEncoder(make_ranker(FILES).columns, {})
    given = [0.1, 16777217.0, 1e300, -1e300, math.inf, 1e-60]
    inputs = coder.inputs(coder.rows({"price": given}))
    assert set(inputs) == {"numbers"}
    assert inputs["numbers"].dtype == np.float32
    assert inputs["numbers"][:, 0].tolist() == [float(np.float32(0.1)), 16777216.0, math.inf, -math.inf, math.inf, 0.0]


def test_ranks_tell_numbers_apart_that_float32_cannot() -> None:
    """A node goes right where x > threshold: so its rank has to be above that of the threshold, and only then."""
    column = np.array(THRESHOLDS[0])
    probes = np.concatenate([column, np.nextafter(column, -np.inf), np.nextafter(column, np.inf), [0.0, -0.0, np.nan]])
    coder = encoder()
    ranks = coder.inputs(coder.rows({**ROW, "monthly": probes}))["numbers"][:, 0]
    of_thresholds = ranks[: len(column)]
    for x, rank in zip(probes[:-1], ranks[:-1], strict=True):
        assert ((x > column) == (rank > of_thresholds)).all()
    assert ranks[-3:-1].tolist() == [0, 0], "0 keeps its place"
    assert np.isnan(ranks[-1])
    infinite = coder.inputs(coder.rows({**ROW, "monthly": [-math.inf, math.inf]}))["numbers"][:, 0]
    assert infinite.tolist() == [-1, 2]
