"""The inputs of a tabular model's graph: numbers and category codes, made safe before anything reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from nearhand_converters.graph.builder import GraphBuilder

Lowering: TypeAlias = Literal["operator", "ranks"]
"""How trees are written: as ONNX's operator for trees, or level by level in plain operators, on numbers or ranks."""

MISSING, UNKNOWN, FIRST_KNOWN = 0, 1, 2
"""The codes of a category column: 0 for none, 1 for one the model has never seen, 2 + i for the i-th known one.

They are those of a feature program's vocabulary."""


@dataclass(frozen=True)
class GraphInputs:
    """The graph's inputs as values of a builder; "" where the model has no such column.

    Attributes:
        numbers: float32 [batch, number columns].
        categories: int32 codes [batch, category columns].
    """

    numbers: str
    categories: str


def clamp_codes(g: GraphBuilder, categories: str, known: Sequence[int]) -> str:
    """The codes with those that no category has (negative, or too large) made UNKNOWN, int32 [batch, columns].

    Args:
        categories: int32 [batch, columns].
        known: the number of known categories of each column.
    """
    below = g.add("Less", categories, g.constant(np.array(0, np.int32)))
    above = g.add("GreaterOrEqual", categories, g.constant(np.array([known], np.int32) + FIRST_KNOWN))
    return g.add("Where", g.add("Or", below, above), g.constant(np.array(UNKNOWN, np.int32)), categories)
