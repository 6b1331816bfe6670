"""ONNX files that keep the contract are models; others are refused by what they break, and none is changed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler

from nearhand_converters.errors import SourceError, UnsupportedModelError
from nearhand_converters.graph.inputs import Lowering
from nearhand_converters.parity.rows import verification_rows
from nearhand_converters.parity.tabular import Original, Parity
from nearhand_converters.sources.model import InputColumn, TabularModel
from nearhand_converters.sources.onnx_file import OnnxFileSource
from tests.converters.sklearn_checks import classes_of, fitted, graph_of, runner, table, target_of

NUMBERS = table(1)
X = NUMBERS.astype(np.float32)
THREE, VALUE, VALUES = classes_of(NUMBERS, 3, 3), target_of(NUMBERS, 4), target_of(NUMBERS, 4, 2)
FLOAT, INT32, INT64, STRING = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.STRING


def _checked(path: Path, *, engines: tuple[Literal["onnx", "tflite"], ...] = ("onnx", "tflite")) -> tuple[Any, Parity]:
    """The model of a file, and what its graphs give beside the file itself."""
    before = path.read_bytes()
    model: TabularModel = OnnxFileSource().read(path)
    original = Original(model, verification_rows(model, 300))
    for engine in engines:
        lowering: Lowering = "operator" if engine == "onnx" else "ranks"
        parity = original.verify(runner(graph_of(model, lowering), engine), label=engine)
    assert path.read_bytes() == before
    return model, parity


def _saved(path: Path, model: onnx.ModelProto) -> Path:
    onnx.save(model, path)
    return path


def _model(
    nodes: list[Any],
    inputs: list[Any],
    outputs: list[Any],
    constants: dict[str, Any] | None = None,
    opset: int = 17,
    domain: str = "",
) -> onnx.ModelProto:
    """A graph; inputs and outputs are (name, type, shape)."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info(*each) for each in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _sklearn(estimator: Any, target: Any, path: Path, **options: Any) -> Path:
    model = fitted(estimator, X, target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converted = to_onnx(model, X[:1], name="g", target_opset={"": 17, "ai.onnx.ml": 3}, **options)
    return _saved(path, converted)


@pytest.mark.parametrize(
    ("estimator", "target", "task"),
    [
        (make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(4,), max_iter=5)), VALUE, "regression"),
        (
            make_pipeline(Normalizer(), MinMaxScaler(), Ridge()),
            VALUES,
            "transform",
        ),
    ],
    ids=["one number", "several numbers"],
)
def test_a_file_of_plain_operators_runs_everywhere(estimator: Any, target: Any, task: str, tmp_path: Path) -> None:
    model, _ = _checked(_sklearn(estimator, target, tmp_path / "m.onnx"))
    assert model.task == task
    assert model.columns == tuple(InputColumn(f"X_{i}", "number") for i in range(5))


def test_an_export_whose_rows_are_mixed_up_is_refused(tmp_path: Path) -> None:
    """skl2onnx makes a column of a network's several targets."""
    path = _sklearn(MLPRegressor(hidden_layer_sizes=(4,), max_iter=5), VALUES, tmp_path / "m.onnx")
    with pytest.raises(UnsupportedModelError, match=r"has the shape \[4, 1\] for 2 rows") as refused:
        OnnxFileSource().read(path)
    assert refused.value.code == "output-shape"


def test_operators_for_trees_stay_on_onnx(tmp_path: Path) -> None:
    forest = RandomForestRegressor(3, max_depth=3, random_state=0)
    _checked(_sklearn(forest, VALUE, tmp_path / "m.onnx"), engines=("onnx",))


def test_an_export_for_one_row_takes_any_number_of_rows(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    path = tmp_path / "m.onnx"
    _saved(path, _model(nodes, [("x", FLOAT, [1, 3])], [("y", FLOAT, [1, 2])], {"w": X[:3, :2]}))
    model, parity = _checked(path)
    assert model.batch == 1
    assert parity.rows == 300


def test_names_of_the_contract_keep_their_meaning(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["numbers", "w"], ["h"]),
        helper.make_node("Softmax", ["h"], ["probability"], axis=-1),
        helper.make_node("ArgMax", ["h"], ["place"], axis=1, keepdims=0),
        helper.make_node("Cast", ["place"], ["label"], to=INT32),
    ]
    outputs = [("probability", FLOAT, ["n", 3]), ("label", INT32, ["n"])]
    path = tmp_path / "m.onnx"
    model, parity = _checked(_saved(path, _model(nodes, [("numbers", FLOAT, ["n", 4])], outputs, {"w": X[:4, :3]})))
    assert (model.task, model.classes) == ("multiclass", ("0", "1", "2"))
    assert parity.labels == 300


def test_several_inputs_are_the_columns_of_one_table(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["items", "id"], ["row"], axis=0),
        helper.make_node("Squeeze", ["row", "one"], ["item"]),
        helper.make_node("Concat", ["item", "age", "rest"], ["y"], axis=1),
    ]
    inputs = [("age", FLOAT, ["n", 1]), ("id", INT32, ["n", 1]), ("rest", FLOAT, ["n", 2])]
    constants = {"items": X[:7, :2], "one": np.array([1])}
    model, _ = _checked(_saved(tmp_path / "m.onnx", _model(nodes, inputs, [("y", FLOAT, ["n", 5])], constants)))
    assert [column.name for column in model.columns] == ["age", "id", "rest_0", "rest_1"]
    assert model.ranges[1] == (0.0, 6.0)
    assert model.missing_allowed == (True, False, True, True)


