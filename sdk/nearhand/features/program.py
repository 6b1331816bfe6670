"""The feature program: what is computed from a profile's events, as one declarative document.

The dataclasses *are* the schema, told apart by ``op``. A program is hand-written JSON; in a bundle it stands in its
canonical bytes. The same program is folded on the device and replayed for training.

Durations are texts such as ``"90s"``, ``"30m"``, ``"12h"``, ``"7d"``, ``"2w"``. An operand says what is read of an
event:

* a number: ``properties.NAME``, ``context.NAME`` or ``item.NAME`` (a column of the catalogue); a name may be a path
  with dots;
* a text or list of texts: the same, or ``item_id``, ``event``, ``local_hour``, ``weekday`` (Monday is ``"0"``).

An event that does not have the operand, or has it in another kind, does not enter the view.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

from nearhand.bundle.document import FieldError, Number, decode, join, nearest, serialize, unique_keys
from nearhand.bundle.schema import semantic_version
from nearhand.errors import ProgramError
from nearhand.events.event import MAX_ID_CHARACTERS, MAX_KEY_CHARACTERS, RESET, is_name

PROGRAM_FORMAT = 1
MAX_PROGRAM_BYTES = 16_000_000
MAX_VIEWS = 1000
MAX_WIDTH = 4096
MAX_DECIMALS = 6
MAX_RATIO_READS = 64
MAX_DAYS = 3650
"""The longest window and the longest streak, in days."""

_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_DURATION = re.compile(r"([1-9][0-9]{0,8})([smhdw])")
_VIEW_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TEXT_OPERANDS = ("item_id", "event", "local_hour", "weekday")
_ZERO = Decimal(0)
_MIN_SCALE = Decimal("1E-15")


def milliseconds(duration: str) -> int:
    """``"7d"`` as milliseconds.

    Raises:
        ValueError: not a whole number and one of s, m, h, d, w; zero; or longer than 3,650 days.
    """
    match = _DURATION.fullmatch(duration)
    value = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < value <= MAX_DAYS * _UNITS["d"]:
        raise ValueError(f"{duration[:40]!r} is not a duration from 1s to {MAX_DAYS}d")
    return value


# --- parts of views --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Condition:
    """What an event must be like to enter a view; all that are given must hold.

    Attributes:
        field: an operand.
        at_least, below: bounds of a number: at_least ≤ value < below.
        any_of: the texts of which the operand must have one.
    """

    field: str
    at_least: Number | None = None
    below: Number | None = None
    any_of: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        numeric = self.at_least is not None or self.below is not None
        if numeric == (self.any_of is not None):
            problem = "asks for a number and for a text" if numeric else "asks for nothing"
            raise FieldError("", problem, "give at_least and/or below, or any_of")
        (_check_number if numeric else _check_text)("field", self.field)
        if self.any_of is not None and not self.any_of:
            raise FieldError("any_of", "is empty, so no event fits", "list at least one text")
        if self.at_least is not None and self.below is not None and not self.at_least < self.below:
            raise FieldError("below", f"is {self.below}, not above at_least", "give a larger bound, or swap them")


@dataclass(frozen=True)
class Log:
    """sign(x) · ln(1 + |x|)."""

    step: Literal["log"]


@dataclass(frozen=True)
class Normalize:
    """(x − offset) / scale: mean and standard deviation, or minimum and range."""

    step: Literal["normalize"]
    offset: Number
    scale: Number

    def __post_init__(self) -> None:
        if self.scale < _MIN_SCALE:
            problem = f"is {self.scale}, not a positive number from {_MIN_SCALE}"
            raise FieldError("scale", problem, "give the standard deviation, or the range")


@dataclass(frozen=True)
class Clip:
    """x, but at least ``low`` and at most ``high``."""

    step: Literal["clip"]
    low: Number
    high: Number

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise FieldError("high", f"is {self.high}, not above low", "give a larger bound, or swap them")


@dataclass(frozen=True)
class Bucket:
    """How many of the ascending boundaries are ≤ x: an integer from 0 to their number. The last step."""

    step: Literal["bucket"]
    boundaries: tuple[Number, ...]

    def __post_init__(self) -> None:
        if not self.boundaries:
            raise FieldError("boundaries", "is empty", "give at least one boundary")
        for position, (low, high) in enumerate(zip(self.boundaries, self.boundaries[1:], strict=False), 1):
            if not low < high:
                raise FieldError(f"boundaries[{position}]", f"is {high}, not above {low}", "sort them, each once")


Step: TypeAlias = Log | Normalize | Clip | Bucket


@dataclass(frozen=True)
class Encode:
    """A text as an integer: 0 for no text; with a vocabulary 1 for an unknown text and 2 + its place for a known one;
    with ``buckets`` 1 + murmur3_32(UTF-8, seed) mod buckets.
    """

    vocabulary: str | None = None
    buckets: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.vocabulary is None) == (self.buckets is None):
            problem = "has neither a vocabulary nor buckets" if self.buckets is None else "has a vocabulary and buckets"
            raise FieldError("", problem, "give one of them")
        if self.buckets is not None and not 1 <= self.buckets < 2**30:
            raise FieldError("buckets", f"is {self.buckets}, out of range", "give 1 to 2^30 - 1 buckets")
        if not 0 <= self.seed < 2**32:
            raise FieldError("seed", f"is {self.seed}, out of range", "give 0 to 2^32 - 1")


def _check_name(name: str) -> None:
    if not _VIEW_NAME.fullmatch(name):
        problem = f"is {name[:80]!r}, not an identifier"
        raise FieldError("name", problem, "use 1 to 64 of a-z, 0-9 and _, beginning with a letter")


def _check_duration(field: str, duration: str | None) -> None:
    if duration is None:
        return
    try:
        milliseconds(duration)
    except ValueError as error:
        raise FieldError(field, str(error), 'write one such as "30m", "12h" or "7d"') from None


def _is_path(operand: str, roots: Sequence[str] = ("properties", "context", "item")) -> bool:
    root, *names = operand.split(".")
    return root in roots and bool(names) and all(1 <= len(name) <= MAX_KEY_CHARACTERS for name in names)


def _check_number(field: str, operand: str) -> None:
    if not _is_path(operand):
        remedy = "use properties.NAME, context.NAME or item.NAME"
        raise FieldError(field, f"is {operand[:60]!r}, not a number of an event", remedy)


def _check_text(field: str, operand: str) -> None:
    if operand not in _TEXT_OPERANDS and not _is_path(operand):
        remedy = f"use {', '.join(_TEXT_OPERANDS)}, properties.NAME, context.NAME or item.NAME"
        raise FieldError(field, f"is {operand[:60]!r}, not a text of an event", remedy)


def _check_attribute(field: str, operand: str) -> None:
    if not _is_path(operand, ("item",)):
        raise FieldError(field, f"is {operand[:60]!r}, not of the catalogue", "use item.NAME")


def _check_events(events: tuple[str, ...]) -> None:
    if not events:
        raise FieldError("events", "is empty, so the view stays at nothing", "list at least one event type")
    for position, event in enumerate(events):
        if not is_name(event, MAX_ID_CHARACTERS):
            problem = f"is {event[:60]!r}, not an event type"
            raise FieldError(f"events[{position}]", problem, f"use 1 to {MAX_ID_CHARACTERS} printable characters")
        if event == RESET:
            raise FieldError(f"events[{position}]", f"is {RESET!r}, which feeds no view", "leave it out")
    if twice := [event for event, count in Counter(events).items() if count > 1]:
        raise FieldError("events", f"has {twice[0][:60]!r} twice", "list it once")


def _check_decimals(decimals: int) -> None:
    if not 0 <= decimals <= MAX_DECIMALS:
        raise FieldError("decimals", f"is {decimals}, out of range", f"give 0 to {MAX_DECIMALS}")


def _check_width(field: str, width: int) -> None:
    if not 1 <= width <= MAX_WIDTH:
        raise FieldError(field, f"is {width}, out of range", f"give 1 to {MAX_WIDTH}")


def _check_steps(steps: tuple[Step, ...]) -> None:
    for position, step in enumerate(steps[:-1]):
        if isinstance(step, Bucket):
            raise FieldError(f"then[{position}]", "is a bucket before the last step", "move it to the end")


def _check_horizon(window: str | None, half_life: str | None) -> None:
    if window is not None and half_life is not None:
        raise FieldError("half_life", "stands beside a window", "give one of them, or none for the whole history")
    _check_duration("window", window)
    _check_duration("half_life", half_life)


def _check_weights(weights: dict[str, Decimal], events: tuple[str, ...]) -> None:
    known = set(events)
    for event, weight in weights.items():
        if event not in known:
            raise FieldError(join("weights", event), "is not among the view's events", "add it to events")
        if abs(weight) > 10**6:
            raise FieldError(join("weights", event), f"is {weight}, out of range", "give one within ± 1,000,000")


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
        _check_name(self.name)
        _check_events(self.events)
        _check_duration("window", self.window)
        _check_steps(self.then)


@dataclass(frozen=True)
class Aggregate:
    """A statistic of a number over the window's events (none: ever).

    Values are clipped to ± 10¹⁵ and rounded to ``decimals`` places; sums are exact from there on. ``std`` is that of
    the population.

    Attributes:
        default: for a window without a value; a sum is then 0.
    """

    op: Literal["sum", "mean", "min", "max", "std"]
    name: str
    events: tuple[str, ...]
    value: str
    decimals: int = 3
    window: str | None = None
    default: Number = _ZERO
    where: tuple[Condition, ...] = ()
    then: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_events(self.events)
        _check_number("value", self.value)
        _check_decimals(self.decimals)
        _check_duration("window", self.window)
        _check_steps(self.then)
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
        _check_name(self.name)
        _check_events(self.events)
        _check_text("of", self.of)
        _check_duration("window", self.window)
        _check_steps(self.then)


@dataclass(frozen=True)
class Ratio:
    """One view's value over another's, before their steps; ``default`` where the denominator is 0."""

    op: Literal["ratio"]
    name: str
    numerator: str
    denominator: str
    default: Number = _ZERO
    then: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_steps(self.then)


@dataclass(frozen=True)
class Decay:
    """Σ value · 2^(−age / half_life); an event older than 32 half-lives counts 0.

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
        _check_name(self.name)
        _check_events(self.events)
        _check_duration("half_life", self.half_life)
        if self.value is not None:
            _check_number("value", self.value)
        _check_decimals(self.decimals)
        _check_steps(self.then)


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
        _check_name(self.name)
        _check_events(self.events)
        _check_steps(self.then)


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
        _check_name(self.name)
        _check_events(self.events)
        _check_duration("half_life", self.half_life)
        _check_steps(self.then)


