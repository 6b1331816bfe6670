"""What an event is: what the app says, the fact that is kept, and both as JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from nearhand.errors import EventError, shown
from nearhand.records import dataclass, field, field_names

Scalar: TypeAlias = str | int | float | bool | None
JSON: TypeAlias = "Scalar | Sequence[JSON] | Mapping[str, JSON]"

#: The type of the marker that a reset of the preferences leaves in the log. No app can record it.
RESET = "preferences_reset"

MAX_EVENT_BYTES = 32_000
_SURELY_WITHIN = 3_000  # characters of context and properties: 4 bytes each, and no more than 17 kB of other fields
MAX_ID_CHARACTERS = 256
MAX_KEY_CHARACTERS = 64
MAX_LEVELS = 4

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
END_MS = (datetime(2200, 1, 1, tzinfo=UTC) - _EPOCH) // _MILLISECOND
_UNFIT_FOR_A_NAME = r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]"  # control characters and lone surrogates
_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
# JSON leaves these as they are, but str.splitlines and some editors end a line at them.
_LINE_ENDS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def json_text(value: JSON) -> str:
    """``value`` as the one JSON text that is stored for it: sorted keys, no spaces, characters as themselves."""
    return _ENCODER.encode(value)


@dataclass(frozen=True, init=False)
class Event:
    """What the app says happened. Every field is checked, and copied, when it is made.

    Args:
        event: the type: one of :data:`EVENT_TYPES`, or one that the bundle declares.
        item_id: the item it is about. Identifiers are 1 to 256 characters, none of them a control character.
        timestamp: when it happened: milliseconds since the Unix epoch, UTC, in 1970 to 2199, or a datetime with a time
            zone, which is turned into that (a part of a millisecond is cut off). None: when it is recorded.
        user: an identifier for the app's own use. It never leaves the device.
        context: the situation (device, locale): names with a text, a number, true, false or None.
        properties: what is particular to this event: JSON values, at most 4 levels, ``properties`` being the first.
            Names here and in ``context`` have 1 to 64 characters, integers fit in 64 bits, numbers are finite.
        recommendation_id: the recommendation that caused it.
        event_id: the app's own identifier, if it has one: recording it twice keeps one. None: made when recorded.

    Raises:
        EventError: a field is malformed, or the event is more than 32,000 bytes as UTF-8 JSON.
    """

    event: str
    item_id: str | None
    timestamp: int | None
    user: str | None
    context: Mapping[str, Scalar] = field(hash=False)
    properties: Mapping[str, JSON] = field(hash=False)
    recommendation_id: str | None
    event_id: str | None

    # Written out because the constructor takes more (a datetime, None for a mapping) than the fields hold.
    def __init__(
        self,
        event: str,
        item_id: str | None = None,
        *,
        timestamp: int | datetime | None = None,
        user: str | None = None,
        context: Mapping[str, Scalar] | None = None,
        properties: Mapping[str, JSON] | None = None,
        recommendation_id: str | None = None,
        event_id: str | None = None,
    ) -> None:
        values = {
            "event": _id("event", event),
            "item_id": _optional_id("item_id", item_id),
            "timestamp": None if timestamp is None else _milliseconds(timestamp),
            "user": _optional_id("user", user),
            "context": _context(context),
            "properties": _plain_mapping("properties", properties, levels=MAX_LEVELS),
            "recommendation_id": _optional_id("recommendation_id", recommendation_id),
            "event_id": _optional_id("event_id", event_id),
        }
        texts = {name: json_text(values[name]) if values[name] else "{}" for name in ("context", "properties")}
        # The other fields are small, so most events are not written out whole just to be measured.
        size = sum(map(len, texts.values()))
        if size > _SURELY_WITHIN and (size := len(json_text(values).encode())) > MAX_EVENT_BYTES:
            largest = max(texts, key=lambda name: len(texts[name]))
            raise EventError(
                largest,
                f"the event is {size:,} bytes as JSON, over the limit of {MAX_EVENT_BYTES:,}",
                remedy="keep large content in the app and put a reference to it in the event",
            )
        vars(self).update(values)
        vars(self)["_texts"] = texts

    @property
    def texts(self) -> Mapping[str, str]:
        """``context`` and ``properties`` as the JSON text that is stored: what they were when the event was made."""
        found: Mapping[str, str] = vars(self)["_texts"]
        return found


def event_from_json(content: object) -> Event:
    """An event from a JSON object whose names are those of :class:`Event`.

    Raises:
        EventError: not an object, an unknown name, no ``event``, or a malformed field.
    """
    if not isinstance(content, dict):
        raise EventError("event", f"{shown(content)} is not a JSON object", remedy='write {"event": "…", …}')
    _refuse_unknown(content, field_names(Event))
    return Event(**{"event": None, **content})


@dataclass(frozen=True)
class RecordedEvent:
    """An event as the log keeps it: an immutable fact.

    Attributes:
        event_id: made once, the same everywhere the event goes.
        sequence: the event's number in this log: increasing, never used again, not necessarily without gaps.
        timestamp: when it happened, milliseconds since the Unix epoch, UTC.
        recorded_at: what the device's clock said when it was stored, same unit.
        utc_offset_minutes: local time minus UTC at ``timestamp``, in minutes.
        epoch: how many resets of the preferences the log had seen; a reset's own marker counts itself.

    The other fields are those of :class:`Event`.
    """

    event_id: str
    sequence: int
    timestamp: int
    recorded_at: int
    utc_offset_minutes: int
    event: str
    item_id: str | None
    user: str | None
    recommendation_id: str | None
    epoch: int
    context: Mapping[str, Scalar] = field(hash=False)
    properties: Mapping[str, JSON] = field(hash=False)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            """Called for a field that is not set: what was just recorded has the values of its row only; see below."""
            values = vars(self)
            if "_row" not in values or name not in _FIELDS:
                raise AttributeError(name)
            row = values["_row"]
            values.update(zip(_FIELDS, row, strict=True), context=json.loads(row[-2]), properties=json.loads(row[-1]))
            return values[name]


_FIELDS = field_names(RecordedEvent)


def just_recorded(row: tuple[Any, ...]) -> RecordedEvent:
    """The event of a row that was just stored: the values of its fields, context and properties as JSON texts.

    Most who record an event look at no more than its identifier, if at that: the fields are set when one is first read.
    """
    event = object.__new__(RecordedEvent)
    vars(event)["_row"] = row
    return event


def recorded_to_json(event: RecordedEvent) -> str:
    """One line of JSON, without its line end: an object whose names are those of :class:`RecordedEvent`."""
    return json_text({name: getattr(event, name) for name in _FIELDS}).translate(_LINE_ENDS)


def recorded_from_json(text: str) -> RecordedEvent:
    """What :func:`recorded_to_json` wrote, equal to what it was given.

    The event's type is not looked at: it was when the event was recorded, and another bundle may have declared it.

    Raises:
        EventError: not a JSON object, a missing or unknown name, or a malformed field.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EventError("event", f"the line is not JSON ({error})", remedy="give one object on each line") from None
    if not isinstance(content, dict):
        raise EventError("event", f"{shown(content)} is not a JSON object", remedy="give a recorded event")
    names = field_names(RecordedEvent)
    _refuse_unknown(content, names)
    if missing := [name for name in names if name not in content]:
        raise EventError(missing[0], "is missing", remedy="give every field of a recorded event, or null")
    return RecordedEvent(
        event_id=_id("event_id", content["event_id"]),
        sequence=_whole("sequence", content["sequence"], 1),
        # Any time: a device whose clock is wrong stores what its clock says.
        timestamp=_whole("timestamp", content["timestamp"], -(2**63)),
        recorded_at=_whole("recorded_at", content["recorded_at"], -(2**63)),
        utc_offset_minutes=_whole("utc_offset_minutes", content["utc_offset_minutes"], -1439, 1439),
        epoch=_whole("epoch", content["epoch"], 0),
        event=_id("event", content["event"]),
        item_id=_optional_id("item_id", content["item_id"]),
        user=_optional_id("user", content["user"]),
        recommendation_id=_optional_id("recommendation_id", content["recommendation_id"]),
        context=_context(content["context"]),
        properties=_plain_mapping("properties", content["properties"], levels=MAX_LEVELS),
    )


