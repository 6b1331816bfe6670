"""What lies beyond the device, if the app was told where: the endpoint that events go to, and a server of lists."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import urlsplit

from films_app.engine.flight import FLIGHT_MODE
from nearhand import NearhandError
from nearhand.sync import SyncReport

if TYPE_CHECKING:
    from nearhand.hybrid import HybridConfig, HybridStatus, Surroundings
    from nearhand.privacy import Consent
    from nearhand.sync import SyncConfig, SyncStatus

Source: TypeAlias = Literal["device", "cloud"]
"""Where a list was ranked."""
ATTEMPTS = 3
"""Of one call, before the user is told: somebody waits for it."""
ASKING_MS = 250.0
"""The longest that a list without a limit of its own waits for the cloud."""


@dataclass(frozen=True)
class Addresses:
    """Where the app may reach out to. Each may be "": then there is none, and no screen speaks of it.

    Attributes:
        endpoint: of the events that the user allows to be sent; write_key: which it knows the app by.
        heavy: of a server of the Open Inference Protocol that ranks lists with a larger model; heavy_model: its name
            there; "": that of the app's own bundle.

    Raises:
        UsageError: one of them cannot be used; names it.
    """

    endpoint: str = ""
    write_key: str = field(default="", repr=False)
    heavy: str = ""
    heavy_model: str = ""

    def __post_init__(self) -> None:
        self.sync_config()
        self.hybrid_config()

    @classmethod
    def named(cls, environment: Mapping[str, str]) -> Addresses | None:
        """Those of ``FILMS_ENDPOINT``, ``FILMS_WRITE_KEY``, ``FILMS_HEAVY`` and ``FILMS_HEAVY_MODEL``.

        None: there is none of them.
        """
        found = [environment.get(f"FILMS_{name.name.upper()}", "") for name in fields(cls)]
        return cls(*found) if any(found) else None

    @property
    def hosts(self) -> str:
        """The machines, for people to read; "": there is none."""
        return ", ".join(dict.fromkeys(urlsplit(url).netloc for url in (self.endpoint, self.heavy) if url))

    @property
    def ports(self) -> frozenset[int]:
        """Those of them that are on this machine, as in tests and while the app is developed."""
        parts = [urlsplit(url) for url in (self.endpoint, self.heavy) if url]
        return frozenset(part.port or {"http": 80}.get(part.scheme, 443) for part in parts)

    def sync_config(self) -> SyncConfig | None:
        """How events are sent; None: they are not."""
        if not self.endpoint:
            return None
        from nearhand.sync import SyncConfig

        return SyncConfig(self.endpoint, self.write_key, attempts=ATTEMPTS)

    def hybrid_config(self) -> HybridConfig | None:
        """How lists are ranked in the cloud; None: they are not. Who switched it on wants it whenever it can be."""
        if not self.heavy:
            return None
        from nearhand.hybrid import HybridConfig, RoutePolicy

        policy = RoutePolicy(metered=True, confident_from=1.1, timeout_ms=ASKING_MS)
        # Features follow from all of the history, and would keep those from the cloud who have agreed only lately.
        return HybridConfig(self.heavy, self.heavy_model or None, policy=policy, shares_features=False)


@dataclass(frozen=True)
class Beyond:
    """What lies beyond the device, as of now.

    Attributes:
        outbox: what waits to be sent; None: there is no endpoint.
        can_rank: whether there is a server of lists; asks: whether the user has switched it on.
        cloud: how that went; None: it is not switched on.
        is_in_flight: whether the network is refused.
    """

    consent: Consent
    outbox: SyncStatus | None
    can_rank: bool
    asks: bool
    cloud: HybridStatus | None
    is_in_flight: bool


def surroundings() -> Surroundings:
    """What the app knows of the network: that there is none, in flight mode."""
    from nearhand.hybrid import Surroundings

    return Surroundings("none" if FLIGHT_MODE.is_on else "unknown")


class Sending:
    """The sync that is running in this process: whoever wants another one meanwhile gets the same.

    Args:
        sync: does it, in a thread of its own, until the event is set.

    Attributes:
        report: of the latest; None: there was none.
    """

    def __init__(self, sync: Callable[[threading.Event], SyncReport]) -> None:
        self._sync = sync
        self._cancelled = threading.Event()
        self._task: asyncio.Task[None] | None = None
        self.report: SyncReport | None = None

    @property
    def is_running(self) -> bool:
        """Whether something is being sent."""
        return self._task is not None and not self._task.done()

    def start(self, *, anew: bool = False) -> None:
        """Begin, in the background; ``anew``: what is running already is stopped for it."""
        before = self._task if self.is_running else None
        if before is None or anew:
            self.cancel()
            self._cancelled = threading.Event()
            self._task = asyncio.get_running_loop().create_task(self._run(before, self._cancelled))

    def cancel(self) -> None:
        """Stop, as soon as the call is answered that is being made. What was not sent is sent another time."""
        self._cancelled.set()

    async def wait(self, seconds: float | None = None) -> None:
        """Until it is over, or so long."""
        if self._task is not None and self.is_running:
            await asyncio.wait({self._task}, timeout=seconds)

    async def _run(self, before: asyncio.Task[None] | None, cancelled: threading.Event) -> None:
        if before is not None:
            await asyncio.wait({before})
        try:
            self.report = await asyncio.to_thread(self._sync, cancelled)
        except NearhandError as error:
            self.report = SyncReport(errors=(str(error),))
        finally:
            cancelled.set()
