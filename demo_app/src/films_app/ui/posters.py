"""Posters that are drawn: a palette of the film's genre, one of twelve compositions, and its title as the typography.

All of it follows from the film, so a film has the same poster everywhere and always.
"""

from __future__ import annotations

import colorsys
import math
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import flet as ft
import flet.canvas as cv
from films_app.engine import Film
from films_app.ui import theme

RATIO = 1.5
"""Height of a poster by its width."""

# Genre → the colours of the ground, of the masses, of the light, and of the ink.
_PALETTES: dict[str, tuple[str, str, str, str]] = {
    "Action": ("#1A1020", "#B5303A", "#F6A04D", "#FFF1DC"),
    "Adventure": ("#16302B", "#5E7A3A", "#E9B564", "#FDF3DC"),
    "Animation": ("#142C5C", "#E4503A", "#FFD166", "#FFF8E7"),
    "Children": ("#12506B", "#3FA796", "#FFD56B", "#FFFBEB"),
    "Comedy": ("#5A1846", "#E8615F", "#FFC857", "#FFF6DE"),
    "Crime": ("#140D12", "#7C1D2B", "#E2653A", "#F8E9D2"),
    "Documentary": ("#22303A", "#6C8490", "#D9C9A3", "#F7F3E8"),
    "Drama": ("#1D2732", "#4F6D74", "#DDB892", "#FBF1E3"),
    "Family": ("#12506B", "#3FA796", "#FFD56B", "#FFFBEB"),
    "Fantasy": ("#1E1440", "#6A4FA3", "#E7A9C9", "#FCEFF7"),
    "Film-Noir": ("#0C0C0E", "#3B3B40", "#C9C5BA", "#F5F2EA"),
    "History": ("#2B1A12", "#8A5835", "#E2BC8A", "#FBF0DF"),
    "Horror": ("#090709", "#4B0D12", "#C4161C", "#F6E7E1"),
    "Music": ("#24083A", "#A3145F", "#FFC145", "#FFF3DA"),
    "Musical": ("#24083A", "#A3145F", "#FFC145", "#FFF3DA"),
    "Mystery": ("#0E1230", "#3A3B7B", "#9FA4F0", "#F0F0FF"),
    "Romance": ("#34102E", "#B33A5E", "#F7B7B2", "#FFF1EE"),
    "Sci-Fi": ("#05122B", "#14608F", "#6FE3E1", "#EAFBFF"),
    "Science Fiction": ("#05122B", "#14608F", "#6FE3E1", "#EAFBFF"),
    "Thriller": ("#0B171B", "#1F5560", "#D8C64A", "#F9F6DF"),
    "War": ("#22231B", "#5D6048", "#CC9468", "#F6EDDD"),
    "Western": ("#351A0B", "#A24E1E", "#F1B468", "#FFF2DE"),
}
_USUAL = ("#1D2030", "#4A5578", "#C6B48E", "#F6F1E6")


@dataclass(frozen=True)
class _Sheet:
    """A poster's paper: its size, its colours, and its own dice."""

    width: float
    height: float
    ground: str
    mass: str
    light: str
    dice: random.Random

    def x(self, share: float) -> float:
        return self.width * share

    def y(self, share: float) -> float:
        return self.height * share


def poster(film: Film, width: float) -> ft.Control:
    """The poster of a film; the height is :data:`RATIO` times its width."""
    height = width * RATIO
    ground, _, light, ink = _palette(film)
    size, lines = _fit(film.title.upper(), width - 2 * _margin(width))
    return ft.Container(
        width=width,
        height=height,
        border_radius=theme.RADIUS if width > 80 else theme.UNIT,
        clip_behavior=ft.ClipBehavior.ANTI_ALIAS,
        bgcolor=ground,
        content=ft.Stack(
            [
                art(film, width, height),
                ft.Container(
                    left=0,
                    right=0,
                    bottom=0,
                    height=height * 0.62,
                    gradient=ft.LinearGradient(
                        begin=ft.Alignment.TOP_CENTER,
                        end=ft.Alignment.BOTTOM_CENTER,
                        colors=[ft.Colors.with_opacity(0, ground), ft.Colors.with_opacity(0.92, ground)],
                        stops=[0.0, 0.72],
                    ),
                ),
                ft.Container(
                    left=_margin(width),
                    right=_margin(width) / 2,
                    bottom=_margin(width),
                    content=ft.Column(
                        [
                            ft.Text(
                                "\n".join(lines),
                                color=ink,
                                no_wrap=True,
                                style=ft.TextStyle(
                                    size=size,
                                    height=1.02,
                                    font_family=theme.DISPLAY,
                                    font_family_fallback=theme.STRONG_FALLBACK,
                                ),
                            ),
                            ft.Row(
                                [
                                    ft.Container(width=width * 0.13, height=max(width * 0.018, 2), bgcolor=light),
                                    ft.Text(
                                        str(film.year or ""),
                                        color=light,
                                        style=ft.TextStyle(
                                            size=max(width * 0.085, 7), font_family=theme.STRONG, letter_spacing=0.6
                                        ),
                                    ),
                                ],
                                spacing=width * 0.05,
                                tight=True,
                            ),
                        ],
                        spacing=width * 0.04,
                        tight=True,
                    ),
                ),
            ]
        ),
    )


