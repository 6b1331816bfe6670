"""The Pythons that phone builds bundle, 3.12 and newer, each with what the films app has on a phone.

There is one for each of them that pyenv has on this machine; where it has none there are none.
"""

import os
from functools import partial
from pathlib import Path

from tests.environments.cache import Folder, call
from tests.environments.environment import Environment
from tests.environments.packages import install_wheels, same_as_here

_BUILT = ("numpy==2.4.6", "onnxruntime==1.27.0")  # what Flet's index has for phones
_PURE = ("flet", "httpx", "httpcore", "h11", "anyio", "sniffio", "certifi", "idna", "oauthlib", "repath", "six")
_OTHERS = ("msgpack", "urllib3", "flatbuffers", "packaging", "protobuf", "typing_extensions")
_WHEELS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64")


def phones() -> dict[str, Environment]:
    """Return one environment for each newer Python by name, prepared or not."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    pythons = sorted(path for minor in (12, 13, 14) for path in root.glob(f"3.{minor}.*/bin/python"))
    return {environment.name: environment for environment in map(_phone, pythons)}


def _phone(python: Path) -> Environment:
    version = python.parents[1].name
    wheels = [*_BUILT, *same_as_here(*_PURE, *_OTHERS)]
    folder = Folder(
        f"phone-{version}",
        (Path(__file__).read_text(encoding="utf-8"), version, *wheels),
        partial(_build, python=python, version=version, wheels=wheels),
    )
    return Environment(
        f"phone-{version}",
        f"Python {version} with numpy 2.4.6, onnxruntime 1.27.0 and Flet, as a phone build has them",
        (python,),
        site=(folder.path,),
        folders=(folder,),
    )


def _build(folder: Path, python: Path, version: str, wheels: list[str]) -> None:
    target = ["--implementation", "cp", "--python-version", ".".join(version.split(".")[:2])]
    target += [word for tag in _WHEELS for word in ("--platform", tag)]
    install_wheels(wheels, *target, "--target", folder)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    call([python, "-c", "import flet, numpy, onnxruntime"], env=environ | {"PYTHONPATH": str(folder)})
