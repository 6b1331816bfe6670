"""A phone in a browser: the app's server in its own process, and real Chromium that is driven by role and label."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from playwright.sync_api import Browser, Locator, Page, Request, Route, TimeoutError, sync_playwright

CHROMIUM = Path(os.environ.get("NEARHAND_CHROMIUM", "/usr/bin/chromium"))
PHONE, TABLET, DESKTOP = (390, 844), (820, 1180), (1440, 900)
PATIENCE_MS = 30_000
# Of the Flutter engine itself, for an animation format that the app does not use: blocked, and not missed.
NEVER_NEEDED = re.compile(r"^https://cdn\.jsdelivr\.net/npm/@rive-app/")

Role: TypeAlias = Literal["button", "tab", "heading", "textbox", "switch", "checkbox"]

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--metrics-recording-only",
    "--no-first-run",
    "--no-proxy-server",
)


_SAYS = """text => {
    const host = document.querySelector('flt-semantics-host');
    if (!host) return false;
    return host.innerText.includes(text)
        || [...host.querySelectorAll('[aria-label]')].some(one => one.getAttribute('aria-label').includes(text));
}"""


_TIME = """heading => {
    const host = document.querySelector('flt-semantics-host');
    let began = null;
    document.addEventListener('pointerdown', () => { began = performance.now(); }, {capture: true, once: true});
    const isThere = () => [...host.querySelectorAll('h1, h2, h3, [role=heading]')].some(
        one => (one.getAttribute('aria-label') || one.innerText) === heading);
    window.timing = new Promise((done, fail) => {
        const watch = new MutationObserver(() => {
            if (began === null || !isThere()) return;
            watch.disconnect();
            done(performance.now() - began);
        });
        watch.observe(host, {subtree: true, childList: true, attributes: true, characterData: true});
        setTimeout(() => fail(new Error(heading + ' did not come')), 30000);
    });
    window.timing.catch(() => {});
}"""


_TABS = """document.querySelector('[role=tab]')
    || document.querySelector('flt-semantics-host')?.innerText.includes('Tab 1 of 5')"""


class Server:
    """The app's server in a process of its own, on a free port of this machine that stays the same."""

    def __init__(self, bundle: Path, data: Path, program: tuple[str, ...] = ("-m", "films_app.web")) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self._port}"
        self._program = program
        self._environment = {**os.environ, "FILMS_BUNDLE": str(bundle), "FILMS_DATA": str(data)}

    def start(self) -> None:
        """Start it, and wait until it answers."""
        arguments = [sys.executable, *self._program, "--port", str(self._port)]
        self.process = subprocess.Popen(arguments, env=self._environment, stdout=subprocess.DEVNULL)
        for _ in range(600):
            try:
                urllib.request.urlopen(self.address, timeout=5).close()
                return
            except (urllib.error.URLError, OSError):
                if self.process.poll() is not None:
                    raise RuntimeError(f"the app's server ended with {self.process.returncode}") from None
                time.sleep(0.05)

    def kill(self) -> None:
        """End it without a word, as a phone does when it needs the memory."""
        self.process.kill()
        self.process.wait(20)

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(20)


_LINES = """() => {
    const host = document.querySelector('flt-semantics-host');
    const labels = [...host.querySelectorAll('[aria-label]')].map(one => one.getAttribute('aria-label'));
    return [host.innerText, ...labels].join('\\n').split('\\n');
}"""


@contextmanager
def served(bundle: Path, data: Path, program: tuple[str, ...] = ("-m", "films_app.web")) -> Iterator[str]:
    """The app's server until the block is left; its address."""
    server = Server(bundle, data, program)
    server.start()
    try:
        yield server.address
    finally:
        server.stop()


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(_FLAGS))
        yield started
        started.close()


