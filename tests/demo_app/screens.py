"""``python -m tests.demo_app.screens BUNDLE FOLDER``: a picture of every screen, in dark and in light.

The user of the pictures has a fortnight of made-up history, so that there is something to see.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from films_app.engine.settings import SettingsFile
from nearhand import Event, Personalizer
from nearhand.bundle import open_slot
from nearhand.version import __version__
from tests.cloud.endpoint import running_endpoint
from tests.cloud.heavy_server import running_heavy
from tests.demo_app.phone import DESKTOP, PHONE, TABLET, Phone, browser, served

_DAY_MS = 86_400_000
_HISTORY = (
    (13, "item_liked", "Jurassic Park"),
    (12, "item_viewed", "The Matrix"),
    (10, "item_liked", "The Matrix"),
    (9, "item_viewed", "Alien"),
    (7, "item_liked", "Blade Runner"),
    (6, "item_disliked", "Titanic"),
    (5, "item_viewed", "Fargo"),
    (4, "item_liked", "Goodfellas"),
    (2, "item_viewed", "Heat"),
    (1, "item_liked", "Heat"),
    (0, "item_liked", "Pulp Fiction"),
)


def main(bundle: Path, folder: Path) -> None:
    """Take them all."""
    with tempfile.TemporaryDirectory() as data:
        _live(bundle, Path(data))
        with browser() as chromium:
            for look in ("dark", "light"):
                SettingsFile(Path(data) / "settings.json").change(is_welcomed=True, look=look)
                with served(bundle, Path(data)) as address:
                    phone = Phone.open(chromium, address, PHONE)
                    _tour(phone, partial(_take_into, phone, folder, look))
                    phone.close()
                    if look == "dark":
                        for name, size in (("tablet", TABLET), ("desktop", DESKTOP)):
                            wide = Phone.open(chromium, address, size)
                            wide.sees("heading", "Picked for you")
                            _take(wide, folder / f"for-you-{name}.jpg")
                            wide.close()
        _beyond(bundle, folder, Path(data))
    with tempfile.TemporaryDirectory() as data, browser() as chromium, served(bundle, Path(data)) as address:
        phone = Phone.open(chromium, address, PHONE)
        phone.sees("heading", "Pick films you love")
        for title in ("Pulp Fiction", "The Matrix", "Forrest Gump"):
            phone.tap_in_view(re.compile(f"^{title},"))
            phone.sees("button", re.compile(f"^{title},.*Picked$"))
        _take(phone, folder / "welcome-dark.jpg")
        phone.tap("Continue")
        phone.sees("heading", "What may be kept?")
        _take(phone, folder / "consent-dark.jpg")
        phone.close()


def _beyond(bundle: Path, folder: Path, data: Path) -> None:
    """What there is more if the app is given an endpoint and a server of lists."""
    with (
        tempfile.TemporaryDirectory() as servers,
        running_endpoint(Path(servers)) as endpoint,
        running_heavy(bundle, Path(servers)) as heavy,
        browser() as chromium,
    ):
        for look in ("dark", "light"):
            addresses = {"endpoint": endpoint.url, "write_key": endpoint.write_key, "heavy": heavy.url}
            SettingsFile(data / "settings.json").change(look=look, asks_cloud=True, **addresses)
            with Personalizer.open(bundle, data) as personalizer:
                personalizer.privacy.set_consent("sync")
            with served(bundle, data) as address:
                phone = Phone.open(chromium, address, PHONE)
                _tour_beyond(phone, partial(_take_into, phone, folder, look))
                phone.close()


def _tour_beyond(phone: Phone, take: Callable[[str], None]) -> None:
    phone.sees("heading", "Picked for you")
    phone.tap(next(name for name in phone.names("button") if name.startswith("Like ")))
    phone.says("You like ")
    phone.settle()
    for _ in range(30):  # the first answers of a server that has just been started are late
        if "Cloud" in phone.lines():
            break
        phone.tap("Make the lists anew")
        phone.settle()
    phone.page.mouse.move(2, 300)  # off the button, whose name is shown there
    phone.settle(6000)  # until nothing is said any more
    take("for-you-cloud")
    phone.go("Engine")
    phone.sees("heading", "Time to make a list")
    phone.tap_in_view("Send now")
    phone.says("Sent: ")
    phone.page.mouse.wheel(0, 400)
    take("engine-cloud")
    phone.go("Privacy")
    phone.sees("heading", "What may be kept")
    take("privacy-cloud")
    phone.page.mouse.move(PHONE[0] / 2, PHONE[1] / 2)
    phone.page.mouse.wheel(0, 700)
    take("privacy-cloud-more")


def _live(bundle: Path, data: Path) -> None:
    now = time.time_ns() // 1_000_000
    with Personalizer.open(bundle, data) as personalizer:
        items = open_slot(Path(personalizer.status().slot), __version__).items()
        ids = dict(zip(items.titles, items.item_ids, strict=True))
        personalizer.record_many(
            [
                Event(event, item_id=ids[title], timestamp=now - days * _DAY_MS - 3_600_000)
                for days, event, title in _HISTORY
                if title in ids
            ]
        )


def _tour(phone: Phone, take: Callable[[str], None]) -> None:
    phone.sees("heading", "Picked for you")
    take("for-you")
    phone.page.mouse.move(PHONE[0] / 2, PHONE[1] / 2)
    phone.page.mouse.wheel(0, 520)
    take("rails")
    phone.page.mouse.wheel(0, -2000)
    phone.settle()
    phone.tap("See the film")
    phone.sees("heading", "Similar films")
    take("film")
    phone.tap("Why this?")
    phone.sees("heading", re.compile("^Why "))
    take("why")
    phone.tap("Close")
    phone.tap("Back")
    for tab, heading, name in (
        ("Search", "Search", "search"),
        ("Activity", "Your taste", "activity"),
        ("Privacy", "Stored on this device", "privacy"),
        ("Engine", "Time to make a list", "engine"),
    ):
        phone.go(tab)
        phone.sees("heading", heading)
        if name == "engine":
            phone.tap("Measure now")
            phone.settle(2500)
        take(name)
        if name in ("engine", "privacy"):
            phone.page.mouse.move(PHONE[0] / 2, PHONE[1] / 2)
            phone.page.mouse.wheel(0, 700)
            take(f"{name}-more")


def _take_into(phone: Phone, folder: Path, look: str, name: str) -> None:
    _take(phone, folder / f"{name}-{look}.jpg")


def _take(phone: Phone, path: Path) -> None:
    phone.settle(2500)
    path.parent.mkdir(parents=True, exist_ok=True)
    phone.page.screenshot(path=str(path), type="jpeg", quality=85)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
