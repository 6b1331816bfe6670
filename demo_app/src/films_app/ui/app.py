"""The app: its frame, and which screen is in it."""

from __future__ import annotations

from typing import Any

import flet as ft

from films_app.state import (
    TABS,
    Cloud,
    FilmPage,
    ForYou,
    Search,
    Session,
    Tab,
    UnderTheHood,
    Welcome,
    YourActivity,
    YourPrivacy,
)
from films_app.ui import parts, theme
from films_app.ui.activity import ActivityScreen
from films_app.ui.film import FilmScreen, MissingFilm
from films_app.ui.following import calls, does, follow, part
from films_app.ui.for_you import ForYouScreen
from films_app.ui.hood import HoodScreen
from films_app.ui.privacy import PrivacyScreen
from films_app.ui.search import SearchScreen
from films_app.ui.welcome import WelcomeScreen

_ICONS: dict[Tab, tuple[ft.IconData, ft.IconData]] = {
    "home": (ft.Icons.LOCAL_MOVIES_OUTLINED, ft.Icons.LOCAL_MOVIES),
    "search": (ft.Icons.SEARCH, ft.Icons.SEARCH),
    "activity": (ft.Icons.HISTORY, ft.Icons.HISTORY),
    "privacy": (ft.Icons.SHIELD_OUTLINED, ft.Icons.SHIELD),
    "hood": (ft.Icons.SPEED_OUTLINED, ft.Icons.SPEED),
}
_RAIL_WIDTH = 88
_RULER = 20


class Screens:
    """The stores of one window. Those of films are made when they are opened."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.welcome = Welcome(session)
        self.for_you = ForYou(session)
        self.search = Search(session)
        self.activity = YourActivity(session)
        self.privacy = YourPrivacy(session)
        self.hood = UnderTheHood(session)
        self.cloud = Cloud(session)
        self._films: dict[str, FilmPage] = {}

    def film(self, film_id: str) -> FilmPage | None:
        """The page of a film; None: the catalogue does not have it."""
        if film_id not in self._films:
            film = self.session.film(film_id)
            if film is None:
                return None
            self._films[film_id] = FilmPage(self.session, film)
        return self._films[film_id]


@ft.component
def App(screens: Screens) -> list[ft.View]:  # noqa: N802
    """All views, the one that is seen last."""
    session = screens.session
    follow(session)
    match session.phase:
        case "opening":
            return [_bare(session, _opening(session))]
        case "broken":
            return [_bare(session, _broken(session))]
        case "welcome":
            return [_bare(session, WelcomeScreen(screens.welcome, session.width, session.language))]
        case "ready":
            return [_tabs(screens), *(_film(screens, film_id) for film_id in session.place.films)]


def _bare(session: Session, content: ft.Control) -> ft.View:
    return ft.View(
        route="/",
        padding=0,
        bgcolor=theme.BACKGROUND,
        controls=[_with_notice(session, ft.SafeArea(content=content, expand=True))],
    )


def _tabs(screens: Screens) -> ft.View:
    session = screens.session
    tab = session.place.tab
    width = session.width - (_RAIL_WIDTH if session.is_wide else 0)
    content = ft.Container(_tab(screens, tab, width), expand=True, key=tab)
    frame: ft.Control = content
    if session.is_wide:
        frame = ft.Row(
            [_navigation_rail(session), content],
            spacing=0,
            expand=True,
            vertical_alignment=ft.CrossAxisAlignment.STRETCH,
        )
    return ft.View(
        route="/",
        padding=0,
        bgcolor=theme.BACKGROUND,
        controls=[_with_notice(session, frame)],
        navigation_bar=None if session.is_wide else _navigation_bar(session),
    )


def _film(screens: Screens, film_id: str) -> ft.View:
    session = screens.session
    page = screens.film(film_id)
    content = (
        MissingFilm(session) if page is None else FilmScreen(page, session.width, session.language, session.text_scale)
    )
    return ft.View(
        route=f"/film/{film_id}",
        padding=0,
        bgcolor=theme.BACKGROUND,
        controls=[_with_notice(session, content)],
    )


def _tab(screens: Screens, tab: Tab, width: float) -> ft.Control:
    session = screens.session
    language, version = session.language, session.version
    match tab:
        case "home":
            return ForYouScreen(screens.for_you, width, language, session.text_scale)
        case "search":
            return SearchScreen(screens.search, width, language)
        case "activity":
            return ActivityScreen(screens.activity, width, language, version)
        case "privacy":
            return PrivacyScreen(screens.privacy, width, language, version, session.look, session.is_calm)
        case "hood":
            return HoodScreen(screens.hood, screens.cloud, width, language, version)


def _switches_tab() -> Any:
    async def handle(event: ft.Event[Any]) -> None:
        tab = TABS[event.control.selected_index]
        await ft.context.page.push_route("/" if tab == "home" else f"/{tab}")

    return handle


def _navigation_bar(session: Session) -> ft.NavigationBar:
    texts = session.texts
    return ft.NavigationBar(
        destinations=[
            ft.NavigationBarDestination(
                icon=_ICONS[tab][0],
                selected_icon=_ICONS[tab][1],
                label=texts("tab.hood.short" if tab == "hood" else f"tab.{tab}"),
            )
            for tab in TABS
        ],
        selected_index=TABS.index(session.place.tab),
        on_change=_switches_tab(),
    )


def _navigation_rail(session: Session) -> ft.NavigationRail:
    texts = session.texts
    return ft.NavigationRail(
        destinations=[
            ft.NavigationRailDestination(
                icon=_ICONS[tab][0],
                selected_icon=_ICONS[tab][1],
                label=texts("tab.hood.short" if tab == "hood" else f"tab.{tab}"),
            )
            for tab in TABS
        ],
        selected_index=TABS.index(session.place.tab),
        label_type=ft.NavigationRailLabelType.ALL,
        min_width=_RAIL_WIDTH,
        on_change=_switches_tab(),
    )


def _with_notice(session: Session, content: ft.Control) -> ft.Control:
    return ft.Stack(
        [
            ft.Container(content, left=0, right=0, top=0, bottom=0),
            ft.Container(
                _Notice(session, session.width, session.language),
                left=theme.UNIT,
                right=theme.UNIT,
                bottom=theme.UNIT,
                alignment=ft.Alignment.BOTTOM_CENTER,
            ),
            _Ruler(session),
        ],
        expand=True,
    )


@part
def _Ruler(session: Session) -> ft.Control:  # noqa: N802 - components are named so
    """A text that nobody sees. Its height says how large the device's user wants texts to be."""

    def measured(event: ft.LayoutSizeChangeEvent[ft.LayoutControl]) -> None:
        session.scale_text(event.height / _RULER)

    text = ft.Text("0", style=ft.TextStyle(size=_RULER, height=1), color=ft.Colors.TRANSPARENT)
    ruler = ft.Container(text, on_size_change=measured, size_change_interval=0)
    return ft.Container(
        ft.Semantics(content=ruler, exclude_semantics=True), left=-4 * _RULER, top=0, ignore_interactions=True
    )


