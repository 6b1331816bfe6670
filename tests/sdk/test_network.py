"""The transport over urllib3, against sockets that answer as they should not."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from nearhand.errors import UsageError
from nearhand.network import AnswerTooLargeError, Call, DeadlineError, NetworkError, Transport, default_transport

Behaviour = Callable[[socket.socket], None]


@pytest.fixture
def transport() -> Iterator[Transport]:
    made = default_transport()
    yield made
    made.close()


@contextmanager
def server(*behaviours: Behaviour, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server on a free port; its n-th connection is treated as the n-th behaviour says, once a request was read."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for behaviour in behaviours:
                connection, _ = listening.accept()
                if tls is not None:
                    connection = tls.wrap_socket(connection, server_side=True)
                with connection, suppress(OSError):
                    connection.recv(65_536)
                    behaviour(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http{'s' if tls else ''}://127.0.0.1:{listening.getsockname()[1]}/"
        thread.join(10)
        assert not thread.is_alive()


def make_certificate(folder: Path) -> Path:
    """A certificate of this machine, signed by itself, with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(made.public_bytes(pem) + private)
    return path


def sends(*parts: bytes) -> Behaviour:
    def behaviour(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)

    return behaviour


def trickles(head: bytes) -> Behaviour:
    """A byte now and then, for as long as somebody listens: each is in time, and all of them are not."""

    def behaviour(connection: socket.socket) -> None:
        connection.sendall(head)
        closed = threading.Event()
        with suppress(OSError):
            while not closed.wait(0.02):
                connection.sendall(b".")

    return behaviour


def test_an_answer_is_whole_with_its_status_and_headers(transport: Transport) -> None:
    body = gzip.compress(b"too many")
    head = b"HTTP/1.1 429 Slow down\r\nRetry-After: 7\r\nX-A: 1\r\nX-A: 2\r\nContent-Encoding: gzip\r\n"
    head += b"Content-Length: %d\r\n\r\n"
    with server(sends(head % len(body), body)) as url:
        answer = transport.send(Call("POST", url, body=b"x"))
    assert (answer.status, answer.body) == (429, b"too many")
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["x-a"] == "1, 2"


def test_a_redirect_is_an_answer(transport: Transport) -> None:
    with server(sends(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")) as url:
        assert transport.send(Call("GET", url)).status == 302


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
        b"not HTTP at all\r\n\r\n",
    ],
    ids=["nothing", "half a head", "short body", "no last chunk", "bad gzip", "not HTTP"],
)
def test_what_is_no_whole_answer_is_a_network_error(transport: Transport, answer: bytes) -> None:
    with server(sends(answer)) as url, pytest.raises(NetworkError, match=r"127\.0\.0\.1"):
        transport.send(Call("GET", url))


def test_nobody_listens(transport: Transport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(NetworkError, match=r"^http://127[^ ]*: Failed to establish a new connection: .*refused"):
        transport.send(Call("GET", f"http://127.0.0.1:{port}/"))


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Long: ", b""],
    ids=["body", "header", "status"],
)
def test_a_trickle_meets_the_deadline(transport: Transport, head: bytes) -> None:
    with server(trickles(head)) as url, pytest.raises(DeadlineError, match="within 200 ms"):
        transport.send(Call("GET", url, timeout_ms=200))


@pytest.mark.parametrize("late", [False, True])
def test_the_same_over_tls(transport: Transport, late: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    treat = (
        trickles(b"HTTP/1.1 200 OK\r\nX-Long: ") if late else sends(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    )

    def behaviour(connection: socket.socket) -> None:
        treat(connection)

    with server(behaviour, tls=context) as url:
        if late:
            with pytest.raises(DeadlineError):
                transport.send(Call("GET", url, timeout_ms=500))
        else:
            assert transport.send(Call("GET", url)).body == b"ok"


def test_silence_meets_the_deadline(transport: Transport) -> None:
    closed = threading.Event()

    def silent(connection: socket.socket) -> None:
        closed.wait(10)

    with server(silent) as url:
        with pytest.raises(DeadlineError):
            transport.send(Call("GET", url, timeout_ms=100))
        closed.set()


def test_a_large_answer_is_not_read_to_its_end(transport: Transport) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    with server(sends(head, bomb)) as url, pytest.raises(AnswerTooLargeError, match="1,000,000 bytes"):
        transport.send(Call("GET", url, max_answer_bytes=1_000_000))


def test_a_broken_answer_is_not_taken_for_the_next_one(transport: Transport) -> None:
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + bytes(300_000)
    with server(sends(long), sends(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) as url:
        with pytest.raises(AnswerTooLargeError):
            transport.send(Call("GET", url, max_answer_bytes=1000))
        assert transport.send(Call("GET", url)).body == b"ok"


@pytest.mark.parametrize("url", ["", "nowhere", "http://a:b/", "ftp://127.0.0.1/"])
def test_what_is_no_address_is_the_callers_mistake(transport: Transport, url: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        transport.send(Call("GET", url))
