"""One HTTP call and its answer, and the protocol between whoever makes calls and whatever carries them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from nearhand.errors import NearhandError, UsageError
from nearhand.records import dataclass, field


class NetworkError(NearhandError):
    """There was no whole answer: no route, a refused or broken connection, or something that is not HTTP.

    Whether the other side has acted on the call is not known.
    """


class DeadlineError(NetworkError):
    """The whole answer was not there in time."""


class AnswerTooLargeError(NetworkError):
    """The answer is larger than the call allows; the rest of it was not read."""


@dataclass(frozen=True)
class Call:
    """An HTTP request.

    Attributes:
        url: absolute, ``http`` or ``https``.
        body: of the request; None: there is none.
        timeout_ms: for all of it, from the first packet to the last byte of the answer.
        max_answer_bytes: of the answer's body as it is after decompression.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    timeout_ms: float = 30_000
    max_answer_bytes: int = 4_000_000


@dataclass(frozen=True)
class Answer:
    """An HTTP response, whatever its status.

    Attributes:
        headers: by their names in lowercase; of several with one name, the values joined by ``", "``.
        body: decompressed.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """What carries calls: follows no redirects, retries nothing, and may be used by several threads at once."""

    def send(self, call: Call) -> Answer:
        """The answer to a call, whatever its status.

        Raises:
            NetworkError: there was no whole answer. DeadlineError: not in time. AnswerTooLargeError: it is too large.
        """
        ...

    def close(self) -> None:
        """Close connections that are kept. A later call opens new ones."""
        ...


def default_transport() -> Transport:
    """The transport over urllib3.

    Raises:
        UsageError: urllib3 is not installed.
    """
    try:
        from nearhand.network.pool import PooledTransport
    except ImportError as error:
        problem = f"urllib3 cannot be imported ({error})"
        raise UsageError(problem, place="network", remedy="pip install nearhand[sync]") from error
    return PooledTransport()
