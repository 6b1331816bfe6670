"""What a phone build needs, checked without its toolchain: packages, keys, the versions of runtime and Python."""

from __future__ import annotations

import os
import re
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flet", reason="the app's toolkit is not installed")

from packaging.requirements import Requirement

from tests.environments import environments
from tests.environments.phones import phones

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "demo_app"
# Flet's own index builds these for Android and iOS; msgpack is a part of every app that Flet builds.
BINARY_FOR_PHONES = {"numpy", "onnxruntime", "tflite-runtime", "cryptography", "msgpack"}
# What flet-cli and its template read of `[tool.flet]`, of what can be set for every platform, and for one of them.
GENERAL = {
    *("org", "product", "company", "copyright", "artifact", "bundle_id", "build_number", "build_version"),
    *("permissions", "target_arch", "dependencies", "dev_packages", "source_packages"),
    *("app.path", "app.module", "app.exclude", "compile.app", "compile.packages"),
    *("cleanup.app", "cleanup.packages", "cleanup.app_files", "cleanup.package_files"),
    *("splash.color", "splash.dark_color", "splash.icon_bgcolor", "splash.icon_dark_bgcolor"),
    *("splash.web", "splash.ios", "splash.android", "flutter.pubspec", "flutter.build_args"),
}
OF_ONE = {
    "android": {"permission", "feature", "meta_data", "split_per_abi", "adaptive_icon_background", "min_sdk_version"}
    | {"target_sdk_version", "signing.key_store", "signing.key_alias"},
    "ios": {"info", "team_id", "export_method", "export_methods", "export_options", "provisioning_profile"}
    | {"signing_certificate"},
    "web": {"base_url", "cdn", "renderer", "wasm", "route_url_strategy", "pwa_background_color", "pwa_theme_color"},
}
FREE = {"dev_packages", "android.permission", "android.feature", "android.meta_data", "ios.info"}
"""Tables whose keys are the app's own."""


def keys(table: dict[str, Any], before: str = "") -> Iterator[str]:
    for name, value in table.items():
        path = f"{before}{name}"
        if isinstance(value, dict) and path not in FREE:
            yield from keys(value, f"{path}.")
        else:
            yield path


def test_the_build_knows_every_key_that_it_is_given() -> None:
    with (APP / "pyproject.toml").open("rb") as file:
        flet = tomllib.load(file)["tool"]["flet"]
    known = GENERAL | {f"{one}.{key}" for one, own in OF_ONE.items() for key in own | GENERAL}
    assert set(keys(flet)) - known == set()


@pytest.mark.parametrize("platform", ["android", "ios"])
def test_every_package_is_pure_or_built_for_phones(platform: str) -> None:
    with (APP / "pyproject.toml").open("rb") as file:
        waiting = [Requirement(line) for line in tomllib.load(file)["project"]["dependencies"]]
    environment = {"sys_platform": platform, "platform_system": platform.capitalize(), "platform_machine": "arm64"}
    seen: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        extras = requirement.extras or {""}
        wanted = any(
            requirement.marker is None or requirement.marker.evaluate({**environment, "extra": extra})
            for extra in extras
        )
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if not wanted or name in seen:
            continue
        seen.add(name)
        if name in BINARY_FOR_PHONES:
            continue
        found = metadata.distribution(name)
        assert re.search(r"^Tag: py(2\.py)?3-none-any$", found.read_text("WHEEL") or "", re.M), f"{name} is not pure"
        for line in found.requires or ():
            needed = Requirement(line)
            if needed.marker is None or any(
                needed.marker.evaluate({**environment, "extra": extra}) for extra in extras
            ):
                needed.marker = None
                waiting.append(needed)
    assert {"numpy", "onnxruntime", "tflite-runtime", "flet", "nearhand"} <= seen
    assert "ai-edge-litert" not in seen


PROGRAM = """
import asyncio, sys
from pathlib import Path
archive, bundle, output = sys.argv[1:]
sys.path = [archive, *(entry for entry in sys.path if "demo_app" not in entry)]
sys.meta_path = [finder for finder in sys.meta_path if "nearhand_films" not in repr(finder)]
import films_app.main_page
from films_app.engine import Engine
import numpy, onnxruntime
assert films_app.main_page.__file__.startswith(archive), films_app.main_page.__file__
async def story():
    engine = Engine(Path(bundle), Path(output).parent / "data")
    catalogue = await engine.open("en")
    await engine.welcome(catalogue.popular()[:3], "local")
    home = await engine.home()
    await engine.close()
    Path(output).write_text(f"{onnxruntime.__version__} {numpy.__version__} {len(home.rails)}")
asyncio.run(story())
"""


MACHINES = {name: each for name, each in {**environments(), **phones()}.items() if name.startswith(("onnxr", "phone"))}
"""This Python with the versions that phones have, and each newer Python that is installed here."""


@pytest.mark.parametrize("name", MACHINES)
def test_out_of_a_zip_it_runs_on_the_versions_that_phones_have(name: str, films: Path, tmp_path: Path) -> None:
    environment = MACHINES[name]
    if (reason := environment.missing()) is not None:
        if os.environ.get("NEARHAND_REQUIRE_ENVIRONMENTS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    archive, program, said = tmp_path / "app.zip", tmp_path / "program.py", tmp_path / "said.txt"
    with zipfile.ZipFile(archive, "w") as file:
        for path in (APP / "src").rglob("*.py"):
            file.write(path, path.relative_to(APP / "src"))
    program.write_text(PROGRAM)
    environment.run(program, [archive, films], said)
    runtime, _, rails = said.read_text().split()
    assert runtime == "1.27.0"
    assert int(rails) > 3
