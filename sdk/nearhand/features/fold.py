"""The fold: a compiled program, and one profile's state under it.

Features at an instant T are a function of the events that are visible at T: recorded before T, and not in T's future.
Of these the ones of the latest epoch count: a reset begins a new one. The device folds events as they come, training
replays them from a file, and both run what is here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np

from nearhand.errors import ProgramError, UsageError
from nearhand.features.arithmetic import LARGEST
from nearhand.features.candidates import Candidates, ItemColumns, Note, compile_item_output
from nearhand.features.compile import (
    Column,
    Emit,
    FeaturePlace,
    Feed,
    Frame,
    Plan,
    compile_output,
    is_item_view,
)
from nearhand.features.items import ItemTable
from nearhand.features.program import Program
from nearhand.features.state import DAY_MS, State
from nearhand.hashing import sha256
from nearhand.records import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nearhand.features.event import FoldedEvent

STATE_FORMAT = 1
_TRIM_EVERY = 256
_SLACK_MS = DAY_MS
"""State is kept this much longer than the windows ask for, so that a clock that is set back a little costs nothing."""


@dataclass(frozen=True, eq=False)
class FeatureVector:
    """The profile's columns at an instant.

    Attributes:
        as_of: the instant, ms: what had been recorded before it is in the values.
        floats: float32 [program.floats]; ints: int32 [program.ints]. Where a view lies in them the program's columns
            say.
    """

    as_of: int
    floats: NDArray[np.float32]
    ints: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class CandidateFeatures:
    """The candidates' columns at an instant, one row for each: float32 [n, item_floats] and int32 [n, item_ints]."""

    as_of: int
    floats: NDArray[np.float32]
    ints: NDArray[np.int32]


class CompiledProgram:
    """A program and a catalogue, ready to fold any number of profiles. Make one with :func:`compile_program`.

    Attributes:
        columns: where every output view lies; those of the profile first.
        floats, ints: the lengths of a profile's arrays; item_floats, item_ints: those of a candidate's.
        properties, context_keys: the names, at the first level, that are read of events or requests.
        fingerprint: of the program and of what its state rests on: state of another one is useless.
        pushed: the names and widths of the views that are pushed from outside.
        item_columns: makes the candidates' arrays.
    """

    def __init__(self, program: Program, items: ItemTable) -> None:
        self.program = program
        self.items = items
        plan = Plan(program, items)
        chosen = [program.view(name) for name in program.outputs] if program.outputs is not None else program.views
        self._outputs = [(view, compile_output(plan, view)) for view in chosen if not is_item_view(view)]
        self._item_outputs = [(view, compile_item_output(plan, view)) for view in chosen if is_item_view(view)]
        self.columns = tuple(self._columns())
        of_items = [column for column in self.columns if column.of == "item"]
        self.item_columns = ItemColumns(of_items, [output for _, output in self._item_outputs], len(items.rows))
        self.floats, self.ints = self._length("profile", "float32"), self._length("profile", "int32")
        self.item_floats, self.item_ints = self._length("item", "float32"), self._length("item", "int32")
        self.properties = frozenset(plan.properties)
        self.context_keys = frozenset(plan.context_keys)
        self.fingerprint = f"{STATE_FORMAT}-{program.digest}-{items.digest(sorted(plan.item_columns))}"
        self.pushed = {view.name: view.width for view in program.views if hasattr(view, "width")}
        self.feeds: Mapping[str, Sequence[Feed]] = plan.feeds
        self.make_states = plan.make_states

    @cached_property
    def places(self) -> Mapping[str, FeaturePlace]:
        """The columns of width 1, and each place of the others as ``NAME.PLACE``, in order: where their values lie."""
        return {
            column.name if column.width == 1 else f"{column.name}.{place}": FeaturePlace(
                column.of, column.dtype, column.offset + place
            )
            for column in self.columns
            for place in range(column.width)
        }

    def bind(self, states: Sequence[Any]) -> list[Emit]:
        """What puts each view's values into the arrays, in the order of the columns."""
        return [output.bind(states) for _, output in self._outputs]

    def column(self, name: str) -> Column:
        """The column of that name.

        Raises:
            UsageError: there is none.
        """
        found = next((column for column in self.columns if column.name == name), None)
        if found is None:
            known = ", ".join(column.name for column in self.columns)
            raise UsageError(f"{name!r} is not a column of {self.program.name}", remedy=f"use one of {known}")
        return found

    def _columns(self) -> Iterable[Column]:
        used = {"float32": 0, "int32": 0}
        for view, output in self._outputs:
            for suffix, dtype, width in output.columns:
                yield Column(view.name + suffix, "profile", dtype, width, used[dtype])
                used[dtype] += width
        used = {"float32": 0, "int32": 0}
        for view, item_output in self._item_outputs:
            yield Column(view.name, "item", item_output.dtype, item_output.width, used[item_output.dtype])
            used[item_output.dtype] += item_output.width

    def _length(self, of: str, dtype: str) -> int:
        return sum(column.width for column in self.columns if (column.of, column.dtype) == (of, dtype))


