"""Events: what the app says happened, and the log that keeps it."""

from nearhand.events.event import EVENT_TYPES, JSON, Event, RecordedEvent, Scalar, event_from_json, validate
from nearhand.events.log import EventLog

__all__ = ["EVENT_TYPES", "JSON", "Event", "EventLog", "RecordedEvent", "Scalar", "event_from_json", "validate"]
