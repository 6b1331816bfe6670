"""A bundle becomes a slot: once, whole, and on the disk before it has its name."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nearhand.bundle import (
    Archive,
    BundleFolder,
    install_bundle,
    open_slot,
    read_manifest,
    verify_bundle,
    write_archive,
)
from nearhand.errors import BundleFormatError, BundleIntegrityError, BundleVersionError, StorageError
from tests.sdk.bundle_factory import SDK_VERSION, make_entries, make_files, make_golden, make_items, make_manifest
from tests.sdk.bundle_factory import write_bundle as write
from tests.sdk.failing_disk import Disk, linux

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write(tmp_path / "films-1.0.0.nearhand")


@pytest.fixture
def slots(tmp_path: Path) -> Path:
    return tmp_path / "data" / "slots"


def install(bundle: Path, slots: Path) -> BundleFolder:
    return install_bundle(bundle, slots, sdk_version=SDK_VERSION)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_manifest_and_verification(bundle: Path) -> None:
    with Archive.open(bundle) as archive:
        assert read_manifest(archive, SDK_VERSION) == make_manifest(make_files())
    before = contents(bundle.parent)
    assert verify_bundle(bundle, sdk_version=SDK_VERSION) == make_manifest(make_files())
    assert contents(bundle.parent) == before


def test_an_installed_bundle_has_everything(bundle: Path, slots: Path) -> None:
    opened = install(bundle, slots)
    assert opened.manifest == make_manifest(make_files())
    assert opened.items() == make_items()
    assert opened.golden() == make_golden()
    assert opened.digest == hashlib.sha256(make_entries()["manifest.json"]).hexdigest()
    assert opened.folder == slots / opened.digest
    assert opened.path(opened.manifest.retrieval.items.file).read_bytes() == make_files()["items.json"]
    assert contents(slots) == {f"{opened.digest}/{name}": data for name, data in make_entries().items()}
    assert open_slot(opened.folder, SDK_VERSION) == opened


def test_two_versions_stand_side_by_side(tmp_path: Path, bundle: Path, slots: Path) -> None:
    def newer(manifest: Any) -> None:
        manifest["version"] = "1.0.1"

    first, second = install(bundle, slots), install(write(tmp_path / "b", edit=newer), slots)
    assert {path.name for path in slots.iterdir()} == {first.digest, second.digest}


def test_variants_may_share_a_file(tmp_path: Path, slots: Path) -> None:
    def share(manifest: Any) -> None:
        first, second = manifest["models"][0]["variants"]
        second["file"] = first["file"]

    entries = make_entries(edit=share)
    del entries["models/encoder.int8.onnx"]
    write_archive(tmp_path / "b", entries)
    first, second = install(tmp_path / "b", slots).manifest.model("encoder").variants
    assert first.file == second.file


def test_an_installed_bundle_opens_without_hashing_its_files(
    bundle: Path, slots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = install(bundle, slots).folder
    model = folder / "models/index.int8.onnx"
    model.write_bytes(model.read_bytes()[::-1])
    hashed: list[int] = []

    def counting(data: bytes = b"") -> Any:
        hashed.append(len(data))
        return hashlib.sha256(data)

    monkeypatch.setattr("nearhand.bundle.reader.sha256", counting)
    monkeypatch.setattr("nearhand.bundle.installing.sha256", counting)
    assert open_slot(folder, SDK_VERSION).folder == folder
    assert install(bundle, slots).folder == folder
    assert set(hashed) == {len(make_entries()["manifest.json"])}, "only the manifest was hashed"


def test_a_slot_s_sizes_and_version_are_still_looked_at(bundle: Path, slots: Path) -> None:
    folder = install(bundle, slots).folder
    with pytest.raises(BundleVersionError, match="min_sdk"):
        open_slot(folder, "0.0.9")
    (folder / "models/index.int8.onnx").write_bytes(b"")
    with pytest.raises(BundleIntegrityError, match=r"models/index\.int8\.onnx: has 0 bytes, not the 15"):
        open_slot(folder, SDK_VERSION)
    (folder / "models/index.int8.onnx").unlink()
    with pytest.raises(BundleIntegrityError, match=r"models/index\.int8\.onnx: is missing"):
        open_slot(folder, SDK_VERSION)
    with pytest.raises(BundleIntegrityError, match="no bundle in this folder"):
        open_slot(slots, SDK_VERSION)
    with pytest.raises(BundleIntegrityError, match="no bundle in this folder"):
        open_slot(bundle, SDK_VERSION)


@pytest.mark.parametrize("damage", ["missing", "shorter", "manifest"])
def test_a_damaged_slot_is_replaced_by_the_next_install(bundle: Path, slots: Path, damage: str) -> None:
    opened = install(bundle, slots)
    file = opened.folder / ("manifest.json" if damage == "manifest" else "models/index.int8.onnx")
    if damage == "missing":
        file.unlink()
    elif damage == "shorter":
        file.write_bytes(b"")
    else:
        file.write_bytes(file.read_bytes().replace(b"CC0-1.0", b"CC0-2.0"))
    assert install(bundle, slots) == opened
    assert contents(slots) == {f"{opened.digest}/{name}": data for name, data in make_entries().items()}


def test_golden_rows_must_be_items(tmp_path: Path, slots: Path) -> None:
    def fewer(manifest: Any) -> None:
        manifest["items"]["count"] = 2

    opened = install(write(tmp_path / "a"), slots)
    manifest = make_manifest(make_files(2), 2)
    with pytest.raises(BundleFormatError, match=r"golden\.json: cases\[0\]: names item row 2"):
        BundleFolder(opened.folder, manifest, "").golden()


# --- what interrupts an install --------------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("forever", [False, True], ids=["one-refusal", "power-off"])
@pytest.mark.parametrize("damaged", [False, True], ids=["fresh", "damaged-slot"])
def test_install_is_atomic_at_every_step(bundle: Path, slots: Path, *, forever: bool, damaged: bool) -> None:
    complete = make_entries()
    digest = hashlib.sha256(complete["manifest.json"]).hexdigest()
    rubbish = {"manifest.json": complete["manifest.json"]}
    for step in range(200):
        shutil.rmtree(slots.parent, ignore_errors=True)
        if damaged:
            (slots / digest).mkdir(parents=True)
            (slots / digest / "manifest.json").write_bytes(complete["manifest.json"])
        else:
            slots.parent.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, step, forever=forever)
            with suppress(StorageError):  # a folder that cannot be made because it is there is no error
                install(bundle, slots)
        if len(disk.log) <= step:
            break
        names = {path.name for path in slots.iterdir()} if slots.exists() else set()
        if not forever:
            assert names <= {digest}, "an error that leaves the process alive leaves no rubbish"
        assert {name for name in names if not name.startswith(".incoming-")} <= {digest}
        if digest in names:
            assert contents(slots / digest) in ([complete, rubbish] if damaged else [complete])
        assert contents(install(bundle, slots).folder) == complete
    assert 30 < step < 199, "the test saw every operation"
    assert contents(slots) == {f"{digest}/{name}": data for name, data in complete.items()}


@linux
def test_everything_is_on_the_disk_before_it_has_its_name(bundle: Path, slots: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        log = Disk(patch, 10_000).log
        digest = install(bundle, slots).digest
    ((_, incoming),) = [entry for entry in log if entry[0] == "rename"]
    renamed = log.index(("rename", incoming))
    synced = [path for name, path in log[:renamed] if name == "fsync"]
    expected = {incoming, f"{incoming}/models", *(f"{incoming}/{name}" for name in make_entries()), str(slots.parent)}
    assert set(synced) == expected
    for name in make_entries():
        last_write = max(i for i, entry in enumerate(log) if entry == ("write", f"{incoming}/{name}"))
        assert log.index(("fsync", f"{incoming}/{name}")) > last_write
        assert log.index(("fsync", incoming)) > log.index(("create", f"{incoming}/{name}"))
    assert ("fsync", str(slots)) in log[renamed:]
    assert (slots / digest).is_dir()


@linux
@pytest.mark.parametrize("forever", [False, True], ids=["one-refusal", "power-off"])
def test_writing_an_archive_is_atomic_at_every_step(tmp_path: Path, *, forever: bool) -> None:
    path = tmp_path / "a.nearhand"
    old, new = b"what stood there", write(tmp_path / "new").read_bytes()
    for step in range(200):
        path.write_bytes(old)
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, step, forever=forever)
            with suppress(StorageError):
                write(path)
        if len(disk.log) <= step:
            break
        assert path.read_bytes() in (old, new)
        if not forever:
            assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.nearhand", "new"]
    assert 10 < step < 199
    assert path.read_bytes() == new
    operations = [name for name, _ in disk.log if name != "write"]
    assert operations == ["create", "fsync", "replace", "fsync"]


def test_what_a_killed_install_left_is_removed_once_it_is_old(bundle: Path, slots: Path) -> None:
    old, young = slots / ".incoming-old", slots / ".incoming-young"
    for folder in (old, young):
        (folder / "models").mkdir(parents=True)
        (folder / "models" / "a").write_bytes(b"half")
    an_hour_ago = young.stat().st_mtime - 3700
    os.utime(old, (an_hour_ago, an_hour_ago))
    install(bundle, slots)
    assert not old.exists()
    assert young.exists(), "it may belong to an install that runs now"


def test_processes_that_install_at_once_all_succeed(tmp_path: Path, slots: Path) -> None:
    bundle = write(tmp_path / "films.nearhand", items=2000)
    program = f"""
import sys
from pathlib import Path
from nearhand.bundle import install_bundle
sys.stdout.write("ready\\n"); sys.stdout.flush(); sys.stdin.readline()
for round in range(10):
    print(install_bundle(Path({str(bundle)!r}), Path({str(slots)!r}, str(round)), sdk_version="0.1.0").digest)
"""
    command = [sys.executable, "-c", program]
    processes = [
        subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    digest = outputs[0].split()[0]
    assert outputs == [f"{digest}\n" * 10] * 4
    for number in range(10):
        assert [path.name for path in (slots / str(number)).iterdir()] == [digest]
        assert contents(slots / str(number) / digest) == make_entries(2000)
