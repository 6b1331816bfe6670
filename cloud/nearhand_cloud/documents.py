"""The bodies that are not events: requests to erase, and features that the backend pushes."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from nearhand.ids import is_id
from nearhand_cloud.refusal import RefusalError
from nearhand_cloud.sinks.sink import Erasure

MAX_FEATURE_BYTES = 64_000
MAX_ERASED_EVENTS = 1_000
MAX_VALUES = 4_096
_MAX_FLOAT32 = 3.4028234663852886e38
_SIGNATURE = re.compile("[0-9a-f]{64}")
_FIELDS = {"install_id", "nonce", "scope", "event_ids", "signature"}


def read_erasure(body: object, install_key: bytes | None) -> Erasure:
    """A request to erase.

    Args:
        install_key: what came with it.

    Raises:
        RefusalError: it is not of the shape.
    """
    if not isinstance(body, dict):
        raise _malformed("the body is not an object")
    if unknown := sorted(body.keys() - _FIELDS):
        raise _malformed(f"{unknown[0][:40]!r} is no field of an erasure")
    install_id, nonce, scope = body.get("install_id"), body.get("nonce"), body.get("scope")
    signature, event_ids = body.get("signature"), body.get("event_ids")
    if not (isinstance(install_id, str) and is_id(install_id) and isinstance(nonce, str) and is_id(nonce)):
        raise _malformed("install_id or nonce is not 32 hexadecimal digits")
    if scope not in ("install", "events"):
        raise _malformed('scope is not "install" or "events"')
    if not isinstance(signature, str) or not _SIGNATURE.fullmatch(signature):
        raise _malformed("signature is not 64 hexadecimal digits")
    if scope == "install" and "event_ids" in body:
        raise _malformed("event_ids are there, and the scope is the whole install")
    if scope == "events" and not (isinstance(event_ids, list) and 1 <= len(event_ids) <= MAX_ERASED_EVENTS):
        raise _malformed(f"event_ids is not a list of 1 to {MAX_ERASED_EVENTS:,}")
    for event_id in event_ids or ():
        if not isinstance(event_id, str) or not 1 <= len(event_id) <= 256 or re.search("[\ud800-\udfff]", event_id):
            raise _malformed("an event id is not a text of 1 to 256 characters")
    signed = {name: value for name, value in body.items() if name != "signature"}
    return Erasure(install_id, nonce, event_ids, canonical(signed), bytes.fromhex(signature), install_key)


def canonical(fields: Any) -> bytes:
    """The one JSON text of the fields that are signed: sorted names, no spaces, UTF-8."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read_features(body: object) -> str | None:
    """Pushed features as the JSON text that devices get, of those with one name the last; None if there are none.

    Raises:
        RefusalError: it is not of the shape.
    """
    if not isinstance(body, dict) or not isinstance(body.get("features"), list) or len(body) != 1:
        raise _malformed('the body is not an object with a list "features" alone')
    features = body["features"]
    for index, feature in enumerate(features):
        place = f"features[{index}]"
        if not isinstance(feature, dict) or feature.keys() != {"name", "values", "ttl_ms", "source"}:
            raise _malformed(f"{place} has not exactly name, values, ttl_ms and source")
        for name in ("name", "source"):
            value = feature[name]
            if not isinstance(value, str) or not 1 <= len(value) <= 256 or re.search("[\x00-\x1f\ud800-\udfff]", value):
                raise _malformed(f"{place}.{name} is not a text of 1 to 256 characters")
        values = feature["values"]
        if not isinstance(values, list) or not 1 <= len(values) <= MAX_VALUES or not all(map(_is_float32, values)):
            raise _malformed(f"{place}.values is not a list of 1 to {MAX_VALUES:,} finite float32 numbers")
        ttl_ms = whole(feature["ttl_ms"])
        if ttl_ms is None or not 1 <= ttl_ms < 2**53:
            raise _malformed(f"{place}.ttl_ms is not a positive whole number of milliseconds")
        feature["ttl_ms"] = ttl_ms
    named = {feature["name"]: feature for feature in features}
    return canonical({"features": list(named.values())}).decode() if named else None


def whole(value: object) -> int | None:
    """A whole number of JSON, which may be written as 17.0; None: it is none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def _is_float32(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and abs(value) <= _MAX_FLOAT32 if isinstance(value, float) else abs(value) <= 2**53


def _malformed(problem: str) -> RefusalError:
    return RefusalError(422, "shape", problem, "see /openapi.json for the shape")