@dataclass
class Phone:
    """One window of the app, and what it asked other machines for."""

    page: Page
    asked: list[str] = field(default_factory=list)

    @classmethod
    def open(
        cls,
        chromium: Browser,
        address: str,
        size: tuple[int, int] = PHONE,
        path: str = "/",
        *,
        text_scale: float = 1,
        **options: Any,
    ) -> Phone:
        """A new window with nothing remembered, in which nothing but this machine can be reached.

        Args:
            text_scale: of the system's text.
            options: of the browser's context, such as ``reduced_motion``.
        """
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]}, locale="en-GB", has_touch=True, **options
        )
        context.set_default_timeout(PATIENCE_MS)
        phone = cls(context.new_page())
        context.route("**/*", phone._route)
        phone.page.goto(address + path)
        phone._make_accessible()
        if text_scale != 1:
            phone.page.evaluate(f"document.documentElement.style.fontSize = '{16 * text_scale}px'")
        return phone

    def reload(self) -> None:
        """Load the window again."""
        self.page.reload()
        self._make_accessible()

    def _make_accessible(self) -> None:
        placeholder = self.page.locator("flt-semantics-placeholder")
        placeholder.wait_for(state="attached")
        placeholder.evaluate("placeholder => placeholder.click()")

    def close(self) -> None:
        """Close the window."""
        self.page.context.close()

    def find(self, role: Role, name: str | re.Pattern[str]) -> Locator:
        """The first thing of that role and name."""
        return self.page.get_by_role(role, name=name).first

    def tap(self, name: str | re.Pattern[str], role: Role = "button") -> None:
        """Tap it, as soon as it is there."""
        thing = self.find(role, name)
        thing.wait_for(state="attached")
        thing.click(force=True)

    def tap_in_view(self, name: str | re.Pattern[str], role: Role = "button") -> None:
        """Scroll down until it is there, and tap it."""
        width, height = self.page.viewport_size["width"], self.page.viewport_size["height"]  # type: ignore[index]
        thing = self.find(role, name)
        for _ in range(30):
            box = thing.bounding_box() if thing.count() else None
            if box is not None and box["y"] >= 0 and box["y"] + box["height"] <= height - 80:
                break
            self.page.mouse.move(width / 2, height / 2)
            self.page.mouse.wheel(0, 300 if box is None or box["y"] > 0 else -300)
            self.page.wait_for_timeout(150)
        thing.click(force=True)

    def sees(self, role: Role, name: str | re.Pattern[str]) -> None:
        """Wait until it is there."""
        self.find(role, name).wait_for(state="attached")

    def appears(self, role: Role, name: str | re.Pattern[str], within_ms: int = 5000) -> bool:
        """Whether it is there before long."""
        try:
            self.find(role, name).wait_for(state="attached", timeout=within_ms)
        except TimeoutError:
            return False
        return True

    def says(self, text: str) -> None:
        """Wait until that can be read somewhere, by who sees and by who listens."""
        self.page.wait_for_function(_SAYS, arg=text)

    def text(self) -> str:
        """All that can be read or listened to just now."""
        return " | ".join(self.lines())

    def go(self, tab: str) -> None:
        """To another tab, in the bar below or, where there is room, in the rail aside."""
        tabs = self.page.get_by_role("tab", name=tab)
        self.page.wait_for_function(_TABS)
        if tabs.count():
            self.tap(tab, "tab")
        else:
            self.tap(re.compile(rf"^{re.escape(tab)}\s+Tab \d"))

    def misses(self, role: Role, name: str | re.Pattern[str]) -> None:
        """Wait until it is gone."""
        self.page.get_by_role(role, name=name).first.wait_for(state="detached")

    def names(self, role: Role) -> list[str]:
        """The names of all things of that role."""
        texts = self.page.get_by_role(role).evaluate_all(
            "things => things.map(thing => thing.getAttribute('aria-label') || thing.innerText)"
        )
        return [str(text).strip() for text in texts]

    def search(self, name: str, text: str, finds: re.Pattern[str]) -> None:
        """Type into a field, letter by letter, instead of what is in it, until something is found.

        With the semantics of Flutter's web engine, a field that is touched while it has the focus already can lose its
        connection to the keyboard, so it gives the focus up first; and one that is still getting ready loses what is
        typed, so it is tried again.
        """
        for _ in range(5):
            self.page.evaluate("document.activeElement.blur()")
            self.page.wait_for_timeout(200)
            self.tap(name, "textbox")
            self.page.wait_for_timeout(300)
            self.page.keyboard.press("Control+A")
            self.page.keyboard.press("Delete")
            self.page.keyboard.type(text, delay=30)
            if self.appears("button", finds):
                return
        raise AssertionError(f"{text!r}, typed into {name!r}, found no {finds.pattern!r}")

    def lines(self) -> list[str]:
        """All that can be read or listened to just now, line by line."""
        return [str(line).strip() for line in self.page.evaluate(_LINES)]

    def touch(self, name: str | re.Pattern[str], role: Role = "button") -> None:
        """Touch it with a finger, where it is."""
        box = self.find(role, name).bounding_box()
        assert box is not None
        self.page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def begin_to_time(self, heading: str) -> None:
        """From the next touch on, by the page's own clock, until that heading is there; see :meth:`timed_ms`."""
        self.page.evaluate(_TIME, heading)

    def timed_ms(self) -> float:
        """How long it took, from the finger's touch to the heading."""
        return float(self.page.evaluate("window.timing"))

    def welcome(self) -> None:
        """The first steps, if they are to be done."""
        self.sees("heading", re.compile("^(Pick films you love|Picked for you)$"))
        if "Picked for you" in self.names("heading"):
            return
        for _ in range(3):
            before = len([name for name in self.names("button") if name.endswith("Picked")])
            self.tap(re.compile(r"Tap to pick$"))
            self.page.get_by_role("button", name=re.compile("Picked$")).nth(before).wait_for(state="attached")
        self.tap("Continue")
        self.tap("Show my films")
        self.sees("heading", "Picked for you")

    def settle(self, milliseconds: int = 1200) -> None:
        """Let what moves come to rest, for a picture."""
        self.page.wait_for_timeout(milliseconds)

    def picture(self, path: Path) -> None:
        """What is on the screen, as a PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(path))

    def _route(self, route: Route, request: Request) -> None:
        if request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            route.continue_()
            return
        if not NEVER_NEEDED.match(request.url):
            self.asked.append(request.url)
        route.abort()
