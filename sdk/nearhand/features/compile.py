"""From a program to what runs: which state each event feeds, and how each view of a profile is read.

Views that read the same events in the same way share their state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from typing import Any, Literal, TypeAlias

from nearhand.features import views as schema
from nearhand.features.arithmetic import decayed
from nearhand.features.items import ItemTable
from nearhand.features.operands import NumberOf, Test, TextsOf, local_hour, number_of, test_of, texts, texts_of, weekday
from nearhand.features.parts import MAX_DAYS, Condition, milliseconds
from nearhand.features.program import Program
from nearhand.features.state import (
    DAY_MS,
    Days,
    Decayed,
    DecayedWeights,
    LatestTexts,
    Rows,
    Sessions,
    Stamps,
    State,
    Totals,
    Weights,
    WindowWeights,
)
from nearhand.features.steps import apply_steps, bound_number, codes, encoder, is_integer
from nearhand.records import dataclass

_WEIGHT_SCALE = 10**6
UNITS_MS = {"seconds": 1_000, "minutes": 60_000, "hours": 3_600_000, "days": DAY_MS}

# sin and cos of 2π·k/24 and 2π·k/7, written out because a C library's differ in the last bit.
_SIN_24 = (0.0, 0.25881904510252074, 0.5, 0.7071067811865476, 0.8660254037844386, 0.9659258262890683)
_SIN_7 = (0.0, 0.7818314824680298, 0.9749279121818236, 0.4338837391175581)
_COS_7 = (1.0, 0.6234898018587336, -0.2225209339563144, -0.9009688679024191)


class Frame:
    """What a reading is made for.

    Attributes:
        as_of: the instant, ms.
        pushed: view name → values, float [width]; only what has not expired.
        shares: view name → the shares that were read already: several views may rest on them.
    """

    __slots__ = ("as_of", "context", "pushed", "shares", "utc_offset_minutes")

    def __init__(
        self, as_of: int, utc_offset_minutes: int, context: Mapping[str, Any], pushed: Mapping[str, Sequence[float]]
    ) -> None:
        self.as_of = as_of
        self.utc_offset_minutes = utc_offset_minutes
        self.context = context
        self.pushed = pushed
        self.shares: dict[str, list[float]] = {}


@dataclass(frozen=True)
class Column:
    """Where a view's values lie.

    Attributes:
        name: the view's, or that and ``.mask``.
        of: ``profile``: once per reading; ``item``: once for each candidate.
        dtype: which of the two arrays holds it.
        width: how many places it takes; offset: the first of them.
    """

    name: str
    of: Literal["profile", "item"]
    dtype: Literal["float32", "int32"]
    width: int
    offset: int


@dataclass(frozen=True)
class FeaturePlace:
    """Where a feature lies in :class:`~nearhand.features.FeatureVector` or, ``of`` an item, in ``CandidateFeatures``.

    Attributes:
        index: in its ``floats`` or its ``ints``, as ``dtype`` says.
    """

    of: Literal["profile", "item"]
    dtype: Literal["float32", "int32"]
    index: int


Read: TypeAlias = Callable[[Frame], float]
Emit: TypeAlias = Callable[[Frame, list[float], list[int]], None]
States: TypeAlias = Sequence[Any]


@dataclass(frozen=True)
class Feed:
    """How an event type feeds one state."""

    state: int
    tests: tuple[Test, ...]
    read: NumberOf | TextsOf | None
    weight: int


class Plan:
    """The states that a program needs, gathered view by view.

    Attributes:
        makers: one for each state, called once for each profile.
        feeds: event type → what it feeds.
        properties, context_keys: the first parts of the paths that are read of events.
        item_columns: the columns of the catalogue that are read of events' items: state depends on them.
    """

    def __init__(self, program: Program, items: ItemTable) -> None:
        self.program = program
        self.items = items
        self.makers: list[Callable[[], State]] = []
        self.feeds: dict[str, list[Feed]] = {}
        self.properties: set[str] = set()
        self.context_keys: set[str] = set()
        self.item_columns: set[str] = set()
        self._known: dict[Any, int] = {}
        self._needs: dict[int, list[Callable[[Any], None]]] = {}

    def state(
        self,
        key: tuple[Any, ...],
        make: Callable[[], State],
        view: Any,
        *,
        number: str | None = None,
        decimals: int = 0,
        text: str | None = None,
        weights: Mapping[str, Any] | None = None,
        need: Callable[[Any], None] | None = None,
    ) -> int:
        """The index of a state fed by the view's events.

        Args:
            key: what tells the state from others beside what feeds it.
            number, decimals, text: the operand.
            weights: event type → weight.
            need: called with the state when it is made: what this view asks of a shared state.
        """
        scaled = {event: round(weight * _WEIGHT_SCALE) for event, weight in (weights or {}).items()}
        default = _WEIGHT_SCALE if weights is not None else 1
        fed_by = (frozenset(view.events), view.where, number, decimals, text, tuple(sorted(scaled.items())), default)
        index = self._known.get((key, fed_by))
        if index is None:
            index = self._known[key, fed_by] = len(self.makers)
            self.makers.append(make)
            read = self._operand(number, decimals, text)
            tests = tuple(self._test(condition) for condition in view.where)
            for event in view.events:
                self.feeds.setdefault(event, []).append(Feed(index, tests, read, scaled.get(event, default)))
        if need is not None:
            self._needs.setdefault(index, []).append(need)
        return index

    def make_states(self) -> list[State]:
        """Fresh states for one profile."""
        made = [make() for make in self.makers]
        for index, needs in self._needs.items():
            for need in needs:
                need(made[index])
        return made

    def _operand(self, number: str | None, decimals: int, text: str | None) -> NumberOf | TextsOf | None:
        operand = number if number is not None else text
        if operand is None:
            return None
        self._note(operand)
        return number_of(operand, decimals, self.items) if number is not None else texts_of(operand, self.items)

    def _test(self, condition: Condition) -> Test:
        self._note(condition.field)
        return test_of(condition, self.items)

    def _note(self, operand: str) -> None:
        where, _, path = operand.partition(".")
        first = path.partition(".")[0]
        if where == "properties":
            self.properties.add(first)
        elif where == "context":
            self.context_keys.add(first)
        elif where == "item":
            self.item_columns.add(path)


# --- one number of a profile -----------------------------------------------------------------------------------------


def compile_scalar(plan: Plan, view: Any) -> Callable[[States], Read]:  # noqa: PLR0911 - one return for each view
    """How the value of a view of one number, before its steps, is read: a function of the states."""
    match view:
        case schema.Count():
            return _count(plan, view)
        case schema.Aggregate():
            return _aggregate(plan, view)
        case schema.Distinct():
            index, window = weights_state(plan, view, None)
            return lambda states: _bind_distinct(windowed(states[index], window))
        case schema.Decay():
            half_life = milliseconds(view.half_life)
            decimals = view.decimals if view.value is not None else 0
            scale = float(10**decimals)
            index = plan.state(
                ("decay", half_life), lambda: Decayed(half_life), view, number=view.value, decimals=decimals
            )
            return lambda states: lambda frame: states[index].at(frame.as_of) / scale
        case schema.TimeSince():
            return _time_since(plan, view)
        case schema.Recency():
            half_life = milliseconds(view.half_life)
            index = plan.state(("stamps",), Stamps, view)
            return lambda states: _bind_recency(states[index], half_life)
        case schema.Streak():
            index = plan.state(("days",), lambda: Days(MAX_DAYS), view)
            return lambda states: _bind_streak(states[index])
        case schema.Session():
            return _session(plan, view)
        case schema.Ratio():
            over, under = (plan.program.view(name) for name in (view.numerator, view.denominator))
            return _ratio(compile_scalar(plan, over), compile_scalar(plan, under), float(view.default))
        case _:
            raise TypeError(f"{type(view).__name__} is not a view of one number")


def _count(plan: Plan, view: schema.Count) -> Callable[[States], Read]:
    if view.window is None:
        total = plan.state(("totals",), Totals, view)
        return lambda states: lambda frame: states[total].count
    window = milliseconds(view.window)
    index = plan.state(("rows",), Rows, view, need=lambda rows: rows.need(window))

    def bind(states: States) -> Read:
        rows: Rows = states[index]
        return lambda frame: len(rows.timestamps) - rows.since(frame.as_of - window)

    return bind


def _aggregate(plan: Plan, view: schema.Aggregate) -> Callable[[States], Read]:
    scale, default, op = 10**view.decimals, float(view.default), view.op
    if view.window is None:
        index = plan.state(("totals",), Totals, view, number=view.value, decimals=view.decimals)
        return lambda states: _bind_total(states[index], op, scale, default)
    window = milliseconds(view.window)
    index = plan.state(
        ("rows",),
        Rows,
        view,
        number=view.value,
        decimals=view.decimals,
        need=lambda rows: rows.need(window, sums=op in ("sum", "mean", "std"), squares=op == "std"),
    )
    return lambda states: _bind_window(states[index], op, window, scale, default)


def _bind_total(totals: Totals, op: str, scale: int, default: float) -> Read:
    def read(frame: Frame) -> float:
        if not totals.count:
            return default
        if op == "sum":
            return totals.sum / scale
        if op == "mean":
            return totals.sum / (totals.count * scale)
        if op == "std":
            return _deviation(totals.count, totals.sum, totals.squares, scale)
        extreme = totals.least if op == "min" else totals.greatest
        return default if extreme is None else extreme / scale

    return read


def _bind_window(rows: Rows, op: str, window: int, scale: int, default: float) -> Read:
    def read_sum(frame: Frame) -> float:
        sums: Any = rows.sums
        return (sums[-1] - sums[rows.since(frame.as_of - window)]) / scale  # type: ignore[no-any-return]

    def read_mean(frame: Frame) -> float:
        sums: Any = rows.sums
        low = rows.since(frame.as_of - window)
        count = len(rows.timestamps) - low
        return (sums[-1] - sums[low]) / (count * scale) if count else default

    def read_std(frame: Frame) -> float:
        sums: Any = rows.sums
        squares: Any = rows.squares
        low = rows.since(frame.as_of - window)
        count = len(rows.timestamps) - low
        return _deviation(count, sums[-1] - sums[low], squares[-1] - squares[low], scale) if count else default

    def read_extreme(frame: Frame) -> float:
        values = rows.values[rows.since(frame.as_of - window) :]
        return (min(values) if op == "min" else max(values)) / scale if values else default

    return {"sum": read_sum, "mean": read_mean, "std": read_std}.get(op, read_extreme)


def _deviation(count: int, total: int, squares: int, scale: int) -> float:
    """√(Σx²/n − (Σx/n)²), of the population; the radicand n·Σx² − (Σx)² is an exact integer."""
    return sqrt(count * squares - total * total) / (count * scale)


def weights_state(
    plan: Plan, view: Any, weights: Mapping[str, Any] | None, *, of: str | None = None
) -> tuple[int, int | None]:
    """The state of a view of texts in a window or over the whole history, and the window in ms."""
    of = of or view.of
    if view.window is None:
        return plan.state(("weights",), Weights, view, text=of, weights=weights), None
    window = milliseconds(view.window)
    index = plan.state(("rows",), Rows, view, text=of, weights=weights, need=lambda rows: rows.need(window))
    return index, window


def windowed(state: Any, window: int | None) -> Any:
    """What has ``move``, ``counts`` and ``weights`` for a state that :func:`weights_state` named."""
    return state if window is None else WindowWeights(state, window)


def _bind_distinct(weights: Any) -> Read:
    def read(frame: Frame) -> float:
        weights.move(frame.as_of)
        return len(weights.counts)

    return read


def _time_since(plan: Plan, view: schema.TimeSince) -> Callable[[States], Read]:
    unit, default, latest = UNITS_MS[view.unit], float(view.default), view.since == "latest"
    index = plan.state(("stamps",), Stamps, view)

    def bind(states: States) -> Read:
        stamps: Stamps = states[index]

        def read(frame: Frame) -> float:
            at = stamps.latest if latest else stamps.first
            return default if at is None else (frame.as_of - at) / unit

        return read

    return bind


def _bind_recency(stamps: Stamps, half_life: int) -> Read:
    def read(frame: Frame) -> float:
        return 0.0 if stamps.latest is None else decayed(frame.as_of - stamps.latest, half_life)

    return read


def _bind_streak(days: Days) -> Read:
    return lambda frame: days.streak((frame.as_of + frame.utc_offset_minutes * 60_000) // DAY_MS)


def _session(plan: Plan, view: schema.Session) -> Callable[[States], Read]:
    gap, window, measure = milliseconds(view.gap), milliseconds(view.window), view.measure
    index = plan.state(("sessions", gap), lambda: Sessions(gap), view, need=lambda sessions: sessions.need(window))

    def bind(states: States) -> Read:
        sessions: Sessions = states[index]

        def read(frame: Frame) -> float:
            if measure == "index":
                return sessions.index(frame.as_of, window)
            length, depth = sessions.current(frame.as_of, window)
            if measure == "depth":
                return depth
            if measure == "length":
                return length / 1000
            return length / (1000 * (depth - 1)) if depth > 1 else 0.0

        return read

    return bind


def _ratio(over: Callable[[States], Read], under: Callable[[States], Read], default: float) -> Callable[[States], Read]:
    def bind(states: States) -> Read:
        numerator, denominator = over(states), under(states)

        def read(frame: Frame) -> float:
            below = denominator(frame)
            return numerator(frame) / below if below else default

        return read

    return bind


# --- weights of texts ------------------------------------------------------------------------------------------------


def compile_weights(
    plan: Plan, view: schema.Affinity | schema.TopN
) -> Callable[[States], Callable[[int], dict[str, int]]]:
    """How a profile's weights are read: a function of the states, then of the instant: text → weight, integers."""
    weights = view.weights or {}
    if view.half_life is not None:
        half_life = milliseconds(view.half_life)
        index = plan.state(
            ("decayed", half_life), lambda: DecayedWeights(half_life), view, text=view.of, weights=weights
        )
        window = None
    else:
        index, window = weights_state(plan, view, weights)

    def bind(states: States) -> Callable[[int], dict[str, int]]:
        state = windowed(states[index], window)

        def read(as_of: int) -> dict[str, int]:
            state.move(as_of)
            return state.weights  # type: ignore[no-any-return]

        return read

    return bind