def art(film: Film, width: float, height: float) -> cv.Canvas:
    """A poster without its words, in any size."""
    ground, mass, light, _ = _palette(film)
    sheet = _Sheet(width, height, ground, mass, light, random.Random(_seed(film) >> 3))
    compose = _COMPOSITIONS[_seed(film) % len(_COMPOSITIONS)]
    back = cv.Rect(0, 0, width, height, paint=_down(sheet, 0, height, [_mix(ground, mass, 0.45), ground]))
    return cv.Canvas([back, *compose(sheet)], width=width, height=height)


def _margin(width: float) -> float:
    return round(width * 0.085)


def _seed(film: Film) -> int:
    return zlib.crc32(f"{film.film_id} {film.title}".encode())


def _palette(film: Film) -> tuple[str, str, str, str]:
    """That of its rarest genre, turned a little, so that two films of a genre are not twins."""
    seed = _seed(film)
    known = [genre for genre in film.genres if genre in _PALETTES]
    colours = _PALETTES[known[seed % len(known)]] if known else _USUAL
    turn = ((seed >> 8) % 100 / 100 - 0.5) * 0.07
    ground, mass, light, ink = colours
    return _turned(ground, turn), _turned(mass, turn), _turned(light, turn / 2), ink


def _fit(text: str, width: float) -> tuple[float, list[str]]:
    """The greatest size, of those that look well, at which the title fits into five lines, and the lines."""
    for share in (0.25, 0.22, 0.19, 0.165, 0.145, 0.125, 0.11, 0.095):
        size = width * share
        lines = _lines(text, width / (size * 0.68))
        if len(lines) <= (3 if share > 0.15 else 5) and max(map(len, lines)) * size * 0.68 <= width * 1.02:
            return size, lines
    return size, [line if len(line) < 17 else f"{line[:15]}…" for line in lines[:5]]


def _lines(text: str, characters: float) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= characters:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]


# Compositions: each gives shapes, from back to front


def _sun(sheet: _Sheet) -> list[cv.Shape]:
    x, y, radius = sheet.x(0.3 + 0.4 * sheet.dice.random()), sheet.y(0.36), sheet.x(0.33)
    shapes: list[cv.Shape] = [
        cv.Circle(x, y, radius, paint=_down(sheet, y - radius, y + radius, [sheet.light, sheet.mass]))
    ]
    for step in range(5):
        thick = sheet.x(0.012 + 0.014 * step)
        shapes.append(cv.Rect(0, y + radius * (0.05 + 0.2 * step), sheet.width, thick, paint=_plain(sheet.ground)))
    return shapes


def _rings(sheet: _Sheet) -> list[cv.Shape]:
    x, y = (sheet.x(share) for share in sheet.dice.choice([(0, 0.1), (1, 0.1), (0.5, 0.3), (1, 0.45)]))
    return [
        cv.Circle(
            x,
            y,
            sheet.x(0.16 + 0.17 * step),
            paint=_stroke(_mix(sheet.light, sheet.mass, step / 5), sheet.x(0.075)),
        )
        for step in range(6)
    ]


def _bands(sheet: _Sheet) -> list[cv.Shape]:
    shapes: list[cv.Shape] = []
    slant, thick = sheet.y(sheet.dice.uniform(0.2, 0.5)), sheet.y(0.12)
    for step in range(5):
        top = sheet.y(-0.15 + 0.17 * step)
        colour = _mix(sheet.light, sheet.mass, step / 4)
        corners = [(0, top + slant), (sheet.width, top), (sheet.width, top + thick), (0, top + slant + thick)]
        shapes.append(_polygon(corners, _plain(colour)))
    return shapes


