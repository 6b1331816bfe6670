"""The SDK hides its own errors from the host app by giving less. A test wants to see them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nearhand.monitoring import Meter


@contextmanager
def raise_swallowed(enabled: bool = True) -> Iterator[None]:
    """Within the block every error that would be counted as a degradation is raised instead; False: it is not.

    Holds for the whole process, whichever thread meets the error.
    """
    before = Meter.raise_swallowed
    Meter.raise_swallowed = enabled
    try:
        yield
    finally:
        Meter.raise_swallowed = before
