"""What the SQLite files of a sink know of installs: their keys, what was erased, nonces, and pushed features."""

from __future__ import annotations

import hmac
import sqlite3
from collections.abc import Callable
from hashlib import sha256

from nearhand_cloud.events import install_digest
from nearhand_cloud.refusal import RefusalError, erased_install, wrong_install_key
from nearhand_cloud.sinks.sink import Erasure

TABLES = """
    CREATE TABLE install (
        number INTEGER PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE, -- SHA-256 of the install id
        key BLOB, -- NULL: erased
        features TEXT, -- as they were put; NULL: none
        erased_at INTEGER -- milliseconds; NULL: it is not
    ) STRICT;
    CREATE TABLE nonce (digest BLOB PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID
"""


def admitted(connection: sqlite3.Connection, install_id: str, install_key: bytes) -> int:
    """The number of an install, which is registered if it is new.

    Raises:
        RefusalError: it was erased, or its key is another one.
    """
    digest = install_digest(install_id)
    found = connection.execute("SELECT number, key, erased_at FROM install WHERE digest = ?", (digest,)).fetchone()
    if found is None:
        return _registered(connection, digest, install_key)
    number, key, erased_at = found
    if erased_at is not None:
        raise erased_install()
    if key is None:  # its features came before it did
        connection.execute("UPDATE install SET key = ? WHERE number = ?", (install_key, number))
    elif not hmac.compare_digest(key, install_key):
        raise wrong_install_key()
    return int(number)


def _registered(connection: sqlite3.Connection, digest: bytes, install_key: bytes | None) -> int:
    cursor = connection.execute("INSERT INTO install (digest, key) VALUES (?, ?)", (digest, install_key))
    number = cursor.lastrowid
    assert number is not None
    return number


def proven(connection: sqlite3.Connection, erasure: Erasure) -> int:
    """The number of the install that asks for an erasure; it is registered if it is new and its key came along.

    Raises:
        RefusalError: the nonce was seen, the install is unknown, or it is not the install that has signed.
    """
    if connection.execute("SELECT 1 FROM nonce WHERE digest = ?", (_nonce(erasure),)).fetchone() is not None:
        raise replayed()
    digest = install_digest(erasure.install_id)
    found = connection.execute("SELECT number, key, erased_at FROM install WHERE digest = ?", (digest,)).fetchone()
    if found is None or found[1] is None:
        is_erased = found is not None and found[2] is not None
        return admitted(connection, erasure.install_id, first_key(erasure, is_erased=is_erased))
    number, key, _ = found
    check_signature(key, erasure)
    return int(number)


def first_key(erasure: Erasure, *, is_erased: bool) -> bytes:
    """The key of an install that has none, if it came with the erasure and signed it.

    Raises:
        RefusalError: it did not, or the install is erased.
    """
    key = erasure.install_key
    if key is None or is_erased or not _is_signed(key, erasure):
        raise unknown_install()
    return key


def note(connection: sqlite3.Connection, erasure: Erasure, now_ms: int) -> None:
    """Remember the nonce of an erasure."""
    connection.execute("INSERT OR IGNORE INTO nonce VALUES (?, ?)", (_nonce(erasure), now_ms))


def _nonce(erasure: Erasure) -> bytes:
    return sha256(erasure.nonce.encode()).digest()


def erase_install(connection: sqlite3.Connection, number: int, now_ms: int) -> None:
    """Leave nothing of an install but the digest of its id."""
    connection.execute(
        "UPDATE install SET key = NULL, features = NULL, erased_at = ? WHERE number = ?", (now_ms, number)
    )
    connection.execute("UPDATE upkeep SET wipe_due = 1")


def features(install_id: str, install_key: bytes) -> Callable[[sqlite3.Connection], str | None]:
    """Reads the pushed features of an install."""

    def read(connection: sqlite3.Connection) -> str | None:
        number = admitted(connection, install_id, install_key)
        (text,) = connection.execute("SELECT features FROM install WHERE number = ?", (number,)).fetchone()
        return None if text is None else str(text)

    return read


def put_features(install_id: str, text: str | None) -> Callable[[sqlite3.Connection], None]:
    """Puts the pushed features of an install, which may not have been seen yet."""

    def put(connection: sqlite3.Connection) -> None:
        digest = install_digest(install_id)
        found = connection.execute("SELECT number, erased_at FROM install WHERE digest = ?", (digest,)).fetchone()
        if found is not None and found[1] is not None:
            raise erased_install()
        number = _registered(connection, digest, None) if found is None else found[0]
        connection.execute("UPDATE install SET features = ? WHERE number = ?", (text, number))

    return put


def check_signature(key: bytes, erasure: Erasure) -> None:
    """Refuse an erasure that was not signed with the install's key."""
    if not _is_signed(key, erasure):
        raise RefusalError(
            403,
            "signature",
            "the signature is not that of the install's key",
            "sign the canonical JSON of the other fields with HMAC-SHA256 under the install key",
        )


def _is_signed(key: bytes, erasure: Erasure) -> bool:
    return hmac.compare_digest(hmac.digest(key, erasure.message, "sha256"), erasure.signature)


def replayed() -> RefusalError:
    return RefusalError(409, "replayed", "this nonce was used before", "count the erasure as done, or take a new nonce")


def unknown_install() -> RefusalError:
    return RefusalError(
        404, "unknown-install", "this install never sent anything, or is erased", "count the erasure as done"
    )
