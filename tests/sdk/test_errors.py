"""Errors as an app handles them: they say where, what and what next, and are copied and pickled as what they are."""

from __future__ import annotations

import copy
import pickle

import pytest

from nearhand.errors import CancelledError, EventError, NearhandError, StorageError, UsageError
from nearhand.hybrid import RefusedError
from nearhand.network import DeadlineError

ERRORS: list[NearhandError] = [
    UsageError("k is 0", place="k", remedy="ask for at least 1 item"),
    CancelledError("the call was cancelled"),
    EventError("properties.seconds", "-3 is not seconds", remedy="pass 3"),
    StorageError("disk I/O error", place="events.db", remedy="try again"),
    DeadlineError("no whole answer", place="https://a.example"),
    RefusedError(429, "slow down", place="https://a.example", retry_after_ms=500.0),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_after_a_copy_and_in_another_process(error: NearhandError) -> None:
    for same in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert type(same) is type(error)
        assert str(same) == str(error)
        assert same.args == error.args
        assert vars(same) == vars(error)
        assert (same.problem, same.place, same.remedy) == (error.problem, error.place, error.remedy)
