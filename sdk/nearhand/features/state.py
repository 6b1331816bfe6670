"""What is remembered of a profile's events: a few kinds of state that views share.

Each is a function of the *set* of events that it was given: sums are of integers, so they are exact, and whatever
depends on order keeps (timestamp, sequence). A late event therefore changes it just as if it had come in time, and
folding in one batch, one by one, or across restarts gives the same state.

``dump`` gives a JSON value that ``load`` takes back. ``trim`` forgets what no reading at ``as_of`` or later can see.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

from nearhand.features.arithmetic import decayed, exp2_fraction

if TYPE_CHECKING:
    from nearhand.features.event import FoldedEvent

DAY_MS = 86_400_000
HALF_LIVES = 32
"""A decayed weight counts for this many half-lives, and then not at all: 2⁻³² of it would be left."""
_HALF_LIFE_BITS = 32
UNIT = 1 << (HALF_LIVES + _HALF_LIFE_BITS)


class State(Protocol):
    """What the fold asks of every kind."""

    def add(self, event: FoldedEvent, value: Any, weight: int) -> None:
        """Take in an event, with the operand that was read of it and the weight of its type."""
        ...

    def trim(self, as_of: int) -> None:
        """Forget what no reading at ``as_of`` (ms) or later can see."""
        ...

    def dump(self) -> Any:
        """All of it as a JSON value."""
        ...

    def load(self, content: Any) -> None:
        """Take back what ``dump`` gave, into a state just made."""
        ...


class Rows:
    """The events of the longest window, in (timestamp, sequence) order, with running sums.

    Attributes:
        timestamps: int per row, ms.
        values: per row, the operand; weights: per row.
        sums, squares: running sums of the values, one more than there are rows; None unless asked for. They begin with
            the sum of what was trimmed, so only differences mean something.
        dropped: how many rows were trimmed.
        windows: what is derived of the rows, to be told of those that come or go before the last one.
    """

    def __init__(self) -> None:
        self.retention = 0
        self.timestamps: list[int] = []
        self.values: list[Any] = []
        self.weights: list[int] = []
        self.sums: list[int] | None = None
        self.squares: list[int] | None = None
        self.dropped = 0
        self.windows: list[WindowWeights] = []
        self._sequences: list[int] = []

    def need(self, window: int, *, sums: bool = False, squares: bool = False) -> None:
        """Ask, before the first event, that a window of ``window`` ms can be read, and which sums."""
        self.retention = max(self.retention, window)
        if sums and self.sums is None:
            self.sums = [0]
        if squares and self.squares is None:
            self.squares = [0]

    def add(self, event: FoldedEvent, value: Any, weight: int) -> None:
        timestamp, sequence = event.timestamp, event.sequence
        timestamps = self.timestamps
        if not timestamps or (timestamp, sequence) > (timestamps[-1], self._sequences[-1]):
            timestamps.append(timestamp)
            self._sequences.append(sequence)
            self.values.append(value)
            self.weights.append(weight)
            if self.sums is not None:
                self.sums.append(self.sums[-1] + value)
            if self.squares is not None:
                self.squares.append(self.squares[-1] + value * value)
            return
        at = self._place(event)
        timestamps.insert(at, timestamp)
        self._sequences.insert(at, sequence)
        self.values.insert(at, value)
        self.weights.insert(at, weight)
        self._sum_from(at)
        for window in self.windows:
            window.insert(at)

    def remove(self, event: FoldedEvent, value: Any, weight: int) -> None:
        at = self._place(event)
        for window in self.windows:
            window.remove(at)
        del self.timestamps[at], self._sequences[at], self.values[at], self.weights[at]
        self._sum_from(at)

    def since(self, after: int) -> int:
        """The index of the first row later than ``after``, ms."""
        return bisect_right(self.timestamps, after)

    def trim(self, as_of: int) -> None:
        old = bisect_right(self.timestamps, as_of - self.retention)
        if old:
            for column in (self.timestamps, self._sequences, self.values, self.weights, self.sums, self.squares):
                if column is not None:
                    del column[:old]
            self.dropped += old

    def dump(self) -> Any:
        return [self.timestamps, self._sequences, self.values, self.weights]

    def load(self, content: Any) -> None:
        self.timestamps, self._sequences, values, self.weights = content
        self.values = [tuple(value) if isinstance(value, list) else value for value in values]
        self._sum_from(0)

    def _place(self, event: FoldedEvent) -> int:
        """The index of the row of an event, or where it belongs."""
        timestamp, sequence, timestamps = event.timestamp, event.sequence, self.timestamps
        at = bisect_left(timestamps, timestamp)
        if at == len(timestamps) or timestamps[at] != timestamp or self._sequences[at] >= sequence:
            return at
        return bisect_left(self._sequences, sequence, at + 1, bisect_right(timestamps, timestamp, at + 1))

    def _sum_from(self, at: int) -> None:
        if self.sums is not None:
            self.sums[at:] = accumulate(self.values[at:], initial=self.sums[at])
        if self.squares is not None:
            self.squares[at:] = accumulate((value * value for value in self.values[at:]), initial=self.squares[at])


class WindowWeights:
    """Of the texts in a window over :class:`Rows`: text → how many rows, and the sum of their weights.

    Derived from the rows, and moved along with the window: each row enters and leaves once.
    """

    def __init__(self, rows: Rows, window: int) -> None:
        self._rows = rows
        self._window = window
        self._low = self._high = 0  # counted from the first row ever
        self.counts: dict[str, int] = {}
        self.weights: dict[str, int] = {}
        rows.windows.append(self)

    def move(self, as_of: int) -> None:
        """Make the window end at ``as_of``, ms."""
        rows = self._rows
        low = rows.dropped + rows.since(as_of - self._window)
        high = rows.dropped + len(rows.timestamps)
        if low == self._low and high == self._high:
            return
        if low < self._low or self._low < rows.dropped:
            self.counts, self.weights = {}, {}
            self._low = self._high = low
        for row in range(self._high - rows.dropped, high - rows.dropped):
            self._enter(row)
        for row in range(self._low - rows.dropped, low - rows.dropped):
            self._leave(row)
        self._low, self._high = low, high

    def insert(self, at: int) -> None:
        """Row ``at`` came in, before others."""
        row = self._rows.dropped + at
        if row >= self._high:
            return  # the window has not moved there yet
        self._high += 1
        if row < self._low:
            self._low += 1
        else:
            self._enter(at)

    def remove(self, at: int) -> None:
        """Row ``at`` goes, and is still there."""
        row = self._rows.dropped + at
        if row >= self._high:
            return
        self._high -= 1
        if row < self._low:
            self._low -= 1
        else:
            self._leave(at)

    def _enter(self, row: int) -> None:
        counts, weights, weight = self.counts, self.weights, self._rows.weights[row]
        for text in self._rows.values[row]:
            counts[text] = counts.get(text, 0) + 1
            weights[text] = weights.get(text, 0) + weight

    def _leave(self, row: int) -> None:
        _subtract(self._rows.values[row], self._rows.weights[row], self.counts, self.weights)


def _subtract(texts: Sequence[str], weight: int, counts: dict[str, int], weights: dict[str, int]) -> None:
    for text in texts:
        left = counts[text] - 1
        if left:
            counts[text] = left
            weights[text] -= weight
        else:
            del counts[text], weights[text]


class Totals:
    """Number, sum, sum of squares, least and greatest of all values ever."""

    def __init__(self) -> None:
        self.count = self.sum = self.squares = 0
        self.least: int | None = None
        self.greatest: int | None = None

    def add(self, event: FoldedEvent, value: Any, weight: int) -> None:
        self.count += 1
        if value is None:
            return
        self.sum += value
        self.squares += value * value
        if self.least is None or value < self.least:
            self.least = value
        if self.greatest is None or value > self.greatest:
            self.greatest = value

    def trim(self, as_of: int) -> None:
        pass

    def dump(self) -> Any:
        return [self.count, self.sum, self.squares, self.least, self.greatest]

    def load(self, content: Any) -> None:
        self.count, self.sum, self.squares, self.least, self.greatest = content


class Weights:
    """Text → how many events ever, and the sum of their weights."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.weights: dict[str, int] = {}

    def add(self, event: FoldedEvent, value: Any, weight: int) -> None:
        for text in value:
            self.counts[text] = self.counts.get(text, 0) + 1
            self.weights[text] = self.weights.get(text, 0) + weight

    def remove(self, event: FoldedEvent, value: Any, weight: int) -> None:
        _subtract(value, weight, self.counts, self.weights)

    def move(self, as_of: int) -> None:
        """As :class:`WindowWeights`, whose window here is everything."""

    def trim(self, as_of: int) -> None:
        pass

    def dump(self) -> Any:
        return [self.counts, self.weights]

    def load(self, content: Any) -> None:
        self.counts, self.weights = content