@dataclass(frozen=True)
class Streak:
    """How many local days in a row had such an event, up to today or yesterday; at most 3,650.

    An event's day is that of its own time zone, so a journey breaks no streak.
    """

    op: Literal["streak"]
    name: str
    events: tuple[str, ...]
    where: tuple[Condition, ...] = ()
    then: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_events(self.events)
        _check_steps(self.then)


@dataclass(frozen=True)
class LastN:
    """The texts of the last ``n`` events, the latest first, as int32[n] filled up with 0, and a mask float32[n].

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
        _check_name(self.name)
        _check_events(self.events)
        _check_text("of", self.of)
        _check_width("n", self.n)


@dataclass(frozen=True)
class Affinity:
    """A profile's weight for each text of a vocabulary, as a share of all their magnitudes: float32[len(vocabulary)].

    A text's weight is the sum of its events' weights: in the window, decayed by the half-life, or over the whole
    history. Texts outside the vocabulary do not count. Without events all shares are 0.

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
        _check_name(self.name)
        _check_events(self.events)
        _check_text("of", self.of)
        _check_horizon(self.window, self.half_life)
        _check_weights(self.weights or {}, self.events)


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
        _check_name(self.name)
        _check_events(self.events)
        _check_text("of", self.of)
        _check_width("n", self.n)
        _check_horizon(self.window, self.half_life)
        _check_weights(self.weights or {}, self.events)


