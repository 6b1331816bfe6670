"""Plays a scenario on a disk that fails, and examines what is left. Run by test_io_faults.py, with io_shim preloaded.

Each line of input is a :class:`Run` as JSON. A fork, which spares another start of the interpreter, plays the scenario
with the fault armed; when it has ended, the files are examined here, with nothing failing. The answer is one line, an
:class:`Outcome` as JSON.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

from nearhand.config import Durability
from tests.faults.io_faults import Disk, Fault, Manner
from tests.faults.scenarios import SCENARIOS
from tests.faults.story import Teller, Told


@dataclass(frozen=True)
class Run:
    """One play of a scenario.

    Attributes:
        seed: of all that is random in it, as the identifiers are: so a run can be repeated.
    """

    folder: str
    scenario: str
    durability: Durability
    fault: Fault
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """How a run went.

    Attributes:
        problem: what is wrong, for people to read; empty if nothing is.
        hit: the first call that failed; empty if none did.
        calls: how many calls the scenario made; 0 if it was killed.
        errors: what the SDK raised.
        left: a digest of the files as they were when it had ended.
    """

    problem: str
    hit: str
    calls: int
    errors: list[str]
    left: str


def play(run: Run, folder: Path, disk: Disk, told_to: int) -> None:
    """The scenario, in the fork; does not return."""
    try:
        teller = Teller(lambda line: _say(told_to, line), tries=2)
        _seed(run, disk)
        disk.arm(folder, run.fault, told_to)
        SCENARIOS[run.scenario].play(folder, run.durability, teller)
        _say(told_to, json.dumps({"calls": disk.disarm(), "gave_up": teller.gave_up}))
        os._exit(0)
    except BaseException:  # noqa: BLE001 - whatever it is, it is told
        _say(told_to, json.dumps({"crash": traceback.format_exc()}))
    finally:
        os._exit(1)


def _seed(run: Run, disk: Disk) -> None:
    dice = random.Random(run.seed)
    numbers = Path(run.folder) / "random"
    numbers.write_bytes(dice.randbytes(256))  # SQLite reads them once, as it notices that this is a new process
    disk.draw_from(numbers)
    mock.patch.object(os, "urandom", dice.randbytes).start()


def run_once(run: Run, disk: Disk) -> Outcome:
    shutil.rmtree(run.folder, ignore_errors=True)
    folder = Path(run.folder) / "disk"  # what is removed from a disk whose power may fail is kept beside it
    folder.mkdir(parents=True)
    scenario = SCENARIOS[run.scenario]
    scenario.prepare(folder)
    hear_from, told_to = os.pipe()
    child = os.fork()
    if child == 0:
        play(run, folder, disk, told_to)
    os.close(told_to)
    with os.fdopen(hear_from) as heard:
        lines = list(heard)
    _, status = os.waitpid(child, 0)
    facts = {name: value for line in lines for name, value in json.loads(line).items()}
    told = Told.of(line for line in lines if "by" in json.loads(line))
    hit = facts.get("hit", "")
    problem = facts.get("crash", "")
    manner = run.fault.manner
    mortal = manner in (Manner.KILL, Manner.POWER)
    if mortal and hit:
        if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
            problem += "it was not killed"
    elif status != 0:
        problem += f"it ended with the status {status}"
    elif run.fault.first == run.fault.last and facts["gave_up"]:
        problem += f"one fault, and these failed twice: {facts['gave_up']}"
    if manner == Manner.POWER and run.durability == "process":
        told.forgive()
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    left = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    try:
        scenario.check(folder, told)
    except Exception:  # noqa: BLE001 - whatever it is, it is the answer
        problem += traceback.format_exc()
    return Outcome(problem, hit, facts.get("calls", 0), told.errors, left)


def runs() -> Iterator[Run]:
    for line in iter(sys.stdin.readline, ""):
        run = json.loads(line)
        yield Run(**{**run, "fault": Fault(**{**run["fault"], "manner": Manner(run["fault"]["manner"])})})


def _say(descriptor: int, line: str) -> None:
    os.write(descriptor, line.encode() + b"\n")


def main() -> None:
    disk = Disk()
    gc.freeze()  # most of a fork's time goes into pages that it changes
    gc.disable()
    for run in runs():
        print(json.dumps(asdict(run_once(run, disk))), flush=True)


if __name__ == "__main__":
    main()
