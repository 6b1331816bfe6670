"""For you: one film to begin with, and rails that say why."""

from __future__ import annotations

import math

import flet as ft

from films_app.engine import Film, Rail, Source
from films_app.state import ForYou, Sight, slots
from films_app.state.for_you import Pull
from films_app.ui import parts, posters, theme
from films_app.ui.cloud import chip
from films_app.ui.following import does, follow, goes, part

CARD_WIDTH = 124
_GAP = 12
_HERO, _HERO_WIDE = 432, 420
_HEADING = 24
_RAIL = CARD_WIDTH * posters.RATIO + theme.TOUCH
"""Heights: of the first film, and of a rail's heading and its films."""
_LARGER = 300
"""So much more height the first film's words need when texts are twice as large."""
_NEAR = 48
"""So far out of sight cards are drawn already: each that is costs time whenever the lists change."""


@part
def ForYouScreen(for_you: ForYou, width: float, language: str, text_scale: float) -> ft.Control:  # noqa: N802
    """The screen."""
    follow(for_you)
    texts, home = for_you.session.texts, for_you.shown
    hero = (_HERO if width < 700 else _HERO_WIDE) + _LARGER * (text_scale - 1)

    def look(pixels: float, height: float) -> None:
        for_you.sight = _sight(pixels, height, width, hero)

    async def scrolled(event: ft.OnScrollEvent) -> None:
        look(event.pixels, event.viewport_dimension)
        if _pulled(for_you.pull, event):
            await for_you.refresh()

    ft.use_effect(lambda: look(0, for_you.session.height), [])
    if for_you.problem and home is None:
        return parts.page_of([parts.failed(texts, for_you.problem, does(for_you.refresh))], width)
    if home is None:
        return skeleton(for_you, width)
    if home.hero is None and not home.rails:
        return parts.page_of([parts.empty(ft.Icons.THEATERS, texts("home.empty"), texts("home.empty_hint"))], width)
    blocks: list[ft.Control] = []
    if home.hero is not None:
        source = for_you.source(home.hero)
        blocks.append(_Hero(for_you, home.hero.film, home.hero.text, source, width, hero, language))
    if not home.is_personal:
        blocks.append(
            ft.Container(
                theme.small(texts("home.general")),
                padding=ft.Padding.symmetric(horizontal=theme.MORE, vertical=theme.UNIT),
                key="general",
            )
        )
    blocks += [_rail(for_you, slot, rail, home.is_personal) for slot, rail in slots(home)]
    return ft.Stack(
        [
            ft.ListView(
                blocks,
                left=0,
                right=0,
                top=0,
                bottom=0,
                spacing=theme.MORE,
                padding=ft.Padding.only(bottom=96),
                build_controls_on_demand=False,
                on_scroll=scrolled,
                scroll_interval=30,
                cache_extent=2 * _NEAR,
            ),
            _Pulled(for_you.pull),
        ],
        expand=True,
    )


def skeleton(for_you: ForYou, width: float) -> ft.Control:
    """The shapes of the screen, until there is a list."""
    films = ft.Row([parts.bone(CARD_WIDTH, CARD_WIDTH * posters.RATIO) for _ in range(8)], spacing=_GAP)
    return ft.Container(
        parts.waiting(
            for_you.session.texts,
            parts.bone(None, _HERO if width < 700 else _HERO_WIDE, 0),
            ft.Container(
                ft.Column([parts.bone(180, _HEADING, theme.UNIT), films], spacing=_GAP, tight=True),
                padding=ft.Padding.symmetric(horizontal=theme.MORE),
            ),
            calm=for_you.session.is_calm,
        ),
        expand=True,
        clip_behavior=ft.ClipBehavior.HARD_EDGE,
    )


def _sight(pixels: float, height: float, width: float, hero: float) -> Sight:
    """What can be seen, so far down. Half a rail more or less makes no difference."""
    step = _HEADING + _GAP + _RAIL + theme.MORE
    top = pixels - hero
    first, last = math.floor(top / step), math.floor((top + height) / step)
    return Sight(max(first, 0), max(last, 0), math.ceil(width / (CARD_WIDTH + _GAP)))


def _pulled(pull: Pull, event: ft.OnScrollEvent) -> bool:
    """Follow a finger that pulls the screen down; whether it has let go, far enough.

    Where lists end in a hard stop there are overscroll events; where they bounce, the offset is negative.
    """
    match event.event_type:
        case ft.ScrollType.OVERSCROLL if event.overscroll is not None and event.pixels <= 0:
            pull.by(-event.overscroll)
        case ft.ScrollType.UPDATE:
            pull.to(max(-event.pixels, 0.0))
        case ft.ScrollType.END:
            return pull.let_go()
    return False


@part
def _Pulled(pull: Pull) -> ft.Control:  # noqa: N802 - components are named so
    follow(pull)
    return ft.Container(
        ft.Container(
            ft.ProgressRing(value=pull.share, width=22, height=22, stroke_width=3, color=theme.ACCENT),
            width=44,
            height=44,
            border_radius=22,
            bgcolor=theme.RAISED,
            alignment=ft.Alignment.CENTER,
            opacity=min(pull.share * 2, 1),
        ),
        left=0,
        right=0,
        top=theme.UNIT + 48 * pull.share - 60 * (pull.share == 0),
        alignment=ft.Alignment.TOP_CENTER,
        ignore_interactions=True,
    )


