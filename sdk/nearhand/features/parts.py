"""What views are made of: durations, operands, conditions, steps and codes, and what each may be."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal, TypeAlias

from nearhand.bundle.fields import FieldError, Number, join
from nearhand.events.event import MAX_ID_CHARACTERS, MAX_KEY_CHARACTERS, RESET, is_name
from nearhand.records import dataclass

MAX_WIDTH = 4096
MAX_DECIMALS = 6
MAX_ITEM_TEXTS = 64
MAX_VALUE = 1e15
"""Numbers from outside are clipped to ± this."""
MAX_DAYS = 3650
"""The longest window and the longest streak, in days."""

ZERO = Decimal(0)
_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_VIEW_NAME = r"[a-z][a-z0-9_]{0,63}"
_TEXT_OPERANDS = ("item_id", "event", "local_hour", "weekday")
_MIN_SCALE = Decimal("1E-15")


def milliseconds(duration: str) -> int:
    """``"7d"`` as milliseconds.

    Raises:
        ValueError: not a whole number and one of s, m, h, d, w; zero; or longer than 3,650 days.
    """
    # Not by a pattern: to compile it takes as long as half of a program, at every start.
    count, unit = duration[:-1], _UNITS.get(duration[-1:], 0)
    is_whole = count.isascii() and count.isdecimal() and len(count) <= 9 and not count.startswith("0")
    value = int(count) * unit if is_whole else 0
    if not 0 < value <= MAX_DAYS * _UNITS["d"]:
        raise ValueError(f"{duration[:40]!r} is not a duration from 1s to {MAX_DAYS}d")
    return value


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
        (check_number if numeric else check_text)("field", self.field)
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


def check_name(name: str) -> None:
    if not re.fullmatch(_VIEW_NAME, name):
        problem = f"is {name[:80]!r}, not an identifier"
        raise FieldError("name", problem, "use 1 to 64 of a-z, 0-9 and _, beginning with a letter")


def check_duration(field: str, duration: str | None) -> None:
    if duration is None:
        return
    try:
        milliseconds(duration)
    except ValueError as error:
        raise FieldError(field, str(error), 'write one such as "30m", "12h" or "7d"') from None


def _is_path(operand: str, roots: Sequence[str] = ("properties", "context", "item")) -> bool:
    root, *names = operand.split(".")
    if root == "context" and len(names) > 1:  # a context is flat
        return False
    return root in roots and bool(names) and all(1 <= len(name) <= MAX_KEY_CHARACTERS for name in names)


def check_number(field: str, operand: str) -> None:
    if not _is_path(operand):
        remedy = "use properties.NAME, context.NAME or item.NAME"
        raise FieldError(field, f"is {operand[:60]!r}, not a number of an event", remedy)


def check_text(field: str, operand: str) -> None:
    if operand not in _TEXT_OPERANDS and not _is_path(operand):
        remedy = f"use {', '.join(_TEXT_OPERANDS)}, properties.NAME, context.NAME or item.NAME"
        raise FieldError(field, f"is {operand[:60]!r}, not a text of an event", remedy)


def check_attribute(field: str, operand: str) -> None:
    if not _is_path(operand, ("item",)):
        raise FieldError(field, f"is {operand[:60]!r}, not of the catalogue", "use item.NAME")


def check_events(events: tuple[str, ...]) -> None:
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


def check_decimals(decimals: int) -> None:
    if not 0 <= decimals <= MAX_DECIMALS:
        raise FieldError("decimals", f"is {decimals}, out of range", f"give 0 to {MAX_DECIMALS}")


def check_width(field: str, width: int) -> None:
    if not 1 <= width <= MAX_WIDTH:
        raise FieldError(field, f"is {width}, out of range", f"give 1 to {MAX_WIDTH}")


def check_steps(steps: tuple[Step, ...]) -> None:
    for position, step in enumerate(steps[:-1]):
        if isinstance(step, Bucket):
            raise FieldError(f"then[{position}]", "is a bucket before the last step", "move it to the end")


def check_horizon(window: str | None, half_life: str | None) -> None:
    if window is not None and half_life is not None:
        raise FieldError("half_life", "stands beside a window", "give one of them, or none for the whole history")
    check_duration("window", window)
    check_duration("half_life", half_life)


def check_weights(weights: dict[str, Decimal], events: tuple[str, ...]) -> None:
    known = set(events)
    for event, weight in weights.items():
        if event not in known:
            raise FieldError(join("weights", event), "is not among the view's events", "add it to events")
        if abs(weight) > 10**6:
            raise FieldError(join("weights", event), f"is {weight}, out of range", "give one within ± 1,000,000")
