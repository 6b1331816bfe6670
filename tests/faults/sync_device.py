"""A device that records, forgets, erases and syncs, and tells what it does. Run in forks by test_sync_faults.py.

What it is about to do and what has been acknowledged to it are lines of its own, written at once and whole:
``try ID N`` and then ``ack ID``, ``forget ID`` and then ``forgotten ID``; or, for many events, ``tries NAME BEGIN END``
and then ``acks NAME BEGIN END``. ``ready`` comes first and ``synced`` after each sync, both with the most memory it
ever had, in bytes; ``failed`` if anything raised what it should not have.

The arguments are the bundle's slot, the data folder, the endpoint, the write key and a JSON object, the fields of
:class:`Task`.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import threading
import traceback
from dataclasses import dataclass
from time import sleep
from typing import Literal, NoReturn

from nearhand import Config, Event, Personalizer
from nearhand.clock import SystemClock
from nearhand.ids import random_id
from nearhand.sync import SyncConfig, SyncReport
from tests.faults.sync_forks import say

MOST_AT_ONCE = 12
PAUSE_S = 0.02
FORGOTTEN = 0.2  # in how many turns something is
ERASED = 0.002  # in how many turns everything is
TOGETHER = 1000  # events that are recorded in one transaction, if there are many
LOG_BYTES = 10**9  # more than any of these tests records


@dataclass(frozen=True)
class Task:
    """What a device does.

    Attributes:
        what: ``live``: record, forget, erase and sync until it is killed. ``record``: so many ``events``, and end.
            ``drain``: sync until everything has been sent, and end.
        seed: decides how it lives.
        clock_years: how far its clock is ahead.
        erases: whether it erases the profile now and then.
    """

    what: Literal["live", "record", "drain"]
    seed: int = 0
    events: int = 0
    clock_years: int = 0
    erases: bool = True


class ShiftedClock(SystemClock):
    """The system's clock, set wrong by whole years of 365 days."""

    def __init__(self, years: int) -> None:
        self._shift_ms = years * 365 * 86_400_000

    def now_ms(self) -> int:
        return super().now_ms() + self._shift_ms


class Device:
    """A Personalizer with consent to sync, and the identifiers of what it has recorded."""

    def __init__(self, bundle: str, data: str, url: str, key: str, task: Task) -> None:
        self.personalizer = Personalizer.open(
            bundle,
            data,
            config=Config(durability="process", runtime="onnx", log_bytes=LOG_BYTES),
            sync=SyncConfig(
                url,
                key,
                properties=("seconds", "text"),
                timeout_ms=1500,
                deadline_ms=6000,
                attempts=2,  # the first one again at once, and the next sync comes at once here
                events_per_second=10**9,
            ),
            clock=ShiftedClock(task.clock_years),
        )
        self.personalizer.privacy.set_consent("sync")
        self.ids: list[str] = []
        if task.what == "live":
            self.ids += [event.event_id for event in self.personalizer.events()]

    def record(self, amount: int, *, together: bool) -> None:
        first = len(self.ids)
        events = [event_of(random_id(), first + n) for n in range(amount)]
        for event in events:
            say(f"try {event.event_id} {event.properties['seconds']}")
        if together:
            self.personalizer.record_many(events)
            for event in events:
                say(f"ack {event.event_id}")
        else:
            for event in events:
                self.personalizer.record(event)
                say(f"ack {event.event_id}")
        self.ids += [str(event.event_id) for event in events]

    def record_many(self, amount: int) -> None:
        """Events with identifiers that say their numbers, told in few lines."""
        name = random_id()
        for begin in range(0, amount, TOGETHER):
            end = min(begin + TOGETHER, amount)
            say(f"tries {name} {begin} {end}")
            self.personalizer.record_many([event_of(f"{name}-{number}", number) for number in range(begin, end)])
            say(f"acks {name} {begin} {end}")

    def forget(self, event_id: str) -> None:
        self.ids.remove(event_id)
        say(f"forget {event_id}")
        self.personalizer.privacy.forget(event_id)
        say(f"forgotten {event_id}")

    def erase(self) -> None:
        """Forget everything at once, and go on as somebody else."""
        gone, self.ids = self.ids, []
        for event_id in gone:
            say(f"forget {event_id}")
        self.personalizer.privacy.erase()
        self.personalizer.privacy.set_consent("sync")
        for event_id in gone:
            say(f"forgotten {event_id}")

    def sync(self) -> SyncReport:
        report = self.personalizer.sync()
        say(f"synced {most_memory()}")
        return report


def event_of(event_id: str, number: int) -> Event:
    """What is recorded under an identifier: the number tells all of it."""
    return Event(
        "item_viewed",
        item_id=f"m_{number % 300}",
        properties={"seconds": number, "text": "é" * (number % 50)},
        context={"device": "phone"},
        event_id=event_id,
    )


def live(device: Device, dice: random.Random, *, erases: bool) -> NoReturn:
    """Record, forget and erase, a sync running all the time."""
    threading.Thread(target=sync_on, args=(device,)).start()
    while True:
        device.record(dice.randrange(MOST_AT_ONCE), together=dice.random() < 0.5)
        if device.ids and dice.random() < FORGOTTEN:
            device.forget(dice.choice(device.ids[-50:]))
        if erases and dice.random() < ERASED:
            device.erase()
        sleep(PAUSE_S)


def sync_on(device: Device) -> NoReturn:
    """Sync again and again; what raises is told, and ends the process."""
    try:
        while True:
            device.sync()
            sleep(PAUSE_S)
    except BaseException:  # noqa: BLE001 - told, and fatal
        fail()


def drain(device: Device) -> None:
    """Sync until nothing is left to be sent."""
    while not (report := device.sync()).is_complete:
        print(report, file=sys.stderr)


def most_memory() -> int:
    """The most bytes of memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fail() -> NoReturn:
    traceback.print_exc()
    say("failed")
    os._exit(1)


def main() -> None:
    *where, text = sys.argv[1:]
    task = Task(**json.loads(text))
    bundle, data, url, key = where
    device = Device(bundle, data, url, key, task)
    say(f"ready {most_memory()}")
    match task.what:
        case "live":
            live(device, random.Random(task.seed), erases=task.erases)
        case "record":
            device.record_many(task.events)
        case "drain":
            drain(device)
    device.personalizer.close()


if __name__ == "__main__":
    try:
        main()
    except BaseException:  # noqa: BLE001 - told, and fatal
        fail()
