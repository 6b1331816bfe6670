"""Every environment is what it claims to be, and making one is safe to interrupt and to repeat."""

import json
import os
import signal
import subprocess
import sys
import threading
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ai_edge_litert.schema_py_generated as schema
import flatbuffers
import numpy as np
import onnx
import pytest

from tests.environments import Environment, PrepareError, ScriptError, environments, machines
from tests.environments.__main__ import main
from tests.environments.cache import REPOSITORY, Folder
from tests.environments.fixtures import require
from tests.environments.phones import phones

pytestmark = pytest.mark.soak

PROBE = Path(__file__).with_name("probe.py")
ROWS, WIDTH, COLUMNS = 8, 64, 128

# The versions each environment exists for; None where the runtime must not be importable.
LIBRARIES = ("numpy", "onnxruntime", "ai-edge-litert", "tflite-runtime")
HERE = (version("numpy"), version("onnxruntime"), version("ai-edge-litert"), None)
VERSIONS = {
    "native": HERE,
    "haswell": HERE,
    "arm64": HERE,
    "onnxruntime-1.27": ("2.4.6", "1.27.0", HERE[2], None),
    "tflite-runtime-2.14": ("1.26.4", HERE[1], None, "2.14.0"),
}


@pytest.fixture(scope="session")
def probe_inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The models and numbers of the probe, made here: the environments have no onnx package."""
    folder = tmp_path_factory.mktemp("probe")
    random = np.random.default_rng(7)
    weights = random.integers(-127, 128, (WIDTH, COLUMNS), dtype=np.int8)
    numbers = folder / "numbers.npz"
    np.savez(numbers, weights=weights, wide=random.integers(0, 256, (ROWS, WIDTH), dtype=np.uint8))
    product = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("MatMulInteger", ["activations", "weights"], ["sums"])],
            "product",
            [onnx.helper.make_tensor_value_info("activations", onnx.TensorProto.UINT8, [ROWS, WIDTH])],
            [onnx.helper.make_tensor_value_info("sums", onnx.TensorProto.INT32, [ROWS, COLUMNS])],
            [onnx.numpy_helper.from_array(weights, "weights")],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 21)],
        ir_version=10,
    )
    onnx.save(product, folder / "product.onnx")
    (folder / "relu.tflite").write_bytes(relu_model())
    return [folder / "product.onnx", numbers, folder / "relu.tflite"]


def relu_model() -> bytes:
    """Return a TFLite model of one operator that every version has, over four floats."""
    tensors = []
    for name in ("x", "y"):
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer, tensor.name = [4], schema.TensorType.FLOAT32, 0, name
        tensors.append(tensor)
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0], [1]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RELU
    code.version = 1
    graph = schema.SubGraphT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = tensors, [operator], [0], [1]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_is_what_it_claims(environment: Environment, probe_inputs: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "answers.json"
    environment.run(PROBE, probe_inputs, output)
    answers: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    assert answers["machine"] == ("aarch64" if environment.name == "arm64" else "x86_64")
    assert tuple(answers[library] for library in LIBRARIES) == VERSIONS[environment.name]
    for library, outputs in answers["tflite_outputs"].items():
        # Importing proves little: tflite-runtime imports under numpy 2 too, and then can run nothing.
        assert outputs == (None if answers[library] is None else [0.0, 0.0, 1.0, 2.0])
    assert answers["sums"] == ROWS * COLUMNS
    assert answers["wrong_sums_7_bit"] == 0
    if environment.name == "haswell":
        assert answers["wrong_sums_8_bit"] > answers["sums"] / 20, "this processor has VNNI: nothing saturates on it"
    if environment.name == "arm64":
        assert answers["wrong_sums_8_bit"] == 0
    if environment.name in ("arm64", "tflite-runtime-2.14"):
        assert answers["python"].startswith("3.11.")


ECHO = """
import json, os, pathlib, sys
import nearhand
*arguments, output = sys.argv[1:]
answer = {
    "arguments": [pathlib.Path(a).read_text() if os.path.isfile(a) else a for a in arguments[:3]],
    "folder": sorted(p.name for p in pathlib.Path(arguments[3]).iterdir()),
    "python": sorted(name for name in os.environ if name.startswith("PYTHON")),
    "beside": os.path.dirname(sys.argv[0]) in sys.path,
    "user": os.getuid(),
}
print("said")
os.mkdir(output)
pathlib.Path(output, "answer.json").write_text(json.dumps(answer))
"""


@pytest.fixture(params=["native", "arm64"])  # one runner for scripts of this machine, one for scripts in a chroot
def runner(request: pytest.FixtureRequest) -> Environment:
    return require(request.param)


def script(folder: Path, text: str) -> Path:
    """Write a script and return its path."""
    path = folder / "script.py"
    path.write_text(text, encoding="utf-8")
    return path


def check_echo(environment: Environment, folder: Path) -> dict[str, Any]:
    """Run the echo script with two inputs of one name, a word and a folder; return what it wrote."""
    for name, text in (("a", "first"), ("b", "second")):
        (folder / name).mkdir()
        (folder / name / "input.txt").write_text(text, encoding="utf-8")
    inputs: list[str | Path] = [folder / "a" / "input.txt", folder / "b" / "input.txt", "--word", folder / "a"]
    done = environment.run(script(folder, ECHO), inputs, folder / "new" / "result")
    assert done.stdout == "said\n"
    answer: dict[str, Any] = json.loads((folder / "new" / "result" / "answer.json").read_text(encoding="utf-8"))
    assert answer["arguments"] == ["first", "second", "--word"]
    assert answer["folder"] == ["input.txt"]
    return answer


def test_run_shows_inputs_and_brings_the_output_back(
    runner: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONSTARTUP", "of-the-developer.py")
    answer = check_echo(runner, tmp_path)
    assert answer["python"] == ["PYTHONNOUSERSITE", "PYTHONPATH"]
    assert not answer["beside"]


def test_chroot_needs_no_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("arm64")
    if subprocess.run(["unshare", "--map-root-user", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine allows no user namespaces")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    environment = environments()["arm64"]
    assert environment.command[0] == "unshare"
    assert check_echo(environment, tmp_path)["user"] == 0


def test_run_says_why_a_script_failed(runner: Environment, tmp_path: Path) -> None:
    output = tmp_path / "output"
    with pytest.raises(ScriptError, match=r"status 1:\n(.*\n)*ValueError: the reason"):
        runner.run(script(tmp_path, "open(__import__('sys').argv[1], 'w'); raise ValueError('the reason')"), [], output)
    assert not output.exists()
    with pytest.raises(ScriptError, match="wrote no output"):
        runner.run(script(tmp_path, ""), [], output)
    with pytest.raises(ScriptError, match=r"did not end within 0\.5 s"):
        runner.run(script(tmp_path, "while True: pass"), [], output, timeout=0.5)
    output.touch()
    with pytest.raises(FileExistsError):
        runner.run(script(tmp_path, ""), [], output)
    output.unlink()
    with pytest.raises(FileNotFoundError):
        runner.run(script(tmp_path, ""), [tmp_path / "absent"], output)


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "half").touch()
        raise PrepareError("no network")

    folder = Folder("thing", ("1",), build, tmp_path)
    environment = Environment("thing", "", (sys.executable,), folders=(folder,))
    with pytest.raises(PrepareError, match="no network"):
        environment.prepare()
    assert environment.missing() == "not prepared; run: python -m tests.environments prepare thing"
    assert [path.name for path in folder.path.parent.iterdir()] == ["lock"]
    with pytest.raises(PrepareError, match="not prepared"):
        environment.run(PROBE, [], tmp_path / "output")


KILLED = """
import os, pathlib, sys
from tests.environments.cache import Folder

