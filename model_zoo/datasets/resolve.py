"""Finds the best film data at hand: named folder, cache, official download, built-in sample, in this order."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import shutil
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from model_zoo.datasets import movielens
from model_zoo.datasets.sample import sample_dataset
from nearhand_converters.data import Dataset
from nearhand_converters.errors import DataError

_NEEDED = ("movies.csv", "ratings.csv")
_KEPT = (*_NEEDED, "README.txt")  # the licence in README.txt asks to travel with the data
_MEMBER_LIMIT_BYTES = 64 * 1024 * 1024
_STALL_SECONDS = 10.0
_TOTAL_SECONDS = 120.0


@dataclass(frozen=True)
class Archive:
    """A ZIP file on the network, and what its bytes must be."""

    url: str
    sha256: str
    limit_bytes: int


OFFICIAL = Archive(
    url="https://files.grouplens.org/datasets/movielens/ml-latest-small.zip",
    sha256="696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
    limit_bytes=8 * 1024 * 1024,  # about eight times its size
)


class Downloader(Protocol):
    """Fetches a URL into memory."""

    def __call__(self, url: str, limit_bytes: int) -> bytes:
        """The whole body.

        Raises:
            OSError: it could not be had (no network, refused, timeout, status other than 200, cut short).
            DataError: it is larger than ``limit_bytes``.
        """
        ...


def find_dataset(
    *,
    users: int = 2000,
    offline: bool = False,
    progress: Callable[[str], None] = lambda line: None,
    download: Downloader | None = None,
    archive: Archive = OFFICIAL,
    environ: Mapping[str, str] = os.environ,
) -> Dataset:
    """MovieLens ml-latest-small if it can be had, else the built-in sample; ``origin`` says which, and why.

    Looks in ``$NEARHAND_DATA/ml-latest-small``, in the user's cache (``$XDG_CACHE_HOME`` or ``~/.cache``), then on the
    network, whose answer is kept in the cache.

    Args:
        users: how many viewers the built-in sample has, if it comes to that.
        offline: do not use the network.
        progress: is given one line before anything slow.
        download: how to fetch; by default over HTTP.
        archive: what to fetch.
        environ: where the variables are read.

    Raises:
        DataError: the download is not the official file, or a file found is malformed. Neither is passed over in
            silence: the first may be an attack, the second is a folder that somebody asked for.
    """
    reasons = []
    named = environ.get("NEARHAND_DATA")
    if named:
        folder = Path(named) / movielens.NAME
        if _is_complete(folder):
            return replace(movielens.movielens_dataset(folder), origin=f"NEARHAND_DATA ({folder})")
        reasons.append(f"NEARHAND_DATA is {named}, which has no {movielens.NAME} with {' and '.join(_NEEDED)}")
    else:
        reasons.append("no NEARHAND_DATA")
    cache = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nearhand" / "datasets" / movielens.NAME
    origin = f"cache ({cache})"
    if not _is_complete(cache):
        if offline:
            return _sample(users, ["no network wanted", *reasons])
        try:
            progress(f"downloading {archive.url}")
            fetch = download or fetch_over_http
            _unpack(_checked(fetch(archive.url, archive.limit_bytes), archive), cache, archive)
        except OSError as error:
            return _sample(users, [f"no network ({' '.join(str(error).split())})", *reasons])
        origin = f"official download ({archive.url}), kept in {cache}"
    if named:
        origin += f"; {reasons[0]}"
    return replace(movielens.movielens_dataset(cache), origin=origin)


def fetch_over_http(url: str, limit_bytes: int) -> bytes:
    """A `Downloader` that gives up after ten seconds of silence, or two minutes in all."""
    deadline = time.monotonic() + _TOTAL_SECONDS
    parts: list[bytes] = []
    size = 0
    try:
        with urllib.request.urlopen(url, timeout=_STALL_SECONDS) as response:
            announced = response.headers.get("Content-Length")
            while part := response.read1(64 * 1024):
                parts.append(part)
                size += len(part)
                if size > limit_bytes:
                    problem = f"the download is larger than {limit_bytes} bytes"
                    raise DataError(problem, place=url, remedy="check the address, or set NEARHAND_DATA to a folder")
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not finished after {_TOTAL_SECONDS:.0f} seconds")
    except http.client.HTTPException as error:
        raise ConnectionError(f"broken answer: {error!r}") from error
    if announced is not None and size != int(announced):
        # Reading in parts does not notice a connection that closes early.
        raise ConnectionError(f"the answer ended after {size} of {announced} bytes")
    return b"".join(parts)


def _sample(users: int, reasons: list[str]) -> Dataset:
    return replace(sample_dataset(users), origin=f"built-in sample (simulated): {'; '.join(reasons)}")


def _is_complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in _NEEDED)


def _checked(content: bytes, archive: Archive) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    if digest != archive.sha256:
        problem = f"the download's sha256 is {digest}, not {archive.sha256}"
        remedy = "try again from another network; if it stays, set NEARHAND_DATA to a folder that you trust"
        raise DataError(problem, place=archive.url, remedy=remedy)
    return content


def _unpack(content: bytes, folder: Path, archive: Archive) -> None:
    """Puts the kept members into ``folder``, which appears complete or not at all. ``content`` has been checked."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archived:
            for name in _KEPT:
                member = archived.getinfo(f"{movielens.NAME}/{name}")
                if member.file_size > _MEMBER_LIMIT_BYTES:
                    raise zipfile.BadZipFile(f"{name} is too large")
                with (partial / name).open("wb") as file:
                    file.write(archived.read(member))
                    file.flush()
                    os.fsync(file.fileno())
        partial.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)  # it was incomplete
        try:
            partial.rename(folder)
        except OSError:
            if not _is_complete(folder):  # otherwise another process has just done the same
                raise
    except (zipfile.BadZipFile, KeyError) as error:
        problem = f"the download is not the expected archive: {error}"
        raise DataError(problem, place=archive.url, remedy="set NEARHAND_DATA to a folder with the files") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
