"""Files of Python objects: skops files of known types are read, pickles are not unless somebody allows it."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]
import numpy as np
import pytest
import skops.io
from catboost import CatBoostRegressor
from lightgbm import LGBMClassifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import DBSCAN
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier

from nearhand_converters.errors import SourceError, UnsupportedModelError
from nearhand_converters.parity.rows import verification_rows
from nearhand_converters.sources.catboost import CatBoostSource
from nearhand_converters.sources.lightgbm import LightGBMSource
from nearhand_converters.sources.pickled import PickledSource
from nearhand_converters.sources.sklearn import SklearnSource
from nearhand_converters.sources.xgboost import XGBoostSource
from tests.converters.sklearn_checks import classes_of, fitted, random, table

OTHERS = (XGBoostSource(), LightGBMSource(), CatBoostSource())
SOURCES = (SklearnSource(OTHERS), *OTHERS)
X = table(1)
TWO, THREE = classes_of(X, 2), classes_of(X, 3, 3)
MIXED = np.array([[*row, "abc"[i % 3]] for i, row in enumerate(X[:, :2])], object)


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def _columns() -> ColumnTransformer:
    return ColumnTransformer([("n", StandardScaler(), [0, 1]), ("c", OneHotEncoder(handle_unknown="ignore"), [2])])


_MODELS: dict[str, tuple[Any, Any]] = {
    "linear": (LogisticRegression(), X),
    "gradient descent": (SGDClassifier(), X),
    "pipeline": (make_pipeline(_columns(), LogisticRegression()), MIXED),
    "functions": (make_pipeline(FunctionTransformer(np.log1p), SelectKBest(k=2), LogisticRegression()), np.abs(X)),
    "forest": (RandomForestClassifier(3, max_depth=3), X),
    "forest in a pipeline": (make_pipeline(_columns(), RandomForestClassifier(3, max_depth=3)), MIXED),
    "boosting": (GradientBoostingClassifier(n_estimators=3), X),
    "histogram": (
        make_pipeline(
            ColumnTransformer([("c", OrdinalEncoder(), [2])], remainder="passthrough"),
            HistGradientBoostingClassifier(max_iter=3, categorical_features=[0]),
        ),
        MIXED,
    ),
    "neighbours": (KNeighborsClassifier(3), X),
    "network": (MLPClassifier((3,), max_iter=3), X),
    "calibrated": (CalibratedClassifierCV(LinearSVC(), cv=2), X),
    "one versus rest": (OneVsRestClassifier(LogisticRegression()), X),
    "clusters": (DBSCAN(3), X),
    "support vectors": (SVR(), X),
    "xgboost": (XGBClassifier(n_estimators=3, max_depth=2, n_jobs=1), X),
    "xgboost in a pipeline": (make_pipeline(_columns(), XGBClassifier(n_estimators=3, max_depth=2, n_jobs=1)), MIXED),
    "lightgbm in a pipeline": (
        make_pipeline(_columns(), LGBMClassifier(n_estimators=3, num_leaves=4, n_jobs=1, verbose=-1)),
        MIXED,
    ),
    "catboost": (CatBoostRegressor(iterations=3, depth=2, verbose=0, thread_count=1, allow_writing_files=False), X),
}


@pytest.mark.parametrize("name", _MODELS)
def test_a_skops_file_of_known_types_is_the_model_that_was_saved(name: str, tmp_path: Path) -> None:
    estimator, data = _MODELS[name]
    path = tmp_path / "model.skops"
    model = fitted(estimator, data, TWO)
    skops.io.dump(model, path)
    before = path.read_bytes()
    source = PickledSource(SOURCES)
    assert source.claims(path, before[:4096])
    found = source.read(path)
    direct = next(each for each in SOURCES if each.adopts(model)).adopt(model)
    assert found.source == direct.source
    rows = verification_rows(found, 200)
    for output, values in direct.predict(rows).items():
        np.testing.assert_array_equal(values, found.predict(rows)[output])
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["model.pkl", "model.pickle", "model.joblib", "model.sav", "model"])
def test_a_pickle_is_refused_and_not_run(name: str, tmp_path: Path) -> None:
    path, trace = tmp_path / name, tmp_path / "trace"
    path.write_bytes(pickle.dumps(Trap(trace)))
    source = PickledSource(SOURCES)
    assert source.claims(path, path.read_bytes()[:4096])
    with pytest.raises(UnsupportedModelError, match=r"runs the code that is in it.*skops.*--allow-pickle") as refused:
        source.read(path)
    assert refused.value.code == "pickle"
    assert not trace.exists()


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("library", ["pickle", "joblib"])
def test_an_allowed_pickle_is_the_model_that_was_saved(protocol: int, library: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    model = fitted(LogisticRegression(), X, THREE)
    if library == "pickle":
        path.write_bytes(pickle.dumps(model, protocol))
    else:
        joblib.dump(model, path, compress=protocol)
    found = PickledSource(SOURCES, allow_pickle=True).read(path)
    rows = verification_rows(found, 50)
    probability = found.predict(rows)["probability"]
    np.testing.assert_array_equal(probability, model.predict_proba(rows.numbers))


def test_a_type_that_is_not_trusted_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    skops.io.dump(make_pipeline(FunctionTransformer(np.save), fitted(LogisticRegression(), X, TWO)), path)
    with pytest.raises(UnsupportedModelError, match=r"not trusted: numpy\.save") as refused:
        PickledSource(SOURCES).read(path)
    assert refused.value.code == "untrusted-types"


def _edited(path: Path, edit: Any) -> None:
    """The skops file with its schema changed by ``edit``."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(entries["schema.json"])
    edit(schema, entries)
    entries["schema.json"] = json.dumps(schema).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