def _skyline(sheet: _Sheet) -> list[cv.Shape]:
    shapes: list[cv.Shape] = [
        cv.Circle(sheet.x(sheet.dice.uniform(0.25, 0.75)), sheet.y(0.24), sheet.x(0.16), paint=_plain(sheet.light))
    ]
    for layer, colour in enumerate(
        (_mix(sheet.mass, sheet.light, 0.25), sheet.mass, _mix(sheet.mass, sheet.ground, 0.55))
    ):
        left = -sheet.x(0.05)
        while left < sheet.width:
            wide = sheet.x(sheet.dice.uniform(0.1, 0.22))
            top = sheet.y(0.3 + 0.12 * layer + sheet.dice.uniform(0, 0.18))
            shapes.append(cv.Rect(left, top, wide - sheet.x(0.012), sheet.height - top, paint=_plain(colour)))
            left += wide
    return shapes


def _hills(sheet: _Sheet) -> list[cv.Shape]:
    shapes: list[cv.Shape] = [
        cv.Circle(sheet.x(sheet.dice.uniform(0.3, 0.8)), sheet.y(0.25), sheet.x(0.13), paint=_plain(sheet.light))
    ]
    for layer in range(4):
        level = sheet.y(0.36 + 0.12 * layer)
        rise = sheet.y(sheet.dice.uniform(0.08, 0.2))
        middle = sheet.x(sheet.dice.uniform(0.2, 0.8))
        colour = _mix(_mix(sheet.light, sheet.mass, 0.6), sheet.ground, layer / 4)
        shapes.append(
            cv.Path(
                [
                    cv.Path.MoveTo(0, level),
                    cv.Path.QuadraticTo(middle / 2, level - rise, middle, level, 1),
                    cv.Path.QuadraticTo(
                        (middle + sheet.width) / 2, level + rise * 0.7, sheet.width, level - rise / 2, 1
                    ),
                    cv.Path.LineTo(sheet.width, sheet.height),
                    cv.Path.LineTo(0, sheet.height),
                    cv.Path.Close(),
                ],
                paint=_plain(colour),
            )
        )
    return shapes


def _rays(sheet: _Sheet) -> list[cv.Shape]:
    x, y, far = sheet.x(sheet.dice.uniform(0.3, 0.7)), sheet.y(0.42), sheet.height * 1.3
    count = 24
    start = sheet.dice.random()
    shapes: list[cv.Shape] = []
    for step in range(0, count, 2):
        first, last = (math.tau * (step + start + more) / count for more in (0, 1))
        colour = sheet.mass if step % 4 else _mix(sheet.mass, sheet.light, 0.35)
        edges = [(x + far * math.cos(angle), y + far * math.sin(angle)) for angle in (first, last)]
        shapes.append(_polygon([(x, y), *edges], _plain(colour)))
    shapes.append(cv.Circle(x, y, sheet.x(0.19), paint=_plain(sheet.light)))
    return shapes


def _halves(sheet: _Sheet) -> list[cv.Shape]:
    edge, radius = sheet.x(sheet.dice.uniform(0.4, 0.6)), sheet.x(0.32)
    y = sheet.y(0.36)
    return [
        cv.Rect(edge, 0, sheet.width - edge, sheet.height, paint=_plain(sheet.mass)),
        cv.Arc(edge - radius, y - radius, 2 * radius, 2 * radius, math.pi / 2, math.pi, paint=_plain(sheet.light)),
        cv.Arc(edge - radius, y - radius, 2 * radius, 2 * radius, -math.pi / 2, math.pi, paint=_plain(sheet.ground)),
        cv.Circle(edge, y, radius * 0.36, paint=_plain(sheet.mass)),
    ]


def _doors(sheet: _Sheet) -> list[cv.Shape]:
    shapes: list[cv.Shape] = []
    for step in range(5):
        wide = sheet.x(0.86 - 0.17 * step)
        top = sheet.y(0.07 + 0.075 * step)
        colour = _mix(sheet.mass, sheet.light, step / 4) if step % 2 == 0 else _mix(sheet.mass, sheet.ground, 0.6)
        shapes.append(
            cv.Rect(
                sheet.x(0.5) - wide / 2,
                top,
                wide,
                sheet.height,
                border_radius=ft.BorderRadius.only(top_left=wide / 2, top_right=wide / 2),
                paint=_plain(colour),
            )
        )
    return shapes


def _waves(sheet: _Sheet) -> list[cv.Shape]:
    shapes: list[cv.Shape] = []
    phase = sheet.dice.uniform(0, math.tau)
    for step in range(7):
        level = sheet.y(0.1 + 0.1 * step)
        points = [
            (sheet.x(i / 12), level + sheet.y(0.035) * math.sin(phase + step * 0.7 + i / 12 * math.tau * 1.2))
            for i in range(13)
        ]
        corners = [*points, (sheet.width, sheet.height), (0, sheet.height)]
        shapes.append(_polygon(corners, _plain(_mix(sheet.light, sheet.ground, step / 6))))
    return shapes


