"""The targets: what each writes computes the same, says honestly what it needs, and is the same bytes everywhere."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from nearhand.bundle.schema import RuntimeName, TensorSpec
from nearhand.runtime import installed_runtimes
from nearhand_converters.errors import UnsupportedOperatorError
from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.targets import ort_format
from nearhand_converters.targets.artifact import Artifact, default_targets, write_artifact
from nearhand_converters.targets.onnx import OnnxTarget
from nearhand_converters.targets.ort import OrtTarget
from tests.environments.fixtures import require

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("run_models.py")
NAMES: tuple[RuntimeName, ...] = get_args(RuntimeName)
FEATURES, CLASSES = 6, 3
every = pytest.mark.parametrize("name", NAMES)


def network() -> onnx.ModelProto:
    """A small classifier of rows with missing numbers."""
    generator = np.random.Generator(np.random.PCG64(1))
    g = GraphBuilder("network")
    numbers = g.input("numbers", "float32", ["batch", FEATURES])
    weights, last = (
        g.constant(generator.normal(size=shape).astype(np.float32))
        for shape in ((FEATURES, 8), (8, CLASSES))
    )  # fmt: skip
    known = g.add("Where", g.add("IsNaN", numbers), g.constant(np.float32(0.5).reshape(1)), numbers)
    hidden = g.add("Relu", g.add("Gemm", known, weights, g.constant(np.arange(8, dtype=np.float32))))
    scores = g.add("Gemm", hidden, last)
    label = g.add("Cast", g.add("ArgMax", scores, axis=1, keepdims=0), to=TensorProto.INT32)
    g.output(g.add("Softmax", scores, axis=1), "probability", "float32", ["batch", CLASSES])
    g.output(label, "label", "int32", ["batch"])
    return g.model()


def tree() -> onnx.ModelProto:
    """One split, as ONNX's own operator for trees."""
    node = helper.make_node(
        "TreeEnsembleRegressor", ["numbers"], ["value"], domain="ai.onnx.ml", n_targets=1,
        nodes_featureids=[0, 0, 0], nodes_values=[0.5, 0.0, 0.0], nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2], nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0],
        nodes_hitrates=[1.0, 1.0, 1.0], nodes_missing_value_tracks_true=[0, 0, 0], target_treeids=[0, 0],
        target_nodeids=[1, 2], target_ids=[0, 0], target_weights=[-1.0, 1.0],
    )  # fmt: skip
    declared = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])
        for name, width in (("numbers", FEATURES), ("value", 1))
    ]
    graph = helper.make_graph([node], "tree", declared[:1], declared[1:])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 4)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def rows(count: int) -> NDArray[np.float32]:
    found = np.random.Generator(np.random.PCG64(2)).normal(size=(count, FEATURES)).astype(np.float32)
    found[::3, 1] = np.nan
    return found


def run(artifact: Artifact, name: RuntimeName, folder: Path, *batches: NDArray[np.float32]) -> list[dict[str, Any]]:
    """One session for all batches."""
    path = folder / "model"
    path.write_bytes(artifact.data)
    session = installed_runtimes()[name]().load(path)
    assert sorted(session.inputs, key=lambda spec: spec.name) == sorted(artifact.inputs, key=lambda spec: spec.name)
    return [session.run({"numbers": batch}) for batch in batches]


def test_there_is_a_target_for_each_runtime() -> None:
    targets = default_targets()
    assert set(targets) == set(NAMES)
    assert [target.name for target in targets.values()] == list(targets)


@every
def test_all_compute_the_same(name: RuntimeName, tmp_path: Path) -> None:
    batches = [rows(count) for count in (1, 2, 7, 1000)]
    wanted = run(write_artifact(network(), "onnx"), "onnx", tmp_path, *batches)
    found = run(write_artifact(network(), name), name, tmp_path, *batches)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one["probability"], other["probability"], rtol=0, atol=1e-6)
        assert one["label"].dtype == np.int32
        assert np.array_equal(one["label"], other["label"])