def compile_program(program: Program, items: ItemTable) -> CompiledProgram:
    """Make a program ready for a catalogue.

    Raises:
        ProgramError: it reads columns that the catalogue does not have, or has in another kind.
    """
    from nearhand.features.catalogue import check_catalogue  # what was prepared of a bundle was checked then

    check_catalogue(program, items)
    return CompiledProgram(program, items)


def visible_from(event: FoldedEvent) -> int:
    """The first instant whose features may see the event, ms: it has been recorded before, and has happened."""
    return max(event.recorded_at + 1, event.timestamp)


_Pending: TypeAlias = "tuple[int, int, int, FoldedEvent]"
"""From when on an event is visible, its sequence number, how many were offered before it, so that events, which have no
order, are never compared; and the event."""


class FeatureFold:
    """One profile's state. Not safe for several threads at once.

    Attributes:
        visible_from: the instant from which all that was folded is visible, ms; nothing earlier can be read.
        events: how many events were folded, pending ones not counted.
    """

    def __init__(self, program: CompiledProgram) -> None:
        self.program = program
        self.visible_from = 0
        self.events = 0
        self._trimmed_at = 0
        self._pending: list[_Pending] = []
        self._offered = 0
        self._candidates = Candidates((), {})
        self._begin(0)

    @property
    def earliest(self) -> int:
        """The earliest instant that can still be read, ms."""
        return max(self.visible_from, self._trimmed_at)

    @property
    def newest_epoch_from(self) -> int:
        """From when on an event of the latest epoch that is known is visible, ms."""
        newest = max((event.epoch for *_, event in self._pending), default=self._epoch)
        if newest <= self._epoch:
            return 0
        return min(at for at, _, _, event in self._pending if event.epoch == newest)

    @property
    def pending(self) -> int:
        """How many events are known and not yet visible: they lie ahead of the clock."""
        return len(self._pending)

    def offer(self, event: FoldedEvent) -> None:
        """Take note of an event; it is folded once a reading is late enough to see it."""
        from heapq import heappush  # as a rule an app starts with all of its events folded

        heappush(self._pending, (visible_from(event), event.sequence, self._offered, event))
        self._offered += 1

    def advance(self, as_of: int) -> None:
        """Fold what is visible at ``as_of``, ms."""
        pending = self._pending
        if not (pending and pending[0][0] <= as_of):
            return
        from heapq import heappop  # as above

        while pending and pending[0][0] <= as_of:
            at, _, _, event = heappop(pending)
            self.visible_from = max(self.visible_from, at)
            self._fold(event)
            if self.events % _TRIM_EVERY == 0:
                self._trim(at)

    def read(
        self,
        as_of: int,
        utc_offset_minutes: int = 0,
        context: Mapping[str, Any] | None = None,
        pushed: Mapping[str, Sequence[float]] | None = None,
    ) -> FeatureVector:
        """The profile's features.

        Args:
            as_of: the instant, ms; what it sees is folded first.
            utc_offset_minutes: local time minus UTC then.
            context: the situation of the request.
            pushed: view name → values.

        Raises:
            UsageError: ``as_of`` is before ``earliest``, or pushed values are not as many as their view is wide.
        """
        frame = self._frame(as_of, utc_offset_minutes, context, pushed)
        floats: list[float] = []
        ints: list[int] = []
        for emit in self._emitters:
            emit(frame, floats, ints)
        return FeatureVector(as_of, to_float32(floats), np.array(ints, np.int32))

    def candidates(
        self,
        as_of: int,
        item_ids: Sequence[str],
        utc_offset_minutes: int = 0,
        context: Mapping[str, Any] | None = None,
        pushed: Mapping[str, Sequence[float]] | None = None,
        rows: NDArray[np.int32] | None = None,
    ) -> CandidateFeatures:
        """The features of candidates; an item that the catalogue does not have gets each view's default.

        Args:
            rows: the items' of the catalogue, where they are known.

        Raises:
            UsageError: ``as_of`` is before ``earliest``.
        """
        frame = self._frame(as_of, utc_offset_minutes, context, pushed)
        found = self._found(item_ids, rows)
        floats, ints = self.program.item_columns.arrays(found, [[note(frame, found) for note in self._notes]])
        return CandidateFeatures(as_of, floats[0], ints[0])

    def dump(self) -> bytes:
        """All of the state, for ``load``."""
        content = {
            "fingerprint": self.program.fingerprint,
            "visible_from": self.visible_from,
            "events": self.events,
            "trimmed_at": self._trimmed_at,
            "epoch": self._epoch,
            "states": [state.dump() for state in self._states],
            "pending": [_plain(event) for *_, event in sorted(self._pending)],
        }
        data = json.dumps(content, separators=(",", ":")).encode()
        return sha256(data).digest() + data

    @classmethod
    def load(cls, program: CompiledProgram, data: bytes) -> Self:
        """The fold that gave ``data``.

        Raises:
            ProgramError: the state is of another program or catalogue, or is damaged.
        """
        fold = cls(program)
        remedy = "fold the events again"
        try:
            if sha256(data[32:]).digest() != data[:32]:
                raise ProgramError("is damaged", place="feature state", remedy=remedy)
            content = json.loads(data[32:])
            if content["fingerprint"] != program.fingerprint:
                raise ProgramError("is of another program", place="feature state", remedy=remedy)
            fold.visible_from, fold.events = content["visible_from"], content["events"]
            fold._trimmed_at = content["trimmed_at"]
            fold._epoch = content["epoch"]
            for state, dumped in zip(fold._states, content["states"], strict=True):
                state.load(dumped)
            for fields in content["pending"]:
                fold.offer(_event(fields))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProgramError(f"is damaged ({error})", place="feature state", remedy=remedy) from error
        return fold

    def _begin(self, epoch: int) -> None:
        self._epoch = epoch
        self._states = self._make_states()
        self._feeds = {
            event: [(self._states[feed.state].add, feed.tests, feed.read, feed.weight) for feed in feeds]
            for event, feeds in self.program.feeds.items()
        }
        self._emitters = self.program.bind(self._states)
        self._notes: list[Note] = self.program.item_columns.bind(self._states)

    def _make_states(self) -> Sequence[State]:
        return self.program.make_states()

    def _found(self, item_ids: Sequence[str], rows: NDArray[np.int32] | None = None) -> Candidates:
        """Candidates are often asked for again, and then known."""
        ids = tuple(item_ids)
        if ids != self._candidates.item_ids:
            self._candidates = Candidates(ids, self.program.items.rows if rows is None else rows)
        return self._candidates

    def _fold(self, event: FoldedEvent) -> None:
        if event.epoch != self._epoch:
            if event.epoch < self._epoch:
                return
            self._begin(event.epoch)
        self.events += 1
        for add, tests, read, weight in self._feeds.get(event.event, ()):
            if tests and not all(test(event) for test in tests):
                continue
            if read is None:
                add(event, None, weight)
            elif (value := read(event)) is not None:
                add(event, value, weight)

    def _frame(
        self,
        as_of: int,
        utc_offset_minutes: int,
        context: Mapping[str, Any] | None,
        pushed: Mapping[str, Sequence[float]] | None,
    ) -> Frame:
        if as_of < self.earliest:
            raise UsageError(
                f"the features of {as_of} can no longer be read",
                place="as_of",
                remedy=f"read at {self.earliest} or later, or fold the events again",
            )
        for name, values in (pushed or {}).items():
            if len(values) != (width := self.program.pushed.get(name, len(values))):
                raise UsageError(f"{len(values)} values", place=f"pushed[{name!r}]", remedy=f"give {width}")
        self.advance(as_of)
        return Frame(as_of, utc_offset_minutes, context or {}, pushed or {})

    def _trim(self, as_of: int) -> None:
        self._trimmed_at = max(self._trimmed_at, as_of - _SLACK_MS)
        for state in self._states:
            state.trim(self._trimmed_at)


def to_float32(numbers: Sequence[float]) -> NDArray[np.float32]:
    """The nearest float32; the largest for what is larger."""
    return np.minimum(np.maximum(np.array(numbers, np.float64), -LARGEST), LARGEST).astype(np.float32)


def _plain(event: FoldedEvent) -> list[Any]:
    from nearhand.features.event import ReplayEvent  # as a rule an app starts with none that is ahead of its clock

    return [getattr(event, name) for name in ReplayEvent._fields]


def _event(fields: Sequence[Any]) -> FoldedEvent:
    from nearhand.features.event import ReplayEvent  # as above

    return ReplayEvent(*fields)
