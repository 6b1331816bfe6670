"""A damaged log works, or is quarantined and begins anew; damaged pushed features are replaced; nothing crashes."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.needs import ROOT

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


@pytest.mark.torture
@pytest.mark.parametrize("what", ENDS)
def test_what_is_damaged_in_many_ways_works_or_begins_anew(tmp_path: Path, what: str) -> None:
    damage(what, tmp_path, 200, 5_000)
