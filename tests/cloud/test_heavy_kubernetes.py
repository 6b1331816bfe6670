"""The Kubernetes examples are of the shape, the names and the ports that MLServer and the runtime have.

No cluster is asked: what is compared is what these files say with what the code writes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from nearhand.version import __version__
from nearhand_cloud.heavy import write_settings
from nearhand_cloud.heavy.settings import RUNTIME
from tests.cloud.heavy_server import heavy_bundle

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cloud" / "kubernetes"


def _documents(name: str) -> dict[str, Any]:
    """kind → document."""
    with (FOLDER / name).open(encoding="utf-8") as file:
        return {document["kind"]: document for document in yaml.safe_load_all(file)}


def test_kserve() -> None:
    found = _documents("heavy-kserve.yaml")
    runtime, service = found["ServingRuntime"], found["InferenceService"]
    assert runtime["apiVersion"] == "serving.kserve.io/v1alpha1"
    assert service["apiVersion"] == "serving.kserve.io/v1beta1"
    model = service["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    assert model["modelFormat"]["name"] in [each["name"] for each in runtime["spec"]["supportedModelFormats"]]
    (container,) = runtime["spec"]["containers"]
    assert container["name"] == "kserve-container"
    assert container["command"] == ["mlserver", "start", "/mnt/models"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert [int(environment["MLSERVER_HTTP_PORT"])] == [each["containerPort"] for each in container["ports"]]
    assert container["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": 8080}
    assert {each["mountPath"] for each in container["volumeMounts"]} == {"/tmp"}
    assert service["metadata"]["name"] == "films-heavy"


def test_seldon() -> None:
    found = _documents("heavy-seldon.yaml")
    server, model = found["Server"], found["Model"]
    assert {each["apiVersion"] for each in found.values()} == {"mlops.seldon.io/v1alpha1"}
    assert server["spec"]["serverConfig"] == "mlserver"
    assert set(model["spec"]["requirements"]) <= set(server["spec"]["extraCapabilities"])
    assert [each["name"] for each in server["spec"]["podSpec"]["containers"]] == ["mlserver"]


def test_one_image_of_this_version_serves_both() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("heavy*")))
    assert set(re.findall(r"registry\.example/\S+", text)) == {f"registry.example/nearhand-heavy:{__version__}"}
    for source in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE):
        for name in source.split():
            assert (ROOT / name).exists(), name


def test_the_folder_to_upload_leaves_the_ports_to_the_cluster(tmp_path: Path) -> None:
    folder = write_settings(heavy_bundle(), tmp_path / "served", name="films-heavy")
    assert sorted(path.name for path in folder.iterdir()) == ["heavy.nearhand", "model-settings.json", "settings.json"]
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    assert not [name for name in settings if name.endswith("port") or name == "host"]
    model = json.loads((folder / "model-settings.json").read_text(encoding="utf-8"))
    assert (model["name"], model["implementation"]) == ("films-heavy", RUNTIME)
    assert model["parameters"]["uri"] == "./heavy.nearhand"
