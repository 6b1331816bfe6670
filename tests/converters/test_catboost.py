"""CatBoost's models in the neutral form: the library's own leaves and predictions, or a refusal."""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nearhand_converters.errors import SourceError, UnsupportedModelError
from nearhand_converters.graph.trees.form import Membership, Number
from nearhand_converters.sources.catboost import CatBoostSource, source
from nearhand_converters.sources.model import Rows
from nearhand_converters.sources.tree_model import TreeModel
from tests.converters.random_forests import Fitted, assert_exact, catboost_models, coded, random_data

SOURCE = CatBoostSource()
DATA = random_data(0, 200, ["normal", "missing", "constant", "huge", "tiny"], [])
CATEGORIES = random_data(2, 300, ["normal", "missing"], [8, 40])
POLICIES = ("SymmetricTree", "Depthwise", "Lossguide")
POSITIVE = np.exp(DATA.target - DATA.target.max())
GROUPS = np.repeat(np.arange(20), 10)


def options(**more: Any) -> dict[str, Any]:
    quick = {"iterations": 4, "depth": 3, "random_seed": 0, "thread_count": 1, "verbose": 0}
    return {**quick, "allow_writing_files": False, **more}


def regressor(target: NDArray[Any] = DATA.target, **more: Any) -> Any:
    return catboost.CatBoostRegressor(**options(**more)).fit(DATA.numbers, target)


def classifier(labels: NDArray[Any], **more: Any) -> Any:
    return catboost.CatBoostClassifier(**options(**more)).fit(DATA.numbers, labels)


def adopt(model: Any) -> TreeModel:
    read = SOURCE.adopt(model)
    assert isinstance(read, TreeModel)
    return read


def read(path: Path) -> TreeModel:
    model = SOURCE.read(path)
    assert isinstance(model, TreeModel)
    return model


def saved(model: Any, path: Path, pool: Any = None) -> Path:
    model.save_model(str(path), format=path.suffix[1:], pool=pool)
    return path


def trained_on_categories(data: Any = CATEGORIES, **more: Any) -> tuple[Any, Any]:
    """A model, and the pool that its categories' texts are in."""
    numbers = data.numbers.shape[1]
    places = list(range(numbers, numbers + data.categories.shape[1]))
    pool = catboost.Pool(data.table, data.target, cat_features=places, thread_count=1)
    return catboost.CatBoostRegressor(**options(iterations=10, **more)).fit(pool), pool


LOSSES: list[tuple[str, str, NDArray[Any]]] = [
    *[(loss, "regression", DATA.target) for loss in ("RMSE", "MAE", "Quantile:alpha=0.3", "Huber:delta=1", "LogCosh")],
    *[(loss, "regression", DATA.target) for loss in ("Expectile:alpha=0.3", "Lq:q=2", "MultiQuantile:alpha=0.1,0.5")],
    *[
        (loss, "regression", POSITIVE)
        for loss in ("MAPE", "RMSPE", "LogLinQuantile", "Poisson", "Tweedie:variance_power=1.5", "Cox")
    ],
    ("MultiRMSE", "regression", np.stack([DATA.target, -DATA.target, POSITIVE], axis=1)),
    ("MultiRMSEWithMissingValues", "regression", np.stack([DATA.target, -DATA.target], axis=1)),
    ("SurvivalAft", "regression", np.stack([POSITIVE, POSITIVE + 1], axis=1)),
    *[(loss, "binary", DATA.classes(2)) for loss in ("Logloss", "CrossEntropy", "Focal:focal_alpha=0.3;focal_gamma=2")],
    ("MultiClass", "multiclass", DATA.classes(3)),
    ("MultiClass", "multiclass", DATA.classes(2)),
    ("MultiClassOneVsAll", "multiclass", DATA.classes(4)),
    ("MultiClassOneVsAll", "multiclass", DATA.classes(2)),
]


