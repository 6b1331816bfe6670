"""A whole list beside the model runs in it, a cold start beside the runtime's own, and what stays in memory."""

from __future__ import annotations

import compileall
import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

import nearhand
from nearhand import Config, Event, Personalizer
from nearhand.bundle.schema import RuntimeName
from nearhand.runtime import Runtime, Session, Tensors, installed_runtimes
from tests.benchmarks.serving import ITEMS, serving_bundle
from tests.benchmarks.turns import ratio_in_turns

HISTORY = 50
RUNTIMES: list[RuntimeName] = ["onnx", "tflite"]
CONTEXT = {"device": "phone"}


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return cache(lambda runtime: serving_bundle(tmp_path_factory.mktemp(f"serving-{runtime}"), runtime))


class Tape:
    """A runtime that can note the runs of all its sessions, in order, so that they can be repeated bare."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.name, self.version = runtime.name, runtime.version
        self.is_noting = False
        self.runs: list[tuple[Session, Tensors]] = []

    def load(self, path: Path) -> Session:
        """A session whose runs can be noted."""
        return Taped(self._runtime.load(path), self)

    def note(self, work: Callable[[], object]) -> None:
        """Note the runs of some work."""
        self.runs.clear()
        self.is_noting = True
        work()
        self.is_noting = False

    def again(self) -> int:
        """All noted runs once more; how many there were."""
        for session, tensors in self.runs:
            session.run(tensors)
        return len(self.runs)


class Taped:
    """See Tape."""

    def __init__(self, session: Session, tape: Tape) -> None:
        self._session = session
        self._tape = tape
        self.inputs, self.outputs = session.inputs, session.outputs

    def run(self, tensors: Tensors) -> dict[str, NDArray[Any]]:
        """Run, and note if it is wanted."""
        if self._tape.is_noting:
            self._tape.runs.append((self._session, tensors))
        return self._session.run(tensors)

    def close(self) -> None:
        """Close."""
        self._session.close()


LISTS = ["nearhand recommend(k=10)", "nearhand recommend(k=10) and all explanations", "the same model runs"]


@pytest.mark.parametrize("contender", LISTS)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_list(
    benchmark: BenchmarkFixture, bundles: Any, tmp_path: Path, runtime: RuntimeName, contender: str
) -> None:
    """Retrieval from three sources, features and ranking of candidates, MMR, caps, and the note of what was given."""
    tape = Tape(installed_runtimes()[runtime]())
    config = Config(runtime=runtime, durability="process")
    with Personalizer.open(bundles(runtime), tmp_path, config=config, runtimes={runtime: lambda: tape}) as personalizer:
        personalizer.record_many([Event("item_viewed", item_id=f"m_{number * 7 + 1}") for number in range(HISTORY)])

        def recommend() -> int:
            return len(personalizer.recommend(10, context=CONTEXT))

        def explained() -> int:
            return sum(bool(film.explanation.text) for film in personalizer.recommend(10, context=CONTEXT))

        work = {LISTS[0]: recommend, LISTS[1]: explained, LISTS[2]: tape.again}[contender]
        assert recommend() == 10
        tape.note(recommend)
        assert tape.again() >= 3
        status = personalizer.status()
        benchmark.group = f"a ranked list on {status.runtime}, {status.items:,} items"
        assert benchmark(work) >= 3
        if contender != LISTS[2]:
            told = f"{contender} / {LISTS[2]}, in turns"
            benchmark.extra_info[told] = f"{ratio_in_turns(work, tape.again, rounds=100):.2f}"
        if contender == LISTS[0]:
            latency = personalizer.status().latencies["recommend"]
            benchmark.extra_info["p50_ms"] = round(latency.p50_ms, 2)
            benchmark.extra_info["p99_ms, of a budget of 150"] = round(latency.p99_ms, 2)
        assert not personalizer.status().degradations


COLD = {
    "nearhand": """