def compile_shares(plan: Plan, view: schema.Affinity) -> Callable[[States], Callable[[Frame], list[float]]]:
    """The shares of :class:`nearhand.features.views.Affinity`: a function of the states, then of the reading."""
    name, vocabulary = view.name, plan.program.vocabulary(view.vocabulary)
    places = {text: place for place, text in enumerate(vocabulary)}
    weights_of = compile_weights(plan, view)

    def bind(states: States) -> Callable[[Frame], list[float]]:
        weights = weights_of(states)

        def read(frame: Frame) -> list[float]:
            shares = frame.shares.get(name)
            if shares is None:
                shares = frame.shares[name] = [0.0] * len(vocabulary)
                # Of a large vocabulary a profile knows few texts.
                parts = [(text, weight) for text, weight in weights(frame.as_of).items() if weight and text in places]
                whole = sum([abs(weight) for _, weight in parts])
                for text, weight in parts:
                    shares[places[text]] = weight / whole
            return shares

        return read

    return bind


# --- columns of a profile --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Output:
    """A view of the profile as columns: (suffix, dtype, width) each, and what puts its values there."""

    columns: tuple[tuple[str, Literal["float32", "int32"], int], ...]
    bind: Callable[[States], Emit]


def compile_output(plan: Plan, view: Any) -> Output:  # noqa: PLR0911 - one return for each view
    """How a view of the profile becomes columns."""
    match view:
        case schema.Affinity():
            return _affinity_output(plan, view)
        case schema.TopN():
            return _top_n_output(plan, view)
        case schema.LastN():
            return _last_n_output(plan, view)
        case schema.LocalTime():
            return _local_time_output(view)
        case schema.Context():
            return _context_output(plan, view)
        case schema.Pushed():
            return _pushed_output(view)
        case _:
            return _scalar_output(compile_scalar(plan, view), view)


