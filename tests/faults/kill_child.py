"""Records events until it is told to kill itself, again and again. Run by test_kill.py.

Each line of input names a durability and a file. A fork, which spares another start of the interpreter, opens the log
and appends to it for ever; every ``append`` that returned is acknowledged by a line with the event's identifier. The
next line of input, or its end, has the fork killed, and a last line tells how it ended.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from itertools import count
from pathlib import Path

from nearhand.clock import SystemClock
from nearhand.config import Durability
from nearhand.events.event import Event
from nearhand.events.log import EventLog


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")  # unbuffered, and whole or not at all


def record(path: Path, durability: Durability) -> None:
    log = EventLog(path, clock=SystemClock(), durability=durability)
    for n in count():
        recorded = log.append(Event("item_viewed", item_id=f"m_{n}", properties={"seconds": n}))
        say(recorded.event_id)


def main() -> None:
    for line in iter(sys.stdin.readline, ""):
        durability, _, path = line.rstrip("\n").partition(" ")
        child = os.fork()
        if child == 0:
            try:
                say("ready")
                record(Path(path), "power" if durability == "power" else "process")
            finally:  # reached by an error only
                traceback.print_exc()
                say("failed")
                os._exit(1)
        sys.stdin.readline()
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        say("killed" if os.WIFSIGNALED(status) else "ended by itself")


if __name__ == "__main__":
    main()
