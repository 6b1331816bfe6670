"""Posters that are drawn: a palette of the film's genre, one of twelve compositions, and its title as the typography.

All of it follows from the film, so a film has the same poster everywhere and always.
"""

from __future__ import annotations

import colorsys
import math
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape

from films_app.engine import Film
from films_app.ui.theme import DISPLAY, STRONG

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
    gradients: list[str] = field(default_factory=list)

    def x(self, share: float) -> float:
        return self.width * share

    def y(self, share: float) -> float:
        return self.height * share

    def down(self, top: float, bottom: float, first: str, last: str) -> str:
        """A paint that goes from one colour, above, to another one."""
        return self._gradient(0, top, 0, bottom, (first, 1), (last, 1))

    def fade(self, top: float, bottom: float, colour: str) -> str:
        """A paint that is transparent above, and then is not."""
        return self._gradient(0, top, 0, bottom, (colour, 0), (colour, 0.92))

    def beam(self, x: float, to_x: float, to_y: float, colour: str) -> str:
        """A paint that fades along a line from the upper edge."""
        return self._gradient(x, 0, to_x, to_y, (colour, 1), (colour, 0.12))

    def _gradient(self, x1: float, y1: float, x2: float, y2: float, *stops: tuple[str, float]) -> str:
        name = f"g{len(self.gradients)}"
        ends = "".join(
            f'<stop offset="{place}" stop-color="{colour}" stop-opacity="{opacity}"/>'
            for place, (colour, opacity) in enumerate(stops)
        )
        line = f'x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"'
        self.gradients.append(
            f'<linearGradient id="{name}" gradientUnits="userSpaceOnUse" {line}>{ends}</linearGradient>'
        )
        return f"url(#{name})"


@lru_cache(maxsize=256)
def art(film: Film, width: float, height: float) -> str:
    """A film's drawing, without words, in any size, as an SVG document."""
    sheet, shapes = _drawn(film, width, height)
    return _document(sheet, shapes)


@lru_cache(maxsize=1024)
def poster(film: Film, width: float) -> str:
    """A film's poster, with its title and its year, as an SVG document. The words are in the app's own fonts.

    One picture, and not a picture below texts: a screen has dozens of them, and what each consists of is compared, sent
    and laid out whenever a list changes.
    """
    height = width * RATIO
    sheet, shapes = _drawn(film, width, height)
    top = height * 0.38
    shapes.append(_rect(0, top, width, height - top, sheet.fade(top, top + (height - top) * 0.72, sheet.ground)))
    left, year = margin(width), max(width * 0.085, 7)
    shapes.append(_rect(left, height - left - width * 0.055, width * 0.13, max(width * 0.018, 2), sheet.light))
    _, _, light, ink = palette(film)
    size, words = title_of(film, width)
    lines = words.splitlines()
    last = height - left - year * 1.7 - size * 0.28
    for row, line in enumerate(reversed(lines)):
        shapes.append(_words(line, left, last - row * size * 1.02, size, DISPLAY, ink))
    if film.year:
        shapes.append(_words(str(film.year), left + width * 0.18, height - left - year * 0.15, year, STRONG, light))
    return _document(sheet, shapes)


def _drawn(film: Film, width: float, height: float) -> tuple[_Sheet, list[str]]:
    ground, mass, light, _ = palette(film)
    sheet = _Sheet(width, height, ground, mass, light, random.Random(_seed(film) >> 3))
    compose = _COMPOSITIONS[_seed(film) % len(_COMPOSITIONS)]
    return sheet, [
        _rect(0, 0, width, height, sheet.down(0, height, _mix(ground, mass, 0.45), ground)),
        *compose(sheet),
    ]


def _document(sheet: _Sheet, shapes: list[str]) -> str:
    size = f"{_n(sheet.width)} {_n(sheet.height)}"
    width, height = size.split()
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {size}">'
        f"<defs>{''.join(sheet.gradients)}</defs>{''.join(shapes)}</svg>"
    )


def title_of(film: Film, width: float) -> tuple[float, str]:
    """A poster's words, and the size in which they fill it."""
    size, lines = _fit(film.title.upper(), width - 2 * margin(width))
    return size, "\n".join(lines)


def margin(width: float) -> float:
    """Around the words."""
    return round(width * 0.085)


def _seed(film: Film) -> int:
    return zlib.crc32(f"{film.film_id} {film.title}".encode())


def palette(film: Film) -> tuple[str, str, str, str]:
    """Ground, masses, light and ink: those of one of its genres, turned a little, so that films of it are no twins."""
    seed = _seed(film)
    known = [genre for genre in film.genres if genre in _PALETTES]
    colours = _PALETTES[known[seed % len(known)]] if known else _USUAL
    turn = ((seed >> 8) % 4096 / 4096 - 0.5) * 0.07
    ground, mass, light, ink = colours
    return _turned(ground, turn), _turned(mass, turn), _turned(light, turn / 2), ink


