"""The transport form of a bundle: a canonical ZIP that any unzip tool opens, and that has one spelling only.

The writer has no choices (stored entries, ``manifest.json`` first and the rest sorted, fixed times and attributes, no
extra field, comment, data descriptor or ZIP64), so the reader trusts nothing: it takes names, sizes and checksums from
the directory and then requires that every other byte of the file is the one :func:`write_archive` would have put there.
What a ZIP can hide (a second directory, an overlap, a link, a bomb) is therefore not searched for; it has no room.
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from nearhand.bundle.durable import storage_errors, sync_file, sync_folder
from nearhand.bundle.limits import DEFAULT_LIMITS, FETCH_AGAIN, Limits, check_names
from nearhand.bundle.schema import MANIFEST_PATH
from nearhand.errors import BundleFormatError, BundleIntegrityError, BundleLimitError, BundlePathError
from nearhand.ids import random_id
from nearhand.records import dataclass

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Entry:
    """A file of the archive. ``offset`` is where its local header begins."""

    name: str
    bytes: int
    crc32: int
    offset: int

    @property
    def data_offset(self) -> int:
        return self.offset + _LOCAL.size + len(self.name)

    @property
    def end(self) -> int:
        return self.data_offset + self.bytes


class Archive:
    """An open archive whose every header is known to be canonical; contents are checked as they are read.

    One thread at a time. Use it as a context manager, or :meth:`close` it.
    """

    def __init__(self, file: BinaryIO, name: str, entries: tuple[Entry, ...]) -> None:
        self._file = file
        self.name = name
        self.entries: Mapping[str, Entry] = {entry.name: entry for entry in entries}

    @classmethod
    def open(cls, path: Path, limits: Limits = DEFAULT_LIMITS) -> Archive:
        """Open a file and check all of it but the entries' contents.

        Raises:
            BundleFormatError: not a file, or not the canonical archive: truncated, extended, compressed, encrypted, …
            BundlePathError: an entry's name could leave its folder or collide there, or it is a link.
            BundleLimitError: the file, an entry or their number is over ``limits``, or an entry claims to expand.
            StorageError: the file cannot be opened or read.
        """
        with storage_errors(path.name):
            kind = path.stat().st_mode
            if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):  # to open a pipe waits for whoever writes into it
                raise BundleFormatError("is no ordinary file", place=path.name, remedy="give a .nearhand file")
            file = path.open("rb")
            try:
                entries = _read_entries(file, path.name, limits)
            except BaseException:
                file.close()
                raise
        return cls(file, path.name, entries)

    def read(self, name: str) -> bytes:
        """The contents of an entry.

        Raises:
            BundleIntegrityError: there is no such entry, or its checksum differs.
            StorageError: the file cannot be read.
        """
        return b"".join(self.stream(name))

    def stream(self, name: str) -> Iterator[bytes]:
        """The contents of an entry in chunks. They are only known to be right when the iterator has ended.

        Raises:
            BundleIntegrityError: there is no such entry, or its checksum differs.
            StorageError: the file cannot be read.
        """
        place = f"{self.name}: {name}"
        entry = self.entries.get(name)
        if entry is None:
            raise BundleIntegrityError("is missing", place=place, remedy=FETCH_AGAIN)
        position, crc32 = entry.data_offset, 0
        while position < entry.end:
            with storage_errors(self.name):
                self._file.seek(position)
                chunk = self._file.read(min(CHUNK_BYTES, entry.end - position))
            if not chunk:
                break  # the file shrank since it was opened
            position, crc32 = position + len(chunk), zlib.crc32(chunk, crc32)
            yield chunk
        if position != entry.end or crc32 != entry.crc32:
            raise BundleIntegrityError("contents differ from their checksum", place=place, remedy=FETCH_AGAIN)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def write_archive(path: Path, entries: Mapping[str, bytes | Path], limits: Limits = DEFAULT_LIMITS) -> None:
    """Write an archive that :meth:`Archive.open` accepts. Same entries, same bytes.

    The file appears under its name whole or not at all; on failure what stood there before is still there.

    Args:
        entries: name → contents, or the file that holds them.

    Raises:
        BundlePathError: a name is not allowed, or two names collide.
        BundleLimitError: an entry, their number or the whole is over ``limits``.
        StorageError: a file cannot be read or written.
    """
    check_names(entries, place=path.name)
    temporary = path.with_name(f".{path.name}.{random_id()}")
    with storage_errors(path.name):
        try:
            with temporary.open("xb") as file:
                _write_entries(file, entries, path.name, limits)
                sync_file(file)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)


_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_CENTRAL_SIGNATURE, _END_SIGNATURE = b"PK\x01\x02", b"PK\x05\x06"
_VERSION = 20  # ZIP 2.0, which every reader has
_MADE_BY = 3 << 8 | _VERSION  # 3 = Unix: the attributes are a file mode
_MIDNIGHT, _FIRST_DAY = 0, 1 << 5 | 1  # 1980-01-01 00:00, the earliest that DOS time can say
_ATTRIBUTES = (stat.S_IFREG | 0o644) << 16


def _order(name: str) -> tuple[bool, str]:
    return name != MANIFEST_PATH, name


# --- the one spelling ------------------------------------------------------------------------------------------------


def _local_header(entry: Entry) -> bytes:
    fields = (b"PK\x03\x04", _VERSION, 0, 0, _MIDNIGHT, _FIRST_DAY, entry.crc32, entry.bytes, entry.bytes)
    return _LOCAL.pack(*fields, len(entry.name), 0) + entry.name.encode()


def _central_header(entry: Entry) -> bytes:
    fields = (_CENTRAL_SIGNATURE, _MADE_BY, _VERSION, 0, 0, _MIDNIGHT, _FIRST_DAY, entry.crc32, entry.bytes)
    tail = (len(entry.name), 0, 0, 0, 0, _ATTRIBUTES, entry.offset)
    return _CENTRAL.pack(*fields, entry.bytes, *tail) + entry.name.encode()


def _end_record(count: int, directory_bytes: int, directory_offset: int) -> bytes:
    return _END.pack(_END_SIGNATURE, 0, 0, count, count, directory_bytes, directory_offset, 0)


# --- decisions -------------------------------------------------------------------------------------------------------


def _locate_directory(end: bytes, size: int, limits: Limits, place: str) -> int:
    """Where the directory of a file of ``size`` bytes begins, from its last 22 bytes."""
    _check_total(size, limits, place)
    if len(end) != _END.size or not end.startswith(_END_SIGNATURE):
        raise BundleFormatError("is truncated or is not a Nearhand bundle", place=place, remedy=FETCH_AGAIN)
    _, _, _, _, count, directory_bytes, directory_offset, _ = _END.unpack(end)
    _check_count(count, limits, place)
    # Bounds what is read into memory next: a directory is never longer than its entries allow.
    too_long = directory_bytes > count * (_CENTRAL.size + limits.name_length)
    canonical = _end_record(count, directory_bytes, directory_offset)
    if too_long or directory_offset + directory_bytes + _END.size != size or end != canonical:
        problem = "the end record does not describe this file: bytes were added, removed or changed"
        raise BundleFormatError(problem, place=place, remedy=FETCH_AGAIN)
    return int(directory_offset)


def _decide_entries(directory: bytes, count: int, limits: Limits, place: str) -> tuple[Entry, ...]:
    """The entries that a directory lists, each with the one place where it can be."""
    entries: list[Entry] = []
    position = offset = 0
    while position < len(directory):
        header, name = _split_central(directory, position, place)
        entry = _decide_entry(header, name, offset, limits, place)
        encoded = _central_header(entry)
        if not directory.startswith(encoded, position):
            problem = "its directory record is not as a bundle has it (order, offset, time, attributes, extra field …)"
            raise BundleFormatError(problem, place=f"{place}: {name}", remedy=FETCH_AGAIN)
        if entries and _order(name) <= _order(entries[-1].name):
            problem = f"stands twice or out of order ({MANIFEST_PATH} is first, the rest are sorted)"
            raise BundleFormatError(problem, place=f"{place}: {name}", remedy=FETCH_AGAIN)
        entries.append(entry)
        position, offset = position + len(encoded), entry.end
    if len(entries) != count:
        problem = f"the directory lists {len(entries)} entries and the end record {count}"
        raise BundleFormatError(problem, place=place, remedy=FETCH_AGAIN)
    check_names([entry.name for entry in entries], place=place)
    return tuple(entries)


def _split_central(directory: bytes, position: int, place: str) -> tuple[tuple[int, ...], str]:
    """The numbers of the record at ``position``, and its name."""
    name_at = position + _CENTRAL.size
    if name_at <= len(directory) and directory.startswith(_CENTRAL_SIGNATURE, position):
        _, *header = _CENTRAL.unpack_from(directory, position)
        name_end = name_at + header[9]
        if name_end <= len(directory):
            # latin-1 takes any byte; what is not plain ASCII is refused as a name.
            return tuple(header), directory[name_at:name_end].decode("latin-1")
    raise BundleFormatError("a directory record is damaged", place=place, remedy=FETCH_AGAIN)


def _decide_entry(header: tuple[int, ...], name: str, offset: int, limits: Limits, place: str) -> Entry:
    """What a directory record says, unless it is refused for a reason that deserves its own words."""
    _, _, flags, method, _, _, crc32, packed, size, _, _, _, _, _, attributes, _ = header
    check_names([name], place=place)
    here = f"{place}: {name}"
    if stat.S_ISLNK(attributes >> 16):
        raise BundlePathError("is a symbolic link", place=here, remedy="put the file itself in the bundle")
    _check_size(name, max(size, packed), limits, place)
    if size > packed:
        raise BundleLimitError(f"claims to expand from {packed} to {size} bytes", place=here, remedy="store entries")
    if flags & 1:
        raise BundleFormatError("is encrypted", place=here, remedy="build the bundle with `nearhand convert`")
    if method:
        raise BundleFormatError("is compressed", place=here, remedy="build the bundle with `nearhand convert`")
    entry = Entry(name, size, crc32, offset)
    _check_total(entry.end, limits, place)
    return entry


def _check_total(size: int, limits: Limits, place: str) -> None:
    if size > limits.total_bytes:
        raise BundleLimitError(f"is at least {size} bytes, over the limit of {limits.total_bytes}", place=place)


def _check_count(count: int, limits: Limits, place: str) -> None:
    if count > limits.entries:
        raise BundleLimitError(f"has {count} entries, over the limit of {limits.entries}", place=place)


def _check_size(name: str, size: int, limits: Limits, place: str) -> None:
    if len(name) > limits.name_length:
        problem = f"the name {name[:40]}… has {len(name)} characters, over the limit of {limits.name_length}"
        raise BundleLimitError(problem, place=place)
    limit = limits.manifest_bytes if name == MANIFEST_PATH else limits.entry_bytes
    if size > limit:
        raise BundleLimitError(f"is at least {size} bytes, over the limit of {limit}", place=f"{place}: {name}")


# --- files -----------------------------------------------------------------------------------------------------------


def _read_entries(file: BinaryIO, place: str, limits: Limits) -> tuple[Entry, ...]:
    size = file.seek(0, 2)
    file.seek(max(0, size - _END.size))
    end = file.read(_END.size)
    start = _locate_directory(end, size, limits, place)
    file.seek(start)
    entries = _decide_entries(file.read(size - _END.size - start), _END.unpack(end)[4], limits, place)
    for entry in entries:
        expected = _local_header(entry)
        file.seek(entry.offset)
        if file.read(len(expected)) != expected:
            problem = "its header is not the one that its directory record asks for"
            raise BundleFormatError(problem, place=f"{place}: {entry.name}", remedy=FETCH_AGAIN)
    if (entries[-1].end if entries else 0) != start:
        raise BundleFormatError("its entries do not fill it exactly", place=place, remedy=FETCH_AGAIN)
    return entries


def _write_entries(file: BinaryIO, sources: Mapping[str, bytes | Path], place: str, limits: Limits) -> None:
    _check_count(len(sources), limits, place)
    entries: list[Entry] = []
    offset = 0
    for name in sorted(sources, key=_order):
        size = crc32 = 0
        file.write(_local_header(Entry(name, 0, 0, offset)))  # a placeholder: size and checksum come with the contents
        for chunk in _chunks(sources[name]):
            size, crc32 = size + len(chunk), zlib.crc32(chunk, crc32)
            _check_size(name, size, limits, place)
            _check_total(offset + size, limits, place)
            file.write(chunk)
        entry = Entry(name, size, crc32, offset)
        file.seek(entry.offset)
        file.write(_local_header(entry))
        offset = file.seek(entry.end)
        entries.append(entry)
    directory = b"".join(map(_central_header, entries))
    _check_total(offset + len(directory) + _END.size, limits, place)
    file.write(directory + _end_record(len(entries), len(directory), offset))


def _chunks(source: bytes | Path) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with source.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
