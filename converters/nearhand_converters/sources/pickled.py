"""Python objects in files: skops files of trusted types, and pickles where somebody allows them.

Unpickling runs whatever code the file says, so a pickle is refused unless its origin is trusted. A skops file lists its
types first; those that are not on our list are refused by name, and nothing of the file is run.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nearhand_converters.errors import SourceError, UnsupportedModelError
from nearhand_converters.sources.model import Source, TabularModel
from nearhand_converters.sources.sklearn.contents import check_contents

_PICKLES = (".pkl", ".pickle", ".joblib", ".sav")
_REMEDY = (
    "save it as skops (skops.io.dump) or in the library's own format; or, if you trust where the file comes from, "
    "allow it with --allow-pickle"
)

_MOST_EXPANSION = 200
"""How many times its own size a skops file may unpack to; models of numbers do not reach ten."""

_METRICS = ("Euclidean", "Manhattan")
_SCORES = ("chi2", "f_classif", "f_oneway", "f_regression", "r_regression")
TRUSTED = frozenset(
    (
        *("collections.OrderedDict", "functools.partial", "numpy.dtype"),
        *("sklearn._loss._loss.CyHalfBinomialLoss", "sklearn._loss._loss.CyHalfMultinomialLoss"),
        *("sklearn.calibration._CalibratedClassifier", "sklearn.calibration._SigmoidCalibration"),
        "sklearn.calibration._TemperatureScaling",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        *(f"sklearn.feature_selection._univariate_selection.{name}" for name in _SCORES),
        *(f"sklearn.metrics._dist_metrics.{name}Distance{bits}" for name in _METRICS for bits in ("", "32", "64")),
        "sklearn.multiclass._ConstantPredictor",
        *("sklearn.neighbors._ball_tree.BallTree", "sklearn.neighbors._kd_tree.KDTree"),
        *(f"sklearn.neural_network._stochastic_optimizers.{name}Optimizer" for name in ("Adam", "SGD")),
        "sklearn.tree._tree.Tree",
        "sklearn.utils.validation.check_array",
        "catboost.core.CatBoost",
        *(f"catboost.core.CatBoost{role}" for role in ("Classifier", "Ranker", "Regressor")),
        *("lightgbm.basic.Booster", "lightgbm.sklearn.LGBMModel"),
        *(f"lightgbm.sklearn.LGBM{role}" for role in ("Classifier", "Ranker", "Regressor")),
        *("xgboost.core.Booster", "xgboost.sklearn.XGBModel"),
        *(f"xgboost.sklearn.XGB{role}" for role in ("Classifier", "Ranker", "Regressor")),
        *(f"xgboost.sklearn.XGBRF{role}" for role in ("Classifier", "Regressor")),
    )
)
"""Types that a skops file may hold beside those that skops trusts itself.

What loads them only restores data; what is a function here is one that only checks an array, or that no conversion
calls. Some of them index memory by what they hold, which :func:`check_contents` looks at before anything predicts.
"""

_MALFORMED = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ImportError,
    MemoryError,  # a header that claims more than there is
    RuntimeError,
    AssertionError,
    NotImplementedError,
    RecursionError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What the readers raise for bytes that are no such file, or that name what is not there."""


_DAMAGED = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What libraries raise for models whose parts do not fit each other."""


class PickledSource:
    """Implements :class:`~nearhand_converters.sources.model.Source` for files of Python objects.

    Args:
        sources: what adopts the objects.
        allow_pickle: whether a file may be unpickled, which runs the code in it.
    """

    def __init__(self, sources: Sequence[Source], *, allow_pickle: bool = False) -> None:
        self._sources = sources
        self._allow_pickle = allow_pickle

    @property
    def name(self) -> str:
        return "python objects"

    def claims(self, path: Path, head: bytes) -> bool:
        suffix = path.suffix.lower()
        return suffix in (*_PICKLES, ".skops") or (head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"))

    def read(self, path: Path) -> TabularModel:
        if path.suffix.lower() != ".skops":
            return self.adopt(self._unpickled(path))
        model = _read_skops(path)
        try:
            check_contents(model, path.name)
            return self.adopt(model)
        except _DAMAGED as error:
            problem = f"is damaged, or of another version ({type(error).__name__}: {_first_line(error)})"
            raise SourceError(problem, place=path.name, remedy="save the model again") from error

    def adopts(self, model: object) -> bool:
        """Nothing: objects in memory are those of the libraries' own sources."""
        return False

    def adopt(self, model: object) -> TabularModel:
        for source in self._sources:
            if source.adopts(model):
                return source.adopt(model)
        kind = f"{type(model).__module__}.{type(model).__qualname__}".removeprefix("builtins.")
        raise SourceError(
            f"holds an object of the type {kind}, which is no model of "
            + ", ".join(sorted(source.name for source in self._sources)),
            place="model",
            remedy="save the fitted model or pipeline itself",
        )

    def _unpickled(self, path: Path) -> Any:
        if not self._allow_pickle:
            raise UnsupportedModelError(
                "is a pickle, and reading a pickle runs the code that is in it",
                code="pickle",
                place=path.name,
                remedy=_REMEDY,
            )
        try:
            import joblib  # type: ignore[import-untyped]
        except ImportError as error:
            raise _not_installed(path, "joblib") from error
        return _loaded(path, lambda: joblib.load(path), "a pickle")


def _read_skops(path: Path) -> Any:
    try:
        import skops.io
    except ImportError as error:
        raise _not_installed(path, "skops") from error
    _loaded(path, lambda: _check_size(path), "a skops file")
    untrusted = sorted(set(_loaded(path, lambda: skops.io.get_untrusted_types(file=path), "a skops file")) - TRUSTED)
    if untrusted:
        raise UnsupportedModelError(
            f"holds types that are not trusted: {', '.join(untrusted[:5])}{' …' if len(untrusted) > 5 else ''}",
            code="untrusted-types",
            place=path.name,
            remedy="build the model from the classes of scikit-learn, XGBoost, LightGBM and CatBoost only",
        )
    return _loaded(path, lambda: skops.io.load(path, trusted=sorted(TRUSTED)), "a skops file")


def _check_size(path: Path) -> None:
    """Refuse an archive whose entries would fill the memory before anything else is known of them.

    Raises:
        ValueError: it unpacks to more than any model does.
    """
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > _MOST_EXPANSION * path.stat().st_size:
        raise ValueError(f"it unpacks to {size:,} bytes")


def _loaded(path: Path, load: Any, what: str) -> Any:
    """The result of ``load``, whatever a file that is no such file makes it raise.

    Raises:
        SourceError: it cannot be read, or another version of scikit-learn saved it.
    """
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        try:
            value = load()
        except _MALFORMED as error:
            raise SourceError(
                f"is not {what} ({_first_line(error)})", place=path.name, remedy="save the model again"
            ) from error
    for warning in found:
        _check_version(warning.message, path)
    return value


def _check_version(warning: Warning | str, path: Path) -> None:
    """scikit-learn does not promise that another version's models predict the same; patches of a version do."""
    saved, present = (
        str(getattr(warning, name, "")) for name in ("original_sklearn_version", "current_sklearn_version")
    )
    if saved.split(".")[:2] != present.split(".")[:2]:
        raise SourceError(
            f"was saved by scikit-learn {saved}, and {present} is installed, which may predict something else",
            place=path.name,
            remedy=f"pip install scikit-learn=={saved}, or train and save it again",
        )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _not_installed(path: Path, library: str) -> SourceError:
    return SourceError(
        f"is read by {library}, which is not installed",
        place=path.name,
        remedy="pip install nearhand-converters[sklearn]",
    )
