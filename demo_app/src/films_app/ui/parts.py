"""What all screens are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flet as ft

from films_app.engine import Film
from films_app.i18n import Texts
from films_app.ui import posters, theme
from films_app.ui.following import part

Handler = Callable[[ft.Event[Any]], Any]


def tappable(label: str, content: ft.Control, on_tap: Handler, **more: Any) -> ft.Control:
    """Something to touch, with a name of its own, for people who see it and for those who do not.

    Args:
        more: of the container, such as ``bgcolor``; and ``selected`` or ``toggled``, for what has a state.
    """
    state = {name: more.pop(name) for name in ("selected", "toggled", "checked") if name in more}
    key = more.pop("key", None)
    more.setdefault("border_radius", theme.RADIUS)
    if not isinstance(content, ft.Image):  # which says nothing
        content = ft.Semantics(content=content, exclude_semantics=True)
    touched = ft.Container(content=content, ink=True, on_click=on_tap, **more)
    return ft.MergeSemantics(content=ft.Semantics(label=label, button=True, content=touched, **state), key=key)


def icon_button(
    label: str, icon: ft.IconData, on_tap: Handler, *, colour: str = theme.INK, bgcolor: str | None = None
) -> ft.MergeSemantics:
    """A round button with a picture only. Its name is read to who cannot see, and shown to who points at it."""
    pressed = ft.IconButton(
        icon=icon,
        icon_color=colour,
        icon_size=22,
        bgcolor=bgcolor,
        width=theme.TOUCH,
        height=theme.TOUCH,
        tooltip=label,
        on_click=on_tap,
    )
    return ft.MergeSemantics(content=pressed)


def button(
    label: str, on_tap: Handler, *, icon: ft.IconData | None = None, kind: str = "filled", name: str = "", **more: Any
) -> ft.Control:
    """A button with words. ``kind``: ``filled`` for what the screen is for, ``quiet`` beside it, ``danger``."""
    ink, ground, line = {
        "filled": (theme.ON_ACCENT, theme.ACCENT, None),
        "quiet": (theme.INK, theme.RAISED, None),
        "danger": (theme.DANGER, ft.Colors.TRANSPARENT, ft.Border.all(1, theme.DANGER)),
    }[kind]
    parts: list[ft.Control] = [] if icon is None else [ft.Icon(icon, color=ink, size=20)]
    parts.append(theme.strong(label, color=ink, max_lines=1, overflow=ft.TextOverflow.ELLIPSIS))
    return tappable(
        name or label,
        ft.Row(parts, spacing=theme.UNIT, tight=True, alignment=ft.MainAxisAlignment.CENTER),
        on_tap,
        bgcolor=ground,
        border=line,
        border_radius=theme.TOUCH / 2,
        padding=ft.Padding.symmetric(horizontal=20),
        height=theme.TOUCH,
        alignment=more.pop("alignment", None),
        **more,
    )


def pill(label: str, selected: bool, on_tap: Handler, *, name: str = "") -> ft.Control:
    """One of several choices."""
    return tappable(
        name or label,
        ft.Row(
            [theme.body(label, color=theme.ON_ACCENT if selected else theme.INK, max_lines=1)],
            tight=True,
            alignment=ft.MainAxisAlignment.CENTER,
        ),
        on_tap,
        selected=selected,
        bgcolor=theme.ACCENT if selected else theme.RAISED,
        border_radius=theme.TOUCH / 2,
        padding=ft.Padding.symmetric(horizontal=theme.MORE),
        height=theme.TOUCH,
    )


def pills(choices: Sequence[ft.Control]) -> ft.Row:
    """Choices side by side; there may be more than fit."""
    return ft.Row(list(choices), scroll=ft.ScrollMode.HIDDEN, spacing=theme.UNIT)


def switch(label: str, detail: str, value: bool, on_tap: Handler) -> ft.Control:
    """A line that is on or off."""
    return tappable(
        label,
        ft.Row(
            [
                ft.Column([theme.strong(label), theme.small(detail)], spacing=theme.HALF, expand=True, tight=True),
                ft.Container(
                    ft.Switch(
                        value=value,
                        active_color=theme.ON_ACCENT,
                        active_track_color=theme.ACCENT,
                        inactive_thumb_color=theme.QUIET,
                        inactive_track_color=theme.RAISED,
                        track_outline_color=theme.LINE,
                    ),
                    ignore_interactions=True,
                ),
            ],
            spacing=theme.MORE,
        ),
        on_tap,
        toggled=value,
        padding=theme.MORE,
        bgcolor=theme.CARD,
    )


def option(label: str, detail: str, selected: bool, on_tap: Handler) -> ft.Control:
    """One of some choices that need a sentence each."""
    return tappable(
        label,
        ft.Row(
            [
                ft.Icon(
                    ft.Icons.RADIO_BUTTON_CHECKED if selected else ft.Icons.RADIO_BUTTON_UNCHECKED,
                    color=theme.ACCENT if selected else theme.QUIET,
                ),
                ft.Column([theme.strong(label), theme.small(detail)], spacing=theme.HALF, expand=True, tight=True),
            ],
            spacing=theme.MORE,
            vertical_alignment=ft.CrossAxisAlignment.START,
        ),
        on_tap,
        selected=selected,
        padding=theme.MORE,
        bgcolor=theme.CARD,
        border=ft.Border.all(2, theme.ACCENT if selected else ft.Colors.TRANSPARENT),
    )


def card(*controls: ft.Control, spacing: float = theme.MORE) -> ft.Container:
    """A part of a screen that belongs together."""
    return ft.Container(
        ft.Column(list(controls), spacing=spacing, horizontal_alignment=ft.CrossAxisAlignment.STRETCH, tight=True),
        bgcolor=theme.CARD,
        border_radius=theme.RADIUS,
        padding=theme.MORE,
    )


def fact(name: str, value: str) -> ft.Row:
    """Something and what it is: in one line, if texts are not so large that it takes two."""
    return ft.Row(
        [theme.small(name), theme.strong(value)],
        wrap=True,
        alignment=ft.MainAxisAlignment.SPACE_BETWEEN,
        vertical_alignment=ft.CrossAxisAlignment.CENTER,
        spacing=theme.UNIT,
        run_spacing=0,
    )


def headed(text: ft.Text) -> ft.Semantics:
    """A heading that can be jumped to."""
    return ft.Semantics(content=text, header=True, container=True)


def bar(share: float, colour: str = theme.ACCENT) -> ft.Control:
    """A share of a whole, 0 to 1, as a bar that grows to it."""
    whole = 1000
    part = max(min(round(share * whole), whole), 6)
    return ft.Container(
        ft.Row(
            [
                ft.Container(bgcolor=colour, border_radius=4, expand=part, height=8),
                ft.Container(expand=whole - part) if part < whole else ft.Container(),
            ],
            spacing=0,
        ),
        bgcolor=theme.RAISED,
        border_radius=4,
        height=8,
    )


def empty(icon: ft.IconData, text: str, hint: str, *actions: ft.Control) -> ft.Container:
    """What a screen says when it has nothing to show."""
    return ft.Container(
        ft.Column(
            [
                ft.Icon(icon, size=40, color=theme.QUIET),
                theme.heading(text, text_align=ft.TextAlign.CENTER),
                theme.small(hint, text_align=ft.TextAlign.CENTER),
                *actions,
            ],
            spacing=theme.UNIT,
            horizontal_alignment=ft.CrossAxisAlignment.CENTER,
            tight=True,
        ),
        padding=theme.HUGE,
        alignment=ft.Alignment.CENTER,
    )


def failed(texts: Texts, problem: str, retry: Handler) -> ft.Container:
    """What a screen says when it could not be read."""
    return empty(ft.Icons.ERROR_OUTLINE, texts("problem.title"), problem, button(texts("retry"), retry, kind="quiet"))


def bone(width: float | None, height: float, radius: float = theme.RADIUS) -> ft.Container:
    """The shape of what is still being read."""
    return ft.Container(width=width, height=height, bgcolor=theme.RAISED, border_radius=radius)


def waiting(texts: Texts, *bones: ft.Control, calm: bool) -> ft.Control:
    """Shapes in the place of what is being read. ``calm``: they do not shimmer."""
    shapes = ft.Column(list(bones), spacing=theme.MORE)
    return ft.Semantics(
        content=shapes if calm else ft.Shimmer(content=shapes, base_color=theme.CARD, highlight_color=theme.RAISED),
        label=texts("loading"),
        container=True,
        exclude_semantics=True,
    )


def describe(texts: Texts, film: Film) -> str:
    """A film in a line, for a screen reader."""
    genres = ", ".join(texts.genre(genre) for genre in film.genres)
    return texts("film.card", title=film.title, year=film.year or "", genres=genres)


def scrim(begins: float, ends: float) -> ft.Container:
    """Lets a picture end in the background: shares of the height at which it begins to, and where words can stand."""
    return ft.Container(
        left=0,
        right=0,
        top=0,
        bottom=0,
        gradient=ft.LinearGradient(
            begin=ft.Alignment.TOP_CENTER,
            end=ft.Alignment.BOTTOM_CENTER,
            colors=[
                ft.Colors.with_opacity(0.0, theme.BACKGROUND),
                ft.Colors.with_opacity(0.0, theme.BACKGROUND),
                ft.Colors.with_opacity(0.94, theme.BACKGROUND),
                theme.BACKGROUND,
            ],
            stops=[0.0, begins, ends, min(ends + 0.15, 1.0)],
        ),
    )


def facts(texts: Texts, film: Film, most: int = 3) -> str:
    """Its year and its genres."""
    genres = [texts.genre(genre) for genre in film.genres[:most]]
    return " · ".join(([str(film.year)] if film.year else []) + genres)


def poster(film: Film, width: float) -> ft.Image:
    """A film's poster. What it shows is said by what it stands in."""
    return ft.Image(
        src=posters.poster(film, width),
        width=width,
        height=width * posters.RATIO,
        border_radius=theme.RADIUS if width > 80 else theme.UNIT,
        exclude_from_semantics=True,
    )


