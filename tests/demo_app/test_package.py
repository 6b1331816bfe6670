"""The app as a phone gets it: what it depends on, how it is built, and that it runs out of a zip."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from nearhand.version import __version__

APP = Path(__file__).resolve().parents[2] / "demo_app"
# What Flet's own index, or plain Python, gives a phone; see the notes in the app's pyproject.toml.
BINARY_FOR_PHONES = {"numpy", "onnxruntime", "tflite-runtime", "cryptography"}
PURE = {"nearhand", "flet"}
ON_DESKTOPS_ONLY = {"ai-edge-litert"}
PYTHON_ONLY_HERE = APP / "src" / "films_app" / "web.py"


def project() -> dict[str, object]:
    with (APP / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def requirements(platform: str) -> set[str]:
    """The names of what the app needs on a platform, by the only markers it uses."""
    names = set()
    for line in project()["project"]["dependencies"]:  # type: ignore[index]
        name, _, marker = line.partition(";")
        value = eval(marker, {"sys_platform": platform}) if marker.strip() else True
        if value:
            names.add(re.match(r"[A-Za-z0-9_.-]+", name).group())  # type: ignore[union-attr]
    return names


@pytest.mark.parametrize("platform", ["android", "ios"])
def test_a_phone_has_all_that_the_app_needs(platform: str) -> None:
    needed = requirements(platform)
    assert needed <= BINARY_FOR_PHONES | PURE
    assert {"onnxruntime", "tflite-runtime"} <= needed
    assert requirements("linux") >= ON_DESKTOPS_ONLY


def test_the_build_is_told_what_it_has_to_know() -> None:
    flet = project()["tool"]["flet"]  # type: ignore[index]
    assert flet["app"] == {
        "path": "src",
        "module": "main",
        "exclude": ["__pycache__", "films_app/web.py"],
    }
    assert (APP / "src" / "main.py").is_file()
    assert "armeabi-v7a" not in flet["android"]["target_arch"]  # there is no onnxruntime for it
    assert flet["android"]["permission"] == {"android.permission.INTERNET": False}
    assert flet["web"]["cdn"] is False


def test_it_has_the_version_of_the_repository() -> None:
    assert project()["project"]["version"] == __version__  # type: ignore[index]


def test_every_font_has_its_licence() -> None:
    fonts = APP / "src" / "assets" / "fonts"
    families = {path.name.split("-")[0] for path in fonts.iterdir() if path.suffix in (".otf", ".ttf")}
    assert families == {"Inter", "InterDisplay", "NotoSansDevanagari"}
    for licence in ("Inter-LICENSE.txt", "Noto-LICENSE.txt"):
        assert "OFL" in (fonts / licence).read_text(encoding="utf-8")


def test_nothing_that_a_phone_cannot_do_is_in_the_app() -> None:
    """It may be imported from a zip, and must not start processes."""
    for path in (APP / "src").rglob("*.py"):
        if path == PYTHON_ONLY_HERE:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        modules = {
            alias.name.partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert "__file__" not in names, path
        assert not modules & {"subprocess", "multiprocessing", "uvicorn"}, path


def test_the_app_runs_out_of_a_zip(films: Path, tmp_path: Path) -> None:
    pytest.importorskip("flet")
    archive = tmp_path / "app.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in (APP / "src").rglob("*.py"):
            if path != PYTHON_ONLY_HERE:
                file.write(path, path.relative_to(APP / "src"))
    program = """
import asyncio, sys
from pathlib import Path
sys.path = [entry for entry in sys.path if "demo_app" not in entry]
sys.meta_path = [finder for finder in sys.meta_path if "nearhand_films" not in repr(finder)]
sys.path.insert(0, sys.argv[1])
import films_app.main_page
from films_app.engine import Engine
assert sys.argv[1] in films_app.main_page.__file__, films_app.main_page.__file__
async def story():
    engine = Engine(Path(sys.argv[2]), Path(sys.argv[3]))
    catalogue = await engine.open("en")
    await engine.welcome(catalogue.popular()[:3], "local")
    home = await engine.home()
    await engine.close()
    print(len(home.rails))
asyncio.run(story())
"""
    arguments = [str(archive), str(films), str(tmp_path / "data")]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 3
