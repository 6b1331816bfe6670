"""The transport over urllib3: connections that are kept, TLS that is checked, and a deadline for the whole answer."""

from __future__ import annotations

import io
import socket
import time
from functools import partial
from http.client import HTTPResponse
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, LocationParseError, NewConnectionError, TimeoutError

from nearhand.errors import UsageError
from nearhand.network.transport import Answer, AnswerTooLargeError, Call, DeadlineError, NetworkError

_CHUNK = 65_536
_WITHOUT_BODY = (204, 304)


class _Timed(io.RawIOBase):
    """What is read from a socket until a deadline, however many reads it takes: its own timeout is for each of them."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, ends: float) -> None:
        super().__init__()
        self._raw = raw
        self._sock = sock
        self._ends = ends

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, ends: float, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Timed(self.fp.detach(), sock, ends))


class _TimedMixin:
    """A connection whose answer, head and body, has to be there in time."""

    timeout: Any
    response_class: Any

    def getresponse(self) -> Any:
        # By now urllib3 has set it to what is left of the whole; before it sends the next request it sets it anew.
        self.response_class = partial(_TimedResponse, ends=time.monotonic() + self.timeout)
        return super().getresponse()  # type: ignore[misc]


class _Connection(_TimedMixin, HTTPConnection):
    pass


class _SecureConnection(_TimedMixin, HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class PooledTransport:
    """Calls over kept connections, at most four to one host at once; see :class:`nearhand.network.Transport`."""

    def __init__(self) -> None:
        self._pool = urllib3.PoolManager(num_pools=4, maxsize=4, block=False)
        self._pool.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def send(self, call: Call) -> Answer:
        """See :meth:`nearhand.network.Transport.send`."""
        if not call.url.startswith(("http://", "https://")):
            raise _no_address(call)
        # Not the Clock that tests set: sockets wait in real time.
        ends = time.monotonic() + call.timeout_ms / 1000
        try:
            response = self._pool.request(
                call.method,
                call.url,
                body=call.body,
                headers={"accept-encoding": "gzip", **call.headers},
                timeout=urllib3.Timeout(total=call.timeout_ms / 1000),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            try:
                body = self._body(response, call, ends)
            except BaseException:
                response.close()  # the rest of this answer must not be taken for the next one
                raise
            response.release_conn()
        except LocationParseError as error:
            raise _no_address(call) from error
        except NewConnectionError as error:  # which urllib3 counts among the time-outs
            raise _broken(call, str(error).partition(": ")[2]) from error  # without the connection's own name
        except TimeoutError as error:
            raise _late(call) from error
        except (HTTPError, OSError) as error:
            raise _broken(call, f"{type(error).__name__}: {error}") from error
        headers = {name.lower(): ", ".join(response.headers.getlist(name)) for name in response.headers}
        if not headers.keys() & {"content-length", "transfer-encoding"} and response.status not in _WITHOUT_BODY:
            # A connection that broke in the middle of the head, or of such a body, looks like the end of an answer.
            raise _broken(call, "the answer does not say how long it is")
        return Answer(response.status, headers, body)

    def close(self) -> None:
        """See :meth:`nearhand.network.Transport.close`."""
        self._pool.clear()

    def _body(self, response: urllib3.BaseHTTPResponse, call: Call, ends: float) -> bytes:
        parts: list[bytes] = []
        size = 0
        while part := response.read1(_CHUNK, decode_content=True):
            parts.append(part)
            size += len(part)
            if size > call.max_answer_bytes:
                problem = f"the answer is larger than {call.max_answer_bytes:,} bytes"
                raise AnswerTooLargeError(problem, place=call.url, remedy="ask for less, or allow more")
            if time.monotonic() > ends:
                raise _late(call)
        return b"".join(parts)


def _no_address(call: Call) -> UsageError:
    return UsageError(f"{call.url!r} is no address", place="network", remedy="give an http or https address")


def _broken(call: Call, problem: str) -> NetworkError:
    return NetworkError(problem, place=call.url, remedy="try again when there is a network")


def _late(call: Call) -> DeadlineError:
    problem = f"no whole answer within {call.timeout_ms:.0f} ms"
    return DeadlineError(problem, place=call.url, remedy="try again, or allow more time")
