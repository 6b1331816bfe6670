"""A proxy for HTTP that goes wrong as it is told to: one fault for each request, in an order that a seed decides.

::

    with FaultProxy(endpoint.url, in_turn(LoseAnswer(), Truncate(0.5))) as proxy:
        sync_with(proxy.url)                     # the first two requests meet these faults, later ones none
        proxy.plan = at_random(7, [Drop(), Replay()], share=0.3)
        sync_with(proxy.url)
        assert [exchange.fault for exchange in proxy.exchanges[:2]] == [LoseAnswer(), Truncate(0.5)]

Connections of clients are kept as HTTP keeps them; each request reaches the server on a connection of its own, so that
the server may be killed, and may come back elsewhere (``proxy.upstream = …``). A message is read to its end before
anything of it is passed on. Everything runs in threads of the test's own process.
"""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import h11

_READ = 65_536
_TICKS_PER_S = 20  # in how many pieces a second's worth of throttled bytes is sent


class Fault:
    """What happens to one request, or to the answer to it."""


@dataclass(frozen=True)
class Pass(Fault):
    """Nothing goes wrong."""


@dataclass(frozen=True)
class Drop(Fault):
    """The connection is reset when the share ``at`` of the request has reached the server; at 0 nothing has."""

    at: float = 0.0


@dataclass(frozen=True)
class Reset(Fault):
    """The whole request has reached the server; both connections are reset at once, so no answer is waited for."""


@dataclass(frozen=True)
class LoseAnswer(Fault):
    """The server has answered; the client's connection is reset instead of the answer."""


@dataclass(frozen=True)
class DelayRequest(Fault):
    """The request reaches the server so much later, even if the client has given up by then."""

    seconds: float


@dataclass(frozen=True)
class DelayAnswer(Fault):
    """The answer reaches the client so much later."""

    seconds: float


@dataclass(frozen=True)
class Replay(Fault):
    """The server gets the request twice, at once on two connections; the client gets the answer to the second."""


@dataclass(frozen=True)
class RepeatAnswer(Fault):
    """The client gets the answer twice in a row, on the one connection that it keeps."""


@dataclass(frozen=True)
class Truncate(Fault):
    """The client gets the share ``at`` of the answer's bytes, then the end of the connection."""

    at: float = 0.5


@dataclass(frozen=True)
class Throttle(Fault):
    """Request and answer pass at so many bytes a second each, or the answer alone."""

    bytes_per_second: int = 1000
    answer_only: bool = False


@dataclass(frozen=True)
class BlackHole(Fault):
    """All is read and nothing is ever answered; the server hears nothing. Ends with the client or :meth:`release`."""


