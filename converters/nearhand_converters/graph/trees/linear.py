"""Linear leaves in the graph: each leaf looks up the inputs that it reads, and its coefficients for them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.graph.inputs import GraphInputs
from nearhand_converters.graph.trees.form import Number, Trees
from nearhand_converters.graph.trees.layout import Layout


def centred(trees: Trees) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """For each leaf a point near the rows that reach it, and its value there.

    Around 0, a leaf that is reached with inputs near a million would be the difference of two large numbers, which
    float32 rounds. Of each input, the ends of what reaches the leaf are tried, and 0; where the leaf's value is the
    smallest, rows are near, for scores are not large.

    Returns:
        Points float32 [nodes, number inputs] and values float64 [nodes].
    """
    assert trees.linear is not None
    low = np.full(trees.linear.coefficients.shape, -np.inf)
    high = -low
    for node in np.flatnonzero(~trees.is_leaf):  # parents come before their children
        column, threshold = trees.columns[trees.column[node]], trees.threshold[node]
        children = [trees.left[node], trees.right[node]]
        low[children], high[children] = low[node], high[node]
        if isinstance(column, Number):
            high[children[0], column.feature] = min(high[node, column.feature], threshold)
            low[children[1], column.feature] = max(low[node, column.feature], threshold)
    point = np.zeros(low.shape, np.float32)
    value = trees.linear.constants.copy()
    for feature, slope in enumerate(trees.linear.coefficients.T):
        start = value.copy()
        for end in (low[:, feature], high[:, feature]):
            usable = np.where(np.abs(end) < np.finfo(np.float32).max, end, 0.0).astype(np.float32)
            there = start + slope * usable
            better = np.abs(there) < np.abs(value)
            point[better, feature], value[better] = usable[better], there[better]
    return point, value


def linear_values(
    g: GraphBuilder,
    trees: Trees,
    inputs: GraphInputs,
    layout: Layout,
    at: str,
    tables: list[NDArray[np.float32]],
    points: NDArray[np.float32],
) -> str:
    """What the leaves give, float32 [batch, trees, 3]: a coarse part, a fine one, and the part that is linear.

    Args:
        at: the leaves that were reached, as numbers of ``layout``, int32 [batch, trees].
        tables: of the plain values and of the values at ``points``, their two parts [nodes of layout, 1, 2].
        points: see :func:`centred`.
    """
    assert trees.linear is not None
    plain, at_point = (table[:, 0] for table in tables)
    uses, coefficients = trees.linear.uses[layout.node], trees.linear.coefficients[layout.node]
    count = len(layout.depths)

    # Unused places of a leaf read a column of zeros behind the inputs.
    most = max(1, int(uses.sum(axis=1).max()))
    first = np.argsort(~uses, axis=1, kind="stable")[:, :most]
    used = np.take_along_axis(uses, first, axis=1)
    places = np.where(used, first, uses.shape[1]).astype(np.int32)
    slopes, centres = (
        np.where(used, np.take_along_axis(every, first, axis=1), 0.0).astype(np.float32)
        for every in (coefficients, points[layout.node])
    )
    numbers = g.add("Gather", inputs.numbers, g.constant(np.arange(uses.shape[1], dtype=np.int32)), axis=1)
    one = g.add("Gather", inputs.numbers, g.constant(np.array([0], np.int32)), axis=1)
    zero = g.add("Cast", g.add("Less", one, _number(g, -np.inf)), to=TensorProto.FLOAT)
    padded = g.add("Concat", numbers, zero, axis=1)

    place = g.add("Reshape", g.add("Gather", g.constant(places), at, axis=0), _shape(g, -1, count * most))
    place = g.declare(place, "int32", ["batch", count * most])
    x = g.add("Reshape", g.add("GatherElements", padded, place, axis=1), _shape(g, -1, count, most))
    slope, centre = (g.add("Gather", g.constant(table), at, axis=0) for table in (slopes, centres))
    product = g.add("ReduceSum", g.add("Mul", g.add("Sub", x, centre), slope), _shape(g, 2), keepdims=1)
    missing = g.add("ReduceMax", g.add("Cast", g.add("IsNaN", x), to=TensorProto.FLOAT), axes=[2], keepdims=1)

    linear = g.add("Concat", g.add("Gather", g.constant(at_point), at, axis=0), product, axis=2)
    padding = np.zeros((len(plain), 1), np.float32)
    constant = g.add("Gather", g.constant(np.concatenate([plain, padding], axis=1)), at, axis=0)
    return g.add("Where", g.add("Greater", missing, _number(g, 0.5)), constant, linear)


def _number(g: GraphBuilder, number: float) -> str:
    return g.constant(np.array(number, np.float32))


def _shape(g: GraphBuilder, *dimensions: int) -> str:
    return g.constant(np.array(dimensions))
