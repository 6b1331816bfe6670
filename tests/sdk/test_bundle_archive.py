"""The transport form: one spelling, any unzip tool, whole or not there."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearhand.bundle.archive import CHUNK_BYTES, Archive, write_archive
from nearhand.bundle.limits import Limits
from nearhand.errors import (
    BundleError,
    BundleFormatError,
    BundleIntegrityError,
    BundleLimitError,
    BundlePathError,
    StorageError,
    UsageError,
)
from tests.golden.make_bundle import GOLDEN, generate
from tests.sdk.bundle_factory import make_entries

ROOT = Path(__file__).parents[2]
ENTRIES: dict[str, bytes | Path] = {"manifest.json": b"{}", "models/a.onnx": b"abc", "z": b""}

segments = st.from_regex(r"[A-Za-z0-9._-]{0,8}[A-Za-z0-9_-]", fullmatch=True)
names = st.lists(segments, min_size=1, max_size=3).map("/".join)
archives = st.dictionaries(names, st.binary(max_size=200), max_size=6)


@settings(deadline=None)  # each example reaches the disk
@given(archives)
def test_what_is_written_is_read_in_canonical_order(entries: dict[str, bytes]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.nearhand")
        try:
            write_archive(path, {**entries, "manifest.json": b"m"})
        except BundlePathError:
            assert list(Path(folder).iterdir()) == []
            return  # two names that collide, or a device's name
        expected = {
            "manifest.json": b"m",
            **{name: entries[name] for name in sorted(entries) if name != "manifest.json"},
        }
        with Archive.open(path) as archive:
            assert {name: archive.read(name) for name in archive.entries} == expected
            assert list(archive.entries) == list(expected)
        with zipfile.ZipFile(path) as other:
            assert other.testzip() is None
            assert {name: other.read(name) for name in other.namelist()} == expected


@settings(deadline=None)
@given(st.permutations(list(ENTRIES)))
def test_order_of_the_argument_does_not_matter(order: list[str]) -> None:
    with TemporaryDirectory() as folder:
        one, two = Path(folder, "one"), Path(folder, "two")
        write_archive(one, ENTRIES)
        write_archive(two, {name: ENTRIES[name] for name in order})
        assert one.read_bytes() == two.read_bytes()


def test_golden_bytes() -> None:
    assert generate() == GOLDEN.read_text(encoding="ascii")


@pytest.mark.parametrize("seed", ["1", "2"])
def test_bytes_do_not_depend_on_the_hash_seed(seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    program = "from tests.golden.make_bundle import generate; print(generate(), end='')"
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert run.stdout == GOLDEN.read_text(encoding="ascii")


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
def test_unzip_opens_it(tmp_path: Path) -> None:
    path = tmp_path / "a.nearhand"
    write_archive(path, make_entries())
    run = subprocess.run(["unzip", "-t", str(path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert "No errors detected" in run.stdout


def test_contents_come_from_files_and_leave_in_chunks(tmp_path: Path) -> None:
    source = tmp_path / "source"
    contents = bytes(range(256)) * (CHUNK_BYTES // 100)
    source.write_bytes(contents)
    write_archive(tmp_path / "file", {"manifest.json": source})
    write_archive(tmp_path / "bytes", {"manifest.json": contents})
    assert (tmp_path / "file").read_bytes() == (tmp_path / "bytes").read_bytes()
    with Archive.open(tmp_path / "file") as archive:
        chunks = list(archive.stream("manifest.json"))
    assert len(chunks) == 3
    assert max(map(len, chunks)) <= CHUNK_BYTES
    assert b"".join(chunks) == contents


def test_streams_may_be_read_in_turns(tmp_path: Path) -> None:
    big = {"manifest.json": b"a" * (CHUNK_BYTES + 1), "b": b"b" * (CHUNK_BYTES + 1)}
    write_archive(tmp_path / "a", big)
    with Archive.open(tmp_path / "a") as archive:
        pairs = list(zip(archive.stream("manifest.json"), archive.stream("b"), strict=True))
    assert {name: b"".join(chunks) for name, chunks in zip(big, zip(*pairs, strict=True), strict=True)} == big


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/x",
        "a\\b",
        "C:x",
        "a//b",
        "",
        ".",
        "a/",
        "a/../b",
        "a/./b",
        "a.",
        "a./b",
        "ä",
        "a b",
        "a\nb",
        "a\0b",
        "nul",
        "models/AUX.onnx",
        "com1",
    ],
)
def test_a_name_that_is_not_plain_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundlePathError) as refusal:
        write_archive(tmp_path / "a", {name: b""})
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [".hidden", "..a", "console", "nulls/x", "a-b_c.9"])
def test_a_plain_name_is_accepted(tmp_path: Path, name: str) -> None:
    write_archive(tmp_path / "a", {name: b"x"})
    with Archive.open(tmp_path / "a") as archive:
        assert archive.read(name) == b"x"


@pytest.mark.parametrize("names", [("a", "A"), ("m", "m/x"), ("m", "M/x/y")])
def test_names_that_collide_on_some_file_system_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    with pytest.raises(BundlePathError):
        write_archive(tmp_path / "a", dict.fromkeys(names, b""))


@pytest.mark.parametrize(
    "limits",
    [
        Limits(total_bytes=200),
        Limits(entry_bytes=2),
        Limits(manifest_bytes=1),
        Limits(entries=2),
        Limits(name_length=12),
    ],
    ids=["total", "entry", "manifest", "entries", "name"],
)
def test_limits_hold_for_writer_and_reader(tmp_path: Path, limits: Limits) -> None:
    path = tmp_path / "a"
    write_archive(path, ENTRIES)
    before = path.read_bytes()
    with pytest.raises(BundleLimitError):
        write_archive(path, ENTRIES, limits)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
    with pytest.raises(BundleLimitError):
        Archive.open(path, limits)


def test_writing_stops_where_the_limit_is(tmp_path: Path) -> None:
    """Not after a phone's storage was filled with what is refused."""
    source = tmp_path / "source"
    source.touch()
    os.truncate(source, 64 << 20)
    with pytest.raises(BundleLimitError, match=f"is at least {CHUNK_BYTES} bytes, over the limit of 1000"):
        write_archive(tmp_path / "a", {"a": source}, Limits(total_bytes=1000))


