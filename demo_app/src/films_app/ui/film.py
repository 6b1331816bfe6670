"""A film: what it is, what is like it, what the user did with it, and why it is recommended."""

from __future__ import annotations

from datetime import date

import flet as ft

from films_app.engine import Cause, Deed, Film, Moment, Why
from films_app.i18n import Texts
from films_app.state import FilmPage, Session
from films_app.ui import parts, theme
from films_app.ui.following import calls, does, follow, goes, part

_HEIGHT, _LARGER = 340, 240
"""Of the drawing; and what its words need more when texts are twice as large."""
_KNOWN_EVENTS = frozenset(
    {
        "item_liked",
        "item_disliked",
        "item_viewed",
        "item_clicked",
        "navigated",
        "item_saved",
        "impression",
        "recommendation_dismissed",
        "search",
        "preferences_reset",
    }
)


def event_text(texts: Texts, event: str) -> str:
    """What happened, in words."""
    return texts(f"event.{event if event in _KNOWN_EVENTS else 'other'}")


async def back(session: Session) -> None:
    """To where the film was opened from."""
    await ft.context.page.push_route(session.route_back)


def day_text(session: Session, day: str) -> str:
    """A day as people say it."""
    today = date.fromisoformat(session.engine.today())
    days = (today - date.fromisoformat(day)).days
    return session.texts(("activity.today", "activity.yesterday")[days]) if days in (0, 1) else day


@part
def FilmScreen(page: FilmPage, width: float, language: str, text_scale: float) -> ft.Control:  # noqa: N802
    """The screen."""
    follow(page)
    session, film = page.session, page.film
    texts = session.texts

    async def opened() -> None:
        await session.attempt(session.engine.opened(film, page.recommendation_id))
        await page.load()

    ft.use_effect(opened, [film.film_id])
    ft.use_dialog(None if page.why is None else _why_sheet(page, page.why, width))
    inner = min(width, theme.CONTENT)
    blocks: list[ft.Control] = [
        _top(session, film, width, _HEIGHT + _LARGER * (text_scale - 1)),
        _block(_deeds(page), inner),
    ]
    if page.problem:
        blocks.append(parts.failed(texts, page.problem, does(page.load)))
    mine = tuple(one for one in page.mine if one.event != "impression")
    if mine:
        blocks.append(_block(_mine(session, mine), inner))
    blocks.append(_block(parts.headed(theme.heading(texts("film.similar"))), inner))
    if page.similar is None:
        blocks.append(
            _block(parts.waiting(texts, ft.Row([parts.bone(124, 186) for _ in range(3)]), calm=session.is_calm), inner)
        )
    else:
        blocks.append(parts.shelf(texts, page.similar, goes))
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
            ),
            ft.Container(
                parts.icon_button(
                    texts("back"),
                    ft.Icons.ARROW_BACK,
                    does(back, session),
                    bgcolor=ft.Colors.with_opacity(0.7, theme.BACKGROUND),
                ),
                left=theme.MORE,
                top=theme.MORE,
            ),
        ],
        expand=True,
    )


@ft.component
def MissingFilm(session: Session) -> ft.Control:  # noqa: N802
    """The catalogue does not have the film of this address."""
    texts = session.texts
    return parts.page_of(
        [
            parts.empty(
                ft.Icons.THEATERS,
                texts("film.gone"),
                "",
                parts.button(texts("back"), does(back, session), kind="quiet"),
            )
        ],
        session.width,
    )


def _block(content: ft.Control, width: float) -> ft.Control:
    return ft.Container(
        ft.Container(content, width=width, padding=ft.Padding.symmetric(horizontal=theme.MORE)),
        alignment=ft.Alignment.TOP_CENTER,
    )


def _top(session: Session, film: Film, width: float, height: float) -> ft.Control:
    texts = session.texts
    words: list[ft.Control] = [
        parts.headed(theme.display(film.title, 32, max_lines=3, overflow=ft.TextOverflow.ELLIPSIS)),
        theme.body(parts.facts(texts, film, 4), color=theme.QUIET),
    ]
    if film.director:
        words.append(theme.small(texts("film.directed", director=film.director)))
    return ft.Container(
        height=height,
        content=ft.Stack(
            [
                parts.art(film, width, height),
                parts.scrim(0.2, 0.62),
                ft.Container(
                    ft.Container(
                        ft.Column(words, spacing=theme.UNIT, tight=True), width=min(width, theme.CONTENT) - 32
                    ),
                    left=theme.MORE,
                    right=theme.MORE,
                    bottom=theme.UNIT,
                    alignment=ft.Alignment.BOTTOM_CENTER if width > theme.CONTENT else ft.Alignment.BOTTOM_LEFT,
                ),
            ]
        ),
    )


