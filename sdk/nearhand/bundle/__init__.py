"""The bundle: its schema, its transport form and its unpacked form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nearhand.bundle.manifest import Manifest
from nearhand.bundle.reader import BundleFolder, open_slot
from nearhand.bundle.schema import Golden, Items
from nearhand.lazily import lazily

if TYPE_CHECKING:
    from nearhand.bundle.archive import Archive, write_archive
    from nearhand.bundle.document import parse, serialize
    from nearhand.bundle.installing import install_bundle, prepare, read_manifest, verify_bundle
    from nearhand.bundle.limits import Limits
else:
    __getattr__ = lazily(
        __name__,
        {
            "archive": ["Archive", "write_archive"],
            "document": ["parse", "serialize"],
            "installing": ["install_bundle", "prepare", "read_manifest", "verify_bundle"],
            "limits": ["Limits"],
        },
    )

__all__ = [
    "Archive",
    "BundleFolder",
    "Golden",
    "Items",
    "Limits",
    "Manifest",
    "install_bundle",
    "open_slot",
    "parse",
    "prepare",
    "read_manifest",
    "serialize",
    "verify_bundle",
    "write_archive",
]
