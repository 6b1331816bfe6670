"""Golden vectors: the rows for which this device must compute what the original library does."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from nearhand.bundle.tables import TableGolden
from nearhand.errors import ModelError
from nearhand.ranking.rows import RowEncoder, TableRows
from nearhand.runtime import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray


def check_table_golden(session: Session, encoder: RowEncoder, golden: TableGolden, *, place: str) -> None:
    """Run every golden row.

    Raises:
        ModelError: an output is missing, of another shape, or differs by more than its tolerance; names the row.
    """
    rows = TableRows(_numbers(golden), np.array(golden.categories, np.int32).reshape(len(golden.categories), -1))
    found = session.run(encoder.inputs(rows))
    for name, table in golden.outputs.items():
        expected = np.array([[float(value) for value in row] for row in table], np.float64)
        given = found.get(name)
        if given is None or given.size != expected.size or len(given) != len(expected):
            shape = "nothing" if given is None else list(given.shape)
            raise _failure(f"{name} is {shape}, not of {list(expected.shape)}", place)
        # Asked so that a NaN does not agree.
        wrong = ~(np.abs(given.reshape(expected.shape) - expected) <= float(golden.tolerances[name])).all(axis=1)
        if wrong.any():
            row = int(np.argmax(wrong))
            problem = f"golden row {row} gives {name} {_short(given[row])}, not {_short(expected[row])}"
            raise _failure(problem, place)


def _numbers(golden: TableGolden) -> NDArray[np.float64]:
    def number(value: Decimal | None) -> float:
        return np.nan if value is None else float(value)

    rows = [[number(value) for value in row] for row in golden.numbers]
    return np.array(rows, np.float64).reshape(len(rows), -1)


def _short(values: NDArray[np.generic]) -> str:
    numbers = [f"{value:.7g}" for value in np.ravel(values).tolist()]
    return ", ".join(numbers[:4]) + (" …" if len(numbers) > 4 else "")


def _failure(problem: str, place: str) -> ModelError:
    remedy = "this variant does not compute correctly on this device; use another runtime or precision"
    return ModelError(problem, place=place, remedy=remedy)
