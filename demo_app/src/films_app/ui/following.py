"""Components follow stores: what a component was given is drawn again when it has changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, cast

import flet as ft

from films_app.state import Store

P = ParamSpec("P")


def part(draw: Callable[P, ft.Control]) -> Callable[P, ft.Control]:
    """A component that is drawn again only if what it is given has changed, or a store that it follows.

    What is given is compared, so it has to say everything that the picture depends on, such as the language.
    """
    drawn = ft.memo(ft.component(draw))  # type: ignore[no-untyped-call]
    return cast(Callable[P, ft.Control], drawn)


class _Bridge(ft.Observable):
    """The toolkit's way to be told, in front of the state's own."""

    def __init__(self, store: Store) -> None:
        self.leave = store.follow(self._told)

    def _told(self) -> None:
        self.notify()  # type: ignore[no-untyped-call]


def follow(store: Store) -> None:
    """Draw the calling component again whenever the store has changed."""
    bridge = ft.use_memo(lambda: _Bridge(store), [store])
    ft.use_state(bridge)  # which listens to it
    ft.use_effect(lambda: None, [store], cleanup=bridge.leave)


def does(work: Callable[..., Awaitable[object]], *args: object) -> Callable[[ft.Event[Any]], Coroutine[Any, Any, None]]:
    """A handler that does something that takes its time."""

    async def handle(_: ft.Event[Any]) -> None:
        await work(*args)

    return handle


def calls(work: Callable[..., object], *args: object) -> Callable[[ft.Event[Any]], None]:
    """A handler that does something at once."""

    def handle(_: ft.Event[Any]) -> None:
        work(*args)

    return handle


def goes(route: str) -> Callable[[ft.Event[Any]], Coroutine[Any, Any, None]]:
    """A handler that leads to another screen."""

    async def handle(_: ft.Event[Any]) -> None:
        await ft.context.page.push_route(route)

    return handle
