"""Puts the app on the toolkit's page."""

from __future__ import annotations

import os
from contextvars import copy_context
from functools import cache
from pathlib import Path

import flet as ft

from films_app.engine import Addresses, Engine, Look
from films_app.i18n import NAMES
from films_app.state import Session
from films_app.ui import theme
from films_app.ui.app import App, Screens

BUNDLE = "films.nearhand"
_BACKGROUND = (ft.AppLifecycleState.PAUSE, ft.AppLifecycleState.HIDE)


@cache
def engine() -> Engine:
    """That of this process: all windows show the same profile."""
    return Engine(bundle_path(), data_path(), addresses=Addresses.named(os.environ))


def bundle_path() -> Path:
    """``FILMS_BUNDLE``, else the one among the app's assets, else what ``make demo`` has built."""
    if named := os.environ.get("FILMS_BUNDLE"):
        return Path(named)
    asset = Path(os.environ.get("FLET_ASSETS_DIR", "assets")) / BUNDLE
    return asset if asset.is_file() else Path("build") / BUNDLE


def data_path() -> Path:
    """``FILMS_DATA``, else where the system lets the app write."""
    if named := os.environ.get("FILMS_DATA") or os.environ.get("FLET_APP_STORAGE_DATA"):
        return Path(named)
    return Path("build") / "films-data"


def dress(page: ft.Page, look: Look, is_calm: bool) -> None:
    """Give a window the look that the user wants."""
    page.theme_mode = ft.ThemeMode(look)
    page.theme, page.dark_theme = theme.theme(theme.LIGHT, calm=is_calm), theme.theme(theme.DARK, calm=is_calm)


async def main(page: ft.Page) -> None:
    """One window."""
    shared = engine()
    session = Session(shared, "en")
    screens = Screens(session)
    page.title = session.texts("app")
    page.fonts = theme.FONTS
    page.locale_configuration = ft.LocaleConfiguration([ft.Locale(language) for language in NAMES])
    page.padding = 0
    looks = (session.look, session.is_calm)
    dress(page, *looks)

    def look() -> None:
        nonlocal looks
        if looks != (session.look, session.is_calm):
            looks = (session.look, session.is_calm)
            dress(page, *looks)
            page.update()

    def changed_elsewhere(by: object) -> None:
        if by is not session and page.session.connection is not None:  # None: nobody is looking just now
            # In a context of its own: in that of the window that changed it, this would become the current one.
            copy_context().run(page.run_task, session.follow_others)

    def resized(event: ft.PageResizeEvent) -> None:
        session.resize(event.width, event.height)

    def routed(event: ft.RouteChangeEvent) -> None:
        session.go(event.route)

    async def popped(_: ft.ViewPopEvent) -> None:
        await page.push_route(session.route_back)

    async def spoken(event: ft.LocaleChangeEvent) -> None:
        if event.locales:
            await session.hear_language(event.locales[0].language_code)

    async def lived(event: ft.AppLifecycleStateChangeEvent) -> None:
        if not page.web and event.state in _BACKGROUND:  # in a browser other windows may go on
            await shared.pause()
        elif not page.web and event.state == ft.AppLifecycleState.RESUME:
            await shared.resume()

    async def seen_again(_: ft.Event[ft.Page]) -> None:
        await session.follow_others()

    leave = shared.follow(changed_elsewhere)

    def closed(_: ft.Event[ft.Page]) -> None:
        leave()

    session.follow(look)
    session.resize(page.width or 390, page.height or 844)
    page.on_resize, page.on_route_change, page.on_view_pop = resized, routed, popped
    page.on_locale_change, page.on_app_lifecycle_state_change, page.on_close = spoken, lived, closed
    page.on_connect = seen_again
    session.go(page.route)
    page.render_views(App, screens)
    await session.boot()
    device = await page.get_device_info()
    if device is not None and device.locales:
        await session.hear_language(device.locales[0].language_code)
