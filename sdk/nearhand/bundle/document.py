"""JSON documents as frozen dataclasses, and back to the same bytes.

The dataclass *is* the schema: every field is required unless it has a default, an unknown key is refused, and an error
names the path of the value. Numbers with a fraction are :class:`decimal.Decimal` here and strings in the JSON, because
signed metadata holds no float.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
from collections import Counter
from decimal import Decimal
from functools import cache
from itertools import chain
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from nearhand.errors import BundleFormatError

T = TypeVar("T")


def parse(kind: type[T], data: bytes, *, place: str) -> T:
    """Read one document of dataclass ``kind`` from JSON bytes.

    Raises:
        BundleFormatError: not UTF-8 JSON, a duplicate or unknown key, a missing key, or a value of the wrong type;
            the message names the path, such as ``manifest.json: models[0].role``.
    """
    document: T = decode(kind, load(data, place=place), place=f"{place}: ")
    return document


def load(data: bytes, *, place: str) -> Any:
    """JSON bytes as lists, dicts and scalars, none of them a float.

    Raises:
        BundleFormatError: not UTF-8 JSON, a duplicate key, a float, or a character that UTF-8 cannot say.
    """
    try:
        text = data.decode()  # json.loads would guess UTF-16, and let lone surrogates through
        value = json.loads(text, object_pairs_hook=_unique_keys, parse_float=_no_float, parse_constant=_no_float)
        if "\\u" in text:  # an escape can still spell a lone surrogate, which no database or screen takes later
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BundleFormatError(f"is not a JSON document ({str(error)[:120]})", place=place, remedy=_REBUILD) from None
    return value


def serialize(document: Any) -> bytes:
    """The canonical bytes of a document: sorted keys, one space of indent, one final newline, UTF-8."""
    return (json.dumps(_encode(document), sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()


def decode(kind: Any, value: Any, *, place: str) -> Any:  # noqa: PLR0911 - one return for each kind of value
    """``value``, fresh from JSON, as ``kind``: a dataclass, tuple, dict, Literal, optional or scalar type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _decode_dataclass(kind, value, place)
    if origin in (Union, types.UnionType):  # only `X | None` is used
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else decode(inner, value, place=place)
    if origin is tuple:
        items = _expect(list, value, place, "a list")
        if _uniform(arguments[0], items):
            return tuple(items) if arguments[0] in _SCALARS else tuple(map(tuple, items))
        return tuple(decode(arguments[0], item, place=f"{place}[{i}]") for i, item in enumerate(items))
    if origin is dict:
        entries = _expect(dict, value, place, "an object")
        return {key: decode(arguments[1], item, place=_join(place, key)) for key, item in entries.items()}
    if origin is Literal:
        if value not in arguments or isinstance(value, bool):
            choices = ", ".join(map(repr, arguments))
            raise BundleFormatError(f"is {_show(value)}, not one of {choices}", place=place, remedy=_REBUILD)
        return value
    if kind is Decimal:
        text = _expect(str, value, place, "a decimal number as a string")
        # What str(Decimal) writes, and no more than a float can hold: it becomes one where it is used.
        if not (_DECIMAL.fullmatch(text) and math.isfinite(float(text))):
            raise BundleFormatError(f"is {_show(text)}, not a finite decimal number", place=place, remedy=_REBUILD)
        return Decimal(text)
    _expect(kind, value, place, _SCALARS[kind])
    if kind is int and not -_INTEGER_LIMIT < value < _INTEGER_LIMIT:
        raise BundleFormatError("is an integer of more than 53 bits", place=place, remedy=_REBUILD)
    return value


_REBUILD = "build the bundle again with `nearhand convert`"
_SCALARS = {int: "an integer", str: "a string", bool: "true or false"}
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?(E[+-]?[0-9]{1,4})?")
_INTEGER_LIMIT = 2**53  # beyond it a JSON reader elsewhere would round


def _uniform(kind: Any, items: list[Any]) -> bool:
    """Whether all items are plainly valid: a catalogue's columns are checked at once, not cell by cell."""
    types_found = set(map(type, items))
    if kind in _SCALARS:
        return types_found <= {kind} and (kind is not int or max(map(abs, items), default=0) < _INTEGER_LIMIT)
    if get_origin(kind) is tuple and types_found <= {list}:
        return get_args(kind)[0] in _SCALARS and _uniform(get_args(kind)[0], list(chain.from_iterable(items)))
    return False


def _decode_dataclass(kind: type, value: Any, place: str) -> Any:
    entries = _expect(dict, value, place, "an object")
    hints, required = _fields(kind)
    if unknown := sorted(set(entries) - set(hints)):
        raise BundleFormatError("is not a known key", place=_join(place, unknown[0]), remedy=_REBUILD)
    if missing := sorted(required - set(entries)):
        raise BundleFormatError("is missing", place=_join(place, missing[0]), remedy=_REBUILD)
    fields = {key: decode(hints[key], item, place=_join(place, key)) for key, item in entries.items()}
    try:
        return kind(**fields)
    except ValueError as error:  # an invariant of __post_init__
        raise BundleFormatError(str(error)[:300], place=place.removesuffix(": "), remedy=_REBUILD) from None


@cache
def _fields(kind: type) -> tuple[dict[str, Any], frozenset[str]]:
    hints = get_type_hints(kind)
    fields = dataclasses.fields(kind)
    optional = {
        field.name
        for field in fields
        if field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    }
    names = [field.name for field in fields]
    return {name: hints[name] for name in names}, frozenset(names) - optional


def _expect(kind: type, value: Any, place: str, noun: str) -> Any:
    if type(value) is not kind:
        raise BundleFormatError(f"is {_show(value)}, not {noun}", place=place, remedy=_REBUILD)
    return value


def _show(value: Any) -> str:
    """A value from the document for a message: short, one line, and never walked (it may be nested too deep)."""
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "an object"
    return json.dumps(value)[:60]


def _join(place: str, key: str) -> str:
    name = key if key.isascii() and key.isidentifier() else json.dumps(key)
    return f"{place}{name[:80]}" if place.endswith(": ") else f"{place}.{name[:80]}"


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {
            field.name: _encode(item)
            for field in dataclasses.fields(value)
            if (item := getattr(value, field.name)) is not None
        }
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [_encode(item) for item in value]
    if isinstance(value, dict):
        return {key: _encode(item) for key, item in value.items()}
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {json.dumps(twice)[:60]} stands twice in one object")
    return entries


def _no_float(text: str) -> Any:
    raise ValueError(f"the number {text[:40]} is a float; write it as a string")
