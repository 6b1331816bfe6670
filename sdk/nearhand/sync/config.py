"""Where events go, and what of them may leave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args
from urllib.parse import urlsplit

from nearhand.errors import UsageError, shown
from nearhand.records import dataclass, field

Format = Literal["segment", "cloudevents"]

MAX_BODY_BYTES = 475_000
MAX_EVENTS = 500
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_RESERVED = ("item_id",)  # an event's own field, which travels among its properties


@dataclass(frozen=True)
class SyncConfig:
    """The endpoint, and what may go there; :meth:`nearhand.Personalizer.open` takes it.

    Attributes:
        url: of the endpoint, such as ``https://events.example.com``; what is asked of it is below ``/v1/`` there.
        write_key: which the endpoint knows the app by. It is in every copy of the app, so it is no secret that protects
            anything but the endpoint's intake.
        format: ``"segment"``: the batches of Segment's HTTP API; ``"cloudevents"``: batches of CloudEvents 1.0. The
            endpoint stores the same of both.
        properties: the names of the properties that leave, whatever the event's type; None: those that the type itself
            declares (:data:`nearhand.events.EVENT_TYPES`, ``WELL_KNOWN`` and the bundle's ``event_types``). A search's
            ``query`` is one of these.
        context: the names of the context that leave.
        features: whether to ask the endpoint for pushed features.
        max_events: of one batch, 1 to 500.
        max_batch_bytes: of one batch before compression, 1,000 to 475,000.
        timeout_ms: of one call to the endpoint.
        deadline_ms: of one ``sync()``: what is not done by then is left to the next one.
        events_per_second: after the first batch, no more than so many on average, so that many devices that come back
            from a long time without network do not come all at once.
        attempts: of one call in one ``sync()``, those after which the endpoint named a time to wait not counted.
        headers: further headers of every call, for a gateway of the app's own.
        allow_http: whether an address without TLS may be another machine; on this one it always may.

    Raises:
        UsageError: one of them cannot be used; names it.
    """

    url: str
    write_key: str = field(repr=False)
    format: Format = "segment"
    properties: tuple[str, ...] | None = None
    context: tuple[str, ...] = ("device", "locale")
    features: bool = True
    max_events: int = MAX_EVENTS
    max_batch_bytes: int = MAX_BODY_BYTES
    timeout_ms: float = 10_000
    deadline_ms: float = 30_000
    events_per_second: int = 1_000
    attempts: int = 5
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    allow_http: bool = False

    def __post_init__(self) -> None:
        self._check_url()
        if not _is_header(self.write_key) or ":" in self.write_key:
            raise _refused("write_key", "is no key", "use the key that the endpoint was started with")
        if self.format not in get_args(Format):
            raise _refused("format", f"{shown(self.format)} is not a choice", "use 'segment' or 'cloudevents'")
        for name, names in (
            ("properties", () if self.properties is None else self.properties),
            ("context", self.context),
        ):
            if not (isinstance(names, tuple) and all(isinstance(each, str) for each in names)):
                raise _refused(
                    name, f"{shown(names)} is not a tuple of names", 'use one such as ("seconds", "position")'
                )
        if found := [name for name in _RESERVED if name in (self.properties or ())]:
            raise _refused("properties", f"{found[0]!r} is a field of its own", "leave it out: it always leaves")
        for name, number, lowest, highest in (
            ("max_events", self.max_events, 1, MAX_EVENTS),
            ("max_batch_bytes", self.max_batch_bytes, 1_000, MAX_BODY_BYTES),
            ("events_per_second", self.events_per_second, 1, 10**9),
            ("attempts", self.attempts, 1, 100),
        ):
            if type(number) is not int or not lowest <= number <= highest:
                raise _refused(name, f"is {shown(number)}", f"use an integer from {lowest:,} to {highest:,}")
        for name, period in (("timeout_ms", self.timeout_ms), ("deadline_ms", self.deadline_ms)):
            if isinstance(period, bool) or not isinstance(period, int | float) or not 1 <= period <= 3_600_000:
                raise _refused(name, f"is {shown(period)}", "use milliseconds from 1 to 3,600,000")
        for name, choice in (("features", self.features), ("allow_http", self.allow_http)):
            if type(choice) is not bool:
                raise _refused(name, f"is {shown(choice)}", "use True or False")
        if not isinstance(self.headers, Mapping) or not all(map(_is_header, [*self.headers, *self.headers.values()])):
            raise _refused("headers", "are not names and values of ASCII characters", "write {'x-name': 'value'}")

    def _check_url(self) -> None:
        remedy = "use one such as https://events.example.com"
        try:
            parts = urlsplit(self.url)
            parts.port  # noqa: B018 - raises if it is none
        except (ValueError, TypeError, AttributeError):
            raise _refused("url", f"{self.url!r} is no address", remedy) from None
        if parts.scheme not in ("http", "https") or not parts.hostname or not _is_header(self.url) or " " in self.url:
            raise _refused("url", f"{self.url!r} is no address", remedy)
        if parts.username is not None or parts.query or parts.fragment:
            raise _refused("url", "has more than a host and a path", f"leave out the user, ? and #; {remedy}")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not self.allow_http:
            raise _refused("url", f"{self.url!r} sends in the clear", "use https, or set allow_http for a test")


def _is_header(text: object) -> bool:
    return isinstance(text, str) and text.isascii() and text.isprintable() and bool(text.strip())


def _refused(field: str, problem: str, remedy: str) -> UsageError:
    return UsageError(problem, place=f"SyncConfig.{field}", remedy=remedy)
