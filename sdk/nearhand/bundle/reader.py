"""Slot → opened bundle. A slot was verified when it was made: opening it hashes nothing but the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nearhand.bundle import manifest as manifests
from nearhand.bundle import schema, serving, tables
from nearhand.bundle.durable import storage_errors
from nearhand.bundle.manifest import Manifest
from nearhand.bundle.prepared import (
    Prepared,
    PreparedItems,
    read_prepared,
)
from nearhand.bundle.schema import FORMAT_VERSION, MANIFEST_PATH, FileReference, Golden, Items, semantic_version
from nearhand.bundle.tables import TableGolden, TableModel, parse_table_golden, parse_thresholds, parse_vocabularies
from nearhand.errors import BundleError, BundleFormatError, BundleIntegrityError, BundleVersionError
from nearhand.hashing import sha256
from nearhand.records import dataclass, field

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class BundleFolder:
    """An opened bundle: the files of a slot.

    Attributes:
        digest: sha256 of ``manifest.json``. It names the content, because the manifest holds all other hashes.
        prepared: what was prepared of the documents; None: nothing was, or nothing that this SDK can use.
        unprepared: why what was prepared cannot be used, if it is damaged.
    """

    folder: Path
    manifest: Manifest
    digest: str
    prepared: Prepared | None = field(default=None, compare=False, repr=False)
    unprepared: BundleError | None = field(default=None, compare=False, repr=False)

    def path(self, reference: FileReference) -> Path:
        """Where a file that the manifest names is."""
        return self.folder / reference.path

    def items(self) -> Items:
        """The catalogue.

        Raises:
            UsageError: the bundle makes no recommendations.
            BundleFormatError: it is outside the schema, or not of the length that the manifest says.
            StorageError: the file cannot be read.
        """
        reference = self.manifest.retrieval.items
        if self.prepared is not None:
            return PreparedItems(self.prepared)
        return parse_items(self.manifest, self._read(reference.file), place=reference.file.path)

    def golden(self) -> Golden:
        """The golden vectors of the retrieval.

        Raises:
            UsageError: the bundle makes no recommendations.
            BundleFormatError: they are outside the schema, or not as many as the manifest says.
            StorageError: the file cannot be read.
        """
        reference = self.manifest.retrieval.golden
        return parse_golden(self.manifest, self._read(reference.file), place=reference.file.path)

    def table_golden(self, model: TableModel) -> TableGolden:
        """The golden vectors of a ranker or a predictor of this bundle.

        Raises:
            BundleFormatError: they are outside the schema, or do not fit the model.
            StorageError: the file cannot be read.
        """
        reference = model.golden.file
        return parse_table_golden(model, self._read(reference), place=reference.path)

    def vocabularies(self) -> dict[str, tuple[str, ...]]:
        """Name → texts, in the order of their codes; empty if the bundle has none.

        Raises:
            BundleFormatError: they are outside the schema, or not of the lengths that the manifest says.
            StorageError: the file cannot be read.
        """
        reference = self.manifest.vocabularies
        if reference is None:
            return {}
        return parse_vocabularies(reference, self._read(reference.file), place=reference.file.path)

    def thresholds(self, model: TableModel) -> tuple[NDArray[np.float64], ...]:
        """For each number column of a model with the encoding ``ranks``: its thresholds, ascending float64; else empty.

        Raises:
            BundleFormatError: they are not ascending numbers.
            StorageError: the file cannot be read.
        """
        if model.ranks is None:
            return ()
        return parse_thresholds(model.ranks, self._read(model.ranks.file), place=model.ranks.file.path)

    def _read(self, reference: FileReference) -> bytes:
        with storage_errors(reference.path):
            return self.path(reference).read_bytes()


def open_slot(folder: Path, sdk_version: str) -> BundleFolder:
    """Open an unpacked bundle. Files are looked for, not hashed: the slot was verified when it was written.

    Raises:
        BundleVersionError: the slot needs another SDK than this one.
        BundleFormatError: its manifest is outside the schema.
        BundleIntegrityError: a file is missing or of another size.
        StorageError: the slot cannot be read.
    """
    with storage_errors(folder.name):
        try:
            data = (folder / MANIFEST_PATH).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            problem = "there is no bundle in this folder"
            raise BundleIntegrityError(problem, place=str(folder), remedy="install the bundle again") from None
        place = f"{folder.name}: {MANIFEST_PATH}"
        digest = sha256(data).hexdigest()
        manifest, prepared, unprepared = None, None, None
        try:
            prepared = read_prepared(folder, digest)
            if prepared is not None:
                manifest = prepared.document("manifest", (schema, tables, serving, manifests))
        except BundleIntegrityError as error:
            prepared, unprepared = None, error
        if manifest is None:
            manifest = decode_manifest(data, sdk_version, place)
        else:
            _check_versions({"format": manifest.format, "min_sdk": manifest.min_sdk}, sdk_version, place)
        files = {path: folder / path for path in _by_path(manifest, place)}
        sizes = {path: file.stat().st_size for path, file in files.items() if file.is_file()}
    check_sizes(manifest, sizes, folder.name)
    return BundleFolder(folder, manifest, digest, prepared, unprepared)


def parse_items(manifest: Manifest, data: bytes, *, place: str) -> Items:
    """The catalogue from its file's bytes.

    Raises:
        BundleFormatError: it is outside the schema, or not of the length that the manifest says.
    """
    from nearhand.bundle.document import parse  # a prepared catalogue is not parsed again

    items = parse(Items, data, place=place)
    _check_count(len(items.item_ids), manifest.retrieval.items.count, "items", place)
    return items


def parse_golden(manifest: Manifest, data: bytes, *, place: str) -> Golden:
    """The golden vectors from their file's bytes.

    Raises:
        BundleFormatError: they are outside the schema, name an item that is not there, or are not as many as the
            manifest says.
    """
    from nearhand.bundle.document import parse  # once for each bundle, not at each start

    golden = parse(Golden, data, place=place)
    retrieval = manifest.retrieval
    _check_count(len(golden.cases), retrieval.golden.count, "golden cases", place)
    for index, case in enumerate(golden.cases):
        for row in (*case.rows, *(row for rows in case.expected.values() for row in rows)):
            if not 0 <= row < retrieval.items.count:
                raise BundleFormatError(f"names item row {row}, which is not there", place=f"{place}: cases[{index}]")
    return golden


# --- decisions -------------------------------------------------------------------------------------------------------


def decode_manifest(data: bytes, sdk_version: str, place: str) -> Manifest:
    """The manifest from its file's bytes.

    Raises:
        BundleVersionError, BundleFormatError, BundlePathError: see :func:`nearhand.bundle.read_manifest`.
    """
    from nearhand.bundle.document import decode, load  # a prepared bundle's is not parsed again
    from nearhand.bundle.limits import check_names  # as above

    content = load(data, place=place)
    _check_versions(content, sdk_version, place)
    manifest: Manifest = decode(Manifest, content, place=f"{place}: ")
    check_names([MANIFEST_PATH, *_by_path(manifest, place)], place=place)
    return manifest


def _check_versions(content: Any, sdk_version: str, place: str) -> None:
    """Whether this SDK may read the document at all. A value of the wrong type is left to the schema to refuse."""
    if not isinstance(content, dict):
        return
    found = content.get("format")
    if type(found) is int and found != FORMAT_VERSION:
        problem = f"is {str(found)[:20]}, and this SDK reads format {FORMAT_VERSION}"
        remedy = "use the SDK that the bundle was built for, or build the bundle again"
        raise BundleVersionError(problem, place=f"{place}: format", remedy=remedy)
    try:
        needed = semantic_version(content["min_sdk"])
    except (KeyError, TypeError, ValueError):
        return
    if needed > semantic_version(sdk_version):
        problem = f"is {content['min_sdk'][:40]}, and this is nearhand {sdk_version}"
        raise BundleVersionError(problem, place=f"{place}: min_sdk", remedy="update nearhand in the app")


def _by_path(manifest: Manifest, place: str) -> dict[str, FileReference]:
    """The files of a bundle but its manifest. Two variants may share a file if they say the same of it."""
    files: dict[str, FileReference] = {}
    for reference in manifest.files():
        known = files.setdefault(reference.path, reference)
        if (known is not reference and known != reference) or reference.path == MANIFEST_PATH:
            problem = f"{reference.path[:80]!r} is described in two ways"
            raise BundleFormatError(problem, place=place, remedy="build the bundle again with `nearhand convert`")
    return files


def check_sizes(manifest: Manifest, sizes: Mapping[str, int], place: str) -> None:
    """Whether files of these names and sizes are those of a manifest, beside it.

    Raises:
        BundleIntegrityError: one is missing, extra or of another size.
    """
    files = _by_path(manifest, f"{place}: {MANIFEST_PATH}")
    for path in sorted(files.keys() | sizes.keys()):
        if path not in sizes:
            problem = "is missing"
        elif path not in files:
            problem = "is not in the manifest"
        elif sizes[path] != files[path].bytes:
            problem = f"has {sizes[path]} bytes, not the {files[path].bytes} of the manifest"
        else:
            continue
        from nearhand.bundle.limits import FETCH_AGAIN  # as a rule all is well

        raise BundleIntegrityError(problem, place=f"{place}: {path}", remedy=FETCH_AGAIN)


def _check_count(found: int, expected: int, what: str, place: str) -> None:
    if found != expected:
        problem = f"holds {found} {what}, and the manifest says {expected}"
        raise BundleFormatError(problem, place=place, remedy="build the bundle again with `nearhand convert`")
