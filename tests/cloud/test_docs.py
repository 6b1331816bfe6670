"""The operator's guide: what it shows is what the endpoint takes, and its tables have what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from nearhand_cloud.documents import read_features
from nearhand_cloud.openapi import DOCUMENT
from nearhand_cloud.settings import ENVIRONMENT, read_settings
from nearhand_cloud.shapes import CODES, read_batch, read_cloudevents

PAGE = (Path(__file__).parents[2] / "docs" / "CLOUD.md").read_text(encoding="utf-8")
PACKAGE = Path(__file__).parents[2] / "cloud" / "nearhand_cloud"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_examples_are_taken_and_give_what_the_page_says() -> None:
    batch, event, stored, features, erasure, audit = map(json.loads, blocks("json"))
    from_batch, from_event = read_batch(batch), read_cloudevents([event])
    assert from_batch.refused == from_event.refused == []
    assert from_batch.events == from_event.events
    install_id = from_batch.install_id
    assert install_id is not None
    assert from_batch.events[0].record(install_id, stored["received_at"]) == stored
    assert read_features(features) is not None
    assert erasure.keys() == {"install_id", "scope", "event_ids", "at"}
    assert audit["status"] == 200


def test_the_manifest_starts_an_endpoint_that_would_run() -> None:
    (text,) = blocks("yaml")
    kinds = {document["kind"]: document for document in yaml.safe_load_all(text)}
    assert kinds.keys() == {"Secret", "Deployment", "Service", "PodDisruptionBudget"}
    pod = kinds["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    settings = read_settings(container["args"], kinds["Secret"]["stringData"])
    assert (settings.sink, settings.dedup, settings.data) == ("kafka", "redis", None)
    assert settings.server_key is not None
    assert container["command"] == ["python", "-m", "nearhand_cloud"]
    assert container["ports"][0]["containerPort"] == settings.port
    for probe in ("readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in DOCUMENT["paths"]
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > pause + settings.shutdown_s + 10


def test_every_option_code_and_metric_is_told() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py") if "heavy" not in path.parts)
    codes = set(re.findall(r'(?:RefusalError\(\s*\d+,\s*|code = )"([a-z-]+)"', source)) | CODES.keys()
    assert len(codes) > 25
    metrics = set(re.findall(r'"(nearhand_[a-z_]+)"', (PACKAGE / "metrics.py").read_text(encoding="utf-8")))
    assert len(metrics) == 10
    missing = [name for name in codes if f"`{name}`" not in PAGE] + [name for name in metrics if name not in PAGE]
    assert missing == []
    options = set(re.findall(r"`--([a-z-]+)", PAGE))
    assert {"write-key", "server-key", "data", "sink", "dedup", "redis", "files", "rate", "audit"} <= options
    known = set(re.findall(r'_Option\("([a-z_]+)"', source))
    assert {option.replace("-", "_") for option in options} - known <= {"help", "host"}
    assert ENVIRONMENT in PAGE
