"""Two processes with several threads each on one log: nothing acknowledged is lost, killed or not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from nearhand.config import Durability
from tests.faults.crowd_child import Round
from tests.faults.needs import ROOT

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks, and kills with SIGKILL what it forked")

Gather = Callable[[Round], int]


@pytest.fixture(scope="module")
def gather() -> Iterator[Gather]:
    """Has one round played and examined; returns how much was told in it."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.crowd_child"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        say, hear = child.stdin.write, child.stdout.readline

        def gather_once(round_: Round) -> int:
            say(json.dumps(asdict(round_)) + "\n")
            answer = json.loads(hear())
            assert not answer["problem"], f"{round_}\n{answer['problem']}"
            return int(answer["lines"])

        yield gather_once
        child.stdin.close()


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize("durability", ["process", "power"])
def test_two_processes_with_eight_threads_each(
    tmp_path: Path, gather: Gather, durability: Durability, features: bool
) -> None:
    for seed in range(2):  # the second one begins with a log that is there
        gather(Round(str(tmp_path), durability, threads=8, operations=40, seed=seed, features=features))


def kill_often(folder: Path, gather: Gather, durability: Durability, kills: int) -> None:
    """Both processes of a round are killed, one after the other, so that the first one's death is lived through."""
    told = 0
    for seed in range(kills // 2):
        # A log lives through 20 kills. Of one with features nothing is evicted: what a dying process recorded and
        # another one evicted is known to the features only.
        place = folder / f"{seed // 10}"
        features = seed // 10 % 2 == 1
        max_bytes = 16_000_000 if features else 20_000
        told += gather(
            Round(str(place), durability, 4, operations=None, seed=seed, features=features, max_bytes=max_bytes)
        )
    assert told > 50 * kills, "they were killed before they did much"


@pytest.mark.parametrize("durability", ["process", "power"])
def test_nothing_acknowledged_is_lost_to_a_kill(tmp_path: Path, gather: Gather, durability: Durability) -> None:
    kill_often(tmp_path, gather, durability, kills=50)


@pytest.mark.torture
@pytest.mark.parametrize("durability", ["process", "power"])
def test_nothing_acknowledged_is_lost_to_a_thousand_kills(
    tmp_path: Path, gather: Gather, durability: Durability
) -> None:
    kill_often(tmp_path, gather, durability, kills=500)
