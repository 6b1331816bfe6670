"""Small random models of scikit-learn's and CatBoost's trees, and what it is for one to be read exactly.

A hypothesis strategy draws options and a seed; the seed makes the data, so an example shrinks to few options.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from nearhand_converters.graph.links import link_reference
from nearhand_converters.parity.rows import verification_rows
from nearhand_converters.sources.model import FIRST_KNOWN, MISSING, UNKNOWN, Rows
from nearhand_converters.sources.tree_model import TreeModel

KINDS = ("normal", "constant", "huge", "tiny", "whole", "missing", "all missing", "on a grid")


def assert_exact(model: TreeModel, count: int = 1000) -> None:
    """Leaves, outputs and labels as the library has them, on rows made from the model's own thresholds."""
    rows = verification_rows(model, count, doubles=True)
    np.testing.assert_array_equal(model.trees.leaves(rows.numbers, rows.categories), model.leaves(rows))
    assert_predicts(model, rows)


def assert_predicts(model: TreeModel, rows: Rows) -> None:
    """Outputs and labels as the library has them; labels outside ties."""
    given = model.predict(rows)
    scores = model.trees.scores(rows.numbers, rows.categories)
    linked = link_reference(scores, model.link)
    if not model.classes:
        _assert_close(linked, given["value"])
        return
    label = given["label"]
    assert label.dtype == np.int32
    if model.task == "binary":
        assert given["probability"].shape == (len(rows), 2)
        _assert_close(np.concatenate([1 - linked, linked], axis=1), given["probability"])
        clear = np.abs(linked[:, 0] - model.label_above) > 1e-6
        np.testing.assert_array_equal((linked[:, 0] > model.label_above)[clear], label[clear])
    else:
        _assert_close(linked, given["probability"])
        best = np.sort(scores, axis=1)
        clear = best[:, -1] - best[:, -2] > 1e-9
        np.testing.assert_array_equal(scores.argmax(axis=1)[clear], label[clear])


def _assert_close(found: NDArray[Any], given: NDArray[Any]) -> None:
    """Both are sums in float64, in another order."""
    assert found.shape == given.shape
    np.testing.assert_allclose(found, given, rtol=1e-9, atol=1e-11 * max(1e-300, float(np.abs(given).max())))


def coded(model: TreeModel, table: NDArray[Any]) -> Rows:
    """The rows of a training table [rows, columns], by the texts of the model's categories."""
    numbers, categories = [], []
    for place, column in enumerate(model.columns):
        values = table[:, place]
        if column.kind == "number":
            numbers.append(values.astype(np.float64))
            continue
        code = {text: FIRST_KNOWN + i for i, text in enumerate(column.categories)}
        missing = [value is None or value != value for value in values]  # noqa: PLR0124
        texts = [str(int(v)) if isinstance(v, float) and v.is_integer() else str(v) for v in values]
        categories.append([MISSING if m else code.get(t, UNKNOWN) for m, t in zip(missing, texts, strict=True)])
    return Rows(
        np.stack(numbers, axis=1) if numbers else np.empty((len(table), 0)),
        np.array(categories, np.int32).T.reshape(len(table), len(categories)),
    )


@dataclass(frozen=True)
class Data:
    """A training table and a target that depends on it.

    Attributes:
        numbers: float64 [rows, columns].
        categories: objects [rows, columns].
        target: float64 [rows], about 0 and of size 1.
    """

    numbers: NDArray[np.float64]
    categories: NDArray[np.object_]
    target: NDArray[np.float64]

    @property
    def table(self) -> NDArray[Any]:
        """The numbers, then the categories."""
        if not self.categories.shape[1]:
            return self.numbers
        return np.concatenate([self.numbers.astype(object), self.categories], axis=1)

    def classes(self, count: int) -> NDArray[np.integer]:
        """The target in so many classes, each with at least two rows."""
        order = np.argsort(np.argsort(self.target, kind="stable"))
        return order * count // len(order)


