"""Trees at the end of a pipeline reach the leaves that they reach in scikit-learn, on every threshold and beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas
import pytest
import scipy.sparse
from catboost import CatBoostClassifier
from lightgbm import LGBMClassifier, LGBMRegressor
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier, XGBRegressor

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.graph.trees.form import Membership, Number
from nearhand_converters.parity.rows import verification_rows
from nearhand_converters.sources.catboost import CatBoostSource
from nearhand_converters.sources.lightgbm import LightGBMSource
from nearhand_converters.sources.sklearn.columns import Number as Flowing
from nearhand_converters.sources.sklearn.columns import Operation, Step, last_below
from nearhand_converters.sources.xgboost import XGBoostSource
from tests.converters.sklearn_checks import adopted, check, classes_of, fitted, graph_of, random, table, target_of

OTHERS = (XGBoostSource(), LightGBMSource(), CatBoostSource())
X = table(1)
THREE, VALUE = classes_of(X, 3, 3), target_of(X, 4)
FOREST: dict[str, Any] = {"n_estimators": 10, "max_depth": 5, "random_state": 0}
HISTOGRAM: dict[str, Any] = {"max_iter": 10, "min_samples_leaf": 5}
XGB: dict[str, Any] = {"n_estimators": 10, "max_depth": 4, "n_jobs": 1}
LGB: dict[str, Any] = {"n_estimators": 10, "num_leaves": 8, "min_child_samples": 5, "n_jobs": 1, "verbose": -1}


def _frame() -> tuple[pandas.DataFrame, NDArray[np.int64]]:
    """Numbers a–e with holes in a, texts city and plan with holes in plan, whole numbers grade; and two classes."""
    r, rows = random(5), len(X)
    frame = pandas.DataFrame(X.copy(), columns=list("abcde"))
    frame.loc[r.random(rows) < 0.1, "a"] = np.nan
    frame["city"] = r.choice(["Rome", "Oslo", "Bern", "Lima"], rows)
    frame["grade"] = r.choice([1, 2, 3, 5], rows)
    frame["plan"] = pandas.Series(r.choice(["x", "y", "z"], rows), dtype=object)
    frame.loc[r.random(rows) < 0.2, "plan"] = np.nan
    score = (frame["city"] == "Rome") * 1.0 + (frame["grade"] == 2) - (frame["plan"] == "y") + 0.3 * frame["b"]
    return frame, (score + 0.5 * r.standard_normal(rows) > 0.3).to_numpy().astype(np.int64)


FRAME, TWO = _frame()
NUMBERS, CATEGORIES = ["a", "b", "c"], ["city", "grade", "plan"]


def _columns(encoder: Any, numbers: Any = None) -> ColumnTransformer:
    numbers = numbers or make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    return ColumnTransformer([("num", numbers, NUMBERS), ("cat", encoder, CATEGORIES)])


def _one_hot(**options: Any) -> OneHotEncoder:
    return OneHotEncoder(handle_unknown="ignore", **options)


def _ordinal(unknown: float = -1) -> OrdinalEncoder:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=unknown)


_PIPELINES: dict[str, Callable[[], Any]] = {
    "forest": lambda: make_pipeline(_columns(_one_hot()), RandomForestClassifier(**FOREST)),
    "boosting": lambda: make_pipeline(
        _columns(_one_hot()), GradientBoostingClassifier(n_estimators=10, random_state=0)
    ),
    "tree": lambda: make_pipeline(_columns(_ordinal()), DecisionTreeClassifier(max_depth=6)),
    "histogram": lambda: make_pipeline(
        _columns(_ordinal(), "passthrough"), HistGradientBoostingClassifier(**HISTOGRAM)
    ),
    "histogram with its own categories": lambda: make_pipeline(
        _columns(_ordinal(), "passthrough"),
        HistGradientBoostingClassifier(categorical_features=[3, 4, 5], **HISTOGRAM),
    ),
    "histogram with unknown as NaN": lambda: make_pipeline(
        _columns(_ordinal(np.nan), StandardScaler()),
        HistGradientBoostingClassifier(categorical_features=[3, 4, 5], **HISTOGRAM),
    ),
    "target encoder": lambda: make_pipeline(
        _columns(TargetEncoder(cv=2, random_state=0)), RandomForestClassifier(**FOREST)
    ),
    "frozen": lambda: FrozenEstimator(make_pipeline(_columns(_one_hot()), RandomForestClassifier(**FOREST))),
    "xgboost": lambda: make_pipeline(_columns(_one_hot(sparse_output=False)), XGBClassifier(**XGB)),
    "lightgbm": lambda: make_pipeline(_columns(_one_hot(sparse_output=False)), LGBMClassifier(**LGB)),
    "lightgbm, sparse": lambda: make_pipeline(_one_hot(), LGBMClassifier(**LGB)),
    "catboost": lambda: make_pipeline(
        _columns(_one_hot(sparse_output=False)),
        CatBoostClassifier(iterations=10, depth=4, verbose=0, thread_count=1, allow_writing_files=False),
    ),
}


@pytest.mark.parametrize("name", _PIPELINES)
def test_trees_behind_scalers_and_encoders_are_exact(name: str) -> None:
    frame = FRAME[CATEGORIES] if name == "lightgbm, sparse" else FRAME
    pipeline = _PIPELINES[name]()
    model, parity = check(fitted(pipeline.estimator if name == "frozen" else pipeline, frame, TWO), others=OTHERS)
    assert model.trees is not None
    assert parity.leaves == 1_000 * len(model.trees.roots)
    assert model.trees.precision == "float64" or name == "lightgbm, sparse"
    kinds = {type(column) for column in model.trees.columns}
    assert kinds == ({Membership} if name == "lightgbm, sparse" else {Number, Membership})


_NUMERIC: dict[str, tuple[list[Any], Any, NDArray[Any]]] = {
    "falling": (
        [StandardScaler(), FunctionTransformer(np.negative)],
        HistGradientBoostingRegressor(**HISTOGRAM),
        VALUE,
    ),
    "falling forest": (
        [FunctionTransformer(np.negative), StandardScaler()],
        RandomForestClassifier(**FOREST),
        THREE,
    ),
    "logarithm": ([MinMaxScaler((1, 2)), FunctionTransformer(np.log)], ExtraTreesClassifier(**FOREST), THREE),
    "level": (
        [StandardScaler(), FunctionTransformer(np.exp), MinMaxScaler(clip=True)],
        ExtraTreesRegressor(**FOREST),
        VALUE,
    ),
    "bins": ([KBinsDiscretizer(5, encode="ordinal", strategy="uniform")], RandomForestClassifier(**FOREST), THREE),
    "falling bins": (
        [FunctionTransformer(np.negative), KBinsDiscretizer(5, encode="ordinal", strategy="uniform")],
        RandomForestClassifier(**FOREST),
        THREE,
    ),
    "binary": ([StandardScaler(), Binarizer()], RandomForestClassifier(**FOREST), THREE),
    "chosen": ([SelectKBest(k=3)], RandomForestClassifier(**FOREST), THREE),
    "xgboost": ([StandardScaler()], XGBRegressor(**XGB), VALUE),
    "lightgbm": ([MinMaxScaler()], LGBMRegressor(**LGB), VALUE),
}


@pytest.mark.parametrize("name", _NUMERIC)
def test_trees_behind_functions_of_one_number_are_exact(name: str) -> None:
    steps, estimator, target = _NUMERIC[name]
    model, parity = check(fitted(make_pipeline(*steps, estimator), X, target), others=OTHERS)
    assert model.trees is not None
    assert parity.leaves == 1_000 * len(model.trees.roots)


@pytest.mark.parametrize(
    "estimator",
    [
        HistGradientBoostingRegressor(**HISTOGRAM),
        RandomForestRegressor(**FOREST),
        XGBRegressor(**XGB),
        LGBMRegressor(**LGB),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.parametrize("imputed", [True, False])
def test_a_missing_number_goes_where_it_goes_in_the_original(estimator: Any, imputed: bool) -> None:
    holes = np.where(random(9).random(X.shape) < 0.1, np.nan, X)
    first = [SimpleImputer(strategy="mean")] if imputed else []
    model: Any
    model, _ = check(fitted(make_pipeline(*first, StandardScaler(), estimator), holes, VALUE), others=OTHERS)
    assert model.missing_allowed == (True,) * 5


def test_the_device_may_rank_in_float64() -> None:
    """Rows that float32 does not represent reach the original's leaves too: the thresholds are those of float64."""
    pipeline = fitted(make_pipeline(StandardScaler(), RandomForestRegressor(**FOREST)), X, VALUE)
    model = adopted(pipeline)
    rows = verification_rows(model, 3_000, doubles=True)
    assert (rows.numbers.astype(np.float32) != rows.numbers).mean() > 0.1
    assert model.trees is not None
    reached = model.trees.leaves(rows.numbers, rows.categories)
    np.testing.assert_array_equal(reached, np.asarray(model.leaves(rows)))


