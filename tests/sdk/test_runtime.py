"""What every runtime adapter shares, what the installed ones do beyond the conformance checks, and the fakes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from nearhand.bundle.schema import RuntimeName, TensorSpec
from nearhand.errors import ModelError
from nearhand.runtime import DISTRIBUTIONS, Session, installed_runtimes
from nearhand.runtime.boundary import check_inputs, runtime_failure
from nearhand.testing import ALWAYS, FailingRuntime
from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.targets.artifact import write_artifact
from tests.tiny import Tiny

RUNTIMES = tuple(installed_runtimes())
SPECS = (TensorSpec("rows", "int32", (4,)), TensorSpec("vector", "float32", (1, -1)))
ROWS, VECTOR = np.zeros(4, np.int32), np.zeros((1, 7), np.float32)


def refuse(tensors: dict[str, Any]) -> ModelError:
    with pytest.raises(ModelError) as caught:
        check_inputs(SPECS, tensors, place="encoder.onnx")
    return caught.value


def test_inputs_come_back_in_the_models_order() -> None:
    assert [array is wanted for array, wanted in zip(
        check_inputs(SPECS, {"vector": VECTOR, "rows": ROWS}, place=""), (ROWS, VECTOR), strict=True
    )] == [True, True]  # fmt: skip


@pytest.mark.parametrize("length", [0, 1, 512])
def test_a_dimension_of_the_run_may_have_any_length(length: int) -> None:
    check_inputs(SPECS, {"rows": ROWS, "vector": np.zeros((1, length), np.float32)}, place="")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (np.zeros(5, np.int32), "int32 [5]"),
        (np.zeros((4, 1), np.int32), "int32 [4, 1]"),
        (np.zeros((), np.int32), "int32 []"),
        (np.zeros(4, np.int64), "int64 [4]"),
        (np.zeros(4, np.uint32), "uint32 [4]"),
        (np.zeros(4, np.float32), "float32 [4]"),
        (np.zeros(4, object), "object [4]"),
        (np.zeros(4, ">i4" if sys.byteorder == "little" else "<i4"), "i4 [4]"),
    ],
)
def test_an_ill_formed_input_is_named_with_what_it_is_and_should_be(rows: Any, said: str) -> None:
    error = refuse({"rows": rows, "vector": VECTOR})
    assert error.place == "encoder.onnx"
    assert "'rows'" in error.problem
    assert said in error.problem
    assert error.remedy == "give int32 [4]"


def test_a_missing_or_unknown_input_is_named() -> None:
    assert "'vector'" in refuse({"rows": ROWS}).problem
    assert "'vektor'" in refuse({"rows": ROWS, "vector": VECTOR, "vektor": VECTOR}).problem
    assert "'rows', 'vector'" in refuse({}).remedy


def test_a_foreign_error_becomes_one_line() -> None:
    error = runtime_failure(Path("folder") / "m.onnx", "does not load", RuntimeError("\nfirst\nsecond"))
    assert str(error).startswith("m.onnx: does not load (first); ")
    assert "does not run (KeyError)" in str(runtime_failure(Path("m"), "does not run", KeyError()))


def test_importing_nearhand_imports_no_engine() -> None:
    script = (
        "import sys, nearhand, nearhand.testing, nearhand.runtime; nearhand.runtime.installed_runtimes()\n"
        "print([m for m in ('onnxruntime', 'ai_edge_litert', 'tflite_runtime', 'pytest', 'onnx') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("name", RUNTIMES)
def test_an_installed_runtime_says_its_name_and_version(name: RuntimeName) -> None:
    runtime = installed_runtimes()[name]()
    assert runtime.name == name
    assert runtime.version[0].isdigit()


@pytest.mark.skipif("tflite" not in RUNTIMES, reason="no TFLite runtime is installed")
def test_a_tflite_runtime_s_version_is_its_distribution_s(monkeypatch: pytest.MonkeyPatch) -> None:
    package = next(name for name in DISTRIBUTIONS if find_spec(name) is not None)
    version = metadata.version(DISTRIBUTIONS[package])
    assert installed_runtimes()["tflite"]().version == version
    monkeypatch.delattr(import_module(package), "__version__")
    assert installed_runtimes()["tflite"]().version == version


@pytest.mark.skipif("tflite" not in RUNTIMES, reason="no TFLite runtime is installed")
def test_a_tflite_runtime_starts_without_reading_metadata() -> None:
    script = (
        "import sys, nearhand.runtime; nearhand.runtime.installed_runtimes()['tflite']()\n"
        "print([m for m in ('importlib.metadata', 'email.message', 'socket') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_failing_run_leaves_nothing_on_the_apps_stderr(
    name: RuntimeName, tiny: Tiny, capfd: pytest.CaptureFixture[str]
) -> None:
    files = tiny.files(name, "fp32")
    with closing(installed_runtimes()[name]().load(files.index)) as session:
        session.run(files.query(1))
        capfd.readouterr()  # LiteRT greets when it loads its first model
        with pytest.raises(ModelError):
            session.run(files.query(len(files.table) + 1))
    assert capfd.readouterr() == ("", "")


# A batch of any size


@pytest.fixture(scope="module", params=RUNTIMES)
def linear(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of a linear function of rows; its name is its runtime's."""
    g = GraphBuilder("linear")
    numbers = g.input("numbers", "float32", ["batch", 3])
    product = g.add("Gemm", numbers, g.constant(WEIGHTS), g.constant(np.array([0.5], np.float32)))
    g.output(product, "value", "float32", ["batch", 1])
    path: Path = tmp_path_factory.mktemp("linear") / request.param
    path.write_bytes(write_artifact(g.model(), request.param).data)
    return path


