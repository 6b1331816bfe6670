"""Encryption at rest, value by value: what the storage of a profile needs of a cipher, and AES-GCM as one."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from typing import Protocol

from nearhand.errors import EncryptionError, UsageError

KEY_BYTES = 32
_NONCE_BYTES = 12
_VERSION = b"\x01"
_CHECK = b"nearhand"
_CHECK_PLACE = "the check value"


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


class KeyProvider(Protocol):
    """Where the key of a profile is kept: the keystore of the operating system.

    The key is 32 random bytes, made once by the app (``os.urandom(32)``) and never stored beside the data. On Android
    it is a secret that a key of the Android Keystore wraps, on iOS and macOS an item of the Keychain that stays on this
    device (``kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly``, so that work in the background can read it), in a Flet
    app a value of ``flet-secure-storage``, which keeps it in one of those, on a desktop an item of the Secret Service
    or of the Windows Credential Locker. What an app returns from :meth:`key` is all that the SDK knows of them.

    An app that restores its data to another device without the key, or whose keystore was emptied, has lost what it
    encrypted: nothing opens it. It makes a new key after :func:`nearhand.profile.destroy_profile`.
    """

    def key(self) -> bytes | None:
        """The 32 bytes; None: there is no key. It may raise whatever the keystore raises."""
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
            found = f"{len(key)}" if isinstance(key, bytes) else f"a {type(key).__name__}"
            remedy = "use os.urandom(32), once"
            raise UsageError(f"is not 32 bytes but {found}", place="the encryption key", remedy=remedy)
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
        return _authenticated(self._index_key, text.encode()).hex()[:32]


def cipher_of(provider: KeyProvider) -> Cipher:
    """The cipher of the key that a provider has. Without a key there is none: nothing is stored in the clear instead.

    Raises:
        EncryptionError: the provider failed, or it has no key.
        UsageError: it is no provider, what it gave is not a key, or ``cryptography`` is not installed.
    """
    if not callable(getattr(provider, "key", None)):
        remedy = "give an object whose method key() asks the keystore"
        raise UsageError(f"is a {type(provider).__name__}", place="the key provider", remedy=remedy)
    try:
        key = provider.key()
    except Exception as error:  # whatever a keystore raises; its text stays in the cause, for it may tell too much
        raise EncryptionError(
            f"the keystore failed ({type(error).__name__})",
            place="the encryption key",
            remedy="try again when the device is unlocked; if the key is lost for good, destroy the profile",
        ) from error
    if key is None:
        raise EncryptionError(
            "there is none",
            place="the encryption key",
            remedy="make one with os.urandom(32) for a new profile; if it is lost, destroy the profile first",
        )
    return AesGcm(key)


def note_key(connection: sqlite3.Connection, cipher: Cipher | None) -> None:
    """In the transaction that makes a database: note which key it is for, so that no other one ever opens it."""
    if cipher is not None:
        connection.execute("CREATE TABLE seal (value BLOB NOT NULL) STRICT")
        connection.execute("INSERT INTO seal VALUES (?)", _note(cipher))


def require_key(connection: sqlite3.Connection, cipher: Cipher | None, place: str) -> None:
    """Refuse a database that was made with another key, or with one where there is none now, or the reverse.

    Raises:
        EncryptionError: it was. Nothing was changed.
    """
    is_sealed = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'seal'").fetchone() is not None
    if cipher is None:
        if is_sealed:
            raise EncryptionError(
                "is encrypted, and no key was given", place=place, remedy="open it with its key, or destroy the profile"
            )
        return
    if not is_sealed:
        raise EncryptionError(
            "is not encrypted, and a key was given",
            place=place,
            remedy="open it without a key, or export it, erase it, and import it into an encrypted one",
        )
    if not opens(connection, cipher):
        raise EncryptionError(
            "was encrypted with another key",
            place=place,
            remedy="open it with its key; if that is lost, destroy the profile",
        )


def opens(connection: sqlite3.Connection, cipher: Cipher) -> bool:
    """Whether the key is that of the database: then what does not open with it is damaged."""
    (sealed,) = connection.execute("SELECT value FROM seal").fetchone() or (b"",)
    try:
        return isinstance(sealed, bytes) and cipher.open(sealed, _CHECK_PLACE) == _CHECK
    except EncryptionError:
        return False


def clear_index(connection: sqlite3.Connection, cipher: Cipher | None) -> None:
    """Have SQLite clear the index of the write-ahead log of a database that was just opened, if it is encrypted.

    After a crash SQLite makes the index anew in memory that it does not clear first, and what this process had in the
    clear there can get into the ``-shm`` file. The first write clears it.
    """
    if cipher is not None:
        with suppress(sqlite3.OperationalError):  # such as a full disk: then the next write does it
            connection.execute("UPDATE seal SET value = ?", _note(cipher))  # what does not change is not written


def _note(cipher: Cipher) -> tuple[bytes]:
    return (cipher.seal(_CHECK, _CHECK_PLACE),)


def _derived(key: bytes, purpose: bytes) -> bytes:
    return _authenticated(key, purpose)


def _authenticated(key: bytes, text: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104)."""
    from hmac import digest  # loads OpenSSL, which only those pay for who encrypt

    return digest(key, text, "sha256")
