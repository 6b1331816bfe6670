"""A device whose lists may be ranked by the scripted server, and what that server may do wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from nearhand import Personalizer, Recommendation
from nearhand.hybrid import HybridConfig, HybridStatus, RoutePolicy
from tests.oip.models import RERANK
from tests.oip.servers import Scripted
from tests.sdk.serving_device import Device, record

LIKED = [0, 6, 12, 18]
PATIENT = RoutePolicy(timeout_ms=10_000, reserve_ms=50)  # on a busy machine too, the answer is there
LONG_MS = 20_000


def config(server: Scripted, policy: RoutePolicy = PATIENT, **changes: Any) -> HybridConfig:
    return HybridConfig(server.url, model=RERANK, policy=policy, **changes)


@contextmanager
def opened(
    device: Device, server: Scripted, policy: RoutePolicy = PATIENT, *, liked: Sequence[int] = LIKED, **options: Any
) -> Iterator[Personalizer]:
    """A profile whose user allows it, and likes some films."""
    options = {"hybrid": config(server, policy), **options}
    with device.opened(**options) as one:
        one.privacy.set_consent("sync")
        record(one, "item_liked", liked)
        yield one


def hybrid(one: Personalizer) -> HybridStatus:
    found = one.status().hybrid
    assert found is not None
    return found


def sources(recommendations: Sequence[Recommendation]) -> set[str]:
    return {each.source for each in recommendations}


def sent(server: Scripted) -> dict[str, Any]:
    """The JSON of the latest question."""
    found: dict[str, Any] = json.loads(server.counts()["last"]["text"])
    return found


FAULTS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "not ready": ({"kind": "status", "status": 400, "text": '{"error": "not ready"}'}, {"status_400"}),
    "404": ({"kind": "status", "status": 404}, {"status_404"}),
    "429": ({"kind": "status", "status": 429, "headers": {"Retry-After": "7"}}, {"status_429"}),
    "500": ({"kind": "status", "status": 500, "text": "<html>"}, {"status_500"}),
    "503": ({"kind": "status", "status": 503}, {"status_503"}),
    "redirect": ({"kind": "status", "status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}, {"status_302"}),
    "nothing": ({"kind": "status", "status": 204}, {"status_204"}),
    "silence": ({"kind": "silence"}, {"late", "timeout"}),
    "reset": ({"kind": "reset"}, {"network"}),
    "slow head": ({"kind": "slow_head"}, {"late", "timeout"}),
    "slow body": ({"kind": "slow_body"}, {"late", "timeout"}),
    "cut": ({"kind": "cut"}, {"network"}),
    "huge": ({"kind": "huge"}, {"too_large"}),
    "catalogue": ({"kind": "status", "status": 400, "text": '{"error": "catalogue: is another"}'}, {"catalogue"}),
    "page": ({"kind": "status", "status": 200, "text": "<html>Log in first</html>"}, {"malformed"}),
    "deep": ({"kind": "status", "status": 200, "text": "[" * 50_000}, {"malformed"}),
    **{
        how: ({"kind": "twist", "how": how}, {"malformed"})
        for how in (
            "shape", "count", "fewer", "dtype", "nan", "overflow", "texts", "missing", "name", "id", "twice",
            "more_bytes",
        )
    },
}  # fmt: skip
