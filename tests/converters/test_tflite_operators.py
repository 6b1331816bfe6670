"""Every operator of the TFLite writer against ONNX Runtime, on every runtime and processor there is."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented

from nearhand_converters.errors import UnsupportedOperatorError
from nearhand_converters.targets.tflite.kernels import KERNELS
from nearhand_converters.targets.tflite.lowering import OPERATORS, lower
from tests.converters.engines import OnnxModel, flatbuffer
from tests.converters.operator_cases import BATCHES, CASES, Array, Case, graph, i64, numbers, of, one
from tests.converters.run_models import run_cases
from tests.environments.fixtures import require

SCRIPT = Path(__file__).with_name("run_models.py")
LARGEST = np.finfo(np.float32).max


@cache
def expected() -> dict[str, list[dict[str, Array]]]:
    """Case → what ONNX says each batch gives."""
    return {case.name: list(map(oracle(case), batches(case))) for case in CASES}


def batches(case: Case) -> list[dict[str, Array]]:
    return [{name: np.ascontiguousarray(array[rows]) for name, array in case.inputs.items()} for rows in BATCHES]


def oracle(case: Case) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """ONNX Runtime; where it has no kernel for a type, ONNX's reference, which is not right about GatherElements."""
    try:
        return OnnxModel(case.model).run
    except NotImplemented:
        evaluator = ReferenceEvaluator(case.model)
    return lambda inputs: dict(zip(evaluator.output_names, evaluator.run(None, dict(inputs)), strict=True))


def difference(case: Case, outputs: list[dict[str, Array]] | str) -> str:
    """What is wrong with the outputs of a case; nothing if they are right."""
    if isinstance(outputs, str):
        return outputs
    for batch, found, wanted in zip(BATCHES, outputs, expected()[case.name], strict=True):
        for name, array in wanted.items():
            exact = array.astype(np.int32) if array.dtype == np.int64 else array
            if found[name].dtype != exact.dtype or found[name].shape != exact.shape:
                return f"{name} is {found[name].dtype} {found[name].shape}, not {exact.dtype} {exact.shape}"
            if not same(found[name], exact, case):
                return f"batch {batch}: {name} is {found[name].tolist()}, not {exact.tolist()}"
    return ""


def same(found: Array, exact: Array, case: Case) -> bool:
    if exact.dtype != np.float32:
        return np.array_equal(found, exact)
    a, b = found.astype(np.float64), exact.astype(np.float64)
    if case.saturates:
        a, b = (np.clip(array, -LARGEST, LARGEST) for array in (a, b))
    scale = np.maximum(np.abs(b), case.floor)
    with np.errstate(invalid="ignore"):
        right = (a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= case.tolerance * scale)
    return bool(right.all())