WEIGHTS = np.array([[2.0], [-1.0], [0.25]], np.float32)


def of_linear(numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    """Exact: the rows are small integers."""
    return numbers @ WEIGHTS + np.float32(0.5)


def some_rows(count: int) -> NDArray[np.float32]:
    return np.random.Generator(np.random.PCG64(count)).integers(-9, 9, (count, 3)).astype(np.float32)


def load(path: Path) -> Session:
    return installed_runtimes()[cast(RuntimeName, path.name)]().load(path)


def test_a_session_takes_any_batch_after_any_other(linear: Path) -> None:
    with closing(load(linear)) as session:
        assert session.inputs == (TensorSpec("numbers", "float32", (-1, 3)),)
        assert session.outputs == (TensorSpec("value", "float32", (-1, 1)),)
        given = [some_rows(count) for count in (1, 1000, 1, 7, 0, 7, 2, 1000)]
        found = [session.run({"numbers": rows})["value"] for rows in given]
    # Looked at after all have run: an output belongs to the caller, whatever the session does later.
    for rows, value in zip(given, found, strict=True):
        assert value.shape == (len(rows), 1)
        assert np.array_equal(value, of_linear(rows))


def test_threads_with_batches_of_their_own_share_a_session(linear: Path) -> None:
    def work(count: int) -> bool:
        rows = some_rows(count)
        return all(np.array_equal(session.run({"numbers": rows})["value"], of_linear(rows)) for _ in range(50))

    with closing(load(linear)) as session, ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, [1, 2, 3, 500]))


def test_only_the_batch_may_differ(linear: Path) -> None:
    with closing(load(linear)) as session:
        for shape in ((2, 4), (2,), (2, 3, 1)):
            with pytest.raises(ModelError, match=r"give float32 \[-1, 3\]"):
                session.run({"numbers": np.zeros(shape, np.float32)})
        assert np.array_equal(session.run({"numbers": some_rows(2)})["value"], of_linear(some_rows(2)))


def litert(nodes: Callable[[GraphBuilder, str], str], folder: Path) -> Session:
    """A session of LiteRT for a function of rows of three numbers."""
    g = GraphBuilder("made")
    g.output(nodes(g, g.input("numbers", "float32", ["batch", 3])), "value", "float32", ["batch", 3])
    path = folder / "tflite"
    path.write_bytes(write_artifact(g.model(), "tflite").data)
    return load(path)


