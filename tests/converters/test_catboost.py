"""CatBoost's models in the neutral form: the library's own leaves and predictions, or a refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from numpy.typing import NDArray

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.graph.trees.form import Membership, Number
from nearhand_converters.sources.model import Rows
from tests.converters.catboost_models import (
    CATEGORIES,
    DATA,
    GROUPS,
    POLICIES,
    POSITIVE,
    adopt,
    classifier,
    options,
    read,
    regressor,
    saved,
    trained_on_categories,
)
from tests.converters.random_forests import Fitted, assert_exact, catboost_models, coded, random_data

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
