"""The schema of rankers and predictors: models that read a row of a table."""

from __future__ import annotations

import re
from bisect import bisect_right
from decimal import Decimal
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

import numpy as np

from nearhand.bundle.schema import (
    NAME,
    FileReference,
    GoldenReference,
    Precision,
    RuntimeName,
    TensorSpec,
    Variant,
)
from nearhand.errors import BundleFormatError
from nearhand.records import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

TableRole = Literal["ranker", "predictor"]
Task = Literal["regression", "binary", "multiclass", "ranking", "cluster", "transform"]


@dataclass(frozen=True)
class Column:
    """A column of the table whose rows a model reads.

    Attributes:
        vocabulary: for a category, the vocabulary in which its text has a code; None for a number.
        missing: whether a row may have none; else the original refuses such a row, and so does the device.
        unknown: whether a row may have a category that is not in the vocabulary; else such a row is refused too.
        typical: of a number: the median of the rows that the engineer gave with the model; None: none were given.
    """

    name: str
    kind: Literal["number", "category"]
    vocabulary: str | None = None
    missing: bool = True
    unknown: bool = True
    typical: Decimal | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a column has no name")
        if (self.vocabulary is None) != (self.kind == "number"):
            raise ValueError(f"column {self.name!r}: a category has a vocabulary, and a number has none")
        if self.typical is not None and self.kind == "category":
            raise ValueError(f"column {self.name!r}: a category has no typical number")


@dataclass(frozen=True)
class Ranks:
    """What a number is replaced by, before a model whose encoding is ``ranks`` sees it: its rank among thresholds.

    The rank of x is how many of its column's thresholds are below x, less how many are below 0. NaN stays NaN.

    Attributes:
        file: the thresholds of the number columns, one column after the other, ascending, as little-endian float64.
        counts: how many of them each number column has, in the order of the columns.
        reason: why the model needs it, for a reader.
    """

    file: FileReference
    counts: tuple[int, ...]
    reason: str

    def __post_init__(self) -> None:
        if min(self.counts, default=0) < 0 or self.file.bytes != 8 * sum(self.counts):
            raise ValueError(f"{sum(self.counts)} thresholds of 8 bytes do not make {self.file.bytes} bytes")


@dataclass(frozen=True)
class OutputParity:
    """How far an output of a variant is from what the original library gives for the same rows.

    Attributes:
        output: its name.
        largest_difference: over all rows.
        largest_relative_difference: over all rows, relative to the row's largest magnitude, or, for the ``value`` of
            trees, to the value itself.
        tolerance: the difference that is allowed, where the largest one is.
    """

    output: str
    largest_difference: Decimal
    largest_relative_difference: Decimal
    tolerance: Decimal


@dataclass(frozen=True)
class VariantParity:
    """One variant of a table model beside the original library's model, on all rows of the comparison.

    Attributes:
        labels_equal: rows for which both give the same label; labels_tied: rows for which they give different ones,
            and the original's two best are as good as equal. Any other label would have stopped the conversion.
        leaves_equal: rows times trees for which the leaf was compared: all rows, or the first 2,048, which stand on the
            thresholds. Another leaf would have stopped the conversion. 0 for a model without trees.
    """

    runtime: RuntimeName
    precision: Precision
    outputs: tuple[OutputParity, ...]
    labels_equal: int
    labels_tied: int
    leaves_equal: int


@dataclass(frozen=True)
class Parity:
    """The comparison that let a table model be written.

    Attributes:
        rows_given: how many rows of the engineer's own data were compared.
        rows_made: how many were made from the model itself, from its thresholds and its categories.
        description: the same in words.
    """

    rows_given: int
    rows_made: int
    description: str
    variants: tuple[VariantParity, ...]


