"""A damaged log works, or is quarantined and begins anew; damaged pushed features are replaced; nothing crashes."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from nearhand.testing import ManualClock
from tests.faults.needs import ROOT
from tests.faults.profile import Profile
from tests.faults.story import viewed

ENDS = {"log": ("0 quarantined", "1 quarantined"), "pushed": ("kept", "replaced")}


def damage(what: str, folder: Path, first: int, last: int) -> None:
    command = [sys.executable, "-m", "tests.faults.corruption_child", what, str(folder), str(first), str(last)]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False)
    lines = child.stdout.splitlines()
    assert child.returncode == 0, f"crashed at {lines[-1:]} with {child.returncode}: {child.stderr}"
    wrong = [line for line in lines if " wrong: " in line]
    assert not wrong, f"{len(wrong)} of {len(lines)}:\n" + "\n".join(wrong[:3]).replace("\\n", "\n")
    ends = Counter(line.partition(" ")[2] for line in lines)
    assert len(lines) == last - first + 1
    assert min(ends[end] for end in ENDS[what]) > len(lines) / 20, ends


@pytest.mark.parametrize("what", ENDS)
def test_what_is_damaged_works_or_begins_anew(tmp_path: Path, what: str) -> None:
    damage(what, tmp_path, 0, 199)


@pytest.mark.degrades
def test_a_damaged_state_does_not_stop_the_caps(tmp_path: Path) -> None:
    for session in range(2):
        profile = Profile(tmp_path, clock=ManualClock(), max_bytes=5_000)
        profile.log.append_many([viewed(f"{session}-{n}", "x" * 500) for n in range(20)])
        profile.log.enforce_caps()
        assert profile.log.count() < 10
        assert profile.store.vector().floats[0] >= profile.log.count()
        profile.close()
        with closing(sqlite3.connect(tmp_path / "events.db")) as connection:
            assert connection.execute("UPDATE checkpoint SET state = substr(state, 1, 20)").rowcount == 1
            connection.execute("DELETE FROM snapshot")
            connection.commit()


@pytest.mark.torture
@pytest.mark.parametrize("what", ENDS)
def test_what_is_damaged_in_many_ways_works_or_begins_anew(tmp_path: Path, what: str) -> None:
    damage(what, tmp_path, 200, 5_000)
