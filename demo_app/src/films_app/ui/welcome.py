"""The first steps: films that the user loves, and what may be kept."""

from __future__ import annotations

import flet as ft

from films_app.engine import Film
from films_app.state import ENOUGH_LOVED, Welcome, consents
from films_app.ui import parts, theme
from films_app.ui.following import calls, does, follow, part

GAP = 12


def columns_of(width: float) -> tuple[int, int]:
    """How many posters stand side by side, and how wide each is."""
    inner = min(width, theme.CONTENT) - 2 * theme.MORE
    columns = max(3, int(inner // 150))
    return columns, int((inner - GAP * (columns - 1)) / columns)


@part
def WelcomeScreen(welcome: Welcome, width: float, language: str) -> ft.Control:  # noqa: N802 - components are named so
    """The two steps."""
    follow(welcome)
    return _films(welcome, width) if welcome.step == 0 else _consent(welcome, width)


def _films(welcome: Welcome, width: float) -> ft.Control:
    texts = welcome.session.texts
    columns, poster_width = columns_of(width)
    films = welcome.films
    rows = [films[start : start + columns] for start in range(0, len(films), columns)]

    head = ft.Column(
        [
            parts.headed(theme.display(texts("welcome.title"), 30)),
            theme.body(texts("welcome.lead"), color=theme.QUIET),
            parts.SearchField(texts("welcome.search"), "", welcome.look_for),
        ],
        spacing=theme.MORE,
        horizontal_alignment=ft.CrossAxisAlignment.STRETCH,
        tight=True,
    )
    shelf: list[ft.Control] = [
        ft.Row([_choice(welcome, film, poster_width) for film in row], spacing=GAP, key=f"row-{row[0].film_id}")
        for row in rows
    ]
    if not films:
        shelf = [parts.empty(ft.Icons.SEARCH_OFF, texts("welcome.none", text=welcome.text), texts("welcome.none_hint"))]
    loved = len(welcome.loved)
    foot = ft.Container(
        ft.Row(
            [
                theme.strong(texts("welcome.picked", count=loved), expand=True),
                parts.button(texts("welcome.next"), calls(welcome.go_to, 1))
                if loved >= ENOUGH_LOVED
                else parts.button(texts("welcome.skip"), calls(welcome.go_to, 1), kind="quiet"),
            ]
        ),
        padding=ft.Padding.symmetric(horizontal=theme.MORE, vertical=12),
        bgcolor=theme.CARD,
    )
    return ft.Column(
        [
            ft.Container(
                ft.Container(head, width=min(width, theme.CONTENT)),
                padding=ft.Padding.only(left=theme.MORE, right=theme.MORE, top=theme.LARGE, bottom=theme.MORE),
                alignment=ft.Alignment.TOP_CENTER,
            ),
            ft.ListView(
                [ft.Container(row, alignment=ft.Alignment.TOP_CENTER) for row in shelf],
                expand=True,
                spacing=GAP,
                padding=ft.Padding.symmetric(horizontal=theme.MORE, vertical=theme.HALF),
            ),
            foot,
        ],
        spacing=0,
        expand=True,
        horizontal_alignment=ft.CrossAxisAlignment.STRETCH,
    )


def _choice(welcome: Welcome, film: Film, width: int) -> ft.Control:
    texts = welcome.session.texts
    is_loved = film in welcome.loved
    tick = ft.Container(
        ft.Icon(ft.Icons.FAVORITE, size=18, color=theme.ON_ACCENT),
        width=32,
        height=32,
        border_radius=16,
        bgcolor=theme.ACCENT,
        alignment=ft.Alignment.CENTER,
        right=8,
        top=8,
        scale=1 if is_loved else 0,
        animate_scale=ft.Animation(180, ft.AnimationCurve.EASE_OUT_BACK),
    )
    rim = ft.Container(
        width=width,
        height=width * 1.5,
        border_radius=theme.RADIUS,
        border=ft.Border.all(3, theme.ACCENT if is_loved else ft.Colors.TRANSPARENT),
    )
    label = texts("film.unpick" if is_loved else "film.pick", title=film.title, year=film.year)
    return parts.tappable(
        label,
        ft.Stack([parts.poster(film, width), rim, tick], width=width, height=width * 1.5),
        calls(welcome.toggle, film),
        selected=is_loved,
    )


def _consent(welcome: Welcome, width: float) -> ft.Control:
    texts = welcome.session.texts
    consent, choose = ft.use_state("local")
    to = welcome.session.engine.addresses.hosts

    def option(level: str) -> ft.Control:
        return parts.option(
            texts(f"consent.{level}"), texts(f"consent.{level}_text", to=to), consent == level, calls(choose, level)
        )

    return parts.page_of(
        [
            ft.Row([parts.icon_button(texts("back"), ft.Icons.ARROW_BACK, calls(welcome.go_to, 0))]),
            parts.headed(theme.display(texts("welcome.consent"), 30)),
            theme.body(texts("welcome.consent_lead"), color=theme.QUIET),
            *map(option, consents(to)),
            ft.Container(height=theme.UNIT),
            parts.waiting(texts, parts.bone(None, theme.TOUCH, 24), calm=welcome.session.is_calm)
            if welcome.is_busy
            else parts.button(texts("welcome.start"), does(welcome.finish, consent), alignment=ft.Alignment.CENTER),
        ],
        width,
    )
