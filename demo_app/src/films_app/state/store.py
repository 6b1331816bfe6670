"""What a screen can follow."""

from __future__ import annotations

from collections.abc import Callable

Listener = Callable[[], None]


class Store:
    """Holds what a screen shows, and tells who follows it when that has changed. Used from one event loop."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def follow(self, listener: Listener) -> Callable[[], None]:
        """Be told of every change from now on, until what this returns is called."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def changed(self) -> None:
        """Tell those who follow."""
        for listener in tuple(self._listeners):
            listener()
