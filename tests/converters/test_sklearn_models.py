"""Neighbours, clusters, Bayes, networks and models of models compute the same on ONNX Runtime and LiteRT."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import DBSCAN, KMeans, MiniBatchKMeans
from sklearn.cross_decomposition import PLSRegression
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer, StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC, NuSVC

from nearhand_converters.errors import UnsupportedModelError
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
    table,
    target_of,
)

FOREST = {"n_estimators": 5, "max_depth": 4, "random_state": 0}


def _scaled(estimator: Any) -> Any:
    return make_pipeline(StandardScaler(), estimator)


def _names(value: Any) -> str:
    return "" if isinstance(value, np.ndarray) else " ".join(str(value).split())


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_a_network_gives_what_scikit_learn_gives(activation: Any) -> None:
    options: Any = {"activation": activation, "hidden_layer_sizes": (8, 6), "max_iter": 30, "random_state": 0}
    check(fitted(_scaled(MLPClassifier(**options)), X, TWO))
    check(fitted(_scaled(MLPClassifier(**options)), X, THREE))
    check(fitted(_scaled(MLPRegressor(**options)), X, VALUES))


@pytest.mark.parametrize(
    ("model", "target"),
    [
        (KNeighborsClassifier(5), THREE),
        (KNeighborsClassifier(1, algorithm="ball_tree"), TWO),
        (KNeighborsClassifier(3, metric="manhattan"), TWO),
        (KNeighborsClassifier(4, weights="distance"), THREE),
        (KNeighborsRegressor(5, algorithm="brute"), VALUES),
        (_scaled(KNeighborsRegressor(3, weights="distance", p=1)), VALUE),
    ],
    ids=_names,
)
def test_neighbours_give_what_scikit_learn_gives(model: Any, target: NDArray[Any]) -> None:
    check(fitted(model, X, target))


def test_many_neighbours_are_searched_column_by_column() -> None:
    """The differences of all rows to all points at once would take 1000 × 1500 × 8 numbers."""
    many = table(7, columns=8, rows=1_500)
    model, _ = check(fitted(KNeighborsRegressor(3), many, target_of(many, 1)), count=200)
    ranks = [len(node.input) for node in graph_of(model).graph.node if node.op_type == "Unsqueeze"]
    assert not ranks


def test_a_row_that_is_a_training_row_has_its_weight() -> None:
    model = adopted(fitted(KNeighborsRegressor(3, weights="distance"), X.astype(np.float32), VALUE))
    rows = Rows(X.astype(np.float32).astype(np.float64), np.zeros((len(X), 0), np.int32))
    for engine in ("onnx", "tflite"):
        found = runner(graph_of(model), engine)(rows)["value"][:, 0]
        np.testing.assert_allclose(found, VALUE, rtol=1e-6)


def test_rows_between_two_neighbours_are_not_decided() -> None:
    points = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [9.0, 9.0]])
    model: Any = adopted(fitted(KNeighborsClassifier(1), points, [0, 1, 1, 0]))
    rows = np.array([[1.0, 0.0], [0.9, 0.0], [1.0, 5e-8], [1.5, 1.5]])
    # Of the last, the two nearest have the same class, so it does not matter which one counts.
    assert model.decided(Rows(rows, np.zeros((4, 0), np.int32))).tolist() == [False, True, False, True]


def test_neighbours_that_are_all_equally_far_are_refused() -> None:
    grid = random(1).integers(0, 2, (200, 3)).astype(float)
    with pytest.raises(UnsupportedModelError, match="equally far") as refused:
        adopted(fitted(KNeighborsClassifier(5), grid, TWO))
    assert refused.value.code == "tied-neighbours"


@pytest.mark.parametrize(
    ("model", "code"),
    [
        (KNeighborsClassifier(3, metric="cosine"), "metric"),
        (KNeighborsClassifier(3, p=3), "metric"),
        pytest.param(
            KNeighborsClassifier(3, weights=np.ones_like), "custom-function", id="KNeighborsClassifier weights"
        ),
    ],
    ids=_names,
)
def test_other_neighbours_are_refused(model: Any, code: str) -> None:
    with pytest.raises(UnsupportedModelError) as refused:
        adopted(fitted(model, X, TWO))
    assert refused.value.code == code


def test_too_many_points_are_refused() -> None:
    r = random(1)
    many = r.standard_normal((20_000, 60))
    with pytest.raises(UnsupportedModelError, match="stores 20000 points of 60 columns") as refused:
        adopted(fitted(KNeighborsRegressor(1, algorithm="brute"), many, many[:, 0]))
    assert refused.value.code == "too-many-points"


@pytest.mark.parametrize(
    "model",
    [
        KMeans(4, n_init=1, random_state=0),
        _scaled(KMeans(3, n_init=1, random_state=0)),
        _scaled(MiniBatchKMeans(3, n_init=1, random_state=0)),
    ],
    ids=_names,
)
def test_clusters_give_what_scikit_learn_gives(model: Any) -> None:
    found, parity = check(fitted(model, X))
    assert found.task == "cluster"
    assert [output.name for output in parity.outputs] == ["distance"]
    assert parity.labels


@pytest.mark.parametrize("scaled", [False, True])
def test_clusters_of_float32_rows(scaled: bool) -> None:
    """scikit-learn takes no float64 row for them; the model that was given stays as it is."""
    model: Any = fitted(KMeans(3, n_init=1, random_state=0), X.astype(np.float32))
    if scaled:
        model = fitted(make_pipeline(StandardScaler(), KMeans(3, n_init=1, random_state=0)), X.astype(np.float32))
    check(model)
    centres = (model[-1] if scaled else model).cluster_centers_
    assert centres.dtype == np.float32


def test_distances_to_a_near_centre_far_from_zero_keep_their_precision() -> None:
    """By products, |x|² − 2x·c + |c|² would lose all digits of a distance of 1 at 100,000."""
    far = X + 1e5
    model = adopted(fitted(KMeans(3, n_init=1, random_state=0), far))
    rows = Rows(far.astype(np.float32).astype(np.float64), np.zeros((len(far), 0), np.int32))
    found = runner(graph_of(model), "onnx")(rows)["distance"]
    np.testing.assert_allclose(found, np.asarray(model.predict(rows)["distance"], np.float64), rtol=1e-3)


def test_distances_to_centres_may_be_columns() -> None:
    check(fitted(make_pipeline(StandardScaler(), KMeans(3, n_init=1, random_state=0), LogisticRegression()), X, TWO))


@pytest.mark.parametrize(
    "model", [_scaled(DBSCAN(eps=1.5)), DBSCAN(eps=3, metric="manhattan", min_samples=3)], ids=_names
)
def test_dbscan_has_a_surrogate_that_says_so(model: Any) -> None:
    found, parity = check(fitted(model, X))
    assert "surrogate" in found.source
    assert parity.labels == 1_000
    labels = found.predict(_rows(X))["label"]
    of_training = (model[-1] if hasattr(model, "steps") else model).labels_
    assert set(np.unique(labels).tolist()) == set(np.unique(of_training).tolist())
    core = (model[-1] if hasattr(model, "steps") else model).core_sample_indices_
    assert (labels[core] == of_training[core]).all()


def test_dbscan_without_core_samples_is_refused() -> None:
    with pytest.raises(UnsupportedModelError) as refused:
        adopted(fitted(DBSCAN(eps=1e-9), X))
    assert refused.value.code == "no-core-samples"


def _rows(numbers: NDArray[np.float64]) -> Rows:
    return Rows(numbers, np.zeros((len(numbers), 0), np.int32))


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (GaussianNB(), X),
        (BernoulliNB(), X),
        (make_pipeline(Binarizer(), BernoulliNB(binarize=None)), X),
        (_scaled(BernoulliNB(binarize=0.3)), X),
        (MultinomialNB(), np.abs(X)),
        (ComplementNB(), np.abs(X)),
    ],
    ids=_names,
)
def test_naive_bayes_gives_what_scikit_learn_gives(model: Any, data: NDArray[np.float64]) -> None:
    check(fitted(model, data, TWO))
    check(fitted(model, data, THREE))


def test_gaussians_far_from_zero_keep_their_precision() -> None:
    model = adopted(fitted(GaussianNB(), X + 1e5, THREE))
    rows = Rows((X + 1e5).astype(np.float32).astype(np.float64), np.zeros((len(X), 0), np.int32))
    found = runner(graph_of(model), "onnx")(rows)["probability"]
    assert np.abs(found - model.predict(rows)["probability"]).max() < 1e-4


def test_a_column_that_was_constant_in_training_says_nothing() -> None:
    """Its variance is next to nothing, so any other value is half a billion deviations from the mean of every class."""
    model = fitted(GaussianNB(), np.column_stack([X, np.zeros(len(X))]), THREE)
    check(model, rows=_rows(np.column_stack([X.astype(np.float32), np.ones(len(X))])), count=200)


@pytest.mark.parametrize(
    ("model", "target"),
    [
        (CalibratedClassifierCV(LinearSVC(), cv=2), TWO),
        (CalibratedClassifierCV(LinearSVC(), cv=2, method="isotonic"), THREE),
        (CalibratedClassifierCV(LogisticRegression(), cv=2, ensemble=False), THREE),
        (CalibratedClassifierCV(GaussianNB(), cv=2), TWO),
        (CalibratedClassifierCV(LogisticRegression(), cv=2, method="temperature"), TWO),
        (CalibratedClassifierCV(GaussianNB(), cv=2, method="temperature"), THREE),
        (CalibratedClassifierCV(RandomForestClassifier(**FOREST), cv=2), THREE),
        (CalibratedClassifierCV(GradientBoostingClassifier(n_estimators=5, random_state=0), cv=2), THREE),
        (CalibratedClassifierCV(_scaled(RandomForestClassifier(**FOREST)), cv=2, method="isotonic"), TWO),
        (CalibratedClassifierCV(HistGradientBoostingClassifier(max_iter=5), cv=2, ensemble=False), TWO),
        (CalibratedClassifierCV(AdaBoostClassifier(n_estimators=5, random_state=0), cv=2), TWO),
        (CalibratedClassifierCV(AdaBoostClassifier(n_estimators=5, random_state=0), cv=2), THREE),
    ],
    ids=_names,
)
def test_calibrated_classifiers_give_what_scikit_learn_gives(model: Any, target: NDArray[Any]) -> None:
    check(fitted(model, X, target))


def test_calibrated_probabilities_that_are_all_tiny_are_normalized_too() -> None:
    model = adopted(fitted(CalibratedClassifierCV(LinearSVC(), cv=2, ensemble=False), X, THREE))
    rows = _rows(random(3).standard_normal((300, 5)) * 300)
    expected = model.predict(rows)["probability"]
    found = runner(graph_of(model), "onnx")(rows)["probability"]
    assert np.abs(found - expected).max() < 1e-4


def test_a_frozen_classifier_is_calibrated() -> None:
    frozen = FrozenEstimator(fitted(LinearSVC(), X, THREE))
    check(fitted(CalibratedClassifierCV(frozen), X, THREE))


def test_a_fold_may_not_know_a_class() -> None:
    target = np.where(np.arange(len(X)) == 3, 2, TWO)
    check(fitted(CalibratedClassifierCV(GaussianNB(), cv=2), X, np.where(np.arange(len(X)) < 2, 2, target)))


@pytest.mark.parametrize(
    ("model", "target"),
    [
        (
            VotingClassifier(
                [("a", LogisticRegression()), ("b", RandomForestClassifier(**FOREST)), ("c", _scaled(GaussianNB()))],
                voting="soft",
                weights=[1, 2, 1],
            ),
            THREE,
        ),
        (VotingRegressor([("a", LinearRegression()), ("b", RandomForestRegressor(**FOREST))]), VALUE),
        (StackingClassifier([("a", LogisticRegression()), ("b", RandomForestClassifier(**FOREST))], cv=2), TWO),
        (StackingClassifier([("a", LinearSVC()), ("b", GaussianNB())], cv=2, passthrough=True), THREE),
        (
            StackingClassifier(
                [("a", LogisticRegression()), ("b", GaussianNB())],
                RandomForestClassifier(**FOREST),
                cv=2,
            ),
            TWO,
        ),
        (StackingRegressor([("a", Ridge()), ("b", RandomForestRegressor(**FOREST))], cv=2), VALUE),
        (OneVsRestClassifier(RandomForestClassifier(**FOREST)), THREE),
        (OneVsRestClassifier(GaussianNB()), THREE),
        (OneVsRestClassifier(GaussianNB()), TWO),
        (OneVsRestClassifier(LogisticRegression()), np.where(THREE == 0, "a", "b")),
        (DummyClassifier(), THREE),
        (DummyClassifier(strategy="most_frequent"), TWO),
        (DummyClassifier(strategy="constant", constant=1), TWO),
        (DummyRegressor(), VALUES),
        (QuadraticDiscriminantAnalysis(), THREE),
        (_scaled(QuadraticDiscriminantAnalysis()), np.where(TWO, "yes", "no")),
        (PLSRegression(2), VALUES),
    ],
    ids=_names,
)
def test_other_models_give_what_scikit_learn_gives(model: Any, target: NDArray[Any]) -> None:
    check(fitted(model, X, target))


def test_a_discriminant_may_be_a_projection() -> None:
    check(fitted(make_pipeline(LinearDiscriminantAnalysis(n_components=2), LogisticRegression()), X, THREE))
    check(fitted(make_pipeline(LinearDiscriminantAnalysis(solver="eigen"), LogisticRegression()), X, THREE))


@pytest.mark.parametrize("increasing", [True, False])
def test_isotonic_regression_gives_what_scikit_learn_gives(increasing: bool) -> None:
    check(fitted(IsotonicRegression(out_of_bounds="clip", increasing=increasing), X[:, 0], VALUE))
    check(fitted(IsotonicRegression(out_of_bounds="clip"), np.ones(200), VALUE))


@pytest.mark.parametrize("kernel", ["linear", "poly", "rbf", "sigmoid"])
def test_support_vectors_give_what_scikit_learn_gives(kernel: Any) -> None:
    check(fitted(_scaled(SVR(kernel=kernel, coef0=0.5)), X, VALUE))
    check(fitted(_scaled(SVC(kernel=kernel)), X, TWO))
    check(fitted(_scaled(OneVsRestClassifier(NuSVC(kernel=kernel, nu=0.1))), X, THREE))


@pytest.mark.parametrize(
    ("model", "target", "code"),
    [
        (VotingClassifier([("a", LogisticRegression())]), TWO, "hard-voting"),
        (DummyClassifier(strategy="uniform"), TWO, "random-predictions"),
        (IsotonicRegression(), VALUE, "out-of-bounds"),
        (StackingClassifier([("a", LinearSVC())], stack_method="predict", cv=2), TWO, "unsupported-estimator"),
        (SVC(), THREE, "one-versus-one"),
        (SVR(kernel="precomputed"), VALUE, "custom-function"),
        (CalibratedClassifierCV(QuadraticDiscriminantAnalysis(), cv=2), TWO, "unsupported-estimator"),
        (KNeighborsClassifier(), np.stack([TWO, TWO], axis=1), "multi-output-classifier"),
    ],
    ids=_names,
)
def test_what_has_no_graph_is_refused(model: Any, target: NDArray[Any], code: str) -> None:
    data = X[:, 0] if isinstance(model, IsotonicRegression) else X
    data = X @ X.T if getattr(model, "kernel", "") == "precomputed" else data
    with pytest.raises(UnsupportedModelError) as refused:
        adopted(fitted(model, data, target))
    assert refused.value.code == code
