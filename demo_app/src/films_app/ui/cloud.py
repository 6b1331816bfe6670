"""What lies beyond the device, on the screens: what is sent, what was, and whether the cloud ranks the lists."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import flet as ft

from films_app.engine import Beyond, Hood, Source
from films_app.i18n import Texts
from films_app.state import Cloud
from films_app.ui import parts, theme
from films_app.ui.following import calls, does, follow, goes, part
from nearhand.hybrid import HybridStatus, RouteDecision
from nearhand.privacy import AuditEntry
from nearhand.sync import SyncStatus

_DECISIONS = 5
_ENTRIES = 8


@part
def CloudCards(cloud: Cloud, hood: Hood, language: str) -> ft.Control:  # noqa: N802 - components are named so
    """Cards for what the app was given an address of. ``hood``: read them anew when that was."""
    follow(cloud)
    ft.use_effect(cloud.load, [hood])
    texts, beyond = cloud.session.texts, cloud.beyond
    if cloud.problem:
        return parts.card(parts.failed(texts, cloud.problem, does(cloud.load)))
    if beyond is None:
        return parts.waiting(texts, parts.bone(None, 180), calm=cloud.session.is_calm)
    cards = []
    if beyond.outbox is not None:
        cards.append(_sync(cloud, beyond, beyond.outbox))
    if beyond.can_rank:
        cards.append(_ranking(cloud, beyond))
    return ft.Column(cards, spacing=theme.MORE, tight=True, horizontal_alignment=ft.CrossAxisAlignment.STRETCH)


def chip(texts: Texts, source: Source, *, has_words: bool) -> ft.Control:
    """Where a list was ranked. Without words, beside a heading that needs the room, it says so to who listens."""
    label = texts(f"source.{source}")
    shown: list[ft.Control] = [_mark(is_cloud=source == "cloud", size=14)]
    if has_words:
        shown.append(theme.small(label, color=theme.INK, max_lines=1))
    return ft.Semantics(
        content=ft.Container(
            ft.Row(shown, spacing=theme.HALF, tight=True),
            bgcolor=theme.RAISED,
            border_radius=theme.MORE,
            padding=ft.Padding.symmetric(horizontal=theme.UNIT, vertical=theme.HALF),
        ),
        label=label,
        container=True,
        exclude_semantics=True,
    )


def _mark(*, is_cloud: bool, size: int) -> ft.Icon:
    icon, colour = (ft.Icons.CLOUD_OUTLINED, theme.ACCENT) if is_cloud else (ft.Icons.SMARTPHONE, theme.QUIET)
    return ft.Icon(icon, size=size, color=colour)


@part
def AuditList(texts: Texts, audit: tuple[AuditEntry, ...]) -> ft.Control:  # noqa: N802 - components are named so
    """What has left the device: when, what, how much, where to and why. The latest first."""
    shown, show = ft.use_state(_ENTRIES)
    lines: list[ft.Control] = [parts.headed(theme.heading(texts("privacy.audit")))]
    if not audit:
        lines.append(
            ft.Row(
                [
                    ft.Icon(ft.Icons.LOCK_OUTLINE, color=theme.ACCENT),
                    theme.body(texts("privacy.audit_empty"), expand=True),
                ]
            )
        )
    elif any(entry.why != "export" for entry in audit):
        lines.append(theme.small(texts("audit.note")))
    lines += [_entry(texts, entry) for entry in audit[:shown]]
    if shown < len(audit):
        lines.append(ft.Row([parts.button(texts("search.more"), calls(show, shown + 4 * _ENTRIES), kind="quiet")]))
    return parts.card(*lines, spacing=12)


def _entry(texts: Texts, entry: AuditEntry) -> ft.Control:
    count = texts.number(entry.count)
    what = texts(f"audit.{entry.what}", count=count) if texts.has(f"audit.{entry.what}") else f"{entry.what}: {count}"
    line = texts(
        "audit.line",
        time=_time(entry.at, "%Y-%m-%d %H:%M"),
        size=texts.size(entry.bytes),
        to=texts("audit.file") if entry.why == "export" else entry.to.partition("://")[2] or entry.to,
        why=texts(f"audit.why.{entry.why}"),
    )
    return ft.Semantics(
        content=ft.Row(
            [
                ft.Icon(_AUDIT_ICONS.get(entry.why, ft.Icons.NORTH_EAST), size=20, color=theme.QUIET),
                ft.Column([theme.strong(what), theme.small(line)], spacing=0, expand=True, tight=True),
            ],
            spacing=12,
            vertical_alignment=ft.CrossAxisAlignment.START,
        ),
        label=f"{what}, {line}",
        container=True,
        exclude_semantics=True,
    )


_AUDIT_ICONS = {
    "sync": ft.Icons.CLOUD_UPLOAD_OUTLINED,
    "erase": ft.Icons.DELETE_OUTLINE,
    "recommend": ft.Icons.CLOUD_OUTLINED,
    "export": ft.Icons.DOWNLOAD,
}


def _sync(cloud: Cloud, beyond: Beyond, outbox: SyncStatus) -> ft.Control:
    texts = cloud.session.texts
    last = outbox.last_success_at
    lines: list[ft.Control] = [parts.headed(theme.heading(texts("sync.title")))]
    is_allowed = beyond.consent == "sync"
    if not is_allowed:
        lines.append(theme.small(texts("sync.consent")))
    lines.append(parts.fact(texts("sync.to"), cloud.session.engine.addresses.hosts.partition(",")[0]))
    if is_allowed or outbox.pending:
        lines.append(parts.fact(texts("sync.waiting"), texts.number(outbox.pending)))
    if outbox.erasures:
        lines.append(parts.fact(texts("sync.erasures"), texts.number(outbox.erasures)))
    lines.append(
        parts.fact(texts("sync.last"), texts("sync.never") if last is None else _time(last, "%Y-%m-%d %H:%M:%S"))
    )
    lines += [
        parts.fact(texts("sync.dropped", reason=_dropped(texts, reason)), texts.number(count))
        for reason, count in outbox.dropped.items()
    ]
    if cloud.is_sending:
        lines += _progress(cloud)
    else:
        lines += _outcome(cloud, beyond)
        if is_allowed or outbox.erasures:
            send = parts.button(texts("sync.send"), does(cloud.send), icon=ft.Icons.CLOUD_UPLOAD_OUTLINED, kind="quiet")
            lines.append(ft.Row([send]))
        else:
            lines.append(_choose(texts))
    return parts.card(*lines, spacing=theme.UNIT)


def _progress(cloud: Cloud) -> Sequence[ft.Control]:
    texts = cloud.session.texts
    said = texts("sync.progress", done=texts.number(cloud.sent), all=texts.number(cloud.total))
    return (
        ft.Semantics(content=theme.body(said), live_region=True, container=True),
        parts.bar(cloud.sent / (cloud.total or 1)),
        ft.Row([parts.button(texts("sync.stop"), calls(cloud.stop), icon=ft.Icons.CLOSE, kind="quiet")]),
    )


def _outcome(cloud: Cloud, beyond: Beyond) -> Sequence[ft.Control]:
    """What came of the latest sync, said to who listens too."""
    texts, report = cloud.session.texts, cloud.report
    if report is None:
        return ()
    details = report.errors
    if report.is_complete:
        said = texts("sync.done", events=texts.number(report.events_sent), erasures=texts.number(report.erasures))
    elif beyond.is_in_flight:
        said, details = texts("sync.flight"), ()
    else:
        said = texts("sync.part")
    return (
        ft.Semantics(content=theme.body(said), live_region=True, container=True),
        *(theme.small(detail, selectable=True) for detail in details),
    )


def _dropped(texts: Texts, reason: str) -> str:
    return texts(f"sync.drop.{reason}") if reason in ("log_bytes", "log_days", "too large") else reason


def _choose(texts: Texts) -> ft.Control:
    return ft.Row([parts.button(texts("sync.choose"), goes("/privacy"), icon=ft.Icons.SHIELD_OUTLINED, kind="quiet")])


def _ranking(cloud: Cloud, beyond: Beyond) -> ft.Control:
    texts = cloud.session.texts
    heading = parts.headed(theme.heading(texts("cloud.title")))
    if beyond.consent != "sync":
        return parts.card(heading, theme.small(texts("cloud.consent")), _choose(texts), spacing=theme.UNIT)
    lines: list[ft.Control] = []
    if beyond.cloud is not None:
        lines = _server(texts, beyond.cloud)
    return ft.Container(
        ft.Column(
            [
                ft.Container(heading, padding=ft.Padding.only(left=theme.MORE, right=theme.MORE, top=theme.MORE)),
                parts.switch(
                    texts("cloud.switch"),
                    texts("cloud.switch_text", to=cloud.session.engine.addresses.heavy.partition("://")[2]),
                    beyond.asks,
                    does(cloud.ask, not beyond.asks),
                ),
                ft.Container(
                    ft.Column(
                        lines,
                        spacing=theme.UNIT,
                        tight=True,
                        horizontal_alignment=ft.CrossAxisAlignment.STRETCH,
                    ),
                    padding=ft.Padding.only(left=theme.MORE, right=theme.MORE, bottom=theme.MORE),
                    visible=bool(lines),
                ),
            ],
            spacing=0,
            tight=True,
            horizontal_alignment=ft.CrossAxisAlignment.STRETCH,
        ),
        bgcolor=theme.CARD,
        border_radius=theme.RADIUS,
    )


def _server(texts: Texts, status: HybridStatus) -> list[ft.Control]:
    took = texts("cloud.latency_none")
    if status.p50_ms is not None and status.p90_ms is not None:
        took = texts("cloud.latency_value", p50=texts.number(status.p50_ms), p90=texts.number(status.p90_ms))
    state = texts(f"cloud.server.{status.breaker}", seconds=texts.number(-(-status.opens_in_ms // 1000)))
    lines = [
        parts.fact(texts("cloud.server"), state),
        parts.fact(texts("cloud.latency"), took),
        theme.strong(texts("cloud.last")),
    ]
    if not status.last:
        lines.append(theme.small(texts("cloud.last_none")))
    return lines + [_decision(texts, one) for one in reversed(status.last[-_DECISIONS:])]


def _decision(texts: Texts, decision: RouteDecision) -> ft.Control:
    is_cloud = decision.outcome == "cloud"
    text = texts(
        "cloud.decision",
        time=_time(decision.at, "%H:%M:%S"),
        where=texts("source.cloud" if is_cloud else "source.device"),
        why=_why(texts, decision.reason if decision.outcome in ("cloud", "local") else decision.outcome),
    )
    return ft.Row(
        [
            _mark(is_cloud=is_cloud, size=16),
            theme.small(text, expand=True),
        ],
        spacing=theme.UNIT,
        vertical_alignment=ft.CrossAxisAlignment.START,
    )


def _why(texts: Texts, code: str) -> str:
    if code.startswith("status_"):
        return texts("cloud.why.status", status=code.removeprefix("status_"))
    known = "late" if code == "timeout" else code
    key = f"cloud.why.{known}"
    return texts(key) if texts.has(key) else texts("cloud.why.other", code=code)


def _time(at_ms: int, form: str) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC).astimezone():{form}}"
