"""scikit-learn's trees in the neutral form: the library's own leaves and predictions, or a refusal."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    RandomTreesEmbedding,
)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor
from threadpoolctl import threadpool_limits

from nearhand_converters.errors import SourceError, UnsupportedModelError
from nearhand_converters.graph.trees.form import Membership
from nearhand_converters.sources.model import InputColumn, Rows
from nearhand_converters.sources.sklearn_trees import sklearn_tree_model
from nearhand_converters.sources.tree_model import TreeModel
from tests.converters.random_forests import (
    Fitted,
    assert_exact,
    assert_predicts,
    coded,
    random_data,
    sklearn_models,
)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Histogram boosting would take all processors."""
    with threadpool_limits(1):
        yield


DATA = random_data(0, 150, ["normal", "on a grid", "whole", "huge"], [])
HOLES = random_data(1, 150, ["normal", "missing", "whole", "missing"], [])
CATEGORIES = random_data(2, 200, ["normal", "missing"], [5, 60])
TWO, THREE = np.array(["no", "yes"]), np.array([7, 8, 9])


def read(estimator: Any, columns: tuple[InputColumn, ...] | None = None) -> TreeModel:
    model = sklearn_tree_model(estimator, columns)
    assert model is not None
    return model


def positive(target: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.exp(target - target.max())
    return found


SINGLE = [DecisionTreeClassifier, ExtraTreeClassifier, RandomForestClassifier, ExtraTreesClassifier]
SINGLE_VALUES = [DecisionTreeRegressor, ExtraTreeRegressor, RandomForestRegressor, ExtraTreesRegressor]


def small(kind: Callable[..., Any], **options: Any) -> Any:
    """Few trees, if it has several."""
    several = "n_estimators" in kind.__init__.__code__.co_varnames
    return kind(**({"n_estimators": 5} if several else {}), random_state=0, **options)


@pytest.mark.parametrize("data", [DATA, HOLES], ids=["finite", "missing"])
@pytest.mark.parametrize("names", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize("kind", SINGLE)
def test_trees_and_forests_of_classes(kind: Callable[..., Any], names: NDArray[Any], data: Any) -> None:
    labels = names[data.classes(len(names))]
    for options in ({}, {"max_leaf_nodes": 8, "class_weight": "balanced"}, {"max_depth": 3, "criterion": "entropy"}):
        model = read(small(kind, **options).fit(data.numbers, labels))
        assert model.task == ("binary" if len(names) == 2 else "multiclass")
        assert model.classes == tuple(map(str, names))
        assert_exact(model)


@pytest.mark.parametrize("data", [DATA, HOLES], ids=["finite", "missing"])
@pytest.mark.parametrize("kind", SINGLE_VALUES)
def test_trees_and_forests_of_numbers(kind: Callable[..., Any], data: Any) -> None:
    for target in (data.target, np.stack([data.target, -data.target, data.target**2], axis=1)):
        for options in ({}, {"max_depth": 3, "min_samples_leaf": 4}, {"max_leaf_nodes": 2}):
            model = read(small(kind, **options).fit(data.numbers, target))
            assert model.task == "regression"
            assert_exact(model)
    assert_exact(read(small(kind, criterion="poisson").fit(data.numbers, positive(data.target))))


def test_missing_values_against_all_others_are_a_split_of_their_own() -> None:
    numbers = HOLES.numbers.copy()
    tree = DecisionTreeRegressor(max_depth=2).fit(numbers, np.isnan(numbers[:, 1]) * 5.0 + np.isnan(numbers[:, 3]))
    assert np.isinf(tree.tree_.threshold).any()
    assert_exact(read(tree))


def test_thresholds_between_two_floats_stay_between_them() -> None:
    """A threshold is a float64 even though the inputs are rounded to float32: x <= t has to be rounded down."""
    near = np.array([[1.0], [1 + 3 * 2.0**-23], [2.0]])
    tree = DecisionTreeRegressor().fit(near, [0.0, 1.0, 2.0])
    assert (tree.tree_.threshold != tree.tree_.threshold.astype(np.float32)).any()
    model = read(tree)
    assert model.trees.precision == "float32"
    assert_exact(model)


def test_a_tree_of_one_leaf_is_read() -> None:
    assert_exact(read(DecisionTreeRegressor().fit(DATA.numbers, np.full(150, 3.0))))
    assert_exact(read(HistGradientBoostingRegressor(max_iter=2).fit(DATA.numbers[:9], DATA.target[:9])))


def test_a_deep_tree_is_read() -> None:
    data = random_data(3, 3000, ["normal"] * 6, [])
    tree = DecisionTreeRegressor(max_depth=20, random_state=0).fit(data.numbers, data.target)
    assert tree.get_depth() >= 18
    assert_exact(read(tree), 4000)


@pytest.mark.parametrize("loss", ["log_loss", "exponential"])
def test_gradient_boosting_of_two_classes(loss: str) -> None:
    labels = TWO[DATA.classes(2)]
    for options in ({}, {"init": "zero"}, {"subsample": 0.7, "learning_rate": 0.9}):
        assert_exact(read(GradientBoostingClassifier(n_estimators=5, loss=loss, **options).fit(DATA.numbers, labels)))


def test_gradient_boosting_of_three_classes() -> None:
    labels = THREE[DATA.classes(3)]
    for init in (None, "zero", DummyClassifier(strategy="prior"), DummyClassifier(strategy="uniform", random_state=0)):
        assert_exact(read(GradientBoostingClassifier(n_estimators=4, init=init).fit(DATA.numbers, labels)))


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile"])
def test_gradient_boosting_of_numbers(loss: str) -> None:
    for init in (None, "zero", DummyRegressor(strategy="quantile", quantile=0.2)):
        model = GradientBoostingRegressor(n_estimators=5, loss=loss, init=init).fit(DATA.numbers, DATA.target)
        assert_exact(read(model))


def test_gradient_boosting_gives_the_second_class_at_a_score_of_nought() -> None:
    model = read(GradientBoostingClassifier(n_estimators=1).fit(np.zeros((4, 1)), [0, 1, 0, 1]))
    rows = Rows(np.zeros((1, 1)), np.empty((1, 0), np.int32))
    assert model.trees.scores(rows.numbers, rows.categories) == 0
    assert model.predict(rows)["label"] == 1
    assert model.label_above < 0.5


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "quantile", "poisson", "gamma"])
def test_histogram_boosting_of_numbers(loss: str) -> None:
    for options in (
        {},
        {"max_depth": 2, "monotonic_cst": [1, 0, -1, 0]},
        {"max_bins": 16, "interaction_cst": "no_interactions"},
    ):
        estimator = HistGradientBoostingRegressor(loss=loss, quantile=0.3, max_iter=4, min_samples_leaf=3, **options)
        model = read(estimator.fit(HOLES.numbers, positive(HOLES.target)))
        assert model.trees.precision == "float64"
        assert_exact(model)


