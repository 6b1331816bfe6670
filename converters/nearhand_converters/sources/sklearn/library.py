"""Calls into scikit-learn: a fitted transformer on a few rows, quietly, whatever container it was fitted on."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import SourceError, UnsupportedModelError
from nearhand_converters.sources.sklearn.columns import Function


def class_name(estimator: object) -> str:
    """Such as ``LogisticRegression``, or the whole path for a class that is not scikit-learn's."""
    kind = type(estimator)
    return kind.__name__ if is_sklearn(estimator) else f"{kind.__module__}.{kind.__qualname__}"


def is_sklearn(estimator: object) -> bool:
    """Whether the object's own class is scikit-learn's: a subclass may compute anything."""
    return type(estimator).__module__.split(".")[0] == "sklearn"


def custom_class(estimator: object, what: str, place: str) -> UnsupportedModelError:
    """The refusal of a class that is not one of scikit-learn's own; ``what``: an estimator or a transformer."""
    return UnsupportedModelError(
        f"{class_name(estimator)} is not a class that we know, and its code does not run on a device",
        code=f"custom-{what}",
        place=place,
        remedy="write it with scikit-learn's own classes, or apply it before the model and leave it out",
    )


def parts_of(value: Any) -> Iterator[Any]:
    """Every object of scikit-learn's own in an estimator, itself first, each once."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, (list, tuple)) or (isinstance(each, np.ndarray) and each.dtype == object):
            waiting.extend(each.tolist() if isinstance(each, np.ndarray) else each)
        elif isinstance(each, dict):
            waiting.extend(each.values())
        elif is_sklearn(each) and hasattr(each, "__dict__"):
            yield each
            waiting.extend(vars(each).values())


def check_fitted(estimator: Any, place: str) -> None:
    """Raises SourceError if ``estimator`` is not fitted."""
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise SourceError(
            f"{class_name(estimator)} is not fitted", place=place, remedy="call fit, then convert what it returns"
        ) from error


def finite(value: Any, name: str, place: str) -> NDArray[np.float64]:
    """A fitted array as float64.

    Raises:
        SourceError: it has NaN or infinities, or no numbers.
    """
    try:
        array = np.asarray(value.toarray() if hasattr(value, "toarray") else value, np.float64)
    except (TypeError, ValueError) as error:
        raise SourceError(f"{name} is not an array of numbers", place=place, remedy="train again") from error
    if not np.isfinite(array).all():
        raise SourceError(f"{name} is not finite", place=place, remedy="train again; training diverged")
    return array


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings about names of columns, unknown categories and logarithms: rows are made to have such things."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def transformed(transformer: Any, rows: NDArray[Any]) -> NDArray[np.float64]:
    """What a fitted transformer gives for rows, float64 [rows, outputs].

    Args:
        rows: [rows, inputs], floats or objects.
    """
    with quiet():
        table = _table(rows, getattr(transformer, "feature_names_in_", None))
        found = transformer.transform(table)
    dense = found.toarray() if hasattr(found, "toarray") else found
    return np.asarray(dense)


def _table(rows: NDArray[Any], names: Sequence[str] | None) -> Any:
    if names is None:
        return rows
    import pandas

    return pandas.DataFrame(rows, columns=list(names))


def alone(transformer: Any, column: int, width: int, output: int, direction: int = 0) -> Function:
    """One column of an elementwise transformer as a function: float64 [n] → [n].

    Infinite numbers, which scikit-learn refuses, go on in the function's direction; NaN stays NaN where it is refused.
    """

    def function(x: NDArray[np.float64]) -> NDArray[np.float64]:
        found = np.where(np.isnan(x), np.nan, x if direction >= 0 else -x)
        usual = np.isfinite(x)
        found[usual] = _column(transformer, x[usual], column, width, output)
        absent = np.isnan(x)
        if absent.any():
            try:
                found[absent] = _column(transformer, x[absent], column, width, output)
            except ValueError:
                found[absent] = np.nan
        return found

    return function


def _column(transformer: Any, x: NDArray[Any], column: int, width: int, output: int) -> NDArray[Any]:
    if not len(x):
        return x
    rows = np.zeros((len(x), width), x.dtype)
    rows[:, column] = x
    return transformed(transformer, rows)[:, output]
