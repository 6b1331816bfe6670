"""The operators of retrieval in the TFLite writer's closed list: what LiteRT computes is what ONNX Runtime computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from nearhand_converters.errors import UnsupportedOperatorError
from nearhand_converters.graph.builder import OPSET, GraphBuilder, finish
from nearhand_converters.targets.tflite.lowering import OPERATORS, lower
from tests.converters.engines import run_both

Arrays = Mapping[str, NDArray[Any]]
NUMBERS = np.array([-3.5, -2.5, -1.0, -0.0, 0.0, 0.5, 1.5, 2.0, 7.25, 1e6, -1e-6, 2.5], np.float32)


@dataclass(frozen=True)
class Case:
    """One use of an operator.

    Attributes:
        inputs: what is given at run time; constants: what stands in the file.
        dynamic: inputs whose first dimension is decided at run time.
        outputs: number of outputs.
        tolerance: relative, of the largest magnitude; 0 asks for the same bits.
    """

    name: str
    operator: str
    inputs: Arrays
    constants: Arrays = field(default_factory=dict)
    order: Sequence[str] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    dynamic: Sequence[str] = ()
    outputs: int = 1
    tolerance: float = 0.0

    def model(self) -> onnx.ModelProto:
        """One node, its outputs ``y0``, ``y1`` … as ONNX infers them; row numbers as int32, as our graphs give them."""
        order = list(self.order) or [*self.inputs, *self.constants]
        names = [f"y{i}" for i in range(self.outputs)]
        nodes = []
        if self.operator == "TopK":
            nodes = [helper.make_node("Cast", ["rows"], ["y1"], to=TensorProto.INT32)]
        produced = ["y0", "rows"] if nodes else names
        nodes.insert(0, helper.make_node(self.operator, order, produced, **self.attributes))
        inputs = [self._declared(name, array) for name, array in self.inputs.items()]
        constants = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        outputs = [onnx.ValueInfoProto(name=name) for name in names]
        bare = helper.make_graph(nodes, "made", inputs, outputs, initializer=constants)
        model = helper.make_model(bare, opset_imports=[helper.make_opsetid("", OPSET)])
        return finish(onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph)

    def _declared(self, name: str, array: NDArray[Any]) -> onnx.ValueInfoProto:
        shape = ["n" + name, *array.shape[1:]] if name in self.dynamic else array.shape
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape)


def numbers(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.Generator(np.random.PCG64(seed)).normal(size=shape).astype(np.float32)


def integers(*shape: int, low: int = -50, high: int = 50, seed: int = 0) -> NDArray[np.int32]:
    return np.random.Generator(np.random.PCG64(seed)).integers(low, high, shape, np.int32)


def _elementwise() -> list[Case]:
    cases = []
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((), ()),
        ((5,), (5,)),
        ((2, 3), ()),
        ((), (2, 3)),
        ((2, 3), (3,)),
        ((2, 1), (1, 3)),
        ((4, 1, 2), (3, 1)),
        ((2, 3, 1, 2), (2, 3, 4, 2)),
    ]
    for operator in ("Add", "Sub", "Mul", "Div", "Max", "Min"):
        for left, right in shapes:
            name = f"{list(left)} {list(right)}".replace(" ", "")
            cases.append(Case(f"float {name}", operator, {"a": numbers(*left), "b": numbers(*right, seed=1)}))
            divisor = integers(*right, low=1, seed=1)
            cases.append(Case(f"int {name}", operator, {"a": integers(*left), "b": divisor}))
        cases += [
            Case("constant right", operator, {"a": numbers(2, 3)}, {"c": numbers(3, seed=1)}),
            Case("constant left", operator, {"a": numbers(3)}, {"c": numbers(2, 3, seed=1)}, order=("c", "a")),
            Case("dynamic", operator, {"a": numbers(2, 3), "b": numbers(3, seed=1)}, dynamic=("a", "b")),
        ]
    for operator in ("Abs", "Relu", "Round"):
        cases += [
            Case("numbers", operator, {"a": NUMBERS}),
            Case("scalar", operator, {"a": np.array(-2.5, np.float32)}),
            Case("4-d", operator, {"a": numbers(2, 1, 3, 2) * 10}),
            Case("dynamic", operator, {"a": numbers(2, 3)}, dynamic=("a",)),
        ]
    return cases


def _moving() -> list[Case]:
    table, matrix = numbers(6, 4), integers(3, 5)
    rows = np.array([5, 0, 3, 3], np.int32)
    cases = [
        Case("rows", "Gather", {"rows": rows}, {"table": table}, ("table", "rows"), {"axis": 0}),
        Case("default axis", "Gather", {"rows": rows}, {"table": table}, ("table", "rows")),
        Case("columns", "Gather", {"rows": rows[1:]}, {"table": table}, ("table", "rows"), {"axis": 1}),
        Case("last axis", "Gather", {"rows": rows[1:]}, {"table": table}, ("table", "rows"), {"axis": -1}),
        Case("of an input", "Gather", {"table": table, "rows": rows}),
        Case("integers", "Gather", {"table": integers(6, 2), "rows": rows}),
        Case("one row", "Gather", {"rows": np.array(2, np.int32)}, {"table": table}, ("table", "rows")),
        Case("rows in a matrix", "Gather", {"rows": rows.reshape(2, 2)}, {"table": table}, ("table", "rows")),
        Case("vector", "Gather", {"rows": rows}, {"table": numbers(6)}, ("table", "rows")),
        Case("dynamic", "Gather", {"rows": rows}, {"table": table}, ("table", "rows"), dynamic=("rows",)),
        Case("swap", "Transpose", {"a": table}, attributes={"perm": [1, 0]}),
        Case("default", "Transpose", {"a": numbers(2, 3, 4)}),
        Case("4-d", "Transpose", {"a": numbers(2, 3, 4, 5)}, attributes={"perm": [2, 0, 3, 1]}),
        Case("integers", "Transpose", {"a": matrix}, attributes={"perm": [1, 0]}),
        Case("dynamic", "Transpose", {"a": table}, attributes={"perm": [1, 0]}, dynamic=("a",)),
    ]
    for name, shape in (("flat", [-1]), ("to 3-d", [2, 3, 4]), ("inferred", [4, -1]), ("same", [6, 4])):
        cases.append(Case(name, "Reshape", {"a": table}, {"shape": np.array(shape, np.int64)}))
    cases += [
        Case("scalar", "Reshape", {"a": numbers(1)}, {"shape": np.empty(0, np.int64)}),
        Case("integers", "Reshape", {"a": matrix}, {"shape": np.array([5, 3], np.int64)}),
        Case("dynamic", "Reshape", {"a": table}, {"shape": np.array([-1], np.int64)}, dynamic=("a",)),
    ]
    for name, array, kind in (
        ("float to int", np.array([-2.9, -0.5, 0.0, 0.5, 2.9, 2e9], np.float32), TensorProto.INT32),
        ("int to float", np.array([-7, 0, 2**24, 2**31 - 1], np.int32), TensorProto.FLOAT),
    ):
        cases.append(Case(name, "Cast", {"a": array}, attributes={"to": kind}))
    return cases


def _products() -> list[Case]:
    cases = [
        Case("two inputs", "MatMul", {"a": numbers(3, 4), "b": numbers(4, 5)}, tolerance=1e-6),
        Case("constant", "MatMul", {"a": numbers(3, 4)}, {"w": numbers(4, 5)}, tolerance=1e-6),
        Case("constant left", "MatMul", {"b": numbers(4, 5)}, {"w": numbers(3, 4)}, order=("w", "b"), tolerance=1e-6),
        Case("row", "MatMul", {"a": numbers(1, 64)}, {"w": numbers(64, 300)}, tolerance=1e-6),
        Case("column", "MatMul", {"a": numbers(3, 4)}, {"w": numbers(4, 1)}, tolerance=1e-6),
        Case("1 by 1", "MatMul", {"a": numbers(1, 1)}, {"w": numbers(1, 1)}, tolerance=1e-6),
        Case("stack", "MatMul", {"a": numbers(2, 3, 4)}, {"w": numbers(4, 5)}, tolerance=1e-6),
        Case("constant stack", "MatMul", {"a": numbers(2, 3, 4)}, {"w": numbers(2, 4, 5)}, tolerance=1e-6),
        Case("two stacks", "MatMul", {"a": numbers(2, 3, 4), "b": numbers(2, 4, 5)}, tolerance=1e-6),
        Case("dynamic", "MatMul", {"a": numbers(3, 4)}, {"w": numbers(4, 5)}, dynamic=("a",), tolerance=1e-6),
    ]
    for across in (0, 1):
        for down in (0, 1):
            left, right = numbers(*((4, 3) if across else (3, 4))), numbers(*((5, 4) if down else (4, 5)), seed=1)
            turns = {"transA": across, "transB": down}
            for bias in ((), (5,), (3, 1), (3, 5)):
                added = {"c": numbers(*bias, seed=2)} if bias else {}
                name = f"trans {across}{down} bias {list(bias)}"
                cases.append(Case(name, "Gemm", {"a": left, "b": right, **added}, attributes=turns, tolerance=1e-6))
            cases.append(
                Case(f"constant trans {across}{down}", "Gemm", {"a": left}, {"w": right}, (), turns, (), 1, 1e-6)
            )
            # One row of one: a scalar times a row, with no matrix product in the file.
            one, row = numbers(1, 1), numbers(*((5, 1) if down else (1, 5)), seed=1)
            cases += [
                Case(f"scalar trans {across}{down}", "Gemm", {"a": one, "b": row}, attributes=turns, tolerance=1e-6),
                Case(f"scalar and bias trans {across}{down}", "Gemm", {"a": one, "b": row, "c": numbers(1, 5, seed=3)},
                     attributes=turns, tolerance=1e-6),
            ]  # fmt: skip
    return cases


def _choosing() -> list[Case]:
    ties = np.array([1, 3, 3, 0, 3, 1, 1, 0], np.float32)
    three = {"k": np.array([3], np.int64)}
    return [
        Case("3 of 8", "TopK", {"a": numbers(8)}, three, attributes={"axis": 0}, outputs=2),
        Case("ties", "TopK", {"a": ties}, {"k": np.array([6], np.int64)}, attributes={"axis": 0}, outputs=2),
        Case("all equal", "TopK", {"a": np.zeros(9, np.float32)}, three, outputs=2),
        Case("integers", "TopK", {"a": integers(20, high=10, low=0)}, three, outputs=2),
        Case("rows", "TopK", {"a": numbers(4, 8)}, three, attributes={"axis": 1}, outputs=2),
        Case("last axis", "TopK", {"a": numbers(2, 3, 8)}, three, attributes={"axis": -1}, outputs=2),
        Case("everything", "TopK", {"a": ties}, {"k": np.array([8], np.int64)}, outputs=2),
        Case("every axis", "ReduceMax", {"a": numbers(3, 4)}),
        Case("every axis, no dimensions", "ReduceMax", {"a": numbers(3, 4)}, attributes={"keepdims": 0}),
        Case("one axis", "ReduceMax", {"a": numbers(3, 4)}, attributes={"axes": [1]}),
        Case("negative axis", "ReduceMax", {"a": numbers(2, 3, 4)}, attributes={"axes": [-2], "keepdims": 0}),
        Case("two axes", "ReduceMax", {"a": numbers(2, 3, 4)}, attributes={"axes": [0, 2]}),
        Case("integers", "ReduceMax", {"a": integers(3, 4)}, attributes={"axes": [0]}),
        Case("dynamic", "ReduceMax", {"a": numbers(3, 4)}, attributes={"axes": [1]}, dynamic=("a",)),
    ]


CASES = [*_elementwise(), *_moving(), *_products(), *_choosing()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.operator}: {case.name}")
def test_litert_computes_what_onnx_runtime_does(case: Case) -> None:
    model = case.model()
    assert case.operator in {node.op_type for node in model.graph.node}
    compare(model, case.inputs, case.tolerance)


def compare(model: onnx.ModelProto, inputs: Arrays, tolerance: float = 0.0) -> None:
    """The same outputs, shapes and types on both; NaN is nowhere."""
    expected, found = run_both(model, inputs)
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        bound = tolerance * float(np.abs(array).max(initial=0)) if tolerance else 0
        np.testing.assert_allclose(found[name], array, rtol=0, atol=bound, equal_nan=False)


shapes = arrays.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4)


@given(shapes=shapes, operator=st.sampled_from(["Add", "Sub", "Mul", "Max", "Min"]), seed=st.integers(0, 99))
def test_any_broadcast(shapes: arrays.BroadcastableShapes, operator: str, seed: int) -> None:
    left, right = shapes.input_shapes
    compare(Case("", operator, {"a": numbers(*left, seed=seed), "b": numbers(*right, seed=seed + 1)}).model(), {
        "a": numbers(*left, seed=seed), "b": numbers(*right, seed=seed + 1)})  # fmt: skip


@given(
    values=st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=1, max_size=40),
    k=st.integers(1, 40),
)
def test_top_k_of_ties_takes_the_lower_index(values: list[float], k: int) -> None:
    scores = np.array(values, np.float32)
    count = min(k, len(values))
    model = _dynamic_top_k(len(values))
    inputs = {"a": scores, "k": np.array([count], np.int32)}
    compare(model, inputs)
    order = np.lexsort((np.arange(len(values)), -scores))[:count]
    np.testing.assert_array_equal(run_both(model, inputs)[1]["rows"], order)


def _dynamic_top_k(count: int) -> onnx.ModelProto:
    """k is an input, as in the index."""
    g = GraphBuilder("top")
    a, k = g.input("a", "float32", [count]), g.input("k", "int32", [1])
    values, rows = g.add_many("TopK", 2, a, g.add("Cast", k, to=TensorProto.INT64), axis=0)
    g.output(values, "values", "float32", ["k"])
    g.output(g.add("Cast", rows, to=TensorProto.INT32), "rows", "int32", ["k"])
    return g.model()


@given(
    rows=st.integers(1, 4),
    inner=st.integers(1, 70),
    columns=st.integers(1, 40),
    zero_point=st.sampled_from([0, 1, 64, 127]),
    seed=st.integers(0, 999),
)
def test_integer_products_are_exact(rows: int, inner: int, columns: int, zero_point: int, seed: int) -> None:
    """Seven-bit activations against any weights but −128: the largest sums there are."""
    generator = np.random.Generator(np.random.PCG64(seed))
    activation = generator.choice([0, 1, 64, 126, 127], (rows, inner)).astype(np.int32)
    weights = generator.choice([-127, -1, 0, 1, 127], (inner, columns)).astype(np.int8)
    model = _integer_product(activation.shape, weights, zero_point)
    compare(model, {"a": activation})
    exact = (activation.astype(np.int64) - zero_point) @ weights.astype(np.int64)
    for outputs in run_both(model, {"a": activation}):
        np.testing.assert_array_equal(outputs["y"], exact)


def _integer_product(shape: tuple[int, ...], weights: NDArray[Any], *zero_point: int) -> onnx.ModelProto:
    g = GraphBuilder("integers")
    activation = g.add("Cast", g.input("a", "int32", shape), to=TensorProto.UINT8)
    zero = [g.constant(np.array(z, np.uint8)) for z in zero_point]
    g.output(g.add("MatMulInteger", activation, g.constant(weights), *zero), "y", "int32", [shape[0], weights.shape[1]])
    return g.model()


@pytest.mark.parametrize("kind", [TensorProto.INT8, TensorProto.UINT8])
def test_small_integers_move_and_are_cast(kind: int) -> None:
    """What the int8 tables go through: gathered, transposed, reshaped, then float."""
    table = np.arange(12).reshape(4, 3).astype(helper.tensor_dtype_to_np_dtype(kind))
    g = GraphBuilder("small")
    rows = g.input("rows", "int32", [2])
    gathered = g.add("Transpose", g.add("Gather", g.constant(table), rows, axis=0), perm=[1, 0])
    flat = g.add("Reshape", gathered, g.constant(np.array([6], np.int64)))
    g.output(g.add("Cast", flat, to=TensorProto.FLOAT), "y", "float32", [6])
    compare(g.model(), {"rows": np.array([3, 1], np.int32)})


def test_one_matrix_in_two_roles() -> None:
    """Multiplied, read by column, and added."""
    table = numbers(4, 4)
    g = GraphBuilder("roles")
    a, columns = g.input("a", "float32", [4, 4]), g.input("columns", "int32", [2])
    w = g.constant(table, "w")
    g.output(g.add("MatMul", a, w), "product", "float32", [4, 4])
    g.output(g.add("Gather", w, columns, axis=1), "picked", "float32", [4, 2])
    g.output(g.add("Sub", a, w), "difference", "float32", [4, 4])
    g.output(g.add("Gemm", w, a), "left", "float32", [4, 4])
    g.output(g.add("Gemm", a, w, transB=1), "right", "float32", [4, 4])
    compare(g.model(), {"a": numbers(4, 4, seed=1), "columns": np.array([3, 0], np.int32)}, tolerance=1e-6)


def test_a_transposed_constant_is_no_operator() -> None:
    """Products read the constant itself, and a look-up shares it; whoever else wants the transposition gets a copy."""
    table = numbers(6, 4)
    g = GraphBuilder("transposed")
    a, rows = g.input("a", "float32", [2, 4]), g.input("rows", "int32", [2])
    w = g.constant(table, "w")
    columns = g.add("Transpose", w, perm=[1, 0])
    g.output(g.add("MatMul", a, columns), "matmul", "float32", [2, 6])
    g.output(g.add("Gemm", a, columns), "gemm", "float32", [2, 6])
    g.output(g.add("Gemm", g.add("MatMul", a, columns), columns, transB=1), "back", "float32", [2, 4])
    g.output(g.add("Gather", w, rows, axis=0), "picked", "float32", [2, 4])
    data, versions = lower(g.model())
    assert "TRANSPOSE" not in versions
    assert data.count(table.tobytes()) == 1
    assert table.T.tobytes() not in data
    inputs = {"a": numbers(2, 4, seed=1), "rows": np.array([5, 0], np.int32)}
    compare(g.model(), inputs, tolerance=1e-6)
    g.output(g.add("Add", columns, g.constant(numbers(4, 6))), "sum", "float32", [4, 6])
    compare(g.model(), inputs, tolerance=1e-6)


def test_an_integer_product_reads_a_transposed_constant() -> None:
    table = np.random.default_rng(5).integers(-127, 128, (9, 4)).astype(np.int8)
    g = GraphBuilder("integers")
    activation = g.add("Cast", g.input("a", "float32", [1, 4]), to=TensorProto.UINT8)
    columns = g.add("Transpose", g.constant(table), perm=[1, 0])
    sums = g.add("MatMulInteger", activation, columns, g.constant(np.array(64, np.uint8)))
    g.output(sums, "y", "int32", [1, 9])
    compare(g.model(), {"a": np.array([[1, 127, 64, 3]], np.float32)})


@pytest.mark.parametrize("width", [1, 3, 64, 129])
def test_floats_times_int8_rows_are_a_dynamic_range_product(width: int) -> None:
    """TFLite's own kernel quantizes the activations: within half a step of 8 bits, from one copy of the rows."""
    table = np.random.default_rng(width).integers(-127, 128, (50, width)).astype(np.int8)
    g = GraphBuilder("dynamic")
    a, rows = g.input("a", "float32", [1, width]), g.input("rows", "int32", [2])
    w = g.constant(table, "w")
    g.output(g.add("Gemm", a, g.add("Cast", w, to=TensorProto.FLOAT), transB=1), "y", "float32", [1, 50])
    g.output(g.add("Cast", g.add("Gather", w, rows, axis=0), to=TensorProto.INT32), "picked", "int32", [2, width])
    data, versions = lower(g.model())
    assert versions["FULLY_CONNECTED"] == 6
    assert data.count(table.tobytes()) == 1
    assert table.astype(np.float32).tobytes() not in data
    for seed in range(10):
        inputs = {"a": numbers(1, width, seed=seed), "rows": np.array([49, 0], np.int32)}
        expected, found = run_both(g.model(), inputs)
        np.testing.assert_array_equal(found["picked"], expected["picked"])
        step = 2 * np.abs(inputs["a"]).max() / 254
        bound = 0.51 * step * np.abs(table.astype(np.float64)).sum(axis=1) + 1e-4
        assert (np.abs(found["y"] - expected["y"])[0] <= bound).all()