@dataclass(frozen=True)
class Respond(Fault):
    """The proxy answers by itself; the server hears nothing."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)


Plan = Callable[[int], Fault]
"""The fault of each request, by its number from 0: they are counted as their first bytes arrive."""


def healthy(number: int) -> Fault:
    """Nothing ever goes wrong."""
    return Pass()


def always(fault: Fault) -> Plan:
    """Every request meets this."""
    return lambda number: fault


def in_turn(*faults: Fault) -> Plan:
    """The first requests meet one each, later ones none."""
    return lambda number: faults[number] if number < len(faults) else Pass()


def at_random(seed: int, faults: Sequence[Fault], share: float) -> Plan:
    """A ``share`` of the requests meets a fault, each of them equally often; which, depends on seed and number only."""
    cards = [*faults, *[Pass()] * round(len(faults) / share - len(faults))]

    def plan(number: int) -> Fault:
        round_, place = divmod(number, len(cards))
        return random.Random(f"{seed} {round_}").sample(cards, len(cards))[place]

    return plan


@dataclass(frozen=True)
class Exchange:
    """What became of a request.

    Attributes:
        line: such as ``"POST /v1/batch"``; "" if the request was not read.
        status: of the answer that the client was sent, perhaps not all of it; None: it got none.
    """

    fault: Fault
    line: str
    status: int | None


@dataclass(frozen=True)
class _Answer:
    raw: bytes
    status: int | None
    ends: bool  # the connection ends with it


class FaultProxy:
    """Passes requests on to a server, with faults. A context manager; its methods are for the test's thread.

    Args:
        upstream: the server's address, such as ``"http://127.0.0.1:8700"``. Nothing needs to listen there yet.
        plan: what goes wrong.

    Attributes:
        upstream, plan: may be set anew at any time, for the requests that begin from then on. The count of requests,
            which is what a plan is asked for, begins again at 0 when the plan is set.
        exchanges: what became of each request; one is there before the client can have anything of its answer.
    """

    def __init__(self, upstream: str, plan: Plan = healthy) -> None:
        self.upstream = upstream
        self.exchanges: list[Exchange] = []
        self._plan = plan
        self._number = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._start(self._accept)

    @property
    def url(self) -> str:
        """Where clients reach the proxy."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def plan(self) -> Plan:
        return self._plan

    @plan.setter
    def plan(self, plan: Plan) -> None:
        with self._lock:
            self._plan, self._number = plan, 0

    def release(self) -> None:
        """Break every connection there is, those in a black hole included."""
        with self._lock:
            for each in self._sockets:
                with suppress(OSError):  # it has ended by itself
                    each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Break every connection, and listen no more."""
        self._closing.set()
        with suppress(OSError):
            socket.create_connection(self._listener.getsockname()).close()  # wakes the thread that accepts
        self._threads[0].join()
        self._listener.close()
        self.release()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True, name="fault-proxy")
        self._threads = [each for each in self._threads if each is self._threads[0] or each.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._closing.is_set():
                client.close()
                return
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        """All requests of one connection, until it ends."""
        with suppress(OSError, h11.RemoteProtocolError), self._open(client):
            left = b""
            while first := left or client.recv(_READ):
                with self._lock:
                    fault = self._plan(self._number)
                    self._number += 1
                if fault in (BlackHole(), Drop(0.0)):
                    self.exchanges.append(Exchange(fault, "", None))
                    while isinstance(fault, BlackHole) and client.recv(_READ):
                        pass
                    _reset(client)
                    return
                request, raw, left = _read_request(client, first)
                answer = self._answer(fault, raw, request.method)
                line = f"{request.method.decode()} {request.target.decode()}"
                self.exchanges.append(Exchange(fault, line, None if answer is None else answer.status))
                if answer is None:
                    _reset(client)
                    return
                self._send_answer(fault, client, answer)
                if answer.ends or isinstance(fault, Truncate):
                    return

    def _answer(self, fault: Fault, raw: bytes, method: bytes) -> _Answer | None:
        """Pass the request on, and give what the server answers; None: the client's connection is to be reset."""
        if isinstance(fault, Respond):
            return _made(fault)
        if isinstance(fault, DelayRequest) and self._closing.wait(fault.seconds):
            return None
        try:
            with self._connected() as server:
                match fault:
                    case Drop() | Reset():
                        server.sendall(raw[: int(fault.at * len(raw))] if isinstance(fault, Drop) else raw)
                        _reset(server)
                        return None
                    case Replay():
                        server.sendall(raw)
                        with self._connected() as second:
                            second.sendall(raw)
                            _read_answer(server, method)
                            return _read_answer(second, method)
                    case Throttle(rate, answer_only=False):
                        self._send_slowly(server, raw, rate)
                    case _:
                        server.sendall(raw)
                answer = _read_answer(server, method)
        except OSError:  # the server is not there, or no more
            return None
        return None if isinstance(fault, LoseAnswer) else answer

    def _send_answer(self, fault: Fault, client: socket.socket, answer: _Answer) -> None:
        match fault:
            case DelayAnswer(seconds):
                self._closing.wait(seconds)
                client.sendall(answer.raw)
            case RepeatAnswer():
                client.sendall(2 * answer.raw)
            case Truncate(at):
                client.sendall(answer.raw[: int(at * len(answer.raw))])
            case Throttle(rate):
                self._send_slowly(client, answer.raw, rate)
            case _:
                client.sendall(answer.raw)

    def _send_slowly(self, to: socket.socket, raw: bytes, rate: int) -> None:
        piece = max(1, rate // _TICKS_PER_S)
        for begin in range(0, len(raw), piece):
            to.sendall(raw[begin : begin + piece])
            if self._closing.wait(piece / rate):
                return

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        address = urlsplit(self.upstream)
        assert address.hostname is not None
        with self._open(socket.create_connection((address.hostname, address.port or 80))) as server:
            yield server

    @contextmanager
    def _open(self, each: socket.socket) -> Iterator[socket.socket]:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._sockets.add(each)
        try:
            if self._closing.is_set():
                raise ConnectionAbortedError("the proxy is closing")  # nobody would break this one any more
            yield each
        finally:
            with self._lock:
                self._sockets.remove(each)
            each.close()


def _reset(each: socket.socket) -> None:
    """End a connection by RST: what is on its way in it is lost, and the peer reads an error."""
    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    each.close()


def _read_request(client: socket.socket, first: bytes) -> tuple[h11.Request, bytes, bytes]:
    """The request's head, all of its bytes, and what came behind them."""
    parser = h11.Connection(h11.SERVER)
    raw = bytearray(first)
    parser.receive_data(first)
    request: h11.Request | None = None
    while type(event := parser.next_event()) is not h11.EndOfMessage:
        if event is h11.NEED_DATA:
            data = client.recv(_READ)
            raw += data
            parser.receive_data(data)
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.ConnectionClosed):
            raise ConnectionAbortedError("the client left")
    assert request is not None
    behind, _ = parser.trailing_data
    return request, bytes(raw[: len(raw) - len(behind)]), behind


def _read_answer(server: socket.socket, method: bytes) -> _Answer:
    """An answer, or as much of it as the server sent before its connection ended."""
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method=method, target=b"/", headers=[(b"host", b"upstream")]))
    parser.send(h11.EndOfMessage())
    raw = bytearray()
    status = None
    try:
        while type(event := parser.next_event()) is not h11.EndOfMessage:
            if event is h11.NEED_DATA:
                data = server.recv(_READ)
                raw += data
                parser.receive_data(data)
            elif isinstance(event, h11.Response):
                status = event.status_code
    except (OSError, h11.RemoteProtocolError):  # killed while it answered
        return _Answer(bytes(raw), status, ends=True)
    return _Answer(bytes(raw), status, ends=parser.their_state is not h11.DONE)


def _made(fault: Respond) -> _Answer:
    headers = {"content-length": str(len(fault.body)), **fault.headers}
    head = [f"HTTP/1.1 {fault.status} {HTTPStatus(fault.status).phrase}", *(f"{k}: {v}" for k, v in headers.items())]
    return _Answer("\r\n".join([*head, "", ""]).encode() + fault.body, fault.status, ends=False)
