"""Where the other tests look for an event that was forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.story import Told, check_log, open_log, viewed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log in which ``id-gone`` was forgotten."""
    path = tmp_path / "events.db"
    with open_log(path) as log:
        log.append(viewed("id-gone"))
        log.append(viewed("id-here"))
        log.forget("id-gone")
    return path


def told(path: Path) -> Told:
    with open_log(path) as log:
        return Told(acknowledged={event.event_id: event for event in log.since(0)}, forgotten={"id-gone"})


def tear_the_first_frame(path: Path, of: int = 12) -> None:
    """The log is as if somebody had opened it, and had been killed after so many bytes of the first write of a page."""
    closed = path.read_bytes()
    write_ahead = path.with_name(path.name + "-wal")
    with open_log(path) as log:
        log.append(viewed("id-cut-off"))
        torn = write_ahead.read_bytes()[: 32 + of]  # 32: the header of the file
    path.write_bytes(closed)
    write_ahead.write_bytes(torn)


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_bytes_behind_the_end_of_what_is_valid_are_found(path: Path, suffix: str) -> None:
    before = told(path)
    tear_the_first_frame(path)
    with path.with_name(path.name + suffix).open("ab") as file:
        file.write(b"id-gone")
    with pytest.raises(AssertionError, match="id-gone was forgotten, and is still in the file"):
        check_log(path, before)


@pytest.mark.parametrize("of", [12, 24 + 2048])
def test_what_sqlite_takes_from_the_memory_of_this_process_is_not_taken_for_the_log(path: Path, of: int) -> None:
    before = told(path)
    tear_the_first_frame(path, of)
    memory = [b"id-gone " * 5_000 for _ in range(200)]  # each a little more than SQLite asks for
    del memory[::2]  # and free, but for the neighbours
    check_log(path, before)