class Stamps:
    """The first and the latest timestamp, ms; None without an event."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.latest: int | None = None

    def add(self, event: FoldedEvent, value: Any, weight: int) -> None:
        timestamp = event.timestamp
        if self.latest is None or timestamp > self.latest:
            self.latest = timestamp
        if self.first is None or timestamp < self.first:
            self.first = timestamp

    def trim(self, as_of: int) -> None:
        pass

    def dump(self) -> Any:
        return [self.first, self.latest]

    def load(self, content: Any) -> None:
        self.first, self.latest = content


class TextStamps:
    """Text → the latest timestamp, ms."""

    def __init__(self) -> None:
        self.latest: dict[str, int] = {}

    def add(self, event: FoldedEvent, value: Any, weight: int) -> None:
        timestamp = event.timestamp
        for text in value:
            latest = self.latest.get(text)
            if latest is None or timestamp > latest:
                self.latest[text] = timestamp

    def trim(self, as_of: int) -> None:
        pass

    def dump(self) -> Any:
        return self.latest

    def load(self, content: Any) -> None:
        self.latest = content


class Days:
    """The local days with an event, as whole days since 1970; of the last 3,650 at least."""

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.days: set[int] = set()

    def add(self, event: FoldedEvent, value: Any, weight: int) -> None:
        self.days.add(local_day(event))

    def streak(self, today: int) -> int:
        """Days in a row up to ``today``, yesterday, or (after a journey west) tomorrow; at most ``longest``."""
        days = self.days
        day = today + 1
        while day not in days:
            day -= 1
            if day < today - 1:
                return 0
        first = day
        while first - 1 in days and day - first + 1 < self.longest:
            first -= 1
        return day - first + 1

    def trim(self, as_of: int) -> None:
        oldest = as_of // DAY_MS - self.longest - 3
        if len(self.days) > self.longest:
            self.days = {day for day in self.days if day >= oldest}

    def dump(self) -> Any:
        return sorted(self.days)

    def load(self, content: Any) -> None:
        self.days = set(content)


class LatestTexts:
    """The last ``n`` texts by (timestamp, sequence), oldest first; ``distinct``: each by its latest event."""

    def __init__(self, n: int, *, distinct: bool) -> None:
        self.n = n
        self.distinct = distinct
        self.entries: list[tuple[int, int, int, str]] = []  # the third number keeps the order within one event

    def add(self, event: FoldedEvent, value: Any, weight: int) -> None:
        entries = self.entries
        for place, text in enumerate(value):
            entry = (event.timestamp, event.sequence, place, text)
            if self.distinct:
                known = next((at for at, each in enumerate(entries) if each[3] == text), None)
                if known is not None:
                    if entry <= entries[known]:
                        continue
                    del entries[known]
            if not entries or entry > entries[-1]:
                entries.append(entry)
            else:
                insort(entries, entry)
            if len(entries) > self.n:
                del entries[0]

    def trim(self, as_of: int) -> None:
        pass

    def dump(self) -> Any:
        return self.entries

    def load(self, content: Any) -> None:
        self.entries = [tuple(entry) for entry in content]


class Sessions:
    """The events of a window as sessions."""

    def __init__(self, gap: int) -> None:
        self._gap = gap
        self.retention = 0
        self.timestamps: list[int] = []
        self._begins: list[int] = []  # the first timestamp of each session

    def need(self, window: int) -> None:
        """Ask, before the first event, that a window of ``window`` ms can be read."""
        self.retention = max(self.retention, window)

    def add(self, event: FoldedEvent, value: Any, weight: int) -> None:
        # Two events of the same millisecond are in the same session in either order: the sequence does not matter.
        timestamp, timestamps = event.timestamp, self.timestamps
        if not timestamps or timestamp >= timestamps[-1]:
            if not timestamps or timestamp - timestamps[-1] > self._gap:
                self._begins.append(timestamp)
            timestamps.append(timestamp)
            return
        at = bisect_right(timestamps, timestamp)
        before = timestamps[at - 1] if at else None
        if before != timestamp:  # else it changes nothing
            self._note(timestamp, begins=before is None or timestamp - before > self._gap)
            self._note(timestamps[at], begins=timestamps[at] - timestamp > self._gap)
        timestamps.insert(at, timestamp)

    def remove(self, event: FoldedEvent, value: Any, weight: int) -> None:
        timestamp, timestamps = event.timestamp, self.timestamps
        at = bisect_left(timestamps, timestamp)
        del timestamps[at]
        after = timestamps[at] if at < len(timestamps) else None
        if after != timestamp:  # else the session that it begins still begins then
            self._note(timestamp, begins=False)
            if after is not None:
                self._note(after, begins=not at or after - timestamps[at - 1] > self._gap)

    def index(self, as_of: int, window: int) -> int:
        """How many sessions there were in the window."""
        low = bisect_right(self.timestamps, as_of - window)
        if low == len(self.timestamps):
            return 0
        return 1 + len(self._begins) - bisect_right(self._begins, self.timestamps[low])

    def current(self, as_of: int, window: int) -> tuple[int, int]:
        """Of the session that is going on: (ms from its first to its latest event, number of events); else zeros."""
        timestamps = self.timestamps
        if not timestamps or as_of - timestamps[-1] > self._gap:
            return 0, 0
        begin = self._begins[-1] if self._begins else timestamps[0]
        first = max(bisect_left(timestamps, begin), bisect_right(timestamps, as_of - window))
        return timestamps[-1] - timestamps[first], len(timestamps) - first

    def trim(self, as_of: int) -> None:
        old = bisect_right(self.timestamps, as_of - self.retention)
        if old:
            del self._begins[: bisect_right(self._begins, self.timestamps[old - 1])]
            del self.timestamps[:old]

    def dump(self) -> Any:
        return self.timestamps

    def load(self, content: Any) -> None:
        self.timestamps = content
        self._begins = [
            after
            for before, after in zip([None, *content], content, strict=False)
            if before is None or after - before > self._gap
        ]

    def _note(self, timestamp: int, *, begins: bool) -> None:
        """Whether a session begins at ``timestamp``."""
        at = bisect_left(self._begins, timestamp)
        if (self._begins[at : at + 1] == [timestamp]) is begins:
            return
        if begins:
            self._begins.insert(at, timestamp)
        else:
            del self._begins[at]


class Decayed:
    """Σ value · 2^(−age / half_life), exactly: for each half-life since 1970 an integer sum.

    An event at ``t = n·h + r`` adds ``round(value · 2^(r/h) · 2³²)`` to bucket n; a reading shifts and adds the
    buckets of the last 32 half-lives as integers and multiplies once.
    """

    def __init__(self, half_life: int) -> None:
        self.half_life = half_life
        self._buckets: dict[int, int] = {}

    def add(self, event: FoldedEvent, value: Any, weight: int) -> None:
        bucket, part = bucketed(event.timestamp, self.half_life, (1 if value is None else value) * weight)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + part

    def at(self, as_of: int) -> float:
        """The sum at ``as_of``, in units of the value."""
        now, rest = divmod(as_of, self.half_life)
        return shifted(self._buckets, now) / UNIT * decayed(rest, self.half_life)

    def trim(self, as_of: int) -> None:
        oldest = as_of // self.half_life - HALF_LIVES
        for bucket in [bucket for bucket in self._buckets if bucket < oldest]:
            del self._buckets[bucket]

    def dump(self) -> Any:
        return list(self._buckets.items())

    def load(self, content: Any) -> None:
        self._buckets = dict(content)


class DecayedWeights:
    """Text → decayed weight, as an integer in a unit that is the same for all texts: for shares and orders."""

    def __init__(self, half_life: int) -> None:
        self.half_life = half_life
        self._buckets: dict[str, dict[int, int]] = {}
        self._touched: set[str] = set()
        self._now: int | None = None
        self.weights: dict[str, int] = {}
        """As of the last ``move``."""

    def add(self, event: FoldedEvent, value: Any, weight: int) -> None:
        bucket, part = bucketed(event.timestamp, self.half_life, weight)
        for text in value:
            buckets = self._buckets.setdefault(text, {})
            buckets[bucket] = buckets.get(bucket, 0) + part
            self._touched.add(text)

    def move(self, as_of: int) -> None:
        """Bring ``weights`` up to ``as_of``. They change with an event, and with every half-life that passes."""
        now = as_of // self.half_life
        changed = self._touched if now == self._now else self._buckets
        for text in changed:
            self.weights[text] = shifted(self._buckets[text], now)
        self._now = now
        self._touched = set()

    def trim(self, as_of: int) -> None:
        oldest = as_of // self.half_life - HALF_LIVES
        for text, buckets in list(self._buckets.items()):
            for bucket in [bucket for bucket in buckets if bucket < oldest]:
                del buckets[bucket]
            if not buckets:
                del self._buckets[text]
                self.weights.pop(text, None)
                self._touched.discard(text)

    def dump(self) -> Any:
        return {text: list(buckets.items()) for text, buckets in self._buckets.items()}

    def load(self, content: Any) -> None:
        self._buckets = {text: dict(buckets) for text, buckets in content.items()}
        self._now = None


def local_day(event: FoldedEvent) -> int:
    """The day of an event in its own time zone, as whole days since 1970."""
    return (event.timestamp + event.utc_offset_minutes * 60_000) // DAY_MS


def bucketed(timestamp: int, half_life: int, value: int) -> tuple[int, int]:
    """The half-life that ``timestamp`` falls into, and ``value`` as of its beginning … end, in 2⁻³² units."""
    bucket, rest = divmod(timestamp, half_life)
    return bucket, round(value * exp2_fraction(rest / half_life) * (1 << _HALF_LIFE_BITS))


def shifted(buckets: dict[int, int], now: int) -> int:
    """Σ bucket · 2^(−age) over the last 32 half-lives, in units of 2⁻⁶⁴."""
    oldest = now - HALF_LIVES
    return sum(part << (HALF_LIVES + bucket - now) for bucket, part in buckets.items() if oldest <= bucket <= now)
