"""int8 rows, and the rewriting of graphs to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.graph.fold_in import FoldIn, fold_in_graph
from nearhand_converters.graph.index import index_graph
from nearhand_converters.quantize.int8 import quantize_int8
from nearhand_converters.quantize.rows import quantize_rows
from nearhand_converters.targets.tflite.lowering import lower
from tests.converters.engines import OnnxModel, TFLiteModel, flatbuffer, with_outputs
from tests.converters.factors import whitened

tables = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.floats(-(2.0**100), 2.0**100, width=32),
)


@given(tables)
def test_rows_come_back_within_half_a_step(table: NDArray[np.float32]) -> None:
    quantized = quantize_rows(table)
    assert [quantized.values.dtype.name, quantized.scales.dtype.name] == ["int8", "float32"]
    assert (quantized.scales > 0).all()
    assert np.abs(quantized.values.astype(int)).max() <= 127
    # Exactly half a step, but for the float32 quotient that was rounded.
    error = np.abs(quantized.values * quantized.scales[:, None].astype(np.float64) - table)
    assert (error <= quantized.scales[:, None] * (0.5 + 1e-4)).all()


@given(tables)
def test_the_largest_of_each_row_is_127_and_quantizing_again_changes_nothing(table: NDArray[np.float32]) -> None:
    quantized = quantize_rows(table)
    largest = np.abs(table).max(axis=1)
    np.testing.assert_array_equal(np.abs(quantized.values.astype(int)).max(axis=1), np.where(largest > 1e-30, 127, 0))
    again = quantize_rows(quantized.dequantized())
    np.testing.assert_array_equal(again.values, quantized.values)
    np.testing.assert_allclose(again.scales, quantized.scales, rtol=1e-6)


@pytest.mark.parametrize("tiny", [0.0, -0.0, 1e-45, 1e-40, 1e-31])
def test_a_row_of_almost_nothing_is_zeros_with_scale_1(tiny: float) -> None:
    quantized = quantize_rows(np.full((2, 3), tiny, np.float32))
    assert not quantized.values.any()
    np.testing.assert_array_equal(quantized.scales, [1, 1])


def test_minus_128_is_never_used() -> None:
    table = np.array([[-1.0, 1.0, -0.999999, 0.5]], np.float32)
    np.testing.assert_array_equal(quantize_rows(table).values, [[-127, 127, -127, 64]])


def graphs(table: NDArray[np.float32]) -> dict[str, onnx.ModelProto]:
    return {"encoder": fold_in_graph(FoldIn(table, 8, 12)), "index": index_graph(table)}


@pytest.mark.parametrize("role", ["encoder", "index"])
def test_inputs_and_outputs_stay_and_the_argument_is_unchanged(role: str) -> None:
    model = graphs(whitened(300, 16))[role]
    before = model.SerializeToString(deterministic=True)
    small = quantize_int8(model)
    assert model.SerializeToString(deterministic=True) == before
    assert list(small.graph.input) == list(model.graph.input)
    assert list(small.graph.output) == list(model.graph.output)


@pytest.mark.parametrize("role", ["encoder", "index"])
def test_the_table_is_int8_and_no_float_copy_of_it_is_left(role: str) -> None:
    items, factors = 3000, 32
    model = graphs(whitened(items, factors))[role]
    small = quantize_int8(model)
    constants = [numpy_helper.to_array(tensor) for tensor in small.graph.initializer]
    large = [array for array in constants if array.size > items + 2]
    assert [(array.dtype.name, array.size // factors - items) for array in large] == [
        ("int8", 2 if role == "encoder" else 0)
    ]
    # One byte a factor and four for the scale of each item; the rest is the graph itself.
    payload = items * (factors + 4)
    onnx_graph = model.ByteSize() - items * factors * 4
    assert small.ByteSize() < payload + onnx_graph + 2000
    data, _ = lower(small)
    assert len(data) < payload + (len(lower(model)[0]) - items * factors * 4) + 6000
    sizes = [buffer.data.size for buffer in flatbuffer(data).buffers if buffer.data is not None]
    assert sum(size >= items * factors for size in sizes) == 1
    assert max(sizes) < items * factors * 1.01


def test_what_no_rewrite_matches_stays_float32() -> None:
    """A Gather from a computed value, from an integer table, and a TopK that is no retrieval."""
    g = GraphBuilder("other")
    x, rows = g.input("x", "float32", [4, 3]), g.input("rows", "int32", [2])
    computed = g.add("Gather", g.add("Relu", x), rows, axis=0)
    integers = g.add("Gather", g.constant(np.arange(12, dtype=np.int32).reshape(4, 3)), rows, axis=0)
    top, _ = g.add_many("TopK", 2, x, g.constant(np.array([2], np.int64)), axis=1)
    g.output(computed, "computed", "float32", [2, 3])
    g.output(integers, "integers", "int32", [2, 3])
    g.output(top, "top", "float32", [4, 2])
    model = g.model()
    inputs = {"x": np.arange(12, dtype=np.float32).reshape(4, 3) - 5, "rows": np.array([3, 0], np.int32)}
    expected, found = OnnxModel(model).run(inputs), OnnxModel(quantize_int8(model)).run(inputs)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def _one(model: onnx.ModelProto, operator: str) -> onnx.NodeProto:
    found: onnx.NodeProto
    (found,) = [node for node in model.graph.node if node.op_type == operator]
    return found


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), scale=st.sampled_from([1e-20, 1e-3, 1.0, 1e6]), zeros=st.booleans())
def test_activations_are_seven_bits_and_sums_are_exact(seed: int, scale: float, zeros: bool) -> None:
    table = _TABLE
    generator = np.random.Generator(np.random.PCG64(seed))
    user = np.zeros((1, 32), np.float32) if zeros else (generator.normal(size=(1, 32)) * scale).astype(np.float32)
    product = _one(_SMALL, "MatMulInteger")
    outputs = _PROBED.run({"user_vector": user, "k": np.array([5], np.int32)})
    activation, sums = outputs[product.input[0]], outputs[product.output[0]]
    assert activation.dtype == np.uint8
    assert 1 <= activation.min() <= activation.max() <= 127
    if not zeros:
        assert np.abs(activation.astype(int) - 64).max() == 63
    centred = activation.astype(np.int64) - 64
    np.testing.assert_array_equal(sums, centred @ quantize_rows(table).values.T.astype(np.int64))


def _probed() -> tuple[NDArray[np.float32], onnx.ModelProto, OnnxModel]:
    table = whitened(500, 32)
    small = quantize_int8(index_graph(table))
    product = _one(small, "MatMulInteger")
    kinds = {product.input[0]: TensorProto.UINT8, product.output[0]: TensorProto.INT32}
    return table, small, OnnxModel(with_outputs(small, **kinds))


_TABLE, _SMALL, _PROBED = _probed()


def _best(scores: NDArray[Any], k: int) -> set[int]:
    return set(np.argsort(-scores, kind="stable")[:k].tolist())


@pytest.mark.parametrize("factors", [8, 32, 64, 128])
def test_candidates_hold_the_true_top_ten_and_are_scored_by_their_own_rows(factors: int) -> None:
    """On rows whose lengths fall by a power law, as those of a trained catalogue do."""
    items = 4000
    table = whitened(items, factors, seed=factors)
    small = quantize_int8(index_graph(table))
    rows = quantize_rows(table).dequantized().astype(np.float64)
    generator = np.random.Generator(np.random.PCG64(factors))
    float_product = quantize_int8(index_graph(table), integer_product=False)
    for engine in (OnnxModel(small), TFLiteModel(small), OnnxModel(float_product), TFLiteModel(float_product)):
        for _ in range(30):
            user = generator.normal(size=4) @ table[generator.integers(0, 400, 4)]
            outputs = engine.run({"user_vector": user[None].astype(np.float32), "k": np.array([100], np.int32)})
            found = outputs["candidate_rows"]
            assert found.dtype == np.int32
            assert found.shape == (100,)
            assert len(set(found.tolist())) == 100
            assert _best(table.astype(np.float64) @ user, 10) <= set(found.tolist())
            np.testing.assert_array_equal(outputs["candidate_vectors"], quantize_rows(table).dequantized()[found])
            exact = rows[found] @ user.astype(np.float32)
            # Relative to the size of the terms: a score near zero is a difference of larger numbers.
            size = np.abs(rows[found]) @ np.abs(user)
            assert (np.abs(outputs["candidate_scores"] - exact) <= 1e-6 * size).all()
            positive = exact > 0.1 * size
            np.testing.assert_allclose(outputs["candidate_scores"][positive], exact[positive], rtol=1e-5)


@pytest.mark.parametrize("k", [1, 10, 499, 500])
def test_any_number_of_candidates(k: int) -> None:
    inputs = {"user_vector": _TABLE[:1], "k": np.array([k], np.int32)}
    for engine in (OnnxModel(_SMALL), TFLiteModel(_SMALL)):
        outputs = engine.run(inputs)
        assert outputs["candidate_rows"].shape == outputs["candidate_scores"].shape == (k,)
        assert outputs["candidate_vectors"].shape == (k, 32)
        assert set(outputs["candidate_rows"].tolist()) <= set(range(500))


def test_both_engines_choose_the_same_candidates() -> None:
    """Integer sums, so there is nothing to round differently."""
    onnx_model, tflite_model = OnnxModel(_SMALL), TFLiteModel(_SMALL)
    for user in _TABLE[::10]:
        inputs = {"user_vector": user[None], "k": np.array([100], np.int32)}
        np.testing.assert_array_equal(
            onnx_model.run(inputs)["candidate_rows"], tflite_model.run(inputs)["candidate_rows"]
        )
