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
import sys
import types
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from itertools import chain
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from nearhand.bundle.fields import FieldError, dotted, join, listed, nearest
from nearhand.errors import BundleFormatError, NearhandError
from nearhand.records import field_names, parts

T = TypeVar("T")
_field_names = cache(field_names)
Refuse = Callable[[str, str, str], NearhandError]
"""Makes the error out of a problem, its place and a remedy."""


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
        value = json.loads(text, object_pairs_hook=unique_keys, parse_float=_no_float, parse_constant=_no_float)
        if "\\u" in text:  # an escape can still spell a lone surrogate, which no database or screen takes later
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BundleFormatError(f"is not a JSON document ({str(error)[:120]})", place=place, remedy=_REBUILD) from None
    return value


def serialize(document: Any) -> bytes:
    """The canonical bytes of a document: sorted keys, one space of indent, one final newline, UTF-8."""
    return (json.dumps(_encode(document), sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, for ``json.loads``.

    Raises:
        ValueError: a key stands twice.
    """
    entries = dict(pairs)
    if len(entries) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {json.dumps(twice)[:60]} stands twice in one object")
    return entries


def bundle_refusal(problem: str, place: str, remedy: str) -> NearhandError:
    """Nobody writes a bundle's documents by hand: the remedy is always the same."""
    return BundleFormatError(problem, place=place, remedy=_REBUILD)


def decode(  # noqa: PLR0911 - one return for each kind of value
    kind: Any, value: Any, *, place: str, refuse: Refuse = bundle_refusal
) -> Any:
    """``value``, fresh from JSON, as ``kind``.

    Args:
        kind: a dataclass, tuple, dict, Literal, optional or scalar type, :data:`Number`, or a union of dataclasses,
            which are told apart by their first field, a Literal.
        place: where the value stands, for the error.
        refuse: makes the error that is raised.
    """
    origin, arguments, is_dataclass = _shape(kind)
    if is_dataclass:
        return _decode_dataclass(kind, value, place, refuse)
    if origin in (Union, types.UnionType):
        if type(None) in arguments and value is None:
            return None
        members = [argument for argument in arguments if argument is not type(None)]
        inner = members[0] if len(members) == 1 else _chosen(members, value, place, refuse)
        return decode(inner, value, place=place, refuse=refuse)
    if origin is tuple:
        items = _expect(list, value, place, "a list", refuse)
        if _uniform(arguments[0], items):
            return tuple(items) if arguments[0] in _SCALARS else tuple(map(tuple, items))
        return tuple(decode(arguments[0], item, place=f"{place}[{i}]", refuse=refuse) for i, item in enumerate(items))
    if origin is dict:
        entries = _expect(dict, value, place, "an object", refuse)
        return {key: decode(arguments[1], item, place=join(place, key), refuse=refuse) for key, item in entries.items()}
    if origin is Literal:
        if value not in arguments or isinstance(value, bool):
            raise refuse(f"is {_show(value)}, not one of {', '.join(arguments)}", place, nearest(value, arguments))
        return value
    if kind is Decimal or origin is Annotated:
        return _decode_number(value, place, refuse, written_by_people=origin is Annotated)
    _expect(kind, value, place, _SCALARS[kind], refuse)
    if kind is int and not -_INTEGER_LIMIT < value < _INTEGER_LIMIT:
        raise refuse("is an integer of more than 53 bits", place, "use a smaller number")
    return value


_REBUILD = "build the bundle again with `nearhand convert`"
_SCALARS = {int: "an integer", str: "a string", bool: "true or false"}
_DECIMAL = r"-?[0-9]+(\.[0-9]+)?(E[+-]?[0-9]{1,4})?"
_NUMBER_LIMIT = 10**15  # so that a float32 holds what becomes of it
_NUMBER_CHARACTERS = 40
_INTEGER_LIMIT = 2**53  # beyond it a JSON reader elsewhere would round


def _uniform(kind: Any, items: list[Any]) -> bool:
    """Whether all items are plainly valid: a catalogue's columns are checked at once, not cell by cell."""
    types_found = set(map(type, items))
    if kind in _SCALARS:
        if kind is not int or not items:
            return types_found <= {kind}
        return types_found == {int} and -_INTEGER_LIMIT < min(items) <= max(items) < _INTEGER_LIMIT
    if get_origin(kind) is tuple and types_found <= {list}:
        return get_args(kind)[0] in _SCALARS and _uniform(get_args(kind)[0], list(chain.from_iterable(items)))
    return False


def _chosen(members: list[Any], value: Any, place: str, refuse: Refuse) -> Any:
    """The member of a union of dataclasses whose first field may have the value that stands there."""
    entries = _expect(dict, value, place, "an object", refuse)
    tag = next(iter(_fields(members[0])[0]))
    choices = {choice: member for member in members for choice in get_args(_fields(member)[0][tag])}
    if tag not in entries:
        raise refuse("is missing", join(place, tag), f"use one of {listed(choices)}")
    chosen = entries[tag]
    if not isinstance(chosen, str) or chosen not in choices:
        raise refuse(f"is {_show(chosen)}, not a known {tag}", join(place, tag), nearest(chosen, choices))
    return choices[chosen]


def _decode_dataclass(kind: type, value: Any, place: str, refuse: Refuse) -> Any:
    entries = _expect(dict, value, place, "an object", refuse)
    hints, required = _fields(kind)
    if unknown := sorted(set(entries) - set(hints)):
        raise refuse("is not a known key", join(place, unknown[0]), nearest(unknown[0], sorted(hints)))
    if missing := sorted(required - set(entries)):
        raise refuse("is missing", join(place, missing[0]), "add it")
    fields = {
        key: item  # most are plainly right, and a start of the app waits for hundreds
        if type(item) is hints[key] and type(item) is not int
        else decode(hints[key], item, place=join(place, key), refuse=refuse)
        for key, item in entries.items()
    }
    try:
        return kind(**fields)
    except FieldError as error:
        where = f"{dotted(place)}{error.field}" if error.field else place.removesuffix(": ")
        raise refuse(error.problem, where, error.remedy) from None
    except ValueError as error:  # an invariant of __post_init__ that no single field breaks
        raise refuse(str(error)[:300], place.removesuffix(": "), "correct it") from None


def _decode_number(value: Any, place: str, refuse: Refuse, *, written_by_people: bool) -> Decimal:
    if written_by_people and type(value) in (int, Decimal):
        value = str(value)
    text = _expect(str, value, place, "a number" if written_by_people else "a decimal number as a string", refuse)
    # What str(Decimal) writes, and no more than a float can hold: it becomes one where it is used.
    if not (re.fullmatch(_DECIMAL, text) and math.isfinite(float(text))):
        raise refuse(f"is {_show(text)}, not a finite decimal number", place, "write a number such as 0.5")
    number = Decimal(text)
    if written_by_people and (abs(number) > _NUMBER_LIMIT or len(text) > _NUMBER_CHARACTERS):
        problem = f"is {_show(text)}, not within ± 1E+15 in at most {_NUMBER_CHARACTERS} characters"
        raise refuse(problem, place, "round it, or use a smaller number")
    return number


@cache
def _shape(kind: Any) -> tuple[Any, tuple[Any, ...], bool]:
    """What ``typing`` says of a type: its origin and its arguments; and whether it is a dataclass."""
    return get_origin(kind), get_args(kind), _is_dataclass(kind)


@cache
def _fields(kind: type) -> tuple[dict[str, Any], frozenset[str]]:
    """The types of a dataclass's fields, in their order, and the names of those without a default."""
    found = parts(kind)
    kinds = {name: _evaluated(annotation, kind.__module__) for name, (annotation, _) in found.items()}
    missing = dataclasses.MISSING
    return kinds, frozenset(
        name for name, (_, field) in found.items() if field.default is missing and field.default_factory is missing
    )


@cache
def _evaluated(annotation: Any, module: str) -> Any:
    """As ``typing.get_type_hints`` does it, which takes five times as long: a start of the app waits for hundreds."""
    return eval(annotation, vars(sys.modules[module])) if isinstance(annotation, str) else annotation


def _is_dataclass(kind: Any) -> bool:
    """As ``dataclasses.is_dataclass``, which lets the standard library make a class just to answer."""
    return isinstance(kind, type) and any("__dataclass_fields__" in vars(each) for each in kind.__mro__)


def _expect(kind: type, value: Any, place: str, noun: str, refuse: Refuse) -> Any:
    if type(value) is not kind:
        raise refuse(f"is {_show(value)}, not {noun}", place.removesuffix(": "), f"give {noun}")
    return value


def _show(value: Any) -> str:
    """A value from the document for a message: short, one line, and never walked (it may be nested too deep)."""
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "an object"
    return str(value)[:60] if isinstance(value, Decimal) else json.dumps(value)[:60]


def _encode(value: Any) -> Any:
    kind: type = type(value)
    if _is_dataclass(kind):
        return {name: _encode(item) for name in _field_names(kind) if (item := getattr(value, name)) is not None}
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [_encode(item) for item in value]
    if isinstance(value, dict):
        return {key: _encode(item) for key, item in value.items()}
    return value


def _no_float(text: str) -> Any:
    raise ValueError(f"the number {text[:40]} is a float; write it as a string")
