"""What a device does about an answer: every status code, both forms of Retry-After, and clocks that are wrong."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearhand.sync.retry import LONGEST_MS, backoff_ms, judge, retry_after_ms

DAY_S = 86_400
NOW_S = 1_795_000_000


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_has_its_action(status: int) -> None:
    if 200 <= status < 300:
        expected = "done"
    elif status == 413:
        expected = "halve"
    elif status in (408, 410, 429, 460) or (status >= 500 and status not in (501, 505)):
        expected = "again"
    else:
        expected = "stop"
    verdict = judge(status, {}, 1, 0.0)
    assert verdict.action == expected
    assert (verdict.wait_ms, verdict.is_named) == (0, False)


def test_no_answer_is_tried_again() -> None:
    assert judge(None, {}, 1, 0.9).action == "again"
    assert not judge(None, {"retry-after": "5"}, 1, 0.9).is_named


def test_the_first_retry_is_at_once_and_the_later_ones_take_twice_as_long_each() -> None:
    assert [backoff_ms(tries, 0.0) for tries in range(1, 12)] == [
        0, 500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000,
    ]  # fmt: skip
    assert backoff_ms(10**6, 0.0) == 60_000


@given(st.integers(2, 1000), st.floats(0, 1, exclude_max=True))
def test_the_jitter_is_at_most_a_tenth_and_never_above_the_cap(tries: int, draw: float) -> None:
    whole = backoff_ms(tries, 0.0)
    assert 0.9 * whole <= backoff_ms(tries, draw) <= whole <= 60_000


@pytest.mark.parametrize("status", [408, 410, 429, 460, 500, 502, 503, 504, 507, 599])
@pytest.mark.parametrize("years", [-10, 0, 10])
def test_both_forms_are_honoured_whatever_the_device_thinks_of_the_year(status: int, years: int) -> None:
    """The date is the endpoint's own: nothing here asks the device's clock, which is off by ``years``."""
    endpoint_s = NOW_S + years * 365 * DAY_S
    for headers in (
        {"retry-after": "90"},
        {"retry-after": formatdate(endpoint_s + 90, usegmt=True), "date": formatdate(endpoint_s, usegmt=True)},
    ):
        verdict = judge(status, headers, 1, 0.0)
        assert (verdict.action, verdict.wait_ms, verdict.is_named) == ("again", 90_000, True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0),
        (" 7 ", 7_000),
        ("86401", LONGEST_MS),
        ("9" * 18, LONGEST_MS),
        ("Sun, 06 Nov 1994 08:49:47 GMT", 10_000),
        ("Sunday, 06-Nov-94 08:49:47 GMT", 10_000),  # the obsolete forms of RFC 9110
        ("Sun Nov  6 08:49:47 1994", 10_000),
        ("Sun, 06 Nov 1994 08:49:27 GMT", 0),
        ("Thu, 06 Nov 2094 08:49:27 GMT", LONGEST_MS),
    ],
)
def test_what_is_asked_for(value: str, expected: float) -> None:
    assert retry_after_ms({"retry-after": value, "date": "Sun, 06 Nov 1994 08:49:37 GMT"}) == expected


@pytest.mark.parametrize("value", ["", "-1", "1.5", "soon", "1e3", "٣", "9" * 19, "Sun, 99 Foo 1994 99:99:99 GMT"])
def test_what_cannot_be_understood_counts_as_nothing(value: str) -> None:
    headers = {"retry-after": value, "date": "Sun, 06 Nov 1994 08:49:37 GMT"}
    assert retry_after_ms(headers) is None
    assert judge(503, headers, 3, 0.0).wait_ms == 1000


def test_a_date_without_the_answers_own_is_not_compared_with_the_devices_clock() -> None:
    assert retry_after_ms({"retry-after": formatdate(NOW_S + 90, usegmt=True)}) is None


@given(st.text(), st.text())
def test_no_header_raises(value: str, date: str) -> None:
    found = retry_after_ms({"retry-after": value, "date": date})
    assert found is None or 0 <= found <= LONGEST_MS


def test_a_named_time_that_is_none_is_a_second_in_the_end() -> None:
    """An endpoint that says 0 again and again is not asked again and again at once."""
    assert [judge(429, {"retry-after": "0"}, tries, 0.0).wait_ms for tries in (1, 2, 5)] == [0, 500, 1000]
