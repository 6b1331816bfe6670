"""What each screen shows, and what can be done on it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace

from films_app.engine import (
    Activity,
    Advice,
    Cause,
    Film,
    Hood,
    Moment,
    Pick,
    Question,
    Sort,
    Stored,
    Variant,
    Why,
)
from films_app.engine.flight import FLIGHT_MODE
from films_app.state.session import ERRORS, Session
from films_app.state.store import Store
from nearhand.privacy import Consent

SHOWN = 30
"""How many films a list shows at once; more on request."""
SEARCH_PAUSE_SECONDS = 1.2
"""Nothing was typed for so long: it was what the user looked for, and is noted."""
ENOUGH_LOVED = 3


class Welcome(Store):
    """The first steps: some films that the user loves, and what may be kept."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.text = ""
        self.loved: list[Film] = []
        self.step = 0
        self.is_busy = False

    @property
    def films(self) -> list[Film]:
        """What can be chosen: what was found, or what most people know."""
        return self.session.catalogue.search(Question(self.text))[:SHOWN]

    def look_for(self, text: str) -> None:
        """Search."""
        self.text = text
        self.changed()

    def toggle(self, film: Film) -> None:
        """Love a film, or no more."""
        if film in self.loved:
            self.loved.remove(film)
        else:
            self.loved.append(film)
        self.changed()

    def go_to(self, step: int) -> None:
        """Go on, or back."""
        self.step = step
        self.changed()

    async def finish(self, consent: Consent) -> None:
        """Keep what was chosen, and show the first list."""
        self.is_busy = True
        self.changed()
        session = self.session
        if await session.attempt(session.engine.welcome(self.loved, consent)):
            session.phase = "ready"
            await session.profile_changed()
            self.loved, self.text, self.step = [], "", 0
        self.is_busy = False
        session.changed()


class Search(Store):
    """All films, and what is looked for among them."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.question = Question()
        self.shown = SHOWN
        self.cleared = 0
        """How often the field was emptied by another button."""
        self._noting: asyncio.Task[None] | None = None

    @property
    def films(self) -> list[Film]:
        """All that answers the question."""
        return self.session.catalogue.search(self.question)

    def look_for(self, text: str) -> None:
        """Search while typing; what was looked for in the end is noted."""
        self._ask(replace(self.question, text=text))
        if self._noting is not None:
            self._noting.cancel()
        self._noting = asyncio.get_running_loop().create_task(self._note(text.strip()))

    def filter(self, *, genre: str | None, decade: int | None) -> None:
        """Show only a genre, or a decade."""
        self._ask(replace(self.question, genre=genre, decade=decade))

    def sort(self, sort: Sort) -> None:
        """Show in another order."""
        self._ask(replace(self.question, sort=sort))

    def more(self) -> None:
        """Show more of it."""
        self.shown += SHOWN
        self.changed()

    def clear(self) -> None:
        """Ask for all again."""
        self.cleared += 1
        self._ask(Question(sort=self.question.sort))

    def _ask(self, question: Question) -> None:
        self.question, self.shown = question, SHOWN
        self.changed()

    async def _note(self, text: str) -> None:
        await asyncio.sleep(SEARCH_PAUSE_SECONDS)
        if text:
            await self.session.attempt(self.session.engine.searched(text, len(self.films)))


class FilmPage(Store):
    """One film: what is like it, what the user did with it, and why it is recommended."""

    def __init__(self, session: Session, film: Film) -> None:
        super().__init__()
        self.session = session
        self.film = film
        self.recommendation_id: str | None = None
        self.similar: tuple[Film, ...] | None = None
        self.mine: tuple[Moment, ...] = ()
        self.why: Why | None = None
        self.problem = ""

    async def load(self) -> None:
        """Read what the screen shows."""
        engine = self.session.engine
        try:
            self.similar = await engine.similar(self.film)
            self.mine = await engine.mine(self.film)
            if self.why is not None:
                self.why = await engine.why(self.film)
            self.problem = ""
        except ERRORS as error:
            self.problem = str(error)
        self.changed()

    @property
    def pick(self) -> Pick:
        """The film with the list that led here."""
        return Pick(self.film, recommendation_id=self.recommendation_id)

    @property
    def opinion(self) -> Moment | None:
        """The latest event that says what the user thinks of it."""
        return next((one for one in self.mine if one.event in ("item_liked", "item_disliked")), None)

    async def open_why(self) -> None:
        """Show why."""
        try:
            self.why = await self.session.engine.why(self.film)
        except ERRORS as error:
            self.session.say(self.session.texts("problem.say", reason=str(error)))
        self.changed()

    def close_why(self) -> None:
        """Show it no more."""
        self.why = None
        self.changed()

    async def forget(self, cause: Cause) -> None:
        """Remove an event from the history: it never happened."""
        if await self.session.attempt(self.session.engine.forget([cause.moment.event_id])):
            await self.session.profile_changed()
            await self.load()

    async def less_like(self) -> None:
        """Show less of what is like this film."""
        self.why = None
        self.changed()
        await self.session.react("less_like", self.pick)
        self.session.changed()


class YourActivity(Store):
    """Everything that was recorded, by day, and the taste that it makes."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.activity: Activity | None = None
        self.chosen: frozenset[str] = frozenset()
        self.is_choosing = False
        self.is_resetting = False
        self.shown = SHOWN
        self.problem = ""

    async def load(self) -> None:
        """Read it anew."""
        try:
            self.activity = await self.session.engine.activity()
            self.problem = ""
        except ERRORS as error:
            self.problem = str(error)
        self.changed()

    def more(self) -> None:
        """Show more of it."""
        self.shown += SHOWN
        self.changed()

    def choose(self, choosing: bool) -> None:
        """Begin to choose some events, or stop it."""
        self.is_choosing, self.chosen = choosing, frozenset()
        self.changed()

    def toggle(self, event_ids: tuple[str, ...]) -> None:
        """Choose what stands in one line, or not."""
        ids = frozenset(event_ids)
        self.chosen = self.chosen - ids if ids <= self.chosen else self.chosen | ids
        self.changed()

    async def delete(self, event_ids: tuple[str, ...]) -> None:
        """Delete events, for good."""
        session = self.session
        if await session.attempt(session.engine.forget(event_ids)):
            session.say(session.texts("activity.deleted", count=len(event_ids)))
        self.is_choosing, self.chosen = False, frozenset()
        await session.profile_changed()
        await self.load()

    def ask_reset(self, asking: bool) -> None:
        """Ask whether the taste is really to be reset, or ask no more."""
        self.is_resetting = asking
        self.changed()

    async def reset_taste(self) -> None:
        """Begin anew."""
        self.is_resetting = False
        if await self.session.attempt(self.session.engine.reset_taste()):
            self.session.say(self.session.texts("activity.reset_done"))
        await self.session.profile_changed()
        await self.load()