@every
def test_what_is_written_says_what_it_reads_and_gives(name: RuntimeName) -> None:
    artifact = write_artifact(network(), name)
    assert artifact.inputs == (TensorSpec("numbers", "float32", (-1, FEATURES)),)
    assert artifact.outputs == (
        TensorSpec("probability", "float32", (-1, CLASSES)),
        TensorSpec("label", "int32", (-1,)),
    )
    assert list(artifact.operators) == sorted(set(artifact.operators))


@every
def test_a_graph_is_not_changed(name: RuntimeName) -> None:
    model = network()
    before = model.SerializeToString(deterministic=True)
    write_artifact(model, name)
    assert model.SerializeToString(deterministic=True) == before


@every
def test_other_inputs_and_outputs_than_float32_and_int32_are_refused(name: RuntimeName) -> None:
    model = network()
    model.graph.output[1].type.tensor_type.elem_type = TensorProto.INT64
    with pytest.raises(UnsupportedOperatorError, match="input or output label is neither float32 nor int32"):
        write_artifact(model, name)


def test_the_registry_is_what_is_passed_in() -> None:
    written = write_artifact(network(), "onnx")

    class Known:
        name: RuntimeName = "ort"

        def write(self, model: onnx.ModelProto) -> Artifact:
            return written

    assert write_artifact(network(), "ort", {"ort": Known()}) is written


def digest() -> str:
    """Of what every target writes."""
    artifacts = [write_artifact(network(), name) for name in NAMES]
    artifacts += [write_artifact(tree(), name) for name in NAMES if name != "tflite"]
    parts = [(a.data, a.build_config, a.versions, a.operators) for a in artifacts]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@pytest.mark.parametrize("seed", ["0", "4711", "12"])
def test_the_same_bytes_in_every_process(seed: str) -> None:
    code = "from tests.converters.test_targets import digest; print(digest())"
    environ = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == digest()


# --- ONNX ------------------------------------------------------------------------------------------------------------


def test_onnx_asks_for_the_oldest_operator_sets_that_serve() -> None:
    assert OnnxTarget().write(network()).versions == {"ir": 8, "opset": 16}  # Where is of 16, all others of 13
    assert OnnxTarget().write(tree()).versions == {"ir": 8, "opset": 13, "ai.onnx.ml": 3}


def test_an_older_operator_set_computes_the_same(tmp_path: Path) -> None:
    oldest = OnnxTarget().write(tree())
    newest = Artifact(tree().SerializeToString(), {}, (), oldest.inputs, oldest.outputs)
    (one,), (other,) = (run(artifact, "onnx", tmp_path, rows(50)) for artifact in (oldest, newest))
    assert one["value"].tobytes() == other["value"].tobytes()
    assert set(one["value"].ravel().tolist()) == {-1.0, 1.0}


def test_a_domain_that_onnx_does_not_know_keeps_its_version() -> None:
    model = network()
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert OnnxTarget().write(model).versions == {"ir": 8, "opset": 16}, "nothing is of it"
    model.graph.node[0].domain = "com.microsoft"
    assert OnnxTarget().write(model).versions == {"ir": 8, "opset": 16, "com.microsoft": 1}


