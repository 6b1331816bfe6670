"""What can be said of the look without a screen: contrast, the grid, and posters."""

from __future__ import annotations

from itertools import product
from xml.etree import ElementTree

import pytest

pytest.importorskip("flet", reason="the app's toolkit is not installed")

from films_app.engine import Film
from films_app.ui import posters, theme

FILM = Film("m_6", "Heat", 1995, ("Action", "Crime"), "Michael Mann", 100)


def luminance(colour: str) -> float:
    """Of WCAG 2."""

    def linear(part: float) -> float:
        return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(int(colour[place : place + 2], 16) / 255) for place in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    """1 to 21; text needs 4.5."""
    lighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("colours", [theme.DARK, theme.LIGHT], ids=["dark", "light"])
def test_every_text_can_be_read_on_every_ground(colours: dict[str, str]) -> None:
    grounds = ("surface", "surface_container", "surface_container_high")
    pairs = [
        *product(("on_surface", "on_surface_variant"), grounds),
        *product(("primary", "error"), grounds[:2]),
        ("on_primary", "primary"),
        ("on_primary_container", "primary_container"),
        ("on_inverse_surface", "inverse_surface"),
        ("inverse_primary", "inverse_surface"),
    ]
    weak = {pair: ratio for pair in pairs if (ratio := contrast(colours[pair[0]], colours[pair[1]])) < 4.5}
    assert weak == {}


def test_what_can_be_touched_is_large_enough() -> None:
    assert theme.TOUCH >= 44
    assert {size % 4 for size in (theme.HALF, theme.UNIT, theme.MORE, theme.LARGE, theme.HUGE, theme.TOUCH)} == {0}


@pytest.mark.parametrize("seed", range(36))
def test_a_poster_is_a_drawing_that_is_always_the_same(seed: int) -> None:
    film = Film(f"m_{seed}", f"Film {seed}", 1990, ("Drama", "Western"), "", 1)
    drawing = posters.poster(film, 120)
    posters.poster.cache_clear()
    assert drawing == posters.poster(film, 120)
    root = ElementTree.fromstring(drawing)
    assert root.get("viewBox") == "0 0 120 180"
    assert len(root) > 3
    words = [(one.text, one.get("font-family")) for one in root if one.tag.endswith("}text")]
    assert " ".join(text or "" for text, family in reversed(words) if family == theme.DISPLAY) == f"FILM {seed}"
    assert ("1990", theme.STRONG) in words


def test_the_words_of_a_poster_are_no_markup() -> None:
    root = ElementTree.fromstring(posters.poster(Film("m_1", "Love & <Death>", 1975, (), "", 1), 120))
    assert "<DEATH>" in [one.text for one in root if one.tag.endswith("}text")]


def test_films_have_posters_of_their_own() -> None:
    films = [Film(f"m_{row}", f"Film {row}", 1990, ("Drama",), "", 1) for row in range(200)]
    assert len({posters.art(film, 120, 180) for film in films}) > 190  # and each has its own title on it


@pytest.mark.parametrize("genre", ["Drama", "Horror", "Comedy", "Sci-Fi", "no genre that is known"])
def test_the_words_of_a_poster_can_be_read(genre: str) -> None:
    for row in range(50):
        ground, _, light, ink = posters.palette(Film(f"m_{row}", "Film", 1990, (genre,), "", 1))
        assert contrast(ink, ground) >= 7
        assert contrast(light, ground) >= 3


@pytest.mark.parametrize(
    "title", ["Heat", "Dr. Strangelove or: How I Learned to Stop Worrying and Love the Bomb", "W" * 60, "É", "1984"]
)
def test_a_title_fits_its_poster(title: str) -> None:
    size, words = posters.title_of(Film("m_1", title, 1990, (), "", 1), 112)
    assert 7 <= size <= 30
    assert 1 <= len(words.splitlines()) <= 6