@dataclass(frozen=True)
class TableModel:
    """A ranker or a predictor: a model that reads a row of a table, in all of its variants.

    Its inputs are ``numbers`` float32 [rows, number columns] and ``categories`` int32 [rows, category columns], each
    only if there is such a column. A category's code is 0 for none, 1 for one that its vocabulary does not have, and
    2 + i for text i. What it returns is said by ``outputs``.

    Attributes:
        name: lowercase words; no other ranker or predictor of the bundle has it.
        kind: ``trees``: an ensemble of trees, whose leaves were compared; ``graph``: anything else.
        task: what it was trained for.
        classes: of a classifier: the texts of its classes, in the order of ``probability``; else none.
        columns: what a row has to have.
        encoding: how a number is given to the model: ``values``: as it is, rounded to float32; ``ranks``: as its rank,
            see :class:`Ranks`.
        golden: rows, and the outputs that every device must compute for them.
        parity: the comparison with the original.
        provenance: the library, class and objective, its file's hash, and its library's version.
        ranks: for the encoding ``ranks``.
        notes: what a reader should know beside it, one sentence each.
    """

    role: TableRole
    name: str
    kind: Literal["trees", "graph"]
    task: Task
    classes: tuple[str, ...]
    columns: tuple[Column, ...]
    encoding: Literal["values", "ranks"]
    variants: tuple[Variant, ...]
    golden: GoldenReference
    parity: Parity
    provenance: dict[str, str]
    ranks: Ranks | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(NAME, self.name):
            raise ValueError(f"name {self.name!r} is not lowercase words joined by '-' or '_'")
        if not self.variants:
            raise ValueError(f"the {self.role} {self.name!r} has no variant")
        if self.golden.count < 1:
            raise ValueError(f"the {self.role} {self.name!r} has no golden vectors")
        names = [column.name for column in self.columns]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"the {self.role} {self.name!r} has no columns, or two of one name")
        if (self.ranks is not None) != (self.encoding == "ranks"):
            raise ValueError("ranks stand beside the encoding 'ranks', and beside no other")
        if self.ranks is not None and len(self.ranks.counts) != len(self.numbers):
            raise ValueError(f"{len(self.numbers)} number columns have {len(self.ranks.counts)} lists of thresholds")
        if bool(self.classes) != (self.task in ("binary", "multiclass")):
            raise ValueError(f"task {self.task!r} has {len(self.classes)} classes")
        signatures = {(variant.inputs, variant.outputs) for variant in self.variants}
        if len(signatures) != 1 or self.variants[0].inputs != self._inputs():
            raise ValueError("a variant has other inputs than its columns make, or other outputs than the first")
        if sorted(spec.name for spec in self.outputs) not in _OUTPUTS[self.task]:
            raise ValueError(f"task {self.task!r} has the outputs {[spec.name for spec in self.outputs]}")
        if any(spec.shape[:1] != (-1,) or (len(spec.shape) == 1) != (spec.name == "label") for spec in self.outputs):
            raise ValueError("an output is not [rows, width], or a label not [rows]")
        keys = [(variant.runtime, variant.precision) for variant in self.variants]
        if len(set(keys)) != len(keys):
            raise ValueError("two variants are of one runtime and precision")
        if sorted(keys) != sorted((one.runtime, one.precision) for one in self.parity.variants):
            raise ValueError("the variants and those that were compared with the original differ")

    @cached_property
    def numbers(self) -> tuple[Column, ...]:
        """The number columns."""
        return tuple(column for column in self.columns if column.kind == "number")

    @cached_property
    def categories(self) -> tuple[Column, ...]:
        """The category columns."""
        return tuple(column for column in self.columns if column.kind == "category")

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What every variant returns; the first dimension of each is the rows.

        ``value`` (regression, ranking), ``probability`` or ``score`` and ``label`` (binary, multiclass), ``label`` and
        perhaps ``distance`` (cluster), ``transformed`` (transform).
        """
        return self.variants[0].outputs

    def _inputs(self) -> tuple[TensorSpec, ...]:
        numbers, categories = len(self.numbers), len(self.categories)
        made = (TensorSpec("numbers", "float32", (-1, numbers)), TensorSpec("categories", "int32", (-1, categories)))
        return tuple(spec for spec in made if spec.shape[1])


_CLASSIFIER = (["label", "probability"], ["label", "score"])
_OUTPUTS: dict[Task, tuple[list[str], ...]] = {
    "regression": (["value"],),
    "ranking": (["value"],),
    "binary": _CLASSIFIER,
    "multiclass": _CLASSIFIER,
    "cluster": (["label"], ["distance", "label"]),
    "transform": (["transformed"],),
}


@dataclass(frozen=True)
class VocabulariesReference:
    """Where the vocabularies are, and the number of texts of each."""

    file: FileReference
    counts: dict[str, int]


@dataclass(frozen=True)
class TableGolden:
    """Golden vectors of a ranker or a predictor: rows, and what every device must compute for them.

    Attributes:
        numbers: row → its number columns; None is missing.
        categories: row → the codes of its category columns.
        outputs: output → row → its values; a label is one whole number.
        tolerances: output → the largest difference that is no fault.
    """

    numbers: tuple[tuple[Decimal | None, ...], ...]
    categories: tuple[tuple[int, ...], ...]
    outputs: dict[str, tuple[tuple[Decimal, ...], ...]]
    tolerances: dict[str, Decimal]

    def __post_init__(self) -> None:
        rows = len(self.numbers)
        if {rows} != {len(self.categories), *map(len, self.outputs.values())}:
            raise ValueError("columns and outputs differ in their number of rows")
        if set(self.outputs) != set(self.tolerances):
            raise ValueError("not every output has a tolerance, or a tolerance has no output")


def parse_table_golden(model: TableModel, data: bytes, *, place: str) -> TableGolden:
    """The golden vectors of a ranker or a predictor from their file's bytes.

    Raises:
        BundleFormatError: they are outside the schema, not as many as the manifest says, or of another width than the
            model's columns and outputs.
    """
    from nearhand.bundle.document import parse  # at a start of the app no golden vectors are read

    golden = parse(TableGolden, data, place=place)
    widths = {
        "numbers": (golden.numbers, len(model.numbers)),
        "categories": (golden.categories, len(model.categories)),
        **{spec.name: (golden.outputs.get(spec.name, ()), (*spec.shape, 1)[1]) for spec in model.outputs},
    }
    if set(golden.outputs) != {spec.name for spec in model.outputs}:
        raise _unfit(f"has the outputs {sorted(golden.outputs)}, and the model has others", place)
    for name, (rows, width) in widths.items():
        if len(rows) != model.golden.count:
            raise _unfit(f"holds {len(rows)} rows, and the manifest says {model.golden.count}", f"{place}: {name}")
        if any(len(row) != width for row in rows):
            raise _unfit(f"has a row that is not of the model's {width} columns", f"{place}: {name}")
    return golden


def parse_vocabularies(reference: VocabulariesReference, data: bytes, *, place: str) -> dict[str, tuple[str, ...]]:
    """Name → texts from the file's bytes.

    Raises:
        BundleFormatError: they are outside the schema, a text stands twice, or they are not of the lengths that the
            manifest says.
    """
    from nearhand.bundle.document import decode, load  # not every bundle has vocabularies

    found: dict[str, tuple[str, ...]] = decode(dict[str, tuple[str, ...]], load(data, place=place), place=f"{place}: ")
    counts = {name: len(texts) for name, texts in found.items()}
    if counts != reference.counts:
        raise _unfit("holds other vocabularies than the manifest says, or of other lengths", place)
    for name, texts in found.items():
        if len(set(texts)) != len(texts):
            raise _unfit("has a text twice", f"{place}: {name}")
    return found


def parse_thresholds(ranks: Ranks, data: bytes, *, place: str) -> tuple[NDArray[np.float64], ...]:
    """For each number column its thresholds, float64 and not to be changed, from the file's bytes.

    Raises:
        BundleFormatError: the bytes are not as many as the manifest says, or a column's thresholds do not ascend.
    """
    if len(data) != ranks.file.bytes:
        raise _unfit(f"has {len(data)} bytes, not the {ranks.file.bytes} of the manifest", place)
    every, ends = np.frombuffer(data, "<f8"), list(accumulate(ranks.counts))
    # All columns at once: one after the other takes as long as loading the model.
    falls = every[1:] <= every[:-1]
    falls[[end - 1 for end in ends if 0 < end < len(every)]] = False  # there another column begins
    wrong = np.isnan(every)
    wrong[1:] |= falls
    if wrong.any():
        number = bisect_right(ends, int(wrong.argmax()))
        raise _unfit("does not ascend, or holds a NaN", f"{place}: column {number}")
    return tuple([every[end - count : end] for count, end in zip(ranks.counts, ends, strict=True)])


def _unfit(problem: str, place: str) -> BundleFormatError:
    return BundleFormatError(problem, place=place, remedy="build the bundle again with `nearhand convert`")
