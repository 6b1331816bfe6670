"""A column of a catalogue by its different cells: ten thousand films have some hundred combinations of genres."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from nearhand.records import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

Cell = TypeVar("Cell", bound=Hashable)


@dataclass(frozen=True, eq=False)
class Grouped(Generic[Cell]):
    """The different cells of a column, in the order in which they come; and for each cell its place in them."""

    distinct: tuple[Cell, ...]
    places: NDArray[np.integer[Any]]


def grouped(cells: Sequence[Cell]) -> Grouped[Cell]:
    """Cells that are equal, such as 1 and 1.0, are one."""
    distinct = tuple(dict.fromkeys(cells))
    place_of = dict(zip(distinct, range(len(distinct)), strict=True))
    return Grouped(distinct, np.fromiter(map(place_of.__getitem__, cells), np.intp, len(cells)))
