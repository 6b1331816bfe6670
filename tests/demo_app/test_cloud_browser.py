"""What lies beyond the device, as people see it: real Chromium, a real endpoint and a real server of lists."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("flet_web", reason="the app's toolkit is not installed")
pytest.importorskip("playwright", reason="Playwright is not installed")
pytest.importorskip("nearhand_cloud", reason="the endpoint is not installed")

from playwright.sync_api import Browser

from nearhand import Personalizer
from nearhand.bundle import open_slot
from nearhand.events import RecordedEvent
from nearhand.version import __version__
from tests.cloud.endpoint import Endpoint, running_endpoint
from tests.cloud.heavy_server import HeavyServer, running_heavy
from tests.demo_app.phone import PATIENCE_MS, PHONE, Phone, served
from tests.demo_app.test_browser import check_what_can_be_touched


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with running_endpoint(tmp_path_factory.mktemp("endpoint")) as running:
        yield running


@pytest.fixture(scope="module")
def heavy(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeavyServer]:
    with running_heavy(films, tmp_path_factory.mktemp("heavy")) as running:
        yield running


@pytest.fixture
def phone(
    chromium: Browser,
    films: Path,
    tmp_path: Path,
    endpoint: Endpoint,
    heavy: HeavyServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Phone]:
    monkeypatch.setenv("FILMS_ENDPOINT", endpoint.url)
    monkeypatch.setenv("FILMS_WRITE_KEY", endpoint.write_key)
    monkeypatch.setenv("FILMS_HEAVY", heavy.url)
    with served(films, tmp_path) as address:
        opened = Phone.open(chromium, address)
        yield opened
        opened.close()
    assert opened.asked == []  # nothing but this machine was asked for anything


def recorded(films: Path, data: Path) -> dict[str, RecordedEvent]:
    """What the app has recorded so far, by its identifiers."""
    with Personalizer.open(films, data) as personalizer:
        return {event.event_id: event for event in personalizer.events()}


def titles_of(films: Path, data: Path) -> dict[str, str]:
    """The films' titles, by their ids."""
    with Personalizer.open(films, data) as personalizer:
        items = open_slot(Path(personalizer.status().slot), __version__).items()
    return dict(zip(items.item_ids, items.titles, strict=True))


def like(phone: Phone) -> str:
    """Like the first film; its title."""
    liked = next(name for name in phone.names("button") if name.startswith("Like "))
    phone.tap(liked)
    phone.says(f"You like {liked.removeprefix('Like ')}")
    return liked.removeprefix("Like ")