def build(folder):
    (folder / "half").touch()
    print("building", flush=True)
    sys.stdin.read()

Folder("thing", ("1",), build, pathlib.Path(sys.argv[1])).make()
"""


def test_a_killed_build_is_not_taken_for_complete(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"building\n"
        killed.send_signal(signal.SIGKILL)
    folder = Folder("thing", ("1",), lambda path: (path / "whole").touch(), tmp_path)
    assert not folder.is_ready()
    assert folder.make()
    assert [path.name for path in folder.path.iterdir()] == ["whole"]
    assert sorted(path.name for path in folder.path.parent.iterdir()) == sorted([folder.path.name, "lock"])


def test_a_folder_is_built_once_by_those_who_want_it_at_once(tmp_path: Path) -> None:
    built: list[Path] = []
    folder = Folder("thing", ("1",), built.append, tmp_path)
    threads = [threading.Thread(target=folder.make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert not folder.make()


def test_another_recipe_is_another_folder_and_old_ones_go(tmp_path: Path) -> None:
    old, recent, new = (Folder("thing", (recipe,), lambda _: None, tmp_path) for recipe in "123")
    assert old.make()
    assert recent.make()
    os.utime(old.path, (0, 0))
    assert new.make()
    assert [folder.is_ready() for folder in (old, recent, new)] == [False, True, True]


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "native"]) == 0
    assert capsys.readouterr().out.startswith("native               ready (")
    assert main(["list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [*environments(), *phones()]
    with pytest.raises(SystemExit) as stopped:
        main(["prepare", "vax"])
    assert stopped.value.code == 2


@pytest.mark.parametrize(("required", "outcome"), [("0", "skipped"), ("1", "failed")])
def test_the_fixture_skips_or_fails(
    required: str, outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder("thing", ("1",), lambda _: None, tmp_path)
    absent = Environment("thing", "", (sys.executable,), folders=(folder,))
    monkeypatch.setattr("tests.environments.fixtures.environments", lambda: {"thing": absent})
    monkeypatch.setenv("NEARHAND_REQUIRE_ENVIRONMENTS", required)
    expected = pytest.skip.Exception if outcome == "skipped" else pytest.fail.Exception
    with pytest.raises(expected, match="environment thing: not prepared"):
        require("thing")
    folder.make()
    assert require("thing") is absent


def test_an_older_installed_emulator_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = tmp_path / "qemu-x86_64-static"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for printed, used in (("7.2.19", True), ("10.0.2", True), ("6.2.0", False)):
        emulator.write_text(f"#!/bin/sh\necho qemu-x86_64 version {printed}\n", encoding="utf-8")
        emulator.chmod(0o755)
        path, folders = machines._qemu.__wrapped__("x86_64")
        assert (path == emulator, not folders) == (used, used)
