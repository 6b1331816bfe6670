"""What is in the SDK's wheel, what it needs, and what importing it loads."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest

import nearhand

ROOT = Path(__file__).parents[2]
FOREIGN = (
    *("onnxruntime", "ai_edge_litert", "tflite_runtime", "onnx", "flatbuffers", "nearhand_converters", "model_zoo"),
    *("pyarrow", "pandas", "duckdb", "pyspark"),
    *("socket", "ssl", "http.client", "urllib.request", "urllib3", "requests", "multiprocessing", "asyncio"),
)
"""Runtimes, converters and network modules, none of which `import nearhand` may load."""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SDK's wheel, built from a copy of what it is made of."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(
        ROOT / "sdk" / "nearhand", source / "sdk" / "nearhand", ignore=shutil.ignore_patterns("__pycache__")
    )
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(built),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return next(built.glob("*.whl"))


@pytest.fixture(scope="session")
def numpy_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages in which there is numpy and nothing else."""
    folder = tmp_path_factory.mktemp("site")
    packages = Path(np.__file__).parents[1]
    for name in ("numpy", "numpy.libs"):
        if (packages / name).exists():
            (folder / name).symlink_to(packages / name)
    return folder


def run_isolated(code: str, *paths: Path) -> str:
    """Run code in an interpreter that sees the standard library and ``paths`` only; returns what it printed."""
    setup = f"import sys; sys.path[:0] = {[str(path) for path in paths]!r}\n"
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", setup + code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_only_nearhand(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"nearhand", f"nearhand-{nearhand.__version__}.dist-info"}
    assert "nearhand/py.typed" in names
    assert "nearhand/testing/__init__.py" in names
    sources = {str(path.relative_to(ROOT / "sdk")) for path in (ROOT / "sdk" / "nearhand").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == sources


def test_the_only_hard_dependency_is_numpy(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"nearhand-{nearhand.__version__}.dist-info/METADATA").decode()
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert [line.split(":")[1].strip().split(">")[0] for line in required] == ["numpy"]


def test_it_works_from_a_zip_with_numpy_alone(wheel: Path, numpy_alone: Path, tmp_path: Path) -> None:
    """As on Android: packages come out of a zip, and no other distribution is installed."""
    code = f"""
import pathlib
import nearhand, nearhand.testing
assert {wheel.name!r} in nearhand.__file__
from nearhand.clock import SystemClock
from nearhand.events import EventLog
path = pathlib.Path({str(tmp_path)!r}, "events.db")
with EventLog(path, clock=SystemClock(), durability="power") as log:
    print(log.append(nearhand.Event("item_viewed", item_id="a")).sequence)
"""
    assert run_isolated(code, wheel, numpy_alone) == "1\n"


def test_without_a_runtime_the_advice_is_to_install_one(wheel: Path, numpy_alone: Path) -> None:
    code = "from nearhand.runtime import installed_runtimes; print(dict(installed_runtimes()))"
    assert run_isolated(code, wheel, numpy_alone) == "{}\n"


def test_import_loads_no_runtime_network_or_converter() -> None:
    code = f"import sys, nearhand; print([name for name in {FOREIGN!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_one_door() -> None:
    assert nearhand.__all__ == [
        *("BundleError", "Config", "Event", "EventError", "Evidence", "Explanation", "NearhandError", "Personalizer"),
        *("Recommendation", "Status", "UsageError", "__version__"),
    ]
    assert all(hasattr(nearhand, name) for name in nearhand.__all__)


def test_no_file_of_the_sdk_finds_data_by_its_path() -> None:
    """Inside a zip ``__file__`` leads nowhere."""
    for path in (ROOT / "sdk" / "nearhand").rglob("*.py"):
        assert "__file__" not in path.read_text(encoding="utf-8"), path


def test_all_distributions_have_one_version() -> None:
    converters = tomllib.loads((ROOT / "converters" / "pyproject.toml").read_text(encoding="utf-8"))
    assert converters["project"]["version"] == nearhand.__version__


def test_torch_is_pinned_exactly() -> None:
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
