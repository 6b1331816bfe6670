"""Which adapter reads a source of events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from nearhand.errors import UsageError
from nearhand_converters.replay.events import Reading, read_events
from nearhand_converters.replay.files import Source, open_source
from nearhand_converters.replay.movielens import HEADER, open_ratings, read_ratings
from nearhand_converters.replay.rows import Refusals, Table
from nearhand_converters.replay.segment import TRACKED, is_call, read_calls

Format: TypeAlias = Literal["auto", "events", "movielens", "segment"]
FORMATS: tuple[str, ...] = get_args(Format)

Tables: TypeAlias = Iterator[tuple[Table, int]]
"""Tables, each with how far into its source it reaches, bytes."""
Adapter: TypeAlias = Callable[[Source, Reading, Refusals], Tables]


def open_events(path: Path, form: str, tracked: Mapping[str, str], *, mapped: bool) -> tuple[Source, Adapter]:
    """The source at ``path``, and what reads its events.

    Args:
        form: one of :data:`FORMATS`; ``auto`` looks at the source.
        tracked: name of a Segment track call → type of event, beyond those that are known.
        mapped: a mapping says which columns are which, so the source is a plain table.

    Raises:
        DataError: it is missing or of no known kind.
        UsageError: a mapping, or names of track calls, for a format that has none.
    """
    guess = form == "auto" and not mapped
    source = open_ratings(path) if form == "movielens" or (guess and _is_movielens(path)) else open_source(path)
    chosen = form if form != "auto" else "events" if mapped else _recognized(source)
    if mapped and chosen != "events":
        raise UsageError(f"{chosen} has columns of its own", place="--map", remedy="leave out --map or --format")
    if tracked and chosen != "segment":
        raise UsageError(f"{chosen} has no track calls", place="--track", remedy="leave it out")
    if chosen == "movielens":
        return source, read_ratings
    if chosen == "segment":
        return source, partial(read_calls, tracked={**TRACKED, **tracked})
    return source, read_events


def _is_movielens(path: Path) -> bool:
    return path.is_dir() and (path / "ratings.csv").is_file()


def _recognized(source: Source) -> str:
    if source.kind != "jsonl":
        return "movielens" if source.header() == HEADER else "events"
    first = source.first_record()
    return "segment" if first is not None and is_call(first) else "events"
