"""Which sources there are, and which of them reads a given model. Whoever converts passes the sources in."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nearhand_converters.errors import SourceError
from nearhand_converters.sources.catboost.source import CatBoostSource
from nearhand_converters.sources.lightgbm.source import LightGBMSource
from nearhand_converters.sources.model import Source, TabularModel
from nearhand_converters.sources.onnx_file import OnnxFileSource
from nearhand_converters.sources.pickled import PickledSource
from nearhand_converters.sources.sklearn.source import SklearnSource
from nearhand_converters.sources.xgboost.source import XGBoostSource

_HEAD_BYTES = 4096


@dataclass(frozen=True)
class FoundModel:
    """A model that a source has read.

    Attributes:
        provenance: the sha256 of its file, if it is from one, and its library's version, for the manifest.
    """

    model: TabularModel
    provenance: dict[str, str]


def default_sources(*, allow_pickle: bool = False) -> tuple[Source, ...]:
    """Every source of the product, in the order in which they are asked.

    Args:
        allow_pickle: whether files may be read that run code when they are read.
    """
    boosted: tuple[Source, ...] = (XGBoostSource(), LightGBMSource(), CatBoostSource())
    libraries = (*boosted, SklearnSource(boosted))
    return (*libraries, PickledSource(libraries, allow_pickle=allow_pickle), OnnxFileSource())


def read_model(path: Path, sources: Sequence[Source]) -> FoundModel:
    """The model of a file, by the first source that claims it. The file is not changed.

    Raises:
        SourceError: there is no such file, no source claims it, or it is damaged.
        UnsupportedModelError: it is a model that we do not convert.
    """
    try:
        if path.exists() and not path.is_file():  # a folder, or a pipe or device, which may have no end
            raise SourceError("is not a file", place=str(path), remedy=_FILES)
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"cannot be read ({error.strerror})", place=str(path), remedy=_FILES) from error
    if not data:
        raise SourceError("is empty", place=path.name, remedy=_FILES)
    for source in sources:
        if source.claims(path, data[:_HEAD_BYTES]):
            model = source.read(path)
            return FoundModel(model, {"source_sha256": hashlib.sha256(data).hexdigest(), **_version(model)})
    raise SourceError("is not a model file that we read", place=path.name, remedy=_FILES)


def adopt_model(model: object, sources: Sequence[Source]) -> FoundModel:
    """A fitted model in memory, by the first source whose library it is of.

    Raises:
        SourceError: no source adopts it, or it is not fitted.
        UnsupportedModelError: it is a model that we do not convert.
    """
    for source in sources:
        if source.adopts(model):
            found = source.adopt(model)
            return FoundModel(found, _version(found))
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    raise SourceError(
        f"{kind} is not a model that we convert",
        remedy="give a fitted model or pipeline of scikit-learn, XGBoost, LightGBM or CatBoost",
    )


_FILES = (
    "give a model file of XGBoost (.json, .ubj), LightGBM (.txt) or CatBoost (.cbm, .json), a .skops of scikit-learn, "
    "an .onnx, or the .npz of implicit"
)


def _version(model: TabularModel) -> dict[str, str]:
    """The version of the model's library, which has been imported to read it."""
    library = model.source.split()[0]
    module = sys.modules.get({"scikit-learn": "sklearn"}.get(library, library))
    return {library: str(getattr(module, "__version__", "unknown"))}
