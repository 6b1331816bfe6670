"""Random identifiers. None of them derives from the user, the device or the clock."""

from __future__ import annotations

import os


def random_id() -> str:
    """A fresh identifier: 128 random bits as 32 lowercase hexadecimal characters."""
    return os.urandom(16).hex()  # what `secrets` does, without what importing it costs at every start of the app


def is_id(value: str) -> bool:
    """Whether ``value`` has the form that :func:`random_id` gives."""
    return len(value) == 32 and all(character in "0123456789abcdef" for character in value)