def _fit(text: str, width: float) -> tuple[float, list[str]]:
    """The greatest size, of those that look well, at which the title fits into five lines, and the lines."""
    for share in (0.25, 0.22, 0.19, 0.165, 0.145, 0.125, 0.11, 0.095):
        size = width * share
        lines = _lines(text, width / size)
        if len(lines) <= (3 if share > 0.15 else 5) and max(map(_ems, lines)) * size <= width:
            return size, lines
    return size, [line if len(line) < 17 else f"{line[:15]}…" for line in lines[:5]]


def _lines(text: str, ems: float) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and _ems(f"{lines[-1]} {word}") <= ems:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]


def _ems(line: str) -> float:
    """About how wide it is, in multiples of the size."""
    return sum(0.33 if letter in "IJ1.,:;'’!·-– " else 0.95 if letter in "MW" else 0.72 for letter in line)


# Compositions: each gives shapes, from back to front


def _sun(sheet: _Sheet) -> list[str]:
    x, y, radius = sheet.x(0.3 + 0.4 * sheet.dice.random()), sheet.y(0.36), sheet.x(0.33)
    shapes = [_circle(x, y, radius, sheet.down(y - radius, y + radius, sheet.light, sheet.mass))]
    for step in range(5):
        thick = sheet.x(0.012 + 0.014 * step)
        shapes.append(_rect(0, y + radius * (0.05 + 0.2 * step), sheet.width, thick, sheet.ground))
    return shapes


def _rings(sheet: _Sheet) -> list[str]:
    x, y = (sheet.x(share) for share in sheet.dice.choice([(0, 0.1), (1, 0.1), (0.5, 0.3), (1, 0.45)]))
    first = sheet.dice.uniform(0.1, 0.2)
    return [
        _ring(x, y, sheet.x(first + 0.17 * step), sheet.x(0.075), _mix(sheet.light, sheet.mass, step / 5))
        for step in range(6)
    ]


def _bands(sheet: _Sheet) -> list[str]:
    shapes = []
    slant, thick = sheet.y(sheet.dice.uniform(0.2, 0.5)), sheet.y(0.12)
    for step in range(5):
        top = sheet.y(-0.15 + 0.17 * step)
        corners = [(0, top + slant), (sheet.width, top), (sheet.width, top + thick), (0, top + slant + thick)]
        shapes.append(_polygon(corners, _mix(sheet.light, sheet.mass, step / 4)))
    return shapes


def _skyline(sheet: _Sheet) -> list[str]:
    shapes = [_circle(sheet.x(sheet.dice.uniform(0.25, 0.75)), sheet.y(0.24), sheet.x(0.16), sheet.light)]
    colours = (_mix(sheet.mass, sheet.light, 0.25), sheet.mass, _mix(sheet.mass, sheet.ground, 0.55))
    for layer, colour in enumerate(colours):
        left = -sheet.x(0.05)
        while left < sheet.width:
            wide = sheet.x(sheet.dice.uniform(0.1, 0.22))
            top = sheet.y(0.3 + 0.12 * layer + sheet.dice.uniform(0, 0.18))
            shapes.append(_rect(left, top, wide - sheet.x(0.012), sheet.height - top, colour))
            left += wide
    return shapes


def _hills(sheet: _Sheet) -> list[str]:
    shapes = [_circle(sheet.x(sheet.dice.uniform(0.3, 0.8)), sheet.y(0.25), sheet.x(0.13), sheet.light)]
    for layer in range(4):
        level = sheet.y(0.36 + 0.12 * layer)
        rise = sheet.y(sheet.dice.uniform(0.08, 0.2))
        middle = sheet.x(sheet.dice.uniform(0.2, 0.8))
        colour = _mix(_mix(sheet.light, sheet.mass, 0.6), sheet.ground, layer / 4)
        shapes.append(
            _path(
                f"M0 {_n(level)} Q{_n(middle / 2)} {_n(level - rise)} {_n(middle)} {_n(level)} "
                f"Q{_n((middle + sheet.width) / 2)} {_n(level + rise * 0.7)} {_n(sheet.width)} {_n(level - rise / 2)} "
                f"V{_n(sheet.height)} H0 Z",
                colour,
            )
        )
    return shapes


def _rays(sheet: _Sheet) -> list[str]:
    x, y, far = sheet.x(sheet.dice.uniform(0.3, 0.7)), sheet.y(0.42), sheet.height * 1.3
    count = 24
    start = sheet.dice.random()
    shapes = []
    for step in range(0, count, 2):
        angles = [math.tau * (step + start + more) / count for more in (0, 1)]
        edges = [(x + far * math.cos(angle), y + far * math.sin(angle)) for angle in angles]
        shapes.append(_polygon([(x, y), *edges], sheet.mass if step % 4 else _mix(sheet.mass, sheet.light, 0.35)))
    return [*shapes, _circle(x, y, sheet.x(0.19), sheet.light)]


def _halves(sheet: _Sheet) -> list[str]:
    edge, radius, y = sheet.x(sheet.dice.uniform(0.4, 0.6)), sheet.x(0.32), sheet.y(0.36)
    arc = f"A{_n(radius)} {_n(radius)} 0 0"
    upper, lower = f"{_n(edge)} {_n(y - radius)}", f"{_n(edge)} {_n(y + radius)}"
    return [
        _rect(edge, 0, sheet.width - edge, sheet.height, sheet.mass),
        _path(f"M{upper} {arc} 0 {lower} Z", sheet.light),
        _path(f"M{upper} {arc} 1 {lower} Z", sheet.ground),
        _circle(edge, y, radius * 0.36, sheet.mass),
    ]


