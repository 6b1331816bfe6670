"""What a sink without transactions remembers of the events that it was given: claimed, then done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nearhand_cloud.refusal import RefusalError
from nearhand_cloud.sinks.sink import Erasure


@dataclass(frozen=True, slots=True)
class Place:
    """Where an event will be if it is stored: in this partition, at this offset or a later one."""

    partition: int
    floor: int


@dataclass(frozen=True, slots=True)
class Lapsed:
    """A claim that nobody has settled in time.

    Attributes:
        install: the SHA-256 of the install's id.
        message: the digest of the event's id.
        place: where the event is if it was stored.
        token: whose claim it is.
    """

    install: bytes
    message: bytes
    place: Place
    token: bytes


class Ledger(Protocol):
    """Installs, and the digests of the events that are stored or are just being stored.

    An event is *claimed* before it is sent, and *done* when the sink has acknowledged it. A claim that is neither done
    nor released when its time is over has *lapsed*: whoever made it is gone, and whether the event is stored has to be
    looked up at its place.

    Every method raises UnavailableError if what remembers cannot be reached.
    """

    async def claim(
        self, install_id: str, install_key: bytes, messages: Sequence[bytes], place: Place, token: bytes
    ) -> Sequence[bytes]:
        """Claim the events that are not done, and return their digests in order.

        Args:
            install_id: whose they are; it is registered if it is new.
            install_key: is compared otherwise.
            messages: digests of the ids, each once.
            place: where they will be.
            token: 8 bytes that no other claim has.

        Raises:
            RefusalError: the install was erased, its key is another one, or somebody else has claimed one of the events
                (503). Then nothing is claimed.
        """
        ...

    async def settle(self, install: bytes, token: bytes, *, done: Sequence[bytes], released: Sequence[bytes]) -> None:
        """End claims: ``done`` are stored, and ``released`` are certain not to be."""
        ...

    async def lapsed(self) -> Sequence[Lapsed]:
        """Some of the claims that have lapsed, the oldest first."""
        ...

    async def begin_erasure(self, erasure: Erasure) -> int:
        """From now on nothing that is erased comes back; how many events it is about.

        Raises:
            RefusalError: it is not proven, or a replay; or an event of it is just being stored (503).
        """
        ...

    async def finish_erasure(self, erasure: Erasure) -> None:
        """Remember the nonce, and forget the install if all of it is erased."""
        ...

    async def features(self, install_id: str, install_key: bytes) -> str | None:
        """See :meth:`nearhand_cloud.sinks.sink.Sink.features`."""
        ...

    async def put_features(self, install_id: str, text: str | None) -> None:
        """See :meth:`nearhand_cloud.sinks.sink.Sink.put_features`."""
        ...

    async def check(self) -> None:
        """Return if it can be reached."""
        ...

    async def close(self) -> None:
        """Let go of files and connections."""
        ...


def claimed_elsewhere() -> RefusalError:
    return RefusalError(
        503, "in-progress", "an event of this request is just being stored", "send it again", retry_after_s=1
    )
