"""What the SDK adds to the runtime: `recommend` beside the graph runs it makes, `import` beside numpy's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from nearhand import Config, Event, Personalizer
from nearhand.bundle.schema import RuntimeName
from nearhand.runtime import Runtime, Session, Tensors, installed_runtimes

HISTORY = 50


class Recorder:
    """A runtime that remembers the last inputs of each of its sessions, so that the bare runs can be repeated."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.name, self.version = runtime.name, runtime.version
        self.sessions: list[RecordingSession] = []

    def load(self, path: Path) -> Session:
        """A session whose inputs are remembered."""
        self.sessions.append(RecordingSession(self._runtime.load(path)))
        return self.sessions[-1]


class RecordingSession:
    """See Recorder."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.inputs, self.outputs = session.inputs, session.outputs
        self._last: Tensors = {}

    def run(self, tensors: Tensors) -> dict[str, NDArray[Any]]:
        """Run, and remember."""
        self._last = tensors
        return self._session.run(tensors)

    def again(self) -> dict[str, NDArray[Any]]:
        """The last run once more."""
        return self._session.run(self._last)

    def close(self) -> None:
        """Close."""
        self._session.close()


@pytest.mark.parametrize(
    "contender", ["nearhand recommend(k=10)", "nearhand recommend(k=10) and all its evidence", "bare graph runs"]
)
@pytest.mark.parametrize("runtime", ["onnx", "tflite"])
def test_recommend(
    benchmark: BenchmarkFixture, bundle: Path, tmp_path: Path, runtime: RuntimeName, contender: str
) -> None:
    """Filtering, ordering, exact attribution and text of ten recommendations, beside encoder and index alone."""
    recorder = Recorder(installed_runtimes()[runtime]())
    config = Config(runtime=runtime, durability="process")
    with Personalizer.open(bundle, tmp_path, config=config, runtimes={runtime: lambda: recorder}) as personalizer:
        for number in range(HISTORY):
            personalizer.record(Event("item_viewed", item_id=f"f_{number * 7 + 1:04d}"))
        assert {item.source for item in personalizer.recommend(10)} == {"local"}
        status = personalizer.status()
        benchmark.group = f"recommend on {status.runtime} {status.precision}, {status.items:,} items"
        if contender.endswith("evidence"):
            evidence = benchmark(lambda: [item.explanation.evidence for item in personalizer.recommend(10)])
            assert [len(events) for events in evidence] == [HISTORY] * 10
        elif contender.startswith("nearhand"):
            assert len(benchmark(lambda: personalizer.recommend(10))) == 10
        else:
            assert len(benchmark(lambda: [session.again() for session in recorder.sessions])) == 2


@pytest.mark.parametrize("contender", ["nearhand import", "nearhand.hybrid import", "import numpy"])
def test_import(benchmark: BenchmarkFixture, contender: str) -> None:
    """A whole interpreter that imports one of them."""
    benchmark.group = "import in a fresh interpreter"
    module = contender.replace("import", "").strip()
    names = " from nearhand.hybrid import CloudReranker" if module == "nearhand.hybrid" else f"import {module}"
    command = [sys.executable, "-c", names.strip()]
    done = benchmark.pedantic(subprocess.run, (command,), rounds=15, warmup_rounds=2)  # type: ignore[no-untyped-call]
    assert done.returncode == 0
