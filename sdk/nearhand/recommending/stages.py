"""The stages of one call under a deadline: what does not fit into it is left out, and counted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from nearhand.clock import Clock
from nearhand.errors import CancelledError, UsageError
from nearhand.monitoring import Meter

T = TypeVar("T")


class Deadline:
    """Until when a call has to answer, and whether its caller still wants the answer."""

    def __init__(self, clock: Clock, deadline_ms: float | None, cancelled: threading.Event | None) -> None:
        """
        Raises:
            UsageError: the deadline is not a positive number.
        """
        if deadline_ms is not None and not (type(deadline_ms) in (int, float) and deadline_ms > 0):
            problem = f"{deadline_ms!r} is no deadline"
            raise UsageError(problem, place="deadline_ms", remedy="give a positive number of milliseconds, or None")
        self._clock = clock
        self._cancelled = cancelled
        self._end_ns = None if deadline_ms is None else clock.monotonic_ns() + round(deadline_ms * 1e6)

    def left_s(self) -> float | None:
        """Seconds that are left, from 0; None: there is no deadline."""
        return None if self._end_ns is None else max(0.0, (self._end_ns - self._clock.monotonic_ns()) / 1e9)

    def check_cancelled(self) -> None:
        """
        Raises:
            CancelledError: the caller has cancelled.
        """
        if self._cancelled is not None and self._cancelled.is_set():
            raise CancelledError("the call was cancelled", remedy="nothing is to be done")


class Stages:
    """Runs the stages of calls. With a deadline a stage runs in a worker thread, so that it can be left behind.

    A stage that was left behind ends by itself; until then no other one is begun under a deadline.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._pool: ThreadPoolExecutor | None = None
        self._behind: Future[Any] | None = None

    def run(self, name: str, work: Callable[[], T], deadline: Deadline) -> T | None:
        """What ``work`` gives; None: there was no time for it, which is counted under the stage's name.

        Raises:
            CancelledError: the caller has cancelled.
        """
        deadline.check_cancelled()
        left = deadline.left_s()
        if left is None:
            return work()
        if left > 0 and (self._behind is None or self._behind.done()):
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, thread_name_prefix="nearhand")
            future = self._pool.submit(work)
            if wait([future], left).done:
                return future.result()
            self._behind = future
        self._meter.skipped(f"the deadline left out the stage {name!r}")
        return None

    def close(self) -> None:
        """Let the worker end when it has done what it does."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