def _scalar_output(scalar: Callable[[States], Read], view: Any) -> Output:
    apply, integer = apply_steps(view.then), is_integer(view.then)

    def bind(states: States) -> Emit:
        read = scalar(states)

        def emit(frame: Frame, floats: list[float], ints: list[int]) -> None:
            value = read(frame)
            if apply is not None:
                value = apply(value)
            if integer:
                ints.append(int(value))
            else:
                floats.append(value)

        return emit

    return Output((("", "int32" if integer else "float32", 1),), bind)


def _affinity_output(plan: Plan, view: schema.Affinity) -> Output:
    shares_of = compile_shares(plan, view)

    def bind(states: States) -> Emit:
        shares = shares_of(states)

        def emit(frame: Frame, floats: list[float], ints: list[int]) -> None:
            floats.extend(shares(frame))

        return emit

    return Output((("", "float32", len(plan.program.vocabulary(view.vocabulary))),), bind)


def _top_n_output(plan: Plan, view: schema.TopN) -> Output:
    weights_of, n = compile_weights(plan, view), view.n
    known = codes(plan.program.vocabulary(view.vocabulary))

    def bind(states: States) -> Emit:
        weights = weights_of(states)

        def emit(frame: Frame, floats: list[float], ints: list[int]) -> None:
            found = [
                (-weight, known[text]) for text, weight in weights(frame.as_of).items() if text in known and weight > 0
            ]
            found.sort()
            _fill([code for _, code in found[:n]], n, floats, ints)

        return emit

    return Output((("", "int32", n), (".mask", "float32", n)), bind)


