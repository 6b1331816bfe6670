"""Values that are sealed, keys that are there or not, and databases that know their key."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearhand.cipher import AesGcm, cipher_of, note_key, require_key
from nearhand.errors import EncryptionError, NearhandError, UsageError

KEY = bytes(range(32))
CIPHER = AesGcm(KEY)
places = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.binary(max_size=500), places)
def test_what_is_sealed_opens_at_its_place(value: bytes, place: str) -> None:
    sealed = CIPHER.seal(value, place)
    assert CIPHER.open(sealed, place) == value
    assert AesGcm(KEY).open(sealed, place) == value  # in the next run of the app
    assert len(sealed) == len(value) + 29


@given(st.binary(max_size=50), places, places)
def test_what_is_sealed_opens_nowhere_else(value: bytes, place: str, other: str) -> None:
    sealed = CIPHER.seal(value, place)
    if place != other:
        with pytest.raises(EncryptionError):
            CIPHER.open(sealed, other)


def test_every_altered_byte_is_refused() -> None:
    sealed = CIPHER.seal(b"what the user did", "here")
    for position in range(len(sealed)):
        for bit in range(8):
            altered = bytearray(sealed)
            altered[position] ^= 1 << bit
            with pytest.raises(EncryptionError, match=r"here: cannot be decrypted"):
                CIPHER.open(bytes(altered), "here")
    for length in range(len(sealed)):
        with pytest.raises(EncryptionError):
            CIPHER.open(sealed[:length], "here")
    with pytest.raises(EncryptionError):
        CIPHER.open(sealed + b"x", "here")


def test_the_same_value_is_never_sealed_alike() -> None:
    assert len({CIPHER.seal(b"value", "here") for _ in range(1000)}) == 1000


def test_an_index_stands_for_its_text_under_its_key() -> None:
    assert CIPHER.index("ann") == AesGcm(KEY).index("ann")
    assert len({CIPHER.index(str(n)) for n in range(1000)} | {AesGcm(b"k" * 32).index("1")}) == 1001
    assert "ann" not in CIPHER.index("ann")


def test_another_key_opens_nothing() -> None:
    with pytest.raises(EncryptionError, match="another key"):
        AesGcm(b"k" * 32).open(CIPHER.seal(b"value", "here"), "here")


@pytest.mark.parametrize("key", [b"", b"k" * 31, b"k" * 33, "k" * 32])
def test_a_key_is_32_bytes(key: bytes) -> None:
    with pytest.raises(UsageError, match="not 32 bytes"):
        AesGcm(key)


# Providers


class Provider:
    def __init__(self, key: bytes | Exception | None) -> None:
        self._key = key

    def key(self) -> bytes | None:
        if isinstance(self._key, Exception):
            raise self._key
        return self._key


def test_the_key_of_a_provider_is_used() -> None:
    assert cipher_of(Provider(KEY)).open(CIPHER.seal(b"value", "here"), "here") == b"value"


def test_without_a_key_there_is_no_cipher() -> None:
    with pytest.raises(EncryptionError, match=r"there is none.*destroy the profile"):
        cipher_of(Provider(None))
    with pytest.raises(EncryptionError, match=r"the keystore failed \(RuntimeError\).*unlocked") as caught:
        cipher_of(Provider(RuntimeError("the secret is hunter2")))
    assert "hunter2" not in str(caught.value)
    for key in (b"", b"short"):
        with pytest.raises(NearhandError, match="32 bytes"):
            cipher_of(Provider(key))


def test_cryptography_is_loaded_by_a_cipher_only() -> None:
    script = """
import sys, nearhand, nearhand.cipher, nearhand.events, nearhand.profile, nearhand.features.cache
assert not [name for name in sys.modules if name.startswith("cryptography")]
nearhand.cipher.AesGcm(bytes(32))
assert [name for name in sys.modules if name.startswith("cryptography")]
sys.modules["cryptography.hazmat.primitives.ciphers.aead"] = None
try:
    nearhand.cipher.AesGcm(bytes(32))
except nearhand.errors.UsageError as error:
    assert "pip install nearhand[encrypt]" in str(error), error
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", script], check=True)


# Databases


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "any.db", isolation_level=None)) as connection:
        yield connection


def test_a_database_opens_with_its_key_only(connection: sqlite3.Connection) -> None:
    note_key(connection, CIPHER)
    require_key(connection, AesGcm(KEY), "any.db")
    with pytest.raises(EncryptionError, match=r"any\.db: is encrypted, and no key was given.*destroy the profile"):
        require_key(connection, None, "any.db")
    with pytest.raises(EncryptionError, match=r"any\.db: was encrypted with another key.*destroy the profile"):
        require_key(connection, AesGcm(b"k" * 32), "any.db")


def test_a_database_without_a_key_opens_without_one_only(connection: sqlite3.Connection) -> None:
    note_key(connection, None)
    require_key(connection, None, "any.db")
    with pytest.raises(EncryptionError, match=r"any\.db: is not encrypted, and a key was given.*export it, erase it"):
        require_key(connection, CIPHER, "any.db")


@pytest.mark.parametrize("change", ["DELETE FROM seal", "UPDATE seal SET value = x'00'", "DROP TABLE seal"])
def test_a_note_that_was_altered_opens_with_no_key(connection: sqlite3.Connection, change: str) -> None:
    note_key(connection, CIPHER)
    connection.execute(change)
    with pytest.raises(EncryptionError):
        require_key(connection, CIPHER, "any.db")
