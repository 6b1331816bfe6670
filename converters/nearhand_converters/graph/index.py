"""The index: a user vector → the candidates with the largest inner product, inside the graph."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from nearhand_converters.graph.builder import GraphBuilder


def index_graph(table: NDArray[np.float32]) -> onnx.ModelProto:
    """The index as a float32 ONNX graph over ``table`` [items, factors].

    Inputs:
        user_vector float32 [1, factors].
        k int32 [1]: how many candidates, 1 … items.

    Outputs:
        candidate_rows int32 [k]; candidate_scores float32 [k]: inner products with the float32 rows;
        candidate_vectors float32 [k, factors]: the rows themselves, for explanations and diversity.
        The order of candidates is not part of the contract: order by score, then by row.
    """
    items, factors = table.shape
    g = GraphBuilder("index")
    user = g.input("user_vector", "float32", [1, factors])
    k = g.input("k", "int32", [1])
    rows_of_items = g.constant(table, "table")
    products = g.add("Gemm", user, rows_of_items, transB=1)
    scores = g.add("Reshape", products, g.constant(np.array([items], np.int64)))
    values, rows = g.add_many("TopK", 2, scores, g.add("Cast", k, to=onnx.TensorProto.INT64), axis=0)
    vectors = g.add("Gather", rows_of_items, rows, axis=0)
    g.output(g.add("Cast", rows, to=onnx.TensorProto.INT32), "candidate_rows", "int32", ["k"])
    g.output(values, "candidate_scores", "float32", ["k"])
    g.output(vectors, "candidate_vectors", "float32", ["k", factors])
    return g.model()