@pytest.mark.parametrize("opset", [13, 18, 21])
def test_another_operator_set_is_made_ours(opset: int, tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["x", "x"], ["s"]), helper.make_node("Sqrt", ["s"], ["y"])]
    model = _model(nodes, [("x", FLOAT, ["n", 3])], [("y", FLOAT, ["n", 3])], opset=opset)
    _checked(_saved(tmp_path / "m.onnx", model))


def _identity(kind: int = FLOAT, shape: Any = ("n", 3), out: int | None = None, **options: Any) -> onnx.ModelProto:
    return _model(
        [helper.make_node("Identity", ["x"], ["y"], **options)],
        [("x", kind, list(shape))],
        [("y", kind if out is None else out, list(shape))],
    )


def _sequence() -> onnx.ModelProto:
    model = _model([helper.make_node("SplitToSequence", ["x"], ["y"], axis=0)], [("x", FLOAT, ["n", 3])], [])
    model.graph.output.append(helper.make_tensor_sequence_value_info("y", FLOAT, None))
    return model


def _branch() -> onnx.ModelProto:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])], "b", [], [helper.make_tensor_value_info("z", FLOAT, ["n", 3])]
    )
    node = helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner)
    return _model([node], [("x", FLOAT, ["n", 3])], [("y", FLOAT, ["n", 3])], {"yes": np.array(True)})


def _two_outputs() -> onnx.ModelProto:
    nodes = [helper.make_node("Abs", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])]
    return _model(nodes, [("x", FLOAT, ["n", 3])], [("y", FLOAT, ["n", 3]), ("z", FLOAT, ["n", 3])])


def _custom_domain() -> onnx.ModelProto:
    node = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
    return _model([node], [("x", FLOAT, ["n", 3])], [("y", FLOAT, ["n", 3])], domain="com.microsoft")


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        (lambda: _identity(STRING), "input-type", "input 'x': holds string.*codes instead of texts"),
        (lambda: _identity(INT64), "input-type", "input 'x': holds int64.*cast it to int32"),
        (lambda: _identity(TensorProto.DOUBLE), "input-type", "input 'x': holds double"),
        (lambda: _identity(INT32), "output-type", "output 'y': holds int32"),
        (lambda: _identity(shape=("n", "m")), "input-shape", r"has the shape \[\?, \?\]"),
        (lambda: _identity(shape=("n", 3, 4)), "input-shape", r"has the shape \[\?, 3, 4\]"),
        (lambda: _identity(shape=("n",)), "input-shape", r"has the shape \[\?\]"),
        (_sequence, "output-type", "output 'y': is a sequence, not a tensor"),
        (_branch, "control-flow", "operator If holds a graph of its own"),
        (_two_outputs, "several-outputs", "gives 'y', 'z'; keep one output"),
        (_custom_domain, "custom-domain", "operator Gelu is of the domain 'com.microsoft'"),
        (
            lambda: _model(
                [helper.make_node("Abs", ["x"], ["y"])], [("x", FLOAT, ["n", 3])], [("y", FLOAT, ["n", 3])], opset=9
            ),
            "opset",
            "is of the operator set 9",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_what_breaks_the_contract_is_refused(make: Any, code: str, message: str, tmp_path: Path) -> None:
    path = _saved(tmp_path / "m.onnx", make())
    before = path.read_bytes()
    with pytest.raises(UnsupportedModelError, match=message) as refused:
        OnnxFileSource().read(path)
    assert refused.value.code == code
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({}, "zipmap", r"list of dictionaries \(ZipMap\).*options=\{'zipmap': False\}"),
        ({"options": {"zipmap": False}}, "output-type", "output 'label': holds int64.*cast it to int32"),
    ],
    ids=["zipmap", "labels of int64"],
)
def test_classifiers_as_skl2onnx_writes_them_are_refused(options: Any, code: str, message: str, tmp_path: Path) -> None:
    path = _sklearn(LogisticRegression(), THREE, tmp_path / "m.onnx", **options)
    with pytest.raises(UnsupportedModelError, match=message) as refused:
        OnnxFileSource().read(path)
    assert refused.value.code == code


def test_data_in_another_file_is_refused(tmp_path: Path) -> None:
    model = _model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", FLOAT, ["n", 200])],
        [("y", FLOAT, ["n", 200])],
        {"w": np.ones((200, 200), np.float32)},
    )
    path = tmp_path / "m.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin")
    with pytest.raises(UnsupportedModelError, match="keeps the data of 'w' in another file") as refused:
        OnnxFileSource().read(path)
    assert refused.value.code == "external-data"


@pytest.mark.parametrize(
    "data",
    [b"", b"not an onnx file", bytes(range(256)), b"\x08\x08\x12\x08nearhand"],
    ids=["empty", "text", "bytes", "no graph"],
)
def test_a_file_that_is_no_onnx_file_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    assert OnnxFileSource().claims(path, data)
    with pytest.raises((SourceError, UnsupportedModelError), match=r"^m\.onnx: "):
        OnnxFileSource().read(path)


def test_a_graph_that_does_not_run_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    model = _model(nodes, [("x", FLOAT, ["n", 3])], [("y", FLOAT, ["m", 5])], {"shape": np.array([-1, 5])})
    with pytest.raises(SourceError, match="does not run"):
        OnnxFileSource().read(_saved(tmp_path / "m.onnx", model))
