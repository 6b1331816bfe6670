"""What of a profile may be asked about: what was recorded with consent to send it, or got that consent later."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from nearhand.bundle.schema import Policy
from nearhand.events import EventLog
from nearhand.records import dataclass
from nearhand.retrieval import HistoryItem

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class AllowedHistory:
    """A history as it may leave: int32 [h] item rows, the latest last, and float32 [h], their confidences."""

    rows: NDArray[np.int32]
    weights: NDArray[np.float32]

    @property
    def items(self) -> int:
        """How many there are; 0 if none of them was liked: nothing can be ranked by dislikes alone."""
        return len(self.rows) if (self.weights > 0).any() else 0


class Allowed:
    """Asks the log which of its events may leave. Thread-safe.

    Every method raises StorageError or EncryptionError if the log cannot be read.
    """

    def __init__(self, log: EventLog, policy: Policy) -> None:
        self._log = log
        self._confidences = policy.confidences
        self._cap = policy.confidence_cap
        self._lock = threading.Lock()
        self._known: tuple[int, int] = (-1, 0)  # the log's rewrites, and up to where all of it may leave

    def history(self, items: Sequence[HistoryItem]) -> AllowedHistory:
        """A history of the events alone that may leave, each item with the confidence that these give it."""
        may = self._log.outbox.sendable([event.event_id for item in items for event in item.events])
        rows, weights = [], []
        for item in items:
            events = [event for event in item.events if event.event_id in may]
            weight = item.confidence
            if len(events) < len(item.events):
                total = sum((self._confidences[event.event] for event in events), start=Decimal(0))
                weight = float(max(-self._cap, min(self._cap, total)))
            if weight:
                rows.append(item.row)
                weights.append(weight)
        return AllowedHistory(np.array(rows, np.int32), np.array(weights, np.float32))

    def everything(self) -> bool:
        """Whether all that the profile's features rest on may leave.

        What the log's caps have let go is in the features, and nobody knows any more whether it might.
        """
        with self._lock:
            rewrites = self._log.rewrites()
            through = self._known[1] if self._known[0] == rewrites else 0
            stays, last = self._log.outbox.stays(after=through)
            if not stays:
                self._known = rewrites, last
            return not stays and not any(self._log.drops().values())