@dataclass(frozen=True)
class Session:
    """Of the session that is going on: events with at most ``gap`` between one and the next.

    Without an event in the last ``gap`` no session is going on, and all but ``index`` are 0.

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
        _check_name(self.name)
        _check_events(self.events)
        _check_duration("gap", self.gap)
        _check_duration("window", self.window)
        if milliseconds(self.window) <= milliseconds(self.gap):
            raise FieldError("window", f"is {self.window!r}, not longer than the gap", "give a longer window")
        _check_steps(self.then)


# --- views of the request --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LocalTime:
    """Local hour (0 … 23) or weekday (Monday is 0); ``cyclic``: sine and cosine of its place in the cycle."""

    op: Literal["local_hour", "weekday"]
    name: str
    encoding: Literal["number", "cyclic"] = "number"

    def __post_init__(self) -> None:
        _check_name(self.name)


@dataclass(frozen=True)
class Context:
    """A value that comes with the request: a text if ``encode`` is given, else a number."""

    op: Literal["context"]
    name: str
    key: str
    encode: Encode | None = None
    default: Number = _ZERO
    then: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not is_name(self.key, MAX_KEY_CHARACTERS):
            problem = f"is {self.key[:80]!r}, not a name of the context"
            raise FieldError("key", problem, f"use 1 to {MAX_KEY_CHARACTERS} printable characters")
        _check_steps(self.then)
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
    default: Number = _ZERO

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_width("width", self.width)


# --- views of a candidate --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Item:
    """A column of the catalogue: a number, or, with ``encode``, the first ``n`` of its texts, filled up with 0."""

    op: Literal["item"]
    name: str
    of: str
    encode: Encode | None = None
    n: int = 1
    default: Number = _ZERO
    then: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_attribute("of", self.of)
        _check_width("n", self.n)
        _check_steps(self.then)
        _check_encoded(self)
        if self.encode is None and self.n != 1:
            raise FieldError("n", f"is {self.n}, but a number is one", "leave it out, or encode a text")


@dataclass(frozen=True)
class ItemAffinity:
    """The profile's affinity for the candidate's texts: the sum, mean or maximum of their shares; 0 without one.

    Attributes:
        affinity: the name of an ``affinity`` view of a column of the catalogue.
    """

    op: Literal["item_affinity"]
    name: str
    affinity: str
    combine: Literal["sum", "mean", "max"] = "mean"
    then: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_steps(self.then)


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
        _check_name(self.name)
        _check_events(self.events)
        _check_duration("window", self.window)
        _check_steps(self.then)


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
        _check_name(self.name)
        _check_events(self.events)
        _check_steps(self.then)


@dataclass(frozen=True)
class ItemDifference:
    """A number of the candidate less a view's value before its steps; ``default`` if the candidate does not have it."""

    op: Literal["item_difference"]
    name: str
    of: str
    minus: str
    default: Number = _ZERO
    then: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_attribute("of", self.of)
        _check_steps(self.then)


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
View: TypeAlias = (
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
    | Item
    | ItemAffinity
    | ItemCount
    | ItemTimeSince
    | ItemDifference
)
ITEM_VIEWS: tuple[type, ...] = get_args(ItemView)
SCALAR_VIEWS = (Count, Aggregate, Distinct, Ratio, Decay, TimeSince, Recency, Streak, Session)
"""Views whose value is one number of the profile, which other views may refer to."""


