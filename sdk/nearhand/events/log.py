"""The event log: one SQLite file that keeps every acknowledged event, in the order it was recorded."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from nearhand.cipher import Cipher
from nearhand.clock import Clock
from nearhand.config import Durability
from nearhand.errors import EncryptionError, EventError, StorageError, UsageError, shown
from nearhand.events.caps import CHECK_EVERY, Caps, enforce
from nearhand.events.database import Database, truncate, wipe
from nearhand.events.event import MAX_ID_CHARACTERS, RESET, Event, RecordedEvent, is_name, json_text, just_recorded
from nearhand.events.event_types import EventSchema, validate
from nearhand.events.groups import Groups, Unit
from nearhand.events.quarantine import files_of, quarantined, sqlite_code
from nearhand.events.rows import (
    COLUMNS,
    CONSENTED,
    EPOCH,
    SEQUENCE,
    SIZE,
    STAYS,
    Row,
    erase,
    insert_marker,
    insert_units,
    opened,
    restore,
    sealed,
)
from nearhand.events.schema import transaction
from nearhand.events.state import (
    Checkpointer,
    Reading,
    Snapshot,
    checkpoint,
    load_snapshot,
    read,
    save_checkpoint,
    save_snapshot,
    since,
)
from nearhand.ids import random_id

if TYPE_CHECKING:  # imported when something is sent, or was
    from nearhand.events.outbox import Outbox

T = TypeVar("T")


class EventLog:
    """An append-only log of events in one file. Safe for several threads, and for several processes, at once.

    A damaged file is moved aside, and the log goes on in a fresh one: see :attr:`quarantined`.

    Args:
        path: the SQLite file. It is made, with its folder, if it is missing.
        clock: tells ``recorded_at``, the offset of local time, and the timestamp of an event that has none. It may be
            wrong and jump either way: what it says is stored, and the order of the log is that of ``sequence``.
        durability: what an acknowledged event survives; see :class:`nearhand.config.Config`.
        event_types: the event types that the bundle declares beside the known ones, with what each needs.
        caps: how much the log keeps; see :class:`Caps`.
        checkpointer: folds what the caps evict into a state; None: it is gone.
        cipher: encrypts what is said of each event, but for its times, its epoch and its number, and what is derived
            from events; from the moment the file is made, or never. None: nothing is encrypted.

    Attributes:
        eviction_failures: how often an append, its event being kept, could not evict what is over the caps.

    Raises:
        StorageError: the file is a database of something else, was written by a newer SDK, or cannot be opened.
            Nothing of it is changed.
        EncryptionError: the file is encrypted and there is no cipher or one of another key, or it is not encrypted and
            there is one. Nothing of it is changed. Every other method raises it too if the key cannot be used any more;
            what it was to store is not stored then.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        durability: Durability,
        event_types: Mapping[str, EventSchema] = {},
        caps: Caps = Caps(),  # noqa: B008 - frozen
        checkpointer: Checkpointer | None = None,
        cipher: Cipher | None = None,
    ) -> None:
        self._clock = clock
        self._event_types = dict(event_types)
        self._caps = caps
        self._checkpointer = checkpointer
        self._cipher = cipher
        self.eviction_failures = 0
        self._epoch = 0  # a guess: another process may have reset the preferences
        self._generation = 0
        self._groups = Groups(self._commit)
        self._lock = threading.Lock()  # for the database, and all that is said about it here
        # The app may change its working directory, and ":memory:" is a file here.
        self._database = Database(path.absolute(), clock=clock, durability=durability, cipher=cipher)
        self._seen = self._database.use(self._version)

    @cached_property
    def outbox(self) -> Outbox:
        """What of the events is still to be sent."""
        from nearhand.events.outbox import Outbox

        return Outbox(self._read, self._write, self._cipher)

    def append(self, event: Event, *, sendable: bool = False) -> RecordedEvent:
        """Keep an event. When this returns, it is stored as durably as the log was asked to.

        An ``event_id`` that is in the log already is not stored again: the event stored first is returned. Threads that
        append at once share one transaction.

        Args:
            event: what happened.
            sendable: whether it may leave the device; see :attr:`outbox`.

        Returns:
            the fact as it is stored, with its sequence number, identifier and times.

        Raises:
            EventError: the event is malformed.
            StorageError: it could not be written; nothing of it has been.
            UsageError: the log is closed, or ``event`` is not an :class:`Event`.
        """
        row = self._groups.keep([self._row(event, sendable)])[0]
        return just_recorded(row if self._cipher is None else opened(row, self._cipher))

    def append_many(self, events: Iterable[Event], *, sendable: bool = False) -> list[RecordedEvent]:
        """Keep several events in one transaction, all of them or none; see :meth:`append`.

        Returns:
            what was stored for each; an identifier that comes twice gives the same event twice.

        Raises:
            EventError: an event is malformed; its field begins with ``events[i]``.
            StorageError: they could not be written; nothing of them has been.
            UsageError: the log is closed, or one of them is not an :class:`Event`.
        """
        rows = []
        for position, event in enumerate(events):
            try:
                rows.append(self._row(event, sendable))
            except EventError as error:
                raise EventError(f"events[{position}].{error.field}", error.problem, remedy=error.remedy) from error
        return [just_recorded(opened(row, self._cipher)) for row in self._groups.keep(rows)] if rows else []

    def reset(self) -> RecordedEvent:
        """Begin a new epoch: what was recorded so far stays visible, and is no taste any more.

        Returns:
            the marker of the reset, an event of the type :data:`nearhand.events.RESET`.

        Raises:
            StorageError: it could not be written, and has not happened.
            UsageError: the log is closed.
        """
        now = self._clock.now_ms()
        offset = self._clock.utc_offset_minutes(now)
        row: Row = (random_id(), None, now, now, offset, RESET, None, None, None, 0, "{}", "{}", STAYS)
        if self._cipher is not None:
            row = sealed(row, self._cipher)
        with self._lock:
            marker = just_recorded(opened(self._database.write(insert_marker, row), self._cipher))
            self._epoch = marker.epoch
            self._generation += 1
            return marker

    def forget(self, event_id: str) -> bool:
        """Delete an event, and all that was derived from it and is kept here.

        Its bytes are overwritten in the database, and then taken out of the write-ahead log. If another process reads
        that at the moment, this is tried again when something else is forgotten, and when the log is closed or opened.
        What the caps have evicted cannot be forgotten: it is no event any more, and its part of a state stays.
        If it was sent, or perhaps was, its identifier is noted for the endpoint to be asked to delete it too, and kept
        until that is done. Memory is not overwritten; and after a crash, SQLite can leave some of the memory of the
        process that opens the log next in the ``-shm`` file, until something is written or the log is closed.

        Returns:
            whether it was there.

        Raises:
            StorageError: it could not be deleted, and is still there.
            UsageError: the log is closed, it is no identifier, or that of the marker of a reset, which holds back what
                came before it.
        """
        if not (isinstance(event_id, str) and is_name(event_id, MAX_ID_CHARACTERS)):
            problem = f"{shown(event_id)} is no identifier"
            raise UsageError(problem, place="forget(event_id)", remedy="give the event_id of a recorded event")
        from nearhand.events.outbox import note_forgotten

        name = event_id if self._cipher is None else self._cipher.index(event_id)

        def delete(connection: sqlite3.Connection) -> bool:
            with transaction(connection):
                row = connection.execute(
                    f"SELECT sequence, event, {SIZE} FROM event WHERE event_id = ?", (name,)
                ).fetchone()
                note_forgotten(connection, event_id, name, self._cipher)
                if row is None:
                    return False
                sequence, kind, size = row
                if self._cipher is not None:
                    kind = since(connection, sequence - 1, self._cipher, limit=1)[0].event
                if kind == RESET:
                    raise UsageError(f"{event_id!r} is a reset", place="forget", remedy="forget the events themselves")
                connection.execute("DELETE FROM event WHERE sequence = ?", (sequence,))
                connection.execute("DELETE FROM snapshot")
                connection.execute(
                    "UPDATE ledger SET rewrites = rewrites + 1,"
                    " measured_bytes = measured_bytes - iif(measured_through >= ?, ?, 0)",
                    (sequence, size),
                )
            return True

        with self._lock:
            self._database.follow()
            deleted = self._database.write(delete)
            self._database.use(wipe, self._database.path)
            self._generation += deleted
            return deleted

    def erase(self) -> None:
        """Delete all events, all that was derived from them and is kept here, and the quarantined files.

        The log stays open and is empty; numbers of events are not given again, and an epoch begins. Once the events are
        deleted, which happens at one instant, what else is to be done for no byte of them to be in a file stays due:
        after a crash it is done when the log is opened. Of memory and the ``-shm`` file see :meth:`forget`.

        Raises:
            StorageError: they could not be deleted, and are still there; or they are, and bytes of them are left in a
                file, because another process reads it, or a quarantined file cannot be deleted: that is tried again
                when something is forgotten, and when the log is closed or opened.
            UsageError: the log is closed.
        """
        with self._lock:
            self._database.follow()
            self._epoch = self._database.write(erase)
            self._generation += 1
            self._database.use(wipe, self._database.path)
            (due,) = self._database.use(lambda c: c.execute("SELECT wiped < 0 FROM ledger").fetchone())
        if due:
            raise StorageError(
                "the events are deleted, but not yet every byte of them",
                place=str(self._database.path),
                remedy="close what else reads the log's files, and erase again",
            )

    def epoch(self) -> int:
        """How many resets there were: what is recorded now has this epoch.

        Raises:
            StorageError: the file cannot be read.
            UsageError: the log is closed.
        """
        return self._read(lambda connection: int(connection.execute("SELECT epoch FROM ledger").fetchone()[0]))

    def restore(
        self, events: Sequence[RecordedEvent], epoch: int, fingerprint: str | None = None, state: bytes | None = None
    ) -> None:
        """Take over the events of another log, in one transaction, into this one, which has to be empty.

        They get sequence numbers of this log, in their order; all else of them stays as it is.

        Args:
            events: what :meth:`since` gave there.
            epoch: what :meth:`epoch` gave there.
            fingerprint, state: a checkpointer's, and what :meth:`checkpoint` gave there for it; None: there is none.

        Raises:
            StorageError: they could not be written; the log is empty.
            UsageError: the log is closed, or not empty.
        """
        rows: list[Row] = []
        for event in events:
            texts = (json_text(event.context), json_text(event.properties))
            row = (*(getattr(event, name) for name in COLUMNS[:-2]), *texts)
            rows.append(row if self._cipher is None else sealed(row, self._cipher))

        def put(connection: sqlite3.Connection) -> bool:
            with transaction(connection):
                if not restore(connection, rows, epoch):
                    return False
                connection.execute("DELETE FROM checkpoint")
                if fingerprint is not None and state is not None:
                    save_checkpoint(connection, fingerprint, state, self._cipher)
            return True

        with self._lock:
            self._database.follow()
            # The write-ahead log keeps the space of what did not fit. It is given back to whoever has to undo what goes
            # with this, which is possible if nothing was in it before.
            with suppress(StorageError):
                self._database.use(truncate)
            try:
                is_empty = self._database.write(put)
            except StorageError:
                with suppress(StorageError):
                    self._database.use(truncate)
                raise
            if not is_empty:
                raise UsageError("the log is not empty", place="restore", remedy="erase it, or use another profile")
            self._epoch = epoch
            self._generation += 1

    def since(self, sequence: int, limit: int | None = None) -> list[RecordedEvent]:
        """The events with a greater sequence number, in the order of that number; 0 gives all of them.

        The markers of resets are among them.

        Args:
            sequence: the number of the last event that the caller has.
            limit: how many at most, from 1; None: all.

        Raises:
            StorageError: the file cannot be read.
            UsageError: the log is closed, or ``sequence`` is not an integer from 0 that fits in 64 bits.
        """
        _check_number("sequence number", sequence, 0)
        if limit is not None:
            _check_number("limit", limit, 1)
        return self._read(lambda connection: since(connection, sequence, self._cipher, -1 if limit is None else limit))

    def count(self) -> int:
        """How many events the log holds, the markers of resets included.

        Raises:
            StorageError: the file cannot be read.
            UsageError: the log is closed.
        """
        return self._read(lambda connection: int(connection.execute("SELECT count(*) FROM event").fetchone()[0]))

    def bytes_on_disk(self) -> int:
        """The size of the log's files together, in bytes: the database, its write-ahead log and the index of that.

        Raises:
            StorageError: the files cannot be examined.
            UsageError: the log is closed.
        """
        files = files_of(self._database.path)
        return self._read(lambda _: sum(file.stat().st_size for file in files if file.exists()))

    def enforce_caps(self) -> int:
        """Evict what is over the caps, as append does after every 64th event.

        Eviction, the state that the checkpointer makes of it, and the count of :meth:`drops` are one transaction.

        Returns:
            how many events went.

        Raises:
            StorageError: the file cannot be written or the checkpointer failed; nothing was evicted.
            UsageError: the log is closed.
        """
        with self._lock:
            evicted = self._database.write(self._evict)
            self._generation += evicted > 0
            return evicted

    def drops(self) -> dict[str, int]:
        """How many events the caps have evicted since the log was made: ``log_bytes`` and ``log_days``.

        Raises:
            StorageError: the file cannot be read.
            UsageError: the log is closed.
        """
        found = self._read(
            lambda connection: connection.execute("SELECT dropped_log_bytes, dropped_log_days FROM ledger").fetchone()
        )
        return dict(zip(("log_bytes", "log_days"), found, strict=True))

    def rewrites(self) -> int:
        """A number that grows when an event is removed other than by eviction, and is another one in a fresh log.

        A reader that finds another number than before has to read again from the start.

        Raises:
            StorageError: the file cannot be read.
            UsageError: the log is closed.
        """
        return self._read(lambda connection: int(connection.execute("SELECT rewrites FROM ledger").fetchone()[0]))

    def read(
        self, fingerprint: str, through: int = 0, rewrites: int | None = None, *, materialized: bool = True
    ) -> Reading:
        """All that a reader needs to be up to date, at one instant: no eviction comes between state and events.

        Args:
            fingerprint: of the reader's state; see :class:`Checkpointer`.
            through, rewrites: those of the last :class:`Reading`; by default there was none.
            materialized: whether to begin from the snapshot if there is one; False: only from what was evicted.

        Raises:
            StorageError: the file cannot be read.
            UsageError: the log is closed.
        """
        return self._read(
            lambda connection: read(connection, fingerprint, through, rewrites, self._cipher, materialized=materialized)
        )

    def checkpoint(self, fingerprint: str) -> bytes | None:
        """The state of what was evicted, since the checkpointer with this fingerprint is used; None: nothing was.

        Raises:
            StorageError: the file cannot be read.
            UsageError: the log is closed.
        """
        return self._read(lambda connection: checkpoint(connection, fingerprint, self._cipher))

    def snapshot(self, fingerprint: str) -> Snapshot | None:
        """The snapshot that was saved with this fingerprint, if it is still right.

        Raises:
            StorageError: the file cannot be read.
            UsageError: the log is closed.
        """
        return self._read(lambda connection: load_snapshot(connection, fingerprint, self._cipher))

    def save_snapshot(self, fingerprint: str, snapshot: Snapshot) -> bool:
        """Keep a state in place of all that were saved before.

        Returns:
            False if it is not right any more, because an event was forgotten, or evicted beyond ``snapshot.through``:
            then it is not kept.

        Raises:
            StorageError: it could not be written.
            UsageError: the log is closed.
        """
        with self._lock:
            return self._database.write(
                lambda connection: save_snapshot(connection, fingerprint, snapshot, self._cipher)
            )

    def generation(self) -> int:
        """A number that grows when this object changes the events, or has noticed that others did. Asks no disk."""
        return self._generation + self._database.openings

    def changed_elsewhere(self) -> bool:
        """Whether another connection to the log may have changed it since this was asked last, or it was opened.

        Raises:
            StorageError: the file cannot be read.
            UsageError: the log is closed.
        """
        with self._lock:
            self._database.follow()
            before, self._seen = self._seen, self._database.use(self._version)
            changed = self._seen != before
            self._generation += changed  # for whoever asks later than the one who is told now
            return changed

    @property
    def quarantined(self) -> tuple[str, ...]:
        """The names of the damaged files that were moved aside, in the log's folder, the earliest first.

        Each may have a ``-wal`` and a ``-shm`` file beside it. What was recorded is still in them, until :meth:`erase`.
        """
        return quarantined(self._database.path)

    def close(self) -> None:
        """Close the file. Closing again does nothing; any other call raises :class:`nearhand.errors.UsageError`."""
        with self._lock:
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _row(self, event: Event, sendable: bool) -> Row:
        if not isinstance(event, Event):
            raise UsageError(f"{type(event).__name__} is not an Event", place="append", remedy="pass an Event")
        validate(event, self._event_types)
        recorded_at = self._clock.now_ms()
        timestamp = recorded_at if event.timestamp is None else event.timestamp
        row = (
            event.event_id or random_id(),
            None,
            timestamp,
            recorded_at,
            self._clock.utc_offset_minutes(timestamp),
            event.event,
            event.item_id,
            event.user,
            event.recommendation_id,
            self._epoch,
            event.texts["context"],  # as it was made, whatever the app has done to its dicts since
            event.texts["properties"],
            CONSENTED if sendable else STAYS,
        )
        return row if self._cipher is None else sealed(row, self._cipher)

    def _commit(self, units: list[Unit]) -> None:
        """Keep all units; if that fails, each by itself, so that one cannot take the others down."""
        with self._lock:
            try:
                self._insert(units)
            except StorageError as error:
                busy = sqlite_code(error.__cause__) == sqlite3.SQLITE_BUSY  # which has waited long enough
                for unit in units:
                    unit.outcome = error if busy or len(units) == 1 else self._outcome(unit)

    def _outcome(self, unit: Unit) -> list[Row] | StorageError | None:
        try:
            self._insert([unit])
        except StorageError as error:
            return error
        return unit.outcome

    def _insert(self, units: list[Unit]) -> None:
        while True:
            kept = self._database.write(insert_units, [unit.rows for unit in units], self._cipher)
            opened = self._database.openings
            self._generation += 1
            last = kept[-1][-1]
            self._epoch = last[EPOCH]
            if last[SEQUENCE] % CHECK_EVERY < sum(map(len, kept)):  # a multiple of it is among those
                self._evict_if_possible()
            if self._database.openings == opened:  # else the eviction met damage, and the events are in the old file
                for unit, rows in zip(units, kept, strict=True):
                    unit.outcome = rows
                return

    def _evict_if_possible(self) -> None:
        try:
            self._generation += self._database.use(self._evict) > 0
        except (StorageError, EncryptionError):
            self.eviction_failures += 1

    def _evict(self, connection: sqlite3.Connection) -> int:
        return enforce(connection, self._caps, self._checkpointer, self._cipher)

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            self._database.follow()
            return self._database.use(work)

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            self._database.follow()
            return self._database.write(work)

    def _version(self, connection: sqlite3.Connection) -> tuple[int, int]:
        return self._database.openings, connection.execute("PRAGMA data_version").fetchone()[0]


def _check_number(name: str, value: object, lowest: int) -> None:
    if not isinstance(value, int) or not lowest <= value < 2**63:
        raise UsageError(f"{shown(value)} is not a {name}", place="since", remedy=f"pass an int from {lowest}")
