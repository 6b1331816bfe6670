"""Who the endpoint takes a profile for: a random identifier with a secret, and what is left of one that was erased.

Both are values of the profile's store, sealed if the profile is encrypted.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from nearhand.ids import random_id
from nearhand.profile import ERASING, ProfileStore
from nearhand.records import dataclass

INSTALL = "install"
ERASURES = "erasures"
"""Names of the values. The second one outlives an erasure of the profile: signed requests, without any event."""
KEY_BYTES = 32


@dataclass(frozen=True)
class Install:
    """An identifier, and the secret that its erasure is signed with, both in hexadecimal."""

    install_id: str
    key: str


def find_install(store: ProfileStore) -> Install | None:
    """The profile's, None if nothing was ever sent."""
    content = store.get(INSTALL)
    return None if content is None else Install(**json.loads(content))


def require_install(store: ProfileStore) -> Install | None:
    """The profile's; made, and on the disk before this returns, if it has none. None: the profile is being erased."""
    found = find_install(store)
    if found is not None:
        return found
    with store.transaction():
        found = find_install(store)  # another process may have made it
        if found is None and store.get(ERASING) is None:
            found = Install(random_id(), os.urandom(KEY_BYTES).hex())
            content = {"install_id": found.install_id, "key": found.key}
            store.put(INSTALL, json.dumps(content).encode())
    return found


@dataclass(frozen=True)
class Erasure:
    """A request to erase with its signature, and the key that it is signed with."""

    request: Mapping[str, Any]
    key: str


def drop_install(store: ProfileStore, install: Install) -> None:
    """Let the next one be another one, because the endpoint has erased this one."""
    with store.transaction():
        if find_install(store) == install:
            store.put(INSTALL, None)


def part(store: ProfileStore) -> None:
    """Before the profile is erased: turn its identifier into a request to erase all that was sent under it."""
    with store.transaction():
        install = find_install(store)
        if install is not None:
            _put(store, [*erasures(store), signed(install, "install")])
            store.put(INSTALL, None)


def erasures(store: ProfileStore) -> list[Erasure]:
    """The requests that are still to be sent."""
    content = store.get(ERASURES)
    return [] if content is None else [Erasure(**each) for each in json.loads(content)]


def drop_erasure(store: ProfileStore, nonce: str) -> None:
    """A request was dealt with."""
    with store.transaction():
        _put(store, [erasure for erasure in erasures(store) if erasure.request["nonce"] != nonce])


def _put(store: ProfileStore, left: Sequence[Erasure]) -> None:
    content = [{"request": dict(erasure.request), "key": erasure.key} for erasure in left]
    store.put(ERASURES, json.dumps(content).encode() if left else None)


def signed(install: Install, scope: str, event_ids: Sequence[str] | None = None) -> Erasure:
    """A request to erase, signed by HMAC-SHA-256 of its canonical JSON."""
    request: dict[str, Any] = {"install_id": install.install_id, "nonce": random_id(), "scope": scope}
    if event_ids is not None:
        request["event_ids"] = list(event_ids)
    key = bytes.fromhex(install.key)
    signature = hmac.new(key, canonical(request), hashlib.sha256).hexdigest()
    return Erasure({**request, "signature": signature}, install.key)


def canonical(content: Mapping[str, Any]) -> bytes:
    """JSON with sorted keys and no spaces, as UTF-8."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
