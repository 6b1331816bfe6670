"""Golden vectors: the lists that this device must compute before a variant is trusted with the user."""

from __future__ import annotations

from nearhand.bundle.schema import Golden, Precision
from nearhand.errors import ModelError
from nearhand.retrieval.history import padded
from nearhand.retrieval.retriever import Retriever


def check_golden(retriever: Retriever, golden: Golden, precision: Precision, *, place: str) -> None:
    """Run every golden case.

    Two neighbours in the list may change places when their scores are nearer than the tolerance: an honest
    last-bit difference between processors. Any other difference is a fault.

    Raises:
        ModelError: a list or a score differs; names the case.
    """
    for number, case in enumerate(golden.cases):
        expected = [int(row) for row in case.expected[precision]]
        scores = [float(score) for score in case.scores[precision]]
        rows, confidences = padded(case.rows, map(float, case.confidences), retriever.window)
        user = retriever.encode(rows, confidences)
        found = retriever.retrieve(user.vector, exclude=set(case.rows), k=len(expected))
        if len(found.rows) < len(expected):
            raise _failure(f"golden case {number} gives {len(found.rows)} items, not {len(expected)}", place)
        tolerance = float(golden.tolerance) * max(map(abs, scores), default=0.0)
        by_row = dict(zip(expected, scores, strict=True))
        for position, wanted in enumerate(scores):
            row, score = int(found.rows[position]), float(found.scores[position])
            # The score at each rank must agree; the item may be another only if it is expected with that same score,
            # or was, so to speak, the next one just outside the list. Asked so that a NaN does not agree.
            if not (abs(score - wanted) <= tolerance and abs(by_row.get(row, score) - score) <= tolerance):
                raise _failure(
                    f"golden case {number} gives item row {row} with score {score:.7g} at rank {position}, not row "
                    f"{expected[position]} with {wanted:.7g}",
                    place,
                )


def _failure(problem: str, place: str) -> ModelError:
    remedy = "this variant does not compute correctly on this device; use another runtime or precision"
    return ModelError(problem, place=place, remedy=remedy)