def test_int8_rows_as_floats_are_floats_for_anything_else() -> None:
    table = np.random.default_rng(6).integers(-127, 128, (4, 4)).astype(np.int8)
    g = GraphBuilder("floats")
    a = g.input("a", "float32", [4, 4])
    w = g.add("Cast", g.constant(table, "w"), to=TensorProto.FLOAT)
    g.output(g.add("Add", a, w), "sum", "float32", [4, 4])
    g.output(g.add("Gemm", a, w), "product", "float32", [4, 4])
    g.output(g.add("Gemm", a, w, a, transB=1), "with a bias", "float32", [4, 4])
    assert "FULLY_CONNECTED" not in lower(g.model())[1]
    compare(g.model(), {"a": numbers(4, 4)}, tolerance=1e-6)


def test_a_value_with_no_elements() -> None:
    g = GraphBuilder("empty")
    a = g.input("a", "float32", [3])
    g.output(g.add("Add", g.add("Gather", a, g.constant(np.empty(0, np.int32)), axis=0),
                   g.constant(np.empty(0, np.float32))), "y", "float32", [0])  # fmt: skip
    compare(g.model(), {"a": numbers(3)})


# --- refusals --------------------------------------------------------------------------------------------------------


def _node(operator: str, inputs: Arrays, constants: Arrays | None = None, **attributes: Any) -> onnx.ModelProto:
    return Case("", operator, inputs, constants or {}, attributes=attributes).model()


