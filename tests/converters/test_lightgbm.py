"""LightGBM's models as the source reads them, against LightGBM itself and against Treelite."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import treelite
from hypothesis import given, settings
from numpy.typing import NDArray

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.graph.links import Link
from nearhand_converters.graph.trees.form import Membership, Number
from nearhand_converters.parity.rows import verification_rows
from nearhand_converters.sources.model import InputColumn, Rows
from tests.converters.booster_checks import assert_same_as_graphs, assert_same_as_library, predicted, rows_beside
from tests.converters.lightgbm_models import (
    FOREST,
    ROWS,
    SOURCE,
    adopted,
    booster,
    category_booster,
    fitted,
    signal,
    table,
)
from tests.converters.random_boosters import LIGHTGBM_OBJECTIVES, Recipe, lightgbm_recipes, quiet, train_lightgbm

ZERO = float(np.float32(1e-35))


def numbers_only(numbers: NDArray[np.float64]) -> Rows:
    return Rows(numbers, np.empty((len(numbers), 0), np.int32))


def own_thresholds(model: Any) -> list[NDArray[np.float64]]:
    """The thresholds of each column, as LightGBM's own dump has them."""
    dump = model.dump_model()
    found: list[list[float]] = [[] for _ in range(dump["max_feature_idx"] + 1)]

    def walk(node: Mapping[str, Any]) -> None:
        if "split_feature" in node:
            if node["decision_type"] == "<=":
                found[node["split_feature"]].append(float(node["threshold"]))
            walk(node["left_child"])
            walk(node["right_child"])

    for tree in dump["tree_info"]:
        walk(tree["tree_structure"])
    return [np.unique(np.array(own)) for own in found]


def float32_beside(model: Any) -> Rows:
    """Rows that float32 represents, around every threshold."""
    with np.errstate(over="ignore"):
        return rows_beside([own.astype(np.float32) for own in own_thresholds(model)])


# --- objectives and options -------------------------------------------------------------------------------------------


OPTIONS: dict[str, dict[str, Any]] = {
    "gbdt": {},
    "dart": {"boosting": "dart", "drop_rate": 0.9},
    "random forest": FOREST,
    "goss": {"data_sample_strategy": "goss"},
    "extra trees": {"extra_trees": True},
    "zero is missing": {"zero_as_missing": True},
    "nothing is missing": {"use_missing": False},
}


@pytest.mark.parametrize("objective", LIGHTGBM_OBJECTIVES)
@pytest.mark.parametrize("option", OPTIONS)
def test_an_objective_predicts_as_lightgbm_does_on_and_beside_every_threshold(objective: str, option: str) -> None:
    model = booster(objective, **OPTIONS[option])
    thresholds = own_thresholds(model)
    assert sum(map(len, thresholds)) > 8
    read = adopted(model)
    assert_same_as_library(read, 800, rows_beside(thresholds))
    assert_same_as_library(read, 100, float32_beside(model))


@pytest.mark.parametrize("objective", ["regression", "huber", "fair", "poisson", "gamma", "binary", "multiclass"])
def test_linear_leaves_give_the_plain_value_where_one_of_their_inputs_is_missing(objective: str) -> None:
    model = booster(objective, linear_tree=True)
    read = adopted(model)
    assert read.trees.linear is not None
    assert read.trees.linear.uses.any()
    numbers = table()
    numbers[::2, 0] = np.nan
    assert_same_as_library(read, 800, numbers_only(numbers))


def test_a_linear_leaf_in_a_random_forest_is_a_share_too() -> None:
    assert_same_as_library(adopted(booster(linear_tree=True, **FOREST)), 500)


