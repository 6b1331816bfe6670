"""Under the hood: what runs, how fast, and what else could run."""

from __future__ import annotations

import math

import flet as ft
import flet.canvas as cv

from films_app.engine import DEADLINE_MS, Forecast, Hood, Variant
from films_app.state import Cloud, UnderTheHood
from films_app.ui import parts, theme
from films_app.ui.cloud import CloudCards
from films_app.ui.following import does, follow, part

_BINS = 16
_HEIGHT = 120
_LEAST_MS, _MOST_MS = 0.25, 400.0


@part
def HoodScreen(  # noqa: N802
    under: UnderTheHood, cloud: Cloud, width: float, language: str, version: int
) -> ft.Control:
    """The screen."""
    follow(under)
    session = under.session
    texts, hood = session.texts, under.hood
    ft.use_effect(under.load, [version])
    head: list[ft.Control] = [
        parts.headed(theme.title(texts("hood.title"))),
        theme.body(texts("hood.lead"), color=theme.QUIET),
    ]
    if under.problem:
        return parts.page_of([*head, parts.failed(texts, under.problem, does(under.load))], width)
    if hood is None:
        return parts.page_of(
            [*head, parts.waiting(texts, parts.bone(None, 220), parts.bone(None, 280), calm=session.is_calm)], width
        )
    chart_width = min(width, theme.READING) - 4 * theme.MORE
    return parts.page_of(
        [
            *head,
            _latency(under, hood, chart_width),
            _model(under, hood),
            _flight(under, hood),
            *([CloudCards(cloud, hood, language)] if session.engine.addresses.hosts else []),
            *[_forecast(under, one) for one in hood.forecasts],
            *[_advice(under, policy) for policy in hood.policies],
            _features(under, hood),
            _degraded(under, hood),
        ],
        width,
    )


def _latency(under: UnderTheHood, hood: Hood, width: float) -> ft.Control:
    texts = under.session.texts
    content: list[ft.Control] = [parts.headed(theme.heading(texts("hood.latency")))]
    if hood.durations_ms:
        ordered = sorted(hood.durations_ms)
        p50, p95 = (ordered[round((len(ordered) - 1) * share)] for share in (0.5, 0.95))
        text = texts(
            "hood.latency_text",
            p50=texts.number(p50, 1),
            p95=texts.number(p95, 1),
            count=len(ordered),
            limit=round(DEADLINE_MS),
        )
        content += [
            ft.Semantics(
                content=_histogram(hood, width, texts("hood.limit", limit=round(DEADLINE_MS))),
                label=text,
                container=True,
                exclude_semantics=True,
                image=True,
            ),
            theme.small(text),
        ]
    else:
        content.append(theme.small(texts("hood.latency_none")))
    content.append(
        ft.Row([parts.button(texts("hood.measure"), does(under.measure), icon=ft.Icons.SPEED, kind="quiet")])
    )
    return parts.card(*content)


def _histogram(hood: Hood, width: float, limit: str) -> ft.Control:
    """How many lists took how long, on a logarithmic axis, with the line that none should cross."""
    counts = [0] * _BINS
    for duration in hood.durations_ms:
        counts[min(max(int(_place(duration) * _BINS), 0), _BINS - 1)] += 1
    most, step = max(counts), width / _BINS
    shapes: list[cv.Shape] = [
        cv.Line(0, _HEIGHT, width, _HEIGHT, paint=ft.Paint(color=theme.LINE, stroke_width=1)),
    ]
    for place, count in enumerate(counts):
        height = (_HEIGHT - 24) * count / most
        colour = theme.DANGER if (place + 0.5) / _BINS > _place(DEADLINE_MS) else theme.ACCENT
        if count:
            shapes.append(
                cv.Rect(
                    place * step + 1.5,
                    _HEIGHT - max(height, 3),
                    step - 3,
                    max(height, 3),
                    border_radius=ft.BorderRadius.only(top_left=3, top_right=3),
                    paint=ft.Paint(color=colour),
                )
            )
    line = _place(DEADLINE_MS) * width
    shapes.append(
        cv.Line(line, 0, line, _HEIGHT, paint=ft.Paint(color=theme.INK, stroke_width=1.5, stroke_dash_pattern=[4, 4]))
    )
    words = ft.TextStyle(size=12, font_family=theme.SANS, font_family_fallback=theme.FALLBACK, color=theme.QUIET)
    shapes += [cv.Text(max(_place(mark) * width - 16, 0), _HEIGHT + 4, f"{mark:g} ms", words) for mark in (1, 10, 100)]
    shapes.append(
        cv.Text(line - 6, 0, limit, words.copy(color=theme.INK), alignment=ft.Alignment.TOP_RIGHT)
    )  # part of the picture, which does not grow with the texts
    return cv.Canvas(shapes, width=width, height=_HEIGHT + 24)


def _place(duration_ms: float) -> float:
    """From the left (0) to the right (1)."""
    return math.log(max(duration_ms, _LEAST_MS) / _LEAST_MS) / math.log(_MOST_MS / _LEAST_MS)


def _model(under: UnderTheHood, hood: Hood) -> ft.Control:
    texts = under.session.texts
    content: list[ft.Control] = [
        parts.headed(theme.heading(texts("hood.model"))),
        theme.body(f"{hood.bundle} · {hood.digest[:12]}"),
        theme.small(texts("hood.model_text", films=texts.number(hood.films), version=hood.version)),
        parts.fact(texts("hood.runtime"), f"{hood.runtime} {hood.runtime_version} · {hood.precision}"),
    ]
    if hood.ranker:
        content.append(parts.fact(texts("hood.ranker"), hood.ranker))
    content += [_variant(under, one) for one in hood.variants]
    return parts.card(*content, spacing=theme.UNIT)


