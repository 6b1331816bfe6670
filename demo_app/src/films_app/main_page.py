"""Puts the app on the toolkit's page."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import flet as ft

from films_app.engine import Engine
from films_app.state import Session
from films_app.ui import theme
from films_app.ui.app import App, Screens

BUNDLE = "films.nearhand"


@cache
def engine() -> Engine:
    """That of this process: all windows show the same profile."""
    return Engine(bundle_path(), data_path())


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


async def main(page: ft.Page) -> None:
    """One window."""
    locales = page.locale_configuration.supported_locales if page.locale_configuration else []
    session = Session(engine(), locales[0].language_code if locales else "en")
    screens = Screens(session)
    page.title = session.texts("app")
    page.fonts = theme.FONTS
    page.theme, page.dark_theme = theme.theme(theme.LIGHT), theme.theme(theme.DARK)
    page.padding = 0

    def look() -> None:
        mode = ft.ThemeMode(session.look)
        if page.theme_mode != mode:
            page.theme_mode = mode
            page.update()

    def resized(event: ft.PageResizeEvent) -> None:
        session.resize(event.width)

    def routed(event: ft.RouteChangeEvent) -> None:
        session.go(event.route)

    async def popped(_: ft.ViewPopEvent) -> None:
        await page.push_route(session.route_back)

    page.theme_mode = ft.ThemeMode(session.look)
    session.follow(look)
    session.resize(page.width or 390)
    page.on_resize, page.on_route_change, page.on_view_pop = resized, routed, popped
    session.go(page.route)
    page.render_views(App, screens)
    await session.boot()