def random_data(seed: int, rows: int, kinds: list[str], known: list[int]) -> Data:
    """Args:
    kinds: of each number column; known: how many categories each category column has.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    numbers = random.standard_normal((rows, len(kinds)))
    target = 0.1 * random.standard_normal(rows)
    for place, kind in enumerate(kinds):
        target += random.standard_normal() * numbers[:, place]
        if kind == "constant":
            numbers[:, place] = numbers[0, place]
        elif kind == "huge":
            numbers[:, place] *= 1e37
        elif kind == "tiny":
            numbers[:, place] *= 1e-39
        elif kind == "whole":
            numbers[:, place] = np.round(3 * numbers[:, place])
        elif kind == "on a grid":
            numbers[:, place] = np.round(numbers[:, place], 1)
        elif kind == "missing":
            numbers[random.random(rows) < 0.3, place] = np.nan
        elif kind == "all missing":
            numbers[:, place] = np.nan
    categories = np.empty((rows, len(known)), object)
    for place, count in enumerate(known):
        codes = random.integers(0, count, rows)
        target += random.standard_normal(count)[codes]
        # A category is a text or a whole number.
        categories[:, place] = codes if place % 2 else [f"c{code}" for code in codes]
    return Data(numbers, categories, target)


@dataclass(frozen=True)
class Fitted:
    """A fitted estimator and what it was fitted on."""

    estimator: Any
    data: Data


def _columns(most: int, kinds: tuple[str, ...] = KINDS) -> st.SearchStrategy[list[str]]:
    """One column that can be split, at least."""
    usual = st.sampled_from(("normal", "whole", "on a grid"))
    return st.tuples(usual, st.lists(st.sampled_from(kinds), max_size=most - 1)).map(lambda both: [both[0], *both[1]])


@st.composite
def sklearn_models(draw: st.DrawFn) -> Fitted:
    """Any of the estimators that have trees, with random options."""
    from sklearn import ensemble, tree

    seed = draw(st.integers(0, 2**32 - 1))
    classifies = draw(st.booleans())
    suffix = "Classifier" if classifies else "Regressor"
    family = draw(
        st.sampled_from(
            ["DecisionTree", "ExtraTree", "RandomForest", "ExtraTrees", "Bagging", "GradientBoosting"]
            + ["HistGradientBoosting"] * 3
            + ["AdaBoost"] * classifies
        )
    )
    histogram = family == "HistGradientBoosting"
    finite = family in ("GradientBoosting", "AdaBoost")
    refused = ("missing", "all missing") if finite else ("all missing",) if histogram else ()
    kinds = draw(_columns(5, tuple(kind for kind in KINDS if kind not in refused)))
    known = draw(st.lists(st.sampled_from((1, 2, 9, 200)), max_size=2)) if histogram else []
    data = random_data(seed, draw(st.sampled_from((12, 60, 250))), kinds, known)
    target: NDArray[Any] = data.target
    if classifies:
        target = np.array(["no", "yes", "maybe", "never"])[data.classes(draw(st.integers(2, 4)))]
    elif draw(st.booleans()) and not histogram and not finite and family != "Bagging":
        target = np.stack([target, -2 * target], axis=1)
    options: dict[str, Any] = {"random_state": 0}
    if histogram:
        options |= {"max_iter": 4, "min_samples_leaf": draw(st.sampled_from((1, 5, 1000))), "early_stopping": False}
        options["max_bins"] = draw(st.sampled_from((255, 200)))
        options["categorical_features"] = list(range(len(kinds), len(kinds) + len(known))) or None
        if not classifies:
            options["loss"] = draw(st.sampled_from(("squared_error", "absolute_error", "quantile", "poisson", "gamma")))
            options["quantile"] = 0.3
            target = np.exp(target - target.max())
    elif family == "AdaBoost":
        options["n_estimators"] = 4
        options["estimator"] = tree.DecisionTreeClassifier(max_depth=draw(st.integers(1, 4)))
    elif family == "Bagging":
        base = tree.DecisionTreeClassifier if classifies else tree.ExtraTreeRegressor
        options |= {"n_estimators": 3, "max_features": draw(st.sampled_from((1.0, 0.5))), "estimator": base()}
        options["max_samples"] = draw(st.sampled_from((12, 4)))
    else:
        options["max_depth"] = draw(st.sampled_from((1, 3, 20)))
        options["min_samples_leaf"] = draw(st.sampled_from((1, 5)))
        if family in ("RandomForest", "ExtraTrees", "GradientBoosting"):
            options["n_estimators"] = 3
        if family == "GradientBoosting":
            options["init"] = draw(st.sampled_from((None, "zero")))
        elif draw(st.booleans()):
            options["max_leaf_nodes"] = 7
    kind = getattr(tree, family + suffix, None) or getattr(ensemble, family + suffix)
    with warnings.catch_warnings():
        # A column that holds nothing has no mean, and a stage that fits perfectly may overflow.
        warnings.simplefilter("ignore", RuntimeWarning)
        return Fitted(kind(**options).fit(data.table, target), data)


@st.composite
def catboost_models(draw: st.DrawFn) -> Fitted:
    """A CatBoost model with random options."""
    import catboost

    seed = draw(st.integers(0, 2**31 - 1))
    kinds = draw(_columns(5))
    known = draw(st.lists(st.sampled_from((2, 9, 1000)), max_size=2))
    rows = draw(st.sampled_from((30, 120, 400)))
    data = random_data(seed, rows, kinds, known)
    loss = draw(st.sampled_from(("RMSE", "MAE", "Poisson", "Logloss", "MultiClass", "MultiClassOneVsAll", "MultiRMSE")))
    target: NDArray[Any] = data.target
    if loss == "Poisson":
        target = np.exp(target - target.max())
    elif loss == "MultiRMSE":
        target = np.stack([target, -target], axis=1)
    elif loss not in ("RMSE", "MAE"):
        target = data.classes(2 if loss == "Logloss" else draw(st.integers(2, 4)))
    policy = draw(st.sampled_from(("SymmetricTree", "Depthwise", "Lossguide")))
    options: dict[str, Any] = {
        "loss_function": loss,
        "grow_policy": policy,
        "iterations": draw(st.integers(1, 5)),
        "depth": draw(st.sampled_from((1, 4, 8))) if policy != "Lossguide" else draw(st.sampled_from((4, 16))),
        "nan_mode": draw(st.sampled_from(("Min", "Max"))),
        "border_count": draw(st.sampled_from((1, 16, 254, 400))),
        "one_hot_max_size": draw(st.sampled_from((2, 255))),
        "max_ctr_complexity": 1,
        "bootstrap_type": "No",
        "random_seed": 0,
        "thread_count": 1,
        "verbose": 0,
        "allow_writing_files": False,
    }
    categories = list(range(len(kinds), len(kinds) + len(known)))
    model = catboost.CatBoost(options)
    model.fit(catboost.Pool(data.table, target, cat_features=categories or None, thread_count=1))
    return Fitted(model, data)
