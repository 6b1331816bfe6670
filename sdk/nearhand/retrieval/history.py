"""From events to the history that the encoder reads: a fold over the log in (timestamp, sequence) order.

* Repeated items are one history item: the confidences of its events add up, within ± ``confidence_cap``.
* An item whose confidences cancel out, or that the catalogue does not have, is not in the history.
* The history is the ``window`` most recent items, by their latest event; oldest first.
* A reset of the preferences begins a new epoch, which knows nothing of what came before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from nearhand.bundle.schema import Policy
from nearhand.events import RecordedEvent
from nearhand.records import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

PADDING_ROW = -1


@dataclass(frozen=True)
class HistoryEvent:
    """One event's part in a history item: ``confidence`` before the cap."""

    event_id: str
    event: str
    confidence: float


@dataclass(frozen=True)
class HistoryItem:
    """An item of the history: its row, its capped confidence, and the events behind it, in folding order."""

    row: int
    confidence: float
    events: tuple[HistoryEvent, ...]


@dataclass(frozen=True)
class History:
    """Distinct items, oldest first by their latest event; for the encoder at most ``window`` of them."""

    items: tuple[HistoryItem, ...]

    def padded(self, window: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The encoder's inputs: rows int32 [window] filled up with −1, confidences float32 [window] with 0."""
        return padded([item.row for item in self.items], [item.confidence for item in self.items], window)


def padded(
    rows: Iterable[int], confidences: Iterable[float], window: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Item rows and confidences as the encoder's inputs int32 [window] and float32 [window]."""
    given_rows, given_confidences = list(rows), list(confidences)
    all_rows, all_confidences = np.full(window, PADDING_ROW, np.int32), np.zeros(window, np.float32)
    all_rows[: len(given_rows)], all_confidences[: len(given_rows)] = given_rows, given_confidences
    return all_rows, all_confidences


class _ItemState:
    def __init__(self, latest: tuple[int, int]) -> None:
        self.latest = latest
        self.events: list[tuple[tuple[int, int], HistoryEvent]] = []


class HistoryFold:
    """Folds recorded events; the order in which they are given does not matter."""

    def __init__(self, policy: Policy, rows: Mapping[str, int]) -> None:
        """
        Args:
            policy: the bundle's.
            rows: item id → row of the catalogue.
        """
        self._confidences = policy.confidences
        self._cap = policy.confidence_cap
        self._window = policy.window
        self._seen_types = frozenset(policy.seen)
        self._rows = rows
        self.changes = 0
        """How often events were taken in."""
        self._begin(0)

    def _begin(self, epoch: int) -> None:
        self._epoch = epoch
        self._items: dict[int, _ItemState] = {}
        self._history: History | None = None
        self.seen: set[int] = set()
        """Rows that are not to be recommended again."""
        self.unknown_items = 0
        """Events whose item is not in the catalogue."""

    def fold(self, events: Iterable[RecordedEvent]) -> None:
        """Take events in, once each."""
        self.changes += 1
        for event in events:
            if event.epoch > self._epoch:
                self._begin(event.epoch)
            if event.item_id is None or event.epoch < self._epoch:
                continue
            row = self._rows.get(event.item_id)
            if row is None:
                self.unknown_items += 1
                continue
            if event.event in self._seen_types:
                self.seen.add(row)
            confidence = self._confidences.get(event.event)
            if confidence is not None:
                order = (event.timestamp, event.sequence)
                state = self._items.setdefault(row, _ItemState(order))
                state.latest = max(state.latest, order)
                state.events.append((order, HistoryEvent(event.event_id, event.event, float(confidence))))
                self._history = None

    def history(self) -> History:
        """The history as of the events folded so far: the window's most recent items."""
        return History(self.whole_history().items[-self._window :])

    def whole_history(self) -> History:
        """The same without a window, for measuring what the window costs."""
        if self._history is None:
            recent = sorted(self._items.items(), key=_latest)
            self._history = History(tuple(item for row, state in recent if (item := self._item(row, state)).confidence))
        return self._history

    def _item(self, row: int, state: _ItemState) -> HistoryItem:
        state.events.sort(key=_order)
        events = tuple([event for _, event in state.events])
        # As decimals, because floats of tenths do not cancel out: 0.1 + 0.2 - 0.3 is not 0.
        total = sum((self._confidences[event.event] for event in events), start=Decimal(0))
        return HistoryItem(row, float(max(-self._cap, min(self._cap, total))), events)


def _latest(entry: tuple[int, _ItemState]) -> tuple[int, int]:
    return entry[1].latest


def _order(entry: tuple[tuple[int, int], HistoryEvent]) -> tuple[int, int]:
    return entry[0]
