"""Every answer of the contract, from a real process."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from nearhand.ids import random_id
from tests.cloud.device import Device, Said, as_cloudevent
from tests.cloud.endpoint import Endpoint, running_endpoint

FEATURES = [{"name": "taste", "values": [1.5, -2.0], "ttl_ms": 86_400_000, "source": "batch"}]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder: Path = tmp_path_factory.mktemp("answers")
    (folder / "files" / "deep").mkdir(parents=True)
    (folder / "files" / "bundle.bin").write_bytes(bytes(range(256)) * 40)
    (folder / "files" / "deep" / "a b.txt").write_text("text", encoding="utf-8")
    (folder / "secret.txt").write_text("secret", encoding="utf-8")
    (folder / "files" / "link.txt").symlink_to(folder / "secret.txt")
    with running_endpoint(
        folder, files=folder / "files", rate=20, burst=40, body_s=1, write_key="test-write-key,next-write-key"
    ) as running:
        yield running


@pytest.fixture
def device(endpoint: Endpoint) -> Device:
    return Device(endpoint.url)


def refusal(said: Said) -> tuple[int, str]:
    """The status and the code; the answer has the problem and the remedy in words."""
    assert said.headers["content-type"] == "application/json"
    assert said.json.keys() == {"code", "problem", "remedy"}
    assert said.json["problem"]
    assert said.json["remedy"]
    return said.status, said.json["code"]


def test_either_of_two_write_keys_is_good(device: Device, endpoint: Endpoint) -> None:
    assert device.send([device.event()]).status == 200
    device.write_key = "next-write-key"
    assert device.send([device.event()]).status == 200


@pytest.mark.parametrize(
    "value", ["", "Basic", "Basic !!!", "Bearer dGVzdC13cml0ZS1rZXk6", "Basic dGVzdC13cml0ZS1rZXk="]
)
def test_a_key_has_to_come_as_agreed(device: Device, value: str) -> None:
    said = device.send([device.event()], authorization=value)
    if value.endswith("a2V5") or value == "Basic dGVzdC13cml0ZS1rZXk=":  # the key without the colon
        assert said.status == 200
    else:
        assert refusal(said) == (401, "write-key")
        assert said.headers["www-authenticate"].startswith("Basic")


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"{", {}, (400, "json")),
        (b"", {}, (400, "json")),
        (b'{"batch": [], "batch": []}', {}, (400, "json")),
        (b'{"batch": [NaN]}', {}, (400, "json")),
        (b"[" * 100_000, {}, (400, "json")),
        (b'{"batch": ["\xff"]}', {}, (400, "json")),
        (b"not gzip", {"content_encoding": "gzip"}, (400, "gzip")),
        (gzip.compress(b"{}")[:-4], {"content_encoding": "gzip"}, (400, "gzip")),
        (gzip.compress(b"{}") * 2, {"content_encoding": "gzip"}, (400, "gzip")),
        (b"{}", {"content_encoding": "br"}, (415, "content-encoding")),
        (b"{}", {"content_type": "text/plain"}, (415, "content-type")),
        (b"{}", {"content_type": "application/json; charset=latin-1"}, (415, "content-type")),
        (b"{}", {}, (422, "shape")),
        (b"[]", {}, (422, "shape")),
        (b'{"batch": []}', {}, (422, "shape")),
        (b'{"batch": [1], "sentAt": "yesterday"}', {}, (422, "shape")),
        (json.dumps({"batch": [1] * 1_001}).encode(), {}, (413, "too-many")),
        (b" " * 512_001, {}, (413, "too-large")),
        (b" " * 3_000_000, {}, (413, "too-large")),
        (gzip.compress(b" " * 512_001), {"content_encoding": "gzip"}, (413, "too-large")),
        (gzip.compress(b" " * 200_000_000), {"content_encoding": "gzip"}, (413, "too-large")),
        (b"{}", {"x_nearhand_install_key": "ab"}, (403, "install-key")),
        (b"{}", {"x_nearhand_install_key": ""}, (403, "install-key")),
    ],
    ids=lambda value: (
        None if isinstance(value, dict) else f"{len(value)}-bytes" if isinstance(value, bytes) else value[1]
    ),
)
def test_a_body_that_is_no_batch(
    device: Device, body: bytes, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    said = device.call("POST", "/v1/batch", body, **headers)
    assert refusal(said) == expected


def test_a_body_without_a_length_is_stopped_at_the_limit(device: Device) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(60):
            yield b" " * 10_000

    said = device.call("POST", "/v1/batch", chunks())  # type: ignore[arg-type]
    assert refusal(said) == (413, "too-large")


def test_a_body_that_does_not_come_is_408(device: Device, endpoint: Endpoint) -> None:
    host, port = endpoint.url.removeprefix("http://").split(":")
    head = "".join(f"{name}: {value}\r\n" for name, value in device.headers().items())
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(f"POST /v1/batch HTTP/1.1\r\nhost: x\r\n{head}content-length: 100\r\n\r\n{{".encode())
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"timeout"' in answer


def changed(event: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    *parents, last = path.split(".")
    holder = event
    for name in parents:
        holder = holder[name]
    holder[last] = value
    return event


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        ("type", "page", "shape"),
        ("anonymousId", "someone", "install"),
        ("anonymousId", "0" * 32, "install"),
        ("messageId", None, "message-id"),
        ("messageId", "x" * 257, "message-id"),
        ("messageId", "\ud800", "message-id"),
        ("event", "", "event-type"),
        ("event", "preferences_reset", "event-type"),
        ("properties.item_id", None, "item-id"),
        ("properties.item_id", 7, "item-id"),
        ("timestamp", "2026-11-27", "timestamp"),
        ("timestamp", "2026-02-30T00:00:00Z", "timestamp"),
        ("timestamp", 1_795_805_940_123, "timestamp"),
        ("context.locale", {"language": "de"}, "context"),
        ("context", None, "nearhand"),
        ("properties.seconds", -1, "properties"),
        ("properties.seconds", "long", "properties"),
        ("properties.deep", {"a": {"b": {"c": {"d": 1}}}}, "properties"),
        ("properties.text", "\ud800", "properties"),
        ("properties.number", 2**63, "properties"),
        ("properties.text", "x" * 40_000, "event-size"),
        ("context.nearhand.sequence", -1, "nearhand"),
        ("context.nearhand.sequence", True, "nearhand"),
        ("context.nearhand.recorded_at", "2026-11-27T18:59:00Z", "nearhand"),
        ("context.nearhand.utc_offset_minutes", 1_440, "nearhand"),
        ("context.nearhand.epoch", None, "nearhand"),
        ("context.nearhand.recommendation_id", "\n", "recommendation-id"),
        ("userId", "anna", "user"),
    ],
)
def test_an_event_is_refused_by_itself(device: Device, path: str, value: object, code: str) -> None:
    good, bad = device.event(), changed(device.event(), path, value)
    said = device.send([good, bad])
    assert said.status == 200
    assert said.json["accepted"] == 1
    (told,) = said.json["refused"]
    assert (told["index"], told["code"]) == (1, code)
    assert told["problem"]
    assert "\n" not in told["problem"]


def test_a_single_cloudevent_in_structured_and_in_binary_mode(device: Device) -> None:
    first, second = as_cloudevent(device.event()), as_cloudevent(device.event())
    said = device.call("POST", "/v1/events", json.dumps(first).encode(), content_type="application/cloudevents+json")
    assert said.json == {"accepted": 1, "duplicates": 0, "refused": []}
    data = second.pop("data")
    attributes = {f"ce_{name}": str(value) for name, value in second.items() if name != "datacontenttype"}
    said = device.call("POST", "/v1/events", json.dumps(data).encode(), **attributes)
    assert said.json == {"accepted": 1, "duplicates": 0, "refused": []}
    both = [first, {**second, "data": data}]
    said = device.call(
        "POST", "/v1/events", json.dumps(both).encode(), content_type="application/cloudevents-batch+json"
    )
    assert said.json == {"accepted": 0, "duplicates": 2, "refused": []}


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("specversion", "0.3", "shape"),
        ("source", "urn:other", "install"),
        ("type", "com.example.viewed", "event-type"),
        ("data", None, "shape"),
        ("time", None, "timestamp"),
        ("nearhandrecordedat", 5, "nearhand"),
        ("nearhandsequence", "17", "nearhand"),
        ("datacontenttype", "text/xml", "shape"),
    ],
)
def test_a_cloudevent_is_refused_by_itself(device: Device, name: str, value: object, code: str) -> None:
    event = {**as_cloudevent(device.event()), name: value}
    body = json.dumps([as_cloudevent(device.event()), event]).encode()
    said = device.call("POST", "/v1/events", body, content_type="application/cloudevents-batch+json")
    assert said.json["accepted"] == 1
    assert [(each["index"], each["code"]) for each in said.json["refused"]] == [(1, code)]


def test_too_many_requests_of_one_install(device: Device, endpoint: Endpoint) -> None:
    answers = [device.send([device.event()]) for _ in range(60)]
    late = [said for said in answers if said.status == 429]
    assert late
    assert refusal(late[0]) == (429, "rate")
    assert int(late[0].headers["retry-after"]) >= 1
    other = Device(endpoint.url)
    assert other.send([other.event()]).status == 200


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"signature": "00" * 32}, (403, "signature")),
        ({"signature": "xyz"}, (422, "shape")),
        ({"nonce": "short"}, (422, "shape")),
        ({"scope": "everything"}, (422, "shape")),
        ({"scope": "events"}, (422, "shape")),
        ({"scope": "events", "event_ids": []}, (422, "shape")),
        ({"event_ids": ["a"]}, (422, "shape")),
        ({"more": 1}, (422, "shape")),
        ({"install_id": "0" * 32}, (404, "unknown-install")),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[1],
)
def test_an_erasure_that_is_not_done(device: Device, changes: dict[str, Any], expected: tuple[int, str]) -> None:
    assert device.send([device.event()]).status == 200
    fields = {
        "install_id": device.install_id,
        "nonce": random_id(),
        "scope": "install",
        "signature": "11" * 32,
        **changes,
    }
    assert refusal(device.call("POST", "/v1/erasures", json.dumps(fields).encode())) == expected
    assert device.send([device.event()]).status == 200


def test_an_erasure_needs_the_write_key_and_is_done_once(device: Device) -> None:
    device.send([device.event()])
    device.write_key = "another-key"
    assert refusal(device.erase()) == (401, "write-key")
    device.write_key = "test-write-key"
    nonce = random_id()
    assert device.erase(nonce=nonce).json == {"erased": 1}
    assert refusal(device.erase(nonce=nonce)) == (409, "replayed")


def test_pushed_features(device: Device, endpoint: Endpoint) -> None:
    assert refusal(device.features()) == (404, "no-features")
    assert device.push(FEATURES).status == 204
    said = device.features()
    assert (said.status, said.json) == (200, {"features": FEATURES})
    for known in (said.headers["etag"], "W/" + said.headers["etag"], f'"x", {said.headers["etag"]}', "*"):
        again = device.features(if_none_match=known)
        assert (again.status, again.content, again.headers["etag"]) == (304, b"", said.headers["etag"])
    assert refusal(Device(endpoint.url, device.install_id).features()) == (403, "install-key")
    assert device.push([{**FEATURES[0], "values": [0]}, *FEATURES]).status == 204
    assert device.features().json == {"features": FEATURES}
    assert device.push([]).status == 204
    assert refusal(device.features()) == (404, "no-features")


def test_features_may_be_there_before_their_install_is(endpoint: Endpoint, device: Device) -> None:
    assert device.push(FEATURES).status == 204
    assert device.send([device.event()]).status == 200
    assert device.features().json == {"features": FEATURES}
    assert device.erase().json == {"erased": 1}
    assert refusal(device.push(FEATURES)) == (403, "erased")
    assert refusal(device.features()) == (403, "erased")


@pytest.mark.parametrize("key", ["", "test-write-key", "test-server-key-of-the-backen"])
def test_only_the_backend_pushes_features(device: Device, key: str) -> None:
    said = device.push(FEATURES, key=key)
    assert refusal(said) == (401, "server-key")
    assert said.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "change",
    [{"values": []}, {"values": ["1"]}, {"values": [1e39]}, {"ttl_ms": 0}, {"ttl_ms": 1.5}, {"name": ""}, {"more": 1}],
    ids=str,
)
def test_malformed_features(device: Device, change: dict[str, Any]) -> None:
    assert refusal(device.push([{**FEATURES[0], **change}])) == (422, "shape")


def test_malformed_requests_for_features(device: Device) -> None:
    assert refusal(device.call("GET", "/v1/features?install_id=x")) == (422, "install")
    large = [{**FEATURES[0], "name": f"n{number}", "values": [0.5] * 4_000} for number in range(5)]
    assert refusal(device.push(large)) == (413, "too-large")
    device.install_id = "x"
    assert refusal(device.push(FEATURES)) == (422, "install")


def get(endpoint: Endpoint, path: str, **headers: str) -> Said:
    found = urllib3.PoolManager(retries=False).request(
        "GET", endpoint.url + path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    return Said(found.status, {name.lower(): value for name, value in found.headers.items()}, found.data)


def test_a_file_and_its_ranges(endpoint: Endpoint) -> None:
    content = bytes(range(256)) * 40
    whole = get(endpoint, "/v1/files/bundle.bin")
    assert (whole.status, whole.content) == (200, content)
    etag = whole.headers["etag"]
    part = get(endpoint, "/v1/files/bundle.bin", range="bytes=10000-")
    assert (part.status, part.content) == (206, content[10_000:])
    assert part.headers["content-range"] == "bytes 10000-10239/10240"
    assert get(endpoint, "/v1/files/bundle.bin", range="bytes=-5").content == content[-5:]
    assert get(endpoint, "/v1/files/bundle.bin", range="bytes=5-9", if_range=etag).content == content[5:10]
    assert get(endpoint, "/v1/files/bundle.bin", range="bytes=5-9", if_range='"other"').content == content
    assert get(endpoint, "/v1/files/bundle.bin", range="bytes=20000-").status == 416
    assert get(endpoint, "/v1/files/bundle.bin", range="bytes=0-1,4-5").content == content
    assert get(endpoint, "/v1/files/bundle.bin", range="bytes=" + ",".join(["0-"] * 2_000)).content == content
    assert get(endpoint, "/v1/files/bundle.bin", if_none_match=etag).status == 304
    assert get(endpoint, "/v1/files/deep/a%20b.txt").content == b"text"


@pytest.mark.parametrize(
    "path",
    [
        "nothing",
        "",
        "deep",
        "../secret.txt",
        "%2e%2e/secret.txt",
        "..%2fsecret.txt",
        "/etc/passwd",
        "link.txt",
        "a%00b",
        "x" * 300,
    ],
    ids=lambda path: path[:20],
)
def test_no_file(endpoint: Endpoint, path: str) -> None:
    host, port = endpoint.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:  # urllib3 would tidy the path up
        connection.sendall(f"GET /v1/files/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 404")
    assert b'"code":"no-file"' in answer


def test_the_rest(endpoint: Endpoint, device: Device) -> None:
    assert get(endpoint, "/healthz").json == {"healthy": True}
    assert get(endpoint, "/readyz").json == {"ready": True}
    assert get(endpoint, "/openapi.json").json["openapi"].startswith("3.1")
    assert refusal(get(endpoint, "/v2")) == (404, "no-route")
    said = device.call("DELETE", "/v1/batch")
    assert refusal(said) == (405, "method")
    assert said.headers["allow"] == "POST"


def test_metrics_count_what_happens(endpoint: Endpoint, device: Device) -> None:
    def count(line: str) -> float:
        found = [text for text in get(endpoint, "/metrics").content.decode().splitlines() if text.startswith(line)]
        return float(found[0].split()[-1]) if found else 0.0

    lines = (
        "nearhand_events_accepted_total",
        "nearhand_events_duplicate_total",
        'nearhand_events_refused_total{code="item-id"}',
        'nearhand_requests_total{action="batch",code="",status="200"}',
    )
    before = [count(line) for line in lines]
    event = device.event()
    device.send([event, event, device.event(properties={})])
    assert [count(line) - old for line, old in zip(lines, before, strict=True)] == [1, 1, 1, 1]
    assert count('nearhand_request_seconds_bucket{action="batch",le="+Inf"}') > 0


def test_the_audit_log_has_no_key_and_nothing_of_what_happened(endpoint: Endpoint, device: Device) -> None:
    device.send([device.event(properties={"item_id": "very-secret-film"}), 5])
    device.send([device.event()], authorization="Basic dmVyeS1zZWNyZXQ6")
    device.erase()
    text = endpoint.errors.read_text(encoding="utf-8")
    for secret in ("very-secret", device.install_key, device.install_id, "test-write-key", "dmVyeS1zZWNyZXQ6"):
        assert secret not in text
    batch, wrong, erasure = [json.loads(line) for line in text.splitlines()][-3:]
    assert (batch["action"], batch["status"], batch["accepted"], batch["refused"]) == ("batch", 200, 1, {"shape": 1})
    assert (wrong["status"], wrong["code"]) == (401, "write-key")
    assert (erasure["action"], erasure["scope"], erasure["erased"]) == ("erasures", "install", 1)
    assert erasure["install"] == batch["install"]
