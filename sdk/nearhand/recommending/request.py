"""What an app asks for when it asks for a list."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from nearhand.errors import UsageError
from nearhand.events import Scalar
from nearhand.ranking import Predicate


@dataclass(frozen=True)
class Request:
    """One list.

    Attributes:
        k: how many items.
        context: the situation, for features of the request: names with a text, a number, true, false or None.
        deadline_ms: how long it may take; stages that do not fit are left out, and counted in ``status()``.
        cancelled: set it, from another thread, to end the call early with CancelledError.
        candidates: item ids that somebody else retrieved, such as a service in the cloud; they are ranked among the
            device's own. Ids that the catalogue does not have are passed over, and counted.
        pinned: position, from 0 → the item id that stands there.
        unavailable: item ids that cannot be had now.
        only: the item ids that are allowed; None: all.
        user_age: in years; see :class:`nearhand.ranking.Filter`.
        predicate: the app's own rule: item id → whether it may be recommended.
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
        if isinstance(self.candidates, str):
            raise UsageError(f"is the text {self.candidates!r}", place="candidates", remedy="give a list of item ids")
        for position in self.pinned:
            if type(position) is not int or position < 0:
                raise UsageError(f"has the position {position!r}", place="pinned", remedy="use whole numbers from 0")


def check_k(k: int) -> None:
    """
    Raises:
        UsageError: it is not a positive integer.
    """
    if type(k) is not int or k < 1:
        raise UsageError(f"k is {k!r}", place="k", remedy="ask for at least 1 item")
