"""MurmurHash3_x86_32 against published values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearhand.hashing import murmur3_32

# From the author's own test program and from widely copied lists of vectors for this variant.
PUBLISHED = [
    (b"", 0, 0x00000000),
    (b"", 1, 0x514E28B7),
    (b"", 0xFFFFFFFF, 0x81F16F39),
    (b"\xff\xff\xff\xff", 0, 0x76293B50),
    (b"\x21\x43\x65\x87", 0, 0xF55B516B),
    (b"\x21\x43\x65\x87", 0x5082EDEE, 0x2362F9DE),
    (b"\x21\x43\x65", 0, 0x7E4A8634),
    (b"\x21\x43", 0, 0xA0F7B07A),
    (b"\x21", 0, 0x72661CF4),
    (b"\x00\x00\x00\x00", 0, 0x2362F9DE),
    (b"\x00\x00\x00", 0, 0x85F0B427),
    (b"\x00\x00", 0, 0x30F4C306),
    (b"\x00", 0, 0x514E28B7),
    (b"test", 0, 0xBA6BD213),
    (b"test", 0x9747B28C, 0x704B81DC),
    (b"Hello, world!", 0, 0xC0363E43),
    (b"Hello, world!", 0x9747B28C, 0x24884CBA),
    (b"The quick brown fox jumps over the lazy dog", 0, 0x2E4FF723),
    (b"The quick brown fox jumps over the lazy dog", 0x9747B28C, 0x2FA826CD),
    ("ππππππππ".encode(), 0x9747B28C, 0xD58063C1),
]


@pytest.mark.parametrize(("data", "seed", "expected"), PUBLISHED)
def test_published_values(data: bytes, seed: int, expected: int) -> None:
    assert murmur3_32(data, seed) == expected


def test_the_author_s_verification_value() -> None:
    """SMHasher's check of every length from 0 to 255: keys {0}, {0, 1}, … with seeds 256 − length, hashed together."""
    hashes = b"".join(murmur3_32(bytes(range(size)), 256 - size).to_bytes(4, "little") for size in range(256))
    assert murmur3_32(hashes) == 0xB0F57EE3


@given(st.binary(max_size=40), st.integers(0, 2**32 - 1))
def test_a_hash_has_32_bits_and_depends_on_every_byte(data: bytes, seed: int) -> None:
    value = murmur3_32(data, seed)
    assert 0 <= value < 2**32
    for place in range(len(data)):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        assert murmur3_32(changed, seed) != value
