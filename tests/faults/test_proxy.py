"""The proxy does to requests and answers what it is told to, and nothing else."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic, sleep
from urllib.parse import urlsplit

import pytest

from nearhand.network import Answer, Call, DeadlineError, NetworkError, default_transport
from tests.faults.proxy import (
    BlackHole,
    DelayAnswer,
    DelayRequest,
    Drop,
    Fault,
    FaultProxy,
    LoseAnswer,
    Pass,
    RepeatAnswer,
    Replay,
    Reset,
    Respond,
    Throttle,
    Truncate,
    always,
    at_random,
    healthy,
    in_turn,
)

BODY = b"event" * 400


class Echo(ThreadingHTTPServer):
    """Answers with the body it was sent and how many whole ones it has been sent, and keeps them."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[bytes] = []
        self.broken = 0
        self.arrived = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def wait_for(self, bodies: int = 0, broken: int = 0) -> bool:
        with self.arrived:
            return self.arrived.wait_for(lambda: len(self.bodies) >= bodies and self.broken >= broken, timeout=5)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Echo
    close_connection: bool

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        try:
            body = self.rfile.read(length)
        except ConnectionError:
            body = b""
        with self.server.arrived:
            if len(body) == length:
                self.server.bodies.append(body)
            else:
                self.server.broken += 1
                self.close_connection = True
            count = len(self.server.bodies)
            self.server.arrived.notify_all()
        if not self.close_connection:
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.send_header("Count", str(count))
            self.end_headers()
            self.wfile.write(body)

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path == "/chunks":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        else:
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"until the end")

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:  # a reset that is not in the middle of a body
            with self.server.arrived:
                self.server.broken += 1
                self.server.arrived.notify_all()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Echo]:
    with Echo() as echo:
        thread = threading.Thread(target=echo.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield echo
        echo.shutdown()
        thread.join()


@pytest.fixture
def proxy(server: Echo) -> Iterator[FaultProxy]:
    with FaultProxy(server.url) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(proxy.url).port, timeout=5)
    yield connection
    connection.close()


def post(client: http.client.HTTPConnection, body: bytes = BODY) -> http.client.HTTPResponse:
    client.request("POST", "/v1/batch", body)
    return client.getresponse()