def test_limits_are_inclusive(tmp_path: Path) -> None:
    write_archive(tmp_path / "a", ENTRIES)
    size = (tmp_path / "a").stat().st_size
    limits = Limits(total_bytes=size, entry_bytes=3, manifest_bytes=2, entries=3, name_length=13)
    write_archive(tmp_path / "b", ENTRIES, limits)
    Archive.open(tmp_path / "b", limits).close()


def test_limits_stay_below_zip64() -> None:
    with pytest.raises(UsageError, match="total_bytes"):
        Limits(total_bytes=2**32)
    with pytest.raises(UsageError, match="entries"):
        Limits(entries=2**16)


def test_the_largest_count_opens(tmp_path: Path) -> None:
    write_archive(tmp_path / "a", {f"n{i}": b"" for i in range(10_000)})
    with Archive.open(tmp_path / "a") as archive:
        assert len(archive.entries) == 10_000
    with pytest.raises(BundleLimitError):
        write_archive(tmp_path / "b", {f"n{i}": b"" for i in range(10_001)})


def test_a_missing_entry_and_a_missing_file(tmp_path: Path) -> None:
    write_archive(tmp_path / "a", ENTRIES)
    with Archive.open(tmp_path / "a") as archive, pytest.raises(BundleIntegrityError, match="nothing: is missing"):
        archive.read("nothing")
    with pytest.raises(StorageError, match="No such file"):
        Archive.open(tmp_path / "b")
    with pytest.raises(StorageError, match="No such file"):
        write_archive(tmp_path / "c", {"manifest.json": tmp_path / "d"})
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with a name")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nearhand")
    with pytest.raises(BundleFormatError, match=r"pipe\.nearhand: is no ordinary file; give a \.nearhand file"):
        Archive.open(tmp_path / "pipe.nearhand")


def test_a_file_that_shrinks_after_it_was_opened_is_noticed(tmp_path: Path) -> None:
    write_archive(tmp_path / "a", {"manifest.json": b"x" * 5000})
    with Archive.open(tmp_path / "a") as archive:
        os.truncate(tmp_path / "a", 1000)
        with pytest.raises(BundleIntegrityError):
            archive.read("manifest.json")


def test_arbitrary_bytes_are_refused(tmp_path: Path) -> None:
    @settings(deadline=None)
    @given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda data: data + b"PK\5\6" + bytes(18)))
    def refused(data: bytes) -> None:
        path = tmp_path / "a"
        path.write_bytes(data)
        try:
            archive = Archive.open(path)
        except BundleError:
            return
        with archive:
            assert archive.entries == {}
            assert data == b"PK\5\6" + bytes(18)

    refused()


def test_zipfile_may_write_it_too(tmp_path: Path) -> None:
    """The form is a choice among what ZIP allows, not a dialect: another writer that makes the same choices agrees."""
    write_archive(tmp_path / "a", {"manifest.json": b"{}", "b": b"bytes"})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as other:
        for name, data in (("manifest.json", b"{}"), ("b", b"bytes")):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o100644 << 16
            other.writestr(info, data)
    assert buffer.getvalue() == (tmp_path / "a").read_bytes()
