"""Whatever happens to a bundle on its way, it is refused with the error that fits, and nothing is written."""

from __future__ import annotations

import io
import json
import os
import random
import stat
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from nearhand.bundle import Archive, install_bundle, serialize, verify_bundle, write_archive
from nearhand.errors import (
    BundleError,
    BundleFormatError,
    BundleIntegrityError,
    BundleLimitError,
    BundlePathError,
    BundleVersionError,
)
from tests.sdk.bundle_factory import SDK_VERSION, make_entries, make_items, write_bundle

NAME = "films-1.0.0.nearhand"
LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
MODEL = "models/index.int8.onnx"


class Target:
    """A bundle file beside a slots folder that already holds something."""

    def __init__(self, folder: Path) -> None:
        self.bundle, self.slots = folder / NAME, folder / "slots"
        self.slots.mkdir()
        (self.slots / "kept").write_bytes(b"kept")

    def refuses(self, data: bytes) -> BundleError:
        """The refusal of these bytes, by verification and by installation alike."""
        self.bundle.write_bytes(data)
        with pytest.raises(BundleError) as verification:
            verify_bundle(self.bundle, sdk_version=SDK_VERSION)
        with pytest.raises(BundleError) as installation:
            install_bundle(self.bundle, self.slots, sdk_version=SDK_VERSION)
        assert [path.name for path in self.slots.iterdir()] == ["kept"]
        assert (self.slots / "kept").read_bytes() == b"kept"
        assert type(verification.value) is type(installation.value)
        message = str(installation.value)
        assert message.isprintable(), "one line"
        assert len(message) < 400
        return installation.value

    def refuses_as(self, data: bytes, error: type[BundleError], *words: str) -> None:
        refusal = self.refuses(data)
        assert type(refusal) is error, repr(refusal)
        for word in words:
            assert word in str(refusal)


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target(tmp_path)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_bundle(tmp_path_factory.mktemp("good") / NAME).read_bytes()


def archive_bytes(folder: Path, entries: dict[str, bytes]) -> bytes:
    path = folder / "made"
    write_archive(path, dict(entries))
    return path.read_bytes()


