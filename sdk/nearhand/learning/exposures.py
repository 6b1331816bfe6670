"""The lists that were given, so that what came of them can be told: a journal, one durable line for each list."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nearhand.clock import Clock
from nearhand.errors import StorageError, UsageError
from nearhand.events import RecordedEvent, Scalar
from nearhand.profile import ProfileStore
from nearhand.records import dataclass, field

if TYPE_CHECKING:
    from numpy.typing import NDArray

JOURNAL = "exposure"

_VERSION = 1
_HEAD = struct.Struct("<BHHI")  # version, k, d, bytes of the JSON
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


class UnreadableExposureError(StorageError):
    """A line of the journal is not what was written."""


@dataclass(frozen=True, eq=False)
class Exposure:
    """A list that was given, best first.

    Attributes:
        recommendation_id: the list's identifier.
        at: when it was given, milliseconds since the Unix epoch, by the device's clock.
        source: where it came from, as its recommendations say.
        item_ids: the k items, all different.
        propensities: k probabilities with which the policy showed each item at its place, given those above it.
        scores: k scores by which the list was ordered.
        features: float32 [k, d], the bandit's input of each item; d = 0 if there is none: such a list teaches nothing.
        context: what the caller said of the situation.
        space: what the features mean, such as the digest of the model that made the vectors. A bandit learns from
            lists of its own space only: a retrained model's vectors have other axes.

    Raises:
        UsageError: the lengths differ, an item stands twice, or the features are not float32 of two axes.
    """

    recommendation_id: str
    at: int
    source: str
    item_ids: tuple[str, ...]
    propensities: tuple[float, ...]
    scores: tuple[float, ...]
    features: NDArray[np.float32]
    context: Mapping[str, Scalar] = field(hash=False)
    space: str

    def __post_init__(self) -> None:
        k = len(self.item_ids)
        remedy = "give one of each for every item of the list"
        for name in ("propensities", "scores"):
            if len(getattr(self, name)) != k:
                problem = f"has {len(getattr(self, name))} numbers for {k} items"
                raise UsageError(problem, place=f"Exposure.{name}", remedy=remedy)
        if self.features.dtype != np.float32 or self.features.ndim != 2 or len(self.features) != k:
            problem = f"is {self.features.dtype} {list(self.features.shape)}, not float32 [{k}, d]"
            raise UsageError(problem, place="Exposure.features", remedy=remedy)
        if len(set(self.item_ids)) != k:
            raise UsageError("has an item twice", place="Exposure.item_ids", remedy="show each item once")


class Exposures:
    """The journal of exposures in a profile's store. Safe for several threads and processes.

    Args:
        store: where they are kept.
        clock: tells when a line is written.
        keep: how many of the latest lists are kept, at the least. What happens to an older list teaches nothing.
    """

    def __init__(self, store: ProfileStore, clock: Clock, keep: int = 500) -> None:
        self._store = store
        self._clock = clock
        self.keep = keep

    def log(self, exposure: Exposure) -> None:
        """Keep a list. When this returns it is as durable as the store was asked to be.

        Raises:
            StorageError: it could not be written.
        """
        content = packed(exposure)
        self._store.append(JOURNAL, exposure.recommendation_id, self._clock.now_ms(), content, keep=self.keep)

    def find(self, recommendation_id: str) -> Exposure | None:
        """The list with that identifier; None if there is none (any more).

        Raises:
            StorageError: it cannot be read, or is not what was written.
            EncryptionError: it was written with another key.
        """
        entry = self._store.find(JOURNAL, recommendation_id)
        return None if entry is None else unpacked(entry.name, entry.content)

    def attributed(self, event: RecordedEvent) -> tuple[Exposure, int] | None:
        """The list that an event names and the position, from 0, of the event's item in it.

        None: the event names no list or no item, the list is not kept (any more), or the item was not in it.

        Raises:
            StorageError, EncryptionError: see :meth:`find`.
        """
        if event.recommendation_id is None or event.item_id is None:
            return None
        exposure = self.find(event.recommendation_id)
        if exposure is None or event.item_id not in exposure.item_ids:
            return None
        return exposure, exposure.item_ids.index(event.item_id)

    def kept(self) -> set[str]:
        """The identifiers of the lists that are kept.

        Raises:
            StorageError, EncryptionError: see :meth:`find`.
        """
        return {entry.name for entry in self._store.entries(JOURNAL)}

    def all(self) -> list[Exposure]:
        """Every list that is kept, the earliest first: what an off-policy estimate is made of.

        Raises:
            StorageError, EncryptionError: see :meth:`find`.
        """
        return [unpacked(entry.name, entry.content) for entry in self._store.entries(JOURNAL)]


def packed(exposure: Exposure) -> bytes:
    """An exposure, without its identifier, as bytes.

    A head (version 1, k, d, length n: unsigned little-endian of 1, 2, 2 and 4 bytes), n bytes of JSON (``[at, source,
    space, item_ids, context]``, UTF-8), k propensities and k scores (float64) and k·d features (float32, row by row),
    little-endian.

    Raises:
        UsageError: the context is not JSON, or the list or its features have more than 65,535 of anything.
    """
    k, d = exposure.features.shape
    if k > 0xFFFF or d > 0xFFFF:
        raise UsageError(f"has {k} items of {d} features", place="exposure", remedy="give a list of at most 65,535")
    try:
        parts = (exposure.at, exposure.source, exposure.space, exposure.item_ids, {**exposure.context})
        text = _ENCODER.encode(parts).encode()
    except (TypeError, ValueError) as error:
        remedy = "give names with a text, a finite number, true, false or None"
        raise UsageError(f"is not JSON ({error})", place="exposure context", remedy=remedy) from error
    return b"".join(
        (
            _HEAD.pack(_VERSION, k, d, len(text)),
            text,
            struct.pack(f"<{2 * k}d", *exposure.propensities, *exposure.scores),
            exposure.features.astype("<f4", copy=False).tobytes(),
        )
    )


def unpacked(recommendation_id: str, content: bytes) -> Exposure:
    """What :func:`packed` made bytes of.

    Raises:
        UnreadableExposureError: it did not make these.
    """
    try:
        version, k, d, length = _HEAD.unpack_from(content)
        if version != _VERSION or len(content) != _HEAD.size + length + 16 * k + 4 * k * d:
            raise ValueError(f"version {version}, {len(content)} bytes")
        end = _HEAD.size + length
        at, source, space, item_ids, context = json.loads(content[_HEAD.size : end])
        numbers = struct.unpack_from(f"<{2 * k}d", content, end)
        features = np.frombuffer(content, "<f4", k * d, end + 16 * k).reshape(k, d).astype(np.float32, copy=False)
        return Exposure(
            recommendation_id, at, source, tuple(item_ids), numbers[:k], numbers[k:], features, context, space
        )
    except (struct.error, ValueError, TypeError, UsageError) as error:
        raise UnreadableExposureError(
            f"is not an exposure of version {_VERSION} ({error})",
            place=f"exposure {recommendation_id}",
            remedy="clear the journal of exposures, or use the SDK that wrote it",
        ) from error
