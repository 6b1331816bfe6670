"""Events: what the app says happened, and the log that keeps it."""

from nearhand.events.caps import DAY_MS, Caps
from nearhand.events.event import (
    JSON,
    RESET,
    Event,
    RecordedEvent,
    Scalar,
    event_from_json,
    recorded_from_json,
    recorded_to_json,
)
from nearhand.events.event_types import (
    EVENT_TYPES,
    WELL_KNOWN,
    EventSchema,
    check_event_types,
    unrecorded,
    unrecorded_many,
    validate,
)
from nearhand.events.log import EventLog
from nearhand.events.state import Checkpointer, Reading, Snapshot

__all__ = [
    "DAY_MS",
    "EVENT_TYPES",
    "JSON",
    "RESET",
    "WELL_KNOWN",
    "Caps",
    "Checkpointer",
    "Event",
    "EventLog",
    "EventSchema",
    "Reading",
    "RecordedEvent",
    "Scalar",
    "Snapshot",
    "check_event_types",
    "event_from_json",
    "recorded_from_json",
    "recorded_to_json",
    "unrecorded",
    "unrecorded_many",
    "validate",
]
