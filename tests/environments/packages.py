"""Debian packages and wheels, fetched without touching the machine's own package state. Only `prepare` comes here."""

import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tests.environments.cache import PrepareError, call

# The machine's sources and keys are used; its lists, its archives and its hooks are not. Read last (`-c`), because
# only then can `#clear` remove hooks of the machine's configuration (they would refresh or empty *its* caches).
_APT_CONFIGURATION = """
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
#clear APT::Architectures;
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
"""


def download_debian(packages: Sequence[str], architecture: str, folder: Path) -> list[Path]:
    """Download Debian packages of an architecture into a folder, as any user, and return the files."""
    (folder / "state" / "lists" / "partial").mkdir(parents=True)
    (folder / "cache" / "archives" / "partial").mkdir(parents=True)
    (folder / "debs").mkdir()
    (folder / "status").touch()
    configuration = folder / "apt.conf"
    configuration.write_text(_APT_CONFIGURATION.format(architecture=architecture, folder=folder), encoding="utf-8")
    apt = ["apt-get", "--quiet", "-c", str(configuration)]
    refused = ""
    try:
        call([*apt, "update"])
    except PrepareError as error:
        # One broken source among several must not matter if the packages are in the others: the download decides.
        refused = f"\n(before that, {error})"
    try:
        call([*apt, "download", *packages], cwd=folder / "debs")
    except PrepareError as error:
        raise PrepareError(f"{error}{refused}") from error
    return sorted((folder / "debs").glob("*.deb"))


def install_wheels(requirements: Sequence[str], *options: str | Path, python: Path | None = None) -> None:
    """Install exactly these wheels: no resolver, no building, no bytecode (who runs them writes it)."""
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    if python is not None:
        pip += ["--python", python]
    call([*pip, "install", "--quiet", "--only-binary=:all:", "--no-deps", "--no-compile", *options, *requirements])


def same_as_here(*names: str) -> list[str]:
    """Pin packages to the versions of this interpreter, so that a second list of versions cannot fall behind."""
    return [f"{name}=={version(name)}" for name in names]


def scratch(folder: Path) -> tempfile.TemporaryDirectory[str]:
    """Make a folder for downloads inside the one being built: removed with it if the process is killed."""
    return tempfile.TemporaryDirectory(prefix="scratch-", dir=folder)
