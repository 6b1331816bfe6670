"""Whatever comes in as a body, the endpoint answers 4xx, or 200 where it is good after all; never 5xx."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest

from nearhand_cloud.shapes import CODES
from tests.cloud.device import TIME, Device, as_cloudevent
from tests.cloud.in_process import Inside, asked, endpoint_inside

BODIES = 50_000

Mutation: TypeAlias = Callable[[random.Random, bytes], tuple[bytes, dict[str, str]]]
JUNK: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**63, 2**64, -(2**63) - 1, 10**400, 1e308, -0.0, "", "\u0000", "x" * 300, "\ud800",
    [], {}, [[]], {"": None}, {"a": {"b": {"c": {"d": {"e": 1}}}}}, "2026-02-30T00:00:00Z", "0000-00-00T00:00:00Z",
)  # fmt: skip


def truncated(source: random.Random, body: bytes) -> tuple[bytes, dict[str, str]]:
    return body[: source.randrange(len(body))], {}


def flipped(source: random.Random, body: bytes) -> tuple[bytes, dict[str, str]]:
    changed = bytearray(body)
    for _ in range(source.randint(1, 4)):
        changed[source.randrange(len(changed))] ^= 1 << source.randrange(8)
    return bytes(changed), {}


def spliced(source: random.Random, body: bytes) -> tuple[bytes, dict[str, str]]:
    """A part is taken out, doubled, or replaced by any bytes."""
    start = source.randrange(len(body))
    end = min(len(body), start + source.randint(1, 40))
    middle = source.choice((b"", body[start:end] * 2, source.randbytes(end - start)))
    return body[:start] + middle + body[end:], {}


def wrong_value(source: random.Random, body: bytes) -> tuple[bytes, dict[str, str]]:
    """One value, anywhere, is another one."""
    value = json.loads(body)
    holders: list[tuple[Any, Any]] = []

    def collect(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            holders.append((node, key))
            collect(node[key])

    collect(value)
    holder, key = source.choice(holders)
    holder[key] = source.choice(JUNK)
    return json.dumps(value).encode(), {}


def wrong_number(source: random.Random, body: bytes) -> tuple[bytes, dict[str, str]]:
    number = source.choice((b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 5_000, b"-" + b"1" * 400, b"01", b"+1"))
    return body.replace(b"41", number, 1), {}


def deep(source: random.Random, body: bytes) -> tuple[bytes, dict[str, str]]:
    depth = source.choice((5, 50, 500, 5_000, 100_000))
    opening, closing = source.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return body.replace(b"41", opening * depth + b"1" + closing * source.choice((depth, 0)), 1), {}


def twice(source: random.Random, body: bytes) -> tuple[bytes, dict[str, str]]:
    name = source.choice((b'"seconds"', b'"device"', b'"sequence"'))
    return body.replace(name, name + b": 1, " + name, 1), {}


def no_text(source: random.Random, body: bytes) -> tuple[bytes, dict[str, str]]:
    junk = source.choice(
        (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\\ud800", b"\\udc00x", b"\\u0000", b"\x00", b"\xf8\x88\x80\x80\x80")
    )
    return body.replace(b"phone", junk, 1), {}


def encoded(source: random.Random, body: bytes) -> tuple[bytes, dict[str, str]]:
    return body.decode().encode(source.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7"))), {}


def no_gzip(source: random.Random, body: bytes) -> tuple[bytes, dict[str, str]]:
    packed = gzip.compress(body, mtime=0)
    changed, _ = source.choice((truncated, flipped, spliced))(source, packed)
    junk = source.choice((changed, body, zlib.compress(body), packed + b"x", packed + packed, b"", b"\x1f\x8b"))
    return junk, {"content-encoding": "gzip"}


def bomb(source: random.Random, body: bytes) -> tuple[bytes, dict[str, str]]:
    return source.choice(BOMBS), {"content-encoding": "gzip"}


def not_a_batch(source: random.Random, body: bytes) -> tuple[bytes, dict[str, str]]:
    wrong = (*JUNK, {"batch": None}, {"batch": {}}, {"batch": []}, {"batch": [[]] * 1_001}, {"batch": [1], "sentAt": 5})
    return json.dumps(source.choice(wrong)).encode(), {}


def mislabelled(source: random.Random, body: bytes) -> tuple[bytes, dict[str, str]]:
    headers: tuple[dict[str, str], ...] = (
        {"content-type": "text/plain"},
        {"content-type": ""},
        {"content-type": "application/json; charset=utf-16"},
        {"content-encoding": "br"},
        {"content-encoding": "gzip, gzip"},
        {"content-length": "9" * 30},
        {"content-length": "-1"},
        {"authorization": "Basic %%%"},
        {"authorization": "Basic " + "A" * 4_001},
        {"authorization": ""},
        {"x-nearhand-install-key": "ü" * 64},
        {"x-nearhand-install-key": ""},
    )
    return body, source.choice(headers)


BOMBS = tuple(gzip.compress(b"[" * size, mtime=0) for size in (600_000, 2_000_000, 20_000_000))
MUTATIONS: tuple[Mutation, ...] = (
    truncated, flipped, flipped, spliced, spliced, wrong_value, wrong_value, wrong_value, wrong_number, deep, twice,
    no_text, encoded, no_gzip, not_a_batch, mislabelled,
)  # fmt: skip


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    with endpoint_inside(tmp_path_factory.mktemp("malformed")) as inside:
        yield inside


def is_refused(status: int, answer: Any) -> bool:
    """With a name for what is wrong; a batch may be good but for events that are named."""
    if status == 200:
        return all(each["code"] in CODES and each["problem"] for each in answer["refused"])
    return 400 <= status < 500 and {"code", "problem", "remedy"} == answer.keys()


def test_fifty_thousand_malformed_bodies(inside: Inside) -> None:
    source = random.Random(11)
    device = Device("")
    events = [device.event(messageId=f"{source.getrandbits(128):032x}") for _ in range(2)]
    device.install_id = f"{source.getrandbits(128):032x}"
    shapes = (
        ("/v1/batch", "application/json", {"sentAt": TIME, "batch": events}),
        ("/v1/events", "application/cloudevents-batch+json", [as_cloudevent(event) for event in events]),
        ("/v1/events", "application/cloudevents+json", as_cloudevent(events[0])),
    )
    bodies = [json.dumps(content).encode() for _, _, content in shapes]
    statuses: Counter[int] = Counter()

    async def ask_all() -> None:
        for number in range(BODIES):
            path, content_type, _ = shapes[number % 3]
            mutate = bomb if number % 500 == 0 else source.choice(MUTATIONS)
            body, headers = mutate(source, bodies[number % 3])
            said = await asked(
                inside.app, "POST", path, {**device.headers(content_type=content_type), **headers}, [body]
            )
            statuses[said.status] += 1
            assert is_refused(said.status, said.json), (mutate.__name__, body[:300], said)

    inside.runner.run(ask_all())
    assert statuses.total() == BODIES
    assert {200, 400, 401, 403, 413, 415, 422} <= statuses.keys()
    assert statuses[200] < BODIES / 2
