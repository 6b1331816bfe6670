"""The whole app as people meet it: real Chromium at the size of a phone, driven by what a screen reader would say."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("flet_web", reason="the app's toolkit is not installed")
pytest.importorskip("playwright", reason="Playwright is not installed")

from playwright.sync_api import Browser

from tests.demo_app.phone import DESKTOP, TABLET, Phone, Role, served

TOUCH = 44
"""The least width and height of what can be touched, in logical pixels."""


@pytest.fixture(scope="module")
def app(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    data = tmp_path_factory.mktemp("device")
    with served(films, data) as address:
        yield address, data


@pytest.fixture
def phone(chromium: Browser, app: tuple[str, Path]) -> Iterator[Phone]:
    opened = Phone.open(chromium, app[0])
    yield opened
    if folder := os.environ.get("NEARHAND_SCREENS"):  # to look at what a failed test has seen
        opened.picture(Path(folder) / "last.png")
    opened.close()
    assert opened.asked == []  # nothing but this machine was asked for anything


def check_what_can_be_touched(phone: Phone) -> None:
    """Every control has a name, and is large enough to be hit, if it is not cut off where its list scrolls."""
    roles: tuple[Role, ...] = ("button", "tab", "switch", "checkbox")
    for role in roles:
        things = phone.page.get_by_role(role)
        for name, width, height, is_cut in things.evaluate_all(
            """things => things.map(thing => {
                const box = thing.getBoundingClientRect();
                let is_cut = false;
                for (let outer = thing.parentElement; outer; outer = outer.parentElement) {
                    const edge = outer.getBoundingClientRect();
                    if (edge.height > box.height + 60)
                        is_cut ||= box.top < edge.top + 2 || box.bottom > edge.bottom - 2;
                    if (edge.width > box.width + 60)
                        is_cut ||= box.left < edge.left + 2 || box.right > edge.right - 2;
                }
                const name = thing.getAttribute('aria-label') || thing.innerText;
                return [name, thing.offsetWidth, thing.offsetHeight, is_cut];
            })"""
        ):
            assert name.strip(), f"a {role} has no name"
            assert is_cut or min(width, height) >= TOUCH, f"{name!r} is {width} × {height}"


def love(phone: Phone, typed: str, film: str) -> None:
    """Search for a film in the first steps, and pick it. A tap that the moving list swallowed is done again."""
    phone.search("Search films", typed, re.compile(f"^{film}"))
    for _ in range(3):
        phone.tap(re.compile(f"^{film}.*pick$"))
        if phone.appears("button", re.compile(f"^{film}.*Picked$")):
            return
    raise AssertionError(f"{film} could not be picked")


def test_the_whole_story(phone: Phone, app: tuple[str, Path]) -> None:  # noqa: PLR0915 - it is one
    """One phone, from its first minute to the last: everything that was promised, in one sitting."""
    # The first steps
    phone.sees("heading", "Pick films you love")
    love(phone, "goodfellas", "Goodfellas, 1990")
    love(phone, "heat", "Heat, 1995")
    love(phone, "alien", "Alien, 1979")
    check_what_can_be_touched(phone)
    phone.tap("Continue")
    phone.sees("heading", "What may be kept?")
    phone.tap("Show my films")

    # For you, and what a like does
    phone.sees("heading", "Picked for you")
    check_what_can_be_touched(phone)
    liked = next(name for name in phone.names("button") if name.startswith("Like "))
    title = liked.removeprefix("Like ")
    phone.tap(liked)
    phone.says(f"You like {title}")
    phone.misses("button", liked)
    phone.sees("heading", f"Because of {title}")

    # Why names the film that was just liked
    phone.tap("See the film")
    phone.sees("heading", "Similar films")
    check_what_can_be_touched(phone)
    phone.tap("Why this?")
    phone.sees("button", f"Remove “{title}” from my history")
    check_what_can_be_touched(phone)

    # That event is deleted, and its rail goes with it
    phone.tap(f"Remove “{title}” from my history")
    phone.misses("button", f"Remove “{title}” from my history")
    phone.tap("Close")
    phone.misses("heading", re.compile("^Why "))
    phone.tap("Back")
    phone.sees("heading", "Picked for you")
    phone.misses("heading", f"Because of {title}")

    # Flight mode is on, and lists are still made
    phone.go("Engine")
    phone.sees("heading", "Time to make a list")
    phone.tap_in_view("Flight mode", "switch")
    phone.tap_in_view("Try to reach the network")
    phone.says("Attempts refused: 1")
    phone.go("For you")
    phone.sees("heading", "Picked for you")
    hero = phone.names("heading")[0]
    phone.tap(f"Not interested in {hero}")
    phone.says(f"{hero} won’t be shown again")
    phone.misses("heading", hero)

    # Undo brings it back
    phone.tap("Undo")
    phone.sees("heading", hero)

    # Erase leaves nothing
    phone.go("Privacy")
    phone.sees("heading", "What may be kept")
    check_what_can_be_touched(phone)
    phone.tap_in_view("Erase everything")
    phone.tap(re.compile("^Erase$"))
    phone.sees("heading", "Pick films you love")
    for path in (app[1] / "profiles").rglob("*.db*"):
        assert b"f_00" not in path.read_bytes()
    assert not (app[1] / "settings.json").exists()


def test_search_finds_while_typing(phone: Phone) -> None:
    phone.welcome()
    phone.go("Search")
    phone.sees("heading", "Search")
    check_what_can_be_touched(phone)
    phone.search("Title, director or year", "goodfel", re.compile("^Goodfellas, 1990"))
    phone.search("Title, director or year", "no such film", re.compile("^Clear the search"))
    phone.says("Nothing found")
    phone.tap("Clear the search")
    phone.tap(re.compile("^Drama$"))
    phone.misses("button", re.compile("^WALL·E"))
    phone.tap("Sort: Popular")
    phone.sees("button", "Sort: Newest")


def test_activity_is_listed_and_deleted(phone: Phone) -> None:
    phone.welcome()
    phone.go("Activity")
    phone.sees("heading", "Your taste")
    check_what_can_be_touched(phone)
    phone.tap_in_view("Select")
    phone.tap_in_view(re.compile("^Select: You liked"), "checkbox")
    phone.tap_in_view("Delete 1")
    phone.says("Deleted: 1")
    phone.tap_in_view("Reset my taste")
    phone.says("Begin with a new taste?")
    phone.tap("Cancel")


def test_another_model_another_language_and_another_look(phone: Phone) -> None:
    phone.welcome()
    phone.go("Engine")
    phone.sees("heading", "Model")
    phone.tap_in_view(re.compile("^Run TFLite fp32"))
    phone.says("tflite")
    check_what_can_be_touched(phone)
    phone.go("Privacy")
    phone.tap_in_view("Light")
    phone.tap_in_view("Deutsch")
    phone.sees("tab", "Für dich")
    phone.tap_in_view("English")
    phone.sees("tab", "For you")
    phone.tap_in_view("Dark")


@pytest.mark.parametrize("size", [TABLET, DESKTOP], ids=["tablet", "desktop"])
def test_wider_screens_have_all_of_it(chromium: Browser, app: tuple[str, Path], size: tuple[int, int]) -> None:
    wide = Phone.open(chromium, app[0], size)
    try:
        wide.welcome()
        check_what_can_be_touched(wide)
        for tab, heading in (("Search", "Search"), ("Activity", "Your activity"), ("Privacy", "Privacy")):
            wide.go(tab)
            wide.sees("heading", heading)
    finally:
        wide.close()
    assert wide.asked == []


def test_an_address_leads_to_its_screen_and_back_leads_out(chromium: Browser, app: tuple[str, Path]) -> None:
    first = Phone.open(chromium, app[0])
    first.welcome()
    first.close()
    direct = Phone.open(chromium, app[0], path="/film/f_0002")
    try:
        direct.sees("heading", "Goodfellas")
        direct.tap("Back")
        direct.sees("heading", "Picked for you")
    finally:
        direct.close()