def test_what_a_sparse_matrix_does_not_hold_is_missing_to_xgboost() -> None:
    columns = ColumnTransformer(
        [
            ("scaled", StandardScaler(), ["b"]),
            ("filled", make_pipeline(SimpleImputer(), StandardScaler()), ["a"]),
            ("cat", _one_hot(), CATEGORIES),
        ],
        sparse_threshold=1.0,
    )
    pipeline = fitted(make_pipeline(columns, XGBRegressor(**XGB)), FRAME, VALUE)
    assert scipy.sparse.issparse(pipeline[0].transform(FRAME))
    model, parity = check(pipeline, others=OTHERS)
    assert model.trees is not None
    assert parity.leaves == 10_000


@pytest.mark.parametrize(
    "steps",
    [
        [StandardScaler(), PCA(3)],
        [StandardScaler(), FunctionTransformer(np.square)],
        [KBinsDiscretizer(5, encode="onehot", strategy="uniform")],
        [KBinsDiscretizer(5, encode="onehot-dense", strategy="uniform"), StandardScaler()],
        [SimpleImputer(missing_values=-1), StandardScaler()],
    ],
    ids=lambda steps: " ".join(str(steps).split()),
)
def test_trees_behind_other_steps_are_compared_by_what_they_give(steps: list[Any]) -> None:
    for estimator in (RandomForestClassifier(**FOREST), XGBClassifier(**XGB)):
        model, parity = check(fitted(make_pipeline(*steps, estimator), np.where(X < -3, -1.0, X), THREE), others=OTHERS)
        assert model.trees is None
        assert parity.labels == 1_000


