"""States that give events back.

After ``remove`` a state reads as if the event had never been added. Most kinds can do that as they are. Those that keep
the first, the last or the greatest of something cannot know what comes after it; here they remember all that was added.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from functools import cache
from typing import Any, Protocol

from nearhand.features.arithmetic import decayed
from nearhand.features.event import FoldedEvent
from nearhand.features.state import (
    HALF_LIVES,
    UNIT,
    Days,
    Decayed,
    DecayedWeights,
    LatestTexts,
    Stamps,
    State,
    TextStamps,
    Totals,
    bucketed,
    local_day,
    shifted,
)


class Removable(State, Protocol):
    """A state from which events can be taken out again."""

    def remove(self, event: FoldedEvent, value: Any, weight: int) -> None:
        """Take out an event that was added to this very state, with the same operand and weight."""
        ...


def removable(state: State) -> Removable:  # noqa: PLR0911 - one return for each kind
    """A state just made, or in its place one of the same kind that gives events back."""
    match state:
        case Totals():
            return _Totals()
        case Stamps():
            return _Stamps()
        case TextStamps():
            return _TextStamps()
        case Days():
            return _Days(state.longest)
        case LatestTexts():
            return _LatestTexts(state.n, distinct=state.distinct)
        case Decayed():
            return _Decayed(state.half_life)
        case DecayedWeights():
            return _DecayedWeights(state.half_life)
    found: Any = state
    return found  # type: ignore[no-any-return]


class _Totals(Totals):
    def __init__(self) -> None:
        super().__init__()
        self._values: list[int] = []

    def add(self, event: FoldedEvent, value: Any, weight: int) -> None:
        super().add(event, value, weight)
        if value is not None:
            insort(self._values, value)

    def remove(self, event: FoldedEvent, value: Any, weight: int) -> None:
        self.count -= 1
        if value is None:
            return
        self.sum -= value
        self.squares -= value * value
        values = self._values
        del values[bisect_left(values, value)]
        self.least, self.greatest = (values[0], values[-1]) if values else (None, None)

    def load(self, content: Any) -> None:
        super().load(content)
        self._values = [value for value in (self.least, self.greatest) if value is not None]


class _Stamps(Stamps):
    def __init__(self) -> None:
        super().__init__()
        self._timestamps: list[int] = []

    def add(self, event: FoldedEvent, value: Any, weight: int) -> None:
        super().add(event, value, weight)
        insort(self._timestamps, event.timestamp)

    def remove(self, event: FoldedEvent, value: Any, weight: int) -> None:
        timestamps = self._timestamps
        del timestamps[bisect_left(timestamps, event.timestamp)]
        self.first, self.latest = (timestamps[0], timestamps[-1]) if timestamps else (None, None)

    def load(self, content: Any) -> None:
        super().load(content)
        self._timestamps = [timestamp for timestamp in content if timestamp is not None]


class _TextStamps(TextStamps):
    def __init__(self) -> None:
        super().__init__()
        self._timestamps: dict[str, list[int]] = {}

    def add(self, event: FoldedEvent, value: Any, weight: int) -> None:
        super().add(event, value, weight)
        for text in value:
            insort(self._timestamps.setdefault(text, []), event.timestamp)

    def remove(self, event: FoldedEvent, value: Any, weight: int) -> None:
        for text in value:
            timestamps = self._timestamps[text]
            del timestamps[bisect_left(timestamps, event.timestamp)]
            if timestamps:
                self.latest[text] = timestamps[-1]
            else:
                del self.latest[text]

    def load(self, content: Any) -> None:
        super().load(content)
        self._timestamps = {text: [latest] for text, latest in content.items()}


class _Days(Days):
    def __init__(self, longest: int) -> None:
        super().__init__(longest)
        self._counts: dict[int, int] = {}

    def add(self, event: FoldedEvent, value: Any, weight: int) -> None:
        day = local_day(event)
        self._counts[day] = self._counts.get(day, 0) + 1
        self.days.add(day)

    def remove(self, event: FoldedEvent, value: Any, weight: int) -> None:
        day = local_day(event)
        self._counts[day] -= 1
        if not self._counts[day]:
            self.days.remove(day)

    def load(self, content: Any) -> None:
        super().load(content)
        self._counts = dict.fromkeys(content, 1)


class _Decayed(Decayed):
    """Keeps the sum that was read last: what comes or goes is added to it, which is exact with integers."""

    def __init__(self, half_life: int) -> None:
        super().__init__(half_life)
        self._bucketed = cache(bucketed)  # an event that is added back is in the same half-life as before
        self._read: tuple[int, float] | None = None  # as of which instant, and what is left of a half-life by then
        self._now = self._sum = 0

    def add(self, event: FoldedEvent, value: Any, weight: int) -> None:
        self._give(event, (1 if value is None else value) * weight, 1)

    def remove(self, event: FoldedEvent, value: Any, weight: int) -> None:
        self._give(event, (1 if value is None else value) * weight, -1)

    def at(self, as_of: int) -> float:
        if self._read is None or self._read[0] != as_of:
            self._now, rest = divmod(as_of, self.half_life)
            self._read = as_of, decayed(rest, self.half_life)
            self._sum = shifted(self._buckets, self._now)
        return self._sum / UNIT * self._read[1]

    def load(self, content: Any) -> None:
        super().load(content)
        self._read = None

    def _give(self, event: FoldedEvent, value: int, sign: int) -> None:
        bucket, part = self._bucketed(event.timestamp, self.half_life, value)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + sign * part
        if self._read is not None:
            self._sum += sign * _moved(part, bucket, self._now)


class _DecayedWeights(DecayedWeights):
    """Keeps the weights that were read last: what comes or goes is added to them, which is exact with integers."""

    def __init__(self, half_life: int) -> None:
        super().__init__(half_life)
        self._bucketed = cache(bucketed)

    def add(self, event: FoldedEvent, value: Any, weight: int) -> None:
        self._give(event, value, weight, 1)

    def remove(self, event: FoldedEvent, value: Any, weight: int) -> None:
        self._give(event, value, weight, -1)

    def _give(self, event: FoldedEvent, texts: Any, weight: int, sign: int) -> None:
        bucket, part = self._bucketed(event.timestamp, self.half_life, weight)
        part *= sign
        moved = 0 if self._now is None else _moved(part, bucket, self._now)
        for text in texts:
            buckets = self._buckets.setdefault(text, {})
            buckets[bucket] = buckets.get(bucket, 0) + part
            if text in self.weights:
                self.weights[text] += moved
            else:
                self._touched.add(text)


def _moved(part: int, bucket: int, now: int) -> int:
    """What a bucket's part is in the sum that :func:`shifted` gives."""
    age = now - bucket
    return part << (HALF_LIVES - age) if 0 <= age <= HALF_LIVES else 0