_POINTERS: dict[str, tuple[Any, str, int]] = {
    "left child": (RandomForestClassifier(1, max_depth=3), "left_child", 1 << 40),
    "child before": (GradientBoostingClassifier(n_estimators=1), "right_child", 0),
    "column": (DecisionTreeClassifier(max_depth=3), "feature", 99),
    "histogram child": (HistGradientBoostingClassifier(max_iter=1), "right", (1 << 32) - 1),
    "histogram column": (HistGradientBoostingClassifier(max_iter=1), "feature_idx", 1 << 40),
    "histogram set": (HistGradientBoostingClassifier(max_iter=1), "is_categorical", 1),
}


@pytest.mark.parametrize("name", _POINTERS)
def test_trees_that_point_to_what_is_not_there_never_predict(name: str, tmp_path: Path) -> None:
    """scikit-learn would read whatever is at that place of the memory."""
    estimator, field, value = _POINTERS[name]
    path = tmp_path / "model.skops"
    skops.io.dump(fitted(estimator, X, TWO), path)

    def change(_: Any, entries: dict[str, bytes]) -> None:
        found = {name: np.load(io.BytesIO(data)) for name, data in entries.items() if name.endswith(".npy")}
        name, nodes = next((name, array) for name, array in found.items() if field in (array.dtype.names or ()))
        nodes[field][0] = value
        file = io.BytesIO()
        np.save(file, nodes)
        entries[name] = file.getvalue()

    _edited(path, change)
    with pytest.raises(SourceError, match="is damaged: its parts point to what is not there"):
        PickledSource(SOURCES).read(path)


def test_support_vectors_whose_counts_do_not_fit_never_predict(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    model = fitted(SVC(), X, TWO)
    assert PickledSource(SOURCES).read(_dumped(model, path)).task == "binary"
    model._n_support = model._n_support + np.int32(50)
    with pytest.raises(SourceError, match="SVC is damaged"):
        PickledSource(SOURCES).read(_dumped(model, path))


def _dumped(model: Any, path: Path) -> Path:
    skops.io.dump(model, path)
    return path


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"PK\3\4" + bytes(200),
        lambda data: data.replace(b"schema.json", b"schema.jsom"),
        lambda data: b"not a zip at all",
    ],
    ids=["empty", "half", "zeros", "no schema", "text"],
)
def test_a_damaged_skops_file_is_refused(damage: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    skops.io.dump(fitted(LogisticRegression(), X, TWO), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SourceError, match=r"^model.skops: is not a skops file"):
        PickledSource(SOURCES).read(path)


def test_a_skops_array_that_claims_10_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    skops.io.dump(fitted(LogisticRegression(), X, TWO), path)

    def claim(_: Any, entries: dict[str, bytes]) -> None:
        name = next(name for name in entries if name.endswith(".npy"))
        entries[name] = entries[name].replace(b"'shape': (1, 5), ", b"'shape': (9999, 131072), ")[:128]

    _edited(path, claim)
    with pytest.raises(SourceError, match=r"is not a skops file|damaged"):
        PickledSource(SOURCES).read(path)


@pytest.mark.parametrize("data", [b"", b"\x80\x04", b"\x80\x04nonsense", random(1).bytes(500)], ids=str)
def test_a_damaged_pickle_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"^model.pkl: is not a pickle"):
        PickledSource(SOURCES, allow_pickle=True).read(path)


@pytest.mark.parametrize("value", [{"a": 1}, [1, 2], "text", np.zeros(3)], ids=lambda value: type(value).__name__)
def test_a_file_of_something_else_is_refused(value: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(SourceError, match=r"holds an object of the type .*, which is no model of catboost, lightgbm"):
        PickledSource(SOURCES, allow_pickle=True).read(path)


def test_a_model_of_another_version_of_scikit_learn_is_refused(tmp_path: Path) -> None:
    model = fitted(LogisticRegression(), X, TWO)
    for version, taken in (("1.2.0", False), (".".join([*_version().split(".")[:2], "99"]), True)):
        path = tmp_path / f"{version}.pkl"
        path.write_bytes(pickle.dumps(model).replace(_version().encode(), version.encode().ljust(len(_version()))))
        source = PickledSource(SOURCES, allow_pickle=True)
        if taken and len(version) == len(_version()):
            assert source.read(path).task == "binary"
        if not taken:
            with pytest.raises(SourceError, match=r"saved by scikit-learn 1\.2.*pip install scikit-learn==1\.2"):
                source.read(path)


def _version() -> str:
    import sklearn

    return str(sklearn.__version__)


@pytest.mark.parametrize("name", ["model.onnx", "model.json", "model.txt", "data.zip"])
def test_files_of_others_are_not_claimed(name: str) -> None:
    assert not PickledSource(SOURCES).claims(Path(name), b"PK\3\4")