def test_operators_inside_of_operators_are_counted_too() -> None:
    branch = helper.make_graph(
        [helper.make_node("Gelu", ["x"], ["y"])],
        "then",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["condition"], to=TensorProto.BOOL),
        helper.make_node("If", ["condition"], ["z"], then_branch=branch, else_branch=branch),
    ]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xz"]
    graph = helper.make_graph(nodes, "nested", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    artifact = OnnxTarget().write(model)
    assert artifact.versions == {"ir": 9, "opset": 20}
    assert artifact.operators == ("Cast", "Gelu", "If", "ReduceSum")


# --- ONNX Runtime's own format ---------------------------------------------------------------------------------------


def test_ort_says_what_a_small_build_needs() -> None:
    artifact = OrtTarget().write(network())
    assert artifact.versions == {
        "ir": 8, "opset": 16, "ort_format": 6, "onnxruntime_major": 1, "onnxruntime_minor": 27,
    }  # fmt: skip
    assert artifact.operators == ("ArgMax", "Cast", "Gemm", "IsNaN", "Relu", "Softmax", "Where")
    assert artifact.build_config == (
        b'ai.onnx;13;ArgMax{"inputs": {"0": ["float"]}},'
        b'Cast{"inputs": {"0": ["int64_t"]}, "outputs": {"0": ["int32_t"]}},Gemm{"inputs": {"0": ["float"]}},'
        b'IsNaN{"inputs": {"0": ["float"]}},Softmax{"inputs": {"0": ["float"]}}\n'
        b'ai.onnx;14;Relu{"inputs": {"0": ["float"]}}\n'
        b'ai.onnx;16;Where{"inputs": {"1": ["float"]}}\n'
    )
    assert OrtTarget().write(tree()).build_config == b"ai.onnx.ml;3;TreeEnsembleRegressor\n"


@pytest.mark.parametrize("environment", ["onnxruntime-1.27", "arm64"])
def test_ort_runs_on_the_oldest_runtime_and_on_other_processors(environment: str, tmp_path: Path) -> None:
    machine = require(environment)
    models = {"network": network(), "tree": tree()}
    cases = [(write_artifact(model, "ort").data, [{"numbers": rows(n)} for n in (1, 7)]) for model in models.values()]
    (tmp_path / "cases.pickle").write_bytes(pickle.dumps(("ort", cases), protocol=4))
    machine.run(SCRIPT, [tmp_path / "cases.pickle"], tmp_path / "outputs.pickle")
    found = pickle.loads((tmp_path / "outputs.pickle").read_bytes())
    for outputs, model in zip(found, models.values(), strict=True):
        wanted = run(write_artifact(model, "onnx"), "onnx", tmp_path, rows(1), rows(7))
        for one, other in zip(outputs, wanted, strict=True):
            for name, array in other.items():
                np.testing.assert_allclose(one[name], array, rtol=0, atol=1e-6)


def test_what_onnxruntime_cannot_run_is_refused() -> None:
    model = network()
    model.graph.node[0].op_type, model.graph.node[0].domain = "Elsewhere", "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(UnsupportedOperatorError, match=r"graph network: .*Elsewhere.*--target onnx"):
        OrtTarget().write(model)


def test_writing_leaves_the_logging_of_the_process_alone() -> None:
    before = logging.getLogger().handlers[:]
    OrtTarget().write(tree())
    assert logging.getLogger().handlers == before


def test_tables_are_packed_in_an_order_of_their_own() -> None:
    """However they stand in a file: the two lists here are those that onnxruntime writes in the order of a hash."""
    fields = ort_format.read(OrtTarget().write(network()).data)
    written = ort_format.write(fields)
    for lists in (fields[1], fields[3]):
        for value in lists.values():
            if isinstance(value, list) and value and isinstance(value[0], dict):
                value.reverse()
    shuffled = ort_format.write(fields)
    assert shuffled != written
    assert ort_format.write(ort_format.read(shuffled)) == written


@pytest.mark.parametrize("data", [b"", b"\0\0\0\0TFL3" + bytes(64)])
def test_another_file_is_not_read(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a file of ONNX Runtime's own format"):
        ort_format.read(data)


def test_a_field_that_is_not_described_is_never_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    data = OrtTarget().write(network()).data
    monkeypatch.setitem(ort_format.TABLES, "Node", ort_format.TABLES["Node"][:9])
    with pytest.raises(ValueError, match="field 9 of a Node is unknown"):
        ort_format.read(data)
