"""Does an artifact of a tabular model compute what the original does? The rule, and what it measured.

- **Trees**: the leaf of every row in every tree is the one of the original library.
- **Labels** are the original's, except at a tie: where the original's two best differ by less than they may be off.
- **Numbers** are off by at most 1e-5 of the largest number of their row, the values that trees predict by 1e-5 of
  themselves; or, where more than that is lost in float32 whoever computes it, by four times what the original itself
  loses (:meth:`Original._own_error`).
- **NaN and infinity**: exactly where the original gives them; a number beyond float32 is an infinity.
- **Batches** of 1, 2, 7 and up to 1,000 rows: each is held to the rule, and they agree with each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import ParityError
from nearhand_converters.graph.links import link_reference
from nearhand_converters.graph.trees.form import Trees
from nearhand_converters.sources.model import Outputs, Rows, TabularModel

Run: TypeAlias = Callable[[Rows], Outputs]
"""Runs an artifact on a batch."""
Leaves: TypeAlias = Callable[[Rows], NDArray[np.integer]]
"""The leaves that an artifact's trees reach, as nodes of the model's ``trees``, int [rows, trees]."""

_Sliced = TypeVar("_Sliced", Rows, NDArray[np.int64])

RELATIVE = 1e-5
_HALF_ULP = 2.0**-24
"""What rounding a number to float32 changes at most, relative to it."""
OWN_ERRORS = 4.0
BATCH = 1_000
SMALL_BATCHES = (1, 2, 7)
_SMALLEST = float(np.finfo(np.float32).tiny)
"""Runtimes may flush what is smaller to zero."""


@dataclass(frozen=True)
class OutputParity:
    """How far an output was from the original's, over all rows.

    Attributes:
        difference: the largest |Δ| of a number that is finite.
        relative: the largest |Δ| in parts of what 1e-5 is taken of.
        tolerance: the largest that was allowed where |Δ| was the largest.
    """

    name: str
    difference: float
    relative: float
    tolerance: float


@dataclass(frozen=True)
class Parity:
    """What a check that passed has measured.

    Attributes:
        label: which artifact.
        rows: how many rows were compared.
        outputs: of the numbers; labels are not among them.
        labels: how many rows have the original's label; None if the model gives none.
        ties: how many have another, the original's two best being as good as equal.
        leaves: how many leaves (rows × trees) were compared and equal.
    """

    label: str
    rows: int
    outputs: tuple[OutputParity, ...]
    labels: int | None
    ties: int
    leaves: int

    @property
    def difference(self) -> float:
        """The largest |Δ| of any number."""
        return max((output.difference for output in self.outputs), default=0.0)


def verify_tabular(model: TabularModel, run: Run, rows: Rows, *, label: str, leaves: Leaves | None = None) -> Parity:
    """Compare one artifact with the original; see :meth:`Original.verify`. For several artifacts keep an Original."""
    return Original(model, rows).verify(run, label=label, leaves=leaves)


class Original:
    """The original model's answers to some rows, computed once for all artifacts."""

    def __init__(self, model: TabularModel, rows: Rows) -> None:
        if not len(rows):
            raise ValueError("there are no rows to compare")
        self.model = model
        self.rows = rows

    @cached_property
    def outputs(self) -> dict[str, NDArray[Any]]:
        return {name: np.asarray(values) for name, values in self.model.predict(self.rows).items()}

    @cached_property
    def leaves(self) -> NDArray[np.integer] | None:
        """The original library's, else those of the neutral form; None if the model has no trees."""
        trees = self.model.trees
        if trees is None:
            return None
        own = self.model.leaves(self.rows)
        return self._neutral_leaves if own is None else own

    @cached_property
    def decided(self) -> NDArray[np.bool_]:
        """bool [rows]: False where the original chooses between equals, as of two neighbours at the same distance.

        Such a row may be answered with either choice, so it proves nothing. All True unless the model says something.
        """
        says = getattr(self.model, "decided", None)
        return np.ones(len(self.rows), np.bool_) if says is None else says(self.rows)

    @cached_property
    def _neutral_leaves(self) -> NDArray[np.int32]:
        trees = self.model.trees
        assert trees is not None
        return np.concatenate([trees.leaves(part.numbers, part.categories) for part in _chunks(self.rows, BATCH)])

    def verify(self, run: Run, *, label: str, leaves: Leaves | None = None, leaf_rows: int | None = None) -> Parity:
        """Compare one artifact with the original.

        Args:
            label: names the artifact in errors and in the result.
            leaves: the artifact's leaves; without it those of the neutral form, which the artifact is written from,
                are compared with the original's.
            leaf_rows: for how many of the first rows the artifact is asked for its leaves; by default for all.

        Raises:
            ParityError: the artifact breaks the rule; names the output, the row and both results.
        """
        every = np.arange(len(self.rows))
        parts = [
            self._checked(run(part), label, chosen)
            for part, chosen in zip(_chunks(self.rows, BATCH), _chunks(every, BATCH), strict=True)
        ]
        whole = {name: np.concatenate([part[name] for part in parts]) for name in self.outputs}
        compared = self._compare_leaves(label, leaves, leaf_rows)
        outputs = tuple(
            self._compare_numbers(label, name, expected, whole[name], every)
            for name, expected in self.outputs.items()
            if name != "label"
        )
        labels, ties = None, 0
        if "label" in self.outputs:
            labels, ties = self._compare_labels(label, whole["label"], every)
        self._compare_batches(label, run, whole)
        return Parity(label, len(self.rows), outputs, labels, ties, compared)

    def _checked(self, outputs: Outputs, label: str, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """What an artifact gave for these rows, by the names and of the shapes that the original's outputs have."""
        expected = {name: [len(rows), *values.shape[1:]] for name, values in self.outputs.items()}
        found = {name: list(values.shape) for name, values in outputs.items()}
        if found != expected:
            raise ParityError(
                f"gives {found}, the original {expected}",
                place=label,
                remedy="this is a fault of the conversion: report it with the model",
            )
        return dict(outputs)

    def _compare_leaves(self, label: str, leaves: Leaves | None, most: int | None) -> int:
        expected = self.leaves
        if expected is None:
            return 0
        if leaves is None:
            found: NDArray[np.integer] = self._neutral_leaves
        else:
            expected = expected[:most]
            found = np.concatenate([leaves(part) for part in _chunks(self.rows[:most], BATCH)])
        if found.shape != expected.shape:
            raise ParityError(
                f"leaves are {list(found.shape)}, the original's {list(expected.shape)}",
                place=label,
                remedy="this is a fault of the conversion: report it with the model",
            )
        unequal = np.argwhere(found != expected)
        if len(unequal):
            row, tree = unequal[0]
            raise self._broken(
                label,
                f"tree {tree} reaches node {found[row, tree]}, the original node {expected[row, tree]} "
                f"({len(unequal)} of {expected.size} leaves differ)",
                int(row),
            )
        return int(expected.size)

    def _compare_numbers(
        self, label: str, name: str, expected: NDArray[Any], found: NDArray[Any], rows: NDArray[np.int64]
    ) -> OutputParity:
        numbers = _Numbers(expected, found, each=name == "value" and self.model.trees is not None)
        wrong = ~numbers.close.all(axis=1) & self.decided[rows]
        tolerance = numbers.tolerance
        if wrong.any():
            own = np.flatnonzero(wrong)
            errors = self._own_error(name, rows[own])
            tolerance = tolerance.copy()
            tolerance[own] = np.maximum(tolerance[own], OWN_ERRORS * errors)
            wrong[own] = ~(numbers.same_kind & (numbers.difference <= tolerance))[own].all(axis=1)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise self._broken(
                label,
                f"{name} is {_short(found[row])}, the original's {_short(expected[row])} "
                f"({int(wrong.sum())} of {len(wrong)} rows differ, by up to {float(numbers.difference.max()):.3g})",
                int(rows[row]),
            )
        worst = int(numbers.difference.argmax()) if numbers.difference.size else 0
        return OutputParity(
            name,
            float(numbers.difference.max(initial=0.0)),
            float(numbers.relative.max(initial=0.0)),
            float(tolerance.flat[worst]) if tolerance.size else 0.0,
        )

    def _compare_labels(self, label: str, found: NDArray[Any], rows: NDArray[np.int64]) -> tuple[int, int]:
        """How many labels are equal, and how many differ at a tie."""
        expected = self.outputs["label"][rows]
        differ = np.flatnonzero(found != expected)
        if len(differ):
            wrong = differ[~self.tied(found[differ], rows[differ]) & self.decided[rows[differ]]]
            if len(wrong):
                raise self._broken(
                    label,
                    f"the label is {found[wrong[0]]}, the original's {expected[wrong[0]]} "
                    f"({len(wrong)} of {len(expected)} rows differ)",
                    int(rows[wrong[0]]),
                )
        return len(expected) - len(differ), len(differ)

    def tied(self, labels: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool [rows]: whether these labels are as good for the original as its own, but for what it may be off."""
        name = next((n for n in ("probability", "score", "distance") if n in self.outputs), None)
        if name is None:
            return np.zeros(len(rows), np.bool_)
        values = self.outputs[name][rows].astype(np.float64)
        tolerance = np.maximum(_tolerance(values), OWN_ERRORS * self._own_error(name, rows)).max(axis=1)
        if values.shape[1] == 1:  # a decision function of two classes
            values = np.concatenate([-values / 2, values / 2], axis=1)
        if name == "distance":
            values = -values
        there = (labels >= 0) & (labels < values.shape[1])
        chosen = values[np.arange(len(rows)), np.where(there, labels, 0)]
        tied: NDArray[np.bool_] = there & (values.max(axis=1) - chosen <= tolerance)
        return tied

    def _compare_batches(self, label: str, run: Run, whole: dict[str, NDArray[Any]]) -> None:
        """The first rows again, in small batches: within the rule of the original and of what they were before."""
        start = 0
        for size in SMALL_BATCHES:
            rows = np.arange(start, min(start + size, len(self.rows)))
            if not len(rows):
                break
            where = f"{label}, batch of {len(rows)}"
            outputs = self._checked(run(self.rows[rows]), where, rows)
            for name, now in outputs.items():
                if name == "label":
                    self._compare_labels(where, now, rows)
                else:
                    self._compare_numbers(where, name, self.outputs[name][rows], now, rows)
                    self._compare_numbers(where, name, whole[name][rows], now, rows)
            start += size

    def _own_error(self, name: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """What the original itself loses in float32, float64 [rows, values]; asked for where more than 1e-5 is lost.

        A row of float32 numbers stands for every row that rounds to it. So the original's answers to the row's
        neighbours say how well float32 can know the answer at all: with one number moved by half an ulp, the
        differences summed over the numbers. A model that jumps between two neighbours gains nothing by it: each number
        is moved both ways, and the smaller difference counts.

        Trees do not change between neighbours, but their sum may cancel: half an ulp of each leaf, through the link. A
        model that is calculated from other fitted numbers says itself what it loses where they become float32
        (``float32_error``).
        """
        chosen, expected = self.rows[rows], self.outputs[name][rows]
        lost = np.zeros(expected.astype(np.float64).shape)
        trees, link = self.model.trees, getattr(self.model, "link", None)
        if trees is not None and link is not None:
            size = np.concatenate([_sum_of_magnitudes(trees, part) for part in _chunks(chosen, BATCH)])
            raw = np.concatenate([trees.scores(part.numbers, part.categories) for part in _chunks(chosen, BATCH)])
            exact = link_reference(raw, link)
            for sign in (-1, 1):
                lost = np.maximum(lost, np.abs(link_reference(raw + sign * _HALF_ULP * size, link) - exact))
        for feature in range(chosen.numbers.shape[1]):
            moved = [self._moved(name, chosen, feature, towards, expected) for towards in (-np.inf, np.inf)]
            lost += np.minimum(*moved) / 2
        of_fitted = getattr(self.model, "float32_error", None)
        if of_fitted is not None:
            lost += of_fitted(chosen).get(name, 0.0)
        return lost

    def _moved(
        self, name: str, rows: Rows, feature: int, towards: float, expected: NDArray[Any]
    ) -> NDArray[np.float64]:
        """How much the answer changes if one number becomes the next float32; 0 where that is no number."""
        numbers = rows.numbers.copy()
        own = numbers[:, feature].astype(np.float32)
        with np.errstate(over="ignore"):
            step = np.nextafter(own, np.float32(towards))
        numbers[:, feature] = np.where(np.isfinite(step), step, own)
        answer = self.model.predict(Rows(numbers, rows.categories))[name]
        with np.errstate(invalid="ignore"):
            change = np.abs(answer.astype(np.float64) - expected.astype(np.float64))
        return np.where(np.isfinite(change), change, 0.0)

    def _broken(self, label: str, problem: str, row: int) -> ParityError:
        return ParityError(
            f"{problem}; row {row}: {self._described(row)}",
            place=label,
            remedy="nothing is written: this is a fault of the conversion, report it with the model",
        )

    def _described(self, row: int) -> str:
        """A row's values by column; of a wide one the first twenty."""
        numbers, codes = iter(self.rows.numbers[row].tolist()), iter(self.rows.categories[row].tolist())
        parts = []
        for column in self.model.columns:
            if column.kind == "number":
                parts.append(f"{column.name}={next(numbers)!r}")
            else:
                code = next(codes)
                known = column.categories[code - 2 : code - 1] if code >= 2 else ()
                parts.append(f"{column.name}={known[0]!r}" if known else f"{column.name}=code {code}")
        return ", ".join(parts[:20]) + (f" … {len(parts)} columns" if len(parts) > 20 else "")


class _Numbers:
    """Two results side by side, float64 [rows, values]."""

    def __init__(self, expected: NDArray[Any], found: NDArray[Any], *, each: bool) -> None:
        exact = expected.astype(np.float64)
        with np.errstate(over="ignore"):
            rounded = exact.astype(np.float32)
        self.expected = np.where(np.isinf(rounded), rounded, exact)
        self.found = found.astype(np.float64)
        finite = np.isfinite(self.expected) & np.isfinite(self.found)
        self.same_kind = finite | (self.expected == self.found) | (np.isnan(self.expected) & np.isnan(self.found))
        with np.errstate(invalid="ignore"):
            self.difference = np.where(finite, np.abs(self.found - self.expected), 0.0)
        self.tolerance = _tolerance(self.expected, each=each)
        self.close = self.same_kind & (self.difference <= self.tolerance)

    @property
    def relative(self) -> NDArray[np.float64]:
        relative: NDArray[np.float64] = self.difference / (self.tolerance / RELATIVE)
        return relative


def _tolerance(expected: NDArray[np.float64], *, each: bool = False) -> NDArray[np.float64]:
    """float64 like ``expected``: 1e-5 of each number, or of the largest finite number of the row."""
    size = np.abs(np.where(np.isfinite(expected), expected, 0.0))
    if not each:
        size = size.max(axis=1, keepdims=True, initial=0.0)
    return np.broadcast_to(np.maximum(RELATIVE * size, _SMALLEST), expected.shape)


def _chunks(rows: _Sliced, size: int) -> Iterator[_Sliced]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _sum_of_magnitudes(trees: Trees, rows: Rows) -> NDArray[np.float64]:
    """The trees' scores if nothing cancelled, float64 [rows, outputs]."""
    positive = replace(trees, values=np.abs(trees.values), base=np.abs(trees.base), linear=None)
    return positive.scores(rows.numbers, rows.categories)


def _short(row: NDArray[Any]) -> str:
    """A row's numbers; of a long one the first five."""
    numbers = np.ravel(row).tolist()
    return "[" + ", ".join(f"{number:.9g}" for number in numbers[:5]) + (", …]" if len(numbers) > 5 else "]")
