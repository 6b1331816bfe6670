"""The bundle: its schema, its transport form and its unpacked form."""

from nearhand.bundle.archive import Archive, Limits, write_archive
from nearhand.bundle.document import parse, serialize
from nearhand.bundle.manifest import Manifest
from nearhand.bundle.reader import BundleFolder, install_bundle, open_slot, read_manifest, verify_bundle
from nearhand.bundle.schema import Golden, Items

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
    "read_manifest",
    "serialize",
    "verify_bundle",
    "write_archive",
]
