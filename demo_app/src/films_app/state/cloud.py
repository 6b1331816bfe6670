"""What lies beyond the device: what waits to be sent, what is being sent, and who ranks the lists."""

from __future__ import annotations

import asyncio

from films_app.engine import Beyond
from films_app.state.session import ERRORS, Session
from films_app.state.store import Store
from nearhand.privacy import Consent
from nearhand.sync import SyncReport

LOOK_SECONDS = 0.2
"""How often it is looked how far a sync is."""


def consents(to: str) -> tuple[Consent, ...]:
    """What the user can allow. ``to``: where things could be sent; "": nowhere, and so that is no choice."""
    return ("local", "sync", "off") if to else ("local", "off")


class Cloud(Store):
    """What lies beyond the device.

    Attributes:
        beyond: as it was last read.
        total: how much waited when a sync was seen first, events and requests to erase.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.beyond: Beyond | None = None
        self.total = 0
        self.problem = ""
        self._watching: asyncio.Task[None] | None = None

    @property
    def is_sending(self) -> bool:
        """Whether a sync is running, whoever began it."""
        return self.session.engine.sending.is_running

    @property
    def report(self) -> SyncReport | None:
        """How the latest sync of the app ended."""
        return self.session.engine.sending.report

    @property
    def waiting(self) -> int:
        """How many events and requests to erase are still to be sent."""
        outbox = None if self.beyond is None else self.beyond.outbox
        return 0 if outbox is None else outbox.pending + outbox.erasures

    @property
    def sent(self) -> int:
        """How many of ``total`` are sent."""
        return max(self.total - self.waiting, 0)

    async def load(self) -> None:
        """Read it anew, and follow a sync that is running."""
        await self._read()
        if self.is_sending:
            self._watch()

    async def send(self) -> None:
        """Send what waits, until it is sent or cannot be."""
        await self._read()
        self.session.engine.sending.start()
        await self._watch()

    def stop(self) -> None:
        """Send no more of it now."""
        self.session.engine.sending.cancel()

    async def ask(self, on: bool) -> None:
        """Let lists be ranked in the cloud, or no more, and make them so."""
        await self.session.attempt(self.session.engine.ask_cloud(on))
        await self.session.profile_changed()
        await self.load()

    async def _read(self) -> None:
        try:
            self.beyond = await self.session.engine.beyond()
            self.problem = ""
        except ERRORS as error:
            self.problem = str(error)
        self.changed()

    def _watch(self) -> asyncio.Task[None]:
        if self._watching is None or self._watching.done():
            self._watching = asyncio.get_running_loop().create_task(self._follow())
        return self._watching

    async def _follow(self) -> None:
        self.total = self.waiting
        while self.is_sending:
            await self.session.engine.sending.wait(LOOK_SECONDS)
            await self._read()
        self.changed()