from nearhand import Config, Personalizer
p = Personalizer.open(sys.argv[1], sys.argv[2], config=Config(runtime=sys.argv[3], durability="process"))
assert len(p.recommend(10)) == 10
""",
    "the runtime and its sessions": """
import numpy, sqlite3, json
from pathlib import Path
if sys.argv[3] == "onnx":
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    held = [onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]) for path in sys.argv[4:]]
else:
    from ai_edge_litert.interpreter import Interpreter
    held = [Interpreter(path, num_threads=1) for path in sys.argv[4:]]
    for each in held:
        each.allocate_tensors()
assert held
""",
}
END = """
import os
os._exit(0)
"""
"""No user waits for what an interpreter tidies up at its end."""
RESIDENT = """
import json
print(json.dumps(int(next(l for l in open("/proc/self/status") if l.startswith("VmRSS")).split()[1]) * 1024))
"""


def models_of(bundle: Path, data: Path, runtime: RuntimeName) -> list[str]:
    """The paths of the bundle's models, installed and proved, so that a start is an app's second one."""
    compileall.compile_dir(Path(nearhand.__file__).parent, quiet=2)  # as installing a package does; numpy's is compiled
    with Personalizer.open(bundle, data, config=Config(runtime=runtime, durability="process")) as personalizer:
        personalizer.record(Event("item_viewed", item_id="m_1"))
        assert personalizer.recommend(10)
        slot = Path(personalizer.status().slot)
    return [str(path) for path in sorted((slot / "models").iterdir())]


def started(code: str, bundle: Path, data: Path, runtime: RuntimeName, models: list[str]) -> str:
    command = [sys.executable, "-c", f"import sys{code}", str(bundle), str(data), runtime, *models]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("contender", list(COLD))
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_cold_start(
    benchmark: BenchmarkFixture, bundles: Any, tmp_path: Path, runtime: RuntimeName, contender: str
) -> None:
    """An interpreter that imports, opens and makes its first list, beside one that only has its sessions then."""
    models = models_of(bundles(runtime), tmp_path, runtime)
    slot = Path(models[0]).parents[1]
    benchmark.group = f"cold start on {runtime}, {ITEMS:,} items"
    arguments = (COLD[contender] + END, slot, tmp_path, runtime, models)
    benchmark.pedantic(started, arguments, rounds=15, warmup_rounds=2)  # type: ignore[no-untyped-call]
    if contender == "nearhand":
        bare = (COLD["the runtime and its sessions"] + END, *arguments[1:])
        ratio = ratio_in_turns(lambda: started(*arguments), lambda: started(*bare), rounds=15)
        benchmark.extra_info["nearhand / the runtime and its sessions, in turns"] = f"{ratio:.2f}"


@pytest.mark.parametrize("contender", ["nearhand"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_resident_memory(
    benchmark: BenchmarkFixture, bundles: Any, tmp_path: Path, runtime: RuntimeName, contender: str
) -> None:
    """Beside the runtime with the same models loaded: at most 1.3 times the bundle and 20 MB more."""
    bundle = bundles(runtime)
    models = models_of(bundle, tmp_path, runtime)
    slot = Path(models[0]).parents[1]
    benchmark.group = f"resident on {runtime}, {ITEMS:,} items"
    arguments = (COLD[contender] + RESIDENT, slot, tmp_path, runtime, models)
    ours = json.loads(benchmark.pedantic(started, arguments, rounds=1))  # type: ignore[no-untyped-call]
    bare = json.loads(started(COLD["the runtime and its sessions"] + RESIDENT, slot, tmp_path, runtime, models))
    size = bundle.stat().st_size
    benchmark.extra_info["nearhand / the runtime with the same models"] = (
        f"{ours / bare:.2f}  ({ours / 1e6:.0f} MB / {bare / 1e6:.0f} MB, the bundle {size / 1e6:.1f} MB)"
    )
    assert ours <= bare + 1.3 * size + 20e6
