"""A device that syncs with an endpoint in memory, and one whose lists a scripted server may rank."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nearhand.testing import FaultyTransport
from tests.oip.servers import Scripted, scripted
from tests.sdk import serving_device, sync_device
from tests.sdk.serving_factory import serving_bundle
from tests.sdk.sync_device import MemoryEndpoint


@pytest.fixture
def endpoint() -> MemoryEndpoint:
    return MemoryEndpoint()


@pytest.fixture
def wire(endpoint: MemoryEndpoint) -> FaultyTransport:
    return FaultyTransport(endpoint)


@pytest.fixture
def phone(tmp_path: Path, wire: FaultyTransport) -> Iterator[sync_device.Device]:
    """A device whose user consents."""
    with sync_device.device(tmp_path, wire) as made:
        made.consent("sync")
        yield made


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> serving_device.Device:
    """A device with the bundle that serves whole lists."""
    folder = tmp_path_factory.mktemp("device")
    return serving_device.Device(serving_bundle(folder), folder / "data")


@pytest.fixture(scope="module")
def running() -> Iterator[Scripted]:
    with scripted() as server:
        yield server


@pytest.fixture
def server(running: Scripted) -> Iterator[Scripted]:
    """It does as it should, until a test says otherwise."""
    running.fail()
    yield running
    running.fail()