@pytest.mark.parametrize("names", [TWO, THREE], ids=["two", "three"])
def test_histogram_boosting_of_classes(names: NDArray[Any]) -> None:
    estimator = HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=3, class_weight="balanced")
    assert_exact(read(estimator.fit(HOLES.numbers, names[HOLES.classes(len(names))])))


def test_histogram_boosting_that_stopped_early_has_the_trees_it_predicts_with() -> None:
    estimator = HistGradientBoostingRegressor(max_iter=200, early_stopping=True, n_iter_no_change=2, random_state=0)
    model = read(estimator.fit(DATA.numbers, np.random.Generator(np.random.PCG64(0)).normal(size=150)))
    assert len(model.trees.roots) == estimator.n_iter_ < 50
    assert_exact(model)


def histogram(**options: Any) -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(max_iter=12, min_samples_leaf=2, **options)


def test_categories_by_place_are_known_by_their_texts() -> None:
    """Rows coded by the texts, without the reading's own way back to the library's values."""
    estimator = histogram(categorical_features=[2, 3]).fit(CATEGORIES.table, CATEGORIES.target)
    model = read(estimator)
    assert [column.kind for column in model.columns] == ["number", "number", "category", "category"]
    assert model.columns[2].categories == ("c0", "c1", "c2", "c3", "c4")
    assert "59" in model.columns[3].categories
    rows = coded(model, CATEGORIES.table)
    found = model.trees.scores(rows.numbers, rows.categories)[:, 0]
    np.testing.assert_allclose(found, estimator.predict(CATEGORIES.table), rtol=1e-9)
    assert any(isinstance(column, Membership) for column in model.trees.columns)
    assert_exact(model)


def test_categories_before_numbers_keep_their_places() -> None:
    table = CATEGORIES.table[:, [2, 0, 3, 1]]
    estimator = histogram(categorical_features=[True, False, True, False]).fit(table, CATEGORIES.target)
    model = read(estimator)
    rows = coded(model, table)
    found = model.trees.scores(rows.numbers, rows.categories)[:, 0]
    np.testing.assert_allclose(found, estimator.predict(table), rtol=1e-9)
    assert_exact(model)