def test_a_transformed_target_of_trees() -> None:
    inner = make_pipeline(StandardScaler(), RandomForestRegressor(**FOREST))
    check(fitted(TransformedTargetRegressor(inner, func=np.log1p, inverse_func=np.expm1), X, np.abs(VALUE)))


def test_no_number_is_calculated_before_trees() -> None:
    pipeline = fitted(make_pipeline(StandardScaler(), RandomForestRegressor(**FOREST)), X, VALUE)
    operators = {node.op_type for node in graph_of(adopted(pipeline)).graph.node}
    assert operators <= {"Cast", "TreeEnsembleRegressor"}


def test_linear_leaves_behind_a_scaler_are_refused() -> None:
    pipeline = fitted(make_pipeline(StandardScaler(), LGBMRegressor(linear_tree=True, **LGB)), X, VALUE)
    with pytest.raises(UnsupportedModelError) as refused:
        adopted(pipeline, OTHERS)
    assert refused.value.code == "linear-leaves-in-pipeline"


def test_categories_of_another_library_in_a_pipeline_are_refused() -> None:
    coded = FRAME[["b"]].assign(city=FRAME["city"].astype("category").cat.codes.astype("category"))
    columns = ColumnTransformer([("all", "passthrough", ["b", "city"])]).set_output(transform="pandas")
    pipeline = fitted(make_pipeline(columns, LGBMRegressor(**LGB)), coded, VALUE)
    with pytest.raises(UnsupportedModelError) as refused:
        adopted(pipeline, OTHERS)
    assert refused.value.code == "categories-in-pipeline"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [3.0, -3.0, 1e-30, 1e30])
def test_bisection_finds_the_last_float_before_a_limit(dtype: Any, scale: float) -> None:
    """Whatever our own operations say, the library's function decides; here they are off by a factor of 2."""

    def exact(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return (x - 0.1) * scale

    direction = int(np.sign(scale))
    step = Step((Operation("affine", (0.1, scale * 2, 0.0)),), exact, direction)
    limits = np.array([-1e300, -7.3, -1e-300, 0.0, 5e-324, 0.3, 1e300])
    found = last_below(Flowing(0, (step,)), limits, dtype=dtype)
    kind = np.dtype(dtype).type
    for limit, x in zip(limits.tolist(), found.tolist(), strict=True):
        with np.errstate(over="ignore"):
            after = np.array([np.nextafter(kind(x), kind(np.inf))], np.float64)
            here = exact(np.array([x]))
            assert np.isneginf(x) or (here <= limit if direction > 0 else here > limit)
            assert np.isinf(after) or (exact(after) > limit if direction > 0 else exact(after) <= limit)
