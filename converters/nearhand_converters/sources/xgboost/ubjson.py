"""Universal Binary JSON, as XGBoost writes its ``.ubj`` files: every claimed size is checked before it is believed."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

_NUMBERS = {"U": ">B", "i": ">b", "I": ">h", "l": ">i", "L": ">q", "d": ">f", "D": ">d"}
"""Formats of struct, and of NumPy."""
_WORDS = {"Z": None, "N": None, "T": True, "F": False}
_DEEPEST = 64


def decode(data: bytes) -> Any:
    """The value that the bytes hold: dict, list, NumPy array (of a typed array), str, int, float, bool or None.

    Raises:
        ValueError: the bytes are not one such value, or they claim more than there is.
    """
    reader = _Reader(data)
    value = reader.value(reader.marker(), 0)
    if reader.place != len(data):
        raise ValueError(f"{len(data) - reader.place} bytes follow the end")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def marker(self) -> str:
        return self.take(1).decode("latin-1")

    def take(self, size: int) -> bytes:
        if not 0 <= size <= len(self.data) - self.place:
            raise ValueError(f"{size} bytes are claimed at byte {self.place}, of {len(self.data)}")
        self.place += size
        return self.data[self.place - size : self.place]

    def value(self, marker: str, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError(f"values are nested more than {_DEEPEST} deep")
        if marker in _NUMBERS:
            return self.number(marker)
        if marker in _WORDS:
            return _WORDS[marker]
        if marker == "S":
            return self.text()
        if marker == "C":
            return self.marker()
        if marker == "[":
            return self.array(depth)
        if marker == "{":
            return self.table(depth)
        raise ValueError(f"there is no value at byte {self.place - 1}")

    def number(self, marker: str) -> int | float:
        code = _NUMBERS[marker]
        found: int | float = struct.unpack(code, self.take(struct.calcsize(code)))[0]
        return found

    def size(self) -> int:
        marker = self.marker()
        if marker not in "UiIlL":
            raise ValueError(f"there is no size at byte {self.place - 1}")
        return int(self.number(marker))

    def text(self) -> str:
        return self.take(self.size()).decode()

    def array(self, depth: int) -> Any:
        kind, count = self.head()
        if kind:
            if kind not in _NUMBERS:
                raise ValueError(f"an array of {kind!r} ends at byte {self.place}")
            dtype = np.dtype(_NUMBERS[kind])
            return np.frombuffer(self.take(count * dtype.itemsize), dtype).astype(dtype.newbyteorder("="))
        if count >= 0:
            return [self.value(self.marker(), depth + 1) for _ in range(self.checked(count))]
        found = []
        while (marker := self.marker()) != "]":
            found.append(self.value(marker, depth + 1))
        return found

    def table(self, depth: int) -> dict[str, Any]:
        kind, count = self.head()
        if kind:
            raise ValueError(f"an object of {kind!r} ends at byte {self.place}")
        found: dict[str, Any] = {}
        if count >= 0:
            for _ in range(self.checked(count)):
                key = self.text()
                found[key] = self.value(self.marker(), depth + 1)
            return found
        while self.data[self.place : self.place + 1] != b"}":
            key = self.text()
            found[key] = self.value(self.marker(), depth + 1)
        self.place += 1
        return found

    def head(self) -> tuple[str, int]:
        """The common type of the values that follow, "" for none, and how many they are, −1 if an end says it."""
        kind, count = "", -1
        if self.data[self.place : self.place + 1] == b"$":
            self.place += 1
            kind = self.marker()
        if self.data[self.place : self.place + 1] == b"#":
            self.place += 1
            count = self.size()
            if count < 0:
                raise ValueError(f"a negative size ends at byte {self.place}")
        if kind and count < 0:
            raise ValueError(f"a type without a size ends at byte {self.place}")
        return kind, count

    def checked(self, count: int) -> int:
        """A number of values that can follow: each takes a byte at least."""
        if count > len(self.data) - self.place:
            raise ValueError(f"{count} values are claimed at byte {self.place}, of {len(self.data)}")
        return count