def _variant(under: UnderTheHood, variant: Variant) -> ft.Control:
    texts = under.session.texts
    runtime = {"onnx": "ONNX", "tflite": "TFLite", "ort": "ORT"}[variant.runtime]
    name = texts("hood.variant", runtime=runtime, precision=variant.precision)
    detail = texts("hood.variant_text", size=texts.size(variant.bytes), overlap=texts.percent(variant.overlap))
    state: ft.Control = ft.Icon(
        ft.Icons.RADIO_BUTTON_CHECKED if variant.is_active else ft.Icons.RADIO_BUTTON_UNCHECKED,
        color=theme.ACCENT if variant.is_active else theme.QUIET,
    )
    if under.switching == variant:
        state = ft.ProgressRing(width=20, height=20, color=theme.ACCENT)
    label = texts("hood.variant_use", runtime=runtime, precision=variant.precision, size=texts.size(variant.bytes))
    return parts.tappable(
        label,
        ft.Row(
            [state, ft.Column([theme.strong(name), theme.small(detail)], spacing=0, expand=True, tight=True)],
            spacing=12,
        ),
        does(under.use, variant),
        selected=variant.is_active,
        padding=12,
        bgcolor=theme.RAISED,
    )


def _flight(under: UnderTheHood, hood: Hood) -> ft.Control:
    texts = under.session.texts
    content: list[ft.Control] = [
        parts.switch(
            texts("hood.flight"), texts("hood.flight_text"), hood.is_in_flight, does(under.fly, not hood.is_in_flight)
        )
    ]
    if hood.is_in_flight:
        content.append(
            ft.Container(
                ft.Row(
                    [
                        ft.Semantics(
                            content=theme.body(texts("hood.flight_refused", count=hood.refused)),
                            live_region=True,
                            container=True,
                        ),
                        parts.button(texts("hood.flight_prove"), does(under.prove), kind="quiet"),
                    ],
                    wrap=True,
                    spacing=theme.MORE,
                    run_spacing=theme.UNIT,
                ),
                padding=ft.Padding.only(left=theme.MORE, right=theme.MORE, bottom=theme.MORE),
            )
        )
    return ft.Container(
        ft.Column(content, spacing=0, tight=True, horizontal_alignment=ft.CrossAxisAlignment.STRETCH),
        bgcolor=theme.CARD,
        border_radius=theme.RADIUS,
    )


def _forecast(under: UnderTheHood, forecast: Forecast) -> ft.Control:
    texts = under.session.texts
    share = texts.percent(forecast.value)
    return parts.card(
        ft.Row(
            [
                ft.Container(parts.headed(theme.heading(texts("hood.forecast", name=forecast.name))), expand=True),
                theme.strong(share, color=theme.ACCENT),
            ]
        ),
        ft.Semantics(
            content=_gauge(forecast.value),
            label=texts("hood.forecast_value", name=forecast.name, share=share),
            container=True,
            exclude_semantics=True,
            image=True,
        ),
        theme.small(forecast.text),
        spacing=12,
    )


def _gauge(value: float) -> ft.Control:
    """Half a circle, filled as far as the probability goes."""
    radius, thick = 72, 14
    box = (thick / 2, thick / 2, 2 * radius, 2 * radius)

    def arc(share: float, colour: str) -> cv.Arc:
        paint = ft.Paint(color=colour, stroke_width=thick, style=ft.PaintingStyle.STROKE, stroke_cap=ft.StrokeCap.ROUND)
        return cv.Arc(*box, math.pi, math.pi * share, paint=paint)

    return ft.Row(
        [
            cv.Canvas(
                [arc(1, theme.RAISED), arc(min(max(value, 0.001), 1), theme.ACCENT)],
                width=2 * radius + thick,
                height=radius + thick,
            )
        ],
        alignment=ft.MainAxisAlignment.CENTER,
    )


def _advice(under: UnderTheHood, policy: str) -> ft.Control:
    texts = under.session.texts
    content: list[ft.Control] = []
    if advice := under.advice.get(policy):
        content = [
            ft.Semantics(
                content=theme.strong(texts("hood.advice_text", action=advice.action, reason=advice.reason)),
                live_region=True,
                container=True,
            ),
            theme.small(advice.text),
        ]
    return parts.card(
        ft.Row([parts.button(texts("hood.advice", name=policy), does(under.ask, policy), kind="quiet")]),
        *content,
        spacing=12,
    )


def _features(under: UnderTheHood, hood: Hood) -> ft.Control:
    texts, features = under.session.texts, hood.features
    lines: list[ft.Control] = [parts.headed(theme.heading(texts("hood.features")))]
    if features is None:
        return parts.card(*lines, theme.small(texts("hood.features_none")), spacing=theme.UNIT)
    readings = features.hits + features.misses
    lines += [
        theme.body(
            texts("hood.features_text", program=features.program, version=features.version, events=features.events)
        ),
        theme.small(texts("hood.features_cache", hits=features.hits, all=readings)),
        parts.bar(features.hit_rate),
    ]
    return parts.card(*lines, spacing=theme.UNIT)


def _degraded(under: UnderTheHood, hood: Hood) -> ft.Control:
    texts = under.session.texts
    lines: list[ft.Control] = [parts.headed(theme.heading(texts("hood.degraded")))]
    if not hood.degradations:
        lines.append(theme.small(texts("hood.degraded_none")))
    lines += [theme.small(f"{count} × {reason}") for reason, count in hood.degradations.items()]
    return parts.card(*lines, spacing=theme.UNIT)
