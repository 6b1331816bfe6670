"""Encryption at rest, value by value: what the storage of a profile needs of a cipher, and AES-GCM as one."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Protocol

from nearhand.errors import EncryptionError, UsageError

KEY_BYTES = 32
_NONCE_BYTES = 12
_VERSION = b"\x01"


class Cipher(Protocol):
    """Seals values, and opens what it has sealed. Safe to call from several threads."""

    def seal(self, value: bytes, place: str) -> bytes:
        """The value encrypted, bound to its place: it does not open at another one."""
        ...

    def open(self, sealed: bytes, place: str) -> bytes:
        """The value.

        Raises:
            EncryptionError: it was sealed with another key or for another place, or it was altered.
        """
        ...

    def index(self, text: str) -> str:
        """A name that stands for ``text`` where it is looked up: the same for the same text, and telling nothing."""
        ...


class AesGcm:
    """AES-256-GCM (NIST SP 800-38D) with a random nonce of 96 bits for each value, by the package ``cryptography``.

    A sealed value is a version byte, the nonce, and the ciphertext with its tag of 16 bytes. Lookup names are
    HMAC-SHA-256 under a key of their own.

    Args:
        key: 32 bytes.

    Raises:
        UsageError: the key has another length, or ``cryptography`` is not installed.
    """

    def __init__(self, key: bytes) -> None:
        if not isinstance(key, bytes) or len(key) != KEY_BYTES:
            raise UsageError("is not 32 bytes", place="the encryption key", remedy="use os.urandom(32), once")
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            raise UsageError(
                f"needs the package cryptography ({error})",
                place="encryption",
                remedy="pip install nearhand[encrypt]",
            ) from error
        self._aead = AESGCM(_derived(key, b"nearhand values"))
        self._index_key = _derived(key, b"nearhand index")

    def seal(self, value: bytes, place: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._aead.encrypt(nonce, value, place.encode())

    def open(self, sealed: bytes, place: str) -> bytes:
        from cryptography.exceptions import InvalidTag

        nonce, rest = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            if sealed[:1] != _VERSION or len(nonce) < _NONCE_BYTES:
                raise InvalidTag
            return self._aead.decrypt(nonce, rest, place.encode())
        except InvalidTag:
            raise EncryptionError(
                "cannot be decrypted: another key, or altered data",
                place=place,
                remedy="give the key it was written with, or erase the profile",
            ) from None

    def index(self, text: str) -> str:
        return hmac.new(self._index_key, text.encode(), hashlib.sha256).hexdigest()[:32]


def _derived(key: bytes, purpose: bytes) -> bytes:
    return hmac.new(key, purpose, hashlib.sha256).digest()
