"""What those say of fields who describe documents; to read one takes :mod:`nearhand.bundle.document`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any, TypeAlias

Number: TypeAlias = Annotated[Decimal, "a JSON number too"]
"""A decimal of a document that people write: ``0.5`` as well as ``"0.5"``, within ± 10¹⁵ and 40 characters. It is
written back as a string.
"""


class FieldError(ValueError):
    """An invariant of a dataclass that one of its fields breaks, for ``__post_init__`` to raise.

    Args:
        field: its name, or a path from it, such as ``boundaries[1]``; "" for the dataclass itself.
    """

    def __init__(self, field: str, problem: str, remedy: str) -> None:
        super().__init__(f"{field} {problem}".lstrip())
        self.field = field
        self.problem = problem
        self.remedy = remedy


def join(place: str, key: str) -> str:
    """The place of an object's entry: ``place.key``, in one line whatever the key is."""
    name = key if key.isascii() and key.isidentifier() else json.dumps(key)
    return f"{dotted(place)}{name[:80]}"


def nearest(word: Any, words: Iterable[str]) -> str:
    """A remedy for a word that is none of ``words``: the one it is most likely a slip of, or all of them."""
    import difflib  # for messages only

    words = list(words)
    short = isinstance(word, str) and len(word) <= 100  # the search takes seconds for megabytes
    near = difflib.get_close_matches(word, words, n=1) if short else []
    return f"did you mean {near[0]!r}?" if near else f"use one of {listed(words)}"


def listed(words: Iterable[str]) -> str:
    """Words for a message, as many as fit into it."""
    import textwrap

    return textwrap.shorten(", ".join(words), 320, placeholder=" …")


def dotted(place: str) -> str:
    """What stands before an entry's name."""
    return place if place.endswith(": ") else f"{place}."