def _last_n_output(plan: Plan, view: schema.LastN) -> Output:
    n, encode = view.n, encoder(view.encode, plan.program)
    index = plan.state(("latest", n, view.distinct), lambda: LatestTexts(n, distinct=view.distinct), view, text=view.of)

    def bind(states: States) -> Emit:
        latest: LatestTexts = states[index]

        def emit(frame: Frame, floats: list[float], ints: list[int]) -> None:
            _fill([encode(entry[3]) for entry in reversed(latest.entries)], n, floats, ints)

        return emit

    return Output((("", "int32", n), (".mask", "float32", n)), bind)


def _fill(found: list[int], n: int, floats: list[float], ints: list[int]) -> None:
    padding = n - len(found)
    ints.extend(found)
    ints.extend([0] * padding)
    floats.extend([1.0] * len(found))
    floats.extend([0.0] * padding)


def _local_time_output(view: schema.LocalTime) -> Output:
    clock, cycle = (local_hour, _circle(24)) if view.op == "local_hour" else (weekday, _circle(7))
    cyclic = view.encoding == "cyclic"

    def emit(frame: Frame, floats: list[float], ints: list[int]) -> None:
        value = clock(frame.as_of, frame.utc_offset_minutes)
        if cyclic:
            floats.extend(cycle[value])
        else:
            floats.append(value)

    return Output((("", "float32", 2 if cyclic else 1),), lambda states: emit)


