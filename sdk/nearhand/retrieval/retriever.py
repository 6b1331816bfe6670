"""Encode a history, retrieve candidates: the two sessions of a bundle, and the order of what comes out."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from nearhand.errors import ModelError
from nearhand.records import dataclass
from nearhand.runtime import Session


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
        return Candidates(self.rows[chosen], self.scores[chosen], self.vectors[chosen])


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

    def retrieve(self, vector: NDArray[np.float32], *, exclude: Collection[int], k: int) -> Candidates:
        """At least ``k`` candidates (if the catalogue has that many left) for a user vector float32 [1, factors].

        Args:
            exclude: item rows that may not come back.

        Raises:
            ModelError: the runtime fails, or gives a row that the catalogue does not have.
        """
        count = min(self._items, max(self._candidates, k) + len(exclude))
        outputs = self._index.run({"user_vector": vector, "k": np.array([count], np.int32)})
        found = Candidates(outputs["candidate_rows"], outputs["candidate_scores"], outputs["candidate_vectors"])
        rows, scores = found.rows, found.scores
        if len(rows) and not (rows.min() >= 0 and rows.max() < self._items):
            raise ModelError(
                f"gives item rows outside 0 … {self._items - 1}", place="index", remedy="use another variant"
            )
        order = np.arange(len(rows))
        if not (scores[1:] < scores[:-1]).all():  # the index has them in order, but for equal ones
            order = np.lexsort((rows, -scores))
        if exclude:
            excluded = np.zeros(self._items, np.bool_)
            excluded[np.fromiter(exclude, np.intp, len(exclude))] = True
            order = order[~excluded[rows[order]]]
        return found.take(order)

    def close(self) -> None:
        """Free both sessions."""
        self._encoder.close()
        self._index.close()
