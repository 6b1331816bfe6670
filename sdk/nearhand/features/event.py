"""An event as the fold reads it: what a :class:`nearhand.events.RecordedEvent` has, or a row of a training log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol


class FoldedEvent(Protocol):
    """See :class:`nearhand.events.RecordedEvent` for the meaning of the fields."""

    @property
    def timestamp(self) -> int: ...
    @property
    def sequence(self) -> int: ...
    @property
    def recorded_at(self) -> int: ...
    @property
    def utc_offset_minutes(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    @property
    def event(self) -> str: ...
    @property
    def item_id(self) -> str | None: ...
    @property
    def context(self) -> Mapping[str, Any]: ...
    @property
    def properties(self) -> Mapping[str, Any]: ...


class ReplayEvent(NamedTuple):
    """The fields that a fold reads, cheap to make by the million."""

    timestamp: int
    sequence: int
    recorded_at: int
    utc_offset_minutes: int
    epoch: int
    event: str
    item_id: str | None
    context: Mapping[str, Any]
    properties: Mapping[str, Any]
