"""What to do about an answer, or about none: one pure function. The rules are those of Segment's own clients."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from nearhand.records import dataclass

_AGAIN = {408, 410, 429, 460}
_NEVER = {501, 505}
_FIRST_MS = 500.0
_CAP_MS = 60_000.0
_JITTER = 0.1
_LEAST_MS = 1_000.0  # in the long run, of an endpoint that asks for less again and again
LONGEST_MS = 86_400_000.0
"""What an endpoint may ask a device to wait at most."""


@dataclass(frozen=True)
class Verdict:
    """What to do.

    Attributes:
        action: ``done``: it is an answer; ``again``: after ``wait_ms``; ``halve``: what was sent is too large;
            ``stop``: to send it again would not help, and whoever runs the app has to change something.
        is_named: whether the endpoint has named the time to wait, so that the try does not count.
    """

    action: Literal["done", "again", "halve", "stop"]
    wait_ms: float = 0.0
    is_named: bool = False


def judge(status: int | None, headers: Mapping[str, str], tries: int, draw: float) -> Verdict:
    """
    Args:
        status: of the answer; None: there was no whole one.
        headers: of the answer, names in lowercase.
        tries: how often it was sent by now, from 1.
        draw: a random number in [0, 1).
    """
    if status is not None:
        if 200 <= status < 300:
            return Verdict("done")
        if status == 413:
            return Verdict("halve")
        if status not in _AGAIN and (status < 500 or status in _NEVER or status > 599):
            return Verdict("stop")
    wait = backoff_ms(tries, draw)
    named = retry_after_ms(headers) if status is not None else None
    return (
        Verdict("again", wait) if named is None else Verdict("again", max(named, min(wait, _LEAST_MS)), is_named=True)
    )


def backoff_ms(tries: int, draw: float) -> float:
    """None before the second try, then half a second and twice as long each time, a minute at most, up to 10 % less."""
    if tries <= 1:
        return 0.0
    return float(min(_FIRST_MS * 2.0 ** min(tries - 2, 30), _CAP_MS)) * (1 - _JITTER * draw)


def retry_after_ms(headers: Mapping[str, str]) -> float | None:
    """What the endpoint asks to wait, a day at most; None: nothing that can be understood.

    A date is compared with the answer's own ``Date``: the device's clock may be off by years.
    """
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,18}", value):
        return min(int(value) * 1000.0, LONGEST_MS)
    until, now = _seconds(value), _seconds(headers.get("date", ""))
    if until is None or now is None:
        return None
    return min(max(until - now, 0.0) * 1000, LONGEST_MS)


def _seconds(text: str) -> float | None:
    from email.utils import mktime_tz, parsedate_tz  # whoever syncs has loaded it with the transport

    try:
        found = parsedate_tz(text)
        return None if found is None else float(mktime_tz(found))
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