LINKS: dict[str, tuple[Link, dict[str, Any]]] = {
    "regression": (Link("identity"), {}),
    "regression_l1": (Link("signed_square"), {"reg_sqrt": True}),
    "huber": (Link("identity"), {"reg_sqrt": True}),  # LightGBM ignores it there
    "poisson": (Link("exp"), {}),
    "binary": (Link("sigmoid", 2.5), {"sigmoid": 2.5, "is_unbalance": True}),
    "multiclass": (Link("softmax"), {}),
    "multiclassova": (Link("sigmoid", 0.5), {"sigmoid": 0.5}),
    "cross_entropy": (Link("sigmoid"), {}),
    "cross_entropy_lambda": (Link("log1p_exp"), {}),
    "rank_xendcg": (Link("identity"), {}),
}


@pytest.mark.parametrize("objective", LINKS)
def test_the_objectives_parameters_are_in_the_link(objective: str) -> None:
    link, options = LINKS[objective]
    model = adopted(booster(objective, **options))
    assert model.link == link
    assert_same_as_library(model, 500)


@pytest.mark.parametrize("option", [{"sigmoid": 3.0}, {"is_unbalance": True}, {"scale_pos_weight": 5.0}])
def test_binary_options(option: dict[str, Any]) -> None:
    assert_same_as_library(adopted(booster("binary", **option)), 500)


def test_an_objective_says_what_it_is_for() -> None:
    told = {name: adopted(booster(name)) for name in LIGHTGBM_OBJECTIVES}
    assert {name for name, model in told.items() if model.task == "ranking"} == {"lambdarank", "rank_xendcg"}
    assert {name for name, model in told.items() if model.task == "multiclass"} == {"multiclass", "multiclassova"}
    assert told["binary"].task == "binary"
    assert told["multiclass"].classes == ("0", "1", "2")
    assert told["gamma"].source == "lightgbm Booster gamma"
    assert told["gamma"].trees.precision == "float64"


def test_a_random_forest_of_classes_averages_before_its_link() -> None:
    for objective in ("multiclass", "binary"):
        model = booster(objective, **FOREST)
        rows = numbers_only(table())
        plain = model.predict(rows.numbers, raw_score=True).reshape(ROWS, -1)
        np.testing.assert_allclose(adopted(model).trees.scores(rows.numbers, rows.categories), plain / 4, rtol=1e-12)


@pytest.mark.parametrize("rows", [2, 30])
def test_trees_of_one_leaf(rows: int) -> None:
    with quiet():
        model = train_lightgbm(Recipe("regression", rows, 1, ("constant",), options={"min_data_in_leaf": 1000}))
    read = adopted(model)
    assert read.trees.is_leaf.all()
    assert_same_as_library(read, 100)


def test_a_tree_of_depth_20() -> None:
    numbers = np.arange(1_000.0)[:, None]
    options = {"num_leaves": 900, "max_depth": 20, "min_data_in_leaf": 1, "min_data_in_bin": 1, "max_bin": 1_000}
    label = np.random.Generator(np.random.PCG64(1)).standard_normal(1_000) ** 3
    model = lightgbm.train({"verbose": -1, "num_threads": 1, **options}, lightgbm.Dataset(numbers, label), 2)
    read = adopted(model)
    assert read.trees.depth == 20
    assert_same_as_library(read)


# --- what is missing --------------------------------------------------------------------------------------------------


def zero_booster(**options: Any) -> Any:
    """Splits beside 0 and on both sides of it: the thresholds are LightGBM's own idea of zero."""
    random = np.random.Generator(np.random.PCG64(3))
    numbers = random.choice([-1.0, -1e-30, -1e-36, 0.0, 1e-36, 1e-30, 1.0, np.nan], (400, 2))
    label = np.sign(np.nan_to_num(numbers[:, 0])) + 2 * np.isnan(numbers[:, 1]) + (numbers[:, 1] > 1e-20)
    parameters = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 1, "min_data_in_bin": 1, **options}
    with quiet():
        return lightgbm.train(parameters, lightgbm.Dataset(numbers, label), 3)


