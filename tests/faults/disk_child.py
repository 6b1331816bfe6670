"""A log on a real disk that is full or read-only: a small tmpfs. Run by test_disk.py in a mount namespace of its own.

The arguments are what happens, the mount point and the durability, and for an import the slot of a bundle. An assertion
that does not hold ends it with a traceback.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

from nearhand import Config, Event, Personalizer
from nearhand.config import Durability
from nearhand.errors import StorageError
from nearhand.events import EventLog
from tests.faults.story import Teller, Told, check_log, open_log, viewed

FILE = "events.db"


def mount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=True)


class Diary:
    """A teller and its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.teller = Teller(self.lines.append)

    @property
    def told(self) -> Told:
        return Told.of(self.lines)


def do_everything(log: EventLog, teller: Teller, name: str) -> None:
    teller.append_many(log, [viewed(f"{name}.many.{n}", "x" * 5_000) for n in range(10)])
    teller.forget(log, f"{name}.many.3")
    teller.reset(log)
    teller.save_snapshot(log)
    teller.enforce_caps(log)
    teller.append(log, viewed(f"{name}.one", "x" * 20_000))


def the_disk_fills_up(disk: Path, durability: Durability) -> None:
    mount(disk, "size=3m")
    diary = Diary()
    log = open_log(disk / "profile" / FILE, durability=durability, max_bytes=100_000)
    kept = 0
    (disk / "ballast").write_bytes(bytes(2_000_000))
    while diary.teller.append(log, viewed(f"id-{kept}", "x" * 3_000)):
        kept += 1
        assert kept < 1_000, "the disk is not full"
    assert kept > 10, kept
    assert "StorageError" in diary.told.errors[0]
    assert "space" in diary.told.errors[0], "the remedy is to free some"
    do_everything(log, diary.teller, "full")
    assert diary.told.acknowledged.keys() - diary.told.forgotten >= {event.event_id for event in log.since(0)}
    (disk / "ballast").unlink()
    before = len(diary.told.errors)
    do_everything(log, diary.teller, "free")
    assert not diary.told.errors[before:], "it does not recover when there is space again"
    diary.teller.close(log)
    check_log(disk / "profile" / FILE, diary.told)


def the_disk_is_full(disk: Path, durability: Durability) -> None:
    """It has no space for a log; every number of free pages is tried until one is enough."""
    mount(disk, "size=400k")
    pages = 0
    for pages in range(100):
        (disk / "ballast").write_bytes(bytes(400 * 1024 - 4096 * pages))
        diary = Diary()
        log = diary.teller.open(partial(open_log, disk / FILE, durability=durability))
        if log is not None:
            diary.teller.append(log, viewed("id-1"))
            diary.teller.close(log)
        (disk / "ballast").unlink()
        check_log(disk / FILE, diary.told)
        for file in disk.iterdir():
            file.unlink()
        if not diary.told.errors:
            break
    assert pages > 5
    assert not diary.told.errors, "no space is ever enough"


def the_disk_is_read_only(disk: Path, durability: Durability) -> None:
    mount(disk, "size=1m")
    diary = Diary()
    for folder in ("closed", "damaged"):
        with open_log(disk / folder / FILE, durability=durability) as log:
            diary.teller.append(log, viewed(f"id-{folder}"))
    (disk / "damaged" / FILE).write_bytes(b"not a database" * 1000)
    mount(disk, "remount,ro")
    unwritten = Diary()
    for folder in ("closed", "damaged", "missing"):
        opened = unwritten.teller.open(partial(open_log, disk / folder / FILE, durability=durability))
        if opened is not None:
            assert [event.event_id for event in opened.since(0)] == [f"id-{folder}"]
            do_everything(opened, unwritten.teller, "read-only")
            unwritten.teller.close(opened)
    assert not unwritten.told.acknowledged
    assert len(unwritten.told.errors) >= 3
    mount(disk, "remount,rw")
    told = diary.told
    del told.acknowledged["id-damaged"]
    check_log(disk / "closed" / FILE, told)
    check_log(disk / "damaged" / FILE, Told())
    check_log(disk / "missing" / FILE, Told())


def an_import_does_not_fit(disk: Path, durability: Durability, slot: Path) -> None:
    """Each size of the disk is tried until one is enough. Until then nothing of the document is taken over."""
    document, config = disk.parent / "profile.json", Config(durability=durability)
    with Personalizer.open(slot, disk.parent / "whole", config=config) as p:
        p.record_many([Event("item_viewed", f"m_{n}", properties={"text": "x" * 3_000}) for n in range(200)])
        p.privacy.set_consent("sync")
        p.privacy.block(item_id="m_9")
        p.privacy.export(document)
    outcomes = []
    for kilobytes in range(400, 3_000, 50):
        mount(disk, f"size={kilobytes}k")
        try:
            with Personalizer.open(slot, disk / "data", config=config) as p:
                p.privacy.block(item_id="m_1")
                before = p.privacy.preferences
                try:
                    p.privacy.import_(document)
                except StorageError:
                    outcomes.append("refused")
                    assert p.status().events == 0
                else:
                    outcomes.append("imported")
            with Personalizer.open(slot, disk / "data", config=config) as p:
                if outcomes[-1] == "refused":
                    assert p.privacy.preferences == before, kilobytes
                else:
                    assert (p.status().events, p.status().consent) == (200, "sync")
        except StorageError:
            outcomes.append("not opened")
        finally:
            subprocess.run(["umount", disk], check=True)
        if outcomes[-1] == "imported":
            break
    assert outcomes.count("refused") > 3, outcomes
    assert outcomes[-1] == "imported", outcomes


if __name__ == "__main__":
    durability: Durability = "power" if sys.argv[3] == "power" else "process"
    if sys.argv[1] == "an_import_does_not_fit":
        an_import_does_not_fit(Path(sys.argv[2]), durability, Path(sys.argv[4]))
    else:
        {f.__name__: f for f in (the_disk_fills_up, the_disk_is_full, the_disk_is_read_only)}[sys.argv[1]](
            Path(sys.argv[2]), durability
        )