@pytest.mark.parametrize("missing", [None, np.nan], ids=["None", "NaN"])
@pytest.mark.parametrize("numbers", [False, True], ids=["texts", "numbers"])
def test_missing_categories_go_where_the_library_sends_them(missing: Any, numbers: bool) -> None:
    """NaN is missing to scikit-learn, and None is a category like any other."""
    table = np.array([[None], [None]], object).repeat(75, axis=0)
    values = CATEGORIES.categories[:150, 1] if numbers else CATEGORIES.categories[:150, 0]
    table[:, 0] = values
    table[::4, 0] = missing
    target = CATEGORIES.target[:150] + 9.0 * np.array([value is missing for value in table[:, 0]])
    estimator = histogram(categorical_features=[0]).fit(table, target)
    model = read(estimator)
    rows = coded(model, table)
    found = model.trees.scores(rows.numbers, rows.categories)[:, 0]
    np.testing.assert_allclose(found, estimator.predict(table), rtol=1e-9)
    assert_exact(model)


def test_missing_categories_without_any_in_training_are_like_unknown_ones() -> None:
    model = read(histogram(categorical_features=[2, 3]).fit(CATEGORIES.table, CATEGORIES.target))
    codes = np.array([[0, 5], [1, 5], [3, 0], [3, 1]], np.int32)
    found = model.trees.scores(np.zeros((4, 2)), codes)[:, 0]
    assert found[0] == found[1]
    assert found[2] == found[3]


def test_float_categories_have_the_texts_of_whole_numbers() -> None:
    table = np.stack([np.round(DATA.numbers[:, 0] * 2), DATA.numbers[:, 1]], axis=1)
    model = read(histogram(categorical_features=[0]).fit(table, np.abs(table[:, 0]) % 2))
    assert {"-1", "0", "2"} <= set(model.columns[0].categories)
    assert_exact(model)


def test_a_frame_of_categories_is_read_by_its_names_and_types() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": CATEGORIES.numbers[:, 0], "kind": CATEGORIES.categories[:, 0]})
    frame["year"] = CATEGORIES.categories[:, 1].astype(int)
    for options, types in (
        ({}, {"kind": "category", "year": "category"}),
        ({"categorical_features": ["kind", "year"]}, {"kind": object}),
    ):
        typed = frame.astype(types)
        estimator = histogram(**options).fit(typed, CATEGORIES.target)
        model = read(estimator)
        assert [column.name for column in model.columns] == ["a", "kind", "year"]
        assert [column.kind for column in model.columns] == ["number", "category", "category"]
        rows = coded(model, frame.to_numpy(object))
        found = model.trees.scores(rows.numbers, rows.categories)[:, 0]
        np.testing.assert_allclose(found, estimator.predict(typed), rtol=1e-9)
        assert_exact(model)


def test_a_column_with_one_category_and_missing_values_is_read_as_the_library_reads_it() -> None:
    table = np.full((60, 2), "only", object)
    table[::2, 0] = np.nan
    table[:, 1] = DATA.numbers[:60, 0]
    target = np.arange(60) % 2 * 5.0 + DATA.numbers[:60, 0]
    assert_exact(read(histogram(categorical_features=[0]).fit(table, target)))


def test_names_of_a_frame_are_the_columns() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(DATA.numbers, columns=["u", "v", "w", "z"])
    model = read(RandomForestRegressor(n_estimators=3).fit(frame, DATA.target))
    assert [column.name for column in model.columns] == ["u", "v", "w", "z"]
    assert_exact(model)
    unnamed = read(RandomForestRegressor(n_estimators=3).fit(DATA.numbers, DATA.target))
    assert [column.name for column in unnamed.columns] == ["x0", "x1", "x2", "x3"]


def test_the_columns_of_a_pipeline_take_the_place_of_the_estimators_own() -> None:
    columns = tuple(InputColumn(name, "number") for name in "abcd")
    model = read(DecisionTreeRegressor(max_depth=3).fit(DATA.numbers, DATA.target), columns)
    assert model.columns == columns
    assert_exact(model)
    estimator = histogram(categorical_features=[2, 3]).fit(CATEGORIES.table, CATEGORIES.target)
    own = read(estimator).columns
    given_columns = (*columns[:2], InputColumn("k", "category", tuple("vwxyz")), own[3])
    assert_exact(read(estimator, given_columns))
    for wrong in ((*columns[:3], own[3]), (*columns[:2], InputColumn("k", "category", ("v",)), own[3])):
        with pytest.raises(UnsupportedModelError) as caught:
            sklearn_tree_model(estimator, wrong)
        assert caught.value.code == "category-mismatch"


