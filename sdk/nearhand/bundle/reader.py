"""Bundle → checked manifest → slot: nothing of a bundle is used before all of it was verified, and that happens once.

A slot is a folder ``slots/<digest>`` that holds a bundle's files. It gets that name by one rename after everything in
it was verified and is on the disk, so a slot that exists is complete and opening it hashes nothing but the manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearhand.bundle import manifest as manifests
from nearhand.bundle import schema, serving, tables
from nearhand.bundle.document import decode, load, parse
from nearhand.bundle.durable import storage_errors, sync_file, sync_folder
from nearhand.bundle.limits import DEFAULT_LIMITS, FETCH_AGAIN, Limits, check_names
from nearhand.bundle.manifest import Manifest
from nearhand.bundle.prepared import (
    PREPARED_PATH,
    Prepared,
    PreparedItems,
    pack,
    pack_document,
    pack_items,
    read_prepared,
)
from nearhand.bundle.schema import FORMAT_VERSION, MANIFEST_PATH, FileReference, Golden, Items, semantic_version
from nearhand.bundle.tables import TableGolden, TableModel, parse_table_golden, parse_thresholds, parse_vocabularies
from nearhand.errors import BundleError, BundleFormatError, BundleIntegrityError, BundleVersionError
from nearhand.hashing import sha256
from nearhand.ids import random_id
from nearhand.records import dataclass

if TYPE_CHECKING:
    from nearhand.bundle.archive import Archive


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

    def thresholds(self, model: TableModel) -> tuple[tuple[float, ...], ...]:
        """For each number column of a model with the encoding ``ranks``: its thresholds, ascending; else empty.

        Raises:
            BundleFormatError: they are not ascending numbers.
            StorageError: the file cannot be read.
        """
        if model.ranks is None:
            return ()
        return parse_thresholds(model.ranks, self._read(model.ranks.file), place=model.ranks.file.path)

    def prepare(self, items: Items | None, sections: Mapping[str, bytes]) -> None:
        """Keep in the slot what its documents come to, so that opening it again takes less time.

        Args:
            items: the catalogue; None: there is none.
            sections: what is to be kept beside the catalogue and the manifest.

        Raises:
            StorageError: the slot cannot be written; it is as it was.
        """
        every = {"manifest": pack_document(self.manifest), **({} if items is None else pack_items(items)), **sections}
        incoming = self.folder.parent / f"{_INCOMING}{random_id()}"
        with storage_errors(f"{self.folder.name}: {PREPARED_PATH}"):
            incoming.mkdir(mode=0o700)
            try:
                with (incoming / PREPARED_PATH).open("xb") as file:
                    file.write(pack(self.digest, every))
                    sync_file(file)
                (incoming / PREPARED_PATH).replace(self.folder / PREPARED_PATH)
            finally:
                _remove(incoming)

    def _read(self, reference: FileReference) -> bytes:
        with storage_errors(reference.path):
            return self.path(reference).read_bytes()


def read_manifest(archive: Archive, sdk_version: str) -> Manifest:
    """The manifest of an archive whose files are those that it names. Hashes are not computed.

    Args:
        sdk_version: the version of ``nearhand`` that reads, ``MAJOR.MINOR.PATCH``.

    Raises:
        BundleVersionError: the format is unknown, or a newer SDK is needed; decided before the schema is looked at.
        BundleFormatError: the manifest is outside the schema, or describes one file in two ways.
        BundlePathError: the manifest names a file that could leave its folder.
        BundleIntegrityError: a file is missing, extra or of another size.
        StorageError: the file cannot be read.
    """
    return _parse_manifest(archive, archive.read(MANIFEST_PATH), sdk_version)


def verify_bundle(path: Path, *, sdk_version: str, limits: Limits = DEFAULT_LIMITS) -> Manifest:
    """Check all of a bundle, the hash of each file included. Writes nothing.

    Raises:
        BundleError: the bundle is refused; the subclass says why.
        StorageError: the file cannot be read.
    """
    from nearhand.bundle.archive import Archive  # where a slot is opened nothing is unpacked

    with Archive.open(path, limits) as archive:
        manifest = read_manifest(archive, sdk_version)
        for reference in _unique(manifest.files()):
            for _ in _hashed(archive, reference):
                pass
        _check_documents(archive, manifest)
    return manifest


def install_bundle(path: Path, slots: Path, *, sdk_version: str, limits: Limits = DEFAULT_LIMITS) -> BundleFolder:
    """Verify a bundle and unpack it into its slot, or open the slot if the bundle was installed before.

    After a refusal, an error or the loss of power ``slots`` holds the whole bundle or nothing of it. Any number of
    processes may install at once.

    Args:
        slots: the folder of all slots; created if need be.

    Raises:
        BundleError: the bundle is refused; the subclass says why.
        StorageError: the bundle cannot be read, or the slot cannot be written.
    """
    from nearhand.bundle.archive import Archive  # where a slot is opened nothing is unpacked

    with Archive.open(path, limits) as archive:
        data = archive.read(MANIFEST_PATH)
        manifest = _parse_manifest(archive, data, sdk_version)
        slot = slots / sha256(data).hexdigest()
        if installed := _open_complete(slot, sdk_version):
            return installed
        with storage_errors(slots.name):
            if not slots.is_dir():
                slots.mkdir(parents=True, exist_ok=True)
                sync_folder(slots.parent)
            incoming = slots / f"{_INCOMING}{random_id()}"
            incoming.mkdir(mode=0o700)
            try:
                _remove_stale(slots, incoming)
                _unpack(archive, manifest, data, incoming)
                _check_documents(archive, manifest)
                _move(incoming, slot, sdk_version)
            finally:
                _remove(incoming)
            sync_folder(slots)
    return BundleFolder(slot, manifest, slot.name)


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
            manifest = _decode_manifest(data, sdk_version, place)
        else:
            _check_versions({"format": manifest.format, "min_sdk": manifest.min_sdk}, sdk_version, place)
        files = {path: folder / path for path in _by_path(manifest, place)}
        sizes = {path: file.stat().st_size for path, file in files.items() if file.is_file()}
    _check_sizes(manifest, sizes, folder.name)
    return BundleFolder(folder, manifest, digest, prepared, unprepared)


def parse_items(manifest: Manifest, data: bytes, *, place: str) -> Items:
    """The catalogue from its file's bytes.

    Raises:
        BundleFormatError: it is outside the schema, or not of the length that the manifest says.
    """
    items = parse(Items, data, place=place)
    _check_count(len(items.item_ids), manifest.retrieval.items.count, "items", place)
    return items


def parse_golden(manifest: Manifest, data: bytes, *, place: str) -> Golden:
    """The golden vectors from their file's bytes.

    Raises:
        BundleFormatError: they are outside the schema, name an item that is not there, or are not as many as the
            manifest says.
    """
    golden = parse(Golden, data, place=place)
    retrieval = manifest.retrieval
    _check_count(len(golden.cases), retrieval.golden.count, "golden cases", place)
    for index, case in enumerate(golden.cases):
        for row in (*case.rows, *(row for rows in case.expected.values() for row in rows)):
            if not 0 <= row < retrieval.items.count:
                raise BundleFormatError(f"names item row {row}, which is not there", place=f"{place}: cases[{index}]")
    return golden


# --- decisions -------------------------------------------------------------------------------------------------------


def _parse_manifest(archive: Archive, data: bytes, sdk_version: str) -> Manifest:
    manifest = _decode_manifest(data, sdk_version, f"{archive.name}: {MANIFEST_PATH}")
    sizes = {entry.name: entry.bytes for entry in archive.entries.values() if entry.name != MANIFEST_PATH}
    _check_sizes(manifest, sizes, archive.name)
    return manifest


def _decode_manifest(data: bytes, sdk_version: str, place: str) -> Manifest:
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


def _check_sizes(manifest: Manifest, sizes: Mapping[str, int], place: str) -> None:
    files = _by_path(manifest, f"{place}: {MANIFEST_PATH}")
    for path in sorted(files.keys() | sizes.keys()):
        if path not in sizes:
            raise BundleIntegrityError("is missing", place=f"{place}: {path}", remedy=FETCH_AGAIN)
        if path not in files:
            raise BundleIntegrityError("is not in the manifest", place=f"{place}: {path}", remedy=FETCH_AGAIN)
        if sizes[path] != files[path].bytes:
            problem = f"has {sizes[path]} bytes, not the {files[path].bytes} of the manifest"
            raise BundleIntegrityError(problem, place=f"{place}: {path}", remedy=FETCH_AGAIN)


def _check_count(found: int, expected: int, what: str, place: str) -> None:
    if found != expected:
        problem = f"holds {found} {what}, and the manifest says {expected}"
        raise BundleFormatError(problem, place=place, remedy="build the bundle again with `nearhand convert`")


# --- files -----------------------------------------------------------------------------------------------------------

_INCOMING = ".incoming-"
_STALE_SECONDS = 3600


def _hashed(archive: Archive, reference: FileReference) -> Iterator[bytes]:
    """The contents of a file, which raise at the end unless they have the hash that the manifest gives."""
    digest = sha256()
    for chunk in archive.stream(reference.path):
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != reference.sha256:
        problem = "contents differ from the sha256 of the manifest"
        raise BundleIntegrityError(problem, place=f"{archive.name}: {reference.path}", remedy=FETCH_AGAIN)


def _check_documents(archive: Archive, manifest: Manifest) -> None:
    """Whether the documents are what the manifest says, beyond their hash."""

    def check(parser: Callable[..., object], subject: object, reference: FileReference) -> None:
        parser(subject, archive.read(reference.path), place=f"{archive.name}: {reference.path}")

    for model in manifest.table_models:
        check(parse_table_golden, model, model.golden.file)
        if model.ranks is not None:
            check(parse_thresholds, model.ranks, model.ranks.file)
    if manifest.vocabularies is not None:
        check(parse_vocabularies, manifest.vocabularies, manifest.vocabularies.file)
    if manifest.items is not None:
        check(parse_items, manifest, manifest.retrieval.items.file)
        check(parse_golden, manifest, manifest.retrieval.golden.file)


def _unique(references: Iterable[FileReference]) -> Iterator[FileReference]:
    return iter(dict.fromkeys(references))


def _unpack(archive: Archive, manifest: Manifest, manifest_bytes: bytes, folder: Path) -> None:
    """Write and sync all files of the archive, the manifest from the very bytes that were checked."""
    contents = {reference.path: _hashed(archive, reference) for reference in _unique(manifest.files())}
    for name, chunks in {MANIFEST_PATH: iter([manifest_bytes]), **contents}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
            sync_file(file)
    for inner in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        sync_folder(inner)


def _open_complete(slot: Path, sdk_version: str) -> BundleFolder | None:
    """The bundle in a slot, unless there is none or something took a part of it away."""
    try:
        opened = open_slot(slot, sdk_version)
    except BundleError:
        return None
    return opened if opened.digest == slot.name else None


def _move(incoming: Path, slot: Path, sdk_version: str) -> None:
    """Give the complete folder its name, unless another process was first."""
    try:
        incoming.rename(slot)
    except OSError:
        if not slot.exists():
            raise
        if _open_complete(slot, sdk_version) is None:  # a damaged slot: it would stay so if it kept the name
            aside = incoming.with_name(f"{incoming.name}-damaged")
            slot.rename(aside)
            _remove(aside)
            incoming.rename(slot)


def _remove(folder: Path) -> None:
    import shutil  # at a start of the app nothing is removed, so nothing pays for it

    shutil.rmtree(folder, ignore_errors=True)


def _remove_stale(slots: Path, own: Path) -> None:
    """Remove what installs left that were killed.

    Age decides, not a lock: a phone may suspend a process while it holds one, and every other would wait. Both times
    come from the file system, so no clock is compared with another. If the guess is wrong, and an install of more
    than an hour loses its folder, it fails with a StorageError and is repeated; no slot is ever touched.
    """
    now = own.stat().st_mtime
    for folder in slots.glob(f"{_INCOMING}*"):
        with suppress(OSError):  # it may just be getting its final name
            if now - folder.stat().st_mtime > _STALE_SECONDS:
                _remove(folder)
