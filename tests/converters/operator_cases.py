"""A small ONNX graph for each operator that the TFLite writer knows and each of its types, with inputs at its edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[np.generic]
Node = onnx.NodeProto

ROWS = 7
BATCHES = (slice(0, 1), slice(1, 3), slice(0, ROWS))
"""Which rows of the inputs are a batch: of 1, 2 and 7."""

NAN, INF, TINY = np.float32(np.nan), np.float32(np.inf), np.float32(1e-40)
NUMBERS = ("float32", "int32")
COPIED = ("float32", "int32", "int8", "uint8", "int16", "bool")


@dataclass(frozen=True)
class Case:
    """A graph and its inputs.

    Attributes:
        inputs: name → rows; the first dimension is the batch.
        tolerance: how far, relatively, a float may be from the oracle's; 0 means equal.
        floor: what the tolerance is relative to where the number itself is smaller.
        saturates: whether kernels outside of XNNPACK give the largest number for infinity.
    """

    name: str
    model: onnx.ModelProto
    inputs: Mapping[str, Array]
    tolerance: float = 0.0
    floor: float = 1e-37
    saturates: bool = False


def graph(
    nodes: Sequence[Node],
    inputs: Mapping[str, Array],
    constants: Mapping[str, Array | np.generic] = {},
    outputs: int | Sequence[str] = 1,
    opset: int = 17,
) -> onnx.ModelProto:
    """A checked model whose inputs have a batch of any size; its outputs are the last node's, or those named."""
    names = list(nodes[-1].output)[:outputs] if isinstance(outputs, int) else outputs
    declared = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), ["batch", *a.shape[1:]])
        for name, a in inputs.items()
    ]
    bare = helper.make_graph(
        nodes,
        "case",
        declared,
        [onnx.ValueInfoProto(name=name) for name in names],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(bare, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    known = {info.name: info for info in onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output}
    for output in model.graph.output:
        output.CopyFrom(known[output.name])
    onnx.checker.check_model(model, full_check=True)
    return model


def numbers(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Ordinary float32 rows."""
    return np.random.Generator(np.random.PCG64(seed)).normal(size=(ROWS, *shape)).astype(np.float32) * 3


def special(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Float32 rows, some of NaN, infinities and zeros in each; one of −1 and 1."""
    rows = numbers(*shape, seed=seed).reshape(ROWS, -1)
    edges = np.array([NAN, INF, -INF, 0, -0.0], np.float32)[: rows.shape[1]]
    rows[:, : len(edges)] = [np.roll(edges, i) for i in range(ROWS)]
    rows[5, :2] = [-1, 1]
    return rows.reshape(ROWS, *shape)


def of(dtype: str, *shape: int, seed: int = 0) -> Array:
    """Rows of a type, with its smallest and largest number."""
    if dtype == "float32":
        return special(*shape, seed=seed)
    generator = np.random.Generator(np.random.PCG64(seed))
    if dtype == "bool":
        return generator.integers(0, 2, (ROWS, *shape)).astype(bool)
    limits = np.iinfo(dtype)
    rows = generator.integers(max(limits.min, -99), min(limits.max, 99), (ROWS, *shape)).astype(dtype)
    rows.reshape(ROWS, -1)[:, :2] = [limits.min, limits.max]
    return rows


def one(
    name: str, operator: str, *inputs: Array, constants: Sequence[Array | np.generic | None] = (), **options: Any
) -> Case:
    """A case of one node: its inputs, then its constants; a None leaves one out."""
    given = {f"x{i}": array for i, array in enumerate(inputs)}
    fixed = {f"c{i}": array for i, array in enumerate(constants) if array is not None}
    names = [*given, *("" if array is None else f"c{i}" for i, array in enumerate(constants))]
    kept = {key: options.pop(key) for key in ("tolerance", "floor", "saturates") if key in options}
    count = options.pop("outputs", 1)
    node = helper.make_node(operator, names, [f"y{i}" for i in range(count)], **options)
    return Case(name, graph([node], given, fixed, outputs=count), given, **kept)


def f32(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def i64(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def arithmetic() -> list[Case]:
    cases = []
    for operator in ("Add", "Sub", "Mul", "Div"):
        x, y = special(6), np.roll(special(6, seed=1), 2, axis=1)
        cases.append(one(f"{operator} float32", operator, x, y, saturates=True, tolerance=1e-6))
        cases.append(
            one(f"{operator} float32 by a row", operator, x, constants=[numbers(6)[0]], tolerance=1e-6, saturates=True)
        )
        cases.append(
            one(f"{operator} float32 of a column", operator, special(6), numbers(1), tolerance=1e-6, saturates=True)
        )
        a, b = (of("int32", 6, seed=seed)[:, 2:] for seed in (0, 1))
        cases.append(one(f"{operator} int32", operator, a, np.where(b == 0, np.int32(7), b)))
        cases.append(one(f"{operator} int32 by a number", operator, a, constants=[np.int32(-3)]))
    cases += [one(f"Neg {dtype}", "Neg", of(dtype, 6)) for dtype in NUMBERS]
    cases.append(one("Abs float32", "Abs", special(6)))
    for dtype in ("float32", "int32", "int8", "uint8", "int16"):
        for operator in ("Max", "Min"):
            cases.append(one(f"{operator} {dtype}", operator, of(dtype, 6), of(dtype, 6, seed=3)[:, ::-1].copy()))
            cases.append(
                one(f"{operator} {dtype} with a number", operator, of(dtype, 6), constants=[np.array(2, dtype)])
            )
    for operator in ("Max", "Min"):
        row = numbers(6)[0]
        cases.append(one(f"{operator} float32 with a row", operator, special(6), constants=[row]))
        column = np.array([NAN, 1, 2, -INF, INF, 0, NAN], np.float32)[:, None]
        cases.append(one(f"{operator} float32 of a column with a number", operator, column, constants=[f32(0.5)]))
        cases.append(one(f"{operator} float32 of a column with rows", operator, column, special(6)))
    return cases


def functions() -> list[Case]:
    line = np.linspace(-80, 80, ROWS * 600, dtype=np.float32).reshape(ROWS, 600)
    far = np.array([[NAN, INF, -INF, 0, -0.0, 88.5, -86], *[[1, 1e-3, -1e-3, 10, 50, 88, -50]] * 6], np.float32)
    every = np.concatenate([line, far], axis=1)
    positive = np.exp(np.linspace(-87, 87.5, ROWS * 600)).astype(np.float32).reshape(ROWS, 600)
    edge = np.array([[NAN, INF, -INF, 0, -0.0, -1, 3e38], *[[1, 2, 4, 1e38, 9e37, 1.7e-38, 0.5]] * 6], np.float32)
    roots = np.concatenate([positive, np.where(np.isneginf(edge), NAN, edge)], axis=1)
    logs = np.concatenate([positive, np.where(edge == np.float32(3e38), np.float32(1), edge)], axis=1)
    halves = np.arange(-10, 11, dtype=np.float32).reshape(ROWS, 3) / 2
    return [
        one("Exp", "Exp", every, tolerance=1e-6),
        one("Log", "Log", logs, tolerance=1e-6, floor=1),
        one("Sqrt", "Sqrt", roots, tolerance=1e-6),
        one("Sigmoid", "Sigmoid", every, tolerance=2e-7, floor=1),
        one("Tanh", "Tanh", every, tolerance=2e-6),
        one("Floor", "Floor", every),
        one("Round", "Round", np.concatenate([every, halves], axis=1)),
        one("Sign", "Sign", special(6)),
        one("Relu", "Relu", special(6)),
        one("LeakyRelu", "LeakyRelu", special(6), alpha=0.25),
        one("LeakyRelu by default", "LeakyRelu", special(6), tolerance=1e-6),
        one("Pow", "Pow", np.abs(special(6)), np.abs(special(6, seed=1))[:, ::-1].copy(), tolerance=2e-6),
        one("Pow of 2", "Pow", special(6), constants=[np.float32(2)], saturates=True, tolerance=1e-6),
        one("Pow of a row of 2", "Pow", special(6), constants=[f32(2)], saturates=True, tolerance=1e-6),
        one("Pow of an integer", "Pow", special(6), constants=[i64(3)], tolerance=1e-6),
        one("Pow of an int32", "Pow", of("int32", 6)[:, 2:], constants=[np.int32(2)]),
        one("Clip", "Clip", special(6), constants=[np.float32(-1), np.float32(2)]),
        one("Clip below", "Clip", special(6), constants=[np.float32(-1)], saturates=True),
        one("Clip above", "Clip", special(6), constants=[None, np.float32(2)], saturates=True),
        one("Clip a column", "Clip", special(6)[:, :1].copy(), constants=[np.float32(-1), np.float32(2)]),
        one("Clip int32", "Clip", of("int32", 6), constants=[np.int32(1), np.int32(9)]),
        one("Softmax", "Softmax", np.concatenate([special(6), numbers(6)], axis=1), axis=-1, tolerance=1e-6),
        one("Softmax far apart", "Softmax", numbers(5) * 20, axis=1, tolerance=1e-6, floor=1e-3),
        one("Softmax of 3 axes", "Softmax", numbers(3, 4), axis=2, tolerance=1e-6),
    ]  # fmt: skip


def choices() -> list[Case]:
    cases = []
    for operator in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"):
        for dtype in ("float32", "int32", "int8", "uint8", "int16"):
            x, y = of(dtype, 6), np.sort(of(dtype, 6), axis=1)
            y[:, 3:] = x[:, 3:]
            cases.append(one(f"{operator} {dtype}", operator, x, y))
            cases.append(one(f"{operator} {dtype} with a row", operator, x, constants=[x[4]]))
            cases.append(
                one(f"{operator} {dtype} with thresholds", operator, x[:, :, None].copy(), constants=[x[:3].T])
            )
        smallest = np.float32(1e-45) * np.array([-3, -2, -1, 0, 1, 2, 3], np.float32)[:, None]
        cases.append(one(f"{operator} of the smallest numbers", operator, smallest, constants=[smallest.ravel()]))
    cases.append(one("Equal bool", "Equal", of("bool", 6), of("bool", 6, seed=1)))
    for operator in ("And", "Or"):
        cases.append(one(operator, operator, of("bool", 6), of("bool", 6, seed=1)))
        cases.append(one(f"{operator} with a row", operator, of("bool", 6), constants=[of("bool", 6)[0]]))
    cases.append(one("Not", "Not", of("bool", 6)))
    cases.append(one("IsNaN", "IsNaN", np.concatenate([special(6), np.full((ROWS, 1), TINY)], axis=1)))
    for dtype in COPIED:
        condition = of("bool", 6, seed=5)
        cases.append(one(f"Where {dtype}", "Where", condition, of(dtype, 6), of(dtype, 6, seed=1)))
        mixed = graph(
            [helper.make_node("Where", ["x0", "c0", "x1"], ["y"])],
            {"x0": condition, "x1": of(dtype, 6)},
            {"c0": of(dtype, 6)[1, :1]},
        )
        cases.append(Case(f"Where {dtype} with a number", mixed, {"x0": condition, "x1": of(dtype, 6)}))
    # Kernels of XNNPACK, which take the smallest numbers for zero, before and beside the comparison.
    x = np.float32(1e-45) * np.array([[-2, -1, 0, 1, 2, 3]] * ROWS, np.float32)
    x[:, 5] = NAN
    beside = graph(
        [
            helper.make_node("IsNaN", ["x"], ["absent"]),
            helper.make_node("Where", ["absent", "least", "x"], ["known"]),
            helper.make_node("Greater", ["known", "thresholds"], ["above"]),
            helper.make_node("Mul", ["known", "known"], ["square"]),
            helper.make_node("Cast", ["above"], ["places"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Add", ["places", "square"], ["y"]),
        ],
        {"x": x},
        {"least": f32(-1), "thresholds": x[0, [1, 1, 1, 2, 3, 0]]},
    )
    cases.append(Case("Greater among other operators, of the smallest numbers", beside, {"x": x}, tolerance=1e-30))
    return cases


def casts() -> list[Case]:
    cases = []
    for source in COPIED:
        for target in COPIED:
            x = of(source, 6)
            if source == "float32" and target != "bool":
                x = np.array([[0, -0.0, 1, 2.5, 99.99, 127]] * ROWS, np.float32)
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(target))
            cases.append(one(f"Cast {source} to {target}", "Cast", x, to=kind))
    x = of("int32", 6)
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=onnx.TensorProto.INT64),
        helper.make_node("Add", ["wide", "one"], ["more"]),
        helper.make_node("Cast", ["more"], ["y"], to=onnx.TensorProto.INT32),
    ]
    cases.append(Case("Cast to int64 and back", graph(nodes, {"x": x[:, 2:]}, {"one": i64(1)}), {"x": x[:, 2:]}))
    return cases


def moves() -> list[Case]:
    cases = []
    places = np.random.Generator(np.random.PCG64(3)).integers(0, 6, (ROWS, 9)).astype(np.int32)
    for dtype in COPIED:
        x = of(dtype, 6)
        cases += [
            one(f"Gather {dtype} columns", "Gather", x, constants=[i64(5, 0, 0, 3)], axis=1),
            one(f"GatherElements {dtype}", "GatherElements", x, places, axis=1),
            one(f"Concat {dtype}", "Concat", x, of(dtype, 2, seed=1), x, axis=1),
            one(f"Reshape {dtype}", "Reshape", x, constants=[i64(-1, 2, 3)]),
            one(f"Transpose {dtype}", "Transpose", of(dtype, 3, 2), perm=[0, 2, 1]),
            one(f"Slice {dtype}", "Slice", x, constants=[i64(1), i64(2**63 - 1), i64(1), i64(2)]),
        ]
        table = x.copy()
        rows = np.arange(ROWS * 2, dtype=np.int32).reshape(ROWS, 2) % ROWS
        look_up = graph([helper.make_node("Gather", ["table", "x"], ["y"], axis=0)], {"x": rows}, {"table": table})
        cases.append(Case(f"Gather {dtype} rows", look_up, {"x": rows}))
        if dtype != "int16":
            cases.append(one(f"Tile {dtype}", "Tile", x, constants=[i64(1, 3)]))
            cases.append(one(f"Expand {dtype}", "Expand", of(dtype, 2, 1), constants=[i64(1, 1, 3)]))
        if dtype != "bool":
            cases.append(one(f"Split {dtype}", "Split", x, constants=[i64(1, 2, 3)], axis=1, outputs=3))
    x = special(6)
    deep = special(3, 4)
    cases += [
        one("Gather one column", "Gather", x, constants=[np.array(2, np.int64)], axis=-1),
        one("Gather columns in two axes", "Gather", x, constants=[np.array([[0, 1], [5, 2]], np.int64)], axis=1),
        one("Gather of the middle axis", "Gather", deep, constants=[i64(2, 0)], axis=1),
        one("GatherElements of 3 axes", "GatherElements", deep, np.tile(places[:, None, :2] % 4, (1, 3, 1)), axis=2),
        one("GatherElements of one column", "GatherElements", x, places[:, :1].copy(), axis=-1),
        one("Concat of 3 axes", "Concat", deep, deep, axis=-2),
        one("Reshape keeping the batch", "Reshape", deep, constants=[i64(0, -1)]),
        one("Reshape to a column", "Reshape", x[:, 0].copy(), constants=[i64(-1, 1)]),
        one("Flatten", "Flatten", deep, axis=1),
        one("Squeeze", "Squeeze", special(1, 6), constants=[i64(1)]),
        one("Unsqueeze", "Unsqueeze", x, constants=[i64(1, 3)]),
        one("Expand to more axes", "Expand", x[:, :1].copy(), constants=[i64(1, 4)]),
        one("Expand nothing", "Expand", x, constants=[i64(1, 6)]),
        one("Slice from the end", "Slice", x, constants=[i64(-3), i64(-1), i64(-1)]),
        one("Slice two axes", "Slice", deep, constants=[i64(1, 0), i64(3, 4), i64(1, 2), i64(1, 3)]),
        one("Split evenly", "Split", x, axis=-1, outputs=2),
        one("Transpose the batch away", "Transpose", deep, perm=[1, 2, 0]),
    ]
    nodes = [
        helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.array(2, np.float32))),
        helper.make_node("Constant", [], ["three"], value_float=3.0),
        helper.make_node("Constant", [], ["axes"], value_ints=[1]),
        helper.make_node("Identity", ["two"], ["too"]),
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Mul", ["same", "too"], ["twice"]),
        helper.make_node("Add", ["twice", "three"], ["more"]),
        helper.make_node("Unsqueeze", ["more", "axes"], ["y"]),
    ]
    cases.append(Case("Constant and Identity", graph(nodes, {"x": numbers(6)}), {"x": numbers(6)}))
    nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["y"], ["z"])]
    cases.append(Case("outputs that are the input", graph(nodes, {"x": x}, outputs=["y", "z"]), {"x": x}))
    return cases