def is_name(text: str, limit: int) -> bool:
    """Whether ``text`` has 1 to ``limit`` characters, none of them a control character or half of a pair."""
    return 1 <= len(text) <= limit and _is_fit(text)


def is_text(text: str) -> bool:
    """Whether a UTF-8 text can hold it: it has no half of a surrogate pair."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _is_fit(text: str) -> bool:
    # Compiling the pattern takes almost a millisecond, and few names are not plain.
    return (text.isascii() and text.isprintable()) or not re.search(_UNFIT_FOR_A_NAME, text)


def near_match(word: str, words: Sequence[str]) -> list[str]:
    """The one of ``words`` that ``word`` is most likely a slip of, if there is one: for messages."""
    import difflib  # nobody who makes no mistake pays for it

    return difflib.get_close_matches(word, words, n=1)


def _refuse_unknown(content: Mapping[str, object], names: Sequence[str]) -> None:
    if unknown := [name for name in content if name not in names]:
        near = near_match(unknown[0], names) if isinstance(unknown[0], str) else []
        raise EventError(
            str(unknown[0]),
            "is not a field of an event",
            remedy=f"use {', '.join(near or names)}, or put it in properties",
        )


def _id(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise EventError(name, f"{shown(value)} is not text", remedy="pass a str, such as '1021' for 1021")
    if not 1 <= len(value) <= MAX_ID_CHARACTERS:
        raise EventError(
            name, f"has {len(value)} characters", remedy=f"use 1 to {MAX_ID_CHARACTERS} characters, or leave it out"
        )
    if not _is_fit(value):
        raise EventError(
            name,
            f"{shown(value)} has a control character or half of a surrogate pair",
            remedy="use printable characters, such as letters, digits, '-', '_' and ':'",
        )
    return str.__str__(value)  # without the subclass, such as an enum's


def _optional_id(name: str, value: object) -> str | None:
    return None if value is None else _id(name, value)


def _milliseconds(value: object) -> int:
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise EventError(
                "timestamp",
                f"{value.isoformat()} has no time zone",
                remedy="use datetime.now(UTC), or give it a tzinfo",
            )
        value = (value - _EPOCH) // _MILLISECOND
    if isinstance(value, bool) or not isinstance(value, int):
        raise EventError(
            "timestamp",
            f"{shown(value)} is not a whole number of milliseconds",
            remedy="pass an int, milliseconds since 1970-01-01 UTC, or a datetime with a time zone",
        )
    if not 0 <= value < END_MS:
        raise EventError(
            "timestamp", "is not between the years 1970 and 2200", remedy="pass milliseconds since 1970-01-01 UTC"
        )
    return int(value)


def _whole(name: str, value: object, low: int, high: int = 2**63 - 1) -> int:
    if type(value) is not int or not low <= value <= high:
        raise EventError(
            name, f"{shown(value)} is not a whole number from {low} to {high}", remedy="give what was exported"
        )
    return value


def _context(value: object) -> dict[str, Scalar]:
    return cast("dict[str, Scalar]", _plain_mapping("context", value, levels=1))  # one level: nothing opens in it


def _plain_mapping(name: str, value: object, levels: int) -> dict[str, JSON]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise EventError(name, f"{shown(value)} is not a mapping", remedy=f'pass a dict: {name}={{"…": …}}')
    return {_key(name, key): _plain(f"{name}.{key}", item, levels - 1) for key, item in value.items()}


def _key(path: str, key: object) -> str:
    if not isinstance(key, str) or not 1 <= len(key) <= MAX_KEY_CHARACTERS:
        raise EventError(
            path,
            f"{shown(key)} is not a name",
            remedy=f"use names that are str, of 1 to {MAX_KEY_CHARACTERS} characters",
        )
    return _text(path, key)


def _text(path: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise EventError(
            path,
            f"{shown(value)} has half of a surrogate pair, which no UTF-8 text can hold",
            remedy="decode it with errors='replace' where it comes from",
        ) from None
    return str.__str__(value)


def _plain(path: str, value: object, levels: int) -> JSON:
    """A deep copy of ``value`` in plain JSON types, so that what is returned now is what is read back later.

    Args:
        path: where the value is, for the error.
        value: anything.
        levels: how many levels of containers may open here.
    """
    if value is None or isinstance(value, bool):
        plain: JSON = value
    elif isinstance(value, str):
        plain = _text(path, value)
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise EventError(path, "is an integer of more than 64 bits", remedy="pass it as text or as a float")
        plain = int(value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise EventError(path, f"{value!r} is not a finite number", remedy="leave it out, or pass None")
        plain = float(value)
    elif not isinstance(value, Mapping | list | tuple):
        raise EventError(
            path,
            f"a value of type {type(value).__name__} is not JSON",
            remedy="use str, int, float, bool, None, list and dict",
        )
    elif levels == 0:
        raise EventError(
            path,
            f"a {type(value).__name__} is not allowed this deep",
            remedy=f"keep context flat and properties within {MAX_LEVELS} levels",
        )
    elif isinstance(value, Mapping):
        plain = _plain_mapping(path, value, levels)
    else:
        plain = [_plain(f"{path}[{position}]", item, levels - 1) for position, item in enumerate(value)]
    return plain
