"""Two thousand lists under a deadline, while the server does all that a server can do wrong."""

from __future__ import annotations

import gc
import random
import time

import pytest

from nearhand import Personalizer
from nearhand.clock import SystemClock
from nearhand.hybrid import HybridConfig, RoutePolicy
from tests.oip.models import RERANK
from tests.oip.servers import scripted
from tests.sdk.hybrid_device import FAULTS, LIKED
from tests.sdk.serving_device import Device, assert_valid, record
from tests.sdk.serving_factory import serving_bundle

DEADLINE_MS = 150.0
RUN = 4
"""Calls in a row that meet the same fault."""
SLOW = [fault for fault, (_, outcomes) in FAULTS.items() if "late" in outcomes]
QUICK = [fault for fault in FAULTS if fault not in SLOW]


OPENING = ("404", "429", "catalogue")
"""After these a breaker is open whatever the policy says."""


class Leaping(SystemClock):
    """The system's clock, which can be told that time has passed."""

    passed_ns = 0

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() + self.passed_ns


def plan(runs: int) -> list[str]:
    """The faults, one for each run, in an order that is drawn. One in twenty takes the whole deadline."""
    slow = runs // 20
    found = [SLOW[at % len(SLOW)] for at in range(slow)] + [QUICK[at % len(QUICK)] for at in range(runs - slow)]
    random.Random(7).shuffle(found)
    return found


def timed_ms(one: Personalizer, deadline_ms: float | None) -> float:
    start = time.perf_counter()
    found = one.recommend(10, deadline_ms=deadline_ms)
    elapsed = (time.perf_counter() - start) * 1000
    assert_valid(found, 10, absent=LIKED)
    return elapsed


@pytest.mark.parametrize(
    ("calls", "policy"),
    [(2000, RoutePolicy(breaker_failures=10**9)), (400, RoutePolicy())],
    ids=["no breaker", "breaker"],
)
def test_no_list_is_late_by_what_the_server_does(
    calls: int, policy: RoutePolicy, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """At most 0.5 % of the calls exceed the deadline by three times the local p99 of the same run, none by 100 ms."""
    folder = tmp_path_factory.mktemp("deadline")
    device = Device(serving_bundle(folder), folder / "data")
    late: list[float] = []
    local: list[float] = []
    healed = 0
    clock = Leaping()
    with (
        scripted() as server,
        device.opened(clock=clock, hybrid=HybridConfig(server.url, model=RERANK, policy=policy)) as one,
    ):
        one.privacy.set_consent("sync")
        record(one, "item_liked", LIKED)
        one.recommend(10)
        gc.collect()
        for fault in plan(calls // RUN):
            server.fail(**FAULTS[fault][0])
            one.privacy.set_consent("local")
            local.append(timed_ms(one, None))  # in turns, so that both meet the same load
            one.privacy.set_consent("sync")
            late += [timed_ms(one, DEADLINE_MS) - DEADLINE_MS for _ in range(RUN)]
            if fault in OPENING and policy.breaker_failures > calls:
                clock.passed_ns += 7_200_000_000_000
                server.fail()
                assert {each.source for each in one.recommend(10)} == {"cloud"}
                healed += 1
        status = one.status().hybrid
    assert len(late) == calls
    assert status is not None
    p99 = sorted(local)[round(0.99 * (len(local) - 1))]
    exceeded = [each for each in late if each > 3 * p99]
    print(f"local p99 {p99:.1f} ms, latest {max(late):.1f} ms, {len(exceeded)} late; {status.outcomes}")
    assert max(late) < 100, (p99, sorted(late)[-5:])
    assert len(exceeded) <= 0.005 * calls
    assert sum(status.outcomes.values()) == calls + len(local) + healed + 1
    if policy.breaker_failures > calls:
        assert status.calls > 0.5 * calls  # it was asked indeed
    else:
        assert status.decisions["local"]["breaker_open"] > 0.5 * calls