# --- the program -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Program:
    """Views, in the order of their columns.

    Attributes:
        vocabularies: name → its texts, each once.
        outputs: the views that become columns, in this order; None: all of them, in theirs. The others are computed
            only as far as these refer to them.
        ttl: time to live: how old a vector may be that is served while nothing new has happened.
    """

    format: int
    name: str
    version: str
    views: tuple[View, ...]
    vocabularies: dict[str, tuple[str, ...]] | None = None
    outputs: tuple[str, ...] | None = None
    ttl: str = "1m"

    def __post_init__(self) -> None:
        _check_name(self.name)
        try:
            semantic_version(self.version)
        except ValueError:
            problem = f"is {self.version[:40]!r}, not MAJOR.MINOR.PATCH"
            raise FieldError("version", problem, "write one such as 1.0.0") from None
        _check_duration("ttl", self.ttl)
        if not 1 <= len(self.views) <= MAX_VIEWS:
            raise FieldError("views", f"has {len(self.views)} views", f"give 1 to {MAX_VIEWS}")
        for name, texts in (self.vocabularies or {}).items():
            self._check_vocabulary(name, texts)
        names = [view.name for view in self.views]
        for position, name in enumerate(names):
            if name in names[:position]:
                raise FieldError(f"views[{position}].name", f"{name!r} is taken", "give every view its own name")
        for position, view in enumerate(self.views):
            self._check_references(position, view)
        self._check_ratios()
        self._check_outputs(names)

    @cached_property
    def digest(self) -> str:
        """sha256 of the canonical bytes, in hexadecimal."""
        return hashlib.sha256(serialize(self)).hexdigest()

    @property
    def event_types(self) -> frozenset[str]:
        """The types of event that the views read."""
        return frozenset(event for view in self.views for event in getattr(view, "events", ()))

    def vocabulary(self, name: str) -> tuple[str, ...]:
        """The texts of a vocabulary, which the checks made sure to be there."""
        return (self.vocabularies or {})[name]

    def view(self, name: str) -> View:
        """The view of that name, which the checks made sure to be there."""
        return next(view for view in self.views if view.name == name)

    def _check_vocabulary(self, name: str, texts: tuple[str, ...]) -> None:
        field = join("vocabularies", name)
        if not texts:
            raise FieldError(field, "is empty", "list its texts")
        if len(set(texts)) != len(texts):
            twice = next(text for text, count in Counter(texts).items() if count > 1)
            raise FieldError(field, f"has {twice[:60]!r} twice", "list every text once")

    def _check_references(self, position: int, view: View) -> None:
        field = f"views[{position}]"
        known = self.vocabularies or {}
        encode = getattr(view, "encode", None)
        for place, name in (
            ("vocabulary", getattr(view, "vocabulary", None)),
            ("encode.vocabulary", encode.vocabulary if encode is not None else None),
        ):
            if name is not None and name not in known:
                remedy = nearest(name, known) if known else "add it to vocabularies"
                raise FieldError(f"{field}.{place}", f"is {name[:60]!r}, not a vocabulary", remedy)
        if isinstance(view, Affinity) and len(known[view.vocabulary]) > MAX_WIDTH and self._is_output(view.name):
            remedy = "leave the view out of outputs, or use a smaller vocabulary"
            raise FieldError(f"{field}.vocabulary", f"has more than {MAX_WIDTH} texts", remedy)
        for place, kind, kinds in (
            ("numerator", "a view of one number", SCALAR_VIEWS),
            ("denominator", "a view of one number", SCALAR_VIEWS),
            ("minus", "a view of one number", SCALAR_VIEWS),
            ("affinity", "an affinity view", (Affinity,)),
        ):
            if (name := getattr(view, place, None)) is not None:
                self._check_reference(f"{field}.{place}", name, self.views[:position], kind, kinds)

    def _check_reference(
        self, field: str, name: str, earlier: Sequence[View], kind: str, kinds: tuple[type, ...]
    ) -> None:
        # Only earlier views can be referred to, so there is no circle.
        target = next((view for view in earlier if view.name == name), None)
        if not isinstance(target, kinds):
            problem = f"is {name[:60]!r}, which is " + ("no view above this one" if target is None else f"not {kind}")
            fit = [view.name for view in earlier if isinstance(view, kinds)]
            raise FieldError(field, problem, nearest(name, fit) if fit else f"put {kind} before this one")
        if isinstance(target, Affinity) and not target.of.startswith("item."):
            problem = f"is {name!r}, an affinity for {target.of[:60]!r}, which a candidate does not have"
            raise FieldError(field, problem, "use one whose `of` is item.NAME")

    def _check_ratios(self) -> None:
        # A ratio reads both its views, so a chain of ratios would read 2, 4, 8, … of them.
        reads: dict[str, int] = {}
        for position, view in enumerate(self.views):
            if isinstance(view, Ratio):
                reads[view.name] = reads.get(view.numerator, 1) + reads.get(view.denominator, 1)
                if reads[view.name] > MAX_RATIO_READS:
                    problem = f"reads {reads[view.name]} views, ratios of ratios taken apart"
                    raise FieldError(f"views[{position}]", problem, f"stay within {MAX_RATIO_READS}")

    def _check_outputs(self, names: Sequence[str]) -> None:
        for position, name in enumerate(self.outputs or ()):
            if name not in names:
                raise FieldError(f"outputs[{position}]", f"is {name[:60]!r}, not a view", nearest(name, names))
            if name in (self.outputs or ())[:position]:
                raise FieldError(f"outputs[{position}]", f"is {name!r}, which stands there twice", "list it once")
        if self.outputs == ():
            raise FieldError("outputs", "is empty", "list at least one view, or leave it out")

    def _is_output(self, name: str) -> bool:
        return self.outputs is None or name in self.outputs


