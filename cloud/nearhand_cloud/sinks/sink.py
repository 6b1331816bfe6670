"""What every sink does, whatever is behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nearhand_cloud.events import StoredEvent


@dataclass(frozen=True, slots=True)
class Batch:
    """The valid events of one request.

    Attributes:
        install_id: whose they are.
        install_key: the 32 bytes that came with them: registered if the install is new, else compared.
        events: in the order of the request; an event_id may be there twice.
    """

    install_id: str
    install_key: bytes
    events: Sequence[StoredEvent]


@dataclass(frozen=True, slots=True)
class Kept:
    """How many events of a batch were stored now, and how many were there before."""

    accepted: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class Erasure:
    """A request to erase, and what proves that it comes from the install.

    Attributes:
        install_id: whose events go.
        nonce: makes a second copy of the request recognizable.
        event_ids: the events that go; None: all, with the registration and the pushed features.
        message: the bytes that were signed.
        signature: their HMAC-SHA256 under the install's key.
        install_key: the key, if it came with the request: it registers an install that is not known yet, so that a
            batch which the request has overtaken on its way finds it erased.
    """

    install_id: str
    nonce: str
    event_ids: Sequence[str] | None
    message: bytes
    signature: bytes
    install_key: bytes | None


class Sink(Protocol):
    """Keeps events, each once. Every method may be called by many requests at the same time.

    Raises:
        RefusalError: what was asked is not allowed (an erased install, another key, a replay).
        UnavailableError: a part of it could not be reached. What was asked may be asked again.
    """

    async def keep(self, batch: Batch) -> Kept:
        """Store the events that are not there yet. When it returns they are durable."""
        ...

    async def erase(self, erasure: Erasure) -> int:
        """Erase, and return how many events were. When it returns that is durable."""
        ...

    async def features(self, install_id: str, install_key: bytes) -> str | None:
        """The pushed features of an install as the JSON text that was put; registers the install if it is new."""
        ...

    async def put_features(self, install_id: str, text: str | None) -> None:
        """Put the JSON text of pushed features in the place of what is there; None removes them."""
        ...

    async def check(self) -> None:
        """Return if a batch could be stored now."""
        ...

    async def close(self) -> None:
        """Finish what was begun, and let go of files and connections."""
        ...
