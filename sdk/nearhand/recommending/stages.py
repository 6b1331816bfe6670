"""The stages of one call under a deadline: what does not fit into it is left out, and counted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from nearhand.clock import Clock
from nearhand.errors import CancelledError, UsageError, shown
from nearhand.monitoring import Meter

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

T = TypeVar("T")

_LONGEST_MS = 86_400_000
"""A day: well below what the system's calls can wait for."""


class Deadline:
    """Until when a call has to answer, and whether its caller still wants the answer."""

    def __init__(self, clock: Clock, deadline_ms: float | None, cancelled: threading.Event | None) -> None:
        """
        Raises:
            UsageError: the deadline is not a number above 0 and up to a day.
        """
        if deadline_ms is not None and not (type(deadline_ms) in (int, float) and 0 < deadline_ms <= _LONGEST_MS):
            remedy = f"give a number of milliseconds above 0 and up to {_LONGEST_MS:,}, or None"
            raise UsageError(f"{shown(deadline_ms)} is no deadline", place="deadline_ms", remedy=remedy)
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
        self._lock = threading.Lock()
        self._closed = False
        self._pool: ThreadPoolExecutor | None = None
        self._behind: Future[Any] | None = None

    def run(self, name: str, work: Callable[[], T], deadline: Deadline) -> T | None:
        """What ``work`` gives; None: there was no time for it, which is counted under the stage's name.

        Raises:
            CancelledError: the caller has cancelled. UsageError: this is closed.
        """
        deadline.check_cancelled()
        left = deadline.left_s()
        if left is None:
            return work()
        if left > 0 and (self._behind is None or self._behind.done()):
            from concurrent.futures import wait  # takes a tenth of the import of the SDK, and few lists have deadlines

            future = self._begin(work)
            if wait([future], left).done:
                return future.result()
            self._behind = future
        self._meter.skipped(f"the deadline left out the stage {name!r}")
        return None

    def close(self) -> None:
        """Let the worker end when it has done what it does."""
        with self._lock:
            self._closed = True
            if self._pool is not None:
                self._pool.shutdown(wait=False)  # what was begun is finished: somebody may be waiting for it

    def _begin(self, work: Callable[[], T]) -> Future[T]:
        with self._lock:
            if self._closed:
                raise UsageError("the Personalizer is closed", remedy="open it again")
            if self._pool is None:
                from concurrent.futures import ThreadPoolExecutor

                self._pool = ThreadPoolExecutor(1, thread_name_prefix="nearhand")
            return self._pool.submit(work)