def wait_until(phone: Phone, holds: Callable[[], bool]) -> None:
    """Look again and again whether it holds, as long as a window is waited for."""
    for _ in range(PATIENCE_MS // 100):
        if holds():
            return
        phone.page.wait_for_timeout(100)
    raise AssertionError("it did not come to hold")


def read_down_to(phone: Phone, text: str) -> None:
    """Scroll down until that can be read: what is far out of sight is not there for who listens either."""
    width, height = PHONE
    for _ in range(60):
        if any(text in line for line in phone.lines()):
            return
        phone.page.mouse.move(width / 2, height / 2)
        phone.page.mouse.wheel(0, 200)
        phone.page.wait_for_timeout(200)
    raise AssertionError(f"{text!r} cannot be read")


def until_the_cloud_has_ranked(phone: Phone) -> None:
    """Make the lists anew until one is the cloud's: on a machine that has much to do it may come too late."""
    for _ in range(40):
        phone.tap("Make the lists anew")
        for _ in range(10):
            if "Cloud" in phone.lines():
                return
            phone.page.wait_for_timeout(100)
    raise AssertionError("no list came from the cloud")


def is_all_from_here(phone: Phone) -> bool:
    """Whether each list that can be seen says that this device has ranked it."""
    lines = phone.lines()
    return "On this device" in lines and "Cloud" not in lines


def test_the_whole_story_of_what_leaves(  # noqa: PLR0915 - it is one
    phone: Phone, films: Path, tmp_path: Path, endpoint: Endpoint, heavy: HeavyServer
) -> None:
    # The first steps offer three levels; the usual one keeps all here
    phone.sees("heading", "Pick films you love")
    for _ in range(3):
        before = len([name for name in phone.names("button") if name.endswith("Picked")])
        phone.tap(re.compile(r"Tap to pick$"))
        phone.page.get_by_role("button", name=re.compile("Picked$")).nth(before).wait_for(state="attached")
    phone.tap("Continue")
    phone.sees("button", "Help improve")
    check_what_can_be_touched(phone)
    phone.tap("Show my films")
    phone.sees("heading", "Picked for you")

    # Nothing is sent yet, and there is no button that would do nothing
    phone.go("Engine")
    read_down_to(phone, "Nothing is sent: you have not chosen “Help improve”.")
    assert "Send now" not in phone.names("button")
    assert phone.page.get_by_role("switch", name="Ask the cloud").count() == 0

    # Consent; what is done from then on is sent, and nothing of before
    before_consent = recorded(films, tmp_path)
    assert len(before_consent) >= 3
    phone.go("Privacy")
    read_down_to(phone, "Nothing has ever left.")
    phone.tap_in_view("Help improve")
    phone.says("What you allow to be sent is listed below.")
    phone.go("For you")
    phone.sees("heading", "Picked for you")
    liked = {like(phone), like(phone)}
    phone.go("Engine")
    phone.tap_in_view("Send now")
    phone.says("Sent: ")
    check_what_can_be_touched(phone)
    stored = endpoint.stored()
    now = recorded(films, tmp_path)
    assert {one["event_id"] for one in stored} == now.keys() - before_consent.keys()
    titles = titles_of(films, tmp_path)
    assert {titles[one["item_id"]] for one in stored if one["event"] == "item_liked"} == liked

    # It is listed, with how much and where to
    phone.go("Privacy")
    read_down_to(phone, f"Events: {len(stored)}")
    read_down_to(phone, f"to {endpoint.url.removeprefix('http://')}")
    read_down_to(phone, "to help improve")
    check_what_can_be_touched(phone)

    # The cloud ranks the lists, until its server is gone: the next list is the device's, at once
    phone.go("Engine")
    phone.tap_in_view("Ask the cloud", "switch")
    read_down_to(phone, "Its answer takes")
    check_what_can_be_touched(phone)
    phone.go("For you")
    until_the_cloud_has_ranked(phone)
    check_what_can_be_touched(phone)
    heavy.process.kill()
    heavy.process.wait()
    phone.tap("Make the lists anew")
    wait_until(phone, lambda: is_all_from_here(phone))
    phone.go("Engine")
    read_down_to(phone, "On this device: the server cannot be reached")

    # Flight mode refuses all, and nothing is noted as having left
    audited = entries(films, tmp_path)
    phone.tap_in_view("Flight mode", "switch")
    phone.tap_in_view("Send now")
    phone.says("Flight mode is on: the app was refused the network, and nothing was sent.")
    phone.go("For you")
    phone.tap("Make the lists anew")
    wait_until(phone, lambda: is_all_from_here(phone))
    phone.go("Engine")
    read_down_to(phone, "On this device: flight mode")
    assert entries(films, tmp_path) == audited
    phone.tap_in_view("Flight mode", "switch")
    phone.misses("button", "Try to reach the network")

    # Erased here is erased there
    phone.go("Privacy")
    phone.tap_in_view("Erase everything")
    phone.says(f"what was sent to {endpoint.url.removeprefix('http://')} is deleted there")
    phone.tap(re.compile("^Erase$"))
    phone.sees("heading", "Pick films you love")
    wait_until(phone, lambda: endpoint.stored() == [])


def entries(films: Path, data: Path) -> int:
    """How much is noted as having left."""
    with Personalizer.open(films, data) as personalizer:
        return len(personalizer.privacy.audit())