@pytest.mark.parametrize(
    ("loss", "task", "target"),
    LOSSES,
    ids=[f"{loss.partition(':')[0]}-{target.max():.0f}" for loss, _, target in LOSSES],
)
def test_values_and_classes(loss: str, task: str, target: NDArray[Any]) -> None:
    kind = catboost.CatBoostRegressor if task == "regression" else catboost.CatBoostClassifier
    original = kind(**options(loss_function=loss)).fit(DATA.numbers, target)
    model = adopt(original)
    assert model.task == task
    assert model.source == f"catboost {kind.__name__} {loss.partition(':')[0]}"
    assert_exact(model)
    found = model.predict(Rows(DATA.numbers, np.empty((200, 0), np.int32)))
    if task == "regression":
        np.testing.assert_array_equal(found["value"], original.predict(DATA.numbers).reshape(200, -1))
    else:
        np.testing.assert_array_equal(found["probability"], original.predict_proba(DATA.numbers))
        np.testing.assert_array_equal(found["label"], original.predict(DATA.numbers).reshape(-1))


RANKING = (
    "YetiRank",
    "YetiRankPairwise",
    "PairLogit",
    "PairLogitPairwise",
    "QueryRMSE",
    "QuerySoftMax",
    "LambdaMart",
    "StochasticRank:metric=NDCG",
    "GroupQuantile",
)


@pytest.mark.parametrize("loss", RANKING)
def test_rankers(loss: str) -> None:
    pool = catboost.Pool(DATA.numbers, POSITIVE / POSITIVE.max(), group_id=GROUPS)
    model = adopt(catboost.CatBoostRanker(**options(loss_function=loss)).fit(pool))
    assert model.task == "ranking"
    assert_exact(model)


@pytest.mark.parametrize("nan_mode", ["Min", "Max"])
@pytest.mark.parametrize("policy", POLICIES)
def test_trees_of_any_form_from_memory_and_from_files(policy: str, nan_mode: str, tmp_path: Path) -> None:
    labels = np.array(["low", "middle", "high"])[DATA.classes(3)]
    missing = set()
    for model in (
        regressor(grow_policy=policy, nan_mode=nan_mode, depth=5),
        classifier(labels, grow_policy=policy, nan_mode=nan_mode),
    ):
        adopted = adopt(model)
        from_json = read(saved(model, tmp_path / "model.json"))
        for each in (adopted, from_json):
            assert_exact(each)
            missing |= {column.missing for column in each.trees.columns if isinstance(column, Number)}
        np.testing.assert_array_equal(from_json.trees.values, adopted.trees.values)
        np.testing.assert_array_equal(from_json.trees.threshold, adopted.trees.threshold)
    assert missing == ({-np.inf, np.inf} if nan_mode == "Max" else {-np.inf})


