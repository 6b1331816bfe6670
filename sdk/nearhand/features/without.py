"""What a profile's features would be without some of its events: each reading takes them out and puts them back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from nearhand.events import RESET, RecordedEvent
from nearhand.features.event import FoldedEvent
from nearhand.features.fold import CandidateFeatures, FeatureFold, FeatureVector, to_float32, visible_from
from nearhand.features.removable import Removable, removable
from nearhand.features.state import State

_Entry: TypeAlias = tuple[Removable, FoldedEvent, Any, int]
"""A state, and what it was given: an event, the operand read of it, and a weight."""


class RemovableFold(FeatureFold):
    """A fold that gives events back, and trims nothing."""

    def begin(self, events: Sequence[RecordedEvent], as_of: int) -> None:
        """Fold what is visible of some events at ``as_of``, on top of what was loaded. Called once.

        Attributes:
            resets: the ids of the resets among the events.
            as_of: from when on it can be read; is_whole: whether later readings see no other events.
        """
        self.as_of = as_of
        self.resets = {event.event_id for event in events if event.event == RESET}
        self.advance(as_of)
        visible = [event for event in events if visible_from(event) <= as_of]
        self.is_whole = len(visible) == len(events) and not self.pending
        epoch = max((event.epoch for event in visible), default=self._epoch)
        self._before: tuple[bytes, list[RecordedEvent]] | None = None
        if epoch > self._epoch:
            self._before = self.dump(), visible
            self._begin(epoch)
        for event in visible:
            self._fold(event)
        self._events = {event.event_id: event for event in visible if event.epoch == self._epoch}
        self._given: dict[str, list[_Entry]] = {}

    def features_without(
        self,
        occluded: Sequence[frozenset[str]],
        as_of: int,
        item_ids: Sequence[str],
        utc_offset_minutes: int,
        context: Mapping[str, Any] | None,
        pushed: Mapping[str, Sequence[float]],
    ) -> tuple[list[FeatureVector], list[CandidateFeatures]]:
        """Read at ``as_of`` for each variant as if the events that it lacks had not been among them.

        Args:
            occluded: for each variant, the ids of the events that it lacks.
        """
        situation = (utc_offset_minutes, context, pushed)
        if self._before is not None and any(self._events.keys() <= lacking for lacking in occluded):
            # Without them another epoch is the newest, and its events count.
            return self._refolded(*self._before, occluded, as_of, item_ids, situation)
        absent = {event_id: self._entries_of(event_id) for event_id in frozenset[str]().union(*occluded)}
        frame, found = self._frame(as_of, *situation), self._found(item_ids)
        floats: list[float] = []
        ints: list[int] = []
        notes: list[list[Any]] = []
        for lacking in occluded:
            entries = [entry for event_id in lacking for entry in absent[event_id]]
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

    def _entries_of(self, event_id: str) -> list[_Entry]:
        entries = self._given.get(event_id)
        if entries is None:
            event = self._events.get(event_id)
            self._given[event_id] = entries = [] if event is None else self._entries(event)
        return entries

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
        state: bytes,
        events: Sequence[RecordedEvent],
        occluded: Sequence[frozenset[str]],
        as_of: int,
        item_ids: Sequence[str],
        situation: tuple[int, Mapping[str, Any] | None, Mapping[str, Sequence[float]]],
    ) -> tuple[list[FeatureVector], list[CandidateFeatures]]:
        """The same by folding all events again for each variant, on top of the state that was loaded."""
        vectors, candidates = [], []
        for lacking in occluded:
            fold = FeatureFold.load(self.program, state)
            for event in events:
                if event.event_id not in lacking:
                    fold.offer(event)
            vectors.append(fold.read(as_of, *situation))
            candidates.append(fold.candidates(as_of, item_ids, *situation))
        return vectors, candidates