def art(film: Film, width: float, height: float) -> ft.Image:
    """A film's drawing, without words."""
    return ft.Image(src=posters.art(film, width, height), width=width, height=height, exclude_from_semantics=True)


@part
def SearchField(hint: str, before: str, look_for: Callable[[str], None]) -> ft.Control:  # noqa: N802
    """Where a search is typed. It is not drawn again while somebody types: what was typed since would be lost."""

    def typed(event: ft.Event[ft.TextField]) -> None:
        look_for(event.control.value)

    return ft.TextField(
        value=before,
        label=hint,
        on_change=typed,
        prefix_icon=ft.Icons.SEARCH,
        border=ft.OutlineInputBorder(side=ft.BorderSide(0, ft.Colors.TRANSPARENT), border_radius=theme.TOUCH / 2),
        filled=True,
        fill_color=theme.RAISED,
        content_padding=ft.Padding.symmetric(horizontal=theme.MORE, vertical=12),
        text_style=ft.TextStyle(font_family=theme.SANS, font_family_fallback=theme.FALLBACK, size=16, color=theme.INK),
        label_style=ft.TextStyle(font_family=theme.SANS, font_family_fallback=theme.FALLBACK, color=theme.QUIET),
        cursor_color=theme.ACCENT,
        autocorrect=False,
        enable_ime_personalized_learning=False,
    )


def shelf(texts: Texts, films: Sequence[Film], goes: Callable[[str], Handler], width: float = 124) -> ft.ListView:
    """Films side by side, each of which leads to its page."""
    return ft.ListView(
        [
            tappable(describe(texts, film), poster(film, width), goes(f"/film/{film.film_id}"), key=film.film_id)
            for film in films
        ],
        horizontal=True,
        spacing=12,
        height=width * posters.RATIO,
        padding=ft.Padding.symmetric(horizontal=theme.MORE),
    )


def page_of(controls: list[ft.Control], width: float, key: str = "") -> ft.Control:
    """A screen of text: scrolls, and is not wider than can be read."""
    return ft.ListView(
        [
            ft.Container(
                ft.Container(
                    ft.Column(
                        controls, spacing=theme.MORE, horizontal_alignment=ft.CrossAxisAlignment.STRETCH, tight=True
                    ),
                    width=min(width, theme.READING),
                    padding=ft.Padding.only(left=theme.MORE, right=theme.MORE, top=theme.LARGE, bottom=96),
                ),
                alignment=ft.Alignment.TOP_CENTER,
            )
        ],
        expand=True,
        key=key or None,
        build_controls_on_demand=False,
    )