def _doors(sheet: _Sheet) -> list[str]:
    shapes = []
    for step in range(5):
        wide = sheet.x(0.86 - 0.17 * step)
        colour = _mix(sheet.mass, sheet.light, step / 4) if step % 2 == 0 else _mix(sheet.mass, sheet.ground, 0.6)
        left, top = sheet.x(0.5) - wide / 2, sheet.y(0.07 + 0.075 * step)
        shapes.append(_rect(left, top, wide, sheet.height * 1.5, colour, wide / 2))
    return shapes


def _waves(sheet: _Sheet) -> list[str]:
    shapes = []
    phase = sheet.dice.uniform(0, math.tau)
    for step in range(7):
        level = sheet.y(0.1 + 0.1 * step)
        points = [
            (sheet.x(i / 12), level + sheet.y(0.035) * math.sin(phase + step * 0.7 + i / 12 * math.tau * 1.2))
            for i in range(13)
        ]
        corners = [*points, (sheet.width, sheet.height), (0, sheet.height)]
        shapes.append(_polygon(corners, _mix(sheet.light, sheet.ground, step / 6)))
    return shapes


def _dots(sheet: _Sheet) -> list[str]:
    shapes = []
    x, y = sheet.dice.random(), sheet.dice.uniform(0.1, 0.5)
    for row in range(8):
        for column in range(7):
            left, top = (column + 0.5 + (row % 2) / 2) / 7.2, (row + 0.5) / 12
            near = max(0.0, 1 - math.hypot(left - x, (top - y) * RATIO) / 0.9)
            radius = sheet.x(0.012 + 0.06 * near)
            shapes.append(_circle(sheet.x(left), sheet.y(top), radius, _mix(sheet.mass, sheet.light, near)))
    return shapes


def _spotlight(sheet: _Sheet) -> list[str]:
    x, foot, middle = sheet.x(sheet.dice.uniform(0.2, 0.8)), sheet.y(0.62), sheet.x(0.5)
    cone = [(x - sheet.x(0.04), 0.0), (x + sheet.x(0.04), 0.0), (sheet.x(0.95), foot), (sheet.x(0.05), foot)]
    pool = _mix(sheet.mass, sheet.light, 0.25)
    return [
        _polygon(cone, sheet.beam(x, middle, foot, sheet.light)),
        f'<ellipse cx="{_n(middle)}" cy="{_n(foot)}" rx="{_n(sheet.x(0.45))}" ry="{_n(sheet.y(0.06))}" fill="{pool}"/>',
        _circle(middle, foot - sheet.y(0.2), sheet.x(0.07), sheet.ground),
        _rect(middle - sheet.x(0.07), foot - sheet.y(0.145), sheet.x(0.14), sheet.y(0.15), sheet.ground, sheet.x(0.05)),
    ]


def _lens(sheet: _Sheet) -> list[str]:
    x, y = sheet.x(sheet.dice.uniform(0.4, 0.6)), sheet.y(sheet.dice.uniform(0.3, 0.38))
    dim, warm = _mix(sheet.mass, sheet.ground, 0.5), _mix(sheet.light, sheet.mass, 0.5)
    shapes = [
        _circle(x, y, sheet.x(0.42 - 0.08 * step), colour)
        for step, colour in enumerate((sheet.mass, dim, sheet.light, warm, sheet.ground))
    ]
    shapes.append(_circle(x - sheet.x(0.12), y - sheet.x(0.14), sheet.x(0.045), "#FFFFFF"))
    return [*shapes, _ring(x, y, sheet.x(0.48), sheet.x(0.014), sheet.light)]


_COMPOSITIONS: tuple[Callable[[_Sheet], list[str]], ...] = (
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


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _rect(x: float, y: float, width: float, height: float, paint: str, round_by: float = 0) -> str:
    corner = f' rx="{_n(round_by)}"' if round_by else ""
    return f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}"{corner} fill="{paint}"/>'


def _circle(x: float, y: float, radius: float, paint: str) -> str:
    return f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}" fill="{paint}"/>'


def _ring(x: float, y: float, radius: float, thick: float, paint: str) -> str:
    return (
        f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}" fill="none" stroke="{paint}" stroke-width="{_n(thick)}"/>'
    )


def _words(text: str, x: float, y: float, size: float, family: str, paint: str) -> str:
    return (
        f'<text x="{_n(x)}" y="{_n(y)}" font-family="{family}" font-size="{_n(size)}" fill="{paint}">'
        f"{escape(text)}</text>"
    )


def _path(commands: str, paint: str) -> str:
    return f'<path d="{commands}" fill="{paint}"/>'


def _polygon(corners: list[tuple[float, float]], paint: str) -> str:
    points = " L".join(f"{_n(x)} {_n(y)}" for x, y in corners)
    return _path(f"M{points} Z", paint)


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
