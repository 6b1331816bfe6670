"""What the parts of a bundle say of themselves: its models, its retrieval, ``items.json`` and ``golden.json``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from nearhand.bundle.grouped import Grouped, grouped
from nearhand.records import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT_VERSION = 1
"""The bundle format this SDK reads and the converters write."""

MANIFEST_PATH = "manifest.json"

RuntimeName = Literal["onnx", "tflite", "ort"]
Precision = Literal["fp32", "int8"]
Role = Literal["encoder", "index"]
NumberColumn = Literal["years", "popularity", "min_ages", "added_at"]
"""A column of integers of the catalogue."""

NAME = r"[a-z0-9]+(?:[-_][a-z0-9]+)*"
_SHA256 = r"[0-9a-f]{64}"


def semantic_version(text: str) -> tuple[int, int, int]:
    """``"1.20.3"`` as ``(1, 20, 3)``.

    Raises:
        ValueError: not three dotted numbers without leading zeros.
    """
    numbers = str.split(text, ".")  # a TypeError if it is no text
    if len(numbers) != 3 or not all(each.isascii() and each.isdigit() and str(int(each)) == each for each in numbers):
        raise ValueError(f"version {text!r} is not MAJOR.MINOR.PATCH")
    major, minor, patch = map(int, numbers)
    return major, minor, patch


@dataclass(frozen=True)
class FileReference:
    """A file of the bundle. ``bytes`` is its exact size."""

    path: str
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if self.bytes < 0:
            raise ValueError(f"size {self.bytes} is negative")
        if not re.fullmatch(_SHA256, self.sha256):
            raise ValueError(f"sha256 {self.sha256!r} is not 64 lowercase hexadecimal characters")


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a model. A dimension of -1 is decided at run time."""

    name: str
    dtype: Literal["float32", "int32"]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Variant:
    """One executable form of a model.

    Attributes:
        versions: for onnx ``{"opset": …, "ir": …}``; for tflite the version of each operator.
        operators: every operator that the runtime must have, sorted.
        build_config: for ort: the configuration that builds an onnxruntime of just these operators and their types.
    """

    runtime: RuntimeName
    precision: Precision
    file: FileReference
    versions: dict[str, int]
    operators: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    build_config: FileReference | None = None


@dataclass(frozen=True)
class Model:
    """A retrieval model in all of its variants.

    Attributes:
        kind: ``fold_in``: history rows and confidences → the user vector that solves implicit ALS for them;
            ``inner_product``: user vector → the candidates with the largest inner product.
    """

    role: Role
    kind: Literal["fold_in", "inner_product"]
    variants: tuple[Variant, ...]

    def __post_init__(self) -> None:
        if not self.variants:
            raise ValueError(f"the {self.role} has no variant")


@dataclass(frozen=True)
class ItemsReference:
    """Where the catalogue is, and its number of items. Row ``i`` of every model is the i-th item."""

    file: FileReference
    count: int


@dataclass(frozen=True)
class GoldenReference:
    """Where the golden vectors are."""

    file: FileReference
    count: int


@dataclass(frozen=True)
class FeaturesReference:
    """Where the feature program is, with its name and version."""

    file: FileReference
    name: str
    version: str


@dataclass(frozen=True)
class Policy:
    """How events become a history, and how much is retrieved.

    Attributes:
        window: the history's length: its most recent distinct items are used.
        confidences: event type → the ALS confidence that one such event adds to its item. A negative sum is a dislike.
            Event types that are not listed do not enter the history.
        confidence_cap: the largest magnitude an item's summed confidence may have: watching a film fifty times is
            not fifty films. It also bounds the condition number of the fold-in.
        seen: event types after which an item is not recommended again.
        candidates: how many candidates are retrieved, beyond those that are filtered out.
        verbs: event type → the past-tense verb of explanations, such as ``item_viewed`` → ``watched``.
    """

    window: int
    confidences: dict[str, Decimal]
    confidence_cap: Decimal
    seen: tuple[str, ...]
    candidates: int
    verbs: dict[str, str]

    def __post_init__(self) -> None:
        if self.window < 1 or self.candidates < 1:
            raise ValueError("window and candidates must be at least 1")
        if self.confidence_cap <= 0:
            raise ValueError("confidence_cap must be positive")
        if missing := sorted(set(self.confidences) - set(self.verbs)):
            raise ValueError(f"event type {missing[0]!r} has a confidence but no verb")


@dataclass(frozen=True)
class Estimate:
    """A mean over users with its 95 % bootstrap interval."""

    value: Decimal
    low: Decimal
    high: Decimal


@dataclass(frozen=True)
class SliceEvidence:
    """The relative change of NDCG@10 on a part of the users or items."""

    name: str
    users: int
    ndcg_change: Estimate


