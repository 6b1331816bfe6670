"""What these tests need of the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]


def unavailable(reason: str) -> NoReturn:
    """Skip the test for want of something in the environment, or fail it where environments are required."""
    if os.environ.get("NEARHAND_REQUIRE_ENVIRONMENTS") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def build_shim(folder: Path) -> Path:
    """The library of ``io_shim.c``, compiled."""
    if sys.platform != "linux":
        unavailable("LD_PRELOAD is for Linux")
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        unavailable("there is no C compiler")
    library = folder / "io_shim.so"
    source = Path(__file__).with_name("io_shim.c")
    flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, "-o", library, source, "-ldl", "-lpthread"], check=True)
    return library


def own_mounts() -> list[str]:
    """The command that runs another one where it may mount what nobody else sees."""
    command = ["unshare", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], check=False).returncode:
        unavailable("this system does not let us make a mount namespace")
    return command
