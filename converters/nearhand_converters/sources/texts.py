"""The texts of categories and classes, whatever their type was in training."""

from __future__ import annotations

from typing import Any

import numpy as np

from nearhand_converters.errors import UnsupportedModelError

UNSEEN = "\0unseen"
"""A category that no model knows."""


def text_of(value: Any, place: str) -> str:
    """A category or a class as text; a whole number has no decimal point, so 3.0 is ``3``.

    Raises:
        UnsupportedModelError: it is neither a text nor a number.
    """
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, float) and plain.is_integer():
        plain = int(plain)
    if not isinstance(plain, (str, int, float)):
        raise UnsupportedModelError(
            f"{plain!r} is a {type(plain).__name__}, neither a text nor a number",
            code="category-type",
            place=place,
            remedy="train on texts or numbers",
        )
    return str(plain)