LSTM = {"x": numbers(2, 1, 3), "w": numbers(1, 16, 3), "r": numbers(1, 16, 4)}
K = np.array([2], np.int64)
REFUSED: list[tuple[str, Callable[[], onnx.ModelProto], str]] = [
    ("Erf", lambda: _node("Erf", {"a": numbers(3)}), "operator Erf has no TFLite form"),
    ("LSTM", lambda: _node("LSTM", LSTM, hidden_size=4), "operator LSTM has no TFLite form"),
    ("Gemm alpha", lambda: _node("Gemm", {"a": numbers(2, 2), "b": numbers(2, 2)}, alpha=0.5), "alpha = beta = 1"),
    ("Gemm beta", lambda: _node("Gemm", {n: numbers(2, 2) for n in "abc"}, beta=2.0), "alpha = beta = 1"),
    ("Gemm int", lambda: _node("Gemm", {"a": integers(2, 2), "b": integers(2, 2)}), "not for int32"),
    ("TopK smallest", lambda: Case("", "TopK", {"a": numbers(5)}, {"k": K}, (), {"largest": 0}, outputs=2).model(),
     "only the largest along the last axis"),
    ("TopK first axis", lambda: Case("", "TopK", {"a": numbers(5, 3)}, {"k": K}, (), {"axis": 0}, outputs=2).model(),
     "only the largest along the last axis"),
    ("MatMul of a vector", lambda: _node("MatMul", {"a": numbers(3), "b": numbers(3, 2)}), "needs two matrices"),
    ("MatMul by a vector", lambda: _node("MatMul", {"a": numbers(2, 3)}, {"b": numbers(3)}), "needs two matrices"),
    ("MatMul int", lambda: _node("MatMul", {"a": integers(2, 2), "b": integers(2, 2)}), "not for int32"),
    ("MatMulInteger without zero point", lambda: _integer_product((1, 3), np.ones((3, 2), np.int8)), "zero point"),
    ("MatMulInteger unsigned", lambda: _integer_product((1, 3), np.ones((3, 2), np.uint8), 64), "int8 matrix"),
    ("Max of three", lambda: _node("Max", {n: numbers(3) for n in "abc"}), "has 3 inputs, only 2"),
    ("Min of one", lambda: _node("Min", {"a": numbers(3)}), "has 1 inputs, only 2"),
    ("Abs int", lambda: _node("Abs", {"a": integers(3)}), "not for int32, only for float32"),
    ("Relu int", lambda: _node("Relu", {"a": integers(3)}), "not for int32, only for float32"),
    ("Add in 5-d", lambda: _node("Add", {"a": numbers(1, 1, 1, 1, 2), "b": numbers(2)}), "at most 4 dimensions"),
    ("Cast to double", lambda: _node("Cast", {"a": numbers(3)}, to=TensorProto.DOUBLE), "value y0 has a type"),
    ("half precision", lambda: _node("Abs", {"a": numbers(3).astype(np.float16)}), "value a has a type"),
    ("Reshape to a computed shape", lambda: _node("Reshape", {"a": numbers(4), "s": np.array([4])}),
     "the shape must be constant"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "reason"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED])
def test_what_is_not_on_the_list_is_refused(make: Callable[[], onnx.ModelProto], reason: str) -> None:
    with pytest.raises(UnsupportedOperatorError) as caught:
        lower(make())
    error = caught.value
    assert reason in error.problem
    assert error.place.startswith(("node ", "graph ")), "names the node"
    assert "--target onnx" in error.remedy


def test_an_unknown_operator_is_answered_with_the_list() -> None:
    with pytest.raises(UnsupportedOperatorError) as caught:
        lower(_node("Erf", {"a": numbers(3)}))
    assert caught.value.place == "node y0 of graph made"
    assert all(operator in caught.value.remedy for operator in OPERATORS)
