"""A disk that is really full, and one that is really read-only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.needs import ROOT, own_mounts
from tests.tiny import Tiny


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("what", ["the_disk_fills_up", "the_disk_is_full", "the_disk_is_read_only"])
def test_no_crash_and_nothing_acknowledged_is_lost(tmp_path: Path, what: str, durability: str) -> None:
    command = [*own_mounts(), sys.executable, "-m", "tests.faults.disk_child", what, str(tmp_path), durability]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert child.returncode == 0, child.stderr


def test_of_a_profile_for_which_there_is_no_space_nothing_is_taken_over(tmp_path: Path, tiny: Tiny) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    arguments = ["an_import_does_not_fit", str(disk), "process", str(tiny.slot.folder)]
    command = [*own_mounts(), sys.executable, "-m", "tests.faults.disk_child", *arguments]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert child.returncode == 0, child.stderr
