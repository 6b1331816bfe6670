"""Two things timed in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def ratio_in_turns(one: Callable[[], object], other: Callable[[], object], *, rounds: int) -> float:
    """How much longer ``one`` takes: the median of pairs. In turns, so that both have the same noise."""

    def seconds(work: Callable[[], object]) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return statistics.median(seconds(one) / seconds(other) for _ in range(rounds))