def _deeds(page: FilmPage) -> ft.Control:
    session, film = page.session, page.film
    texts = session.texts
    opinion = None if page.opinion is None else page.opinion.event

    def deed(name: Deed, icon: ft.IconData, chosen: bool) -> ft.Control:
        async def act() -> None:
            await session.react(name, page.pick)
            await page.load()

        return ft.Column(
            [
                parts.icon_button(
                    texts(f"act.{name}", title=film.title) if name != "watch" else texts("deed.watch"),
                    icon,
                    does(act),
                    colour=theme.ON_ACCENT if chosen else theme.INK,
                    bgcolor=theme.ACCENT if chosen else theme.RAISED,
                ),
                theme.small(texts(f"deed.{name}"), text_align=ft.TextAlign.CENTER),
            ],
            horizontal_alignment=ft.CrossAxisAlignment.CENTER,
            spacing=theme.HALF,
            tight=True,
        )

    seen = any(one.event == "item_viewed" for one in page.mine)
    dismissed = any(one.event == "recommendation_dismissed" for one in page.mine)
    return ft.Column(
        [
            parts.button(
                texts("deed.why"),
                does(page.open_why),
                icon=ft.Icons.AUTO_AWESOME,
                alignment=ft.Alignment.CENTER,
            ),
            ft.Row(
                [
                    deed(
                        "like",
                        ft.Icons.FAVORITE if opinion == "item_liked" else ft.Icons.FAVORITE_BORDER,
                        opinion == "item_liked",
                    ),
                    deed("dislike", ft.Icons.THUMB_DOWN_OFF_ALT, opinion == "item_disliked"),
                    deed("watch", ft.Icons.CHECK, seen),
                    deed("dismiss", ft.Icons.CLOSE, dismissed),
                ],
                wrap=True,
                alignment=ft.MainAxisAlignment.SPACE_AROUND,
                vertical_alignment=ft.CrossAxisAlignment.START,
                spacing=theme.UNIT,
                run_spacing=theme.UNIT,
            ),
        ],
        spacing=theme.MORE,
        horizontal_alignment=ft.CrossAxisAlignment.STRETCH,
    )


def _mine(session: Session, moments: tuple[Moment, ...]) -> ft.Control:
    texts = session.texts
    return parts.card(
        parts.headed(theme.strong(texts("film.mine"))),
        *(
            ft.Row(
                [
                    theme.body(event_text(texts, one.event), expand=True),
                    theme.small(f"{day_text(session, one.day)} · {one.time}"),
                ]
            )
            for one in moments[:6]
        ),
        spacing=theme.UNIT,
    )


def _why_sheet(page: FilmPage, why: Why, width: float) -> ft.BottomSheet:
    texts = page.session.texts
    content: list[ft.Control] = [
        ft.Row(
            [
                ft.Container(
                    parts.headed(theme.title(texts("why.title", title=why.film.title), max_lines=3)), expand=True
                ),
                parts.icon_button(texts("close"), ft.Icons.CLOSE, calls(page.close_why)),
            ],
            vertical_alignment=ft.CrossAxisAlignment.START,
        )
    ]
    if why.causes:
        content += [
            theme.body(why.text),
            theme.small(texts("why.shares")),
            *(_cause(page, cause) for cause in why.causes[:5]),
        ]
    else:
        content.append(theme.body(texts("why.known" if page.opinion is not None else "why.none")))
    content += [
        ft.Container(height=1, bgcolor=theme.LINE),
        parts.button(
            texts("why.less"),
            does(page.less_like),
            icon=ft.Icons.TRENDING_DOWN,
            kind="quiet",
            alignment=ft.Alignment.CENTER,
        ),
    ]

    def dismissed(_: ft.Event[ft.DialogControl]) -> None:
        page.close_why()

    return ft.BottomSheet(
        content=ft.Container(
            ft.Column(
                content,
                spacing=theme.MORE,
                tight=True,
                horizontal_alignment=ft.CrossAxisAlignment.STRETCH,
            ),
            padding=ft.Padding.only(left=theme.MORE, right=theme.MORE, top=theme.MORE, bottom=theme.LARGE),
            width=min(width, theme.READING),
        ),
        bgcolor=theme.CARD,
        scrollable=True,
        shape=ft.RoundedRectangleBorder(radius=ft.BorderRadius.only(top_left=20, top_right=20)),
        on_dismiss=dismissed,
    )


def _cause(page: FilmPage, cause: Cause) -> ft.Control:
    texts, moment = page.session.texts, cause.moment
    name = "" if moment.film is None else moment.film.title
    event = event_text(texts, moment.event)
    share = texts.percent(cause.share)
    return ft.Row(
        [
            ft.Semantics(
                label=texts("why.share", event=event, title=name, share=share),
                container=True,
                exclude_semantics=True,
                expand=True,
                content=ft.Column(
                    [
                        ft.Row(
                            [
                                theme.strong(name, expand=True, max_lines=2, overflow=ft.TextOverflow.ELLIPSIS),
                                theme.strong(share),
                            ]
                        ),
                        parts.bar(cause.share) if cause.share > 0 else parts.bar(-cause.share, theme.DANGER),
                        theme.small(f"{event} · {day_text(page.session, moment.day)} · {moment.time}"),
                    ],
                    spacing=theme.HALF,
                    tight=True,
                ),
            ),
            parts.icon_button(
                texts("why.forget", title=name), ft.Icons.DELETE_OUTLINE, does(page.forget, cause), colour=theme.QUIET
            ),
        ],
        spacing=theme.UNIT,
    )
