"""Local time of many instants at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from nearhand.errors import UsageError
from nearhand_converters.data import FIRST_MS, LAST_MS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_DAY_MS = 86_400_000
_SECOND_MS = 1_000
_MARGIN_MS = 366 * _DAY_MS  # logs run forward: their next batch is most likely a little later


class Zone:
    """A time zone as a step function: from ``_steps[i]`` (ms, UTC) on, local time minus UTC is ``_offsets[i]`` ms.

    The steps are found by looking at every day and halving where two differ, so a zone that changed its offset and took
    it back within a day would be missed; none ever did.
    """

    def __init__(self, zone: tzinfo) -> None:
        self.info = zone
        self._first = self._last = 0
        self._steps: NDArray[np.int64] = np.array([0], np.int64)
        self._offsets: NDArray[np.int64] = np.array([self._offset(0)], np.int64)

    def offset_minutes(self, instants: NDArray[np.int64]) -> NDArray[np.int32]:
        """Local time minus UTC at each instant (ms), whole minutes."""
        self._cover(instants)
        found = self._offsets[np.searchsorted(self._steps[1:], instants, side="right")]
        return (found // 60_000).astype(np.int32)

    def instants(self, wall: NDArray[np.int64]) -> NDArray[np.int64]:
        """When the zone's clocks showed these times (ms, as if they were UTC).

        As in the standard library: of the two instants of an ambiguous time it is the first; a time that was skipped is
        read with the offset before the gap.
        """
        self._cover(wall)
        # A step's local time begins at the later of what the clocks show before and after it.
        begins = self._steps[1:] + np.maximum(self._offsets[1:], self._offsets[:-1])
        return wall - self._offsets[np.searchsorted(begins, wall, side="right")]

    def _cover(self, instants: NDArray[np.int64]) -> None:
        """Look the steps up for all of these instants and two days around them."""
        if not instants.size:
            return
        first, last = int(instants.min()) - 2 * _DAY_MS, int(instants.max()) + 2 * _DAY_MS
        if self._first <= first and last <= self._last:
            return
        low, high = FIRST_MS + _DAY_MS, LAST_MS - _DAY_MS  # what a datetime can hold in any zone
        first = min(max(min(first, self._first or first), low), high)
        last = min(max(last + _MARGIN_MS, self._last or last, low), high)
        at, offset = first, self._offset(first)
        steps, offsets = [first], [offset]
        while at < last:
            later = min(at + _DAY_MS, last)
            if (changed := self._offset(later)) != offset:
                steps.append(self._step_between(at, later))
                offsets.append(changed)
                offset = changed
            at = later
        self._first, self._last = first, last
        self._steps, self._offsets = np.array(steps, np.int64), np.array(offsets, np.int64)

    def _step_between(self, before: int, after: int) -> int:
        """The first second of the new offset."""
        old = self._offset(before)
        while after - before > _SECOND_MS:
            middle = (before + after) // 2
            if self._offset(middle) == old:
                before = middle
            else:
                after = middle
        return after - after % _SECOND_MS

    def _offset(self, at: int) -> int:
        found = (_EPOCH + at * _MILLISECOND).astimezone(self.info).utcoffset()
        return 0 if found is None else found // _MILLISECOND


def read_zone(name: str) -> ZoneInfo:
    """The zone of an IANA name such as Europe/Berlin.

    Raises:
        UsageError: there is none of that name, or the machine has no time zone data.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        remedy = "use an IANA name such as Europe/Berlin or UTC; if it is one, install the package tzdata"
        raise UsageError(f"{name!r} is not a known time zone", place="--time-zone", remedy=remedy) from error
