"""The flatbuffers that the TFLite writer makes: valid, aligned, honestly versioned, and always the same bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from nearhand_converters.graph.fold_in import FoldIn, fold_in_graph
from nearhand_converters.graph.index import index_graph
from nearhand_converters.quantize.int8 import quantize_int8
from nearhand_converters.targets.artifact import write_artifact
from nearhand_converters.targets.tflite.assembler import FILE_IDENTIFIER, Assembler
from nearhand_converters.targets.tflite.lowering import lower
from tests.converters.engines import TFLiteModel, flatbuffer, operator_versions
from tests.converters.factors import whitened

ROOT = Path(__file__).parents[2]

EXPECTED_VERSIONS = {
    ("encoder", "fp32"): {"ABS": {1}, "BATCH_MATMUL": {1}, "GATHER": {1}, "RELU": {1}},
    ("encoder", "int8"): {"GATHER": {1, 2}, "CAST": {3}, "BATCH_MATMUL": {1}},
    ("index", "fp32"): {"BATCH_MATMUL": {1}, "RESHAPE": {1}, "GATHER": {1}, "TOPK_V2": {1}},
    ("index", "int8"): {"FULLY_CONNECTED": {6}, "CAST": {3}, "GATHER": {1, 2}, "BATCH_MATMUL": {1}, "TOPK_V2": {1}},
    ("index", "integers"): {
        "ABS": {1},
        "REDUCE_MAX": {1},
        "ROUND": {1},
        "CAST": {1, 3},
        "BATCH_MATMUL": {1, 2},
        "GATHER": {1, 2},
        "TOPK_V2": {1},
    },
}
"""Of the operators that have several: int8 tensors need a later version of them, float32 and int32 the first."""


def graph(role: str, precision: str) -> onnx.ModelProto:
    table = whitened(37, 5)
    model = fold_in_graph(FoldIn(table, 7, 6)) if role == "encoder" else index_graph(table)
    return model if precision == "fp32" else quantize_int8(model, integer_product=precision == "integers")


KINDS = [*product(("encoder", "index"), ("fp32", "int8")), ("index", "integers")]
every = pytest.mark.parametrize(("role", "precision"), KINDS)


@every
def test_is_a_flatbuffer_that_litert_loads(role: str, precision: str) -> None:
    data, _ = lower(graph(role, precision))
    assert data[4:8] == FILE_IDENTIFIER
    assert schema.Model.ModelBufferHasIdentifier(data, 0)
    model = flatbuffer(data)
    assert (model.version, len(model.subgraphs)) == (3, 1)
    assert model.buffers[0].data is None  # the empty one, by convention
    TFLiteModel(data)


@every
def test_constants_start_at_multiples_of_16(role: str, precision: str) -> None:
    """Kernels read them in place with aligned instructions."""
    data, _ = lower(graph(role, precision))
    model = schema.Model.GetRootAs(data, 0)
    starts = []
    for i in range(model.BuffersLength()):
        if model.Buffers(i).DataLength() > 0:
            vector = model.Buffers(i)._tab.Vector(model.Buffers(i)._tab.Offset(4))
            starts.append(vector)
            wanted = bytes(flatbuffer(data).buffers[i].data)
            assert data[vector : vector + len(wanted)] == wanted
    assert len(starts) >= 2
    assert [start % 16 for start in starts] == [0] * len(starts)


@every
def test_operator_versions_are_those_of_tensorflows_rules(role: str, precision: str) -> None:
    data, reported = lower(graph(role, precision))
    versions = operator_versions(data)
    expected = EXPECTED_VERSIONS[role, precision]
    assert {operator: versions[operator] for operator in expected} == expected
    assert set().union(*(versions[operator] for operator in versions.keys() - expected.keys())) <= {1}
    assert reported == {operator: max(found) for operator, found in versions.items()}


@every
def test_old_readers_find_the_operator_too(role: str, precision: str) -> None:
    for code in flatbuffer(lower(graph(role, precision))[0]).operatorCodes:
        assert code.deprecatedBuiltinCode == min(code.builtinCode, 127)


@every
def test_the_signature_lists_inputs_and_outputs(role: str, precision: str) -> None:
    model = graph(role, precision)
    data, _ = lower(model)
    (signature,) = Interpreter(model_content=data).get_signature_list().values()
    assert signature["inputs"] == sorted(value.name for value in model.graph.input)
    assert signature["outputs"] == sorted(value.name for value in model.graph.output)
    artifact = write_artifact(model, "tflite")
    interpreter = Interpreter(model_content=data)
    for specs, details in (
        (artifact.inputs, interpreter.get_input_details()),
        (artifact.outputs, interpreter.get_output_details()),
    ):
        found = [(d["name"], np.dtype(d["dtype"]).name, tuple(d["shape_signature"].tolist())) for d in details]
        assert found == [(spec.name, spec.dtype, spec.shape) for spec in specs]


@every
def test_the_manifest_names_all_operators(role: str, precision: str) -> None:
    model = graph(role, precision)
    tflite, plain = write_artifact(model, "tflite"), write_artifact(model, "onnx")
    assert tflite.operators == tuple(sorted(operator_versions(tflite.data)))
    assert plain.operators == tuple(sorted({node.op_type for node in onnx.load_from_string(plain.data).graph.node}))
    assert plain.versions == {"ir": 7, "opset": 14}


def digest() -> str:
    """Of every artifact of both targets."""
    artifacts = [write_artifact(graph(*kind), runtime).data for kind in KINDS for runtime in ("onnx", "tflite")]
    return hashlib.sha256(b"".join(artifacts)).hexdigest()


@pytest.mark.parametrize("seed", ["0", "4711"])
def test_the_same_bytes_in_every_process(seed: str) -> None:
    code = "from tests.converters.test_tflite_writer import digest; print(digest())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == digest()


def test_equal_constants_are_stored_once() -> None:
    assembler = Assembler("twice")
    first = assembler.constant(np.arange(40, dtype=np.float32))
    assert assembler.constant(np.arange(40, dtype=np.float32)) == first
    assert assembler.constant(np.arange(40, dtype=np.float32).reshape(5, 8)) != first
    assert assembler.constant(np.arange(40, dtype=np.int32)) != first
