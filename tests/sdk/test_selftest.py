"""Golden vectors: what passes as this device's honest arithmetic, and what does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal

import numpy as np
import pytest

from nearhand.bundle.schema import Golden, GoldenCase, Precision, RuntimeName
from nearhand.errors import ModelError
from nearhand.retrieval import Candidates, Retriever, User, check_golden, padded
from nearhand.runtime import installed_runtimes
from nearhand.testing import FailingRuntime
from nearhand.testing.faults import Outputs
from tests.tiny import FACTORS, ITEMS, PRECISIONS, WINDOW, Tiny

RUNTIMES = tuple(installed_runtimes())


def golden_with(rows: tuple[int, ...], scores: tuple[float, ...]) -> Golden:
    case = GoldenCase((9,), (Decimal(1),), {"fp32": rows}, {"fp32": tuple(Decimal(str(score)) for score in scores)})
    return Golden(Decimal("0.001"), (case,))


GOLDEN = golden_with((3, 1, 2), (1.0, 0.5, 0.25))


class FixedRetriever(Retriever):
    """Finds what it is told to, best first."""

    def __init__(self, rows: list[int], scores: list[float]) -> None:
        self.window = 4
        self._found = Candidates(
            np.array(rows, np.int32), np.array(scores, np.float32), np.zeros((len(rows), 1), np.float32)
        )

    def encode(self, rows: object, confidences: object) -> User:
        return User(np.zeros((1, 1), np.float32), np.zeros((4, 1), np.float32))

    def retrieve(self, vector: object, *, exclude: object, k: int) -> Candidates:
        assert exclude == {9}
        return self._found


def check(rows: list[int], scores: list[float], golden: Golden = GOLDEN) -> None:
    check_golden(FixedRetriever(rows, scores), golden, "fp32", place="onnx/fp32")


def test_the_expected_list_passes() -> None:
    check([3, 1, 2], [1.0, 0.5, 0.25])
    check([3, 1, 2, 7, 8], [1.0, 0.5, 0.25, 0.2, 0.1])


def test_a_last_bit_difference_passes() -> None:
    check([3, 1, 2], [1.0005, 0.4995, 0.2505])


def test_neighbours_nearer_than_the_tolerance_may_change_places() -> None:
    near = golden_with((3, 1, 2), (1.0, 0.5, 0.4995))
    check([3, 2, 1], [1.0, 0.4997, 0.4996], near)


def test_at_the_end_of_the_list_the_next_one_may_come_in_with_the_same_score() -> None:
    check([3, 1, 7], [1.0, 0.5, 0.2505])


@pytest.mark.parametrize(
    ("rows", "scores"),
    [
        ([1, 3, 2], [1.0, 0.5, 0.25]),  # changed places, far apart
        ([3, 1, 2], [1.0, 0.502, 0.25]),  # one score
        ([3, 1, 2], [0.0, 0.0, 0.0]),
        ([3, 2, 1], [1.0, 0.5, 0.25]),
        ([3, 1, 7], [1.0, 0.5, 0.3]),  # a stranger with another score
        ([3, 3, 3], [1.0, 0.5, 0.25]),
        ([3, 1, 2], [1.0, float("nan"), 0.25]),
        ([3, 1, 2], [float("nan")] * 3),
        ([3, 1, 2], [float("inf"), 0.5, 0.25]),
        ([3, 1], [1.0, 0.5]),
        ([], []),
    ],
)
def test_another_list_is_refused(rows: list[int], scores: list[float]) -> None:
    with pytest.raises(ModelError, match=r"onnx/fp32: golden case 0 .*use another runtime or precision"):
        check(rows, scores)


def test_an_empty_expectation_passes() -> None:
    check([], [], golden_with((), ()))


@pytest.fixture(params=[(runtime, precision) for runtime in RUNTIMES for precision in PRECISIONS], ids="/".join)
def variant(request: pytest.FixtureRequest) -> tuple[RuntimeName, Precision]:
    pair: tuple[RuntimeName, Precision] = request.param
    return pair


@pytest.fixture
def runtime(variant: tuple[RuntimeName, Precision]) -> FailingRuntime:
    return FailingRuntime(installed_runtimes()[variant[0]]())


@pytest.fixture
def retriever(tiny: Tiny, variant: tuple[RuntimeName, Precision], runtime: FailingRuntime) -> Iterator[Retriever]:
    files = tiny.files(*variant)
    retriever = Retriever(
        runtime.load(files.encoder), runtime.load(files.index), items=ITEMS, window=WINDOW, candidates=100
    )
    yield retriever
    retriever.close()


def test_a_real_variant_passes_its_own(
    tiny: Tiny, variant: tuple[RuntimeName, Precision], retriever: Retriever
) -> None:
    golden = tiny.slot.golden()
    assert len(golden.cases) == 6
    check_golden(retriever, golden, variant[1], place="here")


def test_a_real_variant_fails_that_of_the_other_precision(
    tiny: Tiny, variant: tuple[RuntimeName, Precision], retriever: Retriever
) -> None:
    other: Precision = "int8" if variant[1] == "fp32" else "fp32"
    with pytest.raises(ModelError, match="golden case"):
        check_golden(retriever, tiny.slot.golden(), other, place="here")


def scale(name: str, factor: float) -> Callable[[Outputs], Outputs]:
    def distort(outputs: Outputs) -> Outputs:
        return {key: (value * np.float32(factor) if key == name else value) for key, value in outputs.items()}

    return distort


def saturate(outputs: Outputs) -> Outputs:
    """Some sums come out too small, as u8 × s8 products do on processors without VNNI."""
    if "candidate_scores" in outputs:
        outputs["candidate_scores"] = np.minimum(outputs["candidate_scores"], outputs["candidate_scores"].max() * 0.8)
    return outputs


def lose_best(outputs: Outputs) -> Outputs:
    # More than the history, whose items are excluded from the list anyway.
    return {key: (value[2 * WINDOW :] if key.startswith("candidate") else value) for key, value in outputs.items()}


def strange_rows(outputs: Outputs) -> Outputs:
    if "candidate_rows" in outputs:
        outputs["candidate_rows"] = outputs["candidate_rows"] + np.int32(ITEMS)
    return outputs


@pytest.mark.parametrize(
    "distort",
    [
        scale("user_vector", 1.001),
        scale("user_vector", float("nan")),
        scale("candidate_scores", -1.0),
        scale("candidate_scores", 0.0),
        saturate,
        lose_best,
        strange_rows,
    ],
    ids=["a little off", "not a number", "negated", "zeros", "saturated", "the best are missing", "strange rows"],
)
def test_a_device_that_computes_wrongly_is_found_out(
    tiny: Tiny,
    variant: tuple[RuntimeName, Precision],
    runtime: FailingRuntime,
    retriever: Retriever,
    distort: Callable[[Outputs], Outputs],
) -> None:
    runtime.distort = distort
    with pytest.raises(ModelError, match=r"golden case|outside 0"):
        check_golden(retriever, tiny.slot.golden(), variant[1], place="here")


def test_the_encoder_is_given_the_case(tiny: Tiny, variant: tuple[RuntimeName, Precision]) -> None:
    """Golden lists were computed exactly, over all items, and not by a runtime."""
    table = tiny.tables[variant[1]].astype(np.float64)
    files = tiny.files(*variant)
    for case in tiny.slot.golden().cases:
        rows, confidences = padded(case.rows, map(float, case.confidences), WINDOW)
        scores = table @ files.user_vector({"history_rows": rows, "history_confidences": confidences})
        scores[list(case.rows)] = -np.inf
        best = np.lexsort((np.arange(ITEMS), -scores))[:10]
        assert case.expected[variant[1]] == tuple(best.tolist())
    assert table.shape == (ITEMS, FACTORS)