@cache
def lowered() -> list[tuple[bytes, list[dict[str, Array]]]]:
    return [(lower(case.model)[0], batches(case)) for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_computes_what_onnx_says(case: Case) -> None:
    (outputs,) = run_cases("tflite", [(lower(case.model)[0], batches(case))])
    assert not difference(case, outputs)


@pytest.mark.parametrize("environment", ["tflite-runtime-2.14", "haswell", "arm64"])
def test_computes_it_everywhere(environment: str, tmp_path: Path) -> None:
    """The oldest runtime, a processor of ten years ago, and the phones' processor."""
    machine = require(environment)
    (tmp_path / "cases.pickle").write_bytes(pickle.dumps(("tflite", lowered()), protocol=4))
    machine.run(SCRIPT, [tmp_path / "cases.pickle"], tmp_path / "outputs.pickle")
    found = pickle.loads((tmp_path / "outputs.pickle").read_bytes())
    wrong = {case.name: difference(case, outputs) for case, outputs in zip(CASES, found, strict=True)}
    assert {name: problem for name, problem in wrong.items() if problem} == {}


def test_every_operator_has_a_case() -> None:
    used = {node.op_type for case in CASES for node in case.model.graph.node}
    assert used | {"MatMulInteger"} == OPERATORS.keys()  # that one has its own, with the search


def test_every_type_of_every_kernel_has_a_case() -> None:
    """What the table of kernels allows is run, and nothing else is."""
    used = {(operator, dtype) for data, _ in lowered() for operator, dtype, _ in kernels_of(data)}
    allowed = {(operator, dtype) for operator, dtypes in KERNELS.items() for dtype in dtypes}
    assert used == allowed - {("BATCH_MATMUL", "int8"), ("FULLY_CONNECTED", "int8")}  # of the search


def kernels_of(data: bytes) -> Iterator[tuple[str, str, int]]:
    """The operators of a file, each with the type that it works on and its version."""
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    types = {number: name.lower() for name, number in vars(schema.TensorType).items() if not name.startswith("_")}
    model = flatbuffer(data)
    for operator in model.subgraphs[0].operators:
        code = model.operatorCodes[operator.opcodeIndex]
        name = names[code.builtinCode]
        worked_on = model.subgraphs[0].tensors[operator.inputs[1 if name == "SELECT_V2" else 0]]
        yield name, types[worked_on.type], code.version


VERSIONS = {
    ("ARG_MAX", "int8"): 2, ("ARG_MIN", "int8"): 2, ("BATCH_MATMUL", "float32"): 1, ("CAST", "int16"): (1, 3),
    ("CAST", "int8"): 3, ("CAST", "uint8"): (1, 3), ("CAST", "bool"): (1, 3), ("CAST", "float32"): (1, 3),
    ("CAST", "int32"): (1, 3), ("CONCATENATION", "int16"): 3, ("CONCATENATION", "int8"): 2, ("EQUAL", "int16"): 4,
    ("FULLY_CONNECTED", "float32"): (1, 6), ("GATHER", "float32"): (1, 5), ("GATHER", "int32"): (1, 5),
    ("GATHER", "int8"): (2, 5), ("GATHER", "uint8"): (1, 5), ("GATHER", "int16"): (4, 5), ("GATHER", "bool"): (3, 5),
    ("GREATER_EQUAL", "int16"): 3, ("LESS", "int16"): 3, ("MAXIMUM", "int16"): 4, ("MAXIMUM", "int8"): 2,
    ("MINIMUM", "int16"): 4, ("MINIMUM", "int8"): 2, ("REDUCE_MAX", "int8"): 2, ("REDUCE_MIN", "int8"): 2,
    ("SPLIT_V", "int8"): 2, ("STRIDED_SLICE", "int8"): 2, ("STRIDED_SLICE", "bool"): 3, ("TILE", "int8"): 3,
    ("TRANSPOSE", "int8"): 2, ("TRANSPOSE", "int16"): 5, ("TRANSPOSE", "bool"): 3,
}  # fmt: skip
"""Those of TensorFlow's own rules (tensorflow/lite/tools/versioning/op_version.cc); all others are 1.

Of two, the first is what the type needs and the second what a use needs: another type at the other end of a cast, a
product without a bias, elements of rows."""


def test_versions_are_those_of_tensorflows_rules() -> None:
    found: dict[tuple[str, str], set[int]] = {}
    for data, _ in lowered():
        for operator, dtype, version in kernels_of(data):
            found.setdefault((operator, dtype), set()).add(version)
    for key, versions in found.items():
        wanted = VERSIONS.get(key, 1)
        assert versions == set(wanted if isinstance(wanted, tuple) else (wanted,)), key


def refusals() -> list[tuple[str, Case | onnx.ModelProto, str]]:
    """What is refused, and the words that say why."""
    x, integers = numbers(6), of("int32", 6)
    apart = graph([helper.make_node("GatherElements", ["x", "i"], ["y"], axis=1)], {"x": x, "i": integers[:, 2:]})
    apart.graph.input[1].type.tensor_type.shape.dim[0].dim_param = "others"
    foreign = graph([helper.make_node("Relu", ["x"], ["y"])], {"x": x})
    foreign.graph.node[0].domain = "com.example"
    foreign.opset_import.append(helper.make_opsetid("com.example", 1))
    double = [
        helper.make_node("Cast", ["c"], ["one"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Add", ["x", "one"], ["y"]),
    ]
    return [
        ("an operator that is not there", one("", "Erf", x), "operator Erf has no TFLite form"),
        ("an operator of another domain", foreign, "operator Relu has no TFLite form"),
        ("an old operator set", graph([helper.make_node("Relu", ["x"], ["y"])], {"x": x}, opset=12), "set 12 is not"),
        ("a new operator set", graph([helper.make_node("Relu", ["x"], ["y"])], {"x": x}, opset=22), "set 22 is not"),
        ("float64", one("", "Add", x.astype(np.float64), x.astype(np.float64)), "value x0 has a type that is not one"),
        ("uint16", one("", "Cast", x, to=onnx.TensorProto.UINT16), "value y0 has a type that is not one of float32"),
("a float64 constant", graph(double, {"x": x}, {"c": np.float64(1)}), "constant c is float64, not one of"),
        ("a constant beyond int32", one("", "Add", integers.astype(np.int64), constants=[i64(2**31)]), "beyond int32"),
        ("five dimensions", one("", "Add", numbers(1, 2, 1, 2), numbers(1, 2, 1, 2)[:, None]), "at most 4 dimensions"),
        ("int8 sums", one("", "Add", of("int8", 6), of("int8", 6)), "not for int8, only for float32, int32"),
        ("Abs of int32", one("", "Abs", integers), "not for int32, only for float32"),
        ("three numbers to compare", one("", "Max", x, x, x), "has 3 inputs, only 2 are written"),
        ("a bound that is an input", Case("", clip_by_input(), {}), "a bound must be constant"),
        ("a negative index", one("", "Gather", x, constants=[i64(0, -1)], axis=1), "index -1 is negative"),
        ("an index beyond the axis", one("", "Gather", x, constants=[i64(0, 6)], axis=1), "index 6 is beyond the axis"),
        ("elements along the batch", one("", "GatherElements", x, integers[:, 2:] * 0, axis=0), "only along the last"),
        ("elements of a row", one("", "GatherElements", x[:, 0].copy(), integers[:, 0] * 0), "of at least 2 axes"),
        ("elements of other rows", apart, "only with indices for every row of the data"),
        ("the last of ties", one("", "ArgMax", x, axis=1, select_last_index=1), "only the first along the last axis"),
        ("where the batch is largest", one("", "ArgMin", x, axis=0), "only the first along the last axis"),
        ("softmax over the batch", one("", "Softmax", x, axis=0), "only along the last axis"),
        ("a reduction of nothing", one("", "ReduceSum", x, noop_with_empty_axes=1), "not with noop_with_empty_axes"),
        ("a shape that is an input", shape_is_input("Reshape"), "the shape must be constant"),
        ("an expansion by an input", shape_is_input("Expand"), "the shape must be constant"),
        ("an expansion of the batch", one("", "Expand", x, constants=[i64(7, 6)]), "must have a 1 in the shape"),
        ("a shape with a real zero", one("", "Reshape", x, constants=[i64(0, 6)], allowzero=1), "not with allowzero"),
        ("backwards", one("", "Slice", x, constants=[i64(5), i64(0), i64(1), i64(-1)]), "only with positive steps"),
        ("a part of the batch", one("", "Slice", x, constants=[i64(1), i64(3), i64(0)]), "decided at run time"),
        ("an empty part", one("", "Slice", x, constants=[i64(3), i64(3), i64(1)]), "nothing is left of axis 1"),
        ("a split of the batch", one("", "Split", x, axis=0, outputs=2), "decided at run time"),
        ("a scaled product", one("", "Gemm", x, constants=[x[:6]], alpha=2.0), "only alpha = beta = 1"),
        ("a product with a row", one("", "MatMul", x, constants=[x[0]]), "needs two matrices, or stacks of them"),
        ("an integer power", one("", "Pow", integers, constants=[np.int32(3)]), "not for int32, only for float32"),
        ("a constant of text", constant_of_text(), "not with value_string"),
    ]  # fmt: skip


def clip_by_input() -> onnx.ModelProto:
    given = {"x": numbers(6), "low": numbers()}
    reduce = helper.make_node("ReduceSum", ["low"], ["bound"], keepdims=0)
    return graph([reduce, helper.make_node("Clip", ["x", "bound"], ["y"])], given)


def shape_is_input(operator: str) -> onnx.ModelProto:
    model = graph([helper.make_node(operator, ["x", "shape"], ["y"])], {"x": numbers(6)}, {"shape": i64(1, 6)})
    model.graph.ClearField("initializer")
    model.graph.input.append(helper.make_tensor_value_info("shape", onnx.TensorProto.INT64, [2]))
    return model


def constant_of_text() -> onnx.ModelProto:
    model = graph([helper.make_node("Relu", ["x"], ["y"])], {"x": numbers(6)})
    model.graph.node.insert(0, helper.make_node("Constant", [], ["text"], value_string="text"))
    return model


@pytest.mark.parametrize(("given", "said"), [pytest.param(*rest, id=name) for name, *rest in refusals()])
def test_what_is_not_written_is_refused_with_its_place_and_a_remedy(given: Case | onnx.ModelProto, said: str) -> None:
    with pytest.raises(UnsupportedOperatorError) as caught:
        lower(given.model if isinstance(given, Case) else given)
    assert said in caught.value.problem
    assert "case" in caught.value.place
    assert caught.value.remedy


@pytest.mark.parametrize("index", [-1, 6, 2**30])
@pytest.mark.parametrize("operator", ["Gather", "GatherElements"])
def test_an_index_outside_is_an_error_and_no_number(operator: str, index: int) -> None:
    x, places = numbers(6)[:2], np.array([[index, 0]] * 2, np.int32)
    inputs: dict[str, Array] = {"places": places}
    if operator == "Gather":
        node = helper.make_node("Gather", ["table", "places"], ["y"], axis=0)
        model = graph([node], inputs, {"table": x[0]})
    else:
        node = helper.make_node("GatherElements", ["x", "places"], ["y"], axis=1)
        inputs["x"] = x
        model = graph([node], inputs)
    (outputs,) = run_cases("tflite", [(lower(model)[0], [inputs])])
    assert isinstance(outputs, str)
    assert "does not run" in outputs


NEEDS_ROWS = (
    "TopK",
    "TopK int32",
    "MatMul of two inputs",
    "MatMul of a stack",
    "Gemm with a table that is looked up too",
)
"""Errors of TOPK_V2, and of XNNPACK's BATCH_MATMUL."""


@pytest.mark.parametrize("case", [case for case in CASES if case.name not in NEEDS_ROWS], ids=lambda case: case.name)
def test_a_batch_of_nothing_gives_nothing(case: Case) -> None:
    (outputs,) = run_cases(
        "tflite", [(lower(case.model)[0], [{name: array[:0] for name, array in case.inputs.items()}])]
    )
    assert not isinstance(outputs, str), outputs
