"""Trees as plain operators: all trees go down one level at a time, by table look-ups and one comparison.

``node ← left[node] + (value of the column of node > threshold of node)``, where children stand side by side and a leaf
is its own left child with a threshold that nothing exceeds. The values are float32 numbers, and the thresholds are
rounded down to float32; or the values are ranks from outside, and the thresholds are their ranks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from nearhand_converters.errors import UnsupportedModelError
from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.graph.inputs import GraphInputs
from nearhand_converters.graph.trees.columns import Matrix, column_matrix, column_thresholds
from nearhand_converters.graph.trees.form import Trees, floor32
from nearhand_converters.graph.trees.layout import Layout, by_level, with_nothing


def scores(g: GraphBuilder, trees: Trees, inputs: GraphInputs) -> str:
    """See :func:`nearhand_converters.graph.trees.lower.tree_scores`.

    Trees of one output stand together. Every output gets as many, with trees that add 0 where it has fewer.
    """
    outputs = len(trees.base)
    shared = trees.values.shape[1] == outputs  # every tree adds to all outputs, or there is but one
    groups = [trees.roots] if shared else [trees.roots[trees.output == output] for output in range(outputs)]
    size = max(1, *map(len, groups))
    nothing = len(trees.column)
    roots = np.concatenate([np.pad(group, (0, size - len(group)), constant_values=nothing) for group in groups])
    trees = with_nothing(trees)
    layout = by_level(trees, roots.astype(np.int32))
    at = _descend(g, trees, inputs, layout)

    plain = trees.values[layout.node]
    group_of = layout.tree // size
    given = [plain] if trees.linear is None else [plain, trees.linear.constants[layout.node][:, None]]
    most = np.zeros((len(roots), plain.shape[1]))
    np.maximum.at(most, layout.tree, np.max(np.abs(given), axis=0))
    total = most.reshape(len(groups), size, -1).sum(axis=1).ravel() + np.abs(trees.base)
    grid = _grid(total)
    of_node = grid[None, :] if shared else grid[group_of][:, None]
    coarse, fine = _split(plain, of_node)
    table = np.stack([coarse, fine], axis=2).reshape(len(plain), -1)
    values = g.add("Gather", g.constant(table), at, axis=0)
    if trees.linear is not None:
        values = _linear_values(g, trees, inputs, layout, at, values, grid)
    grouped = g.add("Reshape", values, g.constant(np.array([-1, len(groups), size, table.shape[1]], np.int64)))
    sums = g.add("ReduceSum", grouped, g.constant(np.array([2], np.int64)), keepdims=0)
    pairs = g.add("Reshape", sums, g.constant(np.array([-1, outputs, 2], np.int64)))
    base = np.stack(_split(trees.base, grid), axis=1)[None]
    return g.add("ReduceSum", g.add("Add", pairs, g.constant(base)), g.constant(np.array([2], np.int64)), keepdims=0)


def leaves(g: GraphBuilder, trees: Trees, inputs: GraphInputs) -> str:
    """See :func:`nearhand_converters.graph.trees.lower.tree_leaves`."""
    layout = by_level(trees, trees.roots)
    return g.add("Gather", g.constant(layout.node), _descend(g, trees, inputs, layout), axis=0)


def _descend(g: GraphBuilder, trees: Trees, inputs: GraphInputs, layout: Layout) -> str:
    """The leaf that each row reaches in each tree, as a number of ``layout``, int32 [batch, trees]."""
    matrix, threshold = _questions(g, trees, inputs)
    node = layout.node
    inner = ~trees.is_leaf[node]
    columns = np.where(inner, matrix.place[trees.column[node]], 0).astype(np.int32)
    limits = np.where(inner, threshold[node], _most(threshold))
    count = int(layout.tree.max()) + 1

    # The first level's nodes are known.
    value = g.add("Gather", matrix.value, g.constant(columns[:count]), axis=1)
    greater = g.add("Greater", value, g.constant(limits[None, :count]))
    at = g.add("Add", g.constant(layout.left[None, :count]), g.add("Cast", greater, to=TensorProto.INT32))
    column, limit, left = (g.constant(table) for table in (columns, limits, layout.left))
    for _ in range(layout.depth - 1):
        value = g.add("GatherElements", matrix.value, g.add("Gather", column, at, axis=0), axis=1)
        greater = g.add("Greater", value, g.add("Gather", limit, at, axis=0))
        at = g.add("Add", g.add("Gather", left, at, axis=0), g.add("Cast", greater, to=TensorProto.INT32))
    return at


def _questions(
    g: GraphBuilder, trees: Trees, inputs: GraphInputs
) -> tuple[Matrix, NDArray[np.float32] | NDArray[np.int32]]:
    """The values to compare, and for each node of ``trees`` what they are compared with."""
    if not inputs.ranks:
        return column_matrix(g, trees, inputs, lambda column: column.missing == -np.inf), floor32(trees.threshold)
    rank = np.zeros(len(trees.column), np.int32)
    for i, thresholds in enumerate(column_thresholds(trees)):
        chosen = ~trees.is_leaf & (trees.column == i)
        rank[chosen] = np.searchsorted(thresholds, trees.threshold[chosen])
    return Matrix(inputs.ranks, np.arange(len(trees.columns), dtype=np.int32)), rank


def _most(threshold: NDArray[np.float32] | NDArray[np.int32]) -> float | int:
    """What no value exceeds."""
    return np.inf if threshold.dtype == np.float32 else int(np.iinfo(np.int32).max)


def _grid(total: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each output, the power of two of which all partial sums of the coarse parts are multiples below 2²⁴.

    So float32 adds them without rounding, in any order.

    Args:
        total: the largest magnitude that a partial sum can have [outputs].

    Raises:
        UnsupportedModelError: one is beyond float32.
    """
    if (total > np.finfo(np.float32).max).any():
        raise UnsupportedModelError(
            f"scores may reach {total.max():.3g}, which float32 does not hold",
            code="scores-exceed-float32",
            remedy="train on a scaled target",
        )
    _, exponent = np.frexp(total)
    found: NDArray[np.float64] = np.ldexp(1.0, np.maximum(exponent - 23, -149))
    return found


def _split(values: NDArray[np.float64], grid: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A coarse part, a multiple of the grid, and the rest, whose sums are so small that their rounding is nothing."""
    coarse = np.round(values / grid) * grid
    return coarse.astype(np.float32), (values - coarse).astype(np.float32)


def _linear_values(
    g: GraphBuilder,
    trees: Trees,
    inputs: GraphInputs,
    layout: Layout,
    at: str,
    plain: str,
    grid: NDArray[np.float64],
) -> str:
    raise NotImplementedError
