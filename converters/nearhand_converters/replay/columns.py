"""Columns as files have them, turned into what an event or a label has. Malformed rows are refused one by one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from nearhand.events.event import MAX_ID_CHARACTERS
from nearhand_converters.data import FIRST_MS, LAST_MS, MILLISECONDS_FROM, NUMBER, parse_timestamp
from nearhand_converters.replay.rows import Array, Mask, Rows, json_text, parse_json
from nearhand_converters.replay.zones import Zone

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_CONTROL = "[\x00-\x1f\x7f-\x9f]"
_MISSING = "is missing"
_TIMES = "write Unix seconds, Unix milliseconds, or ISO 8601 with an offset such as 2024-05-01T20:15:00Z"


@dataclass(frozen=True)
class TimeRule:
    """How times are read.

    Attributes:
        zone: whose local times those without an offset are, and where ``utc_offset_minutes`` comes from. None: such
            times are refused, and offsets are 0.
        form: ``strptime``'s for texts; None: numbers or ISO 8601.
    """

    zone: Zone | None = None
    form: str | None = None

    def offsets(self, instants: NDArray[np.int64]) -> NDArray[np.int32]:
        """Local time minus UTC at each instant (ms), minutes; 0 without a zone."""
        return np.zeros(len(instants), np.int32) if self.zone is None else self.zone.offset_minutes(instants)


def flat(column: Array) -> Array:
    """One contiguous array: dictionaries decoded, chunks combined, texts as plain strings."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    return column


# --- identifiers -----------------------------------------------------------------------------------------------------


def texts(rows: Rows, name: str, column: Array, *, required: bool) -> Array:
    """Identifiers as string[n]: a whole number is its digits (17850.0 too); nothing and "" are null.

    Refuses what the device would: more than 256 characters, or a control character; and nothing, where required.
    """
    column = flat(column)
    if pa.types.is_floating(column.type):
        values = column.to_numpy(zero_copy_only=False)
        missing = np.isnan(values)
        whole = missing | ((np.abs(values) < 2**53) & (np.floor(values) == values))
        rows.refuse(~whole, name, "is a number with a fraction, not an identifier", column)
        integers = np.where(missing | ~whole, 0, values).astype(np.int64)
        column = pa.array(integers, mask=missing | ~whole).cast(pa.string())
    elif pa.types.is_integer(column.type) or pa.types.is_null(column.type):
        column = column.cast(pa.string())
    elif not pa.types.is_string(column.type):
        rows.refuse(np.ones(len(rows), bool), name, f"is {column.type}, not a text or whole number")
        return pa.nulls(len(rows), pa.string())
    known = pc.unique(column)  # few, where the rows are many
    if pc.any(pc.equal(known, "")).as_py():
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    unfit = pc.or_(pc.greater(pc.utf8_length(known), MAX_ID_CHARACTERS), pc.match_substring_regex(known, _CONTROL))
    if pc.any(unfit).as_py():
        problem = f"has over {MAX_ID_CHARACTERS} characters or a control character"
        rows.refuse(_mask(pc.is_in(column, known.filter(unfit))), name, problem, column)
    if required and column.null_count:
        rows.refuse(_mask(column.is_null()), name, _MISSING)
    return column


# --- times -----------------------------------------------------------------------------------------------------------