def reductions() -> list[Case]:
    ties = np.array([[0, 3, 3, 1], [2, 2, 2, 2], [9, 0, 0, 9], [-1, -2, -3, -3], *[[5, 4, 6, 6]] * 3])
    wide = np.tile(ties, (1, 30))
    cases = []
    for dtype in ("float32", "int32", "int8", "uint8"):
        for operator in ("ArgMax", "ArgMin"):
            cases.append(one(f"{operator} {dtype}", operator, ties.astype(dtype), axis=1, keepdims=0))
            cases.append(one(f"{operator} {dtype} of many", operator, wide.astype(dtype), axis=-1))
    for dtype in ("float32", "int32", "int8", "uint8"):
        for operator in ("ReduceMax", "ReduceMin"):
            x = of(dtype, 6)
            cases.append(one(f"{operator} {dtype}", operator, np.nan_to_num(x) if dtype == "float32" else x, axes=[1]))
    for dtype in NUMBERS:
        x = numbers(3, 40) if dtype == "float32" else of(dtype, 3, 40)[..., 2:]
        cases.append(one(f"ReduceSum {dtype}", "ReduceSum", x, constants=[i64(-1)], tolerance=1e-6, floor=100))
        cases.append(
            one(
                f"ReduceSum {dtype} of two axes",
                "ReduceSum",
                x,
                constants=[i64(1, 2)],
                keepdims=0,
                tolerance=1e-6,
                floor=100,
            )
        )
        cases.append(one(f"ReduceSum {dtype} of all", "ReduceSum", x, keepdims=0, tolerance=1e-6, floor=100))
    cases.append(
        one("ReduceSum of NaN and infinity", "ReduceSum", special(6)[:, :4].copy(), constants=[i64(1)], tolerance=1e-6)
    )
    cases.append(one("ReduceMean", "ReduceMean", numbers(3, 40) + 5, axes=[2], keepdims=0, tolerance=2e-6))
    cases.append(one("ReduceMean of the batch", "ReduceMean", numbers(6) + 5, axes=[0], tolerance=2e-6))
    cases.append(one("TopK", "TopK", ties.astype(np.float32), constants=[i64(3)], outputs=2))
    cases.append(one("TopK int32", "TopK", ties.astype(np.int32), constants=[i64(4)], axis=1, outputs=2))
    return cases