@pytest.mark.skipif("tflite" not in RUNTIMES, reason="no TFLite runtime is installed")
def test_memory_is_planned_only_when_a_shape_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = next(name for name in DISTRIBUTIONS if find_spec(name) is not None)
    interpreter = import_module(f"{package}.interpreter").Interpreter
    plan, plans = interpreter.allocate_tensors, []

    def counted(self: Any) -> None:
        plans.append(1)
        plan(self)

    monkeypatch.setattr(interpreter, "allocate_tensors", counted)
    with closing(litert(lambda g, numbers: g.add("Abs", numbers), tmp_path)) as session:
        for count, planned in ((1, 1), (1, 1), (5, 2), (5, 2), (1, 3)):
            assert np.array_equal(session.run({"numbers": some_rows(count)})["value"], np.abs(some_rows(count)))
            assert len(plans) == planned


@pytest.mark.skipif("tflite" not in RUNTIMES, reason="no TFLite runtime is installed")
def test_a_batch_that_cannot_be_planned_leaves_the_session_usable(tmp_path: Path) -> None:
    """XNNPACK multiplies no empty matrices of the run."""

    def square(g: GraphBuilder, numbers: str) -> str:
        return g.add("MatMul", g.add("Gemm", numbers, numbers, transB=1), numbers)

    with closing(litert(square, tmp_path)) as session:
        for _ in range(2):
            rows = some_rows(4)
            np.testing.assert_allclose(session.run({"numbers": rows})["value"], rows @ rows.T @ rows, rtol=1e-6)
            with pytest.raises(ModelError, match="does not run"):
                session.run({"numbers": some_rows(0)})


# The fakes


@pytest.fixture
def runtime() -> FailingRuntime:
    return FailingRuntime(installed_runtimes()[RUNTIMES[0]]())


def test_the_nth_load_fails(runtime: FailingRuntime, tiny: Tiny) -> None:
    runtime.fail_load = {2}
    path = tiny.files(runtime.name, "fp32").index
    runtime.load(path).close()
    with pytest.raises(ModelError, match="load 2 fails as the test asked"):
        runtime.load(path)
    session = runtime.load(path)
    assert (runtime.loads, runtime.open_sessions) == (3, 1)
    session.close()
    session.close()
    assert runtime.open_sessions == 0


def test_the_nth_run_over_all_sessions_fails(runtime: FailingRuntime, tiny: Tiny) -> None:
    runtime.fail_run = {3}
    files = tiny.files(runtime.name, "fp32")
    with closing(runtime.load(files.index)) as one, closing(runtime.load(files.index)) as two:
        one.run(files.query(1))
        two.run(files.query(1))
        with pytest.raises(ModelError, match="run 3 fails as the test asked"):
            one.run(files.query(1))
        one.run(files.query(1))
    assert runtime.runs == 4


def test_every_run_fails_and_is_counted_from_all_threads(runtime: FailingRuntime, tiny: Tiny) -> None:
    runtime.fail_run = ALWAYS
    files = tiny.files(runtime.name, "fp32")

    def work(_: int) -> None:
        with pytest.raises(ModelError):
            session.run(files.query(1))

    with closing(runtime.load(files.index)) as session, ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(400)))
    assert runtime.runs == 400


def test_outputs_can_be_distorted_and_the_version_be_another(runtime: FailingRuntime, tiny: Tiny) -> None:
    files = tiny.files(runtime.name, "fp32")
    with closing(runtime.load(files.index)) as session:
        right = session.run(files.query(1))["candidate_rows"]
        runtime.distort = lambda outputs: {**outputs, "candidate_rows": outputs["candidate_rows"] + 1}
        assert session.run(files.query(1))["candidate_rows"].tolist() == (right + 1).tolist()
    assert FailingRuntime(runtime, version="9").version == "9"
    assert FailingRuntime(runtime).version == runtime.version