@pytest.mark.parametrize("policy", ["SymmetricTree", "Depthwise"])
def test_a_cbm_file_is_read_and_stays_as_it_was(policy: str, tmp_path: Path) -> None:
    labels = DATA.classes(2)
    path = saved(classifier(labels, grow_policy=policy), tmp_path / "model.cbm")
    before = path.read_bytes()
    model = read(path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["model.cbm"]
    assert model.classes == ("0", "1")
    assert_exact(model)
    loaded = catboost.CatBoostClassifier().load_model(str(path))
    rows = Rows(DATA.numbers, np.empty((200, 0), np.int32))
    probability = model.predict(rows)["probability"].astype(np.float64)
    np.testing.assert_allclose(probability, loaded.predict_proba(DATA.numbers), rtol=1e-12)


def test_missing_values_that_training_had_none_of_go_left() -> None:
    """Also with nan_mode=Forbidden, which only forbids them in training."""
    finite = random_data(4, 200, ["normal", "normal"], [])
    for nan_mode in ("Min", "Max", "Forbidden"):
        model = catboost.CatBoostRegressor(**options(nan_mode=nan_mode)).fit(finite.numbers, finite.target)
        assert_exact(adopt(model))


def test_a_feature_that_had_no_missing_values_has_none_to_replace(tmp_path: Path) -> None:
    """Whatever the form says that they would become."""
    document = json.loads(saved(regressor(nan_mode="Max"), tmp_path / "model.json").read_bytes())
    for feature in document["features_info"]["float_features"]:
        feature["has_nans"] = False
    (tmp_path / "edited.json").write_text(json.dumps(document))
    assert_exact(read(tmp_path / "edited.json"))


def test_many_borders_are_kept_apart() -> None:
    """The library's bins are bytes: a feature of more than 254 borders has several."""
    data = random_data(5, 3000, ["normal"], [])
    model = catboost.CatBoostRegressor(**options(border_count=2000, iterations=200, depth=4)).fit(
        data.numbers, data.target
    )
    read_model = adopt(model)
    assert len(np.unique(read_model.trees.threshold)) > 300
    assert_exact(read_model, 3000)


def test_scale_and_bias_are_read() -> None:
    model = regressor()
    model.set_scale_and_bias(2.5, -7.0)
    assert adopt(model).trees.base == -7.0
    assert_exact(adopt(model))


def test_a_model_that_stopped_at_its_best_has_the_trees_it_predicts_with() -> None:
    noise = np.random.Generator(np.random.PCG64(0)).normal(size=200)
    pool = catboost.Pool(DATA.numbers[:100], noise[:100])
    model = catboost.CatBoostRegressor(**options(iterations=60, learning_rate=0.5, use_best_model=True))
    model.fit(pool, eval_set=catboost.Pool(DATA.numbers[100:], noise[100:]))
    assert model.tree_count_ < 60
    assert len(adopt(model).trees.roots) == model.tree_count_
    assert_exact(adopt(model))


def test_a_tree_of_one_leaf_is_read() -> None:
    for policy in POLICIES:
        more = {"allow_const_label": True, "bootstrap_type": "No", "grow_policy": policy}
        assert_exact(adopt(regressor(np.full(200, 3.0), **more)))


def test_a_deep_tree_is_read() -> None:
    data = random_data(6, 4000, ["normal"] * 6, [])
    more = {"grow_policy": "Lossguide", "depth": 16, "max_leaves": 500, "iterations": 2, "min_data_in_leaf": 1}
    model = adopt(catboost.CatBoostRegressor(**options(**more)).fit(data.numbers, data.target))
    assert model.trees.depth >= 13
    assert_exact(model, 3000)
    assert_exact(adopt(regressor(depth=12, iterations=1)))


@pytest.mark.parametrize(
    ("labels", "texts"),
    [
        (["no", "yes"], ("no", "yes")),
        ([3, 7], ("3", "7")),
        ([0.5, 2.0], ("0.5", "2")),
        ([False, True], ("False", "True")),
        (["ж", "a b"], ("a b", "ж")),
    ],
    ids=["texts", "integers", "floats", "truth values", "other alphabets"],
)
def test_classes_of_any_type_are_texts(labels: list[Any], texts: tuple[str, ...], tmp_path: Path) -> None:
    given_labels = np.array(labels)[DATA.classes(2)]
    for loss in ("Logloss", "MultiClass"):
        model = classifier(given_labels, loss_function=loss)
        for each in (adopt(model), read(saved(model, tmp_path / "model.json"))):
            assert each.classes == texts
            assert_exact(each)


def test_classes_keep_the_order_that_training_was_given() -> None:
    model = adopt(classifier(np.array(["a", "b"])[DATA.classes(2)], class_names=["b", "a"]))
    assert model.classes == ("b", "a")
    assert_exact(model)


def test_the_probability_that_decides_a_label_is_read(tmp_path: Path) -> None:
    model = classifier(DATA.classes(2))
    model.set_probability_threshold(0.7)
    for each in (adopt(model), read(saved(model, tmp_path / "model.json"))):
        assert each.label_above == 0.7
        assert_exact(each)


def test_columns_have_the_names_of_training(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(DATA.numbers, columns=["größe", "b", "c d", "d", "e"])
    model = catboost.CatBoostRegressor(**options(ignored_features=["e"])).fit(frame, DATA.target)
    for each in (adopt(model), read(saved(model, tmp_path / "model.json"))):
        assert [column.name for column in each.columns] == ["größe", "b", "c d", "d", "e"]
        assert_exact(each)
    assert [column.name for column in adopt(regressor()).columns] == ["0", "1", "2", "3", "4"]


CATEGORY_OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("one-hot", {"one_hot_max_size": 255}),
    ("statistics", {"max_ctr_complexity": 1}),
    ("both", {"max_ctr_complexity": 1, "one_hot_max_size": 10}),
    ("buckets", {"max_ctr_complexity": 1, "simple_ctr": ["Buckets", "Counter"]}),
    ("several borders", {"max_ctr_complexity": 1, "simple_ctr": ["Borders:TargetBorderCount=3"]}),
    ("several buckets", {"max_ctr_complexity": 1, "simple_ctr": ["Buckets:TargetBorderCount=3"]}),
    ("counters", {"max_ctr_complexity": 1, "simple_ctr": ["Counter:CtrBorderCount=40:Prior=-0.5"]}),
    ("means", {"max_ctr_complexity": 1, "simple_ctr": ["BinarizedTargetMeanValue"]}),
]


@pytest.mark.parametrize("more", [each[1] for each in CATEGORY_OPTIONS], ids=[each[0] for each in CATEGORY_OPTIONS])
@pytest.mark.parametrize("policy", ["SymmetricTree", "Depthwise"])
def test_categories_of_a_file_with_their_texts(policy: str, more: dict[str, Any], tmp_path: Path) -> None:
    """Training rows are coded by the texts, without the reading's own way back to the library's values."""
    model, pool = trained_on_categories(grow_policy=policy, **more)
    read_model = read(saved(model, tmp_path / "model.json", pool))
    assert [column.kind for column in read_model.columns] == ["number", "number", "category", "category"]
    assert any(isinstance(column, Membership) for column in read_model.trees.columns)
    rows = coded(read_model, CATEGORIES.table)
    found = read_model.trees.scores(rows.numbers, rows.categories)[:, 0]
    np.testing.assert_allclose(found, model.predict(CATEGORIES.table), rtol=1e-9, atol=1e-12)
    assert_exact(read_model)


def test_a_thousand_categories(tmp_path: Path) -> None:
    data = random_data(7, 4000, ["normal"], [1000])
    for more in ({"one_hot_max_size": 1000}, {"max_ctr_complexity": 1}):
        model, pool = trained_on_categories(data, **more)
        read_model = read(saved(model, tmp_path / "model.json", pool))
        rows = coded(read_model, data.table)
        found = read_model.trees.scores(rows.numbers, rows.categories)[:, 0]
        np.testing.assert_allclose(found, model.predict(data.table), rtol=1e-9, atol=1e-12)
        assert_exact(read_model, 3000)
    assert len(read_model.columns[1].categories) > 900


def test_odd_texts_are_categories(tmp_path: Path) -> None:
    """Numbers are hashed by their digits, and the empty text and "nan" are texts like any other."""
    table = np.empty((240, 2), object)
    table[:, 0] = np.tile(np.array(["", "nan", "größe", "a b", 7, -7, True, np.int64(12)], object), 30)
    table[:, 1] = np.random.Generator(np.random.PCG64(0)).normal(size=240)
    target = np.tile(np.arange(8.0), 30)
    pool = catboost.Pool(table, target, cat_features=[0])
    model = catboost.CatBoostRegressor(**options(one_hot_max_size=20, iterations=30)).fit(pool)
    read_model = read(saved(model, tmp_path / "model.json", pool))
    assert len(read_model.columns[0].categories) >= 6
    assert set(read_model.columns[0].categories) <= {"", "nan", "größe", "a b", "7", "-7", "1", "12"}
    table[6::8, 0] = 1  # which is how the library writes True
    rows = coded(read_model, table)
    found = read_model.trees.scores(rows.numbers, rows.categories)[:, 0]
    np.testing.assert_allclose(found, model.predict(table), rtol=1e-9)
    assert_exact(read_model)


def test_a_category_that_is_missing_is_one_that_was_never_seen(tmp_path: Path) -> None:
    model, pool = trained_on_categories(one_hot_max_size=255)
    read_model = read(saved(model, tmp_path / "model.json", pool))
    codes = np.array([[0, 5], [1, 5], [4, 0], [4, 1]], np.int32)
    found = read_model.trees.scores(np.zeros((4, 2)), codes)[:, 0]
    assert found[0] == found[1]
    assert found[2] == found[3]


def test_categories_without_their_texts_are_refused_with_the_way_to_save_them(tmp_path: Path) -> None:
    other = catboost.Pool(CATEGORIES.table[:5], CATEGORIES.target[:5], cat_features=[2, 3])
    for more in ({"one_hot_max_size": 255}, {"max_ctr_complexity": 1}):
        model, _ = trained_on_categories(**more)
        attempts: list[Callable[[], Any]] = [
            lambda model=model: adopt(model),  # type: ignore[misc]
            lambda model=model: read(saved(model, tmp_path / "model.json")),  # type: ignore[misc]
            lambda model=model: read(saved(model, tmp_path / "other.json", other)),  # type: ignore[misc]
        ]
        for attempt in attempts:
            with pytest.raises(UnsupportedModelError) as caught:
                attempt()
            assert caught.value.code == "catboost-category-texts"
            assert "pool=" in caught.value.remedy


def test_a_cbm_file_has_no_texts_of_categories(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        read(saved(trained_on_categories()[0], tmp_path / "model.cbm"))
    assert caught.value.code == "catboost-category-texts"


def test_statistics_of_combinations_are_refused_with_the_way_round_them(tmp_path: Path) -> None:
    data = random_data(8, 2000, ["normal"], [30, 30])
    data = type(data)(data.numbers, data.categories, 3.0 * ((data.categories[:, 1] % 2 == 0) == (data.target > 0)))
    model, pool = trained_on_categories(data, max_ctr_complexity=2, simple_ctr=["Counter"])
    path = saved(model, tmp_path / "model.json", pool)
    assert any(len(each["elements"]) > 1 for each in json.loads(path.read_bytes())["features_info"]["ctrs"])
    with pytest.raises(UnsupportedModelError) as caught:
        read(path)
    assert caught.value.code == "catboost-ctr"
    assert "max_ctr_complexity=1" in caught.value.remedy
    assert "one_hot_max_size" in caught.value.remedy


class Squared:
    """A loss of one's own."""

    def calc_ders_range(self, approxes: Any, targets: Any, weights: Any) -> list[tuple[float, float]]:
        return [(target - approx, -1.0) for approx, target in zip(approxes, targets, strict=True)]


def _of_texts() -> Any:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"t": ["hello world", "foo bar"] * 100, "x": DATA.numbers[:, 0]})
    return catboost.CatBoostClassifier(**options(text_features=["t"])).fit(frame, DATA.classes(2))


