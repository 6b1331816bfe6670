"""Your activity: everything that was recorded, by day, and the taste that it makes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import flet as ft

from films_app.engine import Activity, Moment, Taste
from films_app.state import Session, YourActivity
from films_app.ui import parts, theme
from films_app.ui.film import day_text, event_text
from films_app.ui.following import calls, does, follow, part

_GENRES = 6
_COLOURS = ("#F6B24A", "#5FB0B7", "#E4705A", "#8C7AE6", "#7FB069", "#C97BB2")
_CHART = 96


@dataclass(frozen=True)
class _Line:
    """One line of the list: an event, or several that happened as one, such as films that were shown together."""

    moments: tuple[Moment, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(one.event_id for one in self.moments)

    @property
    def first(self) -> Moment:
        return self.moments[0]


@part
def ActivityScreen(activity: YourActivity, width: float, language: str, version: int) -> ft.Control:  # noqa: N802
    """The screen."""
    follow(activity)
    session = activity.session
    texts, found = session.texts, activity.activity
    ft.use_effect(activity.load, [version])
    ft.use_dialog(_reset_dialog(activity) if activity.is_resetting else None)
    head: list[ft.Control] = [
        parts.headed(theme.title(texts("activity.title"))),
        theme.body(texts("activity.lead"), color=theme.QUIET),
    ]
    if activity.problem:
        return parts.page_of([*head, parts.failed(texts, activity.problem, does(activity.load))], width)
    if found is None:
        return parts.page_of(
            [*head, parts.waiting(texts, parts.bone(None, 160), parts.bone(None, 320), calm=session.is_calm)], width
        )
    if not found.moments:
        return parts.page_of(
            [*head, parts.empty(ft.Icons.HISTORY, texts("activity.empty"), texts("activity.empty_hint"))], width
        )
    return parts.page_of([*head, _taste(activity, found.taste), _tools(activity), *_days(activity, found)], width)


def _taste(activity: YourActivity, taste: Taste) -> ft.Control:
    texts = activity.session.texts
    content: list[ft.Control] = [parts.headed(theme.heading(texts("activity.taste")))]
    if not taste.genres:
        return parts.card(*content, theme.small(texts("activity.taste_empty")))
    strongest = taste.genres[:_GENRES]
    most = strongest[0].share
    for place, one in enumerate(strongest):
        name, share = texts.genre(one.genre), texts.percent(one.share)
        content.append(
            ft.Semantics(
                label=texts("activity.taste_share", genre=name, share=share),
                container=True,
                exclude_semantics=True,
                content=ft.Column(
                    [
                        ft.Row([theme.body(name, expand=True), theme.strong(share)]),
                        parts.bar(one.share / most, _COLOURS[place]),
                    ],
                    spacing=theme.HALF,
                    tight=True,
                ),
            )
        )
    if len(taste.days) > 1:
        content += [theme.small(texts("activity.taste_days")), _over_time(taste)]
    content.append(ft.Row([parts.button(texts("activity.reset"), calls(activity.ask_reset, True), kind="quiet")]))
    return parts.card(*content)


def _over_time(taste: Taste) -> ft.Control:
    """A column for each day, with the strongest genres stacked as their shares of that day."""
    columns: list[ft.Control] = []
    for place, day in enumerate(taste.days):
        parts_of_day = [
            ft.Container(bgcolor=_COLOURS[genre], height=_CHART * one.by_day[place])
            for genre, one in enumerate(taste.genres[:_GENRES])
            if one.by_day[place] > 0
        ]
        columns.append(
            ft.Column(
                [
                    ft.Container(
                        ft.Column(
                            list(parts_of_day),
                            spacing=0,
                            alignment=ft.MainAxisAlignment.END,
                            horizontal_alignment=ft.CrossAxisAlignment.STRETCH,
                        ),
                        height=_CHART,
                        border_radius=4,
                        clip_behavior=ft.ClipBehavior.ANTI_ALIAS,
                        bgcolor=theme.RAISED,
                    ),
                    theme.small(day[8:], text_align=ft.TextAlign.CENTER),
                ],
                expand=True,
                spacing=theme.HALF,
                horizontal_alignment=ft.CrossAxisAlignment.STRETCH,
            )
        )
    return ft.Semantics(
        content=ft.Row(columns, spacing=theme.UNIT), exclude_semantics=True, container=True, label=", ".join(taste.days)
    )


def _tools(activity: YourActivity) -> ft.Control:
    texts = activity.session.texts
    if not activity.is_choosing:
        return ft.Row(
            [
                parts.button(
                    texts("activity.choose"), calls(activity.choose, True), icon=ft.Icons.CHECKLIST, kind="quiet"
                )
            ]
        )
    buttons: list[ft.Control] = [parts.button(texts("cancel"), calls(activity.choose, False), kind="quiet")]
    if activity.chosen:
        count = len(activity.chosen)
        buttons.append(
            parts.button(
                texts("activity.delete_count", count=count),
                does(activity.delete, tuple(activity.chosen)),
                icon=ft.Icons.DELETE_OUTLINE,
                kind="danger",
            )
        )
    return ft.Row(buttons, spacing=theme.UNIT)


def _days(activity: YourActivity, found: Activity) -> list[ft.Control]:
    blocks: list[ft.Control] = []
    moments_shown = found.moments[: activity.shown]
    for day, moments in groupby(moments_shown, key=lambda one: one.day):
        blocks.append(parts.headed(theme.strong(day_text(activity.session, day), color=theme.QUIET)))
        lines = [_line(activity, line) for line in _lines(list(moments))]
        blocks.append(
            ft.Container(
                ft.Column(lines, spacing=0, tight=True, horizontal_alignment=ft.CrossAxisAlignment.STRETCH),
                bgcolor=theme.CARD,
                border_radius=theme.RADIUS,
            )
        )
    if len(moments_shown) < len(found.moments):
        more = parts.button(activity.session.texts("search.more"), calls(activity.more), kind="quiet")
        blocks.append(ft.Row([more], alignment=ft.MainAxisAlignment.CENTER))
    return blocks


def _lines(moments: list[Moment]) -> list[_Line]:
    """Films that were shown at one moment make one line."""
    lines = []
    for (_, event), together in groupby(moments, key=lambda one: (one.at_ms // 1000, one.event)):
        if event == "impression":
            lines.append(_Line(tuple(together)))
        else:
            lines += [_Line((one,)) for one in together]
    return lines


def _line(activity: YourActivity, line: _Line) -> ft.Control:
    session, moment = activity.session, line.first
    texts = session.texts
    event = event_text(texts, moment.event)
    about = _about(session, line)
    words: list[ft.Control] = [
        theme.body(about or event, max_lines=1, overflow=ft.TextOverflow.ELLIPSIS),
        theme.small(
            f"{event} · {moment.time}" + (f" · {texts('activity.past')}" if moment.is_past else "")
            if about
            else moment.time
        ),
    ]
    picture: ft.Control
    if len(line.moments) == 1 and moment.film is not None:
        picture = parts.poster(moment.film, 36)
    else:
        icon = {"search": ft.Icons.SEARCH, "impression": ft.Icons.VISIBILITY_OUTLINED}.get(
            moment.event, ft.Icons.REFRESH
        )
        picture = ft.Container(
            ft.Icon(icon, color=theme.QUIET, size=20), width=36, height=54, alignment=ft.Alignment.CENTER
        )
    row: list[ft.Control] = [
        ft.Container(picture, opacity=0.5 if moment.is_past else 1),
        ft.Column(words, spacing=0, expand=True, tight=True),
    ]
    is_marker = moment.event == "preferences_reset"
    if activity.is_choosing:
        if is_marker:
            return ft.Container(
                ft.Row(row, spacing=12), padding=ft.Padding.symmetric(horizontal=12, vertical=theme.UNIT)
            )
        is_chosen = frozenset(line.ids) <= activity.chosen
        row.append(
            ft.Icon(
                ft.Icons.CHECK_CIRCLE if is_chosen else ft.Icons.CIRCLE_OUTLINED,
                color=theme.ACCENT if is_chosen else theme.QUIET,
            )
        )
        return parts.tappable(
            texts("activity.select_one", event=event, title=about, time=moment.time),
            ft.Row(row, spacing=12),
            calls(activity.toggle, line.ids),
            checked=is_chosen,
            padding=ft.Padding.symmetric(horizontal=12, vertical=theme.UNIT),
        )
    if not is_marker:
        row.append(
            parts.icon_button(
                texts("activity.delete_one", event=event, title=about, time=moment.time),
                ft.Icons.DELETE_OUTLINE,
                does(activity.delete, line.ids),
                colour=theme.QUIET,
            )
        )
    return ft.Container(
        ft.Row(row, spacing=12),
        padding=ft.Padding.only(left=12, right=theme.HALF, top=theme.UNIT, bottom=theme.UNIT),
        key=moment.event_id,
    )


def _about(session: Session, line: _Line) -> str:
    if len(line.moments) > 1:
        return session.texts("activity.films_shown", count=len(line.moments))
    moment = line.first
    if moment.film is not None:
        return moment.film.title
    return f"“{moment.detail}”" if moment.detail else ""


def _reset_dialog(activity: YourActivity) -> ft.AlertDialog:
    texts = activity.session.texts
    return confirm(
        texts("activity.reset_ask"),
        texts("activity.reset_text"),
        parts.button(texts("activity.reset"), does(activity.reset_taste), kind="danger"),
        parts.button(texts("cancel"), calls(activity.ask_reset, False), kind="quiet"),
        lambda: activity.ask_reset(False),
    )


def confirm(question: str, text: str, yes: ft.Control, no: ft.Control, dismissed: object) -> ft.AlertDialog:
    """Asks before something that has no way back."""

    def closed(_: ft.Event[ft.DialogControl]) -> None:
        dismissed()  # type: ignore[operator]

    return ft.AlertDialog(
        title=theme.heading(question),
        content=ft.Container(theme.body(text), width=320),
        actions=[no, yes],
        bgcolor=theme.CARD,
        shape=ft.RoundedRectangleBorder(radius=20),
        on_dismiss=closed,
    )
