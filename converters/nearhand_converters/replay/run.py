"""The whole replay, top to bottom: events and labels → files by user → folds → training table."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nearhand.features import CompiledProgram, Program, read_program
from nearhand_converters.console import Progress
from nearhand_converters.errors import DataError
from nearhand_converters.replay.events import Reading
from nearhand_converters.replay.files import Source
from nearhand_converters.replay.formats import Adapter, Tables
from nearhand_converters.replay.labels import CARRIED, LabelReading, check_names, read_labels
from nearhand_converters.replay.output import KEYS, training_table, training_writer, whole_file
from nearhand_converters.replay.profiles import feature_rows, no_events, order_profiles
from nearhand_converters.replay.rows import Refusals, Table
from nearhand_converters.replay.spool import Spool, parts_by_user

MEMORY_ROWS = 2_000_000


@dataclass(frozen=True)
class Labels:
    """Where labels come from: a source, or, without one, each event of these types."""

    source: Source | None = None
    events: Sequence[str] = ()


@dataclass
class ReplayReport:
    """What a replay read and wrote.

    Attributes:
        rows: labels, and so rows of the table.
        users: those that have labels; strangers: those of them that have no event.
        events: those that were read, duplicates included.
        duplicates: events whose ``event_id`` their user's log had already.
        skipped: rows that were left out, by reason.
        columns: of the table.
    """

    rows: int = 0
    users: int = 0
    strangers: int = 0
    events: int = 0
    duplicates: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    seconds: float = 0.0


def replay(
    source: Source,
    adapter: Adapter,
    labels: Labels,
    program: CompiledProgram,
    reading: Reading,
    out: Path,
    *,
    skip_malformed: bool = False,
    memory_rows: int = MEMORY_ROWS,
    progress: Progress = lambda stage, done, total: None,
) -> ReplayReport:
    """Write the training table ``out``: for each label its features, in the order of users, then of labels.

    Args:
        adapter: reads events from ``source``.
        reading: what is read of them; see :func:`nearhand_converters.replay.events.reading_of`.
        skip_malformed: leave malformed rows out and count them; else the first one is an error.
        memory_rows: at most so many events and labels are in memory at once.

    Raises:
        DataError: a file cannot be read or is malformed, there are no labels, or a user has too many events.
        StorageError: ``out`` cannot be written.
    """
    start = time.perf_counter()
    refusals, report = Refusals(skip_malformed), ReplayReport()
    with whole_file(out) as file, tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        folder = Path(scratch)
        # Half of the rows may be held while the other half is a copy of them, sorted.
        events = Spool(folder / "events", memory_rows // 4)
        _fill(events, adapter(source, reading, refusals), "read events", source, progress)
        report.events = events.rows
        spools, how = [events], LabelReading(reading, program.pushed)
        if labels.source is not None:
            spools.append(Spool(folder / "labels", memory_rows // 4))
            _fill(spools[1], read_labels(labels.source, how, refusals), "read labels", labels.source, progress)
        total, before = sum(spool.rows for spool in spools), 0
        with training_writer(file, program) as writer:
            for part in parts_by_user(spools, folder, max(memory_rows // 2, 1)):
                size = sum(len(table) for table in part if table is not None)
                for table, done in _replayed(part, labels, program, how, report):
                    writer.write(table)
                    progress("replay", before + int(size * done), total)
                    report.columns = tuple(table.column_names)
                before += size
            if not report.rows:
                raise _no_labels(labels)
    report.skipped = dict(sorted(refusals.counts.items()))
    report.seconds = time.perf_counter() - start
    return report


def read_program_file(path: Path) -> Program:
    """The program in a JSON file.

    Raises:
        DataError: the file cannot be read.
        ProgramError: it is malformed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise DataError(problem, place=str(path), remedy="name a feature program in JSON") from None
    return read_program(data, place=str(path))


def _fill(spool: Spool, tables: Tables, stage: str, source: Source, progress: Progress) -> None:
    for table, done in tables:
        spool.append(table)
        progress(stage, done, source.bytes)


def _replayed(
    part: Sequence[Table | None], labels: Labels, program: CompiledProgram, how: LabelReading, report: ReplayReport
) -> Iterator[tuple[Table, float]]:
    """The rows of some users, and the share of them that is done."""
    events = no_events() if part[0] is None else part[0]
    own_labels = part[1] if labels.source is not None else None
    if labels.source is not None and own_labels is None:
        return
    profiles = order_profiles(events, own_labels, labels.events, program)
    report.duplicates += profiles.duplicates
    report.users += len(profiles.users)
    report.strangers += profiles.strangers
    carried = [name.removeprefix(CARRIED) for name in profiles.labels.column_names if name.startswith(CARRIED)]
    place = "--labels" if labels.source is None else str(labels.source.files[0])
    check_names(carried, [*KEYS, *(column.name for column in program.columns)], place)
    types: dict[str, Any] = {CARRIED + name: how.type_of(name) for name in how.kinds}
    done = 0
    for rows, vectors in feature_rows(profiles, program):
        done += len(rows)
        report.rows += len(rows)
        yield training_table(rows, vectors, program, types), done / len(profiles.labels)


def _no_labels(labels: Labels) -> DataError:
    if labels.source is not None:
        return DataError("has no label", place=str(labels.source.files[0]), remedy="give at least one row")
    remedy = "name types that are in the events"
    return DataError(f"no event is of type {', '.join(labels.events)}", place="--label-events", remedy=remedy)