@pytest.mark.parametrize("names", [TWO, THREE], ids=["two", "three"])
def test_ada_boost(names: NDArray[Any]) -> None:
    labels = names[DATA.classes(len(names))]
    for base in (None, DecisionTreeClassifier(max_depth=4), ExtraTreeClassifier(max_depth=2, random_state=0)):
        assert_exact(read(AdaBoostClassifier(base, n_estimators=6, random_state=0).fit(DATA.numbers, labels)))


def test_ada_boost_that_fits_perfectly_stops_and_is_read() -> None:
    estimator = AdaBoostClassifier(DecisionTreeClassifier(), n_estimators=9, random_state=0)
    estimator.fit(DATA.numbers, DATA.classes(3))
    assert len(estimator.estimators_) == 1
    assert_exact(read(estimator))


def test_bagging_of_trees_that_see_some_columns_and_some_classes() -> None:
    labels = THREE[HOLES.classes(3)]
    for options in ({}, {"max_features": 2}, {"max_samples": 4}, {"bootstrap_features": True}):
        estimator = BaggingClassifier(n_estimators=6, random_state=0, **options).fit(HOLES.numbers, labels)
        assert_exact(read(estimator))
        assert_exact(read(BaggingRegressor(n_estimators=4, random_state=0, **options).fit(HOLES.numbers, HOLES.target)))
    with config_context(enable_metadata_routing=True):  # then rows are left out, not only given the weight 0
        few = BaggingClassifier(n_estimators=6, max_samples=4, random_state=0).fit(HOLES.numbers, labels)
    assert any(len(each.classes_) < 3 for each in few.estimators_)
    assert_exact(read(few))
    one_column = HOLES.numbers[:, :1]
    assert_exact(read(BaggingRegressor(n_estimators=2, random_state=0).fit(one_column, HOLES.target)))


@pytest.mark.parametrize("labels", [["0", "1"], [False, True], [-1, 1], [3.0, 4.0]], ids=str)
def test_classes_of_any_type_are_texts(labels: list[Any]) -> None:
    estimator = DecisionTreeClassifier(max_depth=3).fit(DATA.numbers, np.array(labels)[DATA.classes(2)])
    model = read(estimator)
    assert model.classes == tuple(str(label).removesuffix(".0") for label in labels)
    assert_exact(model)


def test_an_estimator_that_refuses_missing_values_says_so() -> None:
    labels = DATA.classes(2)
    refuses = (
        GradientBoostingClassifier(n_estimators=2),
        AdaBoostClassifier(n_estimators=2),
        DecisionTreeClassifier(monotonic_cst=[1, 0, 0, 0]),
    )
    for estimator in refuses:
        tags = estimator.fit(DATA.numbers, labels)
        model = read(tags)
        takes = True
        try:
            estimator.predict(np.full((1, 4), np.nan))
        except ValueError:
            takes = False
        assert model.missing_allowed == takes
        assert_exact(model)
    assert not read(refuses[0]).missing_allowed
    assert read(DecisionTreeClassifier().fit(DATA.numbers, labels)).missing_allowed
    assert read(HistGradientBoostingClassifier(max_iter=2).fit(DATA.numbers, labels)).missing_allowed


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(n_estimators=4, random_state=0),
        ExtraTreesRegressor(n_estimators=4, random_state=0),
        GradientBoostingRegressor(n_estimators=4, random_state=0),
        GradientBoostingClassifier(n_estimators=4, random_state=0),
        HistGradientBoostingRegressor(max_iter=4),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_treelite_reads_the_same_trees(estimator: Any) -> None:
    treelite = pytest.importorskip("treelite")
    grid = np.round(DATA.numbers[:, :3], 1)  # its rows are float32 or float64 as a whole
    target: Any = DATA.classes(2) if "Classifier" in type(estimator).__name__ else DATA.target
    estimator.fit(grid, target)
    model = read(estimator)
    found = model.trees.scores(grid, np.empty((150, 0), np.int32))
    theirs = treelite.gtil.predict(treelite.sklearn.import_model(estimator), grid, pred_margin=True)
    np.testing.assert_allclose(found[:, -1], theirs.reshape(150, -1)[:, -1], rtol=1e-6, atol=1e-9)


def fitted(estimator: Any, target: Any = DATA.target) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(DATA.numbers, target)


REFUSED: list[tuple[str, Any, str, str]] = [
    ("two targets of classes", DecisionTreeClassifier(), "multi-output-classifier", "two labels"),
    ("one class", DecisionTreeClassifier(), "one-class", "one label"),
    ("a start from a model", GradientBoostingRegressor(n_estimators=1, init=LinearRegression()), "boosting-init", ""),
    (
        "a random start",
        GradientBoostingClassifier(n_estimators=1, init=DummyClassifier(strategy="stratified")),
        "boosting-init",
        "classes",
    ),
    ("a weighted median", AdaBoostRegressor(n_estimators=2), "weighted-median", ""),
    ("anomaly scores", IsolationForest(n_estimators=2), "anomaly-score", ""),
    ("an embedding", RandomTreesEmbedding(n_estimators=2), "tree-embedding", ""),
]