@dataclass(frozen=True)
class VariantEvidence:
    """Ranking quality of one variant (encoder and index together) beside the source model, on the same users.

    Attributes:
        ndcg_at_10, recall_at_50: the variant's own means.
        ndcg_change, recall_change: relative change of the mean against the source model, paired by user.
        top10_overlap: mean share of the source's top 10 that is in the variant's top 10.
        user_vector_error: largest relative error of the user vector against the exact float64 solve *with the
            variant's own item table*: the error of the arithmetic, apart from that of the quantized weights.
    """

    runtime: RuntimeName
    precision: Precision
    bytes: int
    ndcg_at_10: Estimate
    recall_at_50: Estimate
    ndcg_change: Estimate
    recall_change: Estimate
    top10_overlap: Decimal
    user_vector_error: Decimal
    slices: tuple[SliceEvidence, ...]


@dataclass(frozen=True)
class Budget:
    """What a variant may lose. Changes are relative; the interval's lower bound must not be below them."""

    ndcg_change: Decimal
    recall_change: Decimal
    top10_overlap: Decimal
    user_vector_error: Decimal


@dataclass(frozen=True)
class Evidence:
    """The measurements that let this bundle be written.

    Attributes:
        data: the data set's name and how its users were held out, for a reader.
        users: how many held-out users were evaluated.
        source_ndcg_at_10, source_recall_at_50: the source model with each history's last ``window`` items.
        window_ndcg_change: what the window costs: the same against the source model with whole histories.
        popularity_ndcg_at_10: the trivial recommender, for scale.
        dropped: variants that were built but not kept, each with its reason.
    """

    data: str
    users: int
    bootstrap_samples: int
    budget: Budget
    source_ndcg_at_10: Estimate
    source_recall_at_50: Estimate
    window_ndcg_change: Estimate
    popularity_ndcg_at_10: Estimate
    variants: tuple[VariantEvidence, ...]
    dropped: dict[str, str]


@dataclass(frozen=True)
class Items:
    """The catalogue, by column; index = row of the models.

    Attributes:
        years: 0 where unknown.
        directors: "" where unknown.
        popularity: number of positive training interactions of the item.
        min_ages: the age in years from which the item is allowed, 0: any; empty: not known of any item.
        added_at: when it came into the catalogue, ms since the epoch, 0: unknown; empty: not known of any item.
    """

    item_ids: tuple[str, ...]
    titles: tuple[str, ...]
    years: tuple[int, ...]
    genres: tuple[tuple[str, ...], ...]
    directors: tuple[str, ...]
    popularity: tuple[int, ...]
    min_ages: tuple[int, ...] = ()
    added_at: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        columns = vars(self)
        lengths = {len(column) for name, column in columns.items() if column or name not in ("min_ages", "added_at")}
        if len(lengths) != 1:
            raise ValueError(f"columns have different lengths {sorted(lengths)}")
        if len(self.rows) != len(self.item_ids):
            raise ValueError("an item id stands twice")

    @cached_property
    def grouped_genres(self) -> Grouped[tuple[str, ...]]:
        """The combinations of genres."""
        return grouped(self.genres)

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """Item id → row."""
        return dict(zip(self.item_ids, range(len(self.item_ids)), strict=True))

    @cached_property
    def by_popularity(self) -> NDArray[np.int32]:
        """The rows, the most popular first; of equal ones the lower."""
        return np.argsort(-self.numbers("popularity"), kind="stable").astype(np.int32)

    @property
    def count(self) -> int:
        """How many items there are."""
        return len(self.item_ids)

    def item_id(self, row: int) -> str:
        """One item's id."""
        return self.item_ids[row]

    def ids_of(self, rows: NDArray[np.intp]) -> list[str]:
        """Some items' ids."""
        return [self.item_ids[row] for row in rows.tolist()]

    def title(self, row: int) -> str:
        """One item's title."""
        return self.titles[row]

    def numbers(self, name: NumberColumn, rows: NDArray[np.intp] | None = None) -> NDArray[np.int64]:
        """A column of integers, or some rows of it, as an array; not to be changed."""
        known = self._arrays.get(name)
        if known is None:
            known = self._arrays[name] = np.array(getattr(self, name), np.int64)
        return known if rows is None else known.take(rows)

    @cached_property
    def _arrays(self) -> dict[NumberColumn, NDArray[np.int64]]:
        return {}


@dataclass(frozen=True)
class GoldenCase:
    """A history and the ordered list that every device must compute for it.

    Attributes:
        rows, confidences: the history, oldest first (item rows; ALS confidences).
        expected: precision → the ranked item rows, best first, history excluded.
        scores: precision → their scores.
    """

    rows: tuple[int, ...]
    confidences: tuple[Decimal, ...]
    expected: dict[str, tuple[int, ...]]
    scores: dict[str, tuple[Decimal, ...]]

    def __post_init__(self) -> None:
        if len(self.rows) != len(self.confidences):
            raise ValueError(f"{len(self.rows)} rows have {len(self.confidences)} confidences")
        ranked = {precision: len(rows) for precision, rows in self.expected.items()}
        if ranked != {precision: len(scores) for precision, scores in self.scores.items()}:
            raise ValueError("expected and scores differ in precisions or lengths")


@dataclass(frozen=True)
class Golden:
    """Golden vectors. Two neighbours whose scores differ by less than ``tolerance`` (relative) may change places."""

    tolerance: Decimal
    cases: tuple[GoldenCase, ...]