def _dots(sheet: _Sheet) -> list[cv.Shape]:
    shapes: list[cv.Shape] = []
    x, y = sheet.dice.random(), sheet.dice.uniform(0.1, 0.5)
    for row in range(8):
        for column in range(7):
            left, top = (column + 0.5 + (row % 2) / 2) / 7.2, (row + 0.5) / 12
            near = max(0.0, 1 - math.hypot(left - x, (top - y) * RATIO) / 0.9)
            shapes.append(
                cv.Circle(
                    sheet.x(left),
                    sheet.y(top),
                    sheet.x(0.012 + 0.06 * near),
                    paint=_plain(_mix(sheet.mass, sheet.light, near)),
                )
            )
    return shapes


def _spotlight(sheet: _Sheet) -> list[cv.Shape]:
    x = sheet.x(sheet.dice.uniform(0.2, 0.8))
    foot = sheet.y(0.62)
    middle = sheet.x(0.5)
    beam = ft.Paint(
        gradient=ft.PaintLinearGradient(
            (x, 0), (middle, foot), [sheet.light, ft.Colors.with_opacity(0.12, sheet.light)]
        )
    )
    return [
        _polygon([(x - sheet.x(0.04), 0), (x + sheet.x(0.04), 0), (sheet.x(0.95), foot), (sheet.x(0.05), foot)], beam),
        cv.Oval(
            sheet.x(0.05),
            foot - sheet.y(0.06),
            sheet.x(0.9),
            sheet.y(0.12),
            paint=_plain(_mix(sheet.mass, sheet.light, 0.25)),
        ),
        cv.Circle(middle, foot - sheet.y(0.2), sheet.x(0.07), paint=_plain(sheet.ground)),
        cv.Rect(
            middle - sheet.x(0.07),
            foot - sheet.y(0.145),
            sheet.x(0.14),
            sheet.y(0.15),
            border_radius=sheet.x(0.05),
            paint=_plain(sheet.ground),
        ),
    ]


def _lens(sheet: _Sheet) -> list[cv.Shape]:
    x, y = sheet.x(0.5), sheet.y(0.35)
    colours = [
        sheet.mass,
        _mix(sheet.mass, sheet.ground, 0.5),
        sheet.light,
        _mix(sheet.light, sheet.mass, 0.5),
        sheet.ground,
    ]
    shapes: list[cv.Shape] = [
        cv.Circle(x, y, sheet.x(0.42 - 0.08 * step), paint=_plain(colour)) for step, colour in enumerate(colours)
    ]
    shapes.append(cv.Circle(x - sheet.x(0.12), y - sheet.x(0.14), sheet.x(0.045), paint=_plain("#FFFFFF")))
    start = sheet.dice.uniform(0, math.tau)
    left, top, side = x - sheet.x(0.48), y - sheet.x(0.48), sheet.x(0.96)
    shapes.append(cv.Arc(left, top, side, side, start, math.pi * 0.8, paint=_stroke(sheet.light, sheet.x(0.02))))
    return shapes


_COMPOSITIONS: tuple[Callable[[_Sheet], list[cv.Shape]], ...] = (
    _sun,
    _rings,
    _bands,
    _skyline,
    _hills,
    _rays,
    _halves,
    _doors,
    _waves,
    _dots,
    _spotlight,
    _lens,
)


def _polygon(corners: list[tuple[float, float]], paint: ft.Paint) -> cv.Path:
    first, *others = corners
    return cv.Path(
        [cv.Path.MoveTo(*first), *(cv.Path.LineTo(*corner) for corner in others), cv.Path.Close()], paint=paint
    )


def _plain(colour: str) -> ft.Paint:
    return ft.Paint(color=colour)


def _stroke(colour: str, width: float) -> ft.Paint:
    return ft.Paint(color=colour, stroke_width=width, style=ft.PaintingStyle.STROKE)


def _down(sheet: _Sheet, top: float, bottom: float, colours: list[str]) -> ft.Paint:
    return ft.Paint(gradient=ft.PaintLinearGradient((0, top), (0, bottom), list(colours)))


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return red, green, blue


def _hex(red: float, green: float, blue: float) -> str:
    return "#" + "".join(f"{round(part * 255):02X}" for part in (red, green, blue))


def _mix(first: str, second: str, share: float) -> str:
    """From the first colour (0) to the second (1)."""
    red, green, blue = (a + (b - a) * share for a, b in zip(_rgb(first), _rgb(second), strict=True))
    return _hex(red, green, blue)


def _turned(colour: str, turn: float) -> str:
    hue, light, much = colorsys.rgb_to_hls(*_rgb(colour))
    return _hex(*colorsys.hls_to_rgb((hue + turn) % 1, light, much))
