"""Pipelines: columns, encoders and imputers compute the same on ONNX Runtime and LiteRT as in scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas
import pytest
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_selection import SelectFromModel, SelectKBest, SelectPercentile, VarianceThreshold
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection

from nearhand_converters.parity.rows import verification_rows
from nearhand_converters.sources.model import MISSING, UNKNOWN, InputColumn, Rows
from tests.converters.sklearn_checks import (
    THREE,
    TWO,
    VALUE,
    VALUES,
    Engine,
    X,
    adopted,
    check,
    fitted,
    graph_of,
    random,
    runner,
)


def _frame() -> pandas.DataFrame:
    """Numbers a–e, with holes in a; texts city and plan, with holes in plan; whole numbers grade; truth values flag."""
    r, rows = random(5), len(X)
    frame = pandas.DataFrame(X.copy(), columns=list("abcde"))
    frame.loc[r.random(rows) < 0.1, "a"] = np.nan
    frame["city"] = r.choice(["Rome", "Oslo", "Bern", "Lima"], rows, p=[0.4, 0.3, 0.25, 0.05])
    frame["grade"] = r.choice([1, 2, 3, 5], rows)
    frame["plan"] = pandas.Series(r.choice(["x", "y", "z"], rows), dtype=object)
    frame.loc[r.random(rows) < 0.2, "plan"] = np.nan
    frame["flag"] = r.choice([True, False], rows)
    frame["remark"] = "not read"
    return frame


FRAME = _frame()
NUMBERS, CATEGORIES = ["a", "b", "c"], ["city", "grade", "plan"]


def _columns(encoder: Any, numbers: Any = None, remainder: Any = "drop") -> ColumnTransformer:
    numbers = numbers or make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    return ColumnTransformer([("num", numbers, NUMBERS), ("cat", encoder, CATEGORIES)], remainder=remainder)


@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(handle_unknown="ignore"),
        OneHotEncoder(handle_unknown="ignore", drop="if_binary", sparse_output=False, dtype=np.float32),
        OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=60),
        OneHotEncoder(handle_unknown="ignore", max_categories=3),
        OneHotEncoder(drop="first"),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=99, min_frequency=60, encoded_missing_value=7),
        make_pipeline(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan), SimpleImputer()),
        make_pipeline(OneHotEncoder(handle_unknown="ignore", sparse_output=False), StandardScaler(), MaxAbsScaler()),
        make_pipeline(OneHotEncoder(handle_unknown="ignore"), TruncatedSVD(4, random_state=0)),
        TargetEncoder(cv=2, random_state=0),
        TargetEncoder(target_type="multiclass", cv=2, random_state=0),
    ],
    ids=lambda encoder: " ".join(str(encoder).split()),
)
def test_categories_are_encoded_as_in_training(encoder: Any) -> None:
    target = THREE if getattr(encoder, "target_type", "") == "multiclass" else TWO
    model, _ = check(fitted(make_pipeline(_columns(encoder), LogisticRegression()), FRAME, target))
    assert model.columns == (
        *(InputColumn(name, "number") for name in NUMBERS),
        InputColumn("city", "category", ("Bern", "Lima", "Oslo", "Rome")),
        InputColumn("grade", "category", ("1", "2", "3", "5")),
        InputColumn("plan", "category", ("x", "y", "z")),
    )


def test_a_model_of_categories_alone_is_one_table() -> None:
    """A value close to zero, made of numbers that are not, is right to the digits that float32 has."""
    pipeline = make_pipeline(ColumnTransformer([("cat", OneHotEncoder(), CATEGORIES)]), Ridge(alpha=0.01))
    model, _ = check(fitted(pipeline, FRAME, VALUE))
    operators = [node.op_type for node in graph_of(model).graph.node]
    assert operators.count("Gather") == 1
    assert "Gemm" not in operators


def test_truth_values_are_categories() -> None:
    columns = ColumnTransformer([("cat", OneHotEncoder(), ["flag", "city"]), ("num", "passthrough", ["b"])])
    model, _ = check(fitted(make_pipeline(columns, LogisticRegression()), FRAME, TWO))
    assert model.columns[2] == InputColumn("flag", "category", ("False", "True"))
    assert [column.name for column in model.columns] == ["b", "city", "flag"]


@pytest.mark.parametrize(
    "imputer",
    [
        SimpleImputer(strategy="most_frequent"),
        SimpleImputer(strategy="constant", fill_value="none"),
        SimpleImputer(strategy="constant", fill_value="x", add_indicator=True),
    ],
    ids=lambda imputer: " ".join(str(imputer).split()),
)
def test_missing_texts_are_imputed_before_they_are_encoded(imputer: SimpleImputer) -> None:
    if imputer.add_indicator:
        steps: Any = ColumnTransformer(
            [("text", make_pipeline(imputer, _first_columns_encoded(2)), ["city", "plan"]), ("b", "passthrough", ["b"])]
        )
    else:
        steps = ColumnTransformer([("text", make_pipeline(imputer, OneHotEncoder(handle_unknown="ignore")), ["plan"])])
    check(fitted(make_pipeline(steps, LogisticRegression()), FRAME, TWO))


def _first_columns_encoded(count: int) -> ColumnTransformer:
    encoder = OneHotEncoder(handle_unknown="ignore")
    return ColumnTransformer([("encoded", encoder, slice(0, count))], remainder=OrdinalEncoder())


def test_a_text_that_stands_for_a_missing_one_is_a_category() -> None:
    frame = FRAME[["b"]].assign(plan=FRAME["plan"].fillna("?"))
    imputer = SimpleImputer(missing_values="?", strategy="most_frequent")
    columns = ColumnTransformer([("t", make_pipeline(imputer, OneHotEncoder(handle_unknown="ignore")), ["plan"])])
    model, _ = check(fitted(make_pipeline(columns, LogisticRegression()), frame, TWO))
    assert "?" in model.columns[0].categories


def test_whole_numbers_may_be_imputed_before_they_are_encoded() -> None:
    frame = FRAME.assign(grade=FRAME["grade"].where(random(1).random(len(X)) < 0.8))
    steps = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    columns = ColumnTransformer([("grade", steps, ["grade"])], remainder="drop")
    model, _ = check(fitted(make_pipeline(columns, LogisticRegression()), frame, TWO))
    assert model.columns == (InputColumn("grade", "category", ("1", "2", "3", "5")),)


def test_none_and_nan_may_be_categories_of_their_own() -> None:
    for missing in (None, np.nan):
        values = np.array(["x", "y", missing], object)[random(2).integers(0, 3, len(X))][:, None]
        model: Any
        model, _ = check(fitted(make_pipeline(OneHotEncoder(), LogisticRegression()), values, TWO))
        assert model.missing_allowed == (True,)
        assert model.unknown_allowed == (False,)


def test_an_encoder_that_raises_gives_something_on_the_device_and_says_so() -> None:
    columns = ColumnTransformer([("one", OneHotEncoder(), ["city"]), ("ordinal", OrdinalEncoder(), ["grade"])])
    model: Any = adopted(fitted(make_pipeline(columns, LinearRegression()), FRAME, VALUE))
    assert model.unknown_allowed == model.missing_allowed == (False, False)
    assert len(model.notes) == 2
    assert "raises for a category it has not seen in column 'city'; on the device it gives 0" in model.notes[0]
    assert "'grade'; on the device it gives -1" in model.notes[1]
    estimator = model.original.estimator[-1]
    rows = Rows(np.zeros((3, 0)), np.array([[UNKNOWN, 2], [3, UNKNOWN], [-7, 2_000_000]], np.int32))
    found = runner(graph_of(model), "onnx")(rows)["value"][:, 0]
    expected = [
        [0, 0, 0, 0, 0],
        [0, 1, 0, 0, -1],
        [0, 0, 0, 0, -1],
    ] @ estimator.coef_ + estimator.intercept_
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("engine", ["onnx", "tflite"])
def test_codes_that_no_category_has_are_unknown(engine: Any) -> None:
    columns = ColumnTransformer([("cat", OneHotEncoder(handle_unknown="ignore"), CATEGORIES)])
    model = adopted(fitted(make_pipeline(columns, LogisticRegression()), FRAME, TWO))
    run = runner(graph_of(model, "ranks"), engine)
    codes = np.array([[-1, -(2**31), 2**31 - 1], [UNKNOWN] * 3, [6, 6, 5]], np.int32)
    found = run(Rows(np.zeros((3, 0)), codes))["probability"]
    assert (found == found[0]).all()
    assert MISSING not in codes


@pytest.mark.parametrize(
    ("steps", "target"),
    [
        ([MinMaxScaler(clip=True), RobustScaler()], THREE),
        ([MinMaxScaler((-2, 3)), MaxAbsScaler(clip=True)], THREE),
        ([RobustScaler(with_centering=False), StandardScaler(with_std=False)], TWO),
        ([SimpleImputer(missing_values=-1), StandardScaler()], TWO),
        ([FeatureUnion([("missing", MissingIndicator(features="all")), ("filled", SimpleImputer())])], TWO),
        ([KBinsDiscretizer(4, encode="onehot-dense", strategy="uniform")], TWO),
        ([KBinsDiscretizer(4, encode="onehot", strategy="kmeans", random_state=0)], TWO),
        ([StandardScaler(), KBinsDiscretizer(5, encode="ordinal", strategy="uniform", dtype=np.float32)], TWO),
        ([FunctionTransformer(np.negative), KBinsDiscretizer(5, encode="ordinal", strategy="uniform")], TWO),
        ([KBinsDiscretizer(5, encode="ordinal", strategy="uniform"), OneHotEncoder(handle_unknown="ignore")], TWO),
        ([MaxAbsScaler(), Binarizer(threshold=0.1)], TWO),
        ([FunctionTransformer(np.abs), Binarizer(threshold=0.5)], TWO),
        ([Normalizer("l2")], TWO),
        ([StandardScaler(), Normalizer("l1")], TWO),
        ([StandardScaler(), Normalizer("max")], TWO),
        ([StandardScaler(), PolynomialFeatures(3)], TWO),
        ([StandardScaler(), PolynomialFeatures(2, interaction_only=True, include_bias=False)], TWO),
        ([StandardScaler(), PCA(3, whiten=True)], TWO),
        ([PCA(2), StandardScaler(), FunctionTransformer(np.tanh)], TWO),
        ([GaussianRandomProjection(2, random_state=0)], TWO),
        ([SparseRandomProjection(2, random_state=0)], TWO),
        ([PowerTransformer()], TWO),
        ([VarianceThreshold(0.5), SelectKBest(k=2)], TWO),
        ([SelectPercentile(percentile=50), "passthrough"], TWO),
        ([SelectFromModel(Lasso(0.05)), None], TWO),
        (
            [
                FeatureUnion(
                    [("pca", PCA(2)), ("scaled", StandardScaler()), ("best", SelectKBest(k=2)), ("none", "drop")],
                    transformer_weights={"scaled": 2.0},
                )
            ],
            TWO,
        ),
    ],
    ids=lambda value: " ".join(str(value).split()) if isinstance(value, list) else "",
)
def test_numbers_are_transformed_as_in_training(steps: list[Any], target: NDArray[Any]) -> None:
    numbers = np.where(X < -3, -1.0, X)
    if isinstance(steps[0], FeatureUnion) and steps[0].transformer_list[0][0] == "missing":
        numbers = np.where(X < -3, np.nan, X)
    check(fitted(make_pipeline(*steps, LogisticRegression()), numbers, target))


@pytest.mark.parametrize(
    ("before", "function"),
    [
        (StandardScaler(), np.abs),
        (StandardScaler(), np.exp),
        (MinMaxScaler((-1e-3, 1e-3)), np.expm1),
        (StandardScaler(), np.expm1),
        (MinMaxScaler((1, 3)), np.log),
        (MinMaxScaler((1, 3)), np.log10),
        (MinMaxScaler((1, 3)), np.log2),
        (MinMaxScaler((0, 1e-3)), np.log1p),
        (FunctionTransformer(np.square), np.log1p),
        (StandardScaler(), np.negative),
        (MinMaxScaler((1, 3)), np.reciprocal),
        (MinMaxScaler((0, 3)), np.sqrt),
        (StandardScaler(), np.square),
        (StandardScaler(), np.tanh),
        (StandardScaler(), None),
    ],
    ids=str,
)
def test_the_functions_of_the_list_are_computed(before: Any, function: Any) -> None:
    """Scaled after it: small differences between its results have to be right too."""
    steps = make_pipeline(before, FunctionTransformer(function), StandardScaler(), LinearRegression())
    check(fitted(steps, X, VALUE))


@pytest.mark.parametrize(
    ("columns", "remainder"),
    [
        ([("a", StandardScaler(), slice(0, 2)), ("b", MinMaxScaler(), [3])], RobustScaler()),
        ([("a", StandardScaler(), [-1, 0]), ("b", "drop", [1])], "passthrough"),
        ([("m", "passthrough", np.array([False, True, True, False, False]))], "drop"),
        ([("c", StandardScaler(), lambda numbers: [0, 4])], "drop"),
        (
            [("outer", make_pipeline(ColumnTransformer([("inner", MinMaxScaler(), [1])]), StandardScaler()), [2, 3])],
            "drop",
        ),
        ([("twice", StandardScaler(), [0, 1]), ("again", FunctionTransformer(np.abs), [0, 1])], "drop"),
    ],
    ids=["slices", "negative", "mask", "callable", "nested", "twice"],
)
def test_columns_are_chosen_by_place(columns: list[Any], remainder: Any) -> None:
    steps = ColumnTransformer(columns, remainder=remainder, transformer_weights={"a": 0.5})
    check(fitted(make_pipeline(steps, LogisticRegression()), X, TWO))


def test_columns_are_chosen_by_a_selector() -> None:
    frame = FRAME.drop(columns=["a", "remark", "flag"])
    columns = make_column_transformer(
        (StandardScaler(), make_column_selector(dtype_include=float)),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include=[object, int])),
    )
    model, _ = check(fitted(make_pipeline(columns, LogisticRegression()), frame, TWO))
    assert [column.name for column in model.columns] == ["b", "c", "d", "e", "city", "grade", "plan"]


def test_steps_that_give_frames_work_the_same() -> None:
    columns = _columns(OneHotEncoder(handle_unknown="ignore", sparse_output=False)).set_output(transform="pandas")
    check(fitted(make_pipeline(columns, StandardScaler(), LogisticRegression()), FRAME, TWO))


def test_what_is_filled_in_far_from_zero_keeps_its_precision() -> None:
    """A mean of 1.7e9 is no float32: its distance from the scaler's centre has to be."""
    holes = np.where(random(4).random(X.shape) < 0.2, np.nan, X * 100 + 1.7e9)
    steps = [SimpleImputer(strategy="mean"), MinMaxScaler(), StandardScaler(), LinearRegression()]
    model = adopted(fitted(make_pipeline(*steps), holes, VALUE))
    rows = Rows(np.full((1, 5), np.nan), np.zeros((1, 0), np.int32))
    engines: tuple[Engine, ...] = ("onnx", "tflite")
    for engine in engines:
        found = runner(graph_of(model), engine)(rows)["value"]
        assert np.abs(found - model.predict(rows)["value"]).max() < 1e-6


