"""The batch execution of a program: training rows that see nothing recorded at or after their labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nearhand.features.event import FoldedEvent
from nearhand.features.fold import CompiledProgram, FeatureFold, FeatureVector


class Label(NamedTuple):
    """A row of a training table.

    Attributes:
        timestamp: the label's instant, ms: its features are those of this instant.
        utc_offset_minutes: local time minus UTC then.
        item_id: the candidate, for the views of one; None gives their defaults.
        context: the situation of the request.
        pushed: view name → the values that the device had then.
    """

    timestamp: int
    utc_offset_minutes: int = 0
    item_id: str | None = None
    context: Mapping[str, Any] = {}
    pushed: Mapping[str, Sequence[float]] = {}


def replay_profile(
    program: CompiledProgram, events: Iterable[FoldedEvent], labels: Sequence[Label]
) -> list[FeatureVector]:
    """The features of one profile at each label, in the labels' order.

    In each vector the candidate's columns follow the profile's: ``floats`` is float32 [floats + item_floats], ``ints``
    is int32 [ints + item_ints].
    """
    fold = FeatureFold(program)
    for event in events:
        fold.offer(event)
    found: list[FeatureVector | None] = [None] * len(labels)
    has_items = program.item_floats + program.item_ints > 0
    for place in sorted(range(len(labels)), key=lambda place: labels[place].timestamp):
        label = labels[place]
        situation = (label.utc_offset_minutes, label.context, label.pushed)
        vector = fold.read(label.timestamp, *situation)
        if has_items:
            item = fold.candidates(label.timestamp, ["" if label.item_id is None else label.item_id], *situation)
            vector = FeatureVector(
                vector.as_of,
                np.concatenate([vector.floats, item.floats[0]]),
                np.concatenate([vector.ints, item.ints[0]]),
            )
        found[place] = vector
    return [vector for vector in found if vector is not None]