TINY = [0.0, -0.0, 5e-324, -5e-324, 1e-45, -1e-45, 1e-40, -1e-40, 1e-36, -1e-36, 1e-30, -1e-30, 1.0, -1.0, np.nan]


@pytest.mark.parametrize("option", [{}, {"zero_as_missing": True}, {"use_missing": False}])
def test_numbers_as_small_as_lightgbms_zero_are_zero(option: dict[str, Any]) -> None:
    model = zero_booster(**option)
    thresholds = np.concatenate(own_thresholds(model))
    assert {-ZERO, ZERO} <= set(thresholds.tolist())
    edges = [np.nextafter(e, to) for e in (-ZERO, ZERO) for to in (-np.inf, e, np.inf)]
    values = np.array([*TINY, *edges])
    first, second = np.meshgrid(values, values)
    rows = numbers_only(np.stack([first.ravel(), second.ravel()], axis=1))
    assert_same_as_library(adopted(model), 500, rows)


@pytest.mark.parametrize(
    ("option", "kinds"),
    [
        ({}, {(-np.inf, False), (np.inf, False)}),
        ({"zero_as_missing": True}, {(-np.inf, True), (np.inf, True)}),
        ({"use_missing": False}, {(0.0, False)}),
    ],
)
def test_what_is_missing_and_where_it_goes_are_read_from_every_node(
    option: dict[str, Any], kinds: set[tuple[float, bool]]
) -> None:
    columns = adopted(booster("regression", ("missing",) * 4, **option)).trees.columns
    found = {(column.missing, column.zero_is_missing) for column in columns if isinstance(column, Number)}
    assert found == kinds


def test_a_model_that_has_seen_no_missing_value_takes_it_for_zero() -> None:
    model = adopted(booster("regression", ("normal", "sparse")))
    assert all(column == Number(column.feature, 0.0) for column in model.trees.columns)
    numbers = np.array([[np.nan, 1.0], [0.0, 1.0], [1.0, np.nan], [1.0, 0.0]])
    value = predicted(model, numbers_only(numbers))["value"]
    assert value[0] == value[1]
    assert value[2] == value[3]
    assert_same_as_library(model, 500)


def test_a_split_on_being_missing_alone_has_an_infinite_threshold() -> None:
    numbers = table()
    model = lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(numbers, np.isnan(numbers[:, 0])), 2)
    for own in (model, booster("multiclass", ("missing",) * 4, **FOREST, max_bin=3)):
        assert re.search(r"\nthreshold=.*\binf\b", own.model_to_string())
        extremes = numbers.copy()
        extremes[::2] = np.copysign(1e300, extremes[::2])
        assert_same_as_library(adopted(own), 300, numbers_only(extremes))


# --- the scikit-learn wrappers ----------------------------------------------------------------------------------------


ESTIMATORS: list[tuple[Any, dict[str, Any], str]] = [
    (lightgbm.LGBMClassifier, {}, "binary"),
    (lightgbm.LGBMClassifier, {"classes": 3}, "multiclass"),
    (lightgbm.LGBMClassifier, {"classes": 3, "objective": "multiclassova"}, "multiclass"),
    (lightgbm.LGBMClassifier, {"objective": "cross_entropy"}, "binary"),
    (lightgbm.LGBMClassifier, {"boosting_type": "rf", "subsample_freq": 1, "subsample": 0.6}, "binary"),
    (lightgbm.LGBMRegressor, {}, "regression"),
    (lightgbm.LGBMRegressor, {"objective": "tweedie"}, "regression"),
    (lightgbm.LGBMRegressor, {"linear_tree": True}, "regression"),
    (lightgbm.LGBMRanker, {}, "ranking"),
    (lightgbm.LGBMRanker, {"objective": "rank_xendcg"}, "ranking"),
]


