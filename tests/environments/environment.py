"""One other machine: "run this script with these arguments there, and give me the file it wrote"."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.environments.cache import REPOSITORY, Folder, PrepareError, tail

_SDK = REPOSITORY / "sdk"


class ScriptError(Exception):
    """A script failed in an environment, ran out of time there, or wrote no output."""


@dataclass(frozen=True)
class Environment:
    """A machine, or a set of library versions, that a script can be run on.

    A script is called as `python script ARGUMENT… OUTPUT` and must stand alone: it may import nearhand, numpy and the
    environment's runtimes, and read the files it was given. That is all there is on the other machines, so it is all
    there is here: the folder of the script is not on `sys.path` and the working folder holds nothing of ours.
    """

    name: str
    description: str
    command: tuple[str | Path, ...]  # the interpreter, behind an emulator if there is one
    site: tuple[Path, ...] = ()  # folders of packages that win over the interpreter's own, as the script sees them
    chroot: Path | None = None  # the root the interpreter lives under
    folders: tuple[Folder, ...] = ()  # what `prepare` makes
    obstacle: str | None = None  # why this machine can never have it

    def missing(self) -> str | None:
        """Tell why it cannot be used now, or None if it can."""
        if self.obstacle is not None:
            return self.obstacle
        if all(folder.is_ready() for folder in self.folders):
            return None
        return f"not prepared; run: python -m tests.environments prepare {self.name}"

    def prepare(self) -> bool:
        """Make what it needs (this is what uses the network); return whether there was anything to do."""
        if self.obstacle is not None:
            raise PrepareError(self.obstacle)
        made = [folder.make() for folder in self.folders]  # all of them: `any` alone would stop at the first
        return any(made)

    def run(
        self, script: Path, arguments: Sequence[str | Path], output: Path, *, timeout: float = 300.0
    ) -> subprocess.CompletedProcess[str]:
        """Run `script ARGUMENT… OUTPUT` there: every Path is made visible, and OUTPUT (file or folder) comes back.

        OUTPUT must not exist: it appears only if the script succeeded, so it is never the result of an earlier run.
        """
        reason = self.missing()
        if reason is not None:
            raise PrepareError(f"environment {self.name}: {reason}")
        if output.exists():
            raise FileExistsError(f"{output} is there already")
        beneath = None if self.chroot is None else self.chroot / "tmp"
        with tempfile.TemporaryDirectory(prefix="run-", dir=beneath) as name:
            folder = Path(name)
            (folder / "work").mkdir()
            (folder / "output").mkdir()
            written = folder / "output" / output.name
            call = self._call(folder, script, arguments, written)
            search_path = os.pathsep.join(str(path) for path in [*self.site, self._bring(_SDK, folder / "sdk")])
            environ = self._environ() | {"PYTHONPATH": search_path, "PYTHONNOUSERSITE": "1"}
            try:
                done = subprocess.run(
                    call,
                    cwd=folder / "work",
                    env=environ,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=timeout,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise ScriptError(f"{script.name} on {self.name} did not end within {timeout:g} s") from error
            if done.returncode != 0:
                raise ScriptError(
                    f"{script.name} on {self.name} ended with status {done.returncode}:\n{tail(done.stderr)}"
                )
            if not written.exists():
                raise ScriptError(f"{script.name} on {self.name} ended well but wrote no {output.name}")
            output.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(written, output)
        return done

    def _call(self, folder: Path, script: Path, arguments: Sequence[str | Path], written: Path) -> list[str]:
        """Return the command line, with every Path as the script will see it."""
        call = [str(word) for word in self.command]
        call += ["-P", str(self._bring(script, folder / "script"))]
        for number, argument in enumerate(arguments):
            if isinstance(argument, Path):  # a folder each: two inputs may have the same name
                call.append(str(self._bring(argument, folder / "inputs" / str(number))))
            else:
                call.append(argument)
        return [*call, str(self._inside(written))]

    def _bring(self, path: Path, into: Path) -> Path:
        """Make a file or folder of ours visible to the script and return the path it has there."""
        source = path.resolve(strict=True)
        if self.chroot is None:
            return source
        into.mkdir(parents=True)
        copy = into / path.name
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copyfile(source, copy)
        return self._inside(copy)

    def _inside(self, path: Path) -> Path:
        """Return the path that a path of ours has for the script."""
        return path if self.chroot is None else Path("/", path.relative_to(self.chroot))

    def _environ(self) -> dict[str, str]:
        """Return the variables a script starts with: nothing that changes Python, nothing of ours in a chroot."""
        if self.chroot is not None:
            return {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}
        return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
