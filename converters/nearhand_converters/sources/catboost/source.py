"""CatBoost as a source: ``.cbm`` and JSON files, and models in memory.

A file in the JSON form may hold the texts of the categories; a ``.cbm`` file and a model in memory never do. The
library crashes on some damaged files, so it reads a ``.cbm`` in a process of its own, which writes the JSON form; that
form is checked here before this process's library reads it.
"""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import SourceError, UnsupportedModelError
from nearhand_converters.sources.catboost.features import Features, read_features
from nearhand_converters.sources.catboost.losses import Prediction, loss_of, prediction_of
from nearhand_converters.sources.catboost.trees import ReadTrees, read_trees
from nearhand_converters.sources.model import Outputs, Rows, TabularModel
from nearhand_converters.sources.texts import UNSEEN, text_of
from nearhand_converters.sources.tree_model import TreeModel

_MAGIC = b"CBM1"
_JSON = re.compile(rb'\s*\{\s*"(ctr_data|features_info|model_info|oblivious_trees|scale_and_bias|trees)"\s*:')
_REMEDY = "give a file that CatBoost's save_model wrote"
_SECONDS = 600
"""For the library to read a ``.cbm`` and write its JSON form."""
_TEXTS = 3
"""What the process that does it exits with if the model reads texts or embeddings: there is no such form then."""
_WRITE_FORM = f"""
import sys
import catboost
try:
    model = catboost.CatBoost()
    model.load_model(sys.argv[1], format="cbm")
    if model.get_text_feature_indices() or model.get_embedding_feature_indices():
        sys.exit({_TEXTS})
    model.save_model(sys.argv[2], format="json")
except catboost.CatBoostError as error:
    sys.exit(str(error))
"""


@dataclass(frozen=True)
class CatBoostSource:
    """Implements :class:`~nearhand_converters.sources.model.Source`."""

    @property
    def name(self) -> str:
        return "catboost"

    def claims(self, path: Path, head: bytes) -> bool:
        return head.startswith(_MAGIC) or _JSON.match(head) is not None

    def read(self, path: Path) -> TabularModel:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise SourceError(f"cannot be read ({error.strerror})", place=str(path), remedy=_REMEDY) from error
        if data.startswith(_MAGIC):
            if len(data) < 8 or len(data) - 8 < struct.unpack_from("<I", data, 4)[0]:
                raise SourceError("is shorter than its header says", place=path.name, remedy=_REMEDY)
            with tempfile.TemporaryDirectory() as folder:
                form = Path(folder) / "model.json"
                _write_form(path, form)
                return _read_form(form, path.name)
        return _read_form(path, path.name)

    def adopts(self, model: object) -> bool:
        library = sys.modules.get("catboost")
        return library is not None and type(model) in (
            library.CatBoost,
            library.CatBoostClassifier,
            library.CatBoostRegressor,
            library.CatBoostRanker,
        )

    def adopt(self, model: Any) -> TabularModel:
        name = type(model).__name__
        if not model.is_fitted():
            raise SourceError("is not fitted", place=name, remedy="call its fit first")
        return _adopted(model, name)


class _Read:
    """The JSON form, read and checked.

    Raises:
        SourceError: it is not a model's.
        UnsupportedModelError: it is one that we do not convert.
    """

    def __init__(self, document: dict[str, Any], place: str) -> None:
        self._place = place
        self._loss = loss_of(document)
        self._prediction = prediction_of(self._loss)
        try:
            self._features = read_features(document)
            self._trees = read_trees(document, self._features.questions)
            threshold = document["model_info"].get("binclass_probability_threshold", 0.5)
            self._label_above = float(threshold)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            problem = f"is not a CatBoost model ({type(error).__name__}: {error})"
            raise SourceError(problem.splitlines()[0], place=place, remedy=_REMEDY) from error

    def model(self, kind: str, original: Any, twin: Any) -> TreeModel:
        """The model, with the library's own beside it.

        Args:
            kind: the class of ``original``.
            twin: the library's model as it reads the JSON form: it numbers leaves as the form has them.
        """
        task = self._prediction.task
        classes = tuple(text_of(value, self._place) for value in original.classes_)
        if task not in ("binary", "multiclass"):
            classes = ()
        try:
            return TreeModel(
                source=f"catboost {kind} {self._loss}",
                columns=self._features.columns,
                task=task,
                classes=classes,
                trees=self._trees.trees,
                link=self._prediction.link,
                original=_Original(original, self._features, self._prediction, classes).predict,
                original_leaves=_Leaves(twin, self._features, self._trees).of,
                label_above=self._label_above,
            )
        except ValueError as error:
            raise SourceError(f"is not a CatBoost model ({error})", place=self._place, remedy=_REMEDY) from error


