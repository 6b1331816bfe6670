"""Hashes that are the same everywhere: SHA-256, and MurmurHash3 of 32 bits."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import sha256 as sha256  # noqa: PLC0414 - what others import from here
else:
    # Importing hashlib loads OpenSSL: 4 MB and some milliseconds, for hashes of a few kilobytes. Python has a SHA-256
    # of its own, whose module has no documented name; where it is not found, hashlib's is as good.
    try:
        if sys.version_info >= (3, 12):
            from _sha2 import sha256
        else:
            from _sha256 import sha256
    except ImportError:
        from hashlib import sha256  # noqa: F401 - see above

_MASK = 0xFFFFFFFF


def murmur3_32(data: bytes, seed: int = 0) -> int:
    """MurmurHash3_x86_32 (Austin Appleby, public domain) of ``data``: an integer in 0 … 2³²−1."""
    h = seed & _MASK
    whole = len(data) & ~3
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little")
        k = _scrambled(k)
        h ^= k
        h = (h << 13 | h >> 19) & _MASK
        h = (h * 5 + 0xE6546B64) & _MASK
    if tail := data[whole:]:
        h ^= _scrambled(int.from_bytes(tail, "little"))
    h ^= len(data)
    h = ((h ^ h >> 16) * 0x85EBCA6B) & _MASK
    h = ((h ^ h >> 13) * 0xC2B2AE35) & _MASK
    return h ^ h >> 16


def _scrambled(k: int) -> int:
    k = (k * 0xCC9E2D51) & _MASK
    k = (k << 15 | k >> 17) & _MASK
    return (k * 0x1B873593) & _MASK
