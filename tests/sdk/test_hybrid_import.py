"""What an app pays for the cloud when it starts: no network library before the first call, and little time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

CODE = """
import json, sys, time
start = time.perf_counter()
import numpy
before = time.perf_counter()
from nearhand.hybrid import CloudReranker, HybridConfig, InferenceClient
end = time.perf_counter()
client = InferenceClient("https://models.example.org")
print(json.dumps({"numpy": before - start, "hybrid": end - before, "modules": sorted(sys.modules)}))
"""


def imported(cache: Path) -> dict[str, Any]:
    """In a fresh interpreter, whose bytecode is kept as an installed package's is."""
    variables = {**os.environ, "PYTHONPYCACHEPREFIX": str(cache), "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=variables)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_no_network_library_is_loaded_before_the_first_call(tmp_path: Path) -> None:
    modules = {name.partition(".")[0] for name in imported(tmp_path)["modules"]}
    assert not modules & {"ssl", "_ssl", "urllib3", "http", "email", "asyncio", "concurrent", "cryptography"}


def test_the_import_takes_less_than_numpys(tmp_path: Path) -> None:
    """Measured in turns in one interpreter, the best of a few: numpy's takes about 90 ms on a quiet machine."""
    imported(tmp_path)
    assert min(each["hybrid"] / each["numpy"] for each in (imported(tmp_path) for _ in range(5))) < 1
