"""Tensors of the Open Inference Protocol v2 as numpy arrays: their names, as JSON, and as bytes.

JSON is what every server reads. Bytes are the *binary tensor data extension*, which Triton defines: little-endian
numbers in row-major order; a ``BYTES`` tensor is a row of elements, each after its length as an unsigned integer of 32
bits.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from nearhand.errors import NearhandError, UsageError
from nearhand.records import dataclass, field

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"

DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype("O"),
}
"""The protocol's datatypes and numpy's; ``BF16`` is not there, for numpy has none. ``BYTES`` holds ``bytes``."""

_DATATYPES = {(dtype.kind, dtype.itemsize): name for name, dtype in DTYPES.items() if name != "BYTES"}
_DIGITS = {2: "%.5g", 4: "%.9g", 8: "%.17g"}
"""By a float's bytes: as many decimal digits as tell any two of them apart, so that none is changed on its way."""
_JSON_TYPES: Mapping[str, frozenset[type]] = {
    "b": frozenset({bool}),
    "u": frozenset({int}),
    "i": frozenset({int}),
    "f": frozenset({int, float}),
    "O": frozenset({str}),
}
_MOST_DIMENSIONS = 16


class ProtocolError(NearhandError):
    """An answer is not what the Open Inference Protocol, or the model's own metadata, say that it is."""


def refuse(problem: str, place: str) -> ProtocolError:
    """The error for an answer."""
    return ProtocolError(problem, place=place, remedy="check what serves the model, and its version")


@dataclass(frozen=True)
class TensorSpec:
    """A model's input or output as its metadata describe it.

    Attributes:
        shape: −1 where any length will do.
        parameters: what else the server tells of it.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)


def checked(name: str, array: Array) -> tuple[str, Array]:
    """A tensor to send: its datatype, and the array as it is sent, row-major and little-endian.

    Args:
        array: of a dtype in :data:`DTYPES`, or of texts or bytes.

    Raises:
        UsageError: it is no array, numpy's dtype has no datatype, or a number is not finite; names it.
    """
    place = f"input {name!r}"
    if not isinstance(array, np.ndarray):
        problem = f"is a {type(array).__name__}, not a numpy array"
        raise UsageError(problem, place=place, remedy="give a numpy array")
    if array.dtype.kind in "SUO":
        return "BYTES", _as_bytes(array, place)
    datatype = _DATATYPES.get((array.dtype.kind, array.dtype.itemsize))
    if datatype is None:
        remedy = f"use one of {', '.join(DTYPES)}"
        raise UsageError(f"has the dtype {array.dtype}, which the protocol does not have", place=place, remedy=remedy)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UsageError("has a number that is not finite", place=place, remedy="leave it out, or replace it")
    return datatype, np.ascontiguousarray(array, DTYPES[datatype]).reshape(array.shape)


def json_data(datatype: str, array: Array, name: str) -> str:
    """The elements of a checked tensor as a JSON array, in row-major order.

    Raises:
        UsageError: a ``BYTES`` element is not UTF-8: JSON cannot carry it.
    """
    elements = array.ravel().tolist()
    if datatype == "BYTES":
        try:
            return json.dumps([element.decode() for element in elements])
        except UnicodeDecodeError as error:
            remedy = "send texts, or use a server with the binary tensor data extension"
            raise UsageError("has bytes that are not UTF-8", place=f"input {name!r}", remedy=remedy) from error
    if datatype == "BOOL":
        return json.dumps(elements)
    if array.dtype.kind == "f":
        digits = _DIGITS[array.itemsize]
        return f"[{','.join(_decimal(digits % element) for element in elements)}]"
    return f"[{','.join(map(str, elements))}]"


def binary_data(datatype: str, array: Array) -> bytes:
    """The elements of a checked tensor as the binary extension carries them."""
    if datatype != "BYTES":
        return array.tobytes()
    return b"".join(struct.pack("<I", len(element)) + element for element in array.ravel().tolist())


def of_json(datatype: str, shape: tuple[int, ...], data: object, place: str) -> Array:
    """An answer's tensor: its elements in row-major order, either flat or nested as the shape is.

    Raises:
        ProtocolError: there are not as many as the shape says, or one is not of the datatype, out of its range, or not
            finite.
    """
    dtype = DTYPES[datatype]
    elements = _flat(data, shape, place)
    if not _JSON_TYPES[dtype.kind].issuperset(map(type, elements)):
        odd = next(element for element in elements if type(element) not in _JSON_TYPES[dtype.kind])
        raise refuse(f"has a {type(odd).__name__} among its {datatype} elements", place)
    if datatype == "BYTES":
        return _objects([element.encode("utf-8", "surrogatepass") for element in elements], shape)
    try:
        with np.errstate(over="ignore"):  # what does not fit is infinite, and found below
            found = np.array(elements, np.float64 if dtype.kind == "f" else dtype).astype(dtype)
    except OverflowError as error:
        raise refuse(f"has a number that {datatype} cannot hold", place) from error
    return _finite(found, place).reshape(shape)


def of_binary(datatype: str, shape: tuple[int, ...], data: memoryview, place: str) -> Array:
    """An answer's tensor from the bytes of the binary extension. Errors as :func:`of_json`."""
    count = math.prod(shape)
    if datatype == "BYTES":
        return _objects(_unpacked(data, count, place), shape)
    dtype = DTYPES[datatype]
    if len(data) != count * dtype.itemsize:
        raise refuse(f"has {len(data)} bytes, and {datatype} {list(shape)} has {count * dtype.itemsize}", place)
    if datatype == "BOOL" and not set(data) <= {0, 1}:
        raise refuse("has a byte other than 0 and 1 among its BOOL elements", place)
    return _finite(np.frombuffer(data, dtype), place).reshape(shape).copy()


