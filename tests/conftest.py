"""What every test shares: swallowed errors are raised, and one small real bundle is built per run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from nearhand.testing import raise_swallowed

if TYPE_CHECKING:
    from tests.tiny import Tiny

# The same examples on every run, and nothing left in the working folder; a slow machine is not a failure.
settings.register_profile("nearhand", deadline=None, derandomize=True, database=None)
settings.load_profile("nearhand")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "degrades: the test is about what the SDK gives when it swallows an error")
    config.addinivalue_line("markers", "soak: takes long, runs with -m soak (`make soak`) and before a change lands")
    config.addinivalue_line("markers", "timed: of a promised time; alone on the machine, with -m timed (`make bench`)")
    config.addinivalue_line("markers", "torture: takes many minutes, and runs only with -m torture")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Processes that share the tests have to agree on their ids: an address or the order of a set differs in each."""
    if re.search(r" at 0x|set\(\{.*, ", item.nodeid):
        pytest.fail("give this test an id that is the same in every process", pytrace=False)


@pytest.fixture(autouse=True)
def _swallowed_errors_are_raised(request: pytest.FixtureRequest) -> Iterator[None]:
    """An error that the host app would never see fails the test, unless it is marked ``degrades``."""
    with raise_swallowed(request.node.get_closest_marker("degrades") is None):
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The tiny bundle; see :mod:`tests.tiny`."""
    from tests.tiny import build_tiny  # the converters and onnx, which most tests do without

    return build_tiny(tmp_path_factory.mktemp("tiny"))
