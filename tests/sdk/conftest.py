"""A device that syncs, and the endpoint that it syncs with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nearhand.testing import FaultyTransport
from tests.sdk.sync_device import Device, MemoryEndpoint, device


@pytest.fixture
def endpoint() -> MemoryEndpoint:
    return MemoryEndpoint()


@pytest.fixture
def wire(endpoint: MemoryEndpoint) -> FaultyTransport:
    return FaultyTransport(endpoint)


@pytest.fixture
def phone(tmp_path: Path, wire: FaultyTransport) -> Iterator[Device]:
    """A device whose user consents."""
    with device(tmp_path, wire) as made:
        made.consent("sync")
        yield made