class YourPrivacy(Store):
    """What may be kept, what is, and what has left."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.stored: Stored | None = None
        self.is_erasing = False
        self.exported = ""
        self.problem = ""

    async def load(self) -> None:
        """Read it anew."""
        try:
            self.stored = await self.session.engine.stored()
            self.problem = ""
        except ERRORS as error:
            self.problem = str(error)
        self.changed()

    async def set_consent(self, consent: Consent) -> None:
        """Choose whether anything is recorded."""
        await self._change(self.session.engine.set_consent(consent))

    async def set_personalized(self, personalized: bool) -> None:
        """Choose whether lists look at the history."""
        await self._change(self.session.engine.set_personalized(personalized))

    async def unblock(self, film: Film) -> None:
        """Let a film, and its like, be recommended again."""
        await self._change(self.session.engine.unblock(film))

    async def export(self) -> None:
        """Write everything into a file."""
        try:
            self.exported = str(await self.session.engine.export())
        except ERRORS as error:
            self.session.say(self.session.texts("problem.say", reason=str(error)))
        await self.load()

    def ask_erase(self, asking: bool) -> None:
        """Ask whether everything is really to go, or ask no more."""
        self.is_erasing = asking
        self.changed()

    async def erase(self) -> None:
        """Everything goes; then the app is as on its first day."""
        self.is_erasing, self.exported = False, ""
        session = self.session
        if await session.attempt(session.engine.erase()):
            session.phase = "welcome"
            session.go("/")
            session.engine.announce(session)
            session.say(session.texts("privacy.erased"))
        session.changed()

    async def _change(self, work: object) -> None:
        await self.session.attempt(work)  # type: ignore[arg-type]
        await self.session.profile_changed()
        await self.load()


@dataclass(frozen=True)
class FlightProof:
    """What an attempt to reach another machine came to."""

    is_refused: bool
    text: str


class UnderTheHood(Store):
    """What runs, how fast, and what else could run."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.hood: Hood | None = None
        self.advice: dict[str, Advice] = {}
        self.switching: Variant | None = None
        self.problem = ""

    async def load(self) -> None:
        """Read it anew."""
        try:
            self.hood = await self.session.engine.hood()
            self.problem = ""
        except ERRORS as error:
            self.problem = str(error)
        self.changed()

    async def use(self, variant: Variant) -> None:
        """Run another form of the model, and make the lists with it."""
        self.switching = variant
        self.changed()
        await self.session.attempt(self.session.engine.use_variant(variant.runtime, variant.precision))
        self.switching = None
        await self.session.profile_changed()
        await self.load()

    async def measure(self) -> None:
        """Make some lists, for the chart."""
        for _ in range(10):
            await self.session.attempt(self.session.engine.home())
        await self.load()

    async def fly(self, on: bool) -> None:
        """Refuse the network, or allow it again."""
        await self.session.attempt(self.session.engine.change_settings(is_in_flight=on))
        await self.load()
        self.session.changed()

    async def prove(self) -> None:
        """Try to reach another machine: in flight mode that is refused, before anything is sent."""
        assert FLIGHT_MODE.is_on  # the button is there only then: without it this would use the network
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            await loop.getaddrinfo("films.invalid", 443)
        await self.load()

    async def ask(self, policy: str) -> None:
        """Ask a policy what is to be done."""
        try:
            self.advice[policy] = await self.session.engine.advice(policy)
        except ERRORS as error:
            self.session.say(self.session.texts("problem.say", reason=str(error)))
        self.changed()
