"""How many requests one install may make: a bucket of tokens for each, that fills again at a steady rate."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from nearhand.clock import Clock

_REMEMBERED = 100_000  # installs; the one that was not heard of for longest goes, and its bucket is full again


class Limiter(Protocol):
    """Counts the requests of installs."""

    async def wait_s(self, install: bytes) -> float:
        """Take a token of an install: 0, or in how many seconds there will be one, and then none is taken.

        Raises:
            UnavailableError: what counts cannot be reached.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class Unlimited:
    """Lets every request pass."""

    async def wait_s(self, install: bytes) -> float:
        """See :meth:`Limiter.wait_s`."""
        return 0.0

    async def close(self) -> None:
        """See :meth:`Limiter.close`."""


class MemoryLimiter:
    """The buckets of one process.

    Args:
        rate: tokens per second that come back.
        burst: tokens of a full bucket.
        clock: whose monotonic time is used.
    """

    def __init__(self, rate: float, burst: int, clock: Clock) -> None:
        self._interval = 1 / rate
        self._burst = burst
        self._clock = clock
        self._full_at: OrderedDict[bytes, float] = OrderedDict()  # in monotonic seconds

    async def wait_s(self, install: bytes) -> float:
        """See :meth:`Limiter.wait_s`."""
        now = self._clock.monotonic_ns() / 1e9
        full_at = max(self._full_at.get(install, now), now) + self._interval
        wait = full_at - now - self._burst * self._interval
        if wait > 1e-9:
            return wait
        self._full_at[install] = full_at
        self._full_at.move_to_end(install)
        if len(self._full_at) > _REMEMBERED:
            self._full_at.popitem(last=False)
        return 0.0

    async def close(self) -> None:
        """See :meth:`Limiter.close`."""
