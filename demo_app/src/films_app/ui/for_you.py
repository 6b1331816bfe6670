"""For you: one film to begin with, and rails that say why."""

from __future__ import annotations

import flet as ft

from films_app.engine import Home, Pick, Rail
from films_app.state import ForYou, Session
from films_app.ui import parts, posters, theme
from films_app.ui.following import does, follow, goes, part

CARD_WIDTH = 124


@part
def ForYouScreen(for_you: ForYou, width: float, language: str) -> ft.Control:  # noqa: N802
    """The screen."""
    follow(for_you)
    texts, home = for_you.session.texts, for_you.home
    if for_you.problem:
        return parts.page_of([parts.failed(texts, for_you.problem, does(for_you.refresh))], width)
    if home is None:
        bones = [parts.bone(None, 420, 0), parts.bone(180, 24), ft.Row([parts.bone(CARD_WIDTH, 186) for _ in range(4)])]
        return ft.Container(parts.waiting(texts, *bones), expand=True)
    if home.hero is None and not home.rails:
        return parts.page_of([parts.empty(ft.Icons.THEATERS, texts("home.empty"), texts("home.empty_hint"))], width)
    blocks: list[ft.Control] = [] if home.hero is None else [_hero(for_you, home, home.hero, width)]
    if not home.is_personal:
        blocks.append(
            ft.Container(
                theme.small(texts("home.general")),
                padding=ft.Padding.symmetric(horizontal=theme.MORE, vertical=theme.UNIT),
            )
        )
    blocks += [_rail(for_you.session, one, home.is_personal) for one in home.rails]
    return ft.ListView(
        blocks,
        expand=True,
        spacing=theme.MORE,
        padding=ft.Padding.only(bottom=96),
        build_controls_on_demand=False,
    )


def _hero(for_you: ForYou, home: Home, pick: Pick, width: float) -> ft.Control:
    session, film = for_you.session, pick.film
    texts = session.texts
    height = 432 if width < 700 else 420
    words = ft.Column(
        [
            theme.small(texts("home.hero").upper(), color=theme.ACCENT, letter_spacing=1.2),
            parts.headed(theme.display(film.title, 36, max_lines=3, overflow=ft.TextOverflow.ELLIPSIS)),
            theme.small(parts.facts(texts, film)),
            theme.body(pick.text, max_lines=2, overflow=ft.TextOverflow.ELLIPSIS),
            ft.Container(height=theme.HALF),
            ft.Row(
                [
                    parts.button(texts("deed.open"), goes(f"/film/{film.film_id}"), icon=ft.Icons.LOCAL_MOVIES),
                    _deed(session, pick, "like", ft.Icons.FAVORITE_BORDER, raised=True),
                    _deed(session, pick, "dislike", ft.Icons.THUMB_DOWN_OFF_ALT, raised=True),
                    _deed(session, pick, "dismiss", ft.Icons.CLOSE, raised=True),
                ],
                spacing=theme.UNIT,
            ),
        ],
        spacing=theme.UNIT,
        tight=True,
    )
    return ft.Container(
        height=height,
        content=ft.Stack(
            [
                parts.Art(film, width, height),
                parts.scrim(0.12, 0.5),
                ft.Container(words, left=theme.MORE, right=theme.MORE, bottom=theme.UNIT),
                ft.Container(
                    parts.icon_button(
                        texts("home.refresh"),
                        ft.Icons.REFRESH,
                        does(for_you.refresh),
                        bgcolor=ft.Colors.with_opacity(0.7, theme.BACKGROUND),
                    ),
                    right=theme.MORE,
                    top=theme.MORE,
                ),
            ],
        ),
    )


def _deed(session: Session, pick: Pick, deed: str, icon: ft.IconData, *, raised: bool = False) -> ft.Control:
    label = session.texts(f"act.{deed}", title=pick.film.title)
    ground = theme.RAISED if raised else None
    return parts.icon_button(
        label, icon, does(session.react, deed, pick), colour=theme.INK if raised else theme.QUIET, bgcolor=ground
    )


def _rail(session: Session, rail: Rail, is_personal: bool) -> ft.Control:
    texts = session.texts
    key = "top_general" if rail.name == "top" and not is_personal else rail.name
    name = texts(f"rail.{key}", title="" if rail.about is None else rail.about.title)
    return ft.Column(
        [
            ft.Container(
                parts.headed(theme.heading(name, max_lines=1, overflow=ft.TextOverflow.ELLIPSIS)),
                padding=ft.Padding.symmetric(horizontal=theme.MORE),
            ),
            ft.ListView(
                [
                    _Card(session, pick, session.language, key=pick.film.film_id)  # type: ignore[call-arg]
                    for pick in rail.picks
                ],
                horizontal=True,
                spacing=12,
                height=CARD_WIDTH * posters.RATIO + theme.TOUCH,
                padding=ft.Padding.symmetric(horizontal=theme.MORE),
            ),
        ],
        spacing=12,
        key=f"{rail.name}-{rail.about.film_id if rail.about else ''}",
    )


@part
def _Card(session: Session, pick: Pick, language: str) -> ft.Control:  # noqa: N802
    texts, film = session.texts, pick.film
    return ft.Column(
        [
            parts.tappable(parts.describe(texts, film), parts.Poster(film, CARD_WIDTH), goes(f"/film/{film.film_id}")),
            ft.Row(
                [
                    _deed(session, pick, "like", ft.Icons.FAVORITE_BORDER),
                    _deed(session, pick, "dismiss", ft.Icons.CLOSE),
                ],
                alignment=ft.MainAxisAlignment.SPACE_BETWEEN,
                width=CARD_WIDTH,
            ),
        ],
        spacing=0,
        tight=True,
    )
