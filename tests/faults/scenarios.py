"""What an app does to its log, step by step, for a disk that fails at any of the steps."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from nearhand.config import Durability
from nearhand.events import EventLog, RecordedEvent
from nearhand.events.event import json_text
from nearhand.testing import ManualClock
from tests.faults.profile import Profile, check_features
from tests.faults.story import Teller, Told, check_log, fact, open_log, viewed

FILE = "events.db"
START_MS = 1_700_000_000_000


@dataclass(frozen=True)
class Scenario:
    """A folder is prepared with nothing failing, played with, and checked with nothing failing."""

    prepare: Callable[[Path], None]
    play: Callable[[Path, Durability, Teller], None]
    check: Callable[[Path, Told], None]


def _open(folder: Path, durability: Durability, teller: Teller, max_bytes: int = 16_000_000) -> EventLog | None:
    clock = ManualClock(START_MS)
    return teller.open(lambda: open_log(folder / FILE, clock=clock, durability=durability, max_bytes=max_bytes))


def _live(folder: Path, durability: Durability, teller: Teller) -> None:
    """Everything that a log can do, in a folder that has to be made first, with a cap that a few events reach."""
    log = _open(folder / "profile", durability, teller, max_bytes=4_000)
    if log is None:
        return
    teller.append(log, viewed("id-a1"))
    teller.append(log, viewed("id-a2"))
    teller.append_many(log, [viewed("id-b1"), viewed("id-b2")])
    teller.append(log, viewed("id-a2"))
    teller.save_snapshot(log)
    teller.reset(log)
    teller.append(log, viewed("id-c1"))
    teller.forget(log, "id-a2")
    teller.append_many(log, [viewed(f"id-d{n}", "x" * 700) for n in range(5)])
    teller.enforce_caps(log)
    teller.save_snapshot(log)
    teller.append(log, viewed("id-e1"))
    teller.forget(log, "id-d4")
    teller.reset(log)
    teller.close(log)
    log = _open(folder / "profile", durability, teller, max_bytes=4_000)
    if log is None:
        return
    teller.append(log, viewed("id-f1", "x" * 1_500))
    teller.save_snapshot(log)
    teller.enforce_caps(log)
    teller.append(log, viewed("id-g1"))
    teller.close(log)


def _check_life(folder: Path, told: Told) -> None:
    check_log(folder / "profile" / FILE, told)
    assert not list((folder / "profile").glob("*.corrupt-*")), "a sound log was quarantined"


def _append_and_close(folder: Path, durability: Durability, teller: Teller) -> None:
    log = _open(folder, durability, teller)
    if log is None:
        return
    teller.append(log, viewed("id-new-1"))
    teller.append_many(log, [viewed("id-new-2"), viewed("id-new-3")])
    teller.close(log)


# Version 1 of the file, as released before there were epochs.
_VERSION_1 = """
PRAGMA journal_mode = WAL;
CREATE TABLE event (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    timestamp INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    utc_offset_minutes INTEGER NOT NULL,
    event TEXT NOT NULL,
    item_id TEXT,
    user TEXT,
    recommendation_id TEXT,
    context TEXT NOT NULL,
    properties TEXT NOT NULL
) STRICT;
PRAGMA application_id = 0x4E484556;
PRAGMA user_version = 1;
"""
_OLD = [
    RecordedEvent("id-old-1", 1, START_MS, START_MS, 60, "item_viewed", "m_1", None, None, 0, {"hour": 21}, {}),
    RecordedEvent("id-old-2", 2, START_MS, START_MS, 60, "item_liked", "m_2", "anna", None, 0, {}, {"stars": 4}),
]


@cache
def _version_1() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(_VERSION_1)
            for event in _OLD:
                row = {**vars(event), "context": json_text(event.context), "properties": json_text(event.properties)}
                del row["epoch"]
                names = ", ".join(f":{name}" for name in row)
                connection.execute(f"INSERT INTO event ({', '.join(row)}) VALUES ({names})", row)
            connection.commit()
        return path.read_bytes()


def _prepare_old(folder: Path) -> None:
    (folder / FILE).write_bytes(_version_1())


def _check_old(folder: Path, told: Told) -> None:
    told.acknowledged |= {event.event_id: event for event in _OLD}
    assert check_log(folder / FILE, told)[: len(_OLD)] == [fact(event) for event in _OLD]


_DAMAGED = {FILE: b"not a database" * 1000, FILE + "-wal": b"nor its log" * 1000}


def _prepare_damaged(folder: Path) -> None:
    for name, content in _DAMAGED.items():
        (folder / name).write_bytes(content)


def _check_damaged(folder: Path, told: Told) -> None:
    check_log(folder / FILE, told)
    with open_log(folder / FILE) as log:
        assert log.quarantined == (FILE + ".corrupt-1",), "what was damaged is not reported, or more than that"
    assert (folder / log.quarantined[0]).read_bytes() == _DAMAGED[FILE]


def _live_with_features(folder: Path, durability: Durability, teller: Teller) -> None:
    """Features are read, pushed and materialized in between, and what they were made of is evicted and forgotten."""
    clock = ManualClock(START_MS)
    for session in range(2):
        profile = teller.open(lambda: Profile(folder, clock=clock, durability=durability, max_bytes=1_500))
        if profile is None:
            return
        log, store = profile.log, profile.store
        teller.append(log, viewed(f"id-a{session}"))
        if session == 0:
            teller.reset(log)
            teller.push(store, "value", [0.5, -7.0])
        teller.append_many(log, [viewed(f"id-b{session}", "x" * 500), viewed(f"id-c{session}", "x" * 500)])
        clock.advance(3_600_000)
        teller.read(store)
        teller.forget(log, f"id-a{session}")
        teller.append(log, viewed(f"id-d{session}", "x" * 500))
        teller.enforce_caps(log)
        teller.read(store)
        teller.close(profile)


def _check_features(folder: Path, told: Told) -> None:
    check_features(folder, told, now_ms=START_MS + 5 * 3_600_000)


SCENARIOS = {
    "life": Scenario(lambda folder: None, _live, _check_life),
    "migration": Scenario(_prepare_old, _append_and_close, _check_old),
    "quarantine": Scenario(_prepare_damaged, _append_and_close, _check_damaged),
    "features": Scenario(lambda folder: None, _live_with_features, _check_features),
}
