"""Group commit: threads that keep something at the same time share one transaction."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from nearhand.errors import StorageError
from nearhand.events.rows import Row


class Unit:
    """What one call wants to be kept, all of it or nothing, and what became of it; None: nothing yet."""

    __slots__ = ("outcome", "rows")

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.outcome: list[Row] | StorageError | None = None


class Groups:
    """Lets one thread at a time lead: it commits what all the others have brought while they waited.

    Whoever waits is woken when a leader has finished, and leads if it was not served. Nobody hands the lead to anybody,
    so a thread that is interrupted, leading or waiting, holds up no other one.

    Args:
        commit: keeps units, and sets the outcome of each: the stored rows, or the error. It is called by one thread at
            a time.
    """

    def __init__(self, commit: Callable[[list[Unit]], None]) -> None:
        self._commit = commit
        self._queue: deque[Unit] = deque()
        self._mutex = threading.Lock()
        self._turn = threading.Condition(self._mutex)
        self._waiting = 0
        self._is_led = False
        self._crowd = 1  # units of the last group

    def keep(self, rows: list[Row]) -> list[Row]:
        """The rows as they are stored now.

        Raises:
            StorageError: they could not be kept; nothing of them has been.
        """
        unit = Unit(rows)
        leads = False
        try:
            with self._mutex:
                if self._is_led:
                    self._queue.append(unit)
                    while self._is_led and unit.outcome is None:
                        self._wait()
                if unit.outcome is None:
                    leads = self._is_led = True
            if leads:
                self._lead(unit)
        finally:
            if leads or unit.outcome is None:
                with self._mutex:
                    if self._queue and unit in self._queue:  # interrupted
                        self._queue.remove(unit)
                    if leads:
                        self._is_led = False
                        if self._waiting:
                            self._turn.notify_all()
        if type(unit.outcome) is list:
            return unit.outcome
        assert isinstance(unit.outcome, StorageError)
        raise unit.outcome

    def _wait(self) -> None:
        self._waiting += 1
        try:
            self._turn.wait()
        finally:
            self._waiting -= 1

    def _lead(self, unit: Unit) -> None:
        if self._crowd > 1:
            time.sleep(0)  # those who were just served come again: a group of all is better than one of one, one of all
        units = [self._queue.popleft() for _ in range(len(self._queue))] if self._queue else []
        if unit not in units:  # it came when nobody led, or a leader took it and was interrupted
            units.append(unit)
        self._crowd = len(units)
        self._commit(units)
