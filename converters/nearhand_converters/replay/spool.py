"""Tables that are larger than memory: kept in files, and split by user until a part fits."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nearhand_converters.errors import DataError
from nearhand_converters.replay.rows import Table

_SAMPLE = 65_536
_PARTS = 32
_FILE_ROWS = 65_536


class Spool:
    """Rows in the order in which they were appended: up to ``hold`` of them in memory, the others in a file.

    Attributes:
        rows: how many there are.
    """

    def __init__(self, path: Path, hold: int) -> None:
        self.rows = 0
        self._path = path
        self._hold = hold
        self._held: list[Table] = []
        self._held_rows = 0
        self._file: Any = None

    def append(self, table: Table) -> None:
        """Take rows in; all tables have one schema."""
        self.rows += len(table)
        self._held_rows += len(table)
        self._held.append(table)
        if self._held_rows > self._hold:
            self._write()

    def batches(self) -> Iterator[Table]:
        """All rows again, in order; nothing can be appended any more. At least one table, if one was appended."""
        if self._file is None:
            yield from self._held
            return
        self._write()
        self._file.close()
        with pa.ipc.open_file(self._path) as file:
            for place in range(file.num_record_batches):
                yield pa.Table.from_batches([file.get_batch(place)])

    def table(self) -> Table | None:
        """All rows; None if nothing was appended."""
        tables = list(self.batches())
        return pa.concat_tables(tables) if tables else None

    def delete(self) -> None:
        """Free what it takes."""
        self._held, self._held_rows = [], 0
        if self._file is not None:
            self._file.close()
            self._path.unlink()

    def _write(self) -> None:
        if self._file is None:
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._file = pa.ipc.new_file(self._path, self._held[0].schema, options=options)
        if self._held_rows:
            self._file.write_table(pa.concat_tables(self._held).combine_chunks(), max_chunksize=_FILE_ROWS)
        self._held, self._held_rows = [], 0


def parts_by_user(spools: Sequence[Spool], folder: Path, limit: int) -> Iterator[tuple[Table | None, ...]]:
    """The rows of all spools in parts of up to ``limit`` rows, a table for each spool.

    All rows of a user are in one part, in the order in which they were appended, and the parts follow each other in the
    order of their users. The spools are deleted on the way.

    Args:
        folder: for files; empty.

    Raises:
        DataError: one user alone has more rows.
    """
    total = sum(spool.rows for spool in spools)
    if total <= limit:
        tables = tuple(spool.table() for spool in spools)
        for spool in spools:
            spool.delete()
        yield tables
        return
    users = _sample(spools, total)
    bounds = _bounds(users, total, limit)
    hold = limit // (2 * len(spools) * (len(bounds) + 1))
    parts = [[Spool(folder / f"{one}-{place}", hold) for one in range(len(spools))] for place in range(len(bounds) + 1)]
    for one, spool in enumerate(spools):
        for table in spool.batches():
            for place, rows in _split(table, bounds):
                parts[place][one].append(rows)
        spool.delete()
    for place, part in enumerate(parts):
        if sum(spool.rows for spool in part) == total:
            problem = f"has {total:,} events and labels, more than fit into memory"
            remedy = "pass a larger --memory-rows, or leave the user out"
            raise DataError(problem, place=f"user {users[0]!r}", remedy=remedy)
        below = folder / f"part-{place}"
        below.mkdir()
        yield from parts_by_user(part, below, limit)


def _sample(spools: Sequence[Spool], total: int) -> list[str]:
    """The users of every so many rows, sorted."""
    step = max(total // _SAMPLE, 1)
    users: list[str] = []
    for spool in spools:
        first = 0  # of the next table, the row that is taken
        for table in spool.batches():
            users += table["user"].take(pa.array(np.arange(first, len(table), step))).to_pylist()
            first = (first - len(table)) % step
    return sorted(users)


def _bounds(users: Sequence[str], total: int, limit: int) -> list[str]:
    """Where parts begin. A user at such a place gets a part alone, so that every split leads somewhere."""
    count = min(_PARTS, 2 * total // limit + 1)
    at = {users[place * len(users) // count] for place in range(1, count)} or {users[0]}
    return sorted(at | {user + "\0" for user in at})  # nothing is between a text and that text with a NUL


def _split(table: Table, bounds: Sequence[str]) -> Iterator[tuple[int, Table]]:
    """The parts of a table that are not empty: their places, and their rows in order."""
    coded = table["user"].combine_chunks().dictionary_encode()
    place_of = np.array([bisect_right(bounds, user) for user in coded.dictionary.to_pylist()], np.int64)
    places = place_of[coded.indices.to_numpy()] if len(table) else np.zeros(0, np.int64)
    order = np.argsort(places, kind="stable")
    starts = np.searchsorted(places[order], np.arange(len(bounds) + 2))
    for place in range(len(bounds) + 1):
        if starts[place] < starts[place + 1]:
            # Its own copy: a slice would keep all of the table in memory for as long as a few of its rows wait.
            yield place, table.take(pa.array(order[starts[place] : starts[place + 1]]))
