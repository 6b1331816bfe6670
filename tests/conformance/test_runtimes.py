"""Every installed runtime, every check, both precisions; and the runtimes among each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from nearhand.bundle.schema import Precision, RuntimeName
from nearhand.retrieval import Retriever, padded
from nearhand.runtime import installed_runtimes
from nearhand.testing import RUNTIME_CHECKS, FailingRuntime, RuntimeCheck
from tests.tiny import CAP, ITEMS, PRECISIONS, WINDOW, Tiny

RUNTIMES = tuple(installed_runtimes())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("check", RUNTIME_CHECKS, ids=lambda check: check.__name__)
def test_runtime(check: RuntimeCheck, runtime: RuntimeName, precision: Precision, tiny: Tiny) -> None:
    check(installed_runtimes()[runtime](), tiny.files(runtime, precision))


@pytest.mark.parametrize("check", RUNTIME_CHECKS, ids=lambda check: check.__name__)
def test_a_fake_that_injects_nothing_conforms(check: RuntimeCheck, tiny: Tiny) -> None:
    runtime = FailingRuntime(installed_runtimes()[RUNTIMES[0]]())
    check(runtime, tiny.files(RUNTIMES[0], "int8"))
    assert runtime.open_sessions == 0


def test_check_names_are_distinct() -> None:
    names = [check.__name__ for check in RUNTIME_CHECKS]
    assert len(set(names)) == len(names)
    assert all(check.__doc__ for check in RUNTIME_CHECKS)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_all_runtimes_give_the_same_ordered_top_ten(precision: Precision, tiny: Tiny) -> None:
    if len(RUNTIMES) < 2:
        pytest.skip("one runtime is installed")
    generator = np.random.Generator(np.random.PCG64(3))
    with retrievers(tiny, precision) as every:
        for _ in range(200):
            length = int(generator.integers(1, WINDOW + 1))
            rows = generator.permutation(ITEMS)[:length].tolist()
            confidences = generator.uniform(-CAP / 4, CAP, length).tolist()
            lists = []
            for retriever in every:
                user = retriever.encode(*padded(rows, confidences, WINDOW))
                lists.append(retriever.retrieve(user.vector, exclude=set(rows), k=10).rows[:10].tolist())
            assert lists[1:] == lists[:-1]


@contextmanager
def retrievers(tiny: Tiny, precision: Precision) -> Iterator[list[Retriever]]:
    """One retriever for each runtime."""
    opened = []
    for runtime in RUNTIMES:
        engine, files = installed_runtimes()[runtime](), tiny.files(runtime, precision)
        opened.append(
            Retriever(engine.load(files.encoder), engine.load(files.index), items=ITEMS, window=WINDOW, candidates=100)
        )
    try:
        yield opened
    finally:
        for retriever in opened:
            retriever.close()
