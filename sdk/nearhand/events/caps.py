"""How much the log keeps: the only way in which an event leaves it by itself."""

from __future__ import annotations

import sqlite3

from nearhand.cipher import Cipher
from nearhand.errors import StorageError, UsageError, shown
from nearhand.events.rows import COLUMNS, SIZE, recorded
from nearhand.events.schema import transaction
from nearhand.events.state import Checkpointer, checkpoint, save_checkpoint
from nearhand.records import dataclass

DAY_MS = 86_400_000
CHECK_EVERY = 64  # events from one look at the caps to the next: by so many, the largest of them, the log may be over
LATEST = 100
_LEFT = 0.9  # of the bytes, so that not every look evicts
_SAVED_TOGETHER = 1000  # events: to write the measure down at every look would make the disk wait once more
_PORTION = 1000  # events that are in memory at once


@dataclass(frozen=True)
class Caps:
    """How much the log keeps.

    Attributes:
        max_bytes: when the stored events are more, the oldest by sequence number go until 90 % of it is left. An event
            is its texts as UTF-8, longer when they are encrypted, and 100 bytes for the rest: about what it takes in
            the file.
        max_age_ms: an event goes when its ``recorded_at`` is earlier than this before the smallest ``recorded_at`` of
            the 100 latest recordings. So one wrong reading of the clock, or 99, cannot empty the log; age never takes
            one of the 100 latest; and a log that nothing is added to keeps what it has.

    Raises:
        UsageError: one of them is not a positive integer.
    """

    max_bytes: int = 16_000_000
    max_age_ms: int = 400 * DAY_MS

    def __post_init__(self) -> None:
        for name, value in (("max_bytes", self.max_bytes), ("max_age_ms", self.max_age_ms)):
            if type(value) is not int or value < 1:
                raise UsageError(f"{shown(value)} is no cap", place=f"Caps.{name}", remedy="use a positive integer")


def enforce(
    connection: sqlite3.Connection, caps: Caps, checkpointer: Checkpointer | None, cipher: Cipher | None = None
) -> int:
    """Evict what is over the caps, in one transaction with the state that it leaves and with its being counted.

    Returns:
        how many events went.

    Raises:
        StorageError: the checkpointer failed; nothing was evicted.
    """
    with transaction(connection):
        measure = _measure(connection)
        stored_bytes, oldest = measure.bytes, measure.oldest
        (reference,) = connection.execute(
            f"SELECT min(recorded_at) FROM (SELECT recorded_at FROM event ORDER BY sequence DESC LIMIT {LATEST})"
        ).fetchone()
        if reference is None:
            return 0
        cutoff = reference - caps.max_age_ms
        if oldest < cutoff:
            (aged,) = connection.execute(f"SELECT sum({SIZE}) FROM event WHERE recorded_at < ?", (cutoff,)).fetchone()
            stored_bytes -= aged or 0
        through = 0
        if stored_bytes > caps.max_bytes:
            through = _reach(connection, cutoff, stored_bytes - _LEFT * caps.max_bytes)
        if measure.unsaved >= _SAVED_TOGETHER or through or oldest < cutoff:
            _save(connection, measure)
        if through or oldest < cutoff:
            return _evict(connection, cutoff, through, checkpointer, cipher, reference + 1)
        return 0


@dataclass(frozen=True)
class _Measure:
    """The bytes of the stored events up to a sequence number, and a lower bound of their ``recorded_at``."""

    through: int
    bytes: int
    oldest: int
    unsaved: int  # events that are not in the ledger's measure


def _measure(connection: sqlite3.Connection) -> _Measure:
    """All stored events; looks only at those that are newer than the ledger's measure."""
    (through, stored_bytes, oldest), (unsaved, last, new_bytes, new_oldest) = (
        connection.execute("SELECT measured_through, measured_bytes, measured_oldest FROM ledger").fetchone(),
        connection.execute(
            f"SELECT count(*), max(sequence), sum({SIZE}), min(recorded_at) FROM event"
            " WHERE sequence > (SELECT measured_through FROM ledger)"
        ).fetchone(),
    )
    if not unsaved:
        return _Measure(through, stored_bytes, oldest, 0)
    return _Measure(last, stored_bytes + new_bytes, min(oldest, new_oldest), unsaved)


def _save(connection: sqlite3.Connection, measure: _Measure) -> None:
    connection.execute(
        "UPDATE ledger SET measured_through = ?, measured_bytes = ?, measured_oldest = ?",
        (measure.through, measure.bytes, measure.oldest),
    )


def _reach(connection: sqlite3.Connection, cutoff: int, excess: float) -> int:
    """The sequence number up to which the events go, beside those before ``cutoff``, to make ``excess`` bytes free."""
    sequence = 0
    for sequence, size in connection.execute(  # noqa: B007
        f"SELECT sequence, {SIZE} FROM event WHERE recorded_at >= ? ORDER BY sequence", (cutoff,)
    ):
        excess -= size
        if excess <= 0:
            break
    return sequence


def _evict(
    connection: sqlite3.Connection,
    cutoff: int,
    through: int,
    checkpointer: Checkpointer | None,
    cipher: Cipher | None,
    as_of: int,
) -> int:
    going = "FROM event WHERE recorded_at < ? OR sequence <= ?"
    bounds = (cutoff, through)
    last, freed = connection.execute(f"SELECT max(sequence), sum({SIZE}) {going}", bounds).fetchone()
    aged = surplus = 0
    if last is not None:
        from nearhand.events.outbox import note_evicted  # as a rule nothing goes

        _fold(connection, going, bounds, checkpointer, cipher, as_of)
        connection.execute("DELETE FROM snapshot WHERE through < ?", (last,))
        note_evicted(connection, cutoff, through)
        aged = connection.execute("DELETE FROM event WHERE recorded_at < ?", (cutoff,)).rowcount
        surplus = connection.execute("DELETE FROM event WHERE sequence <= ?", (through,)).rowcount
    connection.execute(
        """
        UPDATE ledger SET evicted_through = max(evicted_through, ?), dropped_log_days = dropped_log_days + ?,
            dropped_log_bytes = dropped_log_bytes + ?, measured_bytes = measured_bytes - ?,
            measured_oldest = (SELECT ifnull(min(recorded_at), 9223372036854775807) FROM event)
        """,
        (last or 0, aged, surplus, freed or 0),
    )
    return aged + surplus


def _fold(
    connection: sqlite3.Connection,
    going: str,
    bounds: tuple[int, int],
    checkpointer: Checkpointer | None,
    cipher: Cipher | None,
    as_of: int,
) -> None:
    """Put the fold of the events that go in place of all checkpoints: without them no other one is whole any more."""
    state = None
    if checkpointer is not None:
        state = checkpoint(connection, checkpointer.fingerprint, cipher)
        rows = connection.execute(f"SELECT {', '.join(COLUMNS)} {going} ORDER BY sequence", bounds)
        while portion := [recorded(row, cipher) for row in rows.fetchmany(_PORTION)]:
            try:
                state = checkpointer.fold(state, portion, as_of)
            except Exception as error:
                raise StorageError(
                    f"the state of the events to evict could not be made ({type(error).__name__}: {error})",
                    place="checkpointer",
                    remedy="nothing was evicted; it is tried again after more events",
                ) from error
    connection.execute("DELETE FROM checkpoint")
    if checkpointer is not None:
        assert state is not None  # it was given events
        save_checkpoint(connection, checkpointer.fingerprint, state, cipher)
