"""Damages a file in a random way, at rest or in use, and goes on using it. Run by test_corruption.py.

The arguments are what is damaged, a folder, and the first and the last seed. Each seed is said before it is tried, so
that the last line names the one that crashed the process; what is wrong is said behind it.
"""

from __future__ import annotations

import random
import shutil
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from nearhand.errors import NearhandError
from nearhand.events import EventLog, RecordedEvent, Snapshot
from nearhand.features.cache import PushedFeatures
from nearhand.monitoring import Meter
from nearhand.testing import ManualClock
from tests.faults.story import FactKeeper, Teller, Told, open_log, viewed

FILE = "events.db"
PAGE = 4096
REFUSED = ("database of something else", "newer SDK")  # what the header says when a bit of it has changed
DERIVED = "the state of the events to evict"  # SQLite cannot know that a state is damaged; its maker has to


def make_log(folder: Path) -> None:
    """Files as a kill leaves them: something of everything, in the database and in its write-ahead log."""
    making = folder / "making"
    teller = Teller(lambda line: None)
    log = open_log(making / FILE, max_bytes=60_000)
    for n in range(40):
        teller.append(log, viewed(f"old-{n}", "x" * 50 * n))
    teller.enforce_caps(log)
    teller.reset(log)
    teller.forget(log, "old-39")  # moves the write-ahead log into the database
    teller.append_many(log, [viewed(f"new-{n}", "x" * 50 * n) for n in range(40)])
    teller.save_snapshot(log)
    shutil.copytree(making, folder / "sound")
    teller.close(log)
    assert not teller.gave_up
    assert (folder / "sound" / FILE).stat().st_size > 5 * PAGE
    assert (folder / "sound" / f"{FILE}-wal").stat().st_size > 5 * PAGE


def make_pushed(folder: Path) -> None:
    """The files of pushed features, likewise."""
    making = folder / "making"
    making.mkdir()
    pushed = open_pushed(making)
    for n in range(60):
        pushed.put(f"view-{n}", [1.0] * n, ttl_ms=10**9, source="the test that made it")
    shutil.copytree(making, folder / "sound")
    pushed.close()


def open_pushed(folder: Path) -> PushedFeatures:
    clock = ManualClock()
    return PushedFeatures(folder / "pushed.db", clock=clock, meter=Meter(clock), budget_bytes=100_000)


def damaged(content: bytes, dice: random.Random) -> bytes:
    """The content of a file with a random defect."""
    start, end = sorted(dice.randrange(len(content) + 1) for _ in range(2))
    page = dice.randrange(0, len(content), PAGE)
    other = dice.randrange(0, len(content), PAGE)
    defects: list[Callable[[], bytes]] = [
        lambda: content[:start],
        lambda: content[:start] + bytes(end - start) + content[end:],
        lambda: content[:start] + dice.randbytes(end - start) + content[end:],
        lambda: content[:page] + bytes(PAGE) + content[page + PAGE :],
        lambda: content[:page] + content[other : other + PAGE] + content[page + PAGE :],
        lambda: content + dice.randbytes(start),
        lambda: dice.randbytes(100) + content[100:],
        lambda: _with_bits_flipped(content, dice, 1 + dice.randrange(3)),
        lambda: _with_bits_flipped(content, dice, 50),
    ]
    return dice.choice(defects)()


def _with_bits_flipped(content: bytes, dice: random.Random, bits: int) -> bytes:
    changed = bytearray(content)
    for _ in range(bits):
        # Half of the defects are at the beginning of a page, where its structure is.
        at = dice.randrange(len(content)) if dice.random() < 0.5 else dice.randrange(0, len(content), PAGE)
        changed[min(at + dice.randrange(16), len(content) - 1)] ^= 1 << dice.randrange(8)
    return bytes(changed)