def products() -> list[Case]:
    x, square = numbers(6), numbers(6, 6)
    w, wide = numbers(6)[:6].copy(), numbers(500)[:6].copy()
    near: dict[str, Any] = {"tolerance": 1e-6, "floor": 10.0}
    scalar_nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Reshape", ["s", "shape"], ["t"]),
        helper.make_node("Gemm", ["t", "row"], ["y"]),
    ]
    looked_up = [
        helper.make_node("Gemm", ["x", "table"], ["p"], transB=1),
        helper.make_node("Gather", ["table", "i"], ["q"]),
        helper.make_node("Concat", ["p", "q"], ["y"], axis=0),
    ]
    flipped = [helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]), helper.make_node("MatMul", ["x", "t"], ["y"])]
    given = {"x": x}
    return [
        one("MatMul", "MatMul", x, constants=[wide], **near),
        one("MatMul of one column", "MatMul", x, constants=[w[:, :1].copy()], **near),
        one("MatMul of a stack", "MatMul", square, constants=[w], **near),
        one("MatMul of two inputs", "MatMul", square, square, **near),
        Case("MatMul with a transposed constant", graph(flipped, given, {"w": w}), given, 1e-6, 10),
        one("Gemm", "Gemm", x, constants=[wide, numbers(500)[0]], **near),
        one("Gemm without a bias", "Gemm", x, constants=[w], **near),
        one("Gemm transposed", "Gemm", x, constants=[w[:3].copy(), f32(1, 2, 3)], transB=1, **near),
        one("Gemm with one number", "Gemm", x, constants=[w, f32(4)], **near),
        one("Gemm with a column of an input", "Gemm", x, constants=[w, numbers(6)[:1].copy()], **near),
        one("Gemm of NaN and infinity", "Gemm", special(6), constants=[w, w[0].copy()], saturates=True, **near),
        Case("Gemm of a scalar",
             graph(scalar_nodes, given, {"shape": i64(1, 1), "row": w[:1].copy()}), given, 2e-6, 10),
        Case("Gemm with a table that is looked up too",
             graph(looked_up, given, {"table": w.copy(), "i": i64(2, 0)}), given, 1e-6, 10),
    ]  # fmt: skip


CASES = [*arithmetic(), *functions(), *choices(), *casts(), *moves(), *reductions(), *products()]
