"""What a profile's features would be without some of its events: each reading takes them out and puts them back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from nearhand.events import RecordedEvent
from nearhand.features.event import FoldedEvent, visible_from
from nearhand.features.fold import CandidateFeatures, FeatureFold, FeatureVector, to_float32
from nearhand.features.removable import Removable, removable
from nearhand.features.state import State

_Entry: TypeAlias = tuple[Removable, FoldedEvent, Any, int]
"""A state, and what it was given: an event, the operand read of it, and a weight."""


class RemovableFold(FeatureFold):
    """A fold that gives events back, and trims nothing."""

    def features_without(
        self,
        events: Sequence[RecordedEvent],
        occluded: Sequence[frozenset[str]],
        as_of: int,
        item_ids: Sequence[str],
        utc_offset_minutes: int,
        context: Mapping[str, Any] | None,
        pushed: Mapping[str, Sequence[float]],
    ) -> tuple[list[FeatureVector], list[CandidateFeatures]]:
        """Fold events, and read at ``as_of`` for each variant as if those it lacks had not been among them.

        Args:
            occluded: for each variant, the ids of the events that it lacks.
        """
        situation = (utc_offset_minutes, context, pushed)
        self.advance(as_of)
        visible = [event for event in events if visible_from(event) <= as_of]
        epoch = max((event.epoch for event in visible), default=self._epoch)
        newest = {event.event_id for event in visible if event.epoch == epoch}
        if epoch > self._epoch and any(newest <= lacking for lacking in occluded):
            # Without them another epoch is the newest, and its events count.
            return self._refolded(visible, occluded, as_of, item_ids, situation)
        if epoch > self._epoch:
            self._begin(epoch)
        named = frozenset[str]().union(*occluded)
        absent: dict[str, list[_Entry]] = {}
        for each in visible:
            if each.event_id not in named:
                self._fold(each)
            elif each.epoch == self._epoch:
                absent[each.event_id] = entries = self._entries(each)
                for state, event, value, weight in entries:
                    state.add(event, value, weight)
        frame, found = self._frame(as_of, *situation), self._found(item_ids)
        floats: list[float] = []
        ints: list[int] = []
        notes: list[list[Any]] = []
        for lacking in occluded:
            entries = [entry for event_id in lacking for entry in absent.get(event_id, ())]
            for state, event, value, weight in entries:
                state.remove(event, value, weight)
            frame.shares = {}
            for emit in self._emitters:
                emit(frame, floats, ints)
            notes.append([note(frame, found) for note in self._notes])
            for state, event, value, weight in entries:
                state.add(event, value, weight)
        m, program = len(occluded), self.program
        numbers = to_float32(floats).reshape(m, program.floats)
        whole = np.array(ints, np.int32).reshape(m, program.ints)
        of_items = program.item_columns.arrays(found, notes)
        vectors = [FeatureVector(as_of, *each) for each in zip(numbers, whole, strict=True)]
        return vectors, [CandidateFeatures(as_of, *each) for each in zip(*of_items, strict=True)]

    def _make_states(self) -> Sequence[State]:
        self._removables = [removable(state) for state in self.program.make_states()]
        return self._removables

    def _trim(self, as_of: int) -> None:
        pass

    def _entries(self, event: FoldedEvent) -> list[_Entry]:
        """What the states are given of the event."""
        found: list[_Entry] = []
        for feed in self.program.feeds.get(event.event, ()):
            if feed.tests and not all(test(event) for test in feed.tests):
                continue
            value = None
            if feed.read is not None and (value := feed.read(event)) is None:
                continue
            found.append((self._removables[feed.state], event, value, feed.weight))
        return found

    def _refolded(
        self,
        events: Sequence[RecordedEvent],
        occluded: Sequence[frozenset[str]],
        as_of: int,
        item_ids: Sequence[str],
        situation: tuple[int, Mapping[str, Any] | None, Mapping[str, Sequence[float]]],
    ) -> tuple[list[FeatureVector], list[CandidateFeatures]]:
        """The same by folding all events again for each variant."""
        vectors, candidates = [], []
        state = self.dump()
        for lacking in occluded:
            fold = FeatureFold.load(self.program, state)
            for event in events:
                if event.event_id not in lacking:
                    fold.offer(event)
            vectors.append(fold.read(as_of, *situation))
            candidates.append(fold.candidates(as_of, item_ids, *situation))
        return vectors, candidates
