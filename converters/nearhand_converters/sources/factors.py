"""Matrix factorization: the ``.npz`` that implicit's ``AlternatingLeastSquares.save`` writes.

Only item factors, regularization and alpha are read. User factors are not needed: every user is a function of a
history.
"""

from __future__ import annotations

import hashlib
import io
import math
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import SourceError

_REMEDY = "give the .npz that implicit's AlternatingLeastSquares.save wrote"

_MALFORMED = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    KeyError,
    MemoryError,  # a header that claims more than there is
    RuntimeError,  # an encrypted entry, or an unknown compression
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy and zipfile raise for bytes that are no such file."""


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
        arrays = np.load(io.BytesIO(data), allow_pickle=False)
    except _MALFORMED as error:
        raise SourceError(f"is not an ALS model ({_first_line(error)})", place=path.name, remedy=_REMEDY) from error
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise SourceError("is a single array, not an ALS model", place=path.name, remedy=_REMEDY)
    with arrays:
        factors, regularization, alpha = (_array(arrays, n, path) for n in ("item_factors", "regularization", "alpha"))
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
        real = np.issubdtype(value.dtype, np.floating) or np.issubdtype(value.dtype, np.integer)
        if value.ndim != 0 or not real or not lowest < float(value) < math.inf:
            raise SourceError(f"is {value!r}, not a positive number", place=f"{path.name}: {name}", remedy=_REMEDY)
    return FactorModel(
        factors.astype(np.float64), float(regularization), float(alpha), hashlib.sha256(data).hexdigest()
    )


def _array(arrays: Any, name: str, path: Path) -> NDArray[Any]:
    if name not in arrays:
        raise SourceError("is missing", place=f"{path.name}: {name}", remedy=_REMEDY)
    try:
        array: NDArray[Any] = arrays[name]
    except _MALFORMED as error:
        problem = f"cannot be read ({_first_line(error)})"
        raise SourceError(problem, place=f"{path.name}: {name}", remedy=_REMEDY) from error
    return array


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