@pytest.mark.parametrize(("kind", "options", "task"), ESTIMATORS)
def test_an_estimator_predicts_what_its_own_predict_gives(kind: Any, options: dict[str, Any], task: str) -> None:
    if options.get("objective") == "tweedie":
        estimator = kind(n_estimators=4, n_jobs=1, verbose=-1, **options).fit(table(), np.abs(signal(table())))
    elif options.get("objective") == "cross_entropy":
        estimator = kind(n_estimators=4, n_jobs=1, verbose=-1, **options).fit(table(), signal(table()) > 0)
    else:
        estimator = fitted(kind, **options)
    model = adopted(estimator)
    assert model.task == task
    assert_same_as_library(model, 800)
    numbers = table(seed=8)
    found = predicted(model, numbers_only(numbers))
    with quiet():
        if task in ("binary", "multiclass"):
            assert model.classes == tuple(str(label) for label in estimator.classes_)
            np.testing.assert_array_equal(found["probability"], estimator.predict_proba(numbers))
            np.testing.assert_array_equal(estimator.classes_[found["label"]], estimator.predict(numbers))
        else:
            np.testing.assert_array_equal(found["value"][:, 0], estimator.predict(numbers))


def test_early_stopping_and_the_number_of_iterations(tmp_path: Path) -> None:
    numbers, label = table(), signal(table())
    data = lightgbm.Dataset(numbers[:150], label[:150])
    valid = lightgbm.Dataset(numbers[150:], label[150:], reference=data)
    parameters = {"num_threads": 1, "verbose": -1, "learning_rate": 0.9, "num_leaves": 31, "min_data_in_leaf": 1}
    stop = lightgbm.early_stopping(2, verbose=False)
    model = lightgbm.train(parameters, data, 60, valid_sets=[valid], callbacks=[stop], keep_training_booster=True)
    assert 2 < model.best_iteration < model.current_iteration()
    read = adopted(model)
    assert len(read.trees.roots) == model.best_iteration
    np.testing.assert_array_equal(predicted(read, numbers_only(numbers))["value"][:, 0], model.predict(numbers))
    assert_same_as_library(read, 300)
    for first, count in ((0, 2), (1, 2)):
        model.save_model(tmp_path / "part.txt", start_iteration=first, num_iteration=count)
        part = SOURCE.read(tmp_path / "part.txt")
        assert part.trees is not None
        assert len(part.trees.roots) == count
        expected = model.predict(numbers, start_iteration=first, num_iteration=count)
        np.testing.assert_array_equal(predicted(part, numbers_only(numbers))["value"][:, 0], expected)


# --- what other converters get wrong ----------------------------------------------------------------------------------


def test_linear_trees_in_a_graph() -> None:
    assert_same_as_graphs(adopted(booster(linear_tree=True)))


@pytest.mark.parametrize("option", ["zero is missing", "nothing is missing", "random forest", "dart"])
def test_options_in_a_graph(option: str) -> None:
    assert_same_as_graphs(adopted(booster(**OPTIONS[option])))


@pytest.mark.parametrize("objective", ["binary", "multiclassova", "cross_entropy_lambda", "lambdarank", "poisson"])
def test_links_in_a_graph(objective: str) -> None:
    assert_same_as_graphs(adopted(booster(objective)))


def test_numbers_above_2_to_the_24() -> None:
    model = booster("regression", ("large", "large"), min_data_in_bin=1)
    thresholds = own_thresholds(model)
    assert any((own.astype(np.float32) != own).any() for own in thresholds)
    read = adopted(model)
    # Whole numbers that float32 does not have are told apart in float64, as LightGBM does.
    whole = np.arange(-60.0, 61)[:, None] + (1 << 25)
    rows = numbers_only(np.concatenate([whole, np.roll(whole, 7)], axis=1))
    assert_same_as_library(read, 500, rows)
    assert_same_as_graphs(read)


def test_a_row_exactly_on_a_double_threshold_goes_left() -> None:
    model = booster("regression", ("normal",))
    (thresholds,) = own_thresholds(model)
    assert (thresholds.astype(np.float32) != thresholds).all()
    assert_same_as_library(adopted(model), 100, rows_beside([thresholds]))


