"""The pytest fixture that runs a test on every environment.

In a `conftest.py`: `from tests.environments.fixtures import environment` (and list it in `__all__`). A test that takes
`environment` then runs once per environment; `@pytest.mark.parametrize("environment", ["arm64"], indirect=True)`
limits it. A test on an environment that is not prepared is skipped with the reason, or fails with it where
`NEARHAND_REQUIRE_ENVIRONMENTS=1` says that every environment must be there, as in continuous integration.
"""

import os

import pytest

from tests.environments import Environment, environments


def require(name: str) -> Environment:
    """Return a prepared environment; skip the test, or fail it where environments are required."""
    environment = environments()[name]
    reason = environment.missing()
    if reason is not None:
        message = f"environment {name}: {reason}"
        if os.environ.get("NEARHAND_REQUIRE_ENVIRONMENTS") == "1":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return environment


@pytest.fixture(scope="session", params=list(environments()))
def environment(request: pytest.FixtureRequest) -> Environment:
    """One environment after another."""
    return require(request.param)