class Uses:
    """Uses of a log that may be damaged, and the new events that it must hold because of them."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._lines: list[str] = []
        self._teller = Teller(self._lines.append)
        self._quarantined = log.quarantined
        self.promised: set[str] = set()
        self.errors: list[str] = []

    def use(self, name: str) -> None:
        log, teller = self._log, self._teller
        for deed in (
            lambda: teller.append(log, viewed(f"{name}-1", "y" * 500)),
            lambda: check_types(log.since(0)),
            lambda: teller.append_many(log, [viewed(f"{name}-2"), viewed(f"{name}-3")]),
            lambda: teller.forget(log, "new-7"),
            lambda: teller.reset(log),
            log.count,
            log.drops,
            log.rewrites,
            lambda: teller.enforce_caps(log),
            lambda: save_snapshot(log),
            lambda: check_types(log.read(FactKeeper.fingerprint).events),
            lambda: log.snapshot(FactKeeper.fingerprint),
            lambda: teller.append(log, viewed(f"{name}-4")),
            log.bytes_on_disk,
        ):
            already = Told.of(self._lines).acknowledged.keys()
            try:
                deed()
            except NearhandError as error:
                self.errors.append(str(error))
            told = Told.of(self._lines)
            if log.quarantined != self._quarantined:  # what was acknowledged before this deed is in quarantine
                self._quarantined = log.quarantined
                self.promised.clear()
            self.promised |= told.acknowledged.keys() - already
        self.errors += [error for error in told.errors if DERIVED not in error]


def save_snapshot(log: EventLog) -> None:
    reading = log.read(FactKeeper.fingerprint)
    log.save_snapshot(FactKeeper.fingerprint, Snapshot(b"[]", reading.through, reading.rewrites))


def check_types(events: list[RecordedEvent]) -> None:
    for event in events:
        for name in ("sequence", "timestamp", "recorded_at", "utc_offset_minutes", "epoch"):
            assert type(getattr(event, name)) is int, f"{name} of {event}"
        for name in ("event_id", "event"):
            assert type(getattr(event, name)) is str, f"{name} of {event}"
        for name in ("item_id", "user", "recommendation_id"):
            assert getattr(event, name) is None or type(getattr(event, name)) is str, f"{name} of {event}"
        assert type(event.context) is type(event.properties) is dict, f"context or properties of {event}"


def damage_at_rest(folder: Path, file: str, dice: random.Random) -> None:
    for name in dice.choice(([file], [f"{file}-wal"], [file, f"{file}-wal"])):
        (folder / name).write_bytes(damaged((folder / name).read_bytes(), dice))
    (folder / f"{file}-shm").unlink()  # it would say that all is well: it is of a process that is gone


def try_at_rest(folder: Path, dice: random.Random) -> str:
    damage_at_rest(folder, FILE, dice)
    try:
        log = open_log(folder / FILE, max_bytes=60_000)
    except NearhandError as error:
        if any(words in str(error) for words in REFUSED):
            return "refused"
        raise
    with log:
        uses = Uses(log)
        uses.use("fresh")
        assert not uses.errors, uses.errors
    return _look_again(folder, uses)


def try_in_use(folder: Path, dice: random.Random) -> str:
    with ExitStack() as cleanup:
        log = open_log(folder / FILE, max_bytes=60_000)
        cleanup.callback(log.close)
        uses = Uses(log)
        if dice.random() < 0.5:
            uses.use("before")
        name = dice.choice((FILE, f"{FILE}-wal"))
        # Not closed before the log is: that would drop the locks of SQLite, which belong to the process.
        file = cleanup.enter_context((folder / name).open("r+b", buffering=0))
        content = damaged(file.read(), dice) if (folder / name).stat().st_size else dice.randbytes(5000)
        file.seek(0)
        file.write(content)
        file.truncate()
        uses.use("after")
        log.close()
    uses.promised.clear()  # what was written before the damage may be a part of what was damaged
    return _look_again(folder, uses)


def _look_again(folder: Path, uses: Uses) -> str:
    """What came of it, when the log is opened once more."""
    quarantined = len(list(folder.glob(f"{FILE}.corrupt-?")))
    with open_log(folder / FILE, max_bytes=60_000) as log:
        again = Uses(log)
        present = {event.event_id for event in log.since(0)}
        if len(log.quarantined) == quarantined:
            assert uses.promised <= present, f"lost {uses.promised - present}"
        again.use("again")
        assert not again.errors, again.errors
        assert len(log.quarantined) == len(list(folder.glob(f"{FILE}.corrupt-?"))), "not all of it is reported"
        return f"{len(log.quarantined)} quarantined"


def try_log(folder: Path, dice: random.Random) -> str:
    return dice.choice((try_in_use, try_at_rest, try_at_rest))(folder, dice)


def try_pushed(folder: Path, dice: random.Random) -> str:
    damage_at_rest(folder, "pushed.db", dice)
    pushed = open_pushed(folder)
    found = [pushed.get(f"view-{n}") for n in range(60)]
    assert all(each is None or set(map(type, each.values)) <= {float} for each in found)
    pushed.put("view-7", [5.0], ttl_ms=1000, source="the test that damaged it")
    again = pushed.get("view-7")
    assert again is not None
    assert again.values == (5.0,)
    pushed.refresh()
    pushed.status()
    pushed.clear()
    pushed.close()
    return "replaced" if found.count(None) == len(found) else "kept"


def main(what: str, folder: Path, first: int, last: int) -> None:
    make, try_ = {"log": (make_log, try_log), "pushed": (make_pushed, try_pushed)}[what]
    make(folder)
    for seed in range(first, last + 1):
        place = folder / str(seed)
        shutil.copytree(folder / "sound", place)
        print(seed, end=" ", flush=True)
        dice = random.Random(seed)
        try:
            print(try_(place, dice), flush=True)
        except Exception:  # noqa: BLE001 - whatever it is, it is the answer
            print("wrong:", traceback.format_exc().replace("\n", "\\n"), flush=True)
        shutil.rmtree(place)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
