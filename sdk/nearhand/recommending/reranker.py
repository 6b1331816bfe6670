"""What may rank a list's candidates in the place of the device: a seam that :mod:`nearhand.hybrid` fills."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from nearhand.features import FeatureVector
from nearhand.retrieval import HistoryItem

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Reranked(Protocol):
    """Scores from elsewhere."""

    @property
    def at(self) -> NDArray[np.intp]:
        """[n], places among the candidates that were given."""
        ...

    @property
    def scores(self) -> NDArray[np.float64]:
        """[n], theirs; finite, higher is better."""
        ...


class Asked(Protocol):
    """An answer that is under way."""

    @property
    def is_alone(self) -> bool:
        """Whether the device need not rank in the meantime: it does if no answer comes."""
        ...

    def wait(self, cancelled: threading.Event | None) -> Reranked | None:
        """The scores; None: there are none in time, and the device's own are used. Called once.

        It returns early when ``cancelled`` is set.
        """
        ...


class Reranker(Protocol):
    """Decides for each list whether it asks, and begins to."""

    def ask(
        self,
        *,
        k: int,
        history: Sequence[HistoryItem],
        candidates: NDArray[np.int32],
        scores: NDArray[np.float64],
        features: Callable[[], FeatureVector] | None,
        left_ms: float | None,
    ) -> Asked | None:
        """An answer that is under way; None: the list stays on the device. Returns at once.

        Args:
            k: how many items are wanted.
            history: its items, the latest last; empty if there is none, or it is not to be looked at.
            candidates: item rows, [n]; scores: theirs by retrieval, [n].
            features: reads the profile's features; None: there are none.
            left_ms: of the deadline; None: there is none.

        Raises:
            StorageError, EncryptionError: the profile cannot be read.
        """
        ...