@part
def _Hero(  # noqa: N802
    for_you: ForYou, film: Film, text: str, source: Source | None, width: float, height: float, language: str
) -> ft.Control:
    texts = for_you.session.texts
    words = ft.Column(
        [
            ft.Row(
                [
                    theme.small(texts("home.hero").upper(), color=theme.ACCENT, letter_spacing=1.2),
                    *([] if source is None else [chip(texts, source, has_words=True)]),
                ],
                wrap=True,
                vertical_alignment=ft.CrossAxisAlignment.CENTER,
                spacing=12,
                run_spacing=theme.HALF,
            ),
            parts.headed(theme.display(film.title, 36, max_lines=3, overflow=ft.TextOverflow.ELLIPSIS)),
            theme.small(parts.facts(texts, film)),
            theme.body(text, max_lines=2, overflow=ft.TextOverflow.ELLIPSIS),
            ft.Container(height=theme.HALF),
            ft.Row(
                [
                    _See(for_you, language),
                    _deed(for_you, film, "", "like", ft.Icons.FAVORITE_BORDER, raised=True),
                    _deed(for_you, film, "", "dislike", ft.Icons.THUMB_DOWN_OFF_ALT, raised=True),
                    _deed(for_you, film, "", "dismiss", ft.Icons.CLOSE, raised=True),
                ],
                wrap=True,
                spacing=theme.UNIT,
                run_spacing=theme.UNIT,
            ),
        ],
        spacing=theme.UNIT,
        tight=True,
    )
    return ft.Container(
        height=height,
        content=ft.Stack(
            [
                parts.art(film, width, height),
                parts.scrim(0.12, 0.5),
                ft.Container(words, left=theme.MORE, right=theme.MORE, bottom=theme.UNIT),
                ft.Container(_Refresh(for_you, language), right=theme.MORE, top=theme.MORE),
            ],
        ),
    )


@part
def _See(for_you: ForYou, language: str) -> ft.Control:  # noqa: N802
    async def go(event: ft.Event[ft.Container]) -> None:
        if for_you.home is not None and for_you.home.hero is not None:
            await goes(f"/film/{for_you.home.hero.film.film_id}")(event)

    return parts.button(for_you.session.texts("deed.open"), go, icon=ft.Icons.LOCAL_MOVIES)


@part
def _Refresh(for_you: ForYou, language: str) -> ft.Control:  # noqa: N802
    ground = ft.Colors.with_opacity(0.7, theme.BACKGROUND)
    return parts.icon_button(
        for_you.session.texts("home.refresh"), ft.Icons.REFRESH, does(for_you.refresh), bgcolor=ground
    )


def _deed(for_you: ForYou, film: Film, slot: str, deed: str, icon: ft.IconData, *, raised: bool = False) -> ft.Control:
    label = for_you.session.texts(f"act.{deed}", title=film.title)
    ground = theme.RAISED if raised else None
    return parts.icon_button(
        label, icon, does(for_you.react, deed, film, slot), colour=theme.INK if raised else theme.QUIET, bgcolor=ground
    )


def _rail(for_you: ForYou, slot: str, rail: Rail, is_personal: bool) -> ft.Control:
    texts, language = for_you.session.texts, for_you.session.language
    key = "top_general" if rail.name == "top" and not is_personal else rail.name
    name = texts(f"rail.{key}", title="" if rail.about is None else rail.about.title)
    films, source = tuple(pick.film for pick in rail.picks), for_you.source(*rail.picks)
    return _Rail(for_you, slot, name, films, source, language, key=slot)  # type: ignore[call-arg]


@part
def _Rail(  # noqa: N802
    for_you: ForYou, slot: str, name: str, films: tuple[Film, ...], source: Source | None, language: str
) -> ft.Control:
    heading = parts.headed(theme.heading(name, max_lines=1, overflow=ft.TextOverflow.ELLIPSIS))
    where = [] if source is None else [chip(for_you.session.texts, source, has_words=False)]

    def scrolled(event: ft.OnScrollEvent) -> None:
        for_you.left[slot] = max(int((event.pixels - theme.MORE) // (CARD_WIDTH + _GAP)), 0)

    return ft.Column(
        [
            ft.Container(
                ft.Row([ft.Container(heading, expand=True), *where]),
                padding=ft.Padding.symmetric(horizontal=theme.MORE),
            ),
            ft.ListView(
                [
                    _Card(for_you, slot, film, language, key=film.film_id)  # type: ignore[call-arg]
                    for film in films
                ],
                horizontal=True,
                spacing=_GAP,
                height=_RAIL,
                padding=ft.Padding.symmetric(horizontal=theme.MORE),
                on_scroll=scrolled,
                scroll_interval=200,
                cache_extent=_NEAR,
            ),
        ],
        spacing=_GAP,
    )


@part
def _Card(for_you: ForYou, slot: str, film: Film, language: str) -> ft.Control:  # noqa: N802
    texts = for_you.session.texts
    return ft.Column(
        [
            parts.tappable(parts.describe(texts, film), parts.poster(film, CARD_WIDTH), goes(f"/film/{film.film_id}")),
            ft.Row(
                [
                    _deed(for_you, film, slot, "like", ft.Icons.FAVORITE_BORDER),
                    _deed(for_you, film, slot, "dismiss", ft.Icons.CLOSE),
                ],
                alignment=ft.MainAxisAlignment.SPACE_BETWEEN,
                width=CARD_WIDTH,
            ),
        ],
        spacing=0,
        tight=True,
    )
