"""Records events until it is killed: ``kill_child.py FILE DURABILITY``. Run by test_kill.py."""

from __future__ import annotations

import os
import sys
from itertools import count
from pathlib import Path

from nearhand.clock import SystemClock
from nearhand.config import Durability
from nearhand.events.event import Event
from nearhand.events.log import EventLog


def main(path: Path, durability: Durability) -> None:
    os.write(1, b"ready\n")  # imports are done: what can be killed from here on is the log
    log = EventLog(path, clock=SystemClock(), durability=durability)
    for n in count():
        recorded = log.append(Event("item_viewed", item_id=f"m_{n}", properties={"seconds": n}))
        os.write(1, recorded.event_id.encode() + b"\n")  # unbuffered, and whole or not at all: the acknowledgement


if __name__ == "__main__":
    main(Path(sys.argv[1]), "power" if sys.argv[2] == "power" else "process")