@pytest.mark.parametrize(("estimator", "code", "kind"), [each[1:] for each in REFUSED], ids=[e[0] for e in REFUSED])
def test_what_is_no_sum_of_trees_is_refused_with_a_remedy(estimator: Any, code: str, kind: str) -> None:
    labels = DATA.classes(2)
    target = {
        "two labels": np.stack([labels, 1 - labels], axis=1),
        "one label": np.zeros(150, int),
        "classes": labels,
        "": DATA.target,
    }[kind]
    with pytest.raises(UnsupportedModelError) as caught:
        sklearn_tree_model(fitted(estimator, target), None)
    assert caught.value.code == code
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_a_loss_that_is_an_object_is_refused() -> None:
    from sklearn._loss.loss import HalfSquaredError

    estimator = fitted(HistGradientBoostingRegressor(max_iter=1, loss=HalfSquaredError()))
    with pytest.raises(UnsupportedModelError) as caught:
        sklearn_tree_model(estimator, None)
    assert caught.value.code == "custom-loss"


def test_categories_with_the_same_text_are_refused() -> None:
    table = np.array([[1], [1.5], [2], [2.5]] * 10, object)
    estimator = histogram(categorical_features=[0]).fit(table, np.arange(40.0))
    estimator._preprocessor.named_transformers_["encoder"].categories_[0] = np.array([1, 1.0, "1", 2], object)
    with pytest.raises(UnsupportedModelError) as caught:
        sklearn_tree_model(estimator, None)
    assert caught.value.code == "category-texts"


@pytest.mark.parametrize("kind", [DecisionTreeClassifier, RandomForestRegressor, HistGradientBoostingClassifier])
def test_an_estimator_that_is_not_fitted_is_refused(kind: Callable[[], Any]) -> None:
    with pytest.raises(SourceError) as caught:
        sklearn_tree_model(kind(), None)
    assert "fit" in caught.value.remedy


def _twice(self: Any, table: NDArray[Any]) -> Any:
    return 2 * RandomForestRegressor.predict(self, table)


Louder = type("Louder", (RandomForestRegressor,), {"predict": _twice})
"""Predicts something else than its trees say."""


def test_what_is_not_the_librarys_own_tree_estimator_is_left_to_others() -> None:
    labels = DATA.classes(2)
    for estimator, target in (
        (LogisticRegression(max_iter=5), labels),
        (Louder(n_estimators=1), DATA.target),
        (BaggingRegressor(LinearRegression(), n_estimators=2), DATA.target),
        (AdaBoostClassifier(LogisticRegression(max_iter=5), n_estimators=2), labels),
    ):
        assert sklearn_tree_model(fitted(estimator, target), None) is None
    assert sklearn_tree_model(object(), None) is None


def test_reading_leaves_the_estimator_as_it_was() -> None:
    estimator = HistGradientBoostingRegressor(max_iter=4).fit(HOLES.numbers, HOLES.target)
    before = estimator.predict(HOLES.numbers)
    model = read(estimator)
    rows = Rows(HOLES.numbers, np.empty((150, 0), np.int32))
    model.leaves(rows)
    np.testing.assert_array_equal(estimator.predict(HOLES.numbers), before)
    assert_predicts(model, rows)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(fitted_model=sklearn_models())
def test_random_models(fitted_model: Fitted) -> None:
    assert_exact(read(fitted_model.estimator), 400)


@pytest.mark.torture
@settings(max_examples=3000, suppress_health_check=[HealthCheck.too_slow])
@given(fitted_model=sklearn_models())
def test_many_random_models(fitted_model: Fitted) -> None:
    assert_exact(read(fitted_model.estimator), 400)


def test_numbers_whose_sum_is_infinite_are_no_reason_to_warn() -> None:
    x = np.linspace(-1e38, 1e38, 40).reshape(20, 2)
    fitted = GradientBoostingClassifier(n_estimators=2, max_depth=2, random_state=0).fit(x / 1e3, np.arange(20) % 2)
    model = sklearn_tree_model(fitted, None)
    assert model is not None
    rows = Rows(np.array([[3e38, -3e38]] * 8 + [[3e38, 3e38]] * 8), np.empty((16, 0), np.int32))
    assert np.isfinite(model.predict(rows)["probability"]).all()