def exchanged(proxy: FaultProxy, bodies: list[bytes], until: Callable[[bytes], bool]) -> bytes:
    """All bytes of the answers to requests that are sent in one piece."""
    received = b""
    with socket.create_connection(("127.0.0.1", urlsplit(proxy.url).port or 0), timeout=5) as client:
        client.sendall(b"".join(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n" + body for body in bodies))
        while not until(received):
            received += client.recv(9999)
    return received


def sent(proxy: FaultProxy, timeout_ms: float = 5000) -> Answer:
    """One request by the transport that devices use, on a connection of its own."""
    transport = default_transport()
    try:
        return transport.send(Call("POST", f"{proxy.url}/v1/batch", body=BODY, timeout_ms=timeout_ms))
    finally:
        transport.close()


def test_without_faults_requests_and_answers_pass_on_one_kept_connection(
    server: Echo, proxy: FaultProxy, client: http.client.HTTPConnection
) -> None:
    for number in range(3):
        answer = post(client, BODY + bytes([number]))
        assert (answer.status, answer.read()) == (200, BODY + bytes([number]))
        assert answer.headers["Count"] == str(number + 1)
    address = client.sock.getsockname()
    client.request("GET", "/chunks")
    assert client.getresponse().read() == b"abcde"
    assert client.sock.getsockname() == address
    client.request("GET", "/until-the-end")
    assert client.getresponse().read() == b"until the end"
    assert server.bodies == [BODY + bytes([number]) for number in range(3)]
    assert [(each.fault, each.line, each.status) for each in proxy.exchanges[:4]] == [
        *[(Pass(), "POST /v1/batch", 200)] * 3,
        (Pass(), "GET /chunks", 200),
    ]


def test_a_large_message_passes_whole(server: Echo, client: http.client.HTTPConnection) -> None:
    body = bytes(range(256)) * 20_000
    assert post(client, body).read() == body
    assert server.bodies == [body]


def test_requests_that_come_in_one_piece_are_told_apart(server: Echo, proxy: FaultProxy) -> None:
    exchanged(proxy, [b"one", b"two"], until=lambda received: received.endswith(b"two"))
    assert server.bodies == [b"one", b"two"]


@pytest.mark.parametrize("fault", [Drop(), Drop(0.5), Reset(), LoseAnswer(), Truncate(0.0), Truncate(0.5)], ids=repr)
def test_what_breaks_a_connection_is_an_error_for_the_client_and_the_next_request_passes(
    server: Echo, proxy: FaultProxy, fault: Fault
) -> None:
    proxy.plan = in_turn(fault)
    with pytest.raises(NetworkError):
        sent(proxy)
    assert sent(proxy).body == BODY
    assert [each.fault for each in proxy.exchanges] == [fault, Pass()]


def test_a_reset_is_no_end(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    proxy.plan = in_turn(Drop(), Reset(), LoseAnswer())
    for _ in range(3):
        with pytest.raises(ConnectionResetError):
            post(client)
        client.close()
    proxy.plan = in_turn(Truncate(0.0), Truncate(0.5))
    with pytest.raises(http.client.RemoteDisconnected, match="without response"):
        post(client)
    with pytest.raises(http.client.IncompleteRead):
        post(client).read()


def test_what_the_server_has_of_a_broken_request(server: Echo, proxy: FaultProxy) -> None:
    for fault, whole, broken in [(Drop(), 0, 0), (Drop(0.5), 0, 1), (LoseAnswer(), 1, 1), (Reset(), 2, 1)]:
        proxy.plan = always(fault)
        with pytest.raises(NetworkError):
            sent(proxy)
        assert server.wait_for(whole, broken)
        assert len(server.bodies) == whole
        assert server.bodies == [BODY] * whole


def test_a_replay_reaches_the_server_twice_and_the_client_once(
    server: Echo, proxy: FaultProxy, client: http.client.HTTPConnection
) -> None:
    proxy.plan = in_turn(Replay())
    assert post(client).read() == BODY
    assert server.bodies == [BODY, BODY]
    assert post(client, b"next").read() == b"next"
    assert server.bodies == [BODY, BODY, b"next"]


def test_a_repeated_answer_is_there_twice(server: Echo, proxy: FaultProxy) -> None:
    proxy.plan = in_turn(RepeatAnswer())
    received = exchanged(proxy, [b"one"], until=lambda received: received.count(b"one") == 2)
    head, body, again = received.partition(b"\r\n\r\none")
    assert again == head + body
    assert server.bodies == [b"one"]
    transport = default_transport()
    proxy.plan = in_turn(RepeatAnswer())
    for body in (BODY, b"next"):
        assert transport.send(Call("POST", proxy.url, body=body)).body == body, "the second copy is nobody's answer"
    transport.close()


def test_delays(server: Echo, proxy: FaultProxy) -> None:
    for fault in (DelayRequest(0.2), DelayAnswer(0.2)):
        proxy.plan = always(fault)
        begin = monotonic()
        assert sent(proxy).body == BODY
        assert monotonic() - begin >= 0.2


def test_a_delayed_request_arrives_though_nobody_waits_any_more(server: Echo, proxy: FaultProxy) -> None:
    proxy.plan = always(DelayRequest(0.3))
    with pytest.raises(DeadlineError):
        sent(proxy, timeout_ms=100)
    assert server.wait_for(bodies=1)


def test_throttled(server: Echo, proxy: FaultProxy) -> None:
    proxy.plan = always(Throttle(10_000, answer_only=True))
    begin = monotonic()
    assert sent(proxy).body == BODY
    once = monotonic() - begin
    proxy.plan = always(Throttle(10_000))
    begin = monotonic()
    assert sent(proxy).body == BODY
    assert once >= len(BODY) / 10_000
    assert monotonic() - begin >= 2 * len(BODY) / 10_000


def test_a_black_hole_never_answers_and_can_be_left(server: Echo, proxy: FaultProxy) -> None:
    proxy.plan = always(BlackHole())
    with pytest.raises(DeadlineError):
        sent(proxy, timeout_ms=100)

    def release() -> None:
        while len(proxy.exchanges) < 2:
            sleep(0.01)
        proxy.release()

    releasing = threading.Thread(target=release)
    releasing.start()
    with pytest.raises(NetworkError) as caught:
        sent(proxy, timeout_ms=30_000)
    releasing.join()
    assert type(caught.value) is NetworkError
    assert server.bodies == []


def test_an_answer_of_its_own(server: Echo, proxy: FaultProxy) -> None:
    proxy.plan = in_turn(Respond(503, b"later", {"Retry-After": "1"}))
    answer = sent(proxy)
    assert (answer.status, answer.body, answer.headers["retry-after"]) == (503, b"later", "1")
    assert server.bodies == []


def test_a_server_that_is_gone_and_comes_back_elsewhere(
    server: Echo, proxy: FaultProxy, client: http.client.HTTPConnection
) -> None:
    assert post(client).read() == BODY
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        proxy.upstream = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    with pytest.raises(ConnectionResetError):
        post(client)
    client.close()
    proxy.upstream = server.url
    assert post(client).read() == BODY


def test_closing_breaks_what_waits(server: Echo) -> None:
    with FaultProxy(server.url, always(DelayRequest(60))) as proxy:
        closing = threading.Timer(0.1, proxy.close)
        closing.start()
        with pytest.raises(NetworkError):
            sent(proxy)
        closing.join()
    assert server.bodies == []


def test_a_seed_decides_alone() -> None:
    faults = [Drop(), Replay(), LoseAnswer()]
    plan = at_random(7, faults, 0.25)
    forwards = [plan(number) for number in range(2000)]
    assert [plan(number) for number in reversed(range(2000))] == forwards[::-1]
    assert [at_random(8, faults, 0.25)(number) for number in range(2000)] != forwards
    for begin in range(0, 1992, 12):
        assert all(forwards[begin : begin + 12].count(fault) == 1 for fault in faults)
        assert forwards[begin : begin + 12].count(Pass()) == 9
    assert forwards[:12] != forwards[12:24]
    assert {healthy(number) for number in range(9)} == {Pass()}
    assert [in_turn(Drop())(number) for number in range(3)] == [Drop(), Pass(), Pass()]


def test_a_new_plan_counts_from_0(proxy: FaultProxy) -> None:
    for _ in range(2):
        proxy.plan = in_turn(Respond(404))
        assert [sent(proxy).status for _ in range(2)] == [404, 200]
