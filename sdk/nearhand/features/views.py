"""The views: one dataclass for each operator, told apart by ``op``. They are the schema of what a program may say.

An event is in a window at T if it is less than the window old: T − window < timestamp ≤ T.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, TypeAlias, get_args

from nearhand.bundle.fields import FieldError, Number
from nearhand.events.event import MAX_KEY_CHARACTERS, is_name
from nearhand.features.parts import (
    MAX_ITEM_TEXTS,
    ZERO,
    Condition,
    Encode,
    Step,
    check_attribute,
    check_decimals,
    check_duration,
    check_events,
    check_horizon,
    check_name,
    check_number,
    check_steps,
    check_text,
    check_weights,
    check_width,
    milliseconds,
)
from nearhand.records import dataclass

# --- views over events -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Count:
    """How many events there were in the window (none: ever)."""

    op: Literal["count"]
    name: str
    events: tuple[str, ...]
    window: str | None = None
    where: tuple[Condition, ...] = ()
    then: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        check_events(self.events)
        check_duration("window", self.window)
        check_steps(self.then)


@dataclass(frozen=True)
class Aggregate:
    """A statistic of a number over the window's events (none: ever).

    Values are clipped to ± 10¹⁵ and rounded to ``decimals`` places, ties to even; sums are exact from there on.
    ``std`` is that of the population.

    Attributes:
        default: for a window without a value; a sum is then 0.
    """

    op: Literal["sum", "mean", "min", "max", "std"]
    name: str
    events: tuple[str, ...]
    value: str
    decimals: int = 3
    window: str | None = None
    default: Number = ZERO
    where: tuple[Condition, ...] = ()
    then: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        check_events(self.events)
        check_number("value", self.value)
        check_decimals(self.decimals)
        check_duration("window", self.window)
        check_steps(self.then)
        if self.op == "sum" and self.default != 0:
            raise FieldError("default", f"is {self.default}, but the sum of nothing is 0", "leave it out")


@dataclass(frozen=True)
class Distinct:
    """How many different texts there were in the window (none: ever)."""

    op: Literal["distinct"]
    name: str
    events: tuple[str, ...]
    of: str
    window: str | None = None
    where: tuple[Condition, ...] = ()
    then: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        check_events(self.events)
        check_text("of", self.of)
        check_duration("window", self.window)
        check_steps(self.then)


@dataclass(frozen=True)
class Ratio:
    """One view's value over another's, before their steps; ``default`` where the denominator is 0."""

    op: Literal["ratio"]
    name: str
    numerator: str
    denominator: str
    default: Number = ZERO
    then: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        check_steps(self.then)


@dataclass(frozen=True)
class Decay:
    """Σ value · 2^(−age / half_life), each part to 2⁻³² of itself.

    Half-lives are counted from 1970: an event counts 0 once more than 32 of them have begun since its own began, that
    is at an age between 32 and 33 half-lives.

    Attributes:
        value: the number that each event adds; None: 1.
    """

    op: Literal["decay"]
    name: str
    events: tuple[str, ...]
    half_life: str
    value: str | None = None
    decimals: int = 3
    where: tuple[Condition, ...] = ()
    then: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        check_events(self.events)
        check_duration("half_life", self.half_life)
        if self.value is not None:
            check_number("value", self.value)
        check_decimals(self.decimals)
        check_steps(self.then)


@dataclass(frozen=True)
class TimeSince:
    """The time since the latest (or first) such event, in ``unit``; ``default`` if there was none."""

    op: Literal["time_since"]
    name: str
    events: tuple[str, ...]
    since: Literal["latest", "first"] = "latest"
    unit: Literal["seconds", "minutes", "hours", "days"] = "hours"
    default: Number = Decimal(-1)
    where: tuple[Condition, ...] = ()
    then: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        check_events(self.events)
        check_steps(self.then)


@dataclass(frozen=True)
class Recency:
    """2^(−time since the latest such event / half_life): 1 just now, towards 0; 0 if there was none."""

    op: Literal["recency"]
    name: str
    events: tuple[str, ...]
    half_life: str
    where: tuple[Condition, ...] = ()
    then: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        check_events(self.events)
        check_duration("half_life", self.half_life)
        check_steps(self.then)


@dataclass(frozen=True)
class Streak:
    """How many local days in a row had such an event, up to today or yesterday (or tomorrow, after a
    journey west); at most 3,650.

    An event's day is that of its own time zone, so a journey breaks no streak.
    """

    op: Literal["streak"]
    name: str
    events: tuple[str, ...]
    where: tuple[Condition, ...] = ()
    then: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        check_events(self.events)
        check_steps(self.then)


@dataclass(frozen=True)
class LastN:
    """The last ``n`` texts of events, the latest first, as int32[n] filled up with 0, and a mask float32[n].

    Of one event's texts the last that it lists is the latest.

    Attributes:
        distinct: each text once, by its latest event.
    """

    op: Literal["last_n"]
    name: str
    events: tuple[str, ...]
    of: str
    n: int
    encode: Encode
    distinct: bool = False
    where: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        check_events(self.events)
        check_text("of", self.of)
        check_width("n", self.n)


@dataclass(frozen=True)
class Affinity:
    """A profile's weight for each text of a vocabulary, as a share of all their magnitudes: float32[len(vocabulary)].

    A text's weight is the sum of its events' weights: in the window, decayed by the half-life, or over the whole
    history. Half-lives count as in :class:`Decay`. Texts outside the vocabulary do not count. Without events all
    shares are 0.

    Attributes:
        weights: event type → weight; 1 where it is not given. Negative for dislikes.
    """

    op: Literal["affinity"]
    name: str
    events: tuple[str, ...]
    of: str
    vocabulary: str
    window: str | None = None
    half_life: str | None = None
    weights: dict[str, Number] | None = None
    where: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        check_events(self.events)
        check_text("of", self.of)
        check_horizon(self.window, self.half_life)
        check_weights(self.weights or {}, self.events)


@dataclass(frozen=True)
class TopN:
    """The ``n`` texts of a vocabulary with the largest positive weights, as int32[n] and a mask float32[n].

    Weights are those of :class:`Affinity`; equal ones stand in the vocabulary's order. Codes are those of
    :class:`Encode` with a vocabulary.
    """

    op: Literal["top_n"]
    name: str
    events: tuple[str, ...]
    of: str
    n: int
    vocabulary: str
    window: str | None = None
    half_life: str | None = None
    weights: dict[str, Number] | None = None
    where: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        check_events(self.events)
        check_text("of", self.of)
        check_width("n", self.n)
        check_horizon(self.window, self.half_life)
        check_weights(self.weights or {}, self.events)


@dataclass(frozen=True)
class Session:
    """Of the session that is going on: events with at most ``gap`` between one and the next.

    Without an event in the last ``gap`` (one exactly ``gap`` ago will do) no session is going on, and all but ``index``
    are 0. What is older than the window is not seen: a longer session begins at the window's first event.

    Attributes:
        measure: ``length``: seconds from its first to its latest event; ``depth``: its number of events; ``dwell``:
            mean seconds between two of its events; ``index``: how many sessions there were in the window.
        window: how far back is looked.
    """

    op: Literal["session"]
    name: str
    events: tuple[str, ...]
    measure: Literal["length", "depth", "dwell", "index"]
    gap: str = "30m"
    window: str = "30d"
    where: tuple[Condition, ...] = ()
    then: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        check_events(self.events)
        check_duration("gap", self.gap)
        check_duration("window", self.window)
        if milliseconds(self.window) <= milliseconds(self.gap):
            raise FieldError("window", f"is {self.window!r}, not longer than the gap", "give a longer window")
        check_steps(self.then)


# --- views of the request --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LocalTime:
    """Local hour (0 … 23) or weekday (Monday is 0); ``cyclic``: sine and cosine of its place in the cycle."""

    op: Literal["local_hour", "weekday"]
    name: str
    encoding: Literal["number", "cyclic"] = "number"

    def __post_init__(self) -> None:
        check_name(self.name)


@dataclass(frozen=True)
class Context:
    """A value that comes with the request: a text if ``encode`` is given (of a list its first), else a number."""

    op: Literal["context"]
    name: str
    key: str
    encode: Encode | None = None
    default: Number = ZERO
    then: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        if not is_name(self.key, MAX_KEY_CHARACTERS):
            problem = f"is {self.key[:80]!r}, not a name of the context"
            raise FieldError("key", problem, f"use 1 to {MAX_KEY_CHARACTERS} printable characters")
        check_steps(self.then)
        _check_encoded(self)


def _check_encoded(view: Context | Item) -> None:
    if view.encode is not None and view.then:
        raise FieldError("then", "follows an encoded text", "leave out then, or encode")
    if view.encode is not None and view.default != 0:
        raise FieldError("default", f"is {view.default}, but the code of no text is 0", "leave it out")


@dataclass(frozen=True)
class Pushed:
    """Numbers that somebody else computed and pushed to the device under this view's name: float32[width].

    Attributes:
        default: while nothing was pushed, or what was has expired.
    """

    op: Literal["pushed"]
    name: str
    width: int = 1
    default: Number = ZERO

    def __post_init__(self) -> None:
        check_name(self.name)
        check_width("width", self.width)


# --- views of a candidate --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Item:
    """A column of the catalogue: a number, or, with ``encode``, the first ``n`` of its texts, filled up with 0."""

    op: Literal["item"]
    name: str
    of: str
    encode: Encode | None = None
    n: int = 1
    default: Number = ZERO
    then: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        check_attribute("of", self.of)
        if not 1 <= self.n <= MAX_ITEM_TEXTS:
            raise FieldError("n", f"is {self.n}", f"give 1 to {MAX_ITEM_TEXTS}")
        check_steps(self.then)
        _check_encoded(self)
        if self.encode is None and self.n != 1:
            raise FieldError("n", f"is {self.n}, but a number is one", "leave it out, or encode a text")


@dataclass(frozen=True)
class ItemAffinity:
    """The profile's affinity for the candidate: the sum, mean or maximum of the shares of those of its texts that the
    vocabulary has; 0 without one.

    Attributes:
        affinity: the name of an ``affinity`` view of a column of the catalogue.
    """

    op: Literal["item_affinity"]
    name: str
    affinity: str
    combine: Literal["sum", "mean", "max"] = "mean"
    then: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        check_steps(self.then)


@dataclass(frozen=True)
class ItemCount:
    """How many events of this profile were about the candidate, in the window (none: ever)."""

    op: Literal["item_count"]
    name: str
    events: tuple[str, ...]
    window: str | None = None
    where: tuple[Condition, ...] = ()
    then: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        check_events(self.events)
        check_duration("window", self.window)
        check_steps(self.then)


@dataclass(frozen=True)
class ItemTimeSince:
    """The time since this profile's latest event about the candidate, in ``unit``; ``default`` if there was none."""

    op: Literal["item_time_since"]
    name: str
    events: tuple[str, ...]
    unit: Literal["seconds", "minutes", "hours", "days"] = "hours"
    default: Number = Decimal(-1)
    where: tuple[Condition, ...] = ()
    then: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        check_events(self.events)
        check_steps(self.then)


@dataclass(frozen=True)
class ItemDifference:
    """A number of the candidate less a view's value before its steps; ``default`` if the candidate does not have it."""

    op: Literal["item_difference"]
    name: str
    of: str
    minus: str
    default: Number = ZERO
    then: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        check_attribute("of", self.of)
        check_steps(self.then)


UserView: TypeAlias = (
    Count
    | Aggregate
    | Distinct
    | Ratio
    | Decay
    | TimeSince
    | Recency
    | Streak
    | LastN
    | Affinity
    | TopN
    | Session
    | LocalTime
    | Context
    | Pushed
)
ItemView: TypeAlias = Item | ItemAffinity | ItemCount | ItemTimeSince | ItemDifference
View: TypeAlias = UserView | ItemView
ITEM_VIEWS: tuple[type, ...] = get_args(ItemView)
SCALAR_VIEWS = (Count, Aggregate, Distinct, Ratio, Decay, TimeSince, Recency, Streak, Session)
"""Views whose value is one number of the profile, which other views may refer to."""