def shape_of(value: object, place: str) -> tuple[int, ...]:
    """
    Raises:
        ProtocolError: it is no list of lengths.
    """
    if (
        not isinstance(value, list)
        or len(value) > _MOST_DIMENSIONS
        or any(type(length) is not int or length < 0 for length in value)
    ):
        raise refuse("has a shape that is no list of lengths", place)
    return tuple(value)


def _as_bytes(array: Array, place: str) -> Array:
    elements = array.ravel().tolist()
    if odd := next((one for one in elements if not isinstance(one, str | bytes)), None):
        problem = f"has a {type(odd).__name__} among its elements"
        raise UsageError(problem, place=place, remedy="use an array of numbers, or of texts or bytes alone")
    return _objects([one.encode() if isinstance(one, str) else one for one in elements], array.shape)


def _objects(elements: list[bytes], shape: tuple[int, ...]) -> Array:
    found = np.empty(len(elements), np.object_)
    found[:] = elements
    return found.reshape(shape)


def _flat(data: object, shape: tuple[int, ...], place: str) -> list[Any]:
    if not isinstance(data, list):
        raise refuse("has no data", place)
    elements: list[Any] = data
    if len(shape) > 1 and len(elements) == shape[0] and elements and isinstance(elements[0], list):
        for length in shape[1:]:
            if any(type(row) is not list or len(row) != length for row in elements):
                raise refuse(f"has rows that do not make up the shape {list(shape)}", place)
            elements = [element for row in elements for element in row]
    if len(elements) != math.prod(shape):
        raise refuse(f"has {len(elements)} elements, and the shape {list(shape)}", place)
    return elements


def _finite(array: Array, place: str) -> Array:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise refuse("has a number that is not finite", place)
    return array


def _unpacked(data: memoryview, count: int, place: str) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    while at + 4 <= len(data) and len(found) < count:
        start = at + 4
        at = start + int.from_bytes(data[at:start], "little")
        found.append(bytes(data[start:at]))
    if at != len(data) or len(found) != count:
        raise refuse(f"has {len(data)} bytes that are not {count} BYTES elements", place)
    return found


def _decimal(text: str) -> str:
    """A number that is read as a float everywhere: of ``-0`` as an integer the sign would be lost."""
    return text if "." in text or "e" in text else f"{text}.0"


def names(specs: Iterable[TensorSpec]) -> str:
    """For an error's text."""
    return ", ".join(repr(spec.name) for spec in specs) or "none"