def test_named_columns() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(table(), columns=["alter", "größe", "x=1", "d"])
    model = adopted(lightgbm.LGBMRegressor(n_estimators=3, n_jobs=1, verbose=-1).fit(frame, signal(table())))
    assert [column.name for column in model.columns] == ["alter", "größe", "x=1", "d"]
    assert_same_as_library(model, 300)
    assert [column.name for column in adopted(booster()).columns] == ["Column_0", "Column_1", "Column_2", "Column_3"]


# --- categories -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("onehot", [1, 2000])
@pytest.mark.parametrize("sizes", [(2,), (7, 3), (40,), (1000, 7)])
def test_category_splits_of_sets_and_of_single_ones(sizes: tuple[int, ...], onehot: int) -> None:
    model = adopted(category_booster(*sizes, max_cat_to_onehot=onehot))
    sets = [column for column in model.trees.columns if isinstance(column, Membership)]
    assert sets
    assert any(len(column.members) > 1 for column in sets) == (onehot == 1 and max(sizes) > 2)
    assert not any(member < 2 for column in sets for member in column.members)
    assert_same_as_library(model, 1_500)
    assert_same_as_graphs(model)


@pytest.mark.parametrize("option", [{"zero_as_missing": True}, {"use_missing": False}, {"linear_tree": True}])
def test_categories_beside_other_options(option: dict[str, Any]) -> None:
    assert_same_as_library(adopted(category_booster(9, max_cat_to_onehot=1, **option)), 1_000)


def test_known_numbers_are_those_of_the_training_data_and_any_other_is_as_good_as_missing() -> None:
    random = np.random.Generator(np.random.PCG64(1))
    own = random.choice([3.0, 5.0, 2_000.0, -4.0, np.nan, 7.9], 500)
    numbers = np.stack([random.standard_normal(500), own], axis=1)
    label = (own == 3) * 2.0 + (own == 2_000) - (own == 7.9) + 0.1 * numbers[:, 0]
    parameters = {"num_threads": 1, "verbose": -1, "min_data_per_group": 1, "cat_smooth": 0.0, "max_cat_to_onehot": 1}
    with quiet():
        model = lightgbm.train(parameters, lightgbm.Dataset(numbers, label, categorical_feature=[1]), 4)
    read = adopted(model)
    assert read.columns[1] == InputColumn("Column_1", "category", ("3", "5", "7", "2000"))
    assert_same_as_library(read, 800)
    codes = np.array([[0], [1], [-1], [99]], np.int32)
    value = predicted(read, Rows(np.zeros((4, 1)), codes))["value"][:, 0]
    others = np.array([[0.0, other] for other in (np.nan, 4.0, -1.0, 12345.0)])
    np.testing.assert_array_equal(value, model.predict(others))


@cache
def frame_model() -> tuple[Any, Any]:
    """A classifier of a data frame with text, whole-number, fractional and yes-or-no categories, and the frame."""
    pandas = pytest.importorskip("pandas")
    random = np.random.Generator(np.random.PCG64(4))
    color, zone = random.choice(["rot", "grün", "blau"], 600), random.integers(5, 9, 600)
    frame = pandas.DataFrame(
        {
            "size": random.standard_normal(600),
            "color": pandas.Categorical(color, categories=["rot", "grün", "blau", "nie"]),
            "always": pandas.Categorical(["same"] * 600),
            "zone": pandas.Categorical(zone),
            "half": pandas.Categorical(random.integers(0, 3, 600) / 2),
            "yes": pandas.Categorical(random.random(600) < 0.5),
        }
    )
    frame.loc[:60, "color"] = None
    label = frame["size"] + 2 * (color == "rot") + (zone % 2) + 2 * frame["color"].isna() - frame["half"].cat.codes > 1
    estimator = lightgbm.LGBMClassifier(
        n_estimators=8, n_jobs=1, verbose=-1, min_data_per_group=1, cat_smooth=0.0, max_cat_to_onehot=1, num_leaves=12
    )
    return estimator.fit(frame, label), frame