def _circle(steps: int) -> list[tuple[float, float]]:
    """(sin, cos) of 2π·k/steps for k = 0 … steps − 1; 24 or 7 steps."""
    if steps == 7:
        sines = [*_SIN_7, *(-value for value in reversed(_SIN_7[1:]))]
        return list(zip(sines, [*_COS_7, *reversed(_COS_7[1:])], strict=True))
    quarter = [*_SIN_24, 1.0]
    half = [*quarter, *reversed(quarter[1:-1])]
    sines = [*half, *(-value for value in half)]
    return [(sines[step], sines[(step + 6) % 24]) for step in range(24)]


def _context_output(plan: Plan, view: schema.Context) -> Output:
    key = view.key
    plan.context_keys.add(key)
    if view.encode is not None:
        encode = encoder(view.encode, plan.program)

        def emit_code(frame: Frame, floats: list[float], ints: list[int]) -> None:
            found = texts(frame.context.get(key))
            ints.append(encode(found[0] if found else None))

        return Output((("", "int32", 1),), lambda states: emit_code)
    default = float(view.default)

    def read(frame: Frame) -> float:
        value = bound_number(frame.context.get(key))
        return default if value is None else value

    return _scalar_output(lambda states: read, view)


def _pushed_output(view: schema.Pushed) -> Output:
    name, default = view.name, [float(view.default)] * view.width

    def emit(frame: Frame, floats: list[float], ints: list[int]) -> None:
        values = frame.pushed.get(name)
        floats.extend(default if values is None else values)

    return Output((("", "float32", view.width),), lambda states: emit)


def is_item_view(view: Any) -> bool:
    """Whether a view is about a candidate."""
    return isinstance(view, schema.ITEM_VIEWS)
