"""The training table of a pipeline: which of its columns are numbers, which are categories, and which are not read."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import SourceError, UnsupportedModelError
from nearhand_converters.sources.model import FIRST_KNOWN, InputColumn, Rows
from nearhand_converters.sources.sklearn.columns import Untouched
from nearhand_converters.sources.sklearn.library import class_name, custom_class, is_sklearn
from nearhand_converters.sources.texts import UNSEEN, text_of


def is_missing(value: Any) -> bool:
    """Whether a category is None, NaN, or pandas' NA."""
    return value is None or type(value).__name__ == "NAType" or (isinstance(value, float) and math.isnan(value))


@dataclass
class _Category:
    """A category column: text → the value that stands for it in the original, and the original's missing value."""

    known: dict[str, Any] = field(default_factory=dict)
    missing: Any = None


class Table:
    """What the walk through a pipeline finds out about the table.

    Attributes:
        names: of all columns of the training table.
    """

    def __init__(self, names: tuple[str, ...], is_frame: bool) -> None:
        self.names = names
        self._is_frame = is_frame
        self._numbers: set[int] = set()
        self._categories: dict[int, _Category] = {}

    @classmethod
    def of(cls, estimator: Any, place: str) -> Table:
        """The table that a fitted estimator was trained on.

        Raises:
            SourceError: the estimator does not say how many columns it has.
            UnsupportedModelError: nor is its class one of scikit-learn's own.
        """
        try:
            names = getattr(estimator, "feature_names_in_", None)
            width = len(names) if names is not None else getattr(estimator, "n_features_in_", None)
            if class_name(estimator) == "IsotonicRegression":
                width = 1
        except AttributeError:
            width = None
        if width is None and not is_sklearn(estimator):
            raise custom_class(estimator, "transformer" if hasattr(estimator, "transform") else "estimator", place)
        if width is None or width < 1:
            raise SourceError(
                f"{class_name(estimator)} does not say how many columns it was trained on",
                place=place,
                remedy="fit it on a table (a two-dimensional array or a data frame)",
            )
        if names is None:
            return cls(tuple(f"x{i}" for i in range(width)), False)
        return cls(tuple(str(name) for name in names), True)

    def untouched(self) -> list[Untouched]:
        """All columns of the training table, not yet read."""
        return [Untouched(source) for source in range(len(self.names))]

    def size(self) -> int:
        """A number that grows with every fact: the walk is repeated until there is no new one."""
        return len(self._numbers) + sum(1 + len(category.known) for category in self._categories.values())

    def read_number(self, source: int, place: str) -> None:
        """Note that a column is read as a number."""
        if source in self._categories:
            raise self._two_uses(source, place)
        self._numbers.add(source)

    def read_category(self, source: int, values: Iterable[Any], place: str) -> None:
        """Note that a column is read as a category, with these known values; a missing one among them is noted too."""
        if source in self._numbers:
            raise self._two_uses(source, place)
        category = self._categories.setdefault(source, _Category(missing=np.nan))
        for value in values:
            if is_missing(value):
                category.missing = value
                continue
            text = text_of(value, place)
            if category.known.setdefault(text, value) != value:
                raise UnsupportedModelError(
                    f"column {self.names[source]!r} has both {category.known[text]!r} and {value!r} as categories",
                    code="category-type",
                    place=place,
                    remedy="make the column's categories one type",
                )

    def category_values(self, source: int) -> NDArray[Any]:
        """What the original's column holds for each code, object [codes]; at 1, something that is not known."""
        category = self._categories[source]
        values = np.empty(FIRST_KNOWN + len(category.known), object)
        values[:] = [category.missing, _stranger(list(category.known.values())), *category.known.values()]
        return values

    def place_of_number(self, source: int) -> int:
        """Its place among the number inputs."""
        return sorted(self._numbers).index(source)

    def place_of_category(self, source: int) -> int:
        """Its place among the category inputs."""
        return sorted(self._categories).index(source)

    def numbers(self) -> tuple[int, ...]:
        """The number inputs' places in the training table."""
        return tuple(sorted(self._numbers))

    def categories(self) -> tuple[int, ...]:
        """The category inputs' places in the training table."""
        return tuple(sorted(self._categories))

    def columns(self) -> tuple[InputColumn, ...]:
        """The columns that are read, in the order of the training table."""
        found = []
        for source, name in enumerate(self.names):
            if source in self._categories:
                found.append(InputColumn(name, "category", tuple(self._categories[source].known)))
            elif source in self._numbers:
                found.append(InputColumn(name, "number"))
        return tuple(found)

    def original(self, rows: Rows) -> Any:
        """The rows in the form that the original was trained on; columns that are not read hold zeros.

        Returns:
            A data frame if it was one, else float64 [rows, columns], or objects if there are texts.
        """
        columns: list[NDArray[Any]] = [np.zeros(len(rows)) for _ in self.names]
        for place, source in enumerate(self.numbers()):
            columns[source] = rows.numbers[:, place]
        for place, source in enumerate(self.categories()):
            values = self.category_values(source)
            column = values[rows.categories[:, place]]
            columns[source] = column.astype(np.float64) if _are_numbers(values) else column
        if self._is_frame:
            import pandas

            return pandas.DataFrame(dict(enumerate(columns))).set_axis(list(self.names), axis=1)
        texts = any(column.dtype == object for column in columns)
        table = np.empty((len(rows), len(columns)), object if texts else np.float64)
        for source, column in enumerate(columns):
            table[:, source] = column
        return table

    def _two_uses(self, source: int, place: str) -> UnsupportedModelError:
        return UnsupportedModelError(
            f"column {self.names[source]!r} is read both as a number and as a category",
            code="column-with-two-uses",
            place=place,
            remedy="give the table the column twice, under two names",
        )


def _are_numbers(values: NDArray[Any]) -> bool:
    """Whether all are numbers, NaN among them; truth values are not."""
    return all(isinstance(v, (int, float, np.integer, np.floating)) and not isinstance(v, bool) for v in values)


def _stranger(known: list[Any]) -> Any:
    """A value that is not among the known ones, of their kind."""
    return float(max(known)) + 1 if known and not any(isinstance(value, str) for value in known) else UNSEEN
