"""Bundle → checked manifest → slot: nothing of a bundle is used before all of it was verified, and that happens once.

A slot is a folder ``slots/<digest>`` that holds a bundle's files. It gets that name by one rename after everything in
it was verified and is on the disk, so a slot that exists is complete. What is prepared of it comes later, and as whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from nearhand.bundle.archive import Archive
from nearhand.bundle.durable import storage_errors, sync_file, sync_folder
from nearhand.bundle.limits import DEFAULT_LIMITS, FETCH_AGAIN, Limits
from nearhand.bundle.manifest import Manifest
from nearhand.bundle.packing import pack, pack_document, pack_items
from nearhand.bundle.prepared import PREPARED_PATH
from nearhand.bundle.reader import BundleFolder, check_sizes, decode_manifest, open_slot, parse_golden, parse_items
from nearhand.bundle.schema import MANIFEST_PATH, FileReference, Items
from nearhand.bundle.tables import parse_table_golden, parse_thresholds, parse_vocabularies
from nearhand.errors import BundleError, BundleIntegrityError
from nearhand.hashing import sha256
from nearhand.ids import random_id


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
    processes may install at once. Of the bundles with its name that were installed more than a day ago the latest
    stays, for an app that goes back to it, and the slots of those before it are removed.

    Args:
        slots: the folder of all slots; created if need be.

    Raises:
        BundleError: the bundle is refused; the subclass says why.
        StorageError: the bundle cannot be read, or the slot cannot be written.
    """
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
                _remove_older(slots, slot, manifest.name)
            finally:
                _remove(incoming)
            sync_folder(slots)
    return BundleFolder(slot, manifest, slot.name)


def prepare(folder: BundleFolder, items: Items | None, sections: Mapping[str, bytes]) -> None:
    """Keep in the slot what its documents come to, so that opening it again takes less time.

    Args:
        items: the catalogue; None: there is none.
        sections: what is to be kept beside the catalogue and the manifest.

    Raises:
        StorageError: the slot cannot be written; it is as it was.
    """
    every = {"manifest": pack_document(folder.manifest), **({} if items is None else pack_items(items)), **sections}
    incoming = folder.folder.parent / f"{_INCOMING}{random_id()}"
    with storage_errors(f"{folder.folder.name}: {PREPARED_PATH}"):
        incoming.mkdir(mode=0o700)
        try:
            with (incoming / PREPARED_PATH).open("xb") as file:
                file.write(pack(folder.digest, every))
                sync_file(file)
            (incoming / PREPARED_PATH).replace(folder.folder / PREPARED_PATH)
        finally:
            _remove(incoming)


def _parse_manifest(archive: Archive, data: bytes, sdk_version: str) -> Manifest:
    manifest = decode_manifest(data, sdk_version, f"{archive.name}: {MANIFEST_PATH}")
    sizes = {entry.name: entry.bytes for entry in archive.entries.values() if entry.name != MANIFEST_PATH}
    check_sizes(manifest, sizes, archive.name)
    return manifest


# --- files -----------------------------------------------------------------------------------------------------------

_INCOMING = ".incoming-"
_STALE_SECONDS = 3600
_OLD_SECONDS = 86_400


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
    shutil.rmtree(folder, ignore_errors=True)


def _remove_stale(slots: Path, own: Path) -> None:
    """Remove what installs left that were killed.

    Age decides, not a lock: a phone may suspend a process while it holds one, and every other would wait. Both times
    come from the file system, so no clock is compared with another. If the guess is wrong, and an install of more
    than an hour loses its folder, it fails with a StorageError and is repeated.
    """
    now = own.stat().st_mtime
    for folder in slots.glob(f"{_INCOMING}*"):
        with suppress(OSError):  # it may just be getting its final name
            if now - folder.stat().st_mtime > _STALE_SECONDS:
                _remove(folder)


def _remove_older(slots: Path, slot: Path, name: str) -> None:
    """Remove what earlier versions of a bundle have left, but for the latest of them.

    Age decides here too. Who still has a removed slot open goes on with the models that are loaded.
    """
    now = slot.stat().st_mtime
    old: list[tuple[float, Path]] = []
    for folder in slots.iterdir():
        with suppress(OSError, ValueError, KeyError, TypeError):  # it is no slot, or is just being removed
            installed = folder.stat().st_mtime
            is_old = folder.name[:1] != "." and now - installed > _OLD_SECONDS
            if is_old and json.loads((folder / MANIFEST_PATH).read_bytes())["name"] == name:
                old.append((installed, folder))
    for _, folder in sorted(old)[:-1]:
        aside = slots / f"{_INCOMING}{random_id()}"
        with suppress(OSError):  # somebody else was first
            folder.rename(aside)  # in one step: a slot is whole or not there
            _remove(aside)