@dataclass(frozen=True)
class _Original:
    """What the library gives for rows."""

    library_model: Any
    features: Features
    prediction: Prediction
    classes: tuple[str, ...]

    def predict(self, rows: Rows) -> Outputs:
        found = self._given(rows, self.prediction.kind)
        if not self.classes:
            return {"value": found.reshape(len(rows), -1)}
        place_of = {text: place for place, text in enumerate(self.classes)}
        labels, place = np.unique(self._given(rows, "Class").reshape(-1), return_inverse=True)
        label = np.array([place_of[text_of(each, "label")] for each in labels], np.int32)[place]
        return {"probability": found, "label": label}

    def _given(self, rows: Rows, kind: str) -> NDArray[Any]:
        import catboost

        # The base class's: a ranker's own predict has no choice of the kind.
        given = catboost.CatBoost.predict(
            self.library_model, _table(rows, self.features), prediction_type=kind, thread_count=1
        )
        return np.asarray(given)


@dataclass(frozen=True)
class _Leaves:
    """The library's leaves as nodes."""

    library_model: Any
    features: Features
    read: ReadTrees

    def of(self, rows: Rows) -> NDArray[np.integer]:
        number = self.library_model.calc_leaf_indexes(_table(rows, self.features), thread_count=1)
        node: NDArray[np.integer] = self.read.leaf[number.astype(np.int64) + self.read.first_leaf]
        return node


def _table(rows: Rows, features: Features) -> NDArray[Any]:
    """The rows as the library takes them, [rows, columns]; it has no missing category, only one it has not seen."""
    category = np.array([column.kind == "category" for column in features.columns])
    if not category.any():
        return rows.numbers
    table = np.empty((len(rows), len(category)), object)
    table[:, ~category] = rows.numbers
    for place, column in enumerate(np.flatnonzero(category)):
        texts = np.array([UNSEEN, UNSEEN, *features.columns[column].categories], object)
        table[:, column] = texts[rows.categories[:, place]]
    return table


def _adopted(model: Any, place: str) -> TreeModel:
    """A model in memory: its JSON form goes through a file, for the library writes to nothing else."""
    if model.get_text_feature_indices() or model.get_embedding_feature_indices():
        raise _reads_texts(place)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        document = _parsed(path.read_bytes(), place)
        # Only trees that are not symmetric are numbered in another order than that of the form.
        twin = _load(path, place) if "trees" in document else model
    return _Read(document, place).model(place, model, twin)


def _read_form(path: Path, place: str) -> TreeModel:
    """A file in the JSON form: checked before the library, which trusts such a file, reads it too."""
    read = _Read(_parsed(path.read_bytes(), place), place)
    model = _load(path, place)
    return read.model("CatBoost", model, model)


def _write_form(path: Path, form: Path) -> None:
    """Have the JSON form of a ``.cbm`` written by another process."""
    _library(path.name)
    command = [sys.executable, "-P", "-c", _WRITE_FORM, str(path), str(form)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"is not read in {_SECONDS} s", place=path.name, remedy=_REMEDY) from error
    if done.returncode == _TEXTS:
        raise _reads_texts(path.name)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = (
            f"CatBoost crashes on it, signal {-done.returncode}" if done.returncode < 0 else said[0] if said else "?"
        )
        raise SourceError(f"is not a CatBoost model ({reason})", place=path.name, remedy=_REMEDY)


def _reads_texts(place: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        "reads texts or embeddings",
        code="catboost-text-features",
        place=place,
        remedy="compute numbers from them before the model",
    )


def _library(place: str) -> ModuleType:
    try:
        import catboost
    except ImportError as error:
        raise SourceError(
            "needs CatBoost, which is not installed", place=place, remedy="pip install nearhand-converters[catboost]"
        ) from error
    library: ModuleType = catboost
    return library


def _load(form: Path, place: str) -> Any:
    """The library's model of a JSON form."""
    library = _library(place)
    model = library.CatBoost()
    try:
        model.load_model(str(form), format="json")
    except library.CatBoostError as error:
        problem = f"is not a CatBoost model ({error})"
        raise SourceError(problem.splitlines()[0], place=place, remedy=_REMEDY) from error
    return model


def _parsed(data: bytes, place: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        problem = f"is not JSON ({type(error).__name__}: {error})"
        raise SourceError(problem.splitlines()[0], place=place, remedy=_REMEDY) from error
    if not isinstance(document, dict) or "features_info" not in document:
        raise SourceError("is not a CatBoost model", place=place, remedy=_REMEDY)
    return document
