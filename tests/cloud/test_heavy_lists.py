"""A device's lists ranked by the heavy model of a real MLServer: its scores, its refusals, and its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from nearhand import Personalizer
from nearhand.hybrid import HybridConfig, HybridStatus, RoutePolicy
from nearhand.ranking import SentFeatures
from nearhand_cloud.heavy import HeavyModel
from tests.cloud.heavy_server import HeavyServer, heavy_bundle, running_heavy
from tests.sdk.serving_device import Device, assert_valid, record
from tests.sdk.serving_factory import serving_bundle
from tests.tiny import Tiny

LIKED, DISLIKED = [0, 6, 12, 18, 31], [5, 11]
PATIENT = RoutePolicy(timeout_ms=30_000)


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Device:
    folder = tmp_path_factory.mktemp("device")
    return Device(serving_bundle(folder), folder / "data")


@pytest.fixture(scope="module")
def model() -> Iterator[HeavyModel]:
    with HeavyModel.open(heavy_bundle()) as opened:
        yield opened


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeavyServer]:
    with running_heavy(heavy_bundle(), tmp_path_factory.mktemp("heavy")) as started:
        yield started


@contextmanager
def opened(device: Device, server: HeavyServer, **changes: Any) -> Iterator[Personalizer]:
    settings = HybridConfig(server.url, model=server.model, **{"policy": PATIENT, **changes})
    with device.opened(hybrid=settings) as one:
        one.privacy.set_consent("sync")
        record(one, "item_disliked", DISLIKED)
        record(one, "item_liked", LIKED)
        yield one


def hybrid(one: Personalizer) -> HybridStatus:
    found = one.status().hybrid
    assert found is not None
    return found


@pytest.mark.parametrize("shares_features", [True, False])
def test_the_lists_scores_are_those_of_the_heavy_model_in_process(
    device: Device, server: HeavyServer, model: HeavyModel, shares_features: bool
) -> None:
    with opened(device, server, shares_features=shares_features) as one:
        found = one.recommend(10)
        assert_valid(found, 10, absent=[*LIKED, *DISLIKED])
        assert {each.source for each in found} == {"cloud"}
        features = None
        if shares_features:
            features = SentFeatures(one.features.program, model.columns).of(one.features.vector())
        expected = model.scores(
            [*DISLIKED, *LIKED],
            [-8.0] * len(DISLIKED) + [8.0] * len(LIKED),
            [int(each.item_id.removeprefix("m_")) for each in found],
            features,
        )
        np.testing.assert_allclose([each.score for each in found], expected, atol=1e-5)
        assert hybrid(one).outcomes == {"cloud": 1}


def test_features_that_rest_on_what_may_not_leave_are_not_sent(device: Device, server: HeavyServer) -> None:
    settings = HybridConfig(server.url, model=server.model, policy=PATIENT)
    with device.opened(hybrid=settings) as one:
        record(one, "item_viewed", [40])
        one.privacy.set_consent("sync")
        record(one, "item_liked", LIKED)
        assert {each.source for each in one.recommend(10)} == {"local"}
        assert hybrid(one).outcomes == {"features": 1}
        assert (hybrid(one).calls, one.privacy.audit()) == (0, [])
        one.privacy.reset()  # what was before is in no feature any more
        record(one, "item_liked", LIKED)
        assert {each.source for each in one.recommend(10)} == {"cloud"}
        record(one, "item_viewed", [41])
        assert {each.source for each in one.recommend(10)} == {"cloud"}
        one.privacy.set_consent("local")
        record(one, "item_viewed", [42])
        one.privacy.set_consent("sync")
        assert {each.source for each in one.recommend(10)} == {"local"}
        one.privacy.set_consent("sync", include_past=True)
        assert {each.source for each in one.recommend(10)} == {"cloud"}
        assert hybrid(one).outcomes == {"features": 2, "cloud": 3}


def test_a_server_with_another_catalogue_is_not_even_told_the_history(
    device: Device, server: HeavyServer, tiny: Tiny
) -> None:
    settings = HybridConfig(server.url, model=server.model, policy=PATIENT)
    with device.opened(hybrid=settings, bundle=tiny.path) as one:
        one.privacy.set_consent("sync")
        record(one, "item_liked", LIKED)
        assert {each.source for each in one.recommend(10)} == {"local"}
        assert hybrid(one).outcomes == {"catalogue": 1}
        assert (hybrid(one).calls, hybrid(one).breaker) == (0, "open")
        assert hybrid(one).opens_in_ms > 3_500_000


def test_it_is_killed_in_the_session_and_the_next_list_is_the_devices(
    device: Device, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with (
        running_heavy(heavy_bundle(), tmp_path_factory.mktemp("killed")) as server,
        opened(device, server) as one,
    ):
        assert {each.source for each in one.recommend(10, deadline_ms=20_000)} == {"cloud"}
        server.process.kill()
        server.process.wait()
        found = one.recommend(10, deadline_ms=150)
        assert_valid(found, 10, absent=[*LIKED, *DISLIKED])
        assert {each.source for each in found} == {"local"}
        assert hybrid(one).last[-1].outcome in ("network", "late")
