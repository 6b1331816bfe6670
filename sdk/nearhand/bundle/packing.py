"""What a slot's documents come to as the bytes of :mod:`nearhand.bundle.prepared`."""

from __future__ import annotations

import json
from binascii import crc32
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from nearhand.bundle.prepared import LENGTH, MAGIC, START, gap
from nearhand.bundle.schema import Items, NumberColumn
from nearhand.records import parts
from nearhand.version import __version__

_TEXTS = ("item_ids", "titles", "directors")
_NUMBERS: tuple[NumberColumn, ...] = ("years", "popularity", "min_ages", "added_at")


def pack(digest: str, sections: Mapping[str, bytes]) -> bytes:
    """The file's bytes. Same sections, same bytes."""
    lengths = [[name, len(section)] for name, section in sections.items()]
    head = json.dumps({"sdk": __version__, "bundle": digest, "sections": lengths}).encode()
    rest = LENGTH.pack(len(head)) + b"".join(_padded(each) for each in (head, *sections.values()))
    return START.pack(MAGIC, crc32(rest)) + rest


def pack_items(items: Items) -> dict[str, bytes]:
    """A catalogue as sections, for :class:`PreparedItems`."""
    distinct, places = items.grouped_genres
    titles = pack_texts(items.titles)
    lengths = [1 + len(title.encode()) for title in items.titles] if titles.startswith(b"\n") else []
    return {
        **{f"items.{name}": pack_texts(getattr(items, name)) for name in _TEXTS},
        **{f"items.{name}": items.numbers(name).astype("<i8").tobytes() for name in _NUMBERS},
        "items.titles.ends": np.cumsum(lengths, dtype="<i8").tobytes(),
        "items.genres": json.dumps(distinct).encode(),
        "items.genres.places": places.astype("<i8").tobytes(),
    }


def pack_texts(texts: tuple[str, ...]) -> bytes:
    """Texts as a section: lines, which are read in a third of the time of JSON, unless one of them is more than one."""
    lines = "\n".join(("", *texts))
    return (lines if texts and lines.count("\n") == len(texts) else json.dumps(texts)).encode()


def pack_document(document: Any) -> bytes:
    """A tree of dataclasses, tuples, mappings, decimals and scalars as a section.

    A dataclass is a list of its name and its fields' values, a tuple one that begins with ``()``, a decimal one that
    begins with ``.``; a tuple of scalars begins with ``[]``.
    """
    fields: dict[str, list[str]] = {}

    def plain(value: Any) -> Any:
        if value is None or isinstance(value, (str, int)):
            return value
        if isinstance(value, Decimal):
            return [".", str(value)]
        if isinstance(value, tuple):
            found = [plain(each) for each in value]
            return ["()" if any(isinstance(each, (list, dict)) for each in found) else "[]", *found]
        if isinstance(value, Mapping):
            return {key: plain(each) for key, each in value.items()}
        kind = type(value)
        names = fields.setdefault(kind.__name__, list(parts(kind)))
        return [kind.__name__, *(plain(getattr(value, name)) for name in names)]

    content = plain(document)
    return json.dumps({"fields": fields, "value": content}, separators=(",", ":")).encode()


def _padded(section: bytes) -> bytes:
    return section + bytes(gap(len(section)))
