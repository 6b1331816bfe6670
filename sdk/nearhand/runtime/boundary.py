"""What every runtime does around native code: check what goes in, wrap what comes out wrong."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nearhand.bundle.schema import TensorSpec
from nearhand.errors import ModelError
from nearhand.runtime.protocol import Tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

_dtype = cache(np.dtype)  # of a name; making one takes as long as the rest of the checks


def check_inputs(specs: Sequence[TensorSpec], tensors: Tensors, *, place: str) -> list[NDArray[Any]]:
    """The tensors in the order of ``specs``.

    Raises:
        ModelError: one is missing, unknown, or of another dtype or shape; names it.
    """
    names = [spec.name for spec in specs]
    if len(names) != len(tensors) or any(name not in tensors for name in names):
        odd = sorted(set(names) ^ set(tensors))
        raise ModelError(f"input {odd[0]!r} is missing or unknown", place=place, remedy=f"give exactly {names}")
    for spec in specs:
        tensor = tensors[spec.name]
        fits = tensor.shape == spec.shape or (
            len(tensor.shape) == len(spec.shape)
            and all(wanted in (-1, given) for wanted, given in zip(spec.shape, tensor.shape, strict=True))
        )
        # Not by the dtype's name: that of the other byte order is the same, and native code would misread it.
        if not fits or tensor.dtype != _dtype(spec.dtype):
            raise ModelError(
                f"input {spec.name!r} is {tensor.dtype} {list(tensor.shape)}",
                place=place,
                remedy=f"give {spec.dtype} {list(spec.shape)}",
            )
    return [tensors[name] for name in names]


def runtime_failure(path: Path, what: str, error: Exception) -> ModelError:
    """A runtime's own exception as a ModelError with the first line of its message."""
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return ModelError(f"{what} ({reason[0]})", place=path.name, remedy="use another variant or rebuild the bundle")