@part
def _Notice(session: Session, width: float, language: str) -> ft.Control:  # noqa: N802 - components are named so
    follow(session.notices)
    texts, notice = session.texts, session.notices.current
    if notice is None:
        return ft.Container()
    words: list[ft.Control] = [
        ft.Semantics(
            content=theme.body(notice.text, color=ft.Colors.ON_INVERSE_SURFACE, max_lines=3),
            live_region=True,
            container=True,
            expand=True,
        )
    ]
    if notice.undo is not None:
        words.append(
            parts.tappable(
                texts("undo"),
                theme.strong(texts("undo"), color=ft.Colors.INVERSE_PRIMARY),
                does(notice.undo),
                padding=ft.Padding.symmetric(horizontal=theme.MORE),
                height=theme.TOUCH,
                alignment=ft.Alignment.CENTER,
            )
        )
    words.append(
        parts.icon_button(
            texts("close"), ft.Icons.CLOSE, calls(session.notices.dismiss), colour=ft.Colors.ON_INVERSE_SURFACE
        )
    )
    return ft.Container(
        ft.Row(words, spacing=0),
        bgcolor=ft.Colors.INVERSE_SURFACE,
        border_radius=theme.RADIUS,
        padding=ft.Padding.only(left=theme.MORE, right=theme.HALF, top=theme.HALF, bottom=theme.HALF),
        width=min(width - 2 * theme.UNIT, 560),
        key=f"notice-{notice.number}",
    )


def _opening(session: Session) -> ft.Control:
    texts = session.texts
    return ft.Container(
        ft.Column(
            [
                ft.Icon(ft.Icons.LOCAL_MOVIES, size=48, color=theme.ACCENT),
                theme.display(texts("app"), 40),
                ft.Semantics(content=ft.ProgressRing(color=theme.ACCENT, width=24, height=24), label=texts("loading")),
            ],
            horizontal_alignment=ft.CrossAxisAlignment.CENTER,
            alignment=ft.MainAxisAlignment.CENTER,
            spacing=theme.MORE,
        ),
        alignment=ft.Alignment.CENTER,
        expand=True,
    )


def _broken(session: Session) -> ft.Control:
    texts = session.texts
    return parts.page_of(
        [
            parts.empty(
                ft.Icons.BROKEN_IMAGE_OUTLINED,
                texts("problem.profile"),
                texts("problem.profile_hint"),
                theme.small(session.problem, text_align=ft.TextAlign.CENTER, selectable=True),
                ft.Container(height=theme.UNIT),
                parts.button(texts("retry"), does(session.boot)),
                parts.button(texts("problem.start_over"), does(session.start_over), kind="danger"),
            )
        ],
        session.width,
    )
