"""Features of candidates: of the items themselves, and of a profile's events with them, for a whole array at once.

What items have is looked up in tables, with a row for each item of the catalogue and a last one for items that it does
not have; a row is made when its item is first asked for. What a profile has for the candidates is read as a note of
plain values, so that the notes of several readings become one array.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from nearhand.features import views as schema
from nearhand.features.arithmetic import LARGEST
from nearhand.features.compile import (
    UNITS_MS,
    Column,
    Frame,
    Plan,
    States,
    compile_scalar,
    compile_shares,
    weights_state,
    windowed,
)
from nearhand.features.operands import texts
from nearhand.features.state import TextStamps
from nearhand.features.steps import apply_steps_to_array, codes, encoder, is_integer
from nearhand.records import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

Table: TypeAlias = "Callable[[NDArray[np.intp]], NDArray[Any]]"
"""Some rows of a table: intp [n], −1 for the last → [n], or [n, width]."""

_OFTEN = 8
_ABSENT = repeat(-1)
_NONE = repeat(0)
_NEVER = repeat(np.nan)


class Candidates:
    """Whose features are asked for.

    Attributes:
        item_ids: one per candidate; distinct: the same, each once.
        rows: intp [n], their rows of the catalogue; −1 for an item it does not have.
    """

    def __init__(self, item_ids: tuple[str, ...], rows: Mapping[str, int] | NDArray[np.int32]) -> None:
        """
        Args:
            rows: item id → row, or those of the items.
        """
        self.item_ids = item_ids
        self.distinct = frozenset(item_ids)
        if isinstance(rows, np.ndarray):
            self.rows = rows.astype(np.intp)
        else:
            self.rows = np.fromiter(map(rows.get, item_ids, _ABSENT), np.intp, len(item_ids))
        self._taken: dict[Table, NDArray[Any]] = {}

    def take(self, table: Table) -> NDArray[Any]:
        """The candidates' rows of a table; not to be changed."""
        found = self._taken.get(table)
        if found is None:
            found = self._taken[table] = table(self.rows)
        return found


