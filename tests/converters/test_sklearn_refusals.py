"""What has no graph is refused by name, with its place in the pipeline and the nearest rewrite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.cluster import AgglomerativeClustering
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import NMF, PCA, KernelPCA
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    QuantileTransformer,
    StandardScaler,
)

from nearhand_converters.errors import SourceError, UnsupportedModelError
from tests.converters.sklearn_checks import adopted, classes_of, fitted, table, target_of

X = table(1)
TWO, VALUE = classes_of(X, 2), target_of(X, 4)
CITY = np.array(["Rome", "Oslo", "Bern"])[classes_of(X, 8, 3)]
FRAME = pandas.DataFrame({"a": X[:, 0], "city": CITY, "text": "some words", "whole": classes_of(X, 9, 4)})


class Doubler(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    def fit(self, numbers: Any, target: Any = None) -> Doubler:
        self.n_features_in_ = numbers.shape[1]
        return self

    def transform(self, numbers: Any) -> Any:
        return np.asarray(numbers) * 2


class Stricter(LogisticRegression):  # type: ignore[misc]
    def predict(self, numbers: Any) -> Any:
        return self.predict_proba(numbers)[:, 1] > 0.9


class Constant(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    def fit(self, numbers: Any, target: Any) -> Constant:
        self.classes_ = np.unique(target)
        return self

    def predict(self, numbers: Any) -> Any:
        return np.repeat(self.classes_[0], len(numbers))


def _columns(*parts: Any) -> ColumnTransformer:
    return ColumnTransformer([(f"part{i}", *part) for i, part in enumerate(parts)])


@pytest.mark.parametrize(
    ("model", "data", "code", "message"),
    [
        (
            make_pipeline(_columns((Doubler(), [0])), LogisticRegression()),
            X,
            "custom-transformer",
            r"^model.steps\[0\] 'columntransformer' / part0: .*Doubler is not a class that we know.*before the model",
        ),
        (
            make_pipeline(StandardScaler(), Stricter()),
            X,
            "custom-estimator",
            r"^model.steps\[1\] 'stricter': .*Stricter is not a class that we know",
        ),
        (Constant(), X, "custom-estimator", "Constant is not a class that we know"),
        (
            make_pipeline(FunctionTransformer(lambda x: x + 1), LogisticRegression()),
            X,
            "custom-function",
            r"steps\[0\] 'functiontransformer'.*function '<lambda>'.*use one of numpy's abs, exp, expm1, log",
        ),
        (
            make_pipeline(FunctionTransformer(np.clip, kw_args={"a_min": 0, "a_max": 1}), LogisticRegression()),
            X,
            "custom-function",
            "the function 'clip'",
        ),
        (
            make_pipeline(FunctionTransformer(np.exp, kw_args={"dtype": np.float64}), LogisticRegression()),
            X,
            "custom-function",
            "arguments of its own",
        ),
        (
            TransformedTargetRegressor(LinearRegression(), func=np.cbrt, inverse_func=lambda x: x**3),
            X,
            "custom-function",
            "the target's inverse is '<lambda>'",
        ),
        (
            TransformedTargetRegressor(LinearRegression(), transformer=QuantileTransformer(n_quantiles=20)),
            X,
            "unsupported-transformer",
            "the target's transformer is QuantileTransformer",
        ),
        (NMF(2, max_iter=2_000), np.abs(X), "iterative-transform", "NMF solves for each row.*TruncatedSVD"),
        (
            make_pipeline(KNNImputer(), LogisticRegression()),
            X,
            "unsupported-transformer",
            "KNNImputer searches.*use SimpleImputer",
        ),
        (
            make_pipeline(KernelPCA(2), LogisticRegression()),
            X,
            "unsupported-transformer",
            "KernelPCA is not converted; use one of Binarizer, ColumnTransformer",
        ),
        (
            make_pipeline(_columns((CountVectorizer(), "text")), LogisticRegression()),
            FRAME,
            "text-transformer",
            "part0: CountVectorizer splits texts",
        ),
        (
            make_pipeline(_columns((SimpleImputer(strategy="most_frequent"), ["city"])), OneHotEncoder(), Doubler()),
            FRAME,
            "custom-transformer",
            r"steps\[2\] 'doubler'",
        ),
        (
            make_pipeline(
                _columns((StandardScaler(), ["whole"]), (OneHotEncoder(), ["whole", "city"])), LogisticRegression()
            ),
            FRAME,
            "column-with-two-uses",
            "column 'whole' is read both as a number and as a category.*under two names",
        ),
        (
            make_pipeline(PCA(2), OrdinalEncoder(), LogisticRegression()),
            X,
            "encoded-calculation",
            r"steps\[1\] 'ordinalencoder'",
        ),
        (
            make_pipeline(PCA(2), KBinsDiscretizer(3, encode="ordinal", strategy="uniform"), LogisticRegression()),
            X,
            "binned-calculation",
            "bin the table's own columns",
        ),
        (
            make_pipeline(PCA(2), PolynomialFeatures(2), LogisticRegression()),
            X,
            "constant-column",
            "include_bias=False",
        ),
        (
            make_pipeline(PolynomialFeatures(12), LinearRegression()),
            X,
            "too-many-columns",
            "makes 6188 columns",
        ),
        (
            make_pipeline(FeatureUnion([("a", PCA(2)), ("b", Doubler())]), LogisticRegression()),
            X,
            "custom-transformer",
            r"steps\[0\] 'featureunion' / b",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and "-" in value and " " not in value else "",
)
def test_what_has_no_graph_is_refused_by_its_place(model: Any, data: Any, code: str, message: str) -> None:
    target = VALUE if isinstance(model, TransformedTargetRegressor) else TWO
    with pytest.raises(UnsupportedModelError, match=message) as refused:
        adopted(fitted(model, data, target))
    assert refused.value.code == code
    assert "\n" not in str(refused.value)


def test_a_clusterer_that_cannot_predict_is_refused() -> None:
    with pytest.raises(UnsupportedModelError) as refused:
        adopted(fitted(AgglomerativeClustering(), X))
    assert refused.value.code == "unsupported-transformer"


def test_texts_that_reach_a_model_are_refused() -> None:
    encoder = OneHotEncoder(sparse_output=False)
    columns = _columns((encoder, ["city"]), (SimpleImputer(strategy="most_frequent"), ["city"]))
    pipeline = make_pipeline(fitted(columns, FRAME), fitted(LinearRegression(), np.ones((3, 4)), np.ones(3)))
    with pytest.raises(UnsupportedModelError, match="reads column 'city', which holds texts") as refused:
        adopted(pipeline)
    assert refused.value.code == "text-without-encoder"


@pytest.mark.parametrize(
    "pipeline",
    [
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(fitted(StandardScaler(), X), LogisticRegression()),
        make_pipeline(StandardScaler(), fitted(LogisticRegression(), X, TWO)),
    ],
    ids=["nothing", "only the scaler", "only the model"],
)
def test_what_is_not_fitted_is_refused(pipeline: Any) -> None:
    with pytest.raises(SourceError, match=r"not fitted|how many columns"):
        adopted(pipeline)


def test_a_scaler_of_another_number_of_columns_is_refused() -> None:
    pipeline = make_pipeline(fitted(StandardScaler(), X), fitted(StandardScaler(), X[:, :3]), fitted(PCA(2), X))
    with pytest.raises(SourceError, match=r"steps\[1\] 'standardscaler-2'.*gets 5"):
        adopted(pipeline)


@pytest.mark.parametrize("attribute", ["mean_", "scale_"])
def test_fitted_numbers_that_are_not_finite_are_refused(attribute: str) -> None:
    pipeline = fitted(make_pipeline(StandardScaler(), LinearRegression()), X, VALUE)
    getattr(pipeline[0], attribute)[1] = np.inf
    with pytest.raises(SourceError, match="is not finite"):
        adopted(pipeline)
