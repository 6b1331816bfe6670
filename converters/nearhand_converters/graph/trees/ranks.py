"""Trees as plain operators: all trees go down one level at a time, by table look-ups and one comparison.

``node ← left[node] + (the column of the node > the threshold of the node)``, where children stand side by side and a
leaf is its own left child with a threshold that nothing exceeds. Thresholds are rounded down to float32, which routes
every float32 row as the library does. Where the device gives ranks for numbers, the same trees compare ranks.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from onnx import TensorProto

from nearhand_converters.graph.builder import GraphBuilder
from nearhand_converters.graph.inputs import GraphInputs
from nearhand_converters.graph.trees.columns import column_matrix
from nearhand_converters.graph.trees.form import Trees, floor32
from nearhand_converters.graph.trees.layout import Layout, by_level, with_nothing
from nearhand_converters.graph.trees.linear import centred, linear_values
from nearhand_converters.graph.trees.sums import grid_of, largest_scores, split


def ranks_scores(g: GraphBuilder, trees: Trees, inputs: GraphInputs) -> str:
    """See :func:`nearhand_converters.graph.trees.lower.tree_scores`.

    Trees of one output stand together. Every output gets as many, with trees that add 0 where it has fewer.
    """
    trees, nothing = with_nothing(trees), len(trees.column)
    given = [trees.values]
    if trees.linear is not None:
        points, at_point = centred(trees)
        given.append(at_point[:, None])
    grid = grid_of(largest_scores(trees, *given))

    outputs = len(trees.base)
    shared = trees.values.shape[1] == outputs  # every tree adds to all outputs, or there is but one
    groups = [trees.roots] if shared else [trees.roots[trees.output == output] for output in range(outputs)]
    size = max(1, *map(len, groups))
    roots = np.concatenate([np.pad(group, (0, size - len(group)), constant_values=nothing) for group in groups])
    layout = by_level(trees, roots.astype(np.int32))
    at = _descend(g, trees, inputs, layout, in_order=not shared)

    of_node = grid[None, :] if shared else grid[layout.tree // size][:, None]
    tables = [split(values[layout.node], of_node) for values in given]
    if trees.linear is not None:
        values = linear_values(g, trees, inputs, layout, at, tables, points)
        parts = 3
    else:
        values = g.add("Gather", g.constant(tables[0].reshape(len(layout.node), -1)), at, axis=0)
        parts = 2
    grouped = g.add("Reshape", values, g.constant(np.array([-1, len(groups), size, tables[0].shape[1] * parts])))
    sums = g.add("ReduceSum", grouped, g.constant(np.array([2])), keepdims=0)
    pairs = g.add("Reshape", sums, g.constant(np.array([-1, outputs, parts])))
    base = np.zeros((1, outputs, parts), np.float32)
    base[0, :, :2] = split(trees.base, grid)
    return g.add("ReduceSum", g.add("Add", pairs, g.constant(base)), g.constant(np.array([2])), keepdims=0)


def ranks_leaves(g: GraphBuilder, trees: Trees, inputs: GraphInputs) -> str:
    """See :func:`nearhand_converters.graph.trees.lower.tree_leaves`."""
    layout = by_level(trees, trees.roots)
    at = _descend(g, trees, inputs, layout, in_order=True)
    return g.add("Gather", g.constant(layout.node), at, axis=0)


def _descend(g: GraphBuilder, trees: Trees, inputs: GraphInputs, layout: Layout, *, in_order: bool) -> str:
    """The leaf that each row reaches in each tree, as a number of ``layout``, int32 [batch, trees].

    Trees start from the deepest to the flattest, and half of them are left behind where they have arrived.

    Args:
        in_order: whether the trees have to stand in the result as they do in ``layout``.
    """
    matrix = column_matrix(g, trees, inputs, lambda column: column.missing == -np.inf)
    node = layout.node
    inner = ~trees.is_leaf[node]
    columns = np.where(inner, matrix.place[trees.column[node]], 0).astype(np.int32)
    limits = np.where(inner, floor32(trees.threshold[node]), np.float32(np.inf))
    order = np.argsort(-layout.depths, kind="stable")
    depths = layout.depths[order]

    # The first level's nodes are known.
    value = g.add("Gather", matrix.value, g.constant(columns[order]), axis=1)
    greater = g.add("Greater", value, g.constant(limits[None, order]))
    at = g.add("Add", g.constant(layout.left[None, order]), g.add("Cast", greater, to=TensorProto.INT32))

    column, limit, left = (g.constant(table[None, :]) for table in (columns, limits, layout.left))
    flat, arrived, walking = "", [], len(order)
    for level in range(1, layout.depth):
        deeper = int((depths > level).sum())
        if 2 * deeper <= walking:
            if flat:
                at = _two(g, flat, "int32", walking)
            arrived.append(_part(g, at, deeper, walking))
            at, flat, walking = _part(g, at, 0, deeper), "", deeper
        if not flat:
            flat = _one(g, at)
        place = _two(g, g.add("GatherElements", column, flat, axis=1), "int32", walking)
        value = _one(g, g.add("GatherElements", matrix.value, place, axis=1))
        greater = g.add("Greater", value, g.add("GatherElements", limit, flat, axis=1))
        flat = g.add("Add", g.add("GatherElements", left, flat, axis=1), g.add("Cast", greater, to=TensorProto.INT32))
    if flat:
        at = _two(g, flat, "int32", walking)
    if arrived:
        at = g.add("Concat", at, *reversed(arrived), axis=1)
    if in_order and (order[1:] < order[:-1]).any():
        at = g.add("Gather", at, g.constant(np.argsort(order).astype(np.int32)), axis=1)
    return at


def _one(g: GraphBuilder, value: str) -> str:
    """[batch, trees] as [1, batch · trees]."""
    return g.add("Reshape", value, g.constant(np.array([1, -1], np.int64)))


def _two(g: GraphBuilder, value: str, dtype: Literal["int32", "float32"], trees: int) -> str:
    """[1, batch · trees] as [batch, trees]."""
    return g.declare(g.add("Reshape", value, g.constant(np.array([-1, trees], np.int64))), dtype, ["batch", trees])


def _part(g: GraphBuilder, value: str, start: int, end: int) -> str:
    starts, ends, axes = (g.constant(np.array([number], np.int64)) for number in (start, end, 1))
    return g.add("Slice", value, starts, ends, axes)
