"""What may not be recommended: seen, blocked, unavailable, not for this age, or not what the app wants."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nearhand.bundle.schema import Items
from nearhand.errors import UsageError, shown
from nearhand.ranking.categories import Categories
from nearhand.records import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

Predicate = Callable[[str], bool]
"""An app's own rule: item id → whether it may be recommended."""


class Catalogue:
    """A bundle's items, prepared once for all of its filters. Safe to share between threads."""

    def __init__(self, items: Items) -> None:
        self._items = items
        self._ids: dict[int, str] = {}
        self._min_ages = np.array(items.min_ages, np.int64) if items.min_ages else None

    def __len__(self) -> int:
        return self._items.count

    def rows(self, item_ids: Iterable[str]) -> list[int]:
        """The rows of those item ids that the catalogue has; the others are passed over."""
        rows = self._items.rows
        return [rows[item_id] for item_id in item_ids if item_id in rows]

    def category_rows(self, category: str) -> NDArray[np.intp]:
        """intp: the rows of the items of a genre or a director; none if no item has it."""
        return np.concatenate([self.genres.rows(category), self.directors.rows(category)])

    def too_old(self, age: int) -> NDArray[np.bool_] | None:
        """bool [items]: those for older users than that; None: no age rating is known."""
        return None if self._min_ages is None else self._min_ages > age

    def item_ids(self, rows: NDArray[np.int32] | NDArray[np.intp]) -> list[str]:
        """The ids of some rows; they stay known, because those of one list are often those of the next."""
        known, listed = self._ids, rows.tolist()
        missing = [row for row in listed if row not in known]
        if missing:
            known.update(zip(missing, self._items.ids_of(np.array(missing, np.intp)), strict=True))
        return list(map(known.__getitem__, listed))

    def item_id(self, row: int) -> str:
        """The id of one row."""
        found = self._ids.get(row)
        if found is None:
            found = self._ids[row] = self._items.item_id(row)
        return found

    @cached_property
    def genres(self) -> Categories:
        """The items' genres."""
        return Categories(self._items, "genres")

    @cached_property
    def directors(self) -> Categories:
        """The items' directors."""
        return Categories(self._items, "directors")


@dataclass(frozen=True)
class Kept:
    """What a filter left of some rows.

    Attributes:
        mask: bool [items]: True for a row that was asked for and may be recommended, False for every other.
        failures: one for each item that is left out because the app's predicate failed on it; the predicate's own
            error is its ``__cause__``. Its message names no item, so that it can be counted.
    """

    mask: NDArray[np.bool_]
    failures: tuple[UsageError, ...] = ()


@dataclass(frozen=True)
class Filter:
    """What may not be recommended in one request.

    An item id or category that the catalogue does not have is passed over: what a user blocked outlives a catalogue.

    Attributes:
        seen: rows that the user has met.
        blocked_items: item ids.
        blocked_categories: genres and directors.
        unavailable: item ids that cannot be had now.
        user_age: in years; items whose ``Items.min_ages`` is above it are left out. None: everybody's age fits. In a
            catalogue without age ratings every item passes.
        only: the item ids that are allowed; None: all.
        predicate: asked last, and only about candidates; True keeps an item.

    Raises:
        UsageError: a single text stands where several are meant, or the age is not a whole number from 0.
    """

    seen: Collection[int] = ()
    blocked_items: Collection[str] = ()
    blocked_categories: Collection[str] = ()
    unavailable: Collection[str] = ()
    user_age: int | None = None
    only: Collection[str] | None = None
    predicate: Predicate | None = None

    def __post_init__(self) -> None:
        for name in ("blocked_items", "blocked_categories", "unavailable", "only"):
            if isinstance(getattr(self, name), str):
                raise UsageError(
                    f"is the text {getattr(self, name)!r}", place=f"Filter.{name}", remedy="give a set of texts"
                )
        if self.user_age is not None and (type(self.user_age) is not int or self.user_age < 0):
            raise UsageError(f"is {shown(self.user_age)}", place="Filter.user_age", remedy="give whole years, from 0")

    def over(self, catalogue: Catalogue) -> AppliedFilter:
        """This filter's answers about the items of a catalogue.

        Raises:
            UsageError: a seen row is not one of the catalogue.
        """
        return AppliedFilter(self, catalogue)


class AppliedFilter:
    """A filter over a catalogue: what to leave out before retrieval, and what to keep of the candidates after it.

    Attributes:
        mask: bool [items]: what everything but the predicate allows.
    """

    def __init__(self, filter: Filter, catalogue: Catalogue) -> None:
        """
        Raises:
            UsageError: a seen row is not one of the catalogue.
        """
        self._predicate = filter.predicate
        self._item_ids = catalogue.item_ids
        self.mask = _static_mask(filter, catalogue)

    @cached_property
    def excluded(self) -> NDArray[np.bool_]:
        """bool [items]: what need not be retrieved."""
        return ~self.mask

    def excluded_rows(self) -> list[int]:
        """The rows that need not be retrieved, ascending."""
        rows: list[int] = np.flatnonzero(~self.mask).tolist()
        return rows

    def keep(self, rows: NDArray[np.int32]) -> Kept:
        """What of some rows, int32 [n], may be recommended.

        The predicate is asked once for each of them that everything else allows, in the order of the rows. Nothing
        that it raises is raised here: the item is left out, and it is in ``Kept.failures``, for the caller to count.
        So is an item for which it returns anything but True or False.
        """
        asked = np.zeros(len(self.mask), np.bool_)
        asked[rows] = True
        mask = asked & self.mask
        if self._predicate is None:
            return Kept(mask)
        failures: list[UsageError] = []
        may = np.flatnonzero(mask)
        for row, item_id in zip(may.tolist(), self._item_ids(may), strict=True):
            answer = _ask(self._predicate, item_id)
            if isinstance(answer, UsageError):
                failures.append(answer)
            mask[row] = answer is True
        return Kept(mask, tuple(failures))


def _static_mask(filter: Filter, catalogue: Catalogue) -> NDArray[np.bool_]:
    if filter.only is None:
        mask = np.ones(len(catalogue), np.bool_)
    else:
        mask = np.zeros(len(catalogue), np.bool_)
        mask[catalogue.rows(filter.only)] = True
    if len(filter.seen):
        seen = np.fromiter(filter.seen, np.int64, len(filter.seen))
        if not ((seen >= 0) & (seen < len(catalogue))).all():
            raise UsageError(
                f"has rows from {seen.min()} to {seen.max()}, and the catalogue 0 … {len(catalogue) - 1}",
                place="Filter.seen",
                remedy="give rows of this bundle's catalogue",
            )
        mask[seen] = False
    for item_ids in (filter.blocked_items, filter.unavailable):
        if item_ids:
            mask[catalogue.rows(item_ids)] = False
    for category in filter.blocked_categories:
        mask[catalogue.category_rows(category)] = False
    if filter.user_age is not None and (too_old := catalogue.too_old(filter.user_age)) is not None:
        mask &= ~too_old
    return mask


def _ask(predicate: Predicate, item_id: str) -> bool | UsageError:
    """The app's answer, or what went wrong with it."""
    problem, cause = "", None
    try:
        answer: object = predicate(item_id)
    except Exception as error:  # noqa: BLE001 - the app's code, which must not take the list down with it
        problem, cause = f"raised {type(error).__name__}", error
    else:
        if isinstance(answer, (bool, np.bool_)):
            return bool(answer)
        problem = f"returned a {type(answer).__name__}"
    failure = UsageError(problem, place="Filter.predicate", remedy="return True or False for every item id")
    failure.__cause__ = cause
    return failure
