"""The first screen: what to watch. What is in sight is drawn first."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace

from films_app.engine import Deed, Film, Home, Pick, Rail, Source
from films_app.state.session import ERRORS, Session
from films_app.state.store import Store

REST_SECONDS = 0.25
"""So long after what is in sight the rest of the lists begins to follow."""
STEP_SECONDS = 0.05
"""Between one rail of the rest and the next one, so that a touch is never kept waiting."""
PULL = 96.0
"""How far the screen has to be pulled down to make the lists anew, in logical pixels."""


@dataclass(frozen=True)
class Sight:
    """What of the first screen can be seen.

    Attributes:
        first, last: the first and the last rail.
        films: how many films fit side by side; once they are moved, there is a part of one more.
    """

    first: int = 0
    last: int = 1
    films: int = 3


def slots(home: Home) -> Iterator[tuple[str, Rail]]:
    """The rails with the names of their places: what stands there changes, the place stays."""
    seen: dict[str, int] = {}
    for rail in home.rails:
        seen[rail.name] = seen.get(rail.name, -1) + 1
        yield f"{rail.name}-{seen[rail.name]}", rail


def in_sight_first(new: Home, old: Home | None, sight: Sight, left: dict[str, int] | None = None) -> Home:
    """The new lists where they can be seen, and what stood there before everywhere else.

    A tap changes nearly all of some sixty cards, of which a phone shows eight. These are what the user waits for.

    Args:
        old: what is on the screen; None: nothing yet.
        left: the place of a rail → how many of its films have gone by on the left.
    """
    before = {} if old is None else dict(slots(old))
    rails = []
    for place, (slot, rail) in enumerate(slots(new)):
        known = before.get(slot)
        if sight.first <= place <= sight.last:
            begin = (left or {}).get(slot, 0)
            rails.append(_begun(rail, known, range(begin, begin + sight.films + (begin > 0))))
        elif known is not None:
            rails.append(known)
        elif old is not None:
            rails.append(rail)  # so that nothing moves when the rest follows
    if not new.is_whole:
        made = {slot for slot, _ in slots(new)}
        rails += [rail for slot, rail in before.items() if slot not in made]
    return replace(new, rails=tuple(rails))


def _begun(new: Rail, old: Rail | None, in_sight: range) -> Rail:
    picks = [new.picks[place] for place in in_sight if place < len(new.picks)]
    if old is None:
        return replace(new, picks=tuple(picks))
    used = {pick.film.film_id for pick in picks}
    merged: list[Pick] = []
    for place, pick in enumerate(new.picks):
        if place in in_sight:
            merged.append(pick)
            continue
        for one in (*old.picks[place : place + 1], pick):
            if one.film.film_id not in used:
                used.add(one.film.film_id)
                merged.append(one)
                break
    return replace(new, picks=tuple(merged))


class Pull(Store):
    """How far the screen is pulled down beyond its upper edge."""

    def __init__(self) -> None:
        super().__init__()
        self.share = 0.0
        """Of what it takes, 0 to 1."""
        self._pixels = 0.0

    def by(self, pixels: float) -> None:
        """Pulled further."""
        self.to(self._pixels + pixels)

    def to(self, pixels: float) -> None:
        """Pulled as far as this."""
        self._pixels = pixels
        share = min(pixels / PULL, 1.0)
        if share != self.share:
            self.share = share
            self.changed()

    def let_go(self) -> bool:
        """Let go; whether it was far enough."""
        was_enough = self._pixels >= PULL
        self.to(0.0)
        return was_enough


class ForYou(Store):
    """What to watch.

    Attributes:
        home: the lists as they are; shown: what of them stands on the screen by now.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.home: Home | None = None
        self.shown: Home | None = None
        self.problem = ""
        self.pull = Pull()
        self.sight = Sight()
        self.left: dict[str, int] = {}
        self.is_stale = False
        """Whether a film was looked at since the lists were made."""
        self._following: asyncio.Task[None] | None = None
        self._returning: asyncio.Task[None] | None = None
        session.on_profile_change(self.refresh)
        session.follow(self._moved)

    async def refresh(self) -> None:
        """Make the lists anew. What is in sight is drawn before the rest is even made."""
        self.is_stale = False
        if self._following is not None:
            self._following.cancel()
        try:
            async for home in self.session.engine.homes():
                self.home, self.problem = home, ""
                shown = in_sight_first(home, self.shown, self.sight, self.left)
                if shown != self.shown:
                    self.shown = shown
                    self.changed()
                    await asyncio.sleep(0)  # which draws it
        except ERRORS as error:
            self.problem = str(error)
            if self.shown is not None:  # it stays
                self.session.say(self.session.texts("problem.say", reason=self.problem))
            self.changed()
            return
        self._following = asyncio.get_running_loop().create_task(self._follow(home))

    async def settled(self) -> None:
        """Wait until all of the lists is on the screen."""
        if self._following is not None:
            await self._following

    async def react(self, deed: Deed, film: Film, slot: str = "") -> None:
        """What the buttons below a film do. ``slot``: the place of its rail; "": it is the first film."""
        await self.session.react(deed, self._pick(film, slot))

    def source(self, *picks: Pick) -> Source | None:
        """Where the list that these films are of was ranked; None: the cloud is not asked, so it can only be here."""
        engine = self.session.engine
        if not engine.asks_cloud:
            return None
        return engine.source(next((pick.recommendation_id for pick in picks if pick.recommendation_id), None))

    def _pick(self, film: Film, slot: str) -> Pick:
        """With the list that it comes from now: a list that is made anew has another name."""
        home = self.home
        if home is not None and not slot and home.hero is not None and home.hero.film == film:
            return home.hero
        picks = () if home is None else dict(slots(home)).get(slot, Rail("top", ())).picks
        return next((pick for pick in picks if pick.film == film), Pick(film))

    def _moved(self) -> None:
        """Back from a film that was looked at: it is one to go on with now."""
        place = self.session.place
        if place.films:
            self.is_stale = True
        elif self.is_stale and place.tab == "home" and self.session.phase == "ready":
            self.is_stale = False
            self._returning = asyncio.get_running_loop().create_task(self.refresh())

    async def _follow(self, home: Home) -> None:
        """Note what was in sight, and let the rest follow, one rail after another."""
        await asyncio.sleep(REST_SECONDS)
        session = self.session
        if session.place.tab == "home" and not session.place.films:
            await session.attempt(session.engine.seen(home))
        for place in range(len(home.rails)):
            shown = self.shown
            if shown is None or shown == home:
                return
            upto = replace(home, rails=(*home.rails[: place + 1], *shown.rails[place + 1 :]))
            if upto != shown:
                self.shown = upto
                self.changed()
                await asyncio.sleep(STEP_SECONDS)
