"""Linear models of scikit-learn compute the same on ONNX Runtime and LiteRT."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import (
    ElasticNet,
    GammaRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    PassiveAggressiveClassifier,
    PassiveAggressiveRegressor,
    Perceptron,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
    TweedieRegressor,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC, LinearSVR

from nearhand_converters.errors import SourceError, UnsupportedModelError
from nearhand_converters.sources.model import Rows
from tests.converters.sklearn_checks import (
    THREE,
    TWO,
    VALUE,
    VALUES,
    X,
    adopted,
    check,
    fitted,
    graph_of,
    random,
    runner,
)

POSITIVE = np.abs(VALUE) + 0.1


@pytest.mark.parametrize("classes", [TWO, THREE], ids=["binary", "multiclass"])
@pytest.mark.parametrize(
    ("estimator", "output"),
    [
        (LogisticRegression(), "probability"),
        (LogisticRegression(C=100.0, fit_intercept=False), "probability"),
        (LogisticRegressionCV(Cs=2, cv=2), "probability"),
        (OneVsRestClassifier(LogisticRegression()), "probability"),
        (OneVsRestClassifier(LinearSVC()), "score"),
        (SGDClassifier(loss="hinge", random_state=0), "score"),
        (SGDClassifier(loss="log_loss", random_state=0), "probability"),
        (SGDClassifier(loss="modified_huber", random_state=0), "probability"),
        (RidgeClassifier(), "score"),
        (LinearSVC(), "score"),
        (Perceptron(), "score"),
        (LinearDiscriminantAnalysis(), "probability"),
        (LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"), "probability"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value),
)
def test_a_linear_classifier_gives_what_scikit_learn_gives(
    estimator: Any, output: str, classes: np.ndarray[Any, Any]
) -> None:
    model, parity = check(fitted(estimator, X, classes))
    assert [each.name for each in parity.outputs] == [output]
    assert model.task == ("binary" if classes is TWO else "multiclass")
    assert model.classes == tuple("012"[: len(model.classes)])


@pytest.mark.parametrize(
    ("estimator", "target"),
    [
        (LinearRegression(), VALUE),
        (LinearRegression(), VALUES),
        (Ridge(alpha=3.0), VALUES),
        (Lasso(alpha=0.01), VALUE),
        (ElasticNet(alpha=0.01), VALUES),
        (LinearSVR(), VALUE),
        (make_pipeline(StandardScaler(), SGDRegressor(random_state=0)), VALUE),
        (PoissonRegressor(), POSITIVE),
        (make_pipeline(StandardScaler(), GammaRegressor()), POSITIVE),
        (TweedieRegressor(power=1.5), POSITIVE),
        (TweedieRegressor(power=0), VALUE),
        (TweedieRegressor(power=0, link="log"), POSITIVE),
    ],
    ids=str,
)
def test_a_linear_regression_gives_what_scikit_learn_gives(estimator: Any, target: np.ndarray[Any, Any]) -> None:
    model, _ = check(fitted(estimator, X, target))
    assert model.task == "regression"


def test_passive_aggressive_models_are_linear_models() -> None:
    with pytest.warns(FutureWarning, match="deprecated"):
        classifier, regressor = PassiveAggressiveClassifier(), PassiveAggressiveRegressor()
    check(fitted(classifier, X, THREE))
    check(fitted(regressor, X, VALUE))


def test_a_scaler_is_part_of_the_weights() -> None:
    pipeline = fitted(make_pipeline(StandardScaler(), StandardScaler(), LogisticRegression()), X, THREE)
    operators = [node.op_type for node in graph_of(adopted(pipeline)).graph.node]
    assert operators.count("Gemm") == 1
    assert "Mul" not in operators


def test_numbers_far_from_zero_keep_their_precision() -> None:
    """Times in seconds: folded into a bias without a centre, float32 would lose four digits."""
    far = X + 1.7e9
    pipeline = fitted(make_pipeline(StandardScaler(), LinearRegression()), far, VALUE)
    model, _ = check(pipeline)
    rows = Rows(far.astype(np.float32).astype(np.float64), np.zeros((len(far), 0), np.int32))
    found = runner(graph_of(model), "onnx")(rows)["value"]
    assert np.abs(found - model.predict(rows)["value"]).max() < 1e-4


def test_probabilities_that_are_all_tiny_are_normalized_too() -> None:
    """Float32 has no sigmoid of −200, and yet the largest of several such has most of their sum."""
    model, _ = check(fitted(SGDClassifier(loss="log_loss", random_state=0), X, THREE))
    rows = Rows(np.full((1, 5), 1.0) * np.sign(random(3).standard_normal((50, 5))) * 80, np.zeros((50, 0), np.int32))
    found = runner(graph_of(model), "onnx")(rows)["probability"]
    assert np.abs(found - model.predict(rows)["probability"]).max() < 1e-5


def test_classes_may_be_texts() -> None:
    names = np.array(["cold", "warm", "hot"])[THREE]
    model, _ = check(fitted(LogisticRegression(), X, names))
    assert model.classes == ("cold", "hot", "warm")


def test_a_missing_number_is_no_row_to_verify_on() -> None:
    model: Any = adopted(fitted(LogisticRegression(), X, TWO))
    assert model.missing_allowed == (False,) * 5


def test_weights_that_are_not_finite_are_refused() -> None:
    model = fitted(Ridge(), X, VALUE)
    model.coef_[2] = np.nan
    with pytest.raises(SourceError, match=r"coef_ is not finite.*train again"):
        adopted(model)


def test_weights_of_another_number_of_columns_are_refused() -> None:
    model = fitted(make_pipeline(StandardScaler(), Ridge()), X, VALUE)
    model[-1].coef_ = model[-1].coef_[:3]
    with pytest.raises(SourceError, match=r"steps\[1\] 'ridge': has weights for 3 columns, and gets 5"):
        adopted(model)


def test_a_model_that_is_not_fitted_is_refused() -> None:
    with pytest.raises(SourceError, match=r"LogisticRegression.*(is not fitted|how many columns)"):
        adopted(LogisticRegression())


def test_several_classes_at_once_are_refused() -> None:
    several = np.stack([TWO, THREE > 0], axis=1).astype(int)
    with pytest.raises(UnsupportedModelError, match="several classes at once") as refused:
        adopted(fitted(RidgeClassifier(), X, several))
    assert refused.value.code == "multi-output-classifier"
