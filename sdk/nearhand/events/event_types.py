"""What each type of event needs: the types that every bundle understands, and those that a bundle declares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias, TypeGuard, get_args

from nearhand.clock import Clock
from nearhand.errors import EventError, UsageError, shown
from nearhand.events.event import (
    JSON,
    MAX_ID_CHARACTERS,
    MAX_KEY_CHARACTERS,
    RESET,
    Event,
    RecordedEvent,
    is_name,
    near_match,
)
from nearhand.records import dataclass, field

PropertyKind: TypeAlias = Literal["text", "number", "boolean"]


@dataclass(frozen=True)
class EventSchema:
    """What an event type needs.

    Attributes:
        item: whether the event has to name an item.
        properties: the properties that it has to have, each with the kind of its value.

    Raises:
        ValueError: no event could have such a property, or the kind is none.
    """

    item: bool
    properties: dict[str, PropertyKind] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kind in self.properties.items():
            if not is_name(name, MAX_KEY_CHARACTERS):
                raise ValueError(f"property {name[:80]!r} is not 1 to {MAX_KEY_CHARACTERS} printable characters")
            if kind not in get_args(PropertyKind):
                raise ValueError(f"property {name!r} is {kind!r}, not one of {', '.join(get_args(PropertyKind))}")


#: The types every bundle understands.
EVENT_TYPES: Mapping[str, EventSchema] = MappingProxyType(
    {
        "item_viewed": EventSchema(item=True),
        "item_clicked": EventSchema(item=True),
        "item_liked": EventSchema(item=True),
        "item_disliked": EventSchema(item=True),
        "item_saved": EventSchema(item=True),
        "item_purchased": EventSchema(item=True),
        "impression": EventSchema(item=True),
        "recommendation_dismissed": EventSchema(item=True),
        "search": EventSchema(item=False, properties={"query": "text"}),
        "session_started": EventSchema(item=False),
        "session_ended": EventSchema(item=False, properties={"seconds": "number"}),
        "scrolled": EventSchema(item=False),
        "navigated": EventSchema(item=False),
        "notification_opened": EventSchema(item=False),
    }
)

#: Type → the properties whose meaning is fixed, each with its form. One that is there, and not None, has to fit.
WELL_KNOWN: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "item_viewed": {"seconds": "duration"},
        "item_clicked": {"position": "count"},
        # Plain numbers: shops book returns and corrections as purchases with a minus.
        "item_purchased": {"price": "number", "quantity": "number"},
        "impression": {"position": "count"},
        "recommendation_dismissed": {"position": "count"},
        "search": {"results": "count"},
        "session_ended": {"seconds": "duration"},
        "scrolled": {"depth": "share"},
        "navigated": {"screen": "text"},
        "notification_opened": {"notification_id": "text"},
    }
)

_FIXED = {
    kind: tuple({**schema.properties, **WELL_KNOWN.get(kind, {})}.items()) for kind, schema in EVENT_TYPES.items()
}


def _is_number(value: JSON) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


# Form of a property → how a message calls it, an example, and whether a value has it.
_FORMS: Mapping[str, tuple[str, str, Callable[[JSON], bool]]] = MappingProxyType(
    {
        "text": ("text", '"…"', lambda value: isinstance(value, str)),
        "number": ("a number", "2.5", _is_number),
        "boolean": ("true or false", "True", lambda value: isinstance(value, bool)),
        "duration": ("a number of seconds from 0", "41.5", lambda value: _is_number(value) and value >= 0),
        "share": ("a number from 0 to 1", "0.75", lambda value: _is_number(value) and 0 <= value <= 1),
        "count": ("a whole number from 0", "3", lambda value: _is_number(value) and value >= 0 and value % 1 == 0),
    }
)


def validate(event: Event, event_types: Mapping[str, EventSchema] = {}) -> None:
    """Refuse an event that is not one of the known or declared types, or lacks what its type needs.

    The form of each field has been checked when the event was made.

    Args:
        event: what the app says happened.
        event_types: further types, which the bundle declares; see :func:`check_event_types`.

    Raises:
        EventError: the type is unknown or reserved, or a field that it needs is missing or of the wrong kind.
    """
    kind = event.event
    schema = EVENT_TYPES.get(kind) or event_types.get(kind)
    if schema is None:
        raise _unknown_type(kind, event_types)
    if schema.item and event.item_id is None:
        raise EventError("item_id", f"{kind} is about an item and names none", remedy="pass item_id=…")
    for name, form in _FIXED[kind] if kind in _FIXED else schema.properties.items():
        value = event.properties.get(name)
        needed = name in schema.properties
        noun, example, fits = _FORMS[form]
        if not fits(value) and (needed or value is not None):
            problem = f"{kind} needs it, {noun}" if value is None else f"{shown(value)} is not {noun}"
            remedy = f'pass properties={{"{name}": {example}}}' + ("" if needed else ", or leave it out")
            raise EventError(f"properties.{name}", problem, remedy=remedy)


def check_event_types(event_types: Mapping[str, EventSchema], mentioned: Iterable[str]) -> None:
    """Refuse declarations of types that an app cannot or must not record, and the mention of a type that is none.

    Args:
        event_types: the types of the app's own.
        mentioned: the types that a policy names.

    Raises:
        ValueError: a declared type is known already, is reserved, or is no identifier; or a type that is mentioned is
            neither known nor declared.
    """
    for kind in event_types:
        if kind in EVENT_TYPES or kind == RESET:
            raise ValueError(f"event type {kind!r} is Nearhand's own and cannot be declared: choose another name")
        if not is_name(kind, MAX_ID_CHARACTERS):
            raise ValueError(f"event type {kind[:80]!r} is not 1 to {MAX_ID_CHARACTERS} printable characters")
    allowed = [*EVENT_TYPES, *event_types]
    if unknown := sorted(set(mentioned) - set(allowed)):
        near = near_match(unknown[0], allowed)
        advice = f"did you mean {near[0]!r}? If not, " if near else ""
        raise ValueError(f"event type {unknown[0]!r} is neither known nor declared: {advice}declare it in event_types")


def _unknown_type(kind: str, event_types: Mapping[str, EventSchema]) -> EventError:
    if kind == RESET:
        return EventError(
            "event", f"{kind!r} is what a reset writes itself", remedy="reset the preferences, or use another type"
        )
    allowed = [*EVENT_TYPES, *sorted(event_types)]
    near = near_match(kind, allowed)
    advice = f"did you mean {near[0]!r}? If not," if near else f"use one of {', '.join(allowed)};"
    return EventError(
        "event",
        f"{shown(kind)} is not a known event type",
        remedy=f"{advice} a type of your own has to be declared in the bundle",
    )


def unrecorded(event: Event, event_types: Mapping[str, EventSchema], clock: Clock) -> RecordedEvent:
    """An event that is not kept, as it would be if it were, with the sequence number 0; it is checked all the same.

    Raises:
        EventError: see :func:`validate`. UsageError: it is no Event.
    """
    if not isinstance(event, Event):
        raise UsageError(f"is {event!r}", place="event", remedy="record an Event")
    validate(event, event_types)
    now = clock.now_ms()
    timestamp = now if event.timestamp is None else event.timestamp
    return RecordedEvent(
        event_id=event.event_id or "not-recorded",
        sequence=0,
        timestamp=timestamp,
        recorded_at=now,
        utc_offset_minutes=clock.utc_offset_minutes(timestamp),
        event=event.event,
        item_id=event.item_id,
        user=event.user,
        recommendation_id=event.recommendation_id,
        epoch=0,
        context=event.context,
        properties=event.properties,
    )


def unrecorded_many(
    events: Iterable[Event], event_types: Mapping[str, EventSchema], clock: Clock
) -> list[RecordedEvent]:
    """:func:`unrecorded` of several events. Errors as there; an EventError's field begins with ``events[i]``."""
    found = []
    for position, event in enumerate(events):
        try:
            found.append(unrecorded(event, event_types, clock))
        except EventError as error:
            raise EventError(f"events[{position}].{error.field}", error.problem, remedy=error.remedy) from error
    return found
