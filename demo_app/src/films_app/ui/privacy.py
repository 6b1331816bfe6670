"""Privacy: what may be kept, what is, what has left, and how all of it goes."""

from __future__ import annotations

import flet as ft

from films_app.engine import LOOKS, Film, Look, Stored
from films_app.i18n import NAMES
from films_app.state import YourPrivacy, consents
from films_app.ui import parts, theme
from films_app.ui.activity import confirm
from films_app.ui.cloud import AuditList
from films_app.ui.following import calls, does, follow, part


@part
def PrivacyScreen(  # noqa: N802
    privacy: YourPrivacy, width: float, language: str, version: int, look: Look, calm: bool
) -> ft.Control:
    """The screen."""
    follow(privacy)
    session = privacy.session
    texts, stored = session.texts, privacy.stored
    ft.use_effect(privacy.load, [version])
    ft.use_dialog(_erase_dialog(privacy) if privacy.is_erasing else None)
    is_sent = stored is not None and stored.consent == "sync"
    head: list[ft.Control] = [
        parts.headed(theme.title(texts("privacy.title"))),
        theme.body(texts("privacy.lead_sync" if is_sent else "privacy.lead"), color=theme.QUIET),
    ]
    if privacy.problem:
        return parts.page_of([*head, parts.failed(texts, privacy.problem, does(privacy.load))], width)
    if stored is None:
        return parts.page_of(
            [*head, parts.waiting(texts, parts.bone(None, 180), parts.bone(None, 240), calm=session.is_calm)], width
        )
    return parts.page_of(
        [
            *head,
            *_consent(privacy, stored),
            _kept(privacy, stored),
            AuditList(texts, stored.audit),
            *_hidden(privacy, stored),
            *_choices(privacy),
            ft.Container(height=theme.UNIT),
            parts.button(
                texts("privacy.erase"),
                calls(privacy.ask_erase, True),
                icon=ft.Icons.DELETE_FOREVER_OUTLINED,
                kind="danger",
                alignment=ft.Alignment.CENTER,
            ),
        ],
        width,
    )


def _consent(privacy: YourPrivacy, stored: Stored) -> list[ft.Control]:
    texts = privacy.session.texts
    is_off, to = stored.consent == "off", privacy.session.engine.addresses.hosts
    options: list[ft.Control] = [parts.headed(theme.heading(texts("privacy.consent")))]
    options += [
        parts.option(
            texts(f"consent.{level}"),
            texts(f"consent.{level}_text", to=to),
            stored.consent == level,
            does(privacy.set_consent, level),
        )
        for level in consents(to)
    ]
    if not to:
        options.append(theme.small(texts("consent.nowhere")))
    if not is_off:
        options.append(
            parts.switch(
                texts("privacy.personal"),
                texts("privacy.personal_text"),
                stored.is_personalized,
                does(privacy.set_personalized, not stored.is_personalized),
            )
        )
    return options


def _kept(privacy: YourPrivacy, stored: Stored) -> ft.Control:
    texts = privacy.session.texts
    lines: list[ft.Control] = [
        ft.Row(
            [
                ft.Container(parts.headed(theme.heading(texts("privacy.stored"))), expand=True),
                theme.strong(texts.size(stored.bytes), color=theme.ACCENT),
            ]
        ),
        theme.body(texts("privacy.rows", count=texts.number(stored.rows))),
    ]
    whole = stored.bytes or 1
    for purpose, size in sorted(((name, size) for name, size in stored.files.items() if size), key=lambda one: -one[1]):
        lines.append(
            ft.Column(
                [
                    ft.Row([theme.small(texts(f"privacy.file.{purpose}"), expand=True), theme.small(texts.size(size))]),
                    parts.bar(size / whole),
                ],
                spacing=theme.HALF,
                tight=True,
            )
        )
    lines.append(
        parts.button(
            texts("privacy.export"),
            does(privacy.export),
            icon=ft.Icons.DOWNLOAD,
            kind="quiet",
            alignment=ft.Alignment.CENTER,
        )
    )
    lines += [theme.small(texts("privacy.set_aside", name=name)) for name in stored.set_aside]
    if privacy.exported:
        lines.append(theme.small(texts("privacy.exported", path=privacy.exported), selectable=True))
    return parts.card(*lines, spacing=12)


def _hidden(privacy: YourPrivacy, stored: Stored) -> list[ft.Control]:
    texts = privacy.session.texts

    def line(film: Film) -> ft.Control:
        return ft.Row(
            [
                parts.poster(film, 36),
                theme.body(film.title, expand=True, max_lines=2),
                parts.button(
                    texts("privacy.hidden_back_short"),
                    does(privacy.unblock, film),
                    kind="quiet",
                    name=texts("privacy.hidden_back", title=film.title),
                ),
            ],
            spacing=12,
        )

    return [
        parts.card(parts.headed(theme.heading(texts(name))), *(line(film) for film in films), spacing=theme.UNIT)
        for name, films in (("privacy.hidden", stored.blocked), ("privacy.less_like", stored.less_like))
        if films
    ]


def _choices(privacy: YourPrivacy) -> list[ft.Control]:
    session = privacy.session
    texts = session.texts
    return [
        parts.card(
            parts.headed(theme.heading(texts("privacy.look"))),
            parts.pills(
                [
                    parts.pill(texts(f"privacy.look.{look}"), session.look == look, does(session.set_look, look))
                    for look in LOOKS
                ]
            ),
            spacing=12,
        ),
        parts.switch(
            texts("privacy.calm"),
            texts("privacy.calm_text"),
            session.is_calm,
            does(session.set_calm, not session.is_calm),
        ),
        parts.card(
            parts.headed(theme.heading(texts("privacy.language"))),
            parts.pills(
                [
                    parts.pill(name, session.language == language, does(session.set_language, language))
                    for language, name in NAMES.items()
                ]
            ),
            spacing=12,
        ),
    ]


def _erase_dialog(privacy: YourPrivacy) -> ft.AlertDialog:
    texts, to = privacy.session.texts, privacy.session.engine.addresses.endpoint.partition("://")[2]
    return confirm(
        texts("privacy.erase_ask"),
        texts("privacy.erase_text_sync", to=to) if to else texts("privacy.erase_text"),
        parts.button(texts("privacy.erase_yes"), does(privacy.erase), kind="danger"),
        parts.button(texts("cancel"), calls(privacy.ask_erase, False), kind="quiet"),
        lambda: privacy.ask_erase(False),
    )
