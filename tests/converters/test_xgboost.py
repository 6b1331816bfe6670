"""XGBoost's models as the source reads them, against XGBoost itself and against Treelite."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import treelite
import xgboost
from hypothesis import given, settings
from numpy.typing import NDArray

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.graph.links import link_reference
from nearhand_converters.graph.trees.form import Membership, Number
from nearhand_converters.parity.rows import verification_rows
from nearhand_converters.sources.model import InputColumn, Rows
from tests.converters.booster_checks import assert_same_as_graphs, assert_same_as_library, predicted, rows_beside
from tests.converters.random_boosters import XGBOOST_OBJECTIVES, Recipe, quiet, train_xgboost, xgboost_recipes
from tests.converters.xgboost_models import (
    LINEAR,
    ROWS,
    SOURCE,
    adopted,
    booster,
    category_booster,
    fitted,
    signal,
    table,
)


def own_thresholds(model: Any) -> list[NDArray[np.float32]]:
    """The thresholds of each column, as XGBoost prints its trees."""
    found: list[list[float]] = [[] for _ in range(model.num_features())]

    def walk(node: Mapping[str, Any]) -> None:
        if "children" in node:
            if not isinstance(node["split_condition"], list):
                found[int(node["split"].removeprefix("f"))].append(node["split_condition"])
            for child in node["children"]:
                walk(child)

    for tree in model.get_dump(dump_format="json"):
        walk(json.loads(tree))
    return [np.unique(np.array(own, np.float32)) for own in found]


# --- objectives and boosters ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", XGBOOST_OBJECTIVES)
@pytest.mark.parametrize("booster_name", ["gbtree", "dart"])
def test_an_objective_predicts_as_xgboost_does_on_and_beside_every_threshold(objective: str, booster_name: str) -> None:
    options = {"booster": "dart", "rate_drop": 0.5} if booster_name == "dart" else {}
    model = booster(objective, **options)
    thresholds = own_thresholds(model)
    assert sum(map(len, thresholds)) > 8
    assert_same_as_library(adopted(model), 1_000, rows_beside(thresholds))


def test_an_objective_says_what_it_is_for() -> None:
    told = {name: adopted(booster(name)) for name in XGBOOST_OBJECTIVES}
    assert {name for name, model in told.items() if model.task == "ranking"} == {
        "rank:pairwise",
        "rank:ndcg",
        "rank:map",
    }
    assert told["multi:softprob"].classes == told["multi:softmax"].classes == ("0", "1", "2")
    # Three yes-or-no targets at once are three values; see recipe.
    assert told["binary:logistic"].task == "regression"
    assert told["binary:hinge"].task == told["binary:logitraw"].task == "binary"
    assert not told["binary:logitraw"].gives_probability
    assert told["reg:quantileerror"].trees.base.shape == (3,)
    assert told["reg:gamma"].source == "xgboost Booster reg:gamma"


OPTIONS: dict[str, dict[str, Any]] = {
    "exact": {"tree_method": "exact"},
    "approx": {"tree_method": "approx"},
    "lossguide": {"grow_policy": "lossguide", "max_leaves": 9},
    "parallel": {"num_parallel_tree": 3, "subsample": 0.5},
    "vector leaves": {"multi_strategy": "multi_output_tree"},
    "vector leaves, parallel": {"multi_strategy": "multi_output_tree", "num_parallel_tree": 2, "subsample": 0.5},
    "one leaf": {"min_child_weight": 1e9},
    "pruned": {"tree_method": "exact", "gamma": 5.0},
    "deep": {"max_depth": 20, "min_child_weight": 0, "lambda": 0},
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("objective", ["reg:squarederror", "multi:softprob"])
def test_an_option_changes_nothing_but_the_trees(objective: str, option: str) -> None:
    model = booster(objective, **OPTIONS[option])
    read = adopted(model)
    assert_same_as_library(read, 1_000)
    if option == "one leaf":
        assert read.trees.is_leaf.all()
    if option == "pruned":
        assert len(read.trees.left) < len(adopted(booster(objective, tree_method="exact")).trees.left)
    if option == "deep":
        assert read.trees.depth > 9


def test_a_tree_of_depth_20() -> None:
    numbers = np.arange(2_000, dtype=np.float32)[:, None]
    noise = np.random.Generator(np.random.PCG64(1)).standard_normal(2_000) ** 3
    data = xgboost.DMatrix(numbers, noise, nthread=1)
    options = {"max_depth": 20, "min_child_weight": 0, "lambda": 0, "nthread": 1, "tree_method": "exact"}
    read = adopted(xgboost.train(options, data, 2))
    assert read.trees.depth == 20
    assert_same_as_library(read)


@pytest.mark.parametrize("base", [{}, {"base_score": 0.3}])
@pytest.mark.parametrize("objective", ["binary:hinge", "reg:logistic", "count:poisson", "survival:aft", "rank:ndcg"])
def test_base_score_is_undone_by_the_objective(objective: str, base: dict[str, float]) -> None:
    # One round with a tiny step: what is predicted is the base score.
    model = adopted(booster(objective, eta=1e-6, **base))
    assert_same_as_library(model, 200)
    if base and objective != "binary:hinge":
        value = predicted(model, verification_rows(model, 50))["value"]
        np.testing.assert_allclose(value, 0.3, rtol=1e-3)


def test_base_score_is_its_own_for_each_class_target_and_quantile() -> None:
    for objective in ("multi:softprob", "reg:squarederror", "reg:quantileerror"):
        model = adopted(booster(objective))
        if objective != "reg:squarederror":  # its targets are one label, rolled
            assert len(set(model.trees.base.tolist())) == 3


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_labels_that_are_all_equal_have_the_base_score_that_xgboost_clips(label: float) -> None:
    data = xgboost.DMatrix(table(), np.full(ROWS, label), nthread=1)
    assert_same_as_library(adopted(xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, 2)), 100)


@pytest.mark.parametrize("objective", ["reg:squarederror", "multi:softprob", "binary:logistic"])
def test_a_linear_booster_adds_nothing_for_a_missing_value(objective: str) -> None:
    with quiet():
        model = adopted(train_xgboost(Recipe(objective, ROWS, 1, ("normal", "missing"), outputs=3, options=LINEAR)))
    assert_same_as_library(model, 500)
    missing = Rows(np.full((1, 2), np.nan), np.empty((1, 0), np.int32))
    expected = link_reference(model.trees.base[None], model.link)
    np.testing.assert_allclose(next(iter(predicted(model, missing).values())), expected, rtol=1e-6)
    assert model.leaves(missing) is None


# --- the scikit-learn wrappers ----------------------------------------------------------------------------------------


ESTIMATORS: list[tuple[Any, dict[str, Any], str]] = [
    (xgboost.XGBClassifier, {}, "binary"),
    (xgboost.XGBClassifier, {"classes": 3}, "multiclass"),
    (xgboost.XGBClassifier, {"objective": "binary:hinge"}, "binary"),
    (xgboost.XGBClassifier, {"objective": "binary:logitraw"}, "binary"),
    (xgboost.XGBClassifier, {"objective": "reg:logistic"}, "binary"),
    (xgboost.XGBClassifier, {"booster": "dart", "rate_drop": 0.5}, "binary"),
    (xgboost.XGBRFClassifier, {"n_estimators": 3}, "binary"),
    (xgboost.XGBRegressor, {}, "regression"),
    (xgboost.XGBRegressor, {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.9]}, "regression"),
    (xgboost.XGBRFRegressor, {"n_estimators": 3}, "regression"),
    (xgboost.XGBRanker, {}, "ranking"),
    (xgboost.XGBRanker, {"objective": "rank:pairwise"}, "ranking"),
]


@pytest.mark.parametrize(("kind", "options", "task"), ESTIMATORS)
def test_an_estimator_predicts_what_its_own_predict_gives(kind: Any, options: dict[str, Any], task: str) -> None:
    estimator = fitted(kind, **options)
    model = adopted(estimator)
    assert model.task == task
    assert_same_as_library(model, 800)
    numbers = table(seed=8)
    found = predicted(model, Rows(numbers.astype(np.float64), np.empty((ROWS, 0), np.int32)))
    if task in ("binary", "multiclass"):
        np.testing.assert_array_equal(found["label"], estimator.predict(numbers))
        if model.gives_probability:
            # In place, XGBoost adds dart's trees in another order.
            error = 1e-6 if options.get("booster") == "dart" else 0
            np.testing.assert_allclose(found["probability"], estimator.predict_proba(numbers), error)
        else:
            np.testing.assert_array_equal(found["score"][:, 0], estimator.predict(numbers, output_margin=True))
    else:
        np.testing.assert_array_equal(found["value"].reshape(ROWS, -1).squeeze(), estimator.predict(numbers))


@pytest.mark.parametrize("booster_name", ["gbtree", "dart"])
def test_early_stopping_leaves_the_rounds_that_the_wrapper_predicts_with(tmp_path: Path, booster_name: str) -> None:
    numbers, label = table(), signal(table()) > 0
    with quiet():
        estimator = xgboost.XGBClassifier(
            booster=booster_name, n_estimators=40, max_depth=5, learning_rate=0.9, early_stopping_rounds=2, n_jobs=1
        ).fit(numbers[:150], label[:150], eval_set=[(numbers[150:], label[150:])], verbose=False)
    stopped = adopted(estimator)
    assert len(stopped.trees.roots) == estimator.best_iteration + 1 < estimator.get_booster().num_boosted_rounds()
    assert_same_as_library(stopped, 500)
    rows = Rows(numbers.astype(np.float64), np.empty((ROWS, 0), np.int32))
    np.testing.assert_allclose(predicted(stopped, rows)["probability"], estimator.predict_proba(numbers), 1e-6)
    # The wrapper's file says so too; a plain Booster predicts with every round.
    estimator.save_model(tmp_path / "stopped.json")
    read = SOURCE.read(tmp_path / "stopped.json")
    assert read.trees is not None
    np.testing.assert_array_equal(read.trees.values, stopped.trees.values)
    whole = adopted(estimator.get_booster())
    assert len(whole.trees.roots) == estimator.get_booster().num_boosted_rounds()


def test_a_slice_of_a_booster_has_its_rounds_alone() -> None:
    model = booster("multi:softprob")
    read = adopted(model[1:3])
    assert len(read.trees.roots) == 2 * 3
    assert_same_as_library(read, 500)


# --- what other converters get wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["rank:pairwise", "rank:ndcg", "rank:map"])
def test_a_ranker_of_a_booster_and_of_a_wrapper(objective: str) -> None:
    assert_same_as_graphs(adopted(booster(objective)))
    assert_same_as_graphs(adopted(fitted(xgboost.XGBRanker, objective=objective)))


@pytest.mark.parametrize("objective", ["reg:logistic", "binary:hinge", "reg:squarederror", "multi:softprob"])
def test_links_and_several_outputs_in_a_graph(objective: str) -> None:
    assert_same_as_graphs(adopted(booster(objective)))


def test_dart_in_a_graph() -> None:
    model = adopted(booster("reg:squarederror", booster="dart", rate_drop=0.9))
    plain = adopted(booster("reg:squarederror"))
    assert not np.array_equal(model.trees.values, plain.trees.values)
    assert_same_as_graphs(model)


def test_vector_leaves_and_a_linear_booster_in_a_graph() -> None:
    assert_same_as_graphs(adopted(booster("multi:softprob", multi_strategy="multi_output_tree")))
    with quiet():
        linear = train_xgboost(Recipe("multi:softprob", ROWS, 1, ("normal", "missing"), outputs=3, options=LINEAR))
    assert_same_as_graphs(adopted(linear))


def test_named_columns() -> None:
    pandas = pytest.importorskip("pandas")
    names = ["age", "a b", "größe", "f3"]
    frame = pandas.DataFrame(table(), columns=names)
    with quiet():
        estimator = xgboost.XGBRegressor(n_estimators=3, n_jobs=1).fit(frame, signal(table()))
    model = adopted(estimator)
    assert [column.name for column in model.columns] == names
    assert_same_as_library(model, 500)
    assert_same_as_graphs(model)
    assert [column.name for column in adopted(booster()).columns] == ["f0", "f1", "f2", "f3"]


@pytest.mark.parametrize("missing", [0.0, -999.0, 1.5, 3.4028235e38])
def test_a_number_that_stands_for_a_missing_value(missing: float) -> None:
    estimator = fitted(xgboost.XGBRegressor, missing=missing)
    model = adopted(estimator)
    assert all(isinstance(column, Number) and column.sentinel == np.float32(missing) for column in model.trees.columns)
    numbers = table(seed=8)
    numbers[::3, 1] = missing
    numbers[1::3, 2] = np.nextafter(np.float32(missing), np.float32(0 if missing else 1))
    rows = Rows(numbers.astype(np.float64), np.empty((ROWS, 0), np.int32))
    assert_same_as_library(model, 1_000, rows)
    np.testing.assert_array_equal(predicted(model, rows)["value"][:, 0], estimator.predict(numbers))
    # NaN is missing beside it, and is the same.
    told = np.where(numbers == np.float32(missing), np.nan, numbers).astype(np.float64)
    np.testing.assert_array_equal(
        predicted(model, Rows(told, rows.categories))["value"], predicted(model, rows)["value"]
    )
    assert_same_as_graphs(model)


# --- categories -------------------------------------------------------------------------------------------------------


def category_table(sizes: tuple[int, ...], rows: int = ROWS, seed: int = 3) -> NDArray[np.float64]:
    return Recipe("", rows, seed, ("normal", "missing"), sizes).table(np.float32)


@pytest.mark.parametrize("onehot", [1, 2000])
@pytest.mark.parametrize("sizes", [(2,), (7, 3), (40,), (1000, 7)])
def test_category_splits_of_sets_and_of_single_ones(sizes: tuple[int, ...], onehot: int) -> None:
    model = adopted(category_booster(*sizes, max_cat_to_onehot=onehot))
    sets = [column for column in model.trees.columns if isinstance(column, Membership)]
    assert sets
    assert any(len(column.members) > 2 for column in sets) == (onehot == 1 and max(sizes) > 2)
    assert_same_as_library(model, 1_500)
    assert_same_as_graphs(model)


def test_known_categories_of_bare_numbers_are_those_that_a_node_asks_about_and_any_other_goes_left() -> None:
    model = adopted(category_booster(40, max_cat_to_onehot=1))
    (column,) = [column for column in model.columns if column.kind == "category"]
    assert column == InputColumn("f2", "category", tuple(sorted(column.categories, key=int)))
    numbers = np.zeros((3, 2))
    codes = np.array([[0], [1], [2]], np.int32)
    leaves = model.leaves(Rows(numbers, codes))
    assert leaves is not None
    np.testing.assert_array_equal(model.trees.leaves(numbers, codes), leaves)
    # XGBoost's own answer to a number it has never seen, which is not the one to a missing value.
    unseen, missing = predicted(model, Rows(numbers, codes))["value"][[1, 0], 0]
    matrix = np.array([[0, 0, 987]], np.float32)
    types = ["float", "float", "c"]
    told = category_booster(40, max_cat_to_onehot=1).predict(xgboost.DMatrix(matrix, feature_types=types, nthread=1))
    assert unseen == told[0] != missing


def test_codes_that_no_category_has_are_unknown() -> None:
    model = adopted(category_booster(7))
    rows = Rows(np.zeros((3, 2)), np.array([[1], [-5], [99]], np.int32))
    value = predicted(model, rows)["value"]
    assert value[0] == value[1] == value[2]


@cache
def frame_model(missing: float = np.nan) -> tuple[Any, Any]:
    """A classifier of a data frame with text and whole-number categories, and the frame."""
    pandas = pytest.importorskip("pandas")
    random = np.random.Generator(np.random.PCG64(4))
    color = random.choice(["red", "green", "blue", "yellow", "black"], 500)
    zone = random.integers(5, 12, 500)
    frame = pandas.DataFrame(
        {
            "size": random.standard_normal(500).astype(np.float32),
            "color": pandas.Categorical(color, categories=["red", "green", "blue", "yellow", "black"]),
            "zone": pandas.Categorical(zone),
        }
    )
    frame.loc[:60, "color"] = None
    label = (frame["size"] + (color == "red") + (zone % 3 == 0) - 2.0 * frame["color"].isna() > 0.5).astype(int)
    estimator = xgboost.XGBClassifier(
        n_estimators=6, max_depth=4, enable_categorical=True, max_cat_to_onehot=1, n_jobs=1, missing=missing
    )
    with quiet():
        return estimator.fit(frame, label), frame


@pytest.mark.parametrize("missing", [np.nan, 0.0, 2.0])
def test_a_data_frames_categories_keep_their_names_and_order(missing: float) -> None:
    estimator, frame = frame_model(missing)
    model = adopted(estimator)
    assert model.columns == (
        InputColumn("size", "number"),
        InputColumn("color", "category", ("red", "green", "blue", "yellow", "black")),
        InputColumn("zone", "category", ("5", "6", "7", "8", "9", "10", "11")),
    )
    assert_same_as_library(model, 1_500)
    assert_same_as_graphs(model)
    codes = np.stack([frame["color"].cat.codes + 2, frame["zone"].cat.codes + 2], axis=1).astype(np.int32)
    rows = Rows(frame[["size"]].to_numpy(np.float64), np.where(codes == 1, 0, codes).astype(np.int32))
    np.testing.assert_array_equal(predicted(model, rows)["probability"], estimator.predict_proba(frame))


def test_an_unknown_category_with_names_counts_as_missing_whatever_xgboost_makes_of_it() -> None:
    pandas = pytest.importorskip("pandas")
    estimator, frame = frame_model()
    model = adopted(estimator)
    rows = Rows(np.zeros((4, 1)), np.array([[0, 5], [1, 5], [5, 0], [5, 1]], np.int32))
    probability = predicted(model, rows)["probability"]
    np.testing.assert_array_equal(probability[0], probability[1])
    np.testing.assert_array_equal(probability[2], probability[3])
    # XGBoost 3.2 takes it for the next name in the order of the alphabet, or refuses it behind the last.
    one = frame.iloc[:1].assign(color=pandas.Categorical(["grey"]))
    next_one = frame.iloc[:1].assign(color=pandas.Categorical(["red"]))
    np.testing.assert_array_equal(estimator.predict_proba(one), estimator.predict_proba(next_one))
    with pytest.raises(xgboost.core.XGBoostError, match="not in the training set"):
        estimator.predict_proba(frame.iloc[:1].assign(color=pandas.Categorical(["zinc"])))


@pytest.mark.parametrize("names", [["rot", "grün", "blau"], ["ü", "ö"]])
def test_names_that_xgboost_does_not_keep_whole_are_refused(names: list[str]) -> None:
    pandas = pytest.importorskip("pandas")
    code = np.arange(ROWS) % len(names)
    frame = pandas.DataFrame({"color": pandas.Categorical.from_codes(code, names)})
    with quiet():
        estimator = xgboost.XGBClassifier(n_estimators=2, enable_categorical=True, n_jobs=1).fit(frame, code == 0)
    with pytest.raises(UnsupportedModelError, match="not ASCII") as error:
        SOURCE.adopt(estimator)
    assert error.value.code == "category-names"


# --- another oracle ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["reg:squarederror", "multi:softprob", "binary:hinge", "count:poisson"])
def test_treelite_reads_the_same_leaves(objective: str) -> None:
    oracle = treelite.frontend.from_xgboost(booster(objective))
    model = adopted(booster(objective))
    rows = verification_rows(model, 500)
    numbers = rows.numbers.astype(np.float32)
    np.testing.assert_allclose(
        treelite.gtil.predict(oracle, numbers, pred_margin=True, nthread=1).reshape(500, -1),
        model.trees.scores(rows.numbers, rows.categories),
        rtol=1e-5,
        atol=1e-5,
    )


# --- random models ----------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(xgboost_recipes())
def test_random_models(drawn: Recipe) -> None:
    assert_same_as_library(adopted(train_xgboost(drawn)), 600)


@pytest.mark.torture
@settings(max_examples=3_400)
@given(xgboost_recipes())
def test_many_random_models(drawn: Recipe) -> None:
    assert_same_as_library(adopted(train_xgboost(drawn)), 600)
