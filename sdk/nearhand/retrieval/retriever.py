"""Encode a history, retrieve candidates: the two sessions of a bundle, and the order of what comes out."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from nearhand.errors import ModelError
from nearhand.records import dataclass
from nearhand.runtime import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

Excluded: TypeAlias = "Collection[int] | NDArray[np.bool_]"
"""Item rows, or True for each of them in bool [items]."""

_SPARE = 300
"""How many more candidates are asked for at first, because some are excluded. Each costs, in the index and after it."""


def as_mask(excluded: Excluded, items: int) -> tuple[NDArray[np.bool_], int]:
    """Rows as bool [items], and how many they are."""
    if isinstance(excluded, np.ndarray):
        return excluded, int(np.count_nonzero(excluded))
    mask = np.zeros(items, np.bool_)
    mask[np.fromiter(excluded, np.intp, len(excluded))] = True
    return mask, len(excluded)


@dataclass(frozen=True)
class User:
    """An encoded history.

    Attributes:
        vector: float32 [1, factors].
        history_vectors: float32 [window, factors], the encoder's own item rows, aligned with the padded history.
    """

    vector: NDArray[np.float32]
    history_vectors: NDArray[np.float32]


@dataclass(frozen=True)
class Candidates:
    """Retrieved, unranked by anything but their score: best first, equal scores by lower row first.

    Attributes:
        rows: int32 [n] item rows; scores: float32 [n]; vectors: float32 [n, factors].
    """

    rows: NDArray[np.int32]
    scores: NDArray[np.float32]
    vectors: NDArray[np.float32]

    def take(self, chosen: NDArray[np.intp]) -> Candidates:
        """The candidates at the given positions, in that order."""
        return Candidates(self.rows.take(chosen), self.scores.take(chosen), self.vectors.take(chosen, axis=0))


class Retriever:
    """The encoder and the index of one bundle variant."""

    def __init__(self, encoder: Session, index: Session, *, items: int, window: int, candidates: int) -> None:
        """
        Args:
            items: number of items in the catalogue.
            window: length of the encoder's history input.
            candidates: how many are retrieved beyond those excluded, at the least.
        """
        self._encoder = encoder
        self._index = index
        self._items = items
        self._candidates = candidates
        self.window = window

    def encode(self, rows: NDArray[np.int32], confidences: NDArray[np.float32]) -> User:
        """The user of a padded history: int32 [window] and float32 [window].

        Raises:
            ModelError: the runtime fails.
        """
        outputs = self._encoder.run({"history_rows": rows, "history_confidences": confidences})
        return User(outputs["user_vector"], outputs["history_vectors"])

    def retrieve(self, vector: NDArray[np.float32], *, exclude: Excluded, k: int) -> Candidates:
        """At least ``k`` candidates (if the catalogue has that many left) for a user vector float32 [1, factors].

        Args:
            exclude: item rows that may not come back, or bool [items].

        Raises:
            ModelError: the runtime fails, or gives a row that the catalogue does not have.
        """
        excluded, count = as_mask(exclude, self._items)
        wanted = max(self._candidates, k)
        enough = min(self._items, wanted + count)  # even if the best are all excluded
        asked = min(enough, wanted + _SPARE)
        while True:
            found = self._search(vector, asked)
            left = (~excluded.take(found.rows)).nonzero()[0]
            if asked == enough or len(left) >= wanted:
                break
            asked = min(enough, 4 * asked)
        return found.take(left.take(_best_first(found.scores.take(left), found.rows.take(left))))

    def _search(self, vector: NDArray[np.float32], count: int) -> Candidates:
        """What the index finds."""
        outputs = self._index.run({"user_vector": vector, "k": np.array([count], np.int32)})
        rows = outputs["candidate_rows"]
        if rows.astype(np.uint32).max(initial=0) >= self._items:  # as such, a negative one is greater than all
            raise ModelError(
                f"gives item rows outside 0 … {self._items - 1}", place="index", remedy="use another variant"
            )
        return Candidates(rows, outputs["candidate_scores"], outputs["candidate_vectors"])

    def close(self) -> None:
        """Free both sessions."""
        self._encoder.close()
        self._index.close()


def _best_first(scores: NDArray[np.float32], rows: NDArray[np.int32]) -> NDArray[np.intp]:
    """The places in the order of the scores, equal ones by lower row: the index has them by its integer scores."""
    order = (-scores).argsort(kind="stable")  # they are nearly in order, which this sort makes use of
    ordered = scores.take(order)
    if np.count_nonzero(ordered[1:] == ordered[:-1]):
        return np.lexsort((rows, -scores))
    return order
