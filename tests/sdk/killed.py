"""A process that is killed before a step of its work, whichever that is."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from typing import Any


class Dying(sqlite3.Connection):
    """Kills the process before a statement, or another step, when there is none left that it may do."""

    left = -2

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        die_if_due()
        return super().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> sqlite3.Cursor:
        die_if_due()
        return super().executemany(sql, parameters)


def die_if_due() -> None:
    Dying.left -= 1
    if Dying.left == -1:
        os.kill(os.getpid(), signal.SIGKILL)


def dying(work: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **named: Any) -> Any:
        die_if_due()
        return work(*args, **named)

    return call


def is_killed(after: int, work: Callable[[], object], prepare: Callable[[], object] = lambda: None) -> bool:
    """Whether a fork that works, once it is prepared, was killed before it had done ``after`` more steps.

    A step is a statement of a :class:`Dying` connection, or a call of what is :func:`dying`.
    """
    child = os.fork()
    if child == 0:
        try:
            Dying.left = -2
            prepare()
            Dying.left = after
            work()
        finally:
            os._exit(0 if Dying.left >= 0 else 1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "it failed"
    return os.WIFSIGNALED(status)