@pytest.mark.parametrize("from_file", [False, True])
def test_a_data_frames_categories_keep_their_names_and_order(tmp_path: Path, from_file: bool) -> None:
    pandas = pytest.importorskip("pandas")
    estimator, frame = frame_model()
    estimator.booster_.save_model(tmp_path / "model.txt")
    model = SOURCE.read(tmp_path / "model.txt") if from_file else adopted(estimator)
    assert model.columns == (
        InputColumn("size", "number"),
        InputColumn("color", "category", ("rot", "grün", "blau", "nie")),
        InputColumn("always", "category", ("same",)),
        InputColumn("zone", "category", ("5", "6", "7", "8")),
        InputColumn("half", "category", ("0.0", "0.5", "1.0")),
        InputColumn("yes", "category", ("False", "True")),
    )
    assert_same_as_library(model, 1_500)
    assert_same_as_graphs(model)
    names = [column.name for column in model.columns if column.kind == "category"]
    codes = np.stack([frame[name].cat.codes for name in names], axis=1).astype(np.int32)
    rows = Rows(frame[["size"]].to_numpy(), np.where(codes < 0, 0, codes + 2).astype(np.int32))
    np.testing.assert_array_equal(predicted(model, rows)["probability"], estimator.predict_proba(frame))
    # An unknown category is what LightGBM makes of one that its table does not have.
    rows.categories[:, 0] = 1
    unseen = frame.assign(color=pandas.Categorical(["lila"] * 600))
    np.testing.assert_array_equal(predicted(model, rows)["probability"], estimator.predict_proba(unseen))


def test_a_data_frame_whose_names_cannot_be_told_apart_is_refused() -> None:
    pandas = pytest.importorskip("pandas")
    code = np.arange(ROWS) % 3
    ordered = pandas.DataFrame({"a": pandas.Categorical(code), "b": pandas.Categorical(code, ordered=True)})
    alike = pandas.DataFrame({"a": pandas.Categorical.from_codes(code, [1, "1", 2])})
    for frame, problem in ((ordered, "categories of 2 columns, and 1"), (alike, "the same text")):
        model = lightgbm.LGBMRegressor(n_estimators=2, n_jobs=1, verbose=-1).fit(frame, code)
        with pytest.raises(UnsupportedModelError, match=problem) as error:
            SOURCE.adopt(model)
        assert error.value.code == "ambiguous-categories"


# --- another oracle ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["regression", "multiclass", "binary"])
def test_treelite_reads_the_same_leaves(objective: str) -> None:
    oracle = treelite.frontend.from_lightgbm(booster(objective))
    model = adopted(booster(objective))
    rows = verification_rows(model, 500, doubles=True)
    # Treelite does not take for 0 what is as small as LightGBM's zero.
    rows = rows[np.flatnonzero(~((rows.numbers != 0) & (np.abs(rows.numbers) <= ZERO)).any(axis=1))]
    assert len(rows) > 300
    np.testing.assert_allclose(
        treelite.gtil.predict(oracle, rows.numbers, pred_margin=True, nthread=1).reshape(len(rows), -1),
        model.trees.scores(rows.numbers, rows.categories),
        rtol=1e-12,
        atol=1e-12,
    )


# --- random models ----------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(lightgbm_recipes())
def test_random_models(drawn: Recipe) -> None:
    assert_same_as_library(adopted(train_lightgbm(drawn)), 600)


@pytest.mark.torture
@settings(max_examples=3_400)
@given(lightgbm_recipes())
def test_many_random_models(drawn: Recipe) -> None:
    assert_same_as_library(adopted(train_lightgbm(drawn)), 600)
