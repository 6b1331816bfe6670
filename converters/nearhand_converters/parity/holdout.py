"""Held-out users: the history the device would have had, and what the user did next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nearhand.bundle.schema import Policy
from nearhand.events import RecordedEvent
from nearhand.retrieval import HistoryFold
from nearhand_converters.data import Interactions, Split


@dataclass(frozen=True)
class HeldOutUser:
    """One user of the evaluation.

    Attributes:
        rows: int32 [n] history item rows as the device would build them, oldest first, within the window.
        confidences: float64 [n].
        all_rows, all_confidences: the same without a window.
        seen: rows that are not recommended again.
        targets: int32 [m] rows of the held-out items, m >= 1.
    """

    rows: NDArray[np.int32]
    confidences: NDArray[np.float64]
    all_rows: NDArray[np.int32]
    all_confidences: NDArray[np.float64]
    seen: frozenset[int]
    targets: NDArray[np.int32]


def held_out_users(split: Split, policy: Policy, event: str) -> Iterator[HeldOutUser]:
    """Every user with held-out interactions, their training interactions folded as events of type ``event``.

    The fold is the device's own code, so that the evaluation's histories are those that the device will build.
    """
    items = int(max(split.train.item.max(initial=0), split.held_out.item.max(initial=0))) + 1
    rows = {str(row): row for row in range(items)}
    histories = _by_user(split.train)
    for user, targets in _by_user(split.held_out).items():
        fold = HistoryFold(policy, rows)
        own = histories.get(user, np.empty(0, np.intp))
        fold.fold(_events(split.train, own, event))
        window = fold.history().items
        whole = fold.whole_history().items
        yield HeldOutUser(
            rows=np.array([item.row for item in window], np.int32),
            confidences=np.array([item.confidence for item in window]),
            all_rows=np.array([item.row for item in whole], np.int32),
            all_confidences=np.array([item.confidence for item in whole]),
            seen=frozenset(fold.seen),
            targets=np.unique(split.held_out.item[targets]),
        )


def _by_user(interactions: Interactions) -> dict[int, NDArray[np.intp]]:
    """User → the positions of their interactions, in order; users in increasing order."""
    order = np.argsort(interactions.user, kind="stable")
    users, starts = np.unique(interactions.user[order], return_index=True)
    return dict(zip(users.tolist(), np.split(order, starts[1:]), strict=True)) if len(users) else {}


def _events(interactions: Interactions, chosen: NDArray[np.intp], event: str) -> Iterator[RecordedEvent]:
    for sequence, position in enumerate(chosen.tolist()):
        timestamp = int(interactions.timestamp[position])
        yield RecordedEvent(
            event_id=str(position),
            sequence=sequence,
            timestamp=timestamp,
            recorded_at=timestamp,
            utc_offset_minutes=0,
            epoch=0,
            event=event,
            item_id=str(interactions.item[position]),
            user=None,
            recommendation_id=None,
            context={},
            properties={},
        )
