"""What a sync did, and how the outbox is doing."""

from __future__ import annotations

from collections.abc import Mapping

from nearhand.records import dataclass, field


@dataclass(frozen=True)
class SyncReport:
    """What one :meth:`nearhand.Personalizer.sync` did.

    Attributes:
        events_sent: events that the endpoint has confirmed to have.
        duplicates: how many of them it had already, because an earlier answer was lost.
        refused: code → events that it has refused; they are not sent again.
        left_out: name → how often a property or a part of the context was left out because it is not on the list of
            what may leave; at most 100 names, and ``…`` for the others.
        features: pushed features that were taken over.
        erasures: requests to erase that the endpoint has confirmed.
        bytes_sent: of all bodies, compressed, what was sent again included.
        dropped: reason → events that never got to the endpoint and never will, since the profile was made or erased:
            ``log_bytes`` and ``log_days`` are the log's caps, ``refused: CODE`` the endpoint's answers.
        pending: events that are still to be sent.
        is_complete: whether all was done that consent allows.
        errors: what was in the way, one line each.
        retry_after_ms: how long to wait before the next call; None: as the app likes.
    """

    events_sent: int = 0
    duplicates: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    features: int = 0
    erasures: int = 0
    bytes_sent: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    pending: int = 0
    is_complete: bool = False
    errors: tuple[str, ...] = ()
    retry_after_ms: int | None = None


@dataclass(frozen=True)
class SyncStatus:
    """How the outbox is doing.

    Attributes:
        pending, dropped: as in :class:`SyncReport`.
        erasures: requests to erase, of a whole profile or of one event, that are still to be sent.
        install: the first characters of the identifier that the endpoint knows this profile by; None: it knows none.
        last_success_at: when a sync was complete, ms since the epoch by the device's clock; None: never.
        last_error: what was in the way of the latest one; None: nothing.
    """

    pending: int
    dropped: Mapping[str, int]
    erasures: int
    install: str | None
    last_success_at: int | None
    last_error: str | None
