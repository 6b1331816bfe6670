"""The request and the answer as the Open Inference Protocol has them: JSON tensors in, scores out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nearhand.errors import UsageError
from nearhand_cloud.heavy.model import Asked, HeavyModel

MAX_LISTS = 32
"""Lists of one request."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of a request: ``data`` flat, or nested as ``shape`` says."""

    datatype: str
    shape: Sequence[int]
    data: Any


@dataclass(frozen=True)
class TensorKind:
    """A tensor as the model's metadata describes it; −1 is decided by the request.

    Attributes:
        is_optional: whether a request may leave it out.
    """

    name: str
    datatype: Literal["INT32", "FP32"]
    shape: tuple[int, int]
    is_optional: bool = False


def inputs_of(model: HeavyModel) -> list[TensorKind]:
    """The inputs of a model; a first dimension of more than 1 is several lists."""
    found = [
        TensorKind("history", "INT32", (-1, -1)),
        TensorKind("weights", "FP32", (-1, -1)),
        TensorKind("candidates", "INT32", (-1, -1)),
    ]
    if model.columns:
        found.append(TensorKind("features", "FP32", (-1, len(model.columns)), is_optional=True))
    return found


OUTPUT = TensorKind("scores", "FP32", (-1, -1))


def read_lists(model: HeavyModel, tensors: Mapping[str, Tensor], parameters: Mapping[str, Any]) -> list[Asked]:
    """What a request asks.

    Args:
        tensors: name → tensor.
        parameters: those of the request: ``catalogue`` and, beside features, ``program``; others are passed over.

    Raises:
        UsageError: names the tensor or the parameter. It starts with ``catalogue:`` if rows mean something else here.
    """
    _check_digest("catalogue", parameters.get("catalogue"), model.catalogue, "fetch the bundle that is served here")
    kinds = {kind.name: kind for kind in inputs_of(model)}
    if unknown := sorted(set(tensors) - set(kinds)):
        raise UsageError("is not an input of the model", place=unknown[0][:60], remedy=f"give {', '.join(kinds)}")
    arrays = {}
    for name, kind in kinds.items():
        if name in tensors:
            arrays[name] = _array(kind, tensors[name])
        elif not kind.is_optional:
            raise UsageError("is missing", place=name, remedy="give it as an input")
    if "features" in arrays:
        remedy = "leave the features out, or fetch the bundle that is served here"
        _check_digest("program", parameters.get("program"), model.program, remedy)
    lists = len(arrays["history"])
    for name, array in arrays.items():
        if len(array) != lists:
            raise UsageError(f"is of {len(array)} lists", place=name, remedy=f"give {lists}, as many as of histories")
    features = arrays.get("features")
    return [
        model.asked(
            arrays["history"][at],
            arrays["weights"][at],
            arrays["candidates"][at],
            None if features is None else features[at],
        )
        for at in range(lists)
    ]


def _check_digest(name: str, given: Any, own: str, remedy: str) -> None:
    if given == own:
        return
    said = "is missing" if given is None else f"is {str(given)[:64]!r}, and the server's is {own}"
    raise UsageError(said, place=name, remedy=remedy)


def _array(kind: TensorKind, tensor: Tensor) -> NDArray[Any]:
    shape = tuple(tensor.shape)
    if tensor.datatype != kind.datatype:
        raise UsageError(f"is of the type {tensor.datatype}", place=kind.name, remedy=f"give {kind.datatype}")
    if len(shape) != 2 or not 1 <= shape[0] <= MAX_LISTS or shape[1] < 0:
        remedy = f"give two dimensions: 1 to {MAX_LISTS} lists, and their numbers"
        raise UsageError(f"has the shape {list(shape)[:6]}", place=kind.name, remedy=remedy)
    numbers = _numbers(kind, tensor.data)
    if numbers.size != shape[0] * shape[1] or (numbers.ndim > 1 and numbers.shape != shape):
        problem = f"has data of the shape {list(numbers.shape)[:6]}, and says {list(shape)}"
        raise UsageError(problem, place=kind.name, remedy="give as many numbers as the shape says")
    return numbers.reshape(shape)


def _numbers(kind: TensorKind, data: Any) -> NDArray[Any]:
    """The data as it is nested, int32 or float32."""
    remedy = "give " + ("whole numbers" if kind.datatype == "INT32" else "numbers")
    if not isinstance(data, list):
        raise UsageError(f"has data of the type {type(data).__name__}", place=kind.name, remedy="give a list")
    types = set(map(type, data))
    if list in types:
        types = {type(value) for part in data for value in (part if isinstance(part, list) else [part])}
    allowed = {int} if kind.datatype == "INT32" else {int, float}
    if not types <= allowed:
        found = sorted(each.__name__ for each in types - allowed)[0]
        raise UsageError(f"has a {found} among its data", place=kind.name, remedy=remedy)
    try:
        found_numbers = np.array(data, np.int64 if kind.datatype == "INT32" else np.float64)
    except (ValueError, OverflowError):  # lists of several lengths; a number beyond the type
        raise UsageError("has data of no shape, or numbers too large", place=kind.name, remedy=remedy) from None
    if kind.datatype == "FP32":
        with np.errstate(over="ignore"):
            return found_numbers.astype(np.float32)  # an infinity is refused later
    bound = np.iinfo(np.int32)
    if found_numbers.size and (found_numbers.min() < bound.min or found_numbers.max() > bound.max):
        raise UsageError("has a number beyond int32", place=kind.name, remedy=remedy)
    return found_numbers.astype(np.int32)