def instants(
    rows: Rows,
    name: str,
    column: Array,
    rule: TimeRule,
    *,
    milliseconds: bool,
    default: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Times as int64[n], ms since the Unix epoch, UTC; 0 in refused rows.

    Args:
        milliseconds: every whole number is that, whatever its size: a device wrote it.
        default: int64[n], for rows without a time; None: they are refused.
    """
    column = flat(column)
    missing = _mask(column.is_null(nan_is_null=True))
    kind = column.type
    if pa.types.is_string(kind):
        found = _instants_of_texts(rows, name, column, rule, milliseconds)
    elif pa.types.is_integer(kind):
        found = _instants_of_numbers(rows, name, pc.fill_null(column, 0).to_numpy(), milliseconds)
    elif pa.types.is_floating(kind):
        values = np.where(missing, 0, column.to_numpy(zero_copy_only=False))
        found = _instants_of_numbers(rows, name, values, milliseconds=False)
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        zone = getattr(kind, "tz", None)
        micros = pc.fill_null(column.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64()), 0).to_numpy()
        found = micros // 1000
        if zone is None:
            found = _local(rows, name, column, found, rule)
    else:
        found = np.zeros(len(rows), np.int64)
        rows.refuse(~missing, name, f"is {kind}, not a time", remedy=_TIMES)
    if default is not None:
        found = np.where(missing, default, found)
    else:
        rows.refuse(missing, name, _MISSING)
    return np.asarray(np.where(rows.bad, 0, found), np.int64)


def _instants_of_numbers(rows: Rows, name: str, values: NDArray[Any], milliseconds: bool) -> NDArray[np.int64]:
    if milliseconds:
        return values.astype(np.int64)
    outside = ~(np.abs(values.astype(np.float64)) <= LAST_MS)
    # Integers stay integers, so that nothing is rounded; a float is a decimal number of seconds.
    scaled = np.where(values >= MILLISECONDS_FROM, values, np.where(outside, 0, values) * 1000)
    outside |= (scaled < FIRST_MS) | (scaled > LAST_MS)
    rows.refuse(outside, name, "is outside the years 1 to 9999", remedy=_TIMES)
    found: NDArray[np.int64] = np.rint(np.where(outside, 0, scaled)).astype(np.int64)
    return found


def _instants_of_texts(rows: Rows, name: str, column: Array, rule: TimeRule, milliseconds: bool) -> NDArray[np.int64]:
    if rule.form is None and pc.all(pc.match_substring_regex(column, "^[0-9]{1,15}$")).as_py():
        return _instants_of_numbers(
            rows, name, pc.fill_null(column.cast(pa.int64()), 0).to_numpy(), milliseconds=milliseconds
        )
    coded = column.dictionary_encode()
    known = [_instant(text, rule, milliseconds) for text in coded.dictionary.to_pylist()]
    problems = [each if isinstance(each, str) else None for each in known]
    values = np.array([0 if isinstance(each, str) else each for each in known] or [0], np.int64)
    codes: NDArray[np.int32] = pc.fill_null(coded.indices, 0).to_numpy()
    for problem in dict.fromkeys(each for each in problems if each is not None):
        wrong = np.array([each == problem for each in problems], bool)[codes] & ~_mask(column.is_null())
        rows.refuse(wrong, name, problem, column, _TIMES)
    return values[codes]


def _instant(text: str, rule: TimeRule, milliseconds: bool) -> int | str:
    """The time, or what is wrong with it."""
    zone = None if rule.zone is None else rule.zone.info
    try:
        if rule.form is not None:
            moment = datetime.strptime(text, rule.form)
        elif milliseconds and text.lstrip("-").isdecimal():
            return int(text)
        else:
            try:
                return parse_timestamp(text)
            except ValueError:
                if zone is None:
                    raise
                moment = datetime.fromisoformat(text)
    except ValueError as error:
        return str(error) if rule.form is None else f"is not of the form {rule.form!r}"
    if moment.tzinfo is None:
        if zone is None:
            return "has no offset from UTC: pass --time-zone"
        moment = moment.replace(tzinfo=zone)
    return (moment - _EPOCH) // _MILLISECOND


def _local(rows: Rows, name: str, column: Array, wall: NDArray[np.int64], rule: TimeRule) -> NDArray[np.int64]:
    if rule.zone is None:
        remedy = "pass --time-zone with the zone whose local times these are, such as UTC"
        rows.refuse(_mask(column.is_valid()), name, "has no offset from UTC", column, remedy)
        return wall
    return rule.zone.instants(wall)


# --- numbers and objects ---------------------------------------------------------------------------------------------


def whole(rows: Rows, name: str, column: Array, low: int, high: int) -> Array:
    """Whole numbers from ``low`` to ``high`` as int64[n], null where there is none."""
    column = flat(column)
    if pa.types.is_string(column.type):
        fits = pc.match_substring_regex(column, "^-?[0-9]{1,18}$")
        rows.refuse(_mask(pc.invert(fits)), name, "is not a whole number", column)
        column = pc.if_else(fits, column, pa.scalar(None, pa.string())).cast(pa.int64())
    elif pa.types.is_floating(column.type):  # how pandas writes whole numbers among which some are missing
        values = column.to_numpy(zero_copy_only=False)
        missing = np.isnan(values)
        fraction = ~missing & ~((np.abs(values) < 2**53) & (np.floor(values) == values))
        rows.refuse(fraction, name, "is not a whole number", column)
        column = pa.array(np.where(missing | fraction, 0, values).astype(np.int64), mask=missing | fraction)
    elif pa.types.is_integer(column.type) or pa.types.is_null(column.type):
        column = column.cast(pa.int64())
    else:
        rows.refuse(np.ones(len(rows), bool), name, f"is {column.type}, not a whole number")
        return pa.nulls(len(rows), pa.int64())
    outside = pc.or_(pc.less(column, low), pc.greater(column, high))
    rows.refuse(_mask(outside), name, f"is not {low} to {high}", column)
    return pc.if_else(outside, pa.scalar(None, pa.int64()), column)


def plain(rows: Rows, name: str, column: Array, *, number: bool) -> Array:
    """A value of an event's properties or context, as JSON would hold it.

    Args:
        number: the program reads it as a number, so texts have to be numbers. Other texts stay what they are.
    """
    column = flat(column)
    kind = column.type
    if pa.types.is_decimal(kind):
        column = column.cast(pa.string()).cast(pa.float64())  # the nearest float of the decimal number
    elif pa.types.is_floating(kind):
        column = column.cast(pa.float64())
    if pa.types.is_string(kind):
        if not number:
            return column
        fits = pc.match_substring_regex(column, f"^({NUMBER.pattern})$")
        rows.refuse(_mask(pc.invert(fits)), name, "is not a number", column)
        column = pc.if_else(fits, column, pa.scalar(None, pa.string())).cast(pa.float64())
    if pa.types.is_floating(column.type):
        rows.refuse(_mask(pc.is_inf(column)), name, "is infinite", column)
        return pc.if_else(pc.is_finite(column), column, pa.scalar(None, pa.float64()))  # NaN is nothing, as in pandas
    if pa.types.is_uint64(kind):
        large = pc.greater(column, pa.scalar(2**63 - 1, pa.uint64()))
        rows.refuse(_mask(large), name, "is an integer of more than 64 bits", column)
        column = pc.if_else(large, pa.scalar(None, pa.uint64()), column)
    if pa.types.is_integer(kind):
        return column.cast(pa.int64())
    if pa.types.is_temporal(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        rows.refuse(_mask(column.is_valid()), name, f"is {kind}, which JSON does not have: write a number or text")
        return pa.nulls(len(rows))
    return column


def objects(rows: Rows, name: str, column: Array, keep: Collection[str] | None) -> Array:
    """JSON objects that stand as texts in a table; as :func:`object_column`."""
    column = flat(column)
    if not pa.types.is_string(column.type) and not pa.types.is_null(column.type):
        rows.refuse(_mask(column.is_valid()), name, f"is {column.type}, not a JSON object")
        return pa.nulls(len(rows), pa.string())
    return object_column(rows, name, [None if text is None else _loaded(text) for text in column.to_pylist()], keep)


def _loaded(text: str) -> Any:
    try:
        return parse_json(text)
    except (ValueError, RecursionError):
        return text


# --- values of JSON lines --------------------------------------------------------------------------------------------


def object_column(rows: Rows, name: str, values: Sequence[Any], keep: Collection[str] | None) -> Array:
    """JSON objects as their texts, string[n]; null where there is none, or nothing in it that is kept.

    Args:
        keep: the keys that are kept; None: all.
    """
    wrong = np.fromiter((value is not None and not isinstance(value, dict) for value in values), bool, len(values))
    if wrong.any():
        rows.refuse(wrong, name, "is not a JSON object")
        values = [None if bad else value for value, bad in zip(values, wrong.tolist(), strict=True)]
    if keep is not None:
        values = [value and {key: value[key] for key in value if key in keep} for value in values]
    return pa.array([json_text(value) if value else None for value in values], pa.string())


def scalar_column(rows: Rows, name: str, values: Sequence[Any]) -> Array:
    """Texts and numbers as int64, float64 or text, whichever holds all of them."""
    kinds = {type(value) for value in values if value is not None}
    if not kinds.isdisjoint((dict, list, bool)):
        wrong = np.fromiter((isinstance(value, dict | list | bool) for value in values), bool, len(values))
        rows.refuse(wrong, name, "is an object, a list, true or false, not one text or number")
        values = [None if bad else value for value, bad in zip(values, wrong.tolist(), strict=True)]
        kinds -= {dict, list, bool}
    if kinds == {int} and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return pa.array(values, pa.int64())
    if kinds and kinds <= {int, float}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([_scalar_text(value) for value in values], pa.string())


def _scalar_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _mask(column: Array) -> Mask:
    """A boolean column as bool[n]; null is false."""
    found: Mask = pc.fill_null(column, False).to_numpy(zero_copy_only=False)
    return found