def zip_bytes(
    entries: Iterable[tuple[str, bytes]],
    change: Callable[[zipfile.ZipInfo], object] | None = None,
    comment: bytes = b"",
) -> bytes:
    """A ZIP as the writer makes it, but for what ``change`` does to the entry of the model."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as file:
        warnings.simplefilter("ignore")  # zipfile says when a name stands twice
        for name, data in entries:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o100644 << 16
            if change is not None and name == MODEL:
                change(info)
            file.writestr(info, data)
        file.comment = comment
    return buffer.getvalue()


def canonical(entries: dict[str, bytes]) -> list[tuple[str, bytes]]:
    return sorted(entries.items(), key=lambda entry: (entry[0] != "manifest.json", entry[0]))


def patch(data: bytes, name: str, local: tuple[int, bytes] | None, central: tuple[int, bytes] | None) -> bytes:
    """``data`` with bytes put at an offset of the local and of the directory record of an entry."""
    changed = bytearray(data)
    for signature, header_size, name_length_at, field in ((LOCAL, 30, 26, local), (CENTRAL, 46, 28, central)):
        position = 0
        while (position := data.index(signature, position)) >= 0:
            (length,) = struct.unpack_from("<H", data, position + name_length_at)
            if data[position + header_size : position + header_size + length] == name.encode():
                break
            position += 1
        if field is not None:
            changed[position + field[0] : position + field[0] + len(field[1])] = field[1]
    return bytes(changed)


def test_the_helpers_make_a_good_bundle(good: bytes, target: Target) -> None:
    assert zip_bytes(canonical(make_entries())) == good
    target.bundle.write_bytes(good)
    install_bundle(target.bundle, target.slots, sdk_version=SDK_VERSION)


# --- bytes on the way ------------------------------------------------------------------------------------------------


def test_truncated_anywhere(good: bytes, target: Target) -> None:
    sizes = {round(i * (len(good) - 1) / 199) for i in range(200)}
    assert len(sizes) == 200
    for size in sizes:
        target.refuses_as(good[:size], BundleFormatError, NAME, "is truncated or is not a Nearhand bundle")


def test_every_single_byte_flipped(good: bytes, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    # Six thousand installs, so without waiting for the disk. Verification reads by the same code, as all other tests
    # of this file show.
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    target.bundle.write_bytes(good)
    with Archive.open(target.bundle) as archive:
        contents = {i for entry in archive.entries.values() for i in range(entry.data_offset, entry.end)}
    bits = random.Random(7)
    with target.bundle.open("r+b", buffering=0) as file:
        for position, byte in enumerate(good):
            file.seek(position)
            file.write(bytes([byte ^ 1 << bits.randrange(8)]))
            with pytest.raises(BundleError) as refusal:
                install_bundle(target.bundle, target.slots, sdk_version=SDK_VERSION)
            file.seek(position)
            file.write(bytes([byte]))
            fitting = (
                (BundleIntegrityError,)
                if position in contents
                else (BundleFormatError, BundlePathError, BundleLimitError)
            )
            assert refusal.type in fitting, (position, refusal)
            assert str(refusal.value).startswith(NAME)
            assert str(refusal.value).isprintable()
            assert [path.name for path in target.slots.iterdir()] == ["kept"], position
    assert target.bundle.read_bytes() == good
    install_bundle(target.bundle, target.slots, sdk_version=SDK_VERSION)


@pytest.mark.parametrize("extra", [b"\0", b"PK", b"\n", bytes(22), END + bytes(18)])
def test_bytes_added_at_an_end(good: bytes, target: Target, extra: bytes) -> None:
    target.refuses_as(good + extra, BundleFormatError, NAME)
    target.refuses_as(extra + good, BundleFormatError, NAME)


def test_bytes_added_between_entries(good: bytes, target: Target) -> None:
    for position in (good.index(LOCAL, 1), good.index(CENTRAL)):
        for extra in (b"\0", bytes(100)):
            target.refuses_as(good[:position] + extra + good[position:], BundleFormatError, NAME)
    # The same with the directory's offset set right: the file holds what no entry owns.
    start = good.index(CENTRAL)
    moved = good[:start] + b"hidden" + good[start:-6] + struct.pack("<IH", start + 6, 0)
    assert zipfile.ZipFile(io.BytesIO(moved)).testzip() is None
    target.refuses_as(moved, BundleFormatError, NAME, "do not fill it")


@pytest.mark.parametrize("data", [b"", b"not a bundle", bytes(1000), b"PK\x03\x04", b"\x1f\x8b" * 50])
def test_another_file(target: Target, data: bytes) -> None:
    target.refuses_as(data, BundleFormatError, NAME, "is not a Nearhand bundle")


# --- what a ZIP may be, and a bundle may not -------------------------------------------------------------------------


def test_empty_archive(target: Target) -> None:
    target.refuses_as(zip_bytes([]), BundleIntegrityError, NAME, "manifest.json", "is missing")


def test_extra_and_missing_files(target: Target, tmp_path: Path) -> None:
    entries = make_entries()
    extra = archive_bytes(tmp_path, {**entries, "models/extra.onnx": b"x"})
    target.refuses_as(extra, BundleIntegrityError, NAME, "models/extra.onnx", "is not in the manifest")
    for name in entries:
        rest = {other: data for other, data in entries.items() if other != name}
        target.refuses_as(archive_bytes(tmp_path, rest), BundleIntegrityError, NAME, name, "is missing")


def test_duplicate_name(target: Target) -> None:
    entries = canonical(make_entries())
    duplicate = [*entries, (MODEL, b"other")]
    target.refuses_as(zip_bytes(duplicate), BundleFormatError, NAME, MODEL, "stands twice or out of order")


def test_order(target: Target) -> None:
    entries = canonical(make_entries())
    target.refuses_as(zip_bytes(entries[::-1]), BundleFormatError, NAME, "out of order")
    target.refuses_as(zip_bytes([entries[1], entries[0], *entries[2:]]), BundleFormatError, "manifest.json", "order")


def test_overlapping_entries(good: bytes, target: Target) -> None:
    """Two directory records that point at the same data."""
    other = good.index(b"models/encoder.fp32.onnx") - 30
    target.refuses_as(patch(good, MODEL, None, (42, struct.pack("<I", other))), BundleFormatError, NAME, MODEL)


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a\\b", "C:x", "a//b", "a/../../x", "models/", "..", "x\ny", "ü", "models/index.int8.ONNX"]
)
def test_path_escape(target: Target, tmp_path: Path, name: str) -> None:
    entries = make_entries()
    data = zip_bytes(canonical({**entries, name: b"x"}))
    if name == "a\\b":  # zipfile knows better than to write this one
        data = zip_bytes(canonical({**entries, "a:b": b"x"})).replace(b"a:b", b"a\\b")
    target.refuses_as(data, BundlePathError, NAME)
    assert {path.name for path in tmp_path.iterdir()} == {NAME, "slots"}


@pytest.mark.parametrize("name", ["../x", "/x", "a\\b", "C:x", "a//b", "Items.json", "items.json/x"])
def test_path_escape_in_the_manifest(target: Target, tmp_path: Path, name: str) -> None:
    def escape(manifest: Any) -> None:
        manifest["models"][0]["variants"][0]["file"]["path"] = name

    data = archive_bytes(tmp_path, make_entries(edit=escape))
    target.refuses_as(data, BundlePathError, NAME, "manifest.json", repr(name).strip("'"))


def test_symbolic_link(target: Target) -> None:
    def link(info: zipfile.ZipInfo) -> None:
        info.external_attr = (stat.S_IFLNK | 0o777) << 16

    target.refuses_as(zip_bytes(canonical(make_entries()), link), BundlePathError, NAME, MODEL, "link")


@pytest.mark.parametrize("mode", [stat.S_IFREG | 0o755, stat.S_IFREG | 0o4644, stat.S_IFIFO | 0o644, 0])
def test_other_attributes(target: Target, mode: int) -> None:
    def attributes(info: zipfile.ZipInfo) -> None:
        info.external_attr = mode << 16 | 1

    target.refuses_as(zip_bytes(canonical(make_entries()), attributes), BundleFormatError, NAME, MODEL)


def test_deflated_entry(target: Target) -> None:
    def deflate(info: zipfile.ZipInfo) -> None:
        info.compress_type = zipfile.ZIP_DEFLATED

    data = zip_bytes(canonical(make_entries()), deflate)
    target.refuses_as(data, BundleFormatError, NAME, MODEL, "is compressed")  # it is too short to shrink


def test_zip_bomb(target: Target) -> None:
    def deflate(info: zipfile.ZipInfo) -> None:
        info.compress_type = zipfile.ZIP_DEFLATED

    data = zip_bytes(canonical({**make_entries(), MODEL: bytes(10_000_000)}), deflate)
    assert len(data) < 50_000
    target.refuses_as(data, BundleLimitError, NAME, MODEL, "claims to expand")


def test_header_that_claims_4_gb(good: bytes, target: Target) -> None:
    sizes = struct.pack("<II", 2**32 - 1, 2**32 - 1)
    for name in (MODEL, "manifest.json"):
        for data in (
            patch(good, name, (18, sizes), (20, sizes)),
            patch(good, name, None, (20, sizes)),
            patch(good, name, None, (24, sizes[:4])),
        ):
            tracemalloc.start()
            target.refuses_as(data, BundleLimitError, NAME, name)
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
            tracemalloc.stop()
    target.refuses_as(patch(good, MODEL, (18, sizes), None), BundleFormatError, NAME, MODEL)


def test_sizes_that_are_not_true(good: bytes, target: Target) -> None:
    """Each below its limit, with every offset as it would then be."""
    size, data, offset = 400 << 20, good, 0
    for name, contents in canonical(make_entries()):
        data = patch(data, name, None, (42, struct.pack("<I", offset)))
        claimed = len(contents) if name == "manifest.json" else size
        data = patch(data, name, (18, struct.pack("<II", claimed, claimed)), (20, struct.pack("<II", claimed, claimed)))
        offset += 30 + len(name) + claimed
    target.refuses_as(data, BundleLimitError, NAME, "over the limit of 1073741824")
    sizes = struct.pack("<II", size, size)
    last = patch(good, MODEL, (18, sizes), (20, sizes))
    target.refuses_as(last, BundleFormatError, NAME, "do not fill it")


def test_end_record_that_claims_much(good: bytes, target: Target) -> None:
    head, offset = good[:-22], good.index(CENTRAL)

    def ends(count: int, size: int, start: int, comment: int = 0, disk: int = 0) -> bytes:
        return head + END + struct.pack("<4H2IH", disk, disk, count, count, size, start, comment)

    size = len(head) - offset
    assert ends(7, size, offset) == good
    target.refuses_as(ends(2**16 - 1, 2**32 - 1, 2**32 - 1), BundleLimitError, "65535 entries")
    target.refuses_as(ends(10_001, size, offset), BundleLimitError, "10001 entries")
    target.refuses_as(ends(7, 2**32 - 1, offset), BundleFormatError)
    target.refuses_as(ends(7, size, 2**32 - 1), BundleFormatError)
    target.refuses_as(ends(7, len(head), 0), BundleFormatError)
    target.refuses_as(ends(6, size, offset), BundleFormatError)
    target.refuses_as(ends(8, size, offset), BundleFormatError)
    target.refuses_as(ends(0, 0, len(head)), BundleFormatError, "do not fill it")
    target.refuses_as(ends(7, size, offset, comment=1), BundleFormatError)
    target.refuses_as(ends(7, size, offset, disk=1), BundleFormatError)


def test_end_record_that_claims_a_huge_directory(target: Target) -> None:
    """What is read into memory is bounded by the limits, not by the file."""
    size = 500 << 20
    target.bundle.touch()
    os.truncate(target.bundle, size)
    with target.bundle.open("ab") as file:
        file.write(END + struct.pack("<4H2IH", 0, 0, 7, 7, size, 0, 0))
    tracemalloc.start()
    with pytest.raises(BundleFormatError, match="end record"):
        verify_bundle(target.bundle, sdk_version=SDK_VERSION)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_encrypted_flag(good: bytes, target: Target) -> None:
    flag = struct.pack("<H", 1)
    target.refuses_as(patch(good, MODEL, (6, flag), (8, flag)), BundleFormatError, NAME, MODEL, "is encrypted")
    target.refuses_as(patch(good, MODEL, (6, flag), None), BundleFormatError, NAME, MODEL)


def test_comments(target: Target) -> None:
    def comment(info: zipfile.ZipInfo) -> None:
        info.comment = b"hello"

    entries = canonical(make_entries())
    target.refuses_as(zip_bytes(entries, comment=b"hello"), BundleFormatError, NAME)
    target.refuses_as(zip_bytes(entries, comment), BundleFormatError, NAME, MODEL)


class _Pipe(io.RawIOBase):
    """A file that cannot seek, so that zipfile must put sizes after the data."""

    def __init__(self) -> None:
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += bytes(data)
        return len(data)


def test_data_descriptor(target: Target) -> None:
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w") as file:
        for name, data in canonical(make_entries()):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o100644 << 16
            file.writestr(info, data)
    assert b"PK\x07\x08" in pipe.data
    target.refuses_as(pipe.data, BundleFormatError, NAME, "manifest.json")


def test_zip64(target: Target) -> None:
    def extra(info: zipfile.ZipInfo) -> None:
        info.extra = struct.pack("<HHQQ", 1, 16, 15, 15)

    target.refuses_as(zip_bytes(canonical(make_entries()), extra), BundleFormatError, NAME, MODEL)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in canonical(make_entries()):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o100644 << 16
            with file.open(info, "w", force_zip64=name == MODEL) as entry:
                entry.write(data)
    target.refuses_as(buffer.getvalue(), BundleFormatError, NAME, MODEL)


def test_another_time(target: Target) -> None:
    def later(info: zipfile.ZipInfo) -> None:
        info.date_time = (2026, 1, 1, 0, 0, 0)

    target.refuses_as(zip_bytes(canonical(make_entries()), later), BundleFormatError, NAME, MODEL)


# --- what the manifest may say ---------------------------------------------------------------------------------------

Edit = Callable[[Any], object]
REFUSED_MANIFESTS: dict[str, tuple[Edit, type[BundleError], tuple[str, ...]]] = {
    "newer format": (lambda m: m.update(format=2), BundleVersionError, ("format", "is 2", "reads format 1")),
    "older format": (lambda m: m.update(format=0), BundleVersionError, ("format", "is 0", "reads format 1")),
    "newer format, other schema": (
        lambda m: (m.clear(), m.update(format=9, whatever=[])),
        BundleVersionError,
        ("format", "is 9", "reads format 1"),
    ),
    "format as text": (lambda m: m.update(format="1"), BundleFormatError, ("format", "not an integer")),
    "format as truth": (lambda m: m.update(format=True), BundleFormatError, ("format", "not an integer")),
    "no format": (lambda m: m.pop("format"), BundleFormatError, ("format", "is missing")),
    "newer SDK": (lambda m: m.update(min_sdk="0.2.0"), BundleVersionError, ("min_sdk", "0.2.0", "nearhand 0.1.0")),
    "newer SDK, by number": (lambda m: m.update(min_sdk="0.10.0"), BundleVersionError, ("min_sdk", "0.10.0")),
    "newer SDK, other schema": (lambda m: m.update(min_sdk="9.0.0", new_key=1), BundleVersionError, ("min_sdk",)),
    "SDK that is no version": (lambda m: m.update(min_sdk="new"), BundleFormatError, ("'new'", "MAJOR.MINOR.PATCH")),
    "SDK of another type": (lambda m: m.update(min_sdk=1), BundleFormatError, ("min_sdk", "not a string")),
    "name": (lambda m: m.update(name="Films!"), BundleFormatError, ("name", "Films!")),
    "name over lines": (lambda m: m.update(name="a\nb"), BundleFormatError, ("name",)),
    "float": (lambda m: m["policy"].update(window=8.0), BundleFormatError, ("8.0", "float")),
    "unknown key": (lambda m: m.update(extra=1), BundleFormatError, ("extra", "not a known key")),
    "unknown inner key": (
        lambda m: m["models"][0]["variants"][0].update(extra=1),
        BundleFormatError,
        ("models[0].variants[0].extra", "not a known key"),
    ),
    "missing key": (lambda m: m.pop("policy"), BundleFormatError, ("policy", "is missing")),
    "missing inner key": (lambda m: m["items"]["file"].pop("sha256"), BundleFormatError, ("items.file.sha256",)),
    "number for text": (lambda m: m.update(licence=1), BundleFormatError, ("licence", "not a string")),
    "text for number": (lambda m: m["policy"].update(window="8"), BundleFormatError, ("policy.window",)),
    "list for object": (lambda m: m.update(policy=[]), BundleFormatError, ("policy", "a list, not an object")),
    "null": (lambda m: m.update(models=None), BundleFormatError, ("models", "null, not a list")),
    "unknown role": (lambda m: m["models"][0].update(role="oracle"), BundleFormatError, ("models[0].role", "oracle")),
    "no variant": (lambda m: m["models"][0].update(variants=[]), BundleFormatError, ("models[0]", "no variant")),
    "one role twice": (lambda m: m["models"].append(m["models"][0]), BundleFormatError, ("roles",)),
    "NaN": (
        lambda m: m["evidence"]["budget"].update(ndcg_change="NaN"),
        BundleFormatError,
        ("evidence.budget.ndcg_change", "NaN", "finite"),
    ),
    "infinite float": (
        lambda m: m["policy"]["confidences"].update(item_viewed="1E999"),
        BundleFormatError,
        ("policy.confidences.item_viewed", "1E999", "finite"),
    ),
    "negative size": (lambda m: m["items"]["file"].update(bytes=-1), BundleFormatError, ("items.file", "negative")),
    "hash of another form": (lambda m: m["items"]["file"].update(sha256="0"), BundleFormatError, ("items.file",)),
    "size": (
        lambda m: m["items"]["file"].update(bytes=1),
        BundleIntegrityError,
        ("items.json", "not the 1 of the manifest"),
    ),
    "hash": (
        lambda m: m["items"]["file"].update(sha256="0" * 64),
        BundleIntegrityError,
        ("items.json", "differ from the sha256"),
    ),
    "one file in two ways": (
        lambda m: m["golden"].update(file={**m["items"]["file"], "bytes": 1}),
        BundleFormatError,
        ("items.json", "two ways"),
    ),
    "itself": (
        lambda m: m["golden"]["file"].update(path="manifest.json"),
        BundleFormatError,
        ("manifest.json", "two ways"),
    ),
    "items count": (lambda m: m["items"].update(count=4), BundleFormatError, ("items.json", "3 items", "says 4")),
    "golden count": (lambda m: m["golden"].update(count=4), BundleFormatError, ("golden.json", "1 golden", "says 4")),
}


@pytest.mark.parametrize("case", REFUSED_MANIFESTS)
def test_manifest(target: Target, tmp_path: Path, case: str) -> None:
    edit, error, words = REFUSED_MANIFESTS[case]
    target.refuses_as(archive_bytes(tmp_path, make_entries(edit=edit)), error, NAME, *words)


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (b"", ()),
        (b"[]", ("a list, not an object",)),
        (b"1", ("1, not an object",)),
        (b"\xff{}", ("utf-8",)),
        (b'{"format": 1, "format": 2}', ('the key "format" stands twice',)),
        (b'{"format": NaN}', ("NaN is a float",)),
        (b"[" * 100_000 + b"]" * 100_000, ("recursion",)),
        (b'{"format": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", ("recursion",)),
        (b'{"name": "\\ud800"}', ("surrogates",)),
    ],
)
def test_manifest_that_is_no_document(target: Target, tmp_path: Path, manifest: bytes, words: tuple[str, ...]) -> None:
    data = archive_bytes(tmp_path, {**make_entries(), "manifest.json": manifest})
    target.refuses_as(data, BundleFormatError, NAME, "manifest.json", *words)


@pytest.mark.parametrize("depth", range(100, 1001, 50))
def test_nesting_that_json_can_just_read(target: Target, tmp_path: Path, depth: int) -> None:
    """Refused by the schema, or by the parser where the interpreter's own limit begins; never a RecursionError."""
    manifest = json.loads(make_entries()["manifest.json"])
    text = json.dumps({**manifest, "licence": "@"}).replace('"@"', "[" * depth + "]" * depth)
    data = archive_bytes(tmp_path, {**make_entries(), "manifest.json": text.encode()})
    target.refuses_as(data, BundleFormatError, NAME, "manifest.json")


