"""The servers of the contract suite, each started once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.oip.servers import Running, Scripted, mlserver, scripted


@pytest.fixture(scope="session")
def triton() -> Iterator[Scripted]:
    with scripted() as running:
        yield running


@pytest.fixture(scope="session")
def real_mlserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with mlserver(tmp_path_factory.mktemp("mlserver")) as running:
        yield running


@pytest.fixture(params=["triton", "triton as JSON", "mlserver"])
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    """Each server of the protocol; the second one is Triton behind something that does not advertise its extensions."""
    if request.param == "mlserver":
        yield request.getfixturevalue("real_mlserver")
        return
    running: Scripted = request.getfixturevalue("triton")
    if request.param == "triton as JSON":
        running.fail(extensions=["parameters"])
    else:
        running.fail()
    yield running
    running.fail()