def test_columns_that_nothing_reads_are_no_inputs() -> None:
    steps = make_pipeline(StandardScaler(), SelectKBest(k=2), LogisticRegression())
    model = adopted(fitted(steps, FRAME[list("bcde")], TWO))
    assert len(model.columns) == 2


@pytest.mark.parametrize(
    "transformer",
    [StandardScaler(), PCA(3), TruncatedSVD(2, random_state=0), make_pipeline(StandardScaler(), PCA(2))],
    ids=str,
)
def test_a_transformer_is_a_model_too(transformer: Any) -> None:
    model, parity = check(fitted(transformer, X))
    assert model.task == "transform"
    assert [output.name for output in parity.outputs] == ["transformed"]


def test_a_column_transformer_alone_is_a_model_too() -> None:
    check(fitted(_columns(OneHotEncoder(handle_unknown="ignore")), FRAME))


@pytest.mark.parametrize(
    "model",
    [
        TransformedTargetRegressor(LinearRegression(), func=np.log1p, inverse_func=np.expm1),
        TransformedTargetRegressor(make_pipeline(StandardScaler(), Ridge()), transformer=StandardScaler()),
        TransformedTargetRegressor(Ridge(), transformer=MinMaxScaler((1, 2))),
        TransformedTargetRegressor(Ridge(), transformer=RobustScaler()),
        TransformedTargetRegressor(Ridge(), transformer=MaxAbsScaler()),
        TransformedTargetRegressor(Ridge()),
    ],
    ids=lambda model: " ".join(str(model).split()),
)
def test_targets_are_transformed_back(model: Any) -> None:
    check(fitted(model, X, np.abs(VALUES) if model.func else VALUES))


def test_the_same_pipeline_gives_the_same_bytes() -> None:
    pipeline = fitted(make_pipeline(_columns(OneHotEncoder(handle_unknown="ignore")), LogisticRegression()), FRAME, TWO)
    first, second = (graph_of(adopted(pipeline)).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_rounding_does_not_excuse_a_row_on_the_wrong_side_of_an_edge() -> None:
    bins = KBinsDiscretizer(5, encode="ordinal", strategy="uniform")
    model: Any = adopted(fitted(make_pipeline(StandardScaler(), bins, LinearRegression()), X, VALUE))
    rows = verification_rows(model, 500)
    on_edges = np.concatenate([np.isin(rows.numbers[:, i], np.float32(model.edges[i])) for i in range(5)])
    assert on_edges.sum() >= 5
    assert model.float32_error(rows)["value"].max() < 1e-5
