"""Search and browse: everything in the catalogue, while typing."""

from __future__ import annotations

import flet as ft

from films_app.engine import SORTS
from films_app.state import Search
from films_app.ui import parts, theme
from films_app.ui.following import calls, follow, goes, part
from films_app.ui.welcome import GAP, columns_of

_GENRES = 14


@part
def SearchScreen(search: Search, width: float, language: str) -> ft.Control:  # noqa: N802
    """The screen."""
    follow(search)
    texts, catalogue, question = search.session.texts, search.session.catalogue, search.question
    before = ft.use_memo(lambda: search.question.text, [search.cleared])
    columns, poster_width = columns_of(width)
    films = search.films
    shown = films[: search.shown]

    def by_genre(genre: str | None) -> ft.Control:
        label = texts("search.all_genres") if genre is None else texts.genre(genre)
        act = calls(lambda: search.filter(genre=genre, decade=question.decade))
        return parts.pill(label, question.genre == genre, act)

    def by_decade(decade: int | None) -> ft.Control:
        label = texts("search.all_decades") if decade is None else texts("search.decade", decade=decade)
        act = calls(lambda: search.filter(genre=question.genre, decade=decade))
        return parts.pill(label, question.decade == decade, act)

    following = SORTS[(SORTS.index(question.sort) + 1) % len(SORTS)]
    sort = texts("search.sort", sort=texts(f"search.sort.{question.sort}"))
    head: list[ft.Control] = [
        _aside(parts.headed(theme.title(texts("search.title")))),
        _aside(parts.SearchField(texts("search.hint"), before, search.look_for), key=f"field-{search.cleared}"),
        _sideways([by_genre(genre) for genre in (None, *catalogue.genres[:_GENRES])]),
        _sideways([by_decade(decade) for decade in (None, *catalogue.decades)]),
        _aside(
            ft.Row(
                [
                    ft.Semantics(
                        content=theme.small(texts("search.count", count=texts.number(len(films)))),
                        live_region=True,
                        container=True,
                        expand=True,
                    ),
                    parts.tappable(
                        sort,
                        ft.Row(
                            [ft.Icon(ft.Icons.SWAP_VERT, size=20, color=theme.ACCENT), theme.strong(sort)],
                            spacing=theme.HALF,
                            tight=True,
                        ),
                        calls(search.sort, following),
                        height=theme.TOUCH,
                        padding=ft.Padding.symmetric(horizontal=theme.UNIT),
                    ),
                ]
            )
        ),
    ]
    rows: list[ft.Control] = [
        _aside(
            ft.Row(
                [
                    parts.tappable(
                        parts.describe(texts, film), parts.poster(film, poster_width), goes(f"/film/{film.film_id}")
                    )
                    for film in shown[start : start + columns]
                ],
                spacing=GAP,
            ),
            key=f"row-{shown[start].film_id}",
        )
        for start in range(0, len(shown), columns)
    ]
    if not films:
        rows = [
            parts.empty(
                ft.Icons.SEARCH_OFF,
                texts("search.none"),
                texts("search.none_hint"),
                parts.button(texts("search.clear"), calls(search.clear), kind="quiet"),
            )
        ]
    elif len(shown) < len(films):
        more = parts.button(texts("search.more"), calls(search.more), kind="quiet")
        rows.append(_aside(ft.Row([more], alignment=ft.MainAxisAlignment.CENTER)))
    return ft.Column(
        [
            ft.Container(
                ft.Column(head, spacing=theme.UNIT, tight=True, horizontal_alignment=ft.CrossAxisAlignment.STRETCH),
                padding=ft.Padding.only(top=theme.LARGE),
                width=min(width, theme.CONTENT),
            ),
            ft.ListView(
                [
                    ft.Container(ft.Container(row, width=min(width, theme.CONTENT)), alignment=ft.Alignment.TOP_CENTER)
                    for row in rows
                ],
                expand=True,
                spacing=GAP,
                padding=ft.Padding.only(top=theme.HALF, bottom=96),
            ),
        ],
        spacing=theme.HALF,
        expand=True,
        horizontal_alignment=ft.CrossAxisAlignment.CENTER if width > theme.CONTENT else ft.CrossAxisAlignment.STRETCH,
    )


def _aside(content: ft.Control, key: str = "") -> ft.Container:
    return ft.Container(content, padding=ft.Padding.symmetric(horizontal=theme.MORE), key=key or None)


def _sideways(choices: list[ft.Control]) -> ft.Control:
    return ft.ListView(
        choices,
        horizontal=True,
        height=theme.TOUCH,
        spacing=theme.UNIT,
        padding=ft.Padding.symmetric(horizontal=theme.MORE),
    )
