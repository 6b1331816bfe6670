"""Matrix factorization: the ``.npz`` that implicit's ``AlternatingLeastSquares.save`` writes.

Only item factors, regularization and alpha are read. User factors are not needed: every user is a function of a
history.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import SourceError

_REMEDY = "give the .npz that implicit's AlternatingLeastSquares.save wrote"


@dataclass(frozen=True)
class FactorModel:
    """An implicit ALS model.

    Attributes:
        item_factors: float64 [items, factors].
        regularization: λ of the training.
        alpha: the confidence of one interaction.
        sha256: of the file it was read from.
    """

    item_factors: NDArray[np.float64]
    regularization: float
    alpha: float
    sha256: str


def read_factors(path: Path) -> FactorModel:
    """Read an ALS model; nothing in the file is executed, pickled objects are refused.

    Raises:
        SourceError: not such a file, or its factors are not finite; names the array.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"cannot be read ({error.strerror})", place=str(path), remedy=_REMEDY) from error
    try:
        with np.load(path, allow_pickle=False) as arrays:
            factors, regularization, alpha = (
                _array(arrays, n, path) for n in ("item_factors", "regularization", "alpha")
            )
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise SourceError(f"is not an ALS model ({error})", place=path.name, remedy=_REMEDY) from error
    if factors.ndim != 2 or 0 in factors.shape or not np.issubdtype(factors.dtype, np.floating):
        raise SourceError(
            f"is {factors.dtype} {list(factors.shape)}, not floats [items, factors]",
            place=f"{path.name}: item_factors",
            remedy=_REMEDY,
        )
    if not np.isfinite(factors).all():
        row = int(np.argmin(np.isfinite(factors).all(axis=1)))
        raise SourceError(
            "is not finite", place=f"{path.name}: item_factors[{row}]", remedy="train again; training diverged"
        )
    for name, value, lowest in (("regularization", regularization, 0.0), ("alpha", alpha, 0.0)):
        if value.ndim != 0 or not np.issubdtype(value.dtype, np.number) or not float(value) > lowest:
            raise SourceError(f"is {value!r}, not a positive number", place=f"{path.name}: {name}", remedy=_REMEDY)
    return FactorModel(
        factors.astype(np.float64), float(regularization), float(alpha), hashlib.sha256(data).hexdigest()
    )


def _array(arrays: Any, name: str, path: Path) -> NDArray[Any]:
    if name not in arrays:
        raise SourceError("is missing", place=f"{path.name}: {name}", remedy=_REMEDY)
    array: NDArray[Any] = arrays[name]
    return array