def read_program(data: bytes, *, place: str) -> Program:
    """A program from its JSON.

    Args:
        place: what to call it in an error, such as the file's name.

    Raises:
        ProgramError: not a JSON object of the schema; the error's place ends in the path of what is wrong.
    """
    if len(data) > MAX_PROGRAM_BYTES:
        raise ProgramError(
            f"has {len(data):,} bytes",
            place=place,
            remedy=f"keep it within {MAX_PROGRAM_BYTES:,}: shorten vocabularies",
        )
    try:
        text = data.decode("utf-8-sig")
        content = json.loads(text, parse_float=_decimal, parse_constant=_no_constant, object_pairs_hook=unique_keys)
        if "\\u" in text:
            json.dumps(content, ensure_ascii=False, default=str).encode()  # an escape can spell a lone surrogate
    except (ValueError, RecursionError) as error:
        raise ProgramError(
            f"is not a JSON document ({str(error)[:120]})", place=place, remedy="write one JSON object in UTF-8"
        ) from None
    _check_format(content, place)
    program: Program = decode(Program, content, place=f"{place}: ", refuse=_refuse)
    return program


def _check_format(content: Any, place: str) -> None:
    """Before anything else: what is unknown here may be known to a later format."""
    found = content.get("format") if isinstance(content, dict) else None
    if type(found) is int and found != PROGRAM_FORMAT:
        remedy = f"write {PROGRAM_FORMAT}, or update nearhand"
        raise ProgramError(f"is {str(found)[:20]}, not {PROGRAM_FORMAT}", place=f"{place}: format", remedy=remedy)


def _refuse(problem: str, place: str, remedy: str) -> ProgramError:
    return ProgramError(problem, place=place, remedy=remedy)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"the number {text[:40]} is out of range") from None


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number of JSON")
