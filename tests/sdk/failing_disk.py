"""A disk that refuses one operation, or all from one on, for tests of what is written whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class Disk:
    """Counts what reaches the disk, and refuses one operation (or, as a dead phone does, all from one on)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails_at: int, *, forever: bool = False) -> None:
        self.log: list[tuple[str, str]] = []
        self.fails_at, self.forever = fails_at, forever
        for module, name in [(os, "fsync"), (os, "rename"), (os, "replace"), (os, "mkdir")]:
            monkeypatch.setattr(module, name, self._counted(name, getattr(module, name)))
        for name in ("open", "unlink", "rmdir"):  # cleaning up fails only on the dead phone
            monkeypatch.setattr(os, name, self._counted(name, getattr(os, name), counts=False))
        real_open = io.open

        def open_file(path: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
            if "x" not in mode:
                return real_open(path, mode, *rest, **options)
            self._step("create", path)
            file = real_open(path, mode, *rest, **options)
            real_write = file.write
            return _Writer(file, self._counted("write", real_write, subject=str(path)))

        monkeypatch.setattr(io, "open", open_file)

    def _counted(
        self, name: str, real: Callable[..., Any], *, subject: str = "", counts: bool = True
    ) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            first = arguments[0]
            self._step(name, subject or (_path(first) if isinstance(first, int) else first), counts=counts)
            return real(*arguments, **options)

        return call

    def _step(self, name: str, subject: object, *, counts: bool = True) -> None:
        if self.forever and len(self.log) > self.fails_at:
            raise OSError(errno.EIO, "the phone is off")
        if counts:
            self.log.append((name, str(subject)))
            if len(self.log) == self.fails_at + 1:
                raise OSError(errno.ENOSPC, "No space left on device")


class _Writer:
    """A file whose ``write`` can fail half-way."""

    def __init__(self, file: Any, write: Callable[[bytes], int]) -> None:
        self._file, self._write = file, write

    def write(self, data: bytes) -> int:
        self._file.write(data[: len(data) // 2])
        self._file.flush()
        self._file.seek(-(len(data) // 2), os.SEEK_CUR)
        return self._write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _path(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


linux = pytest.mark.skipif(sys.platform != "linux", reason="names open files through /proc")