class KeptRows:
    """A table whose rows are kept once they were made. Safe for threads.

    A first list waits for its hundred of ten thousand rows only. After some lists with new rows all others are made,
    so that no later one makes any.
    """

    def __init__(self, make: Table, items: int, width: int, dtype: str) -> None:
        self._make = make
        self._made = 0  # how often
        self._known = np.zeros(items + 1, np.bool_)
        self._rows = np.zeros((items + 1, width), dtype)

    def __call__(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """See :data:`Table`."""
        known = self._known.take(rows)
        if np.count_nonzero(known) < len(rows):
            self._made += 1
            new = rows.compress(~known)
            if self._made >= _OFTEN:
                every = np.arange(-1, len(self._known) - 1)
                new = every.compress(~self._known.take(every))
            self._rows[new] = self._make(new)
            self._known[new] = True  # and not before: another thread may look
        return self._rows.take(rows, axis=0)


Note: TypeAlias = Callable[[Frame, Candidates], Any]
"""Reads what a profile has for the candidates."""


@dataclass(frozen=True)
class ItemOutput:
    """A view of candidates as a column.

    Attributes:
        table: of a view of the items alone, its values, of the column's dtype, [n, width].
        bind, values: of another one: what reads a note, and what makes an array of the notes of m readings: [m, n],
            within the range of the column's dtype.
        derived: of one whose note follows from a view of the profile: that view, and what makes the note of its values.
    """

    dtype: Literal["float32", "int32"]
    width: int
    table: Table | None = None
    bind: Callable[[States], Note] | None = None
    values: Callable[[Candidates, Sequence[Any]], NDArray[np.float64]] | None = None
    derived: tuple[schema.View, Callable[[list[float]], Any]] | None = None


class ItemColumns:
    """All columns of candidates.

    Attributes:
        derived: name → :attr:`ItemOutput.derived`, of the columns that are not of the items alone, in the order of
            the notes.
    """

    def __init__(self, columns: Sequence[Column], outputs: Sequence[ItemOutput], items: int) -> None:
        """
        Args:
            items: how many the catalogue has.
        """
        pairs = list(zip(columns, outputs, strict=True))
        self.derived = {column.name: output.derived for column, output in pairs if output.table is None}
        self._read = [
            (column, output.bind, output.values)
            for column, output in pairs
            if output.bind is not None and output.values is not None
        ]
        self._widths = {
            dtype: sum(column.width for column in columns if column.dtype == dtype) for dtype in ("float32", "int32")
        }
        self._fixed = {
            dtype: KeptRows(self._making(pairs, dtype), items, width, dtype) for dtype, width in self._widths.items()
        }

    def bind(self, states: States) -> list[Note]:
        """What reads the notes, one for each view that is not of the items alone."""
        return [bind(states) for _, bind, _ in self._read]

    def arrays(
        self, candidates: Candidates, notes: Sequence[Sequence[Any]]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """The columns of m readings: float32 [m, n, item_floats] and int32 [m, n, item_ints].

        Args:
            notes: of each reading, those of all views.
        """
        shape = (len(notes), len(candidates.item_ids))
        floats = np.empty((*shape, self._widths["float32"]), np.float32)
        ints = np.empty((*shape, self._widths["int32"]), np.int32)
        for target, table in ((floats, self._fixed["float32"]), (ints, self._fixed["int32"])):
            if target.size:
                target[:] = candidates.take(table)
        if notes:
            for (column, _, values), of_view in zip(self._read, zip(*notes, strict=True), strict=False):
                into: NDArray[Any] = floats if column.dtype == "float32" else ints
                into[:, :, column.offset] = values(candidates, of_view)
        return floats, ints

    def _making(self, pairs: Sequence[tuple[Column, ItemOutput]], dtype: str) -> Table:
        """What makes rows of all columns of a dtype; 0 where the column is not of the items alone."""
        fixed = [
            (column, output.table) for column, output in pairs if output.table is not None and column.dtype == dtype
        ]

        def make(rows: NDArray[np.intp]) -> NDArray[Any]:
            found = np.zeros((len(rows), self._widths[dtype]), dtype)
            for column, table in fixed:
                found[:, column.offset : column.offset + column.width] = table(rows)
            return found

        return make


def compile_item_output(plan: Plan, view: Any) -> ItemOutput:
    """How a view of candidates becomes a column."""
    match view:
        case schema.Item() if view.encode is not None:
            return _item_codes(plan, view)
        case schema.Item():
            return _item_number(plan, view)
        case schema.ItemAffinity():
            return _affinity(plan, view)
        case schema.ItemCount():
            return _count(plan, view)
        case schema.ItemTimeSince():
            return _time_since(plan, view)
        case schema.ItemDifference():
            return _difference(plan, view)
        case _:
            raise TypeError(f"{type(view).__name__} is not a view of candidates")


def _stepped(
    view: Any,
    bind: Callable[[States], Note],
    values: Callable[[Candidates, Sequence[Any]], NDArray[np.float64]],
    derived: tuple[schema.View, Callable[[list[float]], Any]] | None = None,
) -> ItemOutput:
    if not view.then:
        return ItemOutput("float32", 1, bind=bind, values=values, derived=derived)
    apply = apply_steps_to_array(view.then)
    if is_integer(view.then):
        return ItemOutput(
            "int32", 1, bind=bind, values=lambda candidates, notes: apply(values(candidates, notes)), derived=derived
        )
    return ItemOutput(
        "float32",
        1,
        bind=bind,
        values=lambda candidates, notes: _within(apply(values(candidates, notes))),
        derived=derived,
    )


def _within(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Within float32."""
    return np.minimum(np.maximum(numbers, -LARGEST), LARGEST)


def _item_number(plan: Plan, view: schema.Item) -> ItemOutput:
    integer, apply = is_integer(view.then), apply_steps_to_array(view.then)

    def table(rows: NDArray[np.intp]) -> NDArray[Any]:
        numbers = apply(_numbers(plan, view.of, float(view.default), rows))[:, None]
        return numbers.astype(np.int32) if integer else _within(numbers).astype(np.float32)

    return ItemOutput("int32" if integer else "float32", 1, table)


def _numbers(plan: Plan, operand: str, default: float, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """A column of the catalogue: float64 [n]."""
    numbers = plan.items.numbers(operand.removeprefix("item."), rows)
    numbers[np.isnan(numbers)] = default
    return numbers


def _item_codes(plan: Plan, view: schema.Item) -> ItemOutput:
    assert view.encode is not None
    encode, n, name = encoder(view.encode, plan.program), view.n, view.of.removeprefix("item.")

    def table(rows: NDArray[np.intp]) -> NDArray[np.int32]:
        cells = plan.items.columns[name]
        found = [
            [encode(text) for text in ((texts(cells[row]) if row >= 0 else None) or ())[:n]] for row in rows.tolist()
        ]
        return np.array([codes + [0] * (n - len(codes)) for codes in found], np.int32)

    return ItemOutput("int32", n, table)


def _affinity(plan: Plan, view: schema.ItemAffinity) -> ItemOutput:
    affinity = plan.program.view(view.affinity)
    assert isinstance(affinity, schema.Affinity)
    shares_of = compile_shares(plan, affinity)
    combine = view.combine
    # Beyond the last text is the share of no text: 0, or for a maximum less than any share.
    beyond = [-np.inf if combine == "max" else 0.0]

    @lru_cache(maxsize=1)
    def tables() -> _Places:
        return _places(plan, affinity)

    def places(rows: NDArray[np.intp]) -> NDArray[np.intp]:
        known = tables()
        return known.places.take(known.cells.take(rows), axis=0)

    def counts(rows: NDArray[np.intp]) -> NDArray[np.float64]:
        known = tables()
        return np.maximum(known.counts.take(known.cells.take(rows)), 1.0)

    def bind(states: States) -> Note:
        shares = shares_of(states)
        return lambda frame, candidates: shares(frame) + beyond

    def values(candidates: Candidates, notes: Sequence[list[float]]) -> NDArray[np.float64]:
        chosen = np.array(notes).take(candidates.take(places), axis=1)
        if combine == "max":
            greatest = chosen.max(axis=2)
            return np.where(np.isneginf(greatest), 0.0, greatest)
        total = chosen[:, :, 0] + 0.0
        for column in range(1, chosen.shape[2]):  # one after the other: numpy's own sum may take another order
            total += chosen[:, :, column]
        if combine == "mean":
            total /= candidates.take(counts)
        return total

    return _stepped(view, bind, values, (affinity, lambda shares: shares + beyond))


@dataclass(frozen=True, eq=False)
class _Places:
    """The texts of items in a vocabulary.

    Attributes:
        cells: intp [items + 1], which of the different cells each item has; −1 for the last: it is none.
        places: of each of these, and last of none, the places of its known texts, filled up with the vocabulary's
            length: intp [cells + 1, most texts of a cell]; counts: how many they are.
    """

    cells: NDArray[np.intp]
    places: NDArray[np.intp]
    counts: NDArray[np.intp]


def _places(plan: Plan, affinity: schema.Affinity) -> _Places:
    """Of each item of the catalogue."""
    known = {text: code - 2 for text, code in codes(plan.program.vocabulary(affinity.vocabulary)).items()}
    groups = plan.items.grouped(affinity.of.removeprefix("item."))
    found = [[known[text] for text in texts(cell) or () if text in known] for cell in groups.distinct]
    found.append([])
    counts = np.fromiter(map(len, found), np.intp, len(found))
    places = np.full((len(found), max(1, counts.max())), len(known), np.intp)
    places[np.arange(places.shape[1]) < counts[:, None]] = [place for each in found for place in each]
    return _Places(np.concatenate((groups.places, [-1])), places, counts)


def _count(plan: Plan, view: schema.ItemCount) -> ItemOutput:
    index, window = weights_state(plan, view, None, of="item_id")

    def bind(states: States) -> Note:
        state = windowed(states[index], window)

        def note(frame: Frame, candidates: Candidates) -> list[int] | None:
            state.move(frame.as_of)
            if state.counts.keys().isdisjoint(candidates.distinct):  # as a rule: what was met is no candidate
                return None
            return list(map(state.counts.get, candidates.item_ids, _NONE))

        return note

    return _stepped(view, bind, lambda candidates, notes: _filled(notes, len(candidates.item_ids), 0.0))


def _time_since(plan: Plan, view: schema.ItemTimeSince) -> ItemOutput:
    unit, default = UNITS_MS[view.unit], float(view.default)
    index = plan.state(("text stamps",), TextStamps, view, text="item_id")

    def bind(states: States) -> Note:
        stamps: TextStamps = states[index]

        def note(frame: Frame, candidates: Candidates) -> tuple[int, list[float] | None]:
            if stamps.latest.keys().isdisjoint(candidates.distinct):
                return frame.as_of, None
            return frame.as_of, list(map(stamps.latest.get, candidates.item_ids, _NEVER))

        return note

    def values(candidates: Candidates, notes: Sequence[tuple[int, list[float] | None]]) -> NDArray[np.float64]:
        stamped = [found for _, found in notes]
        if not any(stamped):
            return np.full((len(notes), len(candidates.item_ids)), default)
        # A time in ms is exact in a float64, and so is the difference of two.
        elapsed = np.array([[as_of] for as_of, _ in notes], np.float64)
        elapsed = elapsed - _filled(stamped, len(candidates.item_ids), np.nan)
        return np.where(np.isnan(elapsed), default, elapsed / unit)

    return _stepped(view, bind, values)


def _filled(notes: Sequence[list[float] | list[int] | None], count: int, nothing: float) -> NDArray[np.float64]:
    """[notes, count]: a note that is None stands for ``nothing`` throughout."""
    if not any(notes):
        return np.full((len(notes), count), nothing)
    absent = [nothing] * count
    return np.array([note or absent for note in notes], np.float64)


def _difference(plan: Plan, view: schema.ItemDifference) -> ItemOutput:
    subtrahend: Any = plan.program.view(view.minus)
    minus, default = compile_scalar(plan, subtrahend), float(view.default)

    numbers = KeptRows(lambda rows: _numbers(plan, view.of, np.nan, rows)[:, None], len(plan.items.rows), 1, "float64")

    def bind(states: States) -> Note:
        read = minus(states)
        return lambda frame, candidates: float(read(frame))

    def values(candidates: Candidates, notes: Sequence[float]) -> NDArray[np.float64]:
        difference = candidates.take(numbers)[:, 0] - np.array(notes)[:, None]
        return _within(np.where(np.isnan(difference), default, difference))

    # The difference is to the number before the view's steps, which its column does not show.
    derived = None if subtrahend.then else (subtrahend, lambda values: values[0])
    return _stepped(view, bind, values, derived)
