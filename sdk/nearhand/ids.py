"""Random identifiers. None of them derives from the user, the device or the clock."""

from __future__ import annotations

import secrets


def random_id() -> str:
    """A fresh identifier: 128 random bits as 32 lowercase hexadecimal characters."""
    return secrets.token_hex(16)


def is_id(value: str) -> bool:
    """Whether ``value`` has the form that :func:`random_id` gives."""
    return len(value) == 32 and all(character in "0123456789abcdef" for character in value)
