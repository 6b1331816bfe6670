"""Around the transport an app brings: whatever its library raises or gives, the SDK meets a NetworkError."""

from __future__ import annotations

from collections.abc import Mapping

from nearhand.errors import NearhandError
from nearhand.network.transport import Answer, Call, NetworkError, Transport


def guarded(transport: Transport) -> Transport:
    """The same transport; what it raises beside the SDK's own errors, and what is no answer, is a broken call."""
    return _GuardedTransport(transport)


class _GuardedTransport:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def send(self, call: Call) -> Answer:
        """See :meth:`nearhand.network.Transport.send`."""
        try:
            answer = self._transport.send(call)
        except NearhandError:
            raise
        except Exception as error:
            raise _failed(call.url, f"raised {type(error).__name__}") from error
        if not (
            isinstance(answer, Answer)
            and type(answer.status) is int
            and isinstance(answer.headers, Mapping)
            and isinstance(answer.body, bytes)
        ):
            raise _failed(call.url, "gave no whole Answer")
        return answer

    def close(self) -> None:
        """Nothing: who has made the transport closes it."""


def _failed(place: str, problem: str) -> NetworkError:
    remedy = "have its send raise NetworkError, and return an Answer of an int, a mapping and bytes"
    return NetworkError(f"the app's transport {problem}", place=place, remedy=remedy)
