"""What the endpoint says of itself is true: schemathesis asks all that it allows, and what it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import DataObject, data
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.schemas import BaseSchema

from nearhand_cloud.openapi import DOCUMENT
from tests.cloud.device import Device
from tests.cloud.endpoint import SERVER_KEY
from tests.cloud.in_process import Inside, endpoint_inside

EXAMPLES = 25
OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]
# The others take nothing that could be wrong.
CAN_BE_WRONG = [(path, method) for path, method in OPERATIONS if path.startswith("/v1/") and "files" not in path]


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    folder: Path = tmp_path_factory.mktemp("openapi")
    (folder / "files").mkdir()
    (folder / "files" / "0").write_bytes(b"content")
    with endpoint_inside(folder, files=folder / "files") as inside:
        yield inside


@pytest.fixture(scope="module")
def schema(inside: Inside) -> BaseSchema:
    # Nothing of what it asks comes from the modules that happen to be loaded, or from earlier answers.
    fixed = {"generation": {"deterministic": True}, "analysis": {"constants": {"enabled": False}}}
    config = SchemathesisConfig.from_dict({"seed": 7, **fixed})
    return schemathesis.openapi.from_asgi("/openapi.json", inside.app, config=config)


@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=str)
def test_what_is_allowed_is_answered_as_documented(schema: BaseSchema, path: str, method: str) -> None:
    ask_and_check(schema, path, method, GenerationMode.POSITIVE)


@pytest.mark.parametrize(("path", "method"), CAN_BE_WRONG, ids=str)
def test_what_is_not_allowed_is_refused_as_documented(schema: BaseSchema, path: str, method: str) -> None:
    ask_and_check(schema, path, method, GenerationMode.NEGATIVE)


def ask_and_check(schema: BaseSchema, path: str, method: str, mode: GenerationMode) -> None:
    """All of schemathesis' checks: documented statuses, types, headers and contents, no 5xx, authentication, …"""
    operation = schema[path][method.upper()]
    key = f"Bearer {SERVER_KEY}" if method == "put" else Device("").headers()["authorization"]

    @settings(max_examples=EXAMPLES, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(data())
    def ask(source: DataObject) -> None:
        case = source.draw(operation.as_strategy(mode))
        case.call_and_validate(headers={"Authorization": key})

    ask()
