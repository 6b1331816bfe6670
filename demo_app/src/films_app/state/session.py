"""One open window of the app: where it is, how it looks, and what it has just said."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from films_app.engine import Catalogue, Deed, Done, Engine, Film, Look, Pick
from films_app.i18n import Texts, language_of, texts
from films_app.state.store import Store
from nearhand import NearhandError

Phase: TypeAlias = Literal["opening", "broken", "welcome", "ready"]
Tab: TypeAlias = Literal["home", "search", "activity", "privacy", "hood"]
TABS: tuple[Tab, ...] = ("home", "search", "activity", "privacy", "hood")

NOTICE_SECONDS = 6.0
_NARROW = 700

ERRORS = (NearhandError, OSError)
"""What can go wrong with a profile or a disk, and is said to the user; anything else is a mistake in the app."""


@dataclass(frozen=True)
class Notice:
    """Something the app says for some seconds, with a way back where there is one."""

    number: int
    text: str
    undo: Callable[[], Awaitable[None]] | None = None


@dataclass(frozen=True)
class Place:
    """Where a window is: a tab, with the films that were opened one over the other."""

    tab: Tab = "home"
    films: tuple[str, ...] = ()

    @property
    def route(self) -> str:
        """Its address, such as ``/search`` or ``/film/m_6``."""
        if self.films:
            return f"/film/{self.films[-1]}"
        return "/" if self.tab == "home" else f"/{self.tab}"

    def go(self, route: str) -> Place:
        """The place that an address leads to from here: back, where it is the one before."""
        if route.startswith("/film/"):
            film = route.removeprefix("/film/")
            if film in self.films:
                return Place(self.tab, self.films[: self.films.index(film) + 1])
            return Place(self.tab, (*self.films, film))
        return Place(next((tab for tab in TABS if route.strip("/") == tab), "home"))


class Notices(Store):
    """What the app says for some seconds. A store of its own: the screens below need not be drawn again for it."""

    def __init__(self) -> None:
        super().__init__()
        self.current: Notice | None = None
        self._numbers = itertools.count(1)
        self._expiry: asyncio.Task[None] | None = None

    def say(self, text: str, undo: Callable[[], Awaitable[None]] | None = None) -> None:
        """Say something; what was said before goes."""
        notice = Notice(next(self._numbers), text, undo)
        self._show(notice)

        async def expire() -> None:
            await asyncio.sleep(NOTICE_SECONDS)
            if self.current is notice:
                self._show(None)

        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = asyncio.get_running_loop().create_task(expire())

    def dismiss(self) -> None:
        """Say no more."""
        self._show(None)

    def _show(self, notice: Notice | None) -> None:
        self.current = notice
        self.changed()


class Session(Store):
    """What all screens of one window share."""

    def __init__(self, engine: Engine, device_language: str) -> None:
        super().__init__()
        self.engine = engine
        self.phase: Phase = "opening"
        self.problem = ""
        self.place = Place()
        self.width, self.height = 390.0, 844.0
        self.text_scale = 1.0
        """How many times larger than usual the user of the device wants texts to be."""
        self.version = 0
        self.notices = Notices()
        self._device_language = device_language
        self._refreshers: list[Callable[[], Awaitable[None]]] = []

    @property
    def texts(self) -> Texts:
        """The app's texts in the user's language."""
        return texts(self.language)

    @property
    def language(self) -> str:
        """The user's choice, else the device's as far as the app speaks it."""
        return language_of(self.engine.settings.language or self._device_language)

    @property
    def look(self) -> Look:
        """Dark, light, or as the device."""
        return self.engine.settings.look

    @property
    def is_wide(self) -> bool:
        """Whether there is room beside the content."""
        return self.width >= _NARROW

    @property
    def catalogue(self) -> Catalogue:
        """All films. Only once it is open."""
        assert self.engine.catalogue is not None
        return self.engine.catalogue

    async def boot(self) -> None:
        """Open the profile, and find out what to show first."""
        self.phase = "opening"
        self.changed()
        try:
            await self.engine.open(self.language)
        except ERRORS as error:
            self.phase, self.problem = "broken", str(error)
        else:
            self.phase = "ready" if self.engine.settings.is_welcomed else "welcome"
            if self.phase == "ready":
                await self.refresh()
            await self.attempt(self._tell_damage())
        self.changed()

    async def _tell_damage(self) -> None:
        if await self.engine.new_damage():
            self.say(self.texts("problem.damaged"))

    async def start_over(self) -> None:
        """Give a damaged profile up, and begin with a new one."""
        try:
            await self.engine.start_over()
        except ERRORS as error:
            self.problem = str(error)
            self.changed()
            return
        await self.boot()

    def on_profile_change(self, refresh: Callable[[], Awaitable[None]]) -> None:
        """Have a store read anew whenever the profile has changed."""
        self._refreshers.append(refresh)

    async def profile_changed(self) -> None:
        """Read anew all that is shown of the profile, here and in the app's other windows."""
        await self.refresh()
        self.engine.announce(self)

    async def refresh(self) -> None:
        """Read anew all that is shown of the profile."""
        self.version += 1
        for refresh in self._refreshers:
            await refresh()

    async def follow_others(self) -> None:
        """Another window has changed the profile."""
        if self.phase in ("welcome", "ready"):
            self.phase = "ready" if self.engine.settings.is_welcomed else "welcome"
            await self.refresh()
            self.changed()

    async def hear_language(self, language: str) -> None:
        """The device speaks this language now."""
        before = self.language
        self._device_language = language
        if self.language == before:
            return
        if self.phase in ("welcome", "ready"):
            await self.attempt(self.engine.speak(self.language))
            await self.refresh()
        self.changed()

    def go(self, route: str) -> None:
        """Be at another place."""
        place = self.place.go(route)
        if place != self.place:
            self.place = place
            self.changed()

    @property
    def route_back(self) -> str:
        """Where leaving the film on top leads to."""
        return Place(self.place.tab, self.place.films[:-1]).route

    def resize(self, width: float, height: float) -> None:
        """The window has this size now, in logical pixels."""
        was_wide = self.is_wide
        self.width, self.height = width, height
        if self.is_wide != was_wide:
            self.changed()

    def scale_text(self, scale: float) -> None:
        """Texts are so many times larger than usual now."""
        scale = round(max(scale, 1.0), 1)
        if scale != self.text_scale:
            self.text_scale = scale
            self.changed()

    async def attempt(self, work: Awaitable[object]) -> bool:
        """Do something that a full disk or a damaged file can stop; whether it was done. If not, say so."""
        try:
            await work
        except ERRORS as error:
            self.say(self.texts("problem.say", reason=str(error)))
            return False
        return True

    async def act(self, deed: Callable[[], Awaitable[Done]]) -> Done | None:
        """Do what can be undone, say so, and read all anew."""
        try:
            done = await deed()
        except ERRORS as error:
            self.say(self.texts("problem.say", reason=str(error)))
            return None
        await self.profile_changed()
        await asyncio.sleep(0)  # the list is drawn before the words are
        self._say_done(done)
        return done

    async def react(self, deed: Deed, pick: Pick) -> None:
        """What the buttons below a film do."""
        await self.act(lambda: self.engine.do(deed, pick.film, pick.recommendation_id))

    def _say_done(self, done: Done) -> None:
        async def undo() -> None:
            if await self.attempt(self.engine.undo(done)):
                self.notices.dismiss()
                await self.profile_changed()

        if done.is_recorded:
            self.say(self.texts(f"done.{done.deed}", title=done.film.title), undo)
        else:
            self.say(self.texts("done.off"))

    @property
    def notice(self) -> Notice | None:
        """What is being said."""
        return self.notices.current

    def say(self, text: str, undo: Callable[[], Awaitable[None]] | None = None) -> None:
        """Say something for some seconds; what was said before goes."""
        self.notices.say(text, undo)

    async def set_look(self, look: Look) -> None:
        """Be dark or light from now on."""
        await self.attempt(self.engine.change_settings(look=look))
        self.changed()

    async def set_calm(self, calm: bool) -> None:
        """Have nothing move by itself from now on, or have it again."""
        await self.attempt(self.engine.change_settings(is_calm=calm))
        self.changed()

    @property
    def is_calm(self) -> bool:
        """Whether nothing is to move by itself."""
        return self.engine.settings.is_calm

    async def set_language(self, language: str) -> None:
        """Speak another language from now on, explanations too."""
        if await self.attempt(self.engine.change_settings(language=language)):
            if self.phase != "broken":
                await self.attempt(self.engine.speak(self.language))
            if self.phase == "ready":
                await self.profile_changed()
        self.changed()

    def film(self, film_id: str) -> Film | None:
        """A film of the catalogue."""
        return self.catalogue.get(film_id)
