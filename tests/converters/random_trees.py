"""Random neutral trees, with everything a library could put into them, and the rows that are hardest for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from nearhand_converters.graph.trees.form import Column, LinearLeaves, Membership, Number, Trees

EXTREMES = (0.0, -0.0, 1e-45, -1e-45, 1e-40, 1.0, 16777216.0, 3.4028235e38, -3.4028235e38)
"""Float32 numbers at which arithmetic has been seen to go wrong."""


@dataclass(frozen=True)
class Shape:
    """What random trees look like.

    Attributes:
        trees, depth, outputs, numbers, categories: how many; ``depth`` is the deepest that a tree may be.
        known: known categories of each category input.
        vector: whether a leaf has a value for every output.
        linear: whether leaves are linear; then there is one output.
        precision: of the library.
        missing: what missing values may stand for.
        zero_is_missing, sentinel_is_missing: whether some columns count a zero, or a certain number, as missing too.
        chance: that a node splits again, so that some trees are one leaf.
        moderate: whether thresholds are of the size of ordinary data; else they are of every size.
    """

    trees: int = 8
    depth: int = 5
    outputs: int = 1
    numbers: int = 4
    categories: int = 0
    known: int = 6
    vector: bool = False
    linear: bool = False
    precision: str = "float64"
    missing: tuple[float, ...] = (-np.inf, np.inf)
    zero_is_missing: bool = False
    sentinel_is_missing: bool = False
    chance: float = 0.85
    moderate: bool = False


def shapes(*, numbers: int = 3) -> st.SearchStrategy[Shape]:
    """Small ones of every kind, without linear leaves.

    Args:
        numbers: the most number inputs.
    """
    stand_ins = st.sampled_from([(-np.inf,), (np.inf,), (-np.inf, np.inf), (0.0,), (0.1,), (0.0, 0.1, -np.inf, np.inf)])
    return st.builds(
        Shape,
        trees=st.integers(1, 12),
        depth=st.sampled_from([0, 1, 2, 3, 5, 8]),
        outputs=st.integers(1, 3),
        numbers=st.integers(1, numbers),
        categories=st.integers(0, 2),
        known=st.sampled_from([0, 1, 6, 1000]),
        vector=st.booleans(),
        precision=st.sampled_from(["float32", "float64"]),
        missing=stand_ins,
        zero_is_missing=st.booleans(),
        sentinel_is_missing=st.booleans(),
        chance=st.sampled_from([0.6, 0.85, 1.0]),
    )


def random_trees(shape: Shape, generator: np.random.Generator) -> Trees:
    """Trees of that shape; nodes of a tree in depth-first order."""
    columns: list[Column] = []
    for feature in range(shape.numbers):
        for missing in shape.missing:
            columns.append(Number(feature, missing))
            if shape.zero_is_missing:
                columns.append(Number(feature, missing, zero_is_missing=True))
            if shape.sentinel_is_missing:
                columns.append(Number(feature, missing, sentinel=1.0))
    for feature in range(shape.categories):
        for size in (0, 1, shape.known // 2, shape.known):
            members = generator.choice(shape.known + 2, size, replace=False)
            columns.append(Membership(feature, tuple(sorted(members.tolist()))))
    pools = [_pool(column, shape, generator) for column in columns]
    width = shape.outputs if shape.vector else 1
    nodes: list[tuple[int, float, int, int]] = []
    values: list[NDArray[np.float64]] = []

    def grow(depth: int) -> int:
        place = len(nodes)
        if depth < shape.depth and generator.random() < shape.chance:
            column = int(generator.integers(len(columns)))
            nodes.append((column, float(generator.choice(pools[column])), 0, 0))
            values.append(np.zeros(width))
            left = grow(depth + 1)
            right = grow(depth + 1)
            nodes[place] = (*nodes[place][:2], left, right)
        else:
            nodes.append((0, np.inf, place, place))
            values.append(generator.standard_normal(width) * 10.0 ** generator.integers(-3, 3))
        return place

    roots = [grow(0) for _ in range(shape.trees)]
    column, threshold, left, right = (np.array(field) for field in zip(*nodes, strict=True))
    linear = _linear(len(nodes), shape.numbers, generator) if shape.linear else None
    return Trees(
        columns=tuple(columns),
        roots=np.array(roots, np.int32),
        column=column.astype(np.int32),
        threshold=threshold,
        left=left.astype(np.int32),
        right=right.astype(np.int32),
        values=np.array(values),
        output=generator.integers(0, 1 if shape.vector else shape.outputs, shape.trees).astype(np.int32),
        base=generator.standard_normal(shape.outputs),
        precision=shape.precision,
        linear=linear,
    )


def _pool(column: Column, shape: Shape, generator: np.random.Generator) -> NDArray[np.float64]:
    """Thresholds of a column, few, so that nodes share them."""
    if isinstance(column, Membership):
        return np.array([0.5])
    size = 10.0 ** (generator.integers(-2, 6, 6) if shape.moderate else generator.integers(-40, 38, 6))
    found = np.concatenate([generator.standard_normal(6) * size, generator.integers(-3, 3, 3)])
    if not shape.moderate:
        found = np.append(found, generator.choice(EXTREMES, 3))
    if shape.precision == "float32":
        return found.astype(np.float32).astype(np.float64)
    return np.concatenate([found, np.nextafter(found, np.inf), [] if shape.moderate else [1e300, -1e300]])


def _linear(nodes: int, inputs: int, generator: np.random.Generator) -> LinearLeaves:
    uses = generator.random((nodes, inputs)) < 0.5
    coefficients = np.where(uses, generator.standard_normal((nodes, inputs)), 0.0)
    return LinearLeaves(coefficients, generator.standard_normal(nodes), uses)


def hard_rows(
    trees: Trees, shape: Shape, generator: np.random.Generator, at_least: int = 200
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Rows on, one float32 below and one above every threshold; NaN in every input; foreign codes.

    Each is placed in a row of values that are on thresholds as well.

    Returns:
        Numbers float32 [rows, numbers] and codes int32 [rows, categories].
    """
    near = []
    for feature in range(shape.numbers):
        of_feature = [isinstance(c, Number) and c.feature == feature for c in trees.columns]
        chosen = ~trees.is_leaf & np.array(of_feature)[trees.column]
        with np.errstate(over="ignore"):
            on = np.unique(trees.threshold[chosen]).astype(np.float32)
            beside = [np.nextafter(on, np.float32(way)) for way in (-np.inf, np.inf)]
        near.append(np.concatenate([on, *beside, np.array([*EXTREMES, 0.5, np.nan, np.inf, -np.inf], np.float32)]))
    rows = max(at_least, *map(len, near), 0) if near else at_least
    x = np.zeros((rows, shape.numbers), np.float32)
    for feature, values in enumerate(near):
        x[:, feature] = np.resize(generator.permutation(values), rows)
    codes = generator.integers(-2, shape.known + 5, (rows, shape.categories)).astype(np.int32)
    codes[:2] = np.array([[np.iinfo(np.int32).min], [np.iinfo(np.int32).max]])
    return x, codes
