"""What an app asks for when it asks for a list."""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Mapping, Sequence

from nearhand.errors import UsageError, shown
from nearhand.events import Scalar
from nearhand.events.event import is_text
from nearhand.ranking import Predicate
from nearhand.records import dataclass, field

_MAX_NAMES, _MAX_CHARACTERS = 100, 4_000


@dataclass(frozen=True)
class Request:
    """One list.

    Attributes:
        k: how many items.
        context: the situation, for features of the request: names with a text, a number, true, false or None. Each list
            is noted with it, so it is small: 100 names at the most, that have with their texts up to 4,000 characters.
        deadline_ms: how long it may take, above 0 and up to a day; stages that do not fit are left out, and counted in
            ``status()``.
        cancelled: set it, from another thread, to end the call early with CancelledError.
        candidates: item ids that somebody else retrieved, such as a service in the cloud; they are ranked among the
            device's own. Ids that the catalogue does not have are passed over, and counted.
        pinned: position, from 0 → the item id that stands there, even if the user has seen it. All else that keeps an
            item from the list holds for it too. A position from ``k`` on is passed over.
        unavailable: item ids that cannot be had now.
        only: the item ids that are allowed; None: all.
        user_age: in years; see :class:`nearhand.ranking.Filter`.
        predicate: the app's own rule: item id → whether it may be recommended. It is asked about a hundred candidates
            and more, whatever the deadline: a list has nothing of which it was not asked, so it has to be quick.

    Raises:
        UsageError: one of them is of the wrong type or out of its range; names it.
    """

    k: int = 10
    context: Mapping[str, Scalar] = field(default_factory=dict, hash=False)
    deadline_ms: float | None = None
    cancelled: threading.Event | None = None
    candidates: Sequence[str] = ()
    pinned: Mapping[int, str] = field(default_factory=dict, hash=False)
    unavailable: Collection[str] = ()
    only: Collection[str] | None = None
    user_age: int | None = None
    predicate: Predicate | None = None

    def __post_init__(self) -> None:
        check_k(self.k)
        check_context(self.context)
        if not (self.cancelled is None or isinstance(self.cancelled, threading.Event)):
            raise _wrong("cancelled", self.cancelled, "give a threading.Event, or None")
        _check_ids("candidates", self.candidates)
        _check_ids("unavailable", self.unavailable)
        if self.only is not None:
            _check_ids("only", self.only)
        if not isinstance(self.pinned, Mapping):
            raise _wrong("pinned", self.pinned, "give a mapping of positions to item ids")
        for position in self.pinned:
            if type(position) is not int or position < 0:
                raise UsageError(
                    f"has the position {shown(position)}", place="pinned", remedy="use whole numbers from 0"
                )
        _check_ids("pinned", self.pinned.values())
        if len(set(self.pinned.values())) < len(self.pinned):
            raise UsageError("has an item twice", place="pinned", remedy="pin each item to one position")
        if not (self.user_age is None or (type(self.user_age) is int and self.user_age >= 0)):
            raise _wrong("user_age", self.user_age, "give whole years, from 0, or None")
        if not (self.predicate is None or callable(self.predicate)):
            raise _wrong("predicate", self.predicate, "give a function of an item id, or None")

    @property
    def leaves_out(self) -> bool:
        """Whether it leaves out items itself, beside those that the user has met or blocked."""
        asked = (self.only, self.user_age, self.predicate)
        return len(self.unavailable) > 0 or any(each is not None for each in asked)


def check_k(k: int) -> None:
    """
    Raises:
        UsageError: it is not a positive integer.
    """
    if type(k) is not int or k < 1:
        raise UsageError(f"k is {shown(k)}", place="k", remedy="ask for a whole number of items, from 1")


def check_context(context: Mapping[str, Scalar]) -> None:
    """
    Raises:
        UsageError: it is not a mapping of texts to texts, finite numbers, true, false and None, or too large; names the
            value.
    """
    remedy = "give names with a text that UTF-8 can hold, a finite number of 64 bits, true, false or None"
    if not isinstance(context, Mapping):
        raise _wrong("context", context, remedy)
    characters = 0
    for name, value in context.items():
        if not (isinstance(name, str) and is_text(name)):
            raise UsageError(f"has the name {shown(name)}", place="context", remedy=remedy)
        if isinstance(value, str):
            is_fit = is_text(value)
            characters += len(value)
        elif isinstance(value, float):
            is_fit = math.isfinite(value)
        else:
            is_fit = value is None or (isinstance(value, int) and -(2**63) <= value < 2**63)
        if not is_fit:
            raise _wrong(f"context[{shown(name)}]", value, remedy)
        characters += len(name)
    if len(context) > _MAX_NAMES or characters > _MAX_CHARACTERS:
        problem = f"has {len(context):,} names with {characters:,} characters"
        remedy = f"give what features read: at most {_MAX_NAMES} names with {_MAX_CHARACTERS:,} characters"
        raise UsageError(problem, place="context", remedy=remedy)


def _check_ids(place: str, ids: Collection[str]) -> None:
    remedy = "give item ids, each a text"
    if isinstance(ids, str) or not isinstance(ids, Collection):
        raise _wrong(place, ids, remedy)
    for one in ids:
        if not isinstance(one, str):
            raise UsageError(f"has the item id {shown(one)}", place=place, remedy=remedy)


def _wrong(place: str, value: object, remedy: str) -> UsageError:
    return UsageError(f"is {shown(value)}, a {type(value).__name__}", place=place, remedy=remedy)
