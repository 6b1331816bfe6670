"""Two processes with several threads each do everything to one log at once, and may be killed. Run by test_crowd.py.

Each line of input is a :class:`Round` as JSON. Two forks work on the log; when both have ended, the log is examined
here. The answer is one line: what is wrong, and how much was done. What was acknowledged in the rounds before on the
same file must still be there.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import threading
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns

from nearhand.clock import SystemClock
from nearhand.config import Durability
from nearhand.events import EventLog
from nearhand.features.store import FeatureStore
from tests.faults.profile import Profile, check_features
from tests.faults.story import FactKeeper, Teller, Told, check_log, check_order, fact, facts_in, open_log, viewed

PATIENCE_S = 60  # for a line from anybody
# What a thread does, and how often.
_DEEDS = {"one": 60, "many": 15, "forget": 6, "reset": 2, "evict": 2, "derive": 5, "read": 10}


@dataclass(frozen=True)
class Round:
    """One gathering.

    Attributes:
        operations: how many each thread does; None: it goes on until it is killed.
        seed: decides what is done, and when the processes are killed.
        features: they read and materialize features, which are examined; else the log itself is.
        max_bytes: the cap of the log.
    """

    folder: str
    durability: Durability
    threads: int
    operations: int | None
    seed: int
    features: bool = False
    max_bytes: int = 20_000


@dataclass
class History:
    """What was told about one file, and how many threads were cut off in the middle of something at most."""

    lines: list[str] = field(default_factory=list)
    cut_off: int = 0


def work(
    log: EventLog, store: FeatureStore | None, teller: Teller, name: str, dice: random.Random, operations: int | None
) -> None:
    """What one thread does."""
    mine: list[str] = []
    gone: set[str] = set()
    n = 0
    while n != operations:
        n += 1
        new = f"{name}.{n};"  # none is the beginning of another one
        match dice.choices(*zip(*_DEEDS.items(), strict=True))[0]:
            case "one":
                if teller.append(log, viewed(new, "x" * dice.randrange(200))):
                    mine.append(new)
            case "many":
                ids = [f"{part}.{new}" for part in range(dice.randrange(1, 6))]
                if teller.append_many(log, [viewed(event_id) for event_id in ids]):
                    mine += ids
            case "forget" if mine:
                event_id = mine.pop(dice.randrange(len(mine)))
                if teller.forget(log, event_id):
                    gone.add(event_id)
            case "reset" if n < 20:  # so that later events are evicted that the features still count
                teller.reset(log)
            case "evict":
                teller.enforce_caps(log)
            case "derive" if store is None:
                teller.save_snapshot(log)
            case "derive" if store is not None:
                teller.read(store)
            case "read" if store is None:
                reading = log.read(FactKeeper.fingerprint)
                found = [*facts_in(reading.state), *map(fact, reading.events)]
                check_order(found)
                there = {facts[1] for facts in found}
                assert there.issuperset(mine), f"{set(mine) - there} cannot be read"
                assert not there & gone, f"{there & gone} were forgotten, and can be read"


def join(round_: Round, name: str, told_to: int) -> None:
    """One of the processes, in its fork; does not return."""

    def say(line: str) -> None:
        os.write(told_to, line.encode() + b"\n")

    def run(thread: int) -> None:
        try:
            who = f"{name}.{thread}"
            work(log, store, Teller(say, who), who, random.Random(who), round_.operations)
        except BaseException:  # noqa: BLE001 - whatever it is, it is told
            say(json.dumps({"crash": traceback.format_exc()}))

    try:
        folder, durability, max_bytes = Path(round_.folder), round_.durability, round_.max_bytes
        profile = store = None
        if round_.features:
            profile = Profile(folder, clock=SystemClock(), durability=durability, max_bytes=max_bytes)
            log, store = profile.log, profile.store
        else:
            log = open_log(folder / "events.db", durability=durability, max_bytes=max_bytes)
        threads = [threading.Thread(target=run, args=(thread,)) for thread in range(round_.threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (profile or log).close()
        os._exit(0)
    except BaseException:  # noqa: BLE001 - whatever it is, it is told
        say(json.dumps({"crash": traceback.format_exc()}))
    finally:
        os._exit(1)


def invite(round_: Round, name: str) -> dict[int, int]:
    """Start the processes; returns what each one's lines are read from, and its number."""
    members = {}
    for process in "ab":
        hear_from, told_to = os.pipe()
        child = os.fork()
        if child == 0:
            join(round_, name + process, told_to)
        os.close(told_to)
        members[hear_from] = child
    return members


def listen(members: dict[int, int], moments: list[int], dice: random.Random) -> list[str]:
    """All lines of the members.

    Args:
        members: as :func:`invite` gave them; they have ended afterwards, or been killed.
        moments: after how many lines one of them is killed, and then the next one.
        dice: says who it is, and how much later within two milliseconds.
    """
    victims = dice.sample(list(members.values()), len(members))
    heard = dict.fromkeys(members, b"")
    talking = list(members)
    while talking:
        ready, _, _ = select.select(talking, [], [], PATIENCE_S)
        if not ready:
            for child in members.values():
                os.kill(child, signal.SIGKILL)
            raise TimeoutError(f"nobody has said anything for {PATIENCE_S} s")
        for pipe in ready:
            content = os.read(pipe, 65_536)
            heard[pipe] += content
            if not content:
                talking.remove(pipe)
        while moments and sum(content.count(b"\n") for content in heard.values()) >= moments[0]:
            moments = moments[1:]
            spin_until = perf_counter_ns() + dice.randrange(2_000_000)
            while perf_counter_ns() < spin_until:
                pass
            os.kill(victims.pop(), signal.SIGKILL)
    return [line for content in heard.values() for line in content.decode().splitlines()]


def dismiss(members: dict[int, int], killed: bool) -> None:
    for pipe, child in members.items():
        os.close(pipe)
        _, status = os.waitpid(child, 0)
        assert killed or status == 0, f"a process ended with the status {status}"


def gather(round_: Round, history: History) -> int:
    """Play a round; returns how many lines were told in it.

    Raises:
        AssertionError: something is wrong.
        TimeoutError: something is stuck.
    """
    dice = random.Random(round_.seed)
    mortal = round_.operations is None
    members = invite(round_, name=f"r{len(history.lines)}")
    lines = listen(members, sorted(dice.randrange(400) for _ in members) if mortal else [], dice)
    crashes = [json.loads(line)["crash"] for line in lines if '"crash"' in line]
    assert not crashes, crashes[0]
    dismiss(members, killed=mortal)
    history.lines += lines
    history.cut_off += mortal * round_.threads * len(members)
    told = Told.of(history.lines)
    assert not told.errors, told.errors[:3]
    if round_.features:
        check_features(Path(round_.folder), told, SystemClock().now_ms())
    else:
        check_log(Path(round_.folder) / "events.db", told, most_uncertain=history.cut_off)
    return len(lines)


def main() -> None:
    histories: dict[str, History] = {}
    for line in iter(sys.stdin.readline, ""):
        round_ = Round(**json.loads(line))
        problem, lines = "", 0
        try:
            lines = gather(round_, histories.setdefault(round_.folder, History()))
        except Exception:  # noqa: BLE001 - whatever it is, it is the answer
            problem = traceback.format_exc()
        print(json.dumps({"problem": problem, "lines": lines}), flush=True)


if __name__ == "__main__":
    main()
