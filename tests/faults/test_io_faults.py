"""Each write, sync, rename, creation and removal of a file fails, one run after another, in every manner.

Whatever fails: the process lives on and sees the SDK's own errors only; and when the log is opened again, every
acknowledged event is there, in the log or folded into what was evicted, and none that nobody recorded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from errno import EIO, ENOSPC
from itertools import count, product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from nearhand.config import Durability
from tests.faults.io_child import Outcome, Run
from tests.faults.io_faults import NEVER, Fault, Manner
from tests.faults.needs import ROOT, build_shim
from tests.faults.scenarios import SCENARIOS

pytestmark = pytest.mark.soak

Play = Callable[[str, Durability, Fault, int], Outcome]

#: Of what is random in the scenarios. Another one tries other identifiers; a failure is repeated with the same one.
SEED = int(os.environ.get("NEARHAND_FAULT_SEED", "0"))


@dataclass(frozen=True)
class Case:
    """A fault, but for the number of the call that it begins with."""

    manner: Manner
    error: int = EIO
    lasting: bool = False
    seed: int = 0

    def at(self, n: int) -> Fault:
        return Fault(n, NEVER if self.lasting else n, self.manner, self.error, self.seed)


CASES = {
    "one-fails": Case(Manner.FAIL),
    "one-is-torn": Case(Manner.TEAR),
    "one-is-short": Case(Manner.SHORT, ENOSPC),
    "all-fail-from-it-on": Case(Manner.FAIL, lasting=True),
    "disk-full-from-it-on": Case(Manner.SHORT, ENOSPC, lasting=True),
    "killed": Case(Manner.KILL),
    "power-lost": Case(Manner.POWER),
    **{f"power-lost-in-part-{seed}": Case(Manner.POWER, seed=seed) for seed in range(1, 6)},
}


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    """Plays a scenario once, with a fault."""
    environment = {**os.environ, "LD_PRELOAD": str(build_shim(tmp_path_factory.mktemp("shim")))}
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # nothing here depends on a real disk
    with (
        TemporaryDirectory(dir=memory) as folder,
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults.io_child"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        ) as child,
    ):
        assert child.stdin is not None
        assert child.stdout is not None
        say, hear = child.stdin.write, child.stdout.readline

        def play_once(scenario: str, durability: Durability, fault: Fault, seed: int) -> Outcome:
            say(json.dumps(asdict(Run(f"{folder}/run", scenario, durability, fault, seed))) + "\n")
            return Outcome(**json.loads(hear()))

        yield play_once
        child.stdin.close()


def fail_each(play: Play, scenario: str, durability: Durability, case: Case) -> Counter[str]:
    """Play the scenario with a fault at each of its calls; returns which calls those were."""
    problems = []
    calls: Counter[str] = Counter()
    for n in count(1):
        outcome = play(scenario, durability, case.at(n), SEED)
        if outcome.problem:
            problems.append(f"call {n} ({outcome.hit}): {outcome.errors}\n{outcome.problem}")
        if not outcome.hit:
            assert not outcome.errors
            break
        calls[outcome.hit.partition(" ")[0]] += 1
    assert not problems, "\n\n".join([f"{len(problems)} of {n} runs of seed {SEED} went wrong", *problems[:3]])
    return calls


def test_a_run_can_be_repeated(play: Play) -> None:
    kill = CASES["killed"].at(200)
    first, again, another = (play("life", "power", kill, seed) for seed in (1, 1, 2))
    assert first == again
    assert first.hit == another.hit
    assert first.left != another.left


@pytest.mark.parametrize(
    ("scenario", "durability", "case"),
    [
        *product(
            ("life", "migration", "quarantine"),
            ("power",),
            ("one-fails", "disk-full-from-it-on", "killed", "power-lost"),
        ),
        *product(("features",), ("power",), ("one-fails", "killed", "power-lost")),
    ],
)
def test_nothing_acknowledged_is_lost_whichever_call_fails(
    play: Play, scenario: str, durability: Durability, case: str
) -> None:
    calls = fail_each(play, scenario, durability, CASES[case])
    assert {"write", "fdatasync", "create", "unlink"} <= calls.keys(), "not all of SQLite's calls were seen"
    assert calls["rename"] >= (scenario == "quarantine")


@pytest.mark.torture
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_acknowledged_is_lost_in_any_manner(
    play: Play, scenario: str, durability: Durability, case: str
) -> None:
    fail_each(play, scenario, durability, CASES[case])
