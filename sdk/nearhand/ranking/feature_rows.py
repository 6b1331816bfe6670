"""The columns of a feature program as the rows that a ranker or a predictor reads.

A column of the program of one place is the table's column of its name; a wider one is ``name.0``, ``name.1`` and so on,
and so is a mask, ``name.mask`` or ``name.mask.0``. A column ``context.NAME`` that the program does not give is the
request's context.

A number column ``retrieval.score`` of a ranker is the score with which each candidate was retrieved: the inner product
of its vector and the user's, the one number in which the tastes of other users are. It is missing for candidates that
do not come from the history, as the popular ones of a new user. A program and a context cannot have that name.
``retrieval.score.20`` is the same score from the latest 20 items of the history only: where it is computed, which is
not on a device, it tells the taste of the hour from that of years.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from nearhand.bundle.fields import nearest
from nearhand.bundle.tables import Column, TableModel
from nearhand.errors import UsageError
from nearhand.events import Scalar
from nearhand.features import CandidateFeatures, CompiledProgram, FeaturePlace, FeatureVector
from nearhand.ranking.rows import MISSING, UNKNOWN, RowEncoder, TableRows, _code, _number
from nearhand.records import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONTEXT = "context."
RETRIEVAL_SCORE = "retrieval.score"
_LARGEST_LOOKUP = 1 << 18
"""Codes of whole numbers that lie further apart are found text by text: a megabyte for a column is enough."""
_WHOLE = r"0|-?[1-9][0-9]{0,9}"
_INT32 = np.iinfo(np.int32)


def feature_places(program: CompiledProgram) -> Mapping[str, FeaturePlace]:
    """The table columns that a program gives, in its order: name → where the values lie."""
    return program.places


def retrieval_windows(columns: Iterable[Column]) -> tuple[int, ...]:
    """Of how many of the latest items a model reads retrieval scores, beside those of the whole history; ascending."""
    return tuple(sorted(window for column in columns if (window := _recent(column.name)) is not None))


def _recent(name: str) -> int | None:
    """Of how many of the latest items a column is a retrieval score; None: it is another column."""
    if not name.startswith(RETRIEVAL_SCORE):  # as most are
        return None
    match = re.fullmatch(r"\.([1-9][0-9]{0,3})", name.removeprefix(RETRIEVAL_SCORE))
    return None if match is None else int(match[1])


def _score_places(windows: Sequence[int]) -> dict[str, int]:
    """The columns of retrieval scores: name → their place among those that are given."""
    names = (RETRIEVAL_SCORE, *(f"{RETRIEVAL_SCORE}.{window}" for window in windows))
    return {name: place for place, name in enumerate(names)}


def check_columns(program: CompiledProgram, model: TableModel, windows: Sequence[int] = ()) -> None:
    """Whether a program, and the context of a request, give what a model reads.

    Args:
        windows: see :class:`FeatureRows`.

    Raises:
        UsageError: see :class:`FeatureRows`.
    """
    places, scores = feature_places(program), _score_places(windows)
    for column in model.columns:
        _check(column, places, scores, program, model)


def _check(
    column: Column,
    places: Mapping[str, FeaturePlace],
    scores: Collection[str],
    program: CompiledProgram,
    model: TableModel,
) -> None:
    name, place = column.name, f"{model.role} {model.name}"
    if name in scores:
        if model.role == "predictor":
            raise _not_for_predictors(name, place)
        if column.kind != "number" or not column.missing:
            what = "a category" if column.kind == "category" else "a number that may not be missing"
            raise UsageError(
                f"column {name!r} is {what}",
                place=place,
                remedy="train it as a number that may be missing: popular candidates of a new user have none",
            )
        return
    if _recent(name) is not None:
        raise UsageError(
            f"column {name!r} is a retrieval score of the latest items only, which is not computed here",
            place=place,
            remedy="serve the bundle with nearhand-cloud, or train the ranker for devices without the column",
        )
    if name not in places:
        if name.startswith(CONTEXT) and name != CONTEXT:
            return
        raise UsageError(
            f"column {name!r} is not given by the feature program {program.program.name}",
            place=place,
            remedy=f"{nearest(name, places)} If it comes with the request, train it as "
            f"{CONTEXT + name!r}, else add a view to the program",
        )
    if model.role == "predictor" and places[name].of == "item":
        raise _not_for_predictors(name, place)


class FeatureRows:
    """Makes the rows of one ranker or predictor from features. Safe for several threads.

    Raises:
        UsageError: a column of the model is given neither by the program nor by the context; or a predictor reads one
            that only a candidate has; or the retrieval score is a category of the model, or may not be missing.

    Attributes:
        reads_retrieval: whether the retrieval scores are read.
    """

    def __init__(
        self, program: CompiledProgram, model: TableModel, encoder: RowEncoder, windows: Sequence[int] = ()
    ) -> None:
        """
        Args:
            encoder: of the model's columns.
            windows: of how many of the latest items retrieval scores are given, beside those of the whole history.
        """
        self._encoder = encoder
        check_columns(program, model, windows)
        self._scores = _score_places(windows)
        self._places = feature_places(program)
        self._widths = len(model.numbers), len(model.categories)
        numbers = {column.name: to for to, column in enumerate(model.numbers)}
        categories = {column.name: to for to, column in enumerate(model.categories)}
        codes = dict(zip(categories, encoder._codes, strict=True))
        self._given = {name: place for name in (*numbers, *categories) if (place := self._places.get(name)) is not None}
        whole = [name for name in categories if name in self._given and self._given[name].dtype == "int32"]
        tables = {name: _lookup(codes[name]) for name in whole}
        quick = {name: table for name, table in tables.items() if table is not None}
        self._profile, self._item = (self._gathering(of, numbers, categories, quick) for of in ("profile", "item"))
        self._retrieval = [(numbers[name], place) for name, place in self._scores.items() if name in numbers]
        of_items = [*self._item.floats.to.tolist(), *self._item.ints.to.tolist(), *(to for to, _ in self._retrieval)]
        self._varying = tuple(sorted(of_items))
        self.reads_retrieval = bool(self._retrieval)
        asked = [
            column for column in model.columns if column.name not in self._given and column.name not in self._scores
        ]
        self._context = [
            (column, (numbers if column.kind == "number" else categories)[column.name], codes.get(column.name, {}))
            for column in asked
        ]
        # Categories of numbers that no table holds go through an encoder.
        self._slow = [column for column in model.categories if column.name in self._given and column.name not in quick]
        self._slow_to = _indices(categories[column.name] for column in self._slow)
        vocabularies = {str(column.vocabulary): tuple(codes[column.name]) for column in self._slow}
        self._slow_encoder = RowEncoder(self._slow, vocabularies)
        self._reads_items = self.reads_retrieval or any(place.of == "item" for place in self._given.values())
        self._never = (
            _indices(numbers[column.name] for column in model.numbers if not column.missing),
            _indices(categories[column.name] for column in model.categories if not column.missing),
            _indices(categories[column.name] for column in model.categories if not column.unknown),
        )
        self._columns = model.columns

    def rows(
        self,
        vector: FeatureVector,
        candidates: CandidateFeatures | None = None,
        context: Mapping[str, Scalar] | None = None,
        retrieval_scores: NDArray[np.float64] | None = None,
    ) -> TableRows:
        """The rows, as :meth:`RowEncoder.rows` makes them of the same values.

        Args:
            vector: of the program. Of several readings, [readings, places], each is for as many of the candidates.
            candidates: of the same instant; None: there is one row, of the profile alone.
            context: the situation of the request. What it does not have is missing.
            retrieval_scores: float64 [candidates], read by a model with the column; NaN, or None for all, is missing.
                With windows [candidates, 1 + windows], those of the whole history first.

        Returns:
            A row for each candidate, or one.

        Raises:
            UsageError: a value is missing or unknown where the model refuses that, or of the wrong type; names the
                column and the row. Or the model reads candidates, and there are none given, or their retrieval scores
                are of another number.
        """
        if candidates is None and self._reads_items:
            raise UsageError(
                "reads features of candidates", place="rows(candidates)", remedy="give the candidates' features"
            )
        count = 1 if candidates is None else len(candidates.floats)
        expected = (count,) if len(self._scores) == 1 else (count, len(self._scores))
        if retrieval_scores is not None and retrieval_scores.shape != expected:
            raise UsageError(
                f"retrieval scores of the shape {list(retrieval_scores.shape)}",
                place="rows(retrieval_scores)",
                remedy=f"give one for each of the {count} candidates" + (" and of the windows" if expected[1:] else ""),
            )
        profiles = 1 if vector.floats.ndim == 1 else len(vector.floats)
        numbers = np.empty((profiles, self._widths[0]), np.float64)
        categories = np.empty((profiles, self._widths[1]), np.int32)
        if not count:
            return TableRows(numbers[:0], categories[:0])
        self._profile.fill(numbers, categories, vector)
        for column, to, codes in self._context:
            value = _of_context(context, column.name.removeprefix(CONTEXT))
            if column.kind == "number":
                numbers[:, to] = _number(column, value, 0)
            else:
                categories[:, to] = _code(column, value, codes, 0)
        block = count // profiles
        if candidates is not None:
            numbers, categories = numbers.repeat(block, axis=0), categories.repeat(block, axis=0)
            self._item.fill(numbers, categories, candidates)
        for to, place in self._retrieval:
            numbers[:, to] = _score(retrieval_scores, place)
        if self._slow:
            values = self._values(self._slow, vector, candidates, context, retrieval_scores)
            categories[:, self._slow_to] = self._slow_encoder.rows(values).categories
        if self._is_refused(numbers, categories):
            self._refuse(vector, candidates, context, retrieval_scores)
        return TableRows(numbers, categories, block, () if candidates is None else self._varying)

    def variants(
        self,
        vectors: Sequence[FeatureVector],
        candidates: Sequence[CandidateFeatures],
        context: Mapping[str, Scalar] | None = None,
        retrieval_scores: Sequence[NDArray[np.float64]] | None = None,
    ) -> TableRows:
        """The rows of several variants of a profile, one after the other, as :meth:`rows` makes those of each.

        Args:
            vectors, candidates, retrieval_scores: one of each for every variant, at least one; each of as many
                candidates as the others.
        """
        profiles = FeatureVector(
            vectors[0].as_of,
            np.array([each.floats for each in vectors]),
            np.array([each.ints for each in vectors]),
        )
        items = CandidateFeatures(
            candidates[0].as_of,
            np.concatenate([each.floats for each in candidates]),
            np.concatenate([each.ints for each in candidates]),
        )
        return self.rows(
            profiles, items, context, None if retrieval_scores is None else np.concatenate(retrieval_scores)
        )

    def _gathering(
        self, of: str, numbers: Mapping[str, int], categories: Mapping[str, int], tables: Mapping[str, _Table]
    ) -> _Gathering:
        found = {name: place for name, place in self._given.items() if place.of == of}
        floats, ints = (
            [name for name, place in found.items() if place.dtype == dtype and name in numbers]
            for dtype in ("float32", "int32")
        )
        coded = [name for name in tables if name in found]
        return _Gathering(
            _Chosen.of(numbers, floats, self._places),
            _Chosen.of(numbers, ints, self._places),
            _Chosen.of(categories, coded, self._places),
            _Codes.of([tables[name] for name in coded]),
        )

    def _values(
        self,
        columns: Sequence[Column],
        vector: FeatureVector,
        candidates: CandidateFeatures | None,
        context: Mapping[str, Scalar] | None,
        retrieval_scores: NDArray[np.float64] | None,
    ) -> dict[str, Any]:
        """Columns as an encoder reads them: an array for each of the candidates', one value for each other."""
        found: dict[str, Any] = {}
        for column in columns:
            place = self._places.get(column.name)
            if column.name in self._scores:
                found[column.name] = _score(retrieval_scores, self._scores[column.name])
            elif place is None:
                found[column.name] = _of_context(context, column.name.removeprefix(CONTEXT))
            else:
                values = _array(place.of, place.dtype, vector, candidates)[..., place.index]
                if place.of == "profile" and values.ndim and candidates is not None:
                    values = values.repeat(len(candidates.floats) // len(values))
                found[column.name] = values if values.ndim else values.item()
        return found

    def _is_refused(self, numbers: NDArray[np.float64], categories: NDArray[np.int32]) -> bool:
        never_missing, never_none, never_unknown = self._never
        return bool(
            (never_missing.size and np.isnan(numbers[:, never_missing]).any())
            or (never_none.size and (categories[:, never_none] == MISSING).any())
            or (never_unknown.size and (categories[:, never_unknown] == UNKNOWN).any())
        )

    def _refuse(
        self,
        vector: FeatureVector,
        candidates: CandidateFeatures | None,
        context: Mapping[str, Scalar] | None,
        retrieval_scores: NDArray[np.float64] | None,
    ) -> NoReturn:
        """The encoder's own refusal, which names the column and the row."""
        self._encoder.rows(self._values(self._columns, vector, candidates, context, retrieval_scores))
        raise AssertionError("the encoder accepts these values")


@dataclass(frozen=True)
class _Chosen:
    """Which places of an array of features go to which columns: both intp [columns]."""

    source: NDArray[np.intp]
    to: NDArray[np.intp]

    @classmethod
    def of(cls, to: Mapping[str, int], names: Sequence[str], places: Mapping[str, FeaturePlace]) -> _Chosen:
        return cls(_indices(places[name].index for name in names), _indices(to[name] for name in names))

    def __bool__(self) -> bool:
        return self.to.size > 0


@dataclass(frozen=True)
class _Table:
    """The codes of the whole numbers from ``low`` on, int32; the first and the last stand for all that lie beyond."""

    low: int
    codes: NDArray[np.int32]


@dataclass(frozen=True)
class _Codes:
    """The tables of several columns, one after the other, so that all are looked up at once.

    Attributes:
        low, high: int32 [columns], the numbers that the first and the last code of a column stand for.
        start: intp [columns], where a column's number 0 would be found.
    """

    low: NDArray[np.int32]
    high: NDArray[np.int32]
    start: NDArray[np.intp]
    codes: NDArray[np.int32]

    @classmethod
    def of(cls, tables: Sequence[_Table]) -> _Codes:
        lows, sizes = _indices(table.low for table in tables), _indices(len(table.codes) for table in tables)
        return cls(
            lows.astype(np.int32),
            (lows + sizes - 1).astype(np.int32),
            np.cumsum(sizes) - sizes - lows,
            np.concatenate([table.codes for table in tables]) if tables else np.empty(0, np.int32),
        )

    def __call__(self, numbers: NDArray[np.int32]) -> NDArray[np.int32]:
        """The codes of int32 [columns] or [rows, columns]."""
        bounded = np.minimum(np.maximum(numbers, self.low), self.high)
        return self.codes.take(bounded + self.start)


@dataclass(frozen=True)
class _Gathering:
    """Where the features of the profile, or of candidates, go."""

    floats: _Chosen
    ints: _Chosen
    coded: _Chosen
    codes: _Codes

    def fill(
        self, numbers: NDArray[np.float64], categories: NDArray[np.int32], features: FeatureVector | CandidateFeatures
    ) -> None:
        """Puts them into [rows, columns]; the profile's into every row."""
        if self.floats:
            numbers[:, self.floats.to] = features.floats.take(self.floats.source, -1)
        if self.ints:
            numbers[:, self.ints.to] = features.ints.take(self.ints.source, -1)
        if self.coded:
            categories[:, self.coded.to] = self.codes(features.ints.take(self.coded.source, -1))


def _lookup(codes: Mapping[str, int]) -> _Table | None:
    """The codes of whole numbers, by the texts that Python prints for them; None if they lie too far apart."""
    known = {int(text): code for text, code in codes.items() if re.fullmatch(_WHOLE, text)}
    known = {number: code for number, code in known.items() if _INT32.min <= number <= _INT32.max}
    low, high = max(min(known, default=0) - 1, _INT32.min), min(max(known, default=0) + 1, _INT32.max)
    if high - low >= _LARGEST_LOOKUP:
        return None
    found = np.full(high - low + 1, UNKNOWN, np.int32)
    for number, code in known.items():
        found[number - low] = code
    return _Table(low, found)


def _not_for_predictors(name: str, place: str) -> UsageError:
    return UsageError(
        f"column {name!r} is a feature of candidates, and a predictor answers for the profile",
        place=place,
        remedy="train it without the column, or convert it with the role ranker",
    )


def _array(
    of: str, dtype: str, vector: FeatureVector, candidates: CandidateFeatures | None
) -> NDArray[np.float32] | NDArray[np.int32]:
    """[places] of the profile, or [candidates, places]."""
    features = vector if of == "profile" or candidates is None else candidates
    return features.floats if dtype == "float32" else features.ints


def _score(retrieval_scores: NDArray[np.float64] | None, place: int) -> NDArray[np.float64] | float:
    """The candidates' scores of one kind: float64 [candidates], or NaN for all."""
    if retrieval_scores is None:
        return np.nan
    return retrieval_scores if retrieval_scores.ndim == 1 else retrieval_scores[:, place]


def _of_context(context: Mapping[str, Scalar] | None, name: str) -> Scalar:
    value = context.get(name) if context else None
    if value is not None and not isinstance(value, str | int | float):
        raise UsageError(
            f"a value of type {type(value).__name__}",
            place=f"context[{name!r}]",
            remedy="give a text, a number, true, false or None",
        )
    return value


def _indices(places: Iterable[int]) -> NDArray[np.intp]:
    return np.array(list(places), np.intp)