class _LatestTexts(LatestTexts):
    def __init__(self, n: int, *, distinct: bool) -> None:
        super().__init__(n, distinct=distinct)
        self._all: list[tuple[int, int, int, str]] = []
        self._taken: tuple[FoldedEvent, list[tuple[int, int, int, str]]] | None = None
        """The event that was taken out last, if nothing was added since, and the entries before."""

    def add(self, event: FoldedEvent, value: Any, weight: int) -> None:
        if self._taken is not None and self._taken[0] is event:
            self.entries = self._taken[1]
        else:
            super().add(event, value, weight)
        self._taken = None
        for place, text in enumerate(value):
            insort(self._all, (event.timestamp, event.sequence, place, text))

    def remove(self, event: FoldedEvent, value: Any, weight: int) -> None:
        self._taken = event, self.entries
        shown = False
        for place, text in enumerate(value):
            entry = (event.timestamp, event.sequence, place, text)
            del self._all[bisect_left(self._all, entry)]
            shown = shown or entry in self.entries
        if shown:
            self.entries = self._latest()

    def load(self, content: Any) -> None:
        super().load(content)
        self._all = list(self.entries)

    def _latest(self) -> list[tuple[int, int, int, str]]:
        found: list[tuple[int, int, int, str]] = []
        seen: set[str] = set()
        for entry in reversed(self._all):
            if self.distinct and entry[3] in seen:
                continue
            seen.add(entry[3])
            found.append(entry)
            if len(found) == self.n:
                break
        return found[::-1]
