"""Folders made once and kept under `.cache/environments/`: complete or absent, never half there."""

import fcntl
import hashlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache" / "environments"
_KEPT_SECONDS = 3 * 86_400  # how long a folder that no `prepare` asked for stays


class PrepareError(Exception):
    """An environment could not be made; the message holds the reason in the words of the tool that refused."""


@dataclass(frozen=True)
class Folder:
    """A folder made from a recipe: `recipe` lists everything its content depends on, `build` fills it.

    It is built elsewhere and renamed into place when finished, so its path exists only if it is complete, whatever
    was killed and when. Another recipe is another path: an old folder is never mistaken for a new one.
    """

    name: str
    recipe: tuple[str, ...]
    build: Callable[[Path], None]
    cache: Path = CACHE

    @property
    def path(self) -> Path:
        """Where the finished folder is, or will be."""
        digest = hashlib.sha256(json.dumps(self.recipe).encode()).hexdigest()
        return self.cache / self.name / digest[:12]

    def is_ready(self) -> bool:
        """Tell whether it has been made."""
        return self.path.is_dir()

    def make(self) -> bool:
        """Make it unless it is there; return whether there was anything to do."""
        if self.is_ready():
            with suppress(PermissionError):  # made by another user of a shared checkout
                self.path.touch()
            return False
        parent = self.path.parent
        parent.mkdir(parents=True, exist_ok=True)
        with _locked(parent / "lock"):
            if self.is_ready():  # another process made it while this one waited
                return False
            for leftover in parent.glob("making-*"):  # of a process that was killed: its lock went with it
                shutil.rmtree(leftover, ignore_errors=True)  # its tools may still be writing: next time, then
            # Not below a temporary folder of the system: a rename is atomic only inside one file system.
            work = Path(tempfile.mkdtemp(prefix="making-", dir=parent))
            try:
                work.chmod(0o755)  # mkdtemp's 0700 would shut out other users of a shared checkout
                self.build(work)
                work.rename(self.path)
            except BaseException:
                shutil.rmtree(work, ignore_errors=True)
                raise
            self._drop_old_ones()
        return True

    def _drop_old_ones(self) -> None:
        """Remove folders of earlier recipes, but not what another interpreter's tests may be using today."""
        for folder in self.path.parent.iterdir():
            if folder.is_dir() and folder != self.path and time.time() - folder.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(folder)

    def size(self) -> int:
        """Return its size on disk in bytes."""
        return sum(file.lstat().st_blocks * 512 for file in self.path.rglob("*"))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock between threads and processes; the kernel frees it if this process is killed."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def call(command: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a tool quietly and return what it printed; raise `PrepareError` with its last words if it fails."""
    try:
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    except OSError as error:
        raise PrepareError(f"{command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise PrepareError(f"{Path(command[0]).name} failed ({done.returncode}): {tail(done.stderr or done.stdout)}")
    return done.stdout


def tail(text: str, lines: int = 20) -> str:
    """Return the last lines of a tool's output: the reason is there, warnings come before it."""
    return "\n".join(text.strip().splitlines()[-lines:]) or "it printed nothing"
