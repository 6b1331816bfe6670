"""Rows as they come out of a file, and what becomes of the malformed ones."""

from __future__ import annotations

import json
import reprlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nearhand_converters.errors import DataError

Array: TypeAlias = Any
"""A pyarrow Array or ChunkedArray: pyarrow publishes no types."""
Table: TypeAlias = Any
"""A pyarrow Table."""
Mask: TypeAlias = NDArray[np.bool_]


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number of JSON")


# Made once: json.loads and json.dumps would make one for each call that has an option.
parse_json = json.JSONDecoder(parse_constant=_no_constant).decode
"""A JSON text as a value; ValueError if it is none, and for NaN and infinities, which are no JSON."""
json_text = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode
"""A value as the one JSON text for it."""

SKIP = "correct it, or pass --skip-malformed to leave such rows out and count them"


@dataclass
class Refusals:
    """What becomes of malformed rows.

    Attributes:
        skip: they are left out and counted; else the first one is an error.
        counts: how many rows were left out, by ``field: reason``. Each row is counted once.
    """

    skip: bool = False
    counts: Counter[str] = field(default_factory=Counter)

    def row(self, place: str, problem: str, reason: str, remedy: str = SKIP) -> None:
        """Refuse one row, which does not get as far as having columns.

        Raises:
            DataError: unless malformed rows are skipped.
        """
        if not self.skip:
            raise DataError(problem, place=place, remedy=remedy)
        self.counts[reason] += 1


@dataclass
class Rows:
    """A batch of rows that is being checked.

    Attributes:
        columns: name → values, all of one length.
        numbers: int64[n], where each row stands in its file: its line, or its row counted from 1.
        source: the file's name; unit: what ``numbers`` count.
        done: how far into the source this batch reaches, bytes.
        text: the file holds nothing but texts, as CSV does.
        bad: bool[n], the rows that were refused and are to be left out.
    """

    columns: Mapping[str, Array]
    numbers: NDArray[np.int64]
    source: str
    unit: Literal["line", "row"]
    done: int
    refusals: Refusals
    text: bool = False
    bad: Mask = field(init=False)

    def __post_init__(self) -> None:
        self.bad = np.zeros(len(self.numbers), bool)

    def __len__(self) -> int:
        return len(self.numbers)

    def replace(self, columns: Mapping[str, Array]) -> Rows:
        """The same rows with other columns."""
        made = Rows(columns, self.numbers, self.source, self.unit, self.done, self.refusals, self.text)
        made.bad = self.bad
        return made

    def refuse(self, which: Mask, name: str, problem: str, values: Array | None = None, remedy: str = SKIP) -> None:
        """Refuse the rows where ``which`` (bool[n]) is true.

        Args:
            name: the column.
            problem: what is wrong; with ``values`` it continues "'the value' …".

        Raises:
            DataError: unless malformed rows are skipped.
        """
        new = which & ~self.bad
        if not new.any():
            return
        if not self.refusals.skip:
            row = int(np.argmax(new))
            shown = "" if values is None else f"{reprlib.repr(values[row].as_py())} "
            place = f"{self.source} {self.unit} {self.numbers[row]}, {name!r}"
            raise DataError(f"{shown}{problem}", place=place, remedy=remedy)
        self.refusals.counts[f"{name}: {problem}"] += int(np.count_nonzero(new))
        self.bad |= new
