"""What devices told of what they did, and whether what an endpoint has stored agrees with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.faults.sync_device import event_of


@dataclass
class Story:
    """All that devices told, in lines; see :mod:`tests.faults.sync_device`.

    Attributes:
        tried: event id → number, of all events that were to be recorded.
        acknowledged: those of them whose recording was.
        forgetting, forgotten: those that were to be forgotten, and those of them whose end was acknowledged.
    """

    tried: dict[str, int] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    forgetting: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)

    @classmethod
    def told(cls, lines: Iterable[str]) -> Story:
        """Raises AssertionError if a device failed."""
        story = cls()
        for line in lines:
            match line.split():
                case ["try", event_id, number]:
                    story.tried[event_id] = int(number)
                case ["ack", event_id]:
                    story.acknowledged.add(event_id)
                case ["tries", name, begin, end]:
                    story.tried.update({f"{name}-{n}": n for n in range(int(begin), int(end))})
                case ["acks", name, begin, end]:
                    story.acknowledged.update(f"{name}-{n}" for n in range(int(begin), int(end)))
                case ["forget", event_id]:
                    story.forgetting.add(event_id)
                case ["forgotten", event_id]:
                    story.forgotten.add(event_id)
                case ["failed", *_]:
                    raise AssertionError("a device failed")
        return story

    def check(self, stored: Iterable[Mapping[str, Any]], *, removed: int = 0) -> None:
        """Every acknowledged event is stored once, as it was recorded; none that was forgotten; nothing else.

        Args:
            stored: the endpoint's events, once everything was sent.
            removed: how many events stated caps have taken before they were sent.

        Raises:
            AssertionError: it is not so.
        """
        found: set[str] = set()
        for event in stored:
            event_id = event["event_id"]
            assert event_id not in found, f"{event_id} is stored more than once"
            assert event_id in self.tried, f"{event_id} is stored, and was never recorded"
            found.add(event_id)
            recorded = event_of(event_id, self.tried[event_id])
            assert event["item_id"] == recorded.item_id, event
            assert event["properties"] == recorded.properties, event
        kept = self.forgotten & found
        assert not kept, f"forgotten, and still stored: {sample(kept)}"
        lost = self.acknowledged - self.forgetting - found
        assert len(lost) <= removed, f"acknowledged, and not stored: {sample(lost)}"


def sample(ids: Iterable[str]) -> str:
    """How many there are, and a few of them."""
    found = sorted(ids)
    return f"{len(found)} events, such as {', '.join(found[:3])}"