def test_manifest_over_its_limit(good: bytes, target: Target) -> None:
    size = struct.pack("<II", 5 << 20, 5 << 20)
    data = patch(good, "manifest.json", (18, size), (20, size))
    target.refuses_as(data, BundleLimitError, NAME, "manifest.json")


# --- what the other documents may say --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "contents", "words"),
    [
        ("items.json", b"{}", ("is missing",)),
        ("items.json", b"[" * 100_000 + b"]" * 100_000, ("recursion",)),
        ("items.json", serialize(make_items(3)).replace(b'"m_1"', b'"m_0"'), ("item id stands twice",)),
        ("items.json", serialize(make_items(3)).replace(b"1951,", b""), ("different lengths",)),
        ("golden.json", b'{"tolerance": 0.1, "cases": []}', ("0.1 is a float",)),
        ("golden.json", b'{"tolerance": "NaN", "cases": []}', ("tolerance", "finite")),
    ],
)
def test_other_document(target: Target, tmp_path: Path, name: str, contents: bytes, words: tuple[str, ...]) -> None:
    def describe(manifest: Any) -> None:
        manifest[name.removesuffix(".json")]["file"].update(bytes=len(contents), sha256=sha256(contents).hexdigest())

    entries = {**make_entries(edit=describe), name: contents}
    target.refuses_as(archive_bytes(tmp_path, entries), BundleFormatError, name, *words)


def test_contents_that_were_exchanged_together_with_their_checksum(target: Target, tmp_path: Path) -> None:
    for name, contents in make_entries().items():
        if name != "manifest.json":
            entries = {**make_entries(), name: contents[::-1]}
            target.refuses_as(archive_bytes(tmp_path, entries), BundleIntegrityError, NAME, name, "sha256")
            entries = {**make_entries(), name: contents + b"\n"}
            target.refuses_as(archive_bytes(tmp_path, entries), BundleIntegrityError, NAME, name, "bytes")
