"""What every runtime adapter shares, what the installed ones do beyond the conformance checks, and the fakes."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearhand.bundle.schema import RuntimeName, TensorSpec
from nearhand.errors import ModelError
from nearhand.runtime import installed_runtimes
from nearhand.runtime.boundary import check_inputs, runtime_failure
from nearhand.testing import ALWAYS, FailingRuntime
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
