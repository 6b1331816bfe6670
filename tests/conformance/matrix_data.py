"""What the models of the matrix are trained on: seeded tables and targets, shared by all rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS = 400
GROUPS = 20
"""Lists of a ranker; of ROWS / GROUPS rows each."""


def _random(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@cache
def numbers() -> NDArray[np.float64]:
    return _random(1).standard_normal((ROWS, 5)) * [1.0, 3.0, 0.1, 50.0, 1.0]


def _standard() -> NDArray[np.float64]:
    """Of the same size in every column."""
    return numbers() / [1.0, 3.0, 0.1, 50.0, 1.0]


def _named() -> Any:
    import pandas

    return pandas.DataFrame(numbers(), columns=["age", "spend", "rate", "visits", "days since"])


def _missing() -> NDArray[np.float64]:
    table = numbers().copy()
    table[_random(2).random(table.shape) < 0.15] = np.nan
    return table


def _sentinel() -> NDArray[np.float64]:
    return np.where(_random(2).random((ROWS, 5)) < 0.15, -999.0, numbers())


def _zeros() -> NDArray[np.float64]:
    return np.where(_random(3).random((ROWS, 5)) < 0.3, 0.0, numbers())


def _huge() -> NDArray[np.float64]:
    """Neighbours here are one number in float32."""
    table = numbers().copy()
    table[:, 0] = 2.0**24 + np.round(table[:, 0] * 100)
    table[:, 1] = 1e9 + np.round(table[:, 1] * 30)
    return table


def _decimals() -> NDArray[np.float64]:
    """Few different numbers, so that thresholds lie on values that float32 does not have."""
    return np.round(numbers(), 1)


def _positive() -> NDArray[np.float64]:
    return np.abs(numbers())


@cache
def _cities() -> NDArray[np.str_]:
    weights = 1.0 / np.arange(1, 9)
    names = ["Oslo", "Łódź", "São Paulo", "New York", "Ürümqi", "a", "B", "b"]
    return np.array(names)[_random(4).choice(8, ROWS, p=weights / weights.sum())]


def _texts() -> Any:
    """Two columns of texts between numbers."""
    import pandas

    table = _named()
    table.insert(1, "city", pandas.Series(_cities(), dtype=object))
    table["plan"] = pandas.Series(np.array(["basic", "plus", "max"])[_random(5).integers(0, 3, ROWS)], dtype=object)
    return table


def _mixed() -> Any:
    """Pandas' categories between numbers, some of both missing."""
    return _as_categories(_texts().replace({"Łódź": "Lodz", "São Paulo": "Sao Paulo", "Ürümqi": "Urumqi"}))


def _accents() -> Any:
    return _as_categories(_texts())


def _as_categories(table: Any) -> Any:
    for name, seed in (("city", 6), ("plan", 7)):
        table[name] = table[name].where(_random(seed).random(ROWS) > 0.1).astype("category")
    table["spend"] = table["spend"].where(_random(8).random(ROWS) > 0.1)
    return table


def _many() -> Any:
    """One column of 1,000 categories, most of them seen once or never."""
    import pandas

    table = _named()
    drawn = _random(9).integers(0, 1000, ROWS)
    table["item"] = pandas.Categorical.from_codes(drawn, [f"m_{i:04d}" for i in range(1000)])
    return table


TABLES: Mapping[str, Callable[[], Any]] = {
    "numbers": numbers,
    "standard": _standard,
    "named": _named,
    "missing": _missing,
    "sentinel": _sentinel,
    "zeros": _zeros,
    "huge": _huge,
    "decimals": _decimals,
    "positive": _positive,
    "texts": _texts,
    "mixed": _mixed,
    "accents": _accents,
    "many": _many,
}


@cache
def _signal() -> NDArray[np.float64]:
    """What every target depends on: float64 [rows]."""
    x = numbers()
    city = np.unique(_cities(), return_inverse=True)[1]
    return (
        x[:, 0]
        + np.sin(x[:, 1])
        + (x[:, 2] > 0.05)
        + 0.01 * x[:, 3]
        + 0.8 * (city % 3)
        + _random(10).normal(0, 0.3, ROWS)
    )


def _three() -> NDArray[np.str_]:
    return np.array(["low", "mid", "high"])[np.digitize(_signal(), [-0.2, 1.2])]


TARGETS: Mapping[str, Callable[[], NDArray[Any] | None]] = {
    "amount": lambda: 10 * _signal(),
    "amounts": lambda: np.stack([10 * _signal(), numbers()[:, 1], 1000 + 5 * numbers()[:, 4]], axis=1),
    "positive": lambda: np.exp(_signal() / 2) + 0.1,
    "count": lambda: _random(11).poisson(np.exp(_signal() / 2)).astype(np.float64),
    "share": lambda: 1 / (1 + np.exp(-_signal())),
    "survival": lambda: (np.exp(_signal() / 2) + 0.1) * np.where(_random(12).random(ROWS) < 0.3, -1, 1),
    "interval": lambda: np.stack([np.exp(_signal() / 2), np.exp(_signal() / 2) + 1], axis=1),
    "yes": lambda: np.where(_signal() > 0.5, "yes", "no"),
    "three": _three,
    "tags": lambda: np.stack([_signal() > 0, _signal() > 1, numbers()[:, 1] > 0], axis=1).astype(int),
    "relevance": lambda: np.digitize(_signal(), [-0.5, 0.5, 1.5]),
    "relevant": lambda: (_signal() > 0.5).astype(int),
    "none": lambda: None,
}


def groups() -> NDArray[np.int64]:
    """The list that each row is in, int64 [rows]."""
    return np.repeat(np.arange(GROUPS), ROWS // GROUPS)


@dataclass(frozen=True)
class Recipe:
    """What a row of the matrix says about training.

    Attributes:
        name: of the class.
        table, target: names of ``TABLES`` and ``TARGETS``.
        options: what the constructor gets beside the objective and the defaults.
        make: a function of this module, or "" for a constructor and a fit.
        file: how the name of its file ends; "" for the model in memory.
    """

    library: str
    name: str
    objective: str
    table: str
    target: str
    options: Mapping[str, Any] = field(default_factory=dict)
    make: str = ""
    file: str = ""


def whole(target: NDArray[Any]) -> NDArray[Any]:
    """Classes as whole numbers from 0, for a library that takes no others."""
    return np.unique(target, return_inverse=True)[1] if target.dtype.kind == "U" else target


def data(recipe: Recipe) -> tuple[Any, Any]:
    """Its table and its target; None if it has none."""
    return TABLES[recipe.table](), TARGETS[recipe.target]()
