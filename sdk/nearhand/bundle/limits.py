"""What a bundle may be at most, and what its files may be called."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from nearhand.errors import BundlePathError, UsageError
from nearhand.records import dataclass

FETCH_AGAIN = "download or copy the bundle again"

# A segment may not end in a dot, nor be a device name: Windows would drop the one and open the other.
_DEVICE = r"(?!(?i:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|/|\Z))"
_SEGMENT = rf"{_DEVICE}[A-Za-z0-9._-]*[A-Za-z0-9_-]"
_NAME = rf"{_SEGMENT}(?:/{_SEGMENT})*"


@dataclass(frozen=True)
class Limits:
    """What a bundle may be at most. The defaults suit a phone.

    Attributes:
        total_bytes: size of the whole file; below 4 GiB, where ZIP would need its 64-bit form.
        entry_bytes: size of one entry.
        manifest_bytes: size of ``manifest.json``, which is read into memory before anything about it is known.
        entries: number of entries; below 65 535 for the same reason.
        name_length: characters of an entry's name.
    """

    total_bytes: int = 1 << 30
    entry_bytes: int = 512 << 20
    manifest_bytes: int = 4 << 20
    entries: int = 10_000
    name_length: int = 200

    def __post_init__(self) -> None:
        for field, ceiling in (("total_bytes", 2**32 - 2), ("entries", 2**16 - 2), ("name_length", 2**16 - 1)):
            if getattr(self, field) > ceiling:
                raise UsageError(
                    f"{getattr(self, field)} is over {ceiling}",
                    place=f"Limits.{field}",
                    remedy="choose a smaller limit",
                )


DEFAULT_LIMITS = Limits()


def check_names(names: Collection[str], *, place: str) -> None:
    """Whether files of these names can be unpacked into one folder, on any file system, without leaving it.

    Raises:
        BundlePathError: a name is absolute, has a segment that is empty, ``..`` or not plain, or two names collide.
    """
    folded: set[str] = set()
    for name in names:
        if not re.fullmatch(_NAME, name):
            raise BundlePathError(
                f"{name[:80]!r} is not an allowed name",
                place=place,
                remedy="use segments of A-Z a-z 0-9 . _ - joined by single '/'",
            )
        if name.lower() in folded:
            raise BundlePathError(f"{name!r} collides with a name that differs in case only", place=place)
        folded.add(name.lower())
    for name in names:
        if parent := next((parent for parent in _parents(name.lower()) if parent in folded), None):
            raise BundlePathError(f"{name!r} needs {parent!r} to be a folder, and it is a file", place=place)


def _parents(name: str) -> Iterator[str]:
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name
