"""One sync: its clock, its count, and the way in which a call is made, and made again."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from nearhand.clock import Clock
from nearhand.network import Answer, Call, NetworkError, Transport
from nearhand.sync.config import SyncConfig
from nearhand.sync.report import SyncReport
from nearhand.sync.retry import judge

T = TypeVar("T")
Pause = Callable[[threading.Event, float], object]
"""Waits some seconds, or until the event is set."""

_SLICE_MS = 100.0  # after so long a wait looks again whether the app has cancelled
_NAMES = 100


class EndedError(Exception):
    """The sync is over before all was done.

    Args:
        problem: what is in the way; None: nothing, but it was cancelled, or its time is up.
        retry_after_ms: how long to wait before the next one.
        is_named: whether the endpoint has said so.
    """

    def __init__(
        self, problem: str | None = None, retry_after_ms: float | None = None, *, is_named: bool = False
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.retry_after_ms = retry_after_ms
        self.is_named = is_named


class UnreadableError(Exception):
    """An answer says something else than the contract allows: it does not come from the endpoint, or is cut off."""


class Run:
    """One sync.

    Args:
        stop: is set when the app goes to the background, or closes the profile.
        cancelled: the app's own; None: it has none.
        pause: waits.
        draw: gives random numbers in [0, 1).

    Attributes:
        report: what was done so far.
    """

    def __init__(
        self,
        config: SyncConfig,
        transport: Transport,
        clock: Clock,
        stop: threading.Event,
        cancelled: threading.Event | None,
        pause: Pause,
        draw: Callable[[], float],
    ) -> None:
        self._config = config
        self._transport = transport
        self._clock = clock
        self._stop = stop
        self._cancelled = cancelled
        self._pause = pause
        self._draw = draw
        self._started = clock.monotonic_ns()
        self._paced = 0
        self._left_out: Counter[str] = Counter()
        self.report = SyncReport()

    @property
    def is_stopped(self) -> bool:
        """Whether the app does not want it to go on."""
        return self._stop.is_set() or (self._cancelled is not None and self._cancelled.is_set())

    def add(self, **counts: int) -> None:
        """Add to some counts of the report."""
        self.report = replace(self.report, **{name: getattr(self.report, name) + n for name, n in counts.items()})

    def refuse(self, codes: Mapping[str, int]) -> None:
        """Count refused events by their codes."""
        self.report = replace(self.report, refused=dict(Counter(self.report.refused) + Counter(codes)))

    def leave_out(self, names: Mapping[str, int]) -> None:
        """Count what was left out of events by its name."""
        for name, count in names.items():
            known = name in self._left_out or len(self._left_out) < _NAMES
            self._left_out[name if known else "…"] += count
        self.report = replace(self.report, left_out=dict(self._left_out))

    def trouble(self, problem: str) -> None:
        """Something is in the way of a part of it."""
        self.report = replace(self.report, errors=(*self.report.errors, problem))

    def check(self) -> None:
        """
        Raises:
            EndedError: it was cancelled, or its time is up.
        """
        if self.is_stopped or self._left_ms() < 1:
            raise EndedError

    def pace(self, events: int) -> None:
        """Wait before more than these events are sent.

        Raises:
            EndedError: it is not worth while any more.
        """
        self._paced += events
        due_ms = self._paced / self._config.events_per_second * 1000
        if (early := due_ms - self._passed_ms()) > 0:
            self._wait(early, None, is_named=False)

    def exchange(self, make: Callable[[], Call | None], read: Callable[[Answer], T], *statuses: int) -> T | None:
        """Make a call until it is answered.

        Args:
            make: gives the call, anew for each try; None: there is none to make.
            read: the meaning of an answer.
            statuses: what is an answer too, beside those from 200 to 299.

        Returns:
            the meaning; None: there was no call to make.

        Raises:
            EndedError: it is not answered, or the answer says that it is of no use.
        """
        tries = counted = 0
        while True:
            self.check()
            call = make()
            if call is None:
                return None
            timeout_ms = min(self._config.timeout_ms, self._left_ms())  # to make it has taken some time
            if timeout_ms < 1:
                raise EndedError
            tries += 1
            status: int | None = None
            headers: Mapping[str, str] = {}
            place = call.url.rpartition("/v1/")[2].partition("?")[0]
            try:
                answer = self._send(replace(call, timeout_ms=timeout_ms))
                if answer.status in statuses or 200 <= answer.status < 300:
                    return read(answer)
                status, headers = answer.status, answer.headers
                problem = f"{place}: HTTP {status}{_said(answer.body)}"
            except NetworkError as error:
                problem = f"{place}: {error.problem}"
            except UnreadableError as error:
                problem = f"{place}: the answer is not the endpoint's: {error}"
            verdict = judge(status, headers, tries, self._draw())
            if verdict.action != "again":
                raise EndedError(problem)
            counted += not verdict.is_named
            if counted >= self._config.attempts:
                raise EndedError(problem, verdict.wait_ms)
            self._wait(verdict.wait_ms, problem, is_named=verdict.is_named)

    def _send(self, call: Call) -> Answer:
        if call.body is not None:
            self.add(bytes_sent=len(call.body))
        return self._transport.send(call)

    def _wait(self, wait_ms: float, problem: str | None, *, is_named: bool) -> None:
        if wait_ms >= self._left_ms():
            raise EndedError(problem, wait_ms, is_named=is_named)
        left_ms = wait_ms
        while left_ms > 0 and not self.is_stopped:
            self._pause(self._stop, min(left_ms, _SLICE_MS) / 1000)
            left_ms -= _SLICE_MS

    def _passed_ms(self) -> float:
        return (self._clock.monotonic_ns() - self._started) / 1e6

    def _left_ms(self) -> float:
        return self._config.deadline_ms - self._passed_ms()


def _said(body: bytes) -> str:
    """What the endpoint says of an error; nothing if it is not the endpoint that speaks."""
    try:
        content = json.loads(body)
        return f" {content['code']}: {content['problem']}"[:300]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