def _shrunk() -> Any:
    model = regressor()
    model.shrink(0)
    return model


REFUSED: list[tuple[str, Callable[[], Any], str]] = [
    ("uncertainty", lambda: regressor(loss_function="RMSEWithUncertainty"), "uncertainty"),
    (
        "several labels",
        lambda: classifier(np.stack([DATA.classes(2)] * 2, axis=1), loss_function="MultiLogloss"),
        "multi-label",
    ),
    ("a loss of one's own", lambda: regressor(loss_function=Squared(), eval_metric="RMSE"), "custom-objective"),
    ("a sum of models", lambda: catboost.sum_models([regressor(), regressor()]), "no-objective"),
    ("no trees", _shrunk, "no-trees"),
    ("texts", _of_texts, "catboost-text-features"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("make", "code"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED])
def test_what_we_do_not_convert_is_refused_with_a_remedy(make: Callable[[], Any], code: str, tmp_path: Path) -> None:
    model = make()
    attempts: list[Callable[[], TreeModel]] = [lambda: adopt(model)]
    if code == "catboost-text-features":  # there is no JSON form to see it in
        attempts.append(lambda: read(saved(model, tmp_path / "model.cbm")))
    for attempt in attempts:
        with pytest.raises(UnsupportedModelError) as caught:
            attempt()
        assert caught.value.code == code
        assert caught.value.remedy
        assert "\n" not in str(caught.value)


def test_a_model_that_is_not_fitted_is_refused() -> None:
    with pytest.raises(SourceError) as caught:
        SOURCE.adopt(catboost.CatBoostRegressor())
    assert "fit" in caught.value.remedy


def test_only_the_librarys_own_classes_are_adopted() -> None:
    louder = type("Louder", (catboost.CatBoostRegressor,), {})
    assert SOURCE.adopts(catboost.CatBoostRanker())
    assert SOURCE.adopts(catboost.CatBoost({}))
    assert not SOURCE.adopts(louder())
    assert not SOURCE.adopts(object())


def test_a_file_is_claimed_by_what_is_in_it(tmp_path: Path) -> None:
    model = regressor()
    with_statistics, pool = trained_on_categories(max_ctr_complexity=1)
    claimed = [
        saved(model, tmp_path / "model.cbm"),
        saved(model, tmp_path / "a.json"),
        saved(regressor(grow_policy="Depthwise"), tmp_path / "b.json"),
        saved(with_statistics, tmp_path / "c.json", pool),
    ]
    for path in claimed:
        assert SOURCE.claims(path, path.read_bytes()[:4096])
    for head in (b"", b"{}", b'{"learner": {}}', b'{"version": [3, 2, 0]}', b"PK\x03\x04", b"tree\nversion=v4"):
        assert not SOURCE.claims(tmp_path / "model.json", head)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A file of each form."""
    folder = tmp_path_factory.mktemp("catboost")
    model, pool = trained_on_categories(max_ctr_complexity=1, one_hot_max_size=10)
    return {
        "cbm": saved(regressor(), folder / "a.cbm").read_bytes(),
        "symmetric": saved(regressor(), folder / "a.json").read_bytes(),
        "not symmetric": saved(regressor(grow_policy="Depthwise"), folder / "b.json").read_bytes(),
        "categories": saved(model, folder / "c.json", pool).read_bytes(),
    }


def refusal(path: Path, data: bytes) -> SourceError:
    path.write_bytes(data)
    with pytest.raises(SourceError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    return caught.value


def test_a_truncated_file_is_refused(files: dict[str, bytes], tmp_path: Path) -> None:
    for name, data in files.items():
        path = tmp_path / ("model.cbm" if name == "cbm" else "model.json")
        for share in (0.0, 0.3, 0.9, 0.999):
            refusal(path, data[: min(int(share * len(data)), len(data) - 3)])


def test_a_header_that_claims_too_much_is_refused_without_reading_on(files: dict[str, bytes], tmp_path: Path) -> None:
    claims = b"CBM1" + struct.pack("<I", 0xFFFFFFF0) + files["cbm"][8:]
    assert "shorter" in refusal(tmp_path / "model.cbm", claims).problem


def test_other_files_are_refused(tmp_path: Path) -> None:
    for data in (b"", b"CBM1", b"CBM1" + bytes(64), b"\x80\x04]\x94.", b"[1, 2]", b"{}", b"[" * 100_000, b"\xff\xfe"):
        refusal(tmp_path / "model.json", data)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        read(tmp_path / "none.cbm")
    assert "No such file" in caught.value.problem


def test_a_file_that_the_library_crashes_on_does_not_crash_us(
    files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_WRITE_FORM", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert "crashes" in refusal(tmp_path / "model.cbm", files["cbm"]).problem


Edit = Callable[[dict[str, Any]], object]
EDITS: list[tuple[str, str, Edit]] = [
    ("no features", "symmetric", lambda d: d.pop("features_info")),
    ("features that are none", "symmetric", lambda d: d.update(features_info=[])),
    ("no trees", "symmetric", lambda d: d.pop("oblivious_trees")),
    ("a split beyond the borders", "symmetric", lambda d: d["oblivious_trees"][0]["splits"][0].update(split_index=99)),
    ("a negative split", "symmetric", lambda d: d["oblivious_trees"][0]["splits"][0].update(split_index=-1)),
    ("too few leaves", "symmetric", lambda d: d["oblivious_trees"][0]["leaf_values"].pop()),
    ("a leaf that is NaN", "symmetric", lambda d: d["oblivious_trees"][0]["leaf_values"].__setitem__(0, float("nan"))),
    ("a leaf that is a text", "symmetric", lambda d: d["oblivious_trees"][0]["leaf_values"].__setitem__(0, "x")),
    ("trees of different widths", "symmetric", lambda d: d["oblivious_trees"][1].update(leaf_values=[0.0] * 16)),
    ("two biases", "symmetric", lambda d: d.update(scale_and_bias=[1, [0.0, 0.0]])),
    ("a border that is NaN", "symmetric", lambda d: _floats(d)[0].update(borders=[float("nan")] * 9)),
    ("a column twice", "symmetric", lambda d: _floats(d)[1].update(flat_feature_index=0)),
    ("a column left out", "symmetric", lambda d: _floats(d)[4].update(flat_feature_index=7)),
    ("columns out of order", "symmetric", lambda d: _floats(d)[0].update(feature_index=1)),
    ("a node without a child", "not symmetric", lambda d: d["trees"][0].pop("left")),
    ("a node without a split", "not symmetric", lambda d: d["trees"][0].pop("split")),
    ("a leaf of two values", "not symmetric", lambda d: d["trees"].__setitem__(0, {"value": [1.0, 2.0], "weight": 1})),
    ("a category that is a text", "categories", lambda d: _categories(d)[0].update(values=["x"])),
    ("statistics of no column", "categories", lambda d: _element(d).update(cat_feature_index=9)),
    ("no counts", "categories", lambda d: d.pop("ctr_data")),
    ("counts of a wrong width", "categories", lambda d: next(iter(d["ctr_data"].values())).update(hash_stride=4)),
    ("a border of no class", "categories", lambda d: d["features_info"]["ctrs"][0].update(target_border_idx=5)),
]


def _floats(document: dict[str, Any]) -> Any:
    return document["features_info"]["float_features"]


def _categories(document: dict[str, Any]) -> Any:
    return document["features_info"]["categorical_features"]


def _element(document: dict[str, Any]) -> Any:
    return document["features_info"]["ctrs"][0]["elements"][0]


@pytest.mark.parametrize(("name", "edit"), [each[1:] for each in EDITS], ids=[each[0] for each in EDITS])
def test_a_form_that_does_not_fit_together_is_refused(
    name: str, edit: Edit, files: dict[str, bytes], tmp_path: Path
) -> None:
    """The library trusts this form: it would read beyond its arrays."""
    document = json.loads(files[name])
    edit(document)
    refusal(tmp_path / "model.json", json.dumps(document).encode())


def test_trees_that_are_too_large_are_refused_before_they_are_made(files: dict[str, bytes], tmp_path: Path) -> None:
    document = json.loads(files["symmetric"])
    document["oblivious_trees"][0]["splits"] *= 8  # 24 levels
    path = tmp_path / "model.json"
    path.write_text(json.dumps(document))
    with pytest.raises(UnsupportedModelError) as caught:
        read(path)
    assert caught.value.code == "too-many-nodes"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_escapes_as_another_error(
    data: st.DataObject, files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Flipped bytes are refused, or give a model that still agrees with the library's reading of them."""
    content = bytearray(files[data.draw(st.sampled_from(["symmetric", "not symmetric", "categories"]))])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    path.write_bytes(content)
    try:
        model = read(path)
    except (SourceError, UnsupportedModelError):
        return
    rows = Rows(np.zeros((3, sum(c.kind == "number" for c in model.columns))), np.ones((3, 2), np.int32))
    np.testing.assert_array_equal(model.trees.leaves(rows.numbers, rows.categories), model.leaves(rows))


def assert_read(fitted: Fitted, folder: Path) -> None:
    """From a file with the categories' texts, and from memory where there are none."""
    numbers = fitted.data.numbers.shape[1]
    places = list(range(numbers, numbers + fitted.data.categories.shape[1]))
    pool = catboost.Pool(fitted.data.table, cat_features=places or None, thread_count=1)
    assert_exact(read(saved(fitted.estimator, folder / "model.json", pool)), 400)
    if not places:
        assert_exact(adopt(fitted.estimator), 400)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(fitted=catboost_models())
def test_random_models(fitted: Fitted, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert_read(fitted, tmp_path_factory.getbasetemp())


@pytest.mark.torture
@settings(max_examples=3000, suppress_health_check=[HealthCheck.too_slow])
@given(fitted=catboost_models())
def test_many_random_models(fitted: Fitted, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert_read(fitted, tmp_path_factory.getbasetemp())


@pytest.mark.torture
def test_damaged_cbm_files_never_crash_us(files: dict[str, bytes], tmp_path: Path) -> None:
    random = np.random.Generator(np.random.PCG64(0))
    for _ in range(30):
        content = np.frombuffer(files["cbm"], np.uint8).copy()
        content[random.integers(0, len(content), 3)] ^= random.integers(1, 256, 3).astype(np.uint8)
        path = tmp_path / "model.cbm"
        path.write_bytes(content.tobytes())
        with contextlib.suppress(SourceError, UnsupportedModelError):
            assert_exact(read(path), 50)
