"""A profile's values and journals, in the clear and encrypted."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nearhand.cipher import AesGcm, Cipher
from nearhand.errors import EncryptionError, StorageError, UsageError
from nearhand.profile import Entry, ProfileStore, destroy_profile
from tests.sdk.event_logs import open_log, spoil, sql, viewed

KEY, OTHER_KEY = bytes(range(32)), b"k" * 32
CIPHERS = [None, AesGcm(KEY)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "profile" / "profile.db"


@pytest.fixture(params=CIPHERS, ids=["plain", "encrypted"])
def cipher(request: pytest.FixtureRequest) -> Cipher | None:
    found: Cipher | None = request.param
    return found


def open_store(path: Path, cipher: Cipher | None = None) -> ProfileStore:
    return ProfileStore(path, durability="process", cipher=cipher)


@pytest.fixture
def store(path: Path, cipher: Cipher | None) -> Iterator[ProfileStore]:
    with closing(open_store(path, cipher)) as store:
        yield store


def raw(folder: Path) -> bytes:
    """All bytes of all files. By another process: closing a file here would drop SQLite's locks on it."""
    return subprocess.run(["cat", *sorted(folder.iterdir())], capture_output=True, check=True).stdout


# Values and journals


def test_values_are_kept_by_name(path: Path, cipher: Cipher | None, store: ProfileStore) -> None:
    assert store.get("a") is None
    store.put("a", b"1")
    store.put("b", b"\x00\n2")
    store.put("a", b"3")
    store.put("b", None)
    store.put("c", b"")
    with closing(open_store(path, cipher)) as again:
        assert [again.get(name) for name in "abc"] == [b"3", None, b""]


def test_journals_are_appended_to(path: Path, cipher: Cipher | None, store: ProfileStore) -> None:
    store.append("shown", "x", 5, b"first", keep=10)
    store.append("sent", "x", 6, b"other\njournal", keep=10)
    store.append("shown", "é y", 7, b"second", keep=10)
    with closing(open_store(path, cipher)) as again:
        assert again.entries("shown") == [Entry(1, "x", 5, b"first"), Entry(3, "é y", 7, b"second")]
        assert again.entries("shown", after=1) == [Entry(3, "é y", 7, b"second")]
        assert again.find("sent", "x") == Entry(2, "x", 6, b"other\njournal")
        assert again.find("sent", "y") is None
        again.append("shown", "x", 8, b"third", keep=10)  # in place of the first
        assert [entry.content for entry in again.entries("shown")] == [b"second", b"third"]


def test_a_journal_keeps_the_latest(store: ProfileStore) -> None:
    for n in range(256):
        store.append("shown", str(n), n, b"", keep=10)
        store.append("sent", str(n), n, b"", keep=1000)
    assert [entry.name for entry in store.entries("shown")][-10:] == [str(n) for n in range(246, 256)]
    assert len(store.entries("shown")) <= 73
    assert len(store.entries("sent")) == 256


def test_a_journal_keeps_the_latest_however_often_it_is_opened(path: Path, cipher: Cipher | None) -> None:
    for n in range(0, 200, 5):
        with closing(open_store(path, cipher)) as store:
            for each in range(n, n + 5):
                store.append("shown", str(each), each, b"", keep=10)
            names = [entry.name for entry in store.entries("shown")]
            assert names == [str(each) for each in range(n + 5 - len(names), n + 5)]
            assert min(n + 5, 10) <= len(names) <= 73


def test_journals_are_cleared(store: ProfileStore) -> None:
    store.put("a", b"1")
    for journal in ("shown", "sent", "decided"):
        store.append(journal, "x", 1, b"", keep=10)
    store.clear("shown", "sent")
    assert [len(store.entries(journal)) for journal in ("shown", "sent", "decided")] == [0, 0, 1]
    assert store.get("a") == b"1"
    store.clear()
    assert store.entries("decided") == []
    assert store.get("a") is None
    store.append("shown", "x", 1, b"", keep=10)
    assert store.entries("shown")[0].sequence == 4  # no number is given again


def test_a_closed_store_is_not_used(store: ProfileStore) -> None:
    store.close()
    store.close()
    with pytest.raises(UsageError, match="closed"):
        store.get("a")


def test_several_places_make_one_file_at_once(path: Path, cipher: Cipher | None) -> None:
    path.parent.mkdir()
    barrier = threading.Barrier(4)

    def work(name: str) -> None:
        barrier.wait()
        with closing(open_store(path, cipher)) as store:
            for n in range(20):
                store.append("shown", f"{name}-{n}", n, b"", keep=1000)

    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(work, "abcd")] == [None] * 4
    with closing(open_store(path, cipher)) as store:
        assert len(store.entries("shown")) == 80


# Encryption


def test_nothing_is_in_the_clear_after_any_operation(path: Path, tmp_path: Path) -> None:
    def check() -> None:
        assert b"planted" not in raw(path.parent)

    with closing(open_store(path, AesGcm(KEY))) as store:
        store.put("planted name", b"planted value")
        check()
        for n in range(100):
            store.append("shown", f"planted {n}", n, b"planted" * 20, keep=10)
        check()
        with store.transaction():
            store.put("planted name", b"planted again")
        check()
        shutil.copytree(path.parent, tmp_path / "crashed")
        store.clear("shown")
        check()
    check()
    assert b"planted" not in raw(tmp_path / "crashed")
    with closing(open_store(tmp_path / "crashed" / "profile.db", AesGcm(KEY))) as store:
        assert store.get("planted name") == b"planted again"
        assert store.entries("shown")[-1] == Entry(100, "planted 99", 99, b"planted" * 20)
        assert b"planted" not in raw(tmp_path / "crashed")


def test_what_is_looked_for_is_found_in_a_store_in_the_clear(path: Path) -> None:
    with closing(open_store(path)) as store:
        store.append("shown", "planted name", 1, b"planted value", keep=10)
        assert raw(path.parent).count(b"planted") >= 2


@pytest.mark.parametrize("values", [0, 3])
def test_another_key_or_none_opens_nothing_and_changes_nothing(path: Path, values: int) -> None:
    for cipher, others in (
        (AesGcm(KEY), ((AesGcm(OTHER_KEY), "with another key"), (None, "no key was given"))),
        (None, ((AesGcm(KEY), "is not encrypted, and a key was given"),)),
    ):
        shutil.rmtree(path.parent, ignore_errors=True)
        with closing(open_store(path, cipher)) as store:
            for n in range(values):
                store.put(str(n), b"value")
        before = path.read_bytes()
        for other, problem in others:
            with pytest.raises(EncryptionError, match=rf"profile\.db: .*{problem}"):
                open_store(path, other)
        assert path.read_bytes() == before
        assert [file.name for file in path.parent.iterdir()] == ["profile.db"]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE value SET content = (SELECT max(content) FROM value)",
        "UPDATE value SET content = (SELECT min(content) FROM value)",
        "UPDATE value SET content = (SELECT content FROM entry LIMIT 1)",
        "UPDATE value SET content = x''",
        "UPDATE entry SET content = (SELECT content FROM entry WHERE name <> 'x' ORDER BY sequence LIMIT 1)",
        "UPDATE entry SET journal = 'sent'",
        "UPDATE entry SET content = content || x'00'",
    ],
)
def test_a_value_that_was_moved_or_altered_is_refused(path: Path, change: str) -> None:
    with closing(open_store(path, AesGcm(KEY))) as store:
        store.put("a", b"1")
        store.put("b", b"2")
        store.append("shown", "x", 1, b"x", keep=10)
        store.append("shown", "y", 1, b"y", keep=10)
        sql(path, change.replace("content || x'00'", "CAST(content || x'00' AS BLOB)"))
        with pytest.raises(EncryptionError, match="altered data"):  # noqa: PT012 - whichever of them it is
            assert [store.get("a"), store.get("b")]
            assert [*store.entries("shown"), *store.entries("sent")]


# A damaged file is moved aside


def damage(path: Path, at: int = 0, bytes_: bytes = b"no database at all") -> bytes:
    content = bytearray(path.read_bytes())
    content[at : at + len(bytes_)] = bytes_
    path.write_bytes(content)
    return bytes(content)


@pytest.mark.parametrize("key", [None, KEY])
def test_a_damaged_file_is_moved_aside_whole_and_a_fresh_one_serves(path: Path, key: bytes | None) -> None:
    cipher = None if key is None else AesGcm(key)
    with closing(open_store(path, cipher)) as store:
        store.put("name", b"value")
    for number in (1, 2):
        damaged = damage(path)
        with closing(open_store(path, cipher)) as store:
            assert store.get("name") is None
            assert store.quarantined == tuple(f"profile.db.corrupt-{n}" for n in range(1, number + 1))
            assert path.with_name(store.quarantined[-1]).read_bytes() == damaged
            store.put("name", b"another")
        with closing(open_store(path, cipher)) as store:
            assert store.get("name") == b"another"
            assert len(store.quarantined) == number


def test_damage_that_has_no_text_is_damage(path: Path) -> None:
    """SQLite puts what it finds into its message, and that is then no UTF-8."""
    with closing(open_store(path)) as store:
        store.put("a", b"1")
    damaged = path.read_bytes().replace(b"tablevaluevalue", b"table\x94\x94\x94\x94\x94value")
    path.write_bytes(damaged.replace(b"CREATE TABLE value", b"CREATF TABLE value"))
    with closing(open_store(path)) as store:
        assert store.quarantined == ("profile.db.corrupt-1",)
        assert store.get("a") is None
        store.put("a", b"2")
        assert store.get("a") == b"2"


@pytest.mark.parametrize("table", ["value", "entry"])
def test_a_file_without_one_of_its_tables_is_moved_aside(path: Path, table: str) -> None:
    with closing(open_store(path)) as store:
        store.put("a", b"1")
    sql(path, f"DROP TABLE {table}")
    with closing(open_store(path)) as store:
        assert store.quarantined == ("profile.db.corrupt-1",)
        store.put("a", b"2")
        store.append("shown", "x", 1, b"x", keep=10)
        store.clear()
        assert not list(path.parent.glob("*.corrupt-*"))


def unmade(path: Path, table: str, change: str) -> None:
    """Change what the table's own rules do not allow, as damage does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(replace(sql, ' NOT NULL', ''), ' STRICT', '') WHERE name = ?",
            (table,),
        )
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(change)


def test_values_that_are_none_are_damage(path: Path) -> None:
    with closing(open_store(path)) as store:
        store.put("a", b"1")
        store.append("shown", "x", 1, b"x", keep=10)
        store.append("shown", "y", 1, b"y", keep=10)
    unmade(path, "value", "UPDATE value SET content = NULL")
    unmade(path, "entry", "UPDATE entry SET content = x'fffe0a00' WHERE name = 'x'")
    with closing(open_store(path)) as store:
        with pytest.raises(StorageError, match="line 1 is damaged"):
            store.entries("shown")
        entry = store.find("shown", "y")
        assert entry is not None
        assert entry.content == b"y", "the others are still there"
        assert store.get("a") is None
        assert store.quarantined == ("profile.db.corrupt-1",)


def test_a_seal_that_is_none_opens_with_no_key(path: Path) -> None:
    with closing(open_store(path, AesGcm(KEY))) as store:
        store.put("a", b"1")
    unmade(path, "seal", "UPDATE seal SET value = NULL")
    with pytest.raises(EncryptionError, match="another key"):
        open_store(path, AesGcm(KEY))


def test_damage_that_is_met_later_is_moved_aside_then(path: Path) -> None:
    with closing(open_store(path)) as store:
        for number in range(200):
            store.append("shown", f"{number}", number, b"x" * 500, keep=1000)
    size = path.stat().st_size
    for start in range(4096, size, 4096):  # every page but the first
        damage(path, start, b"\xff" * 4096)
    with closing(open_store(path)) as store:
        assert not store.quarantined
        assert store.entries("shown") == []
        assert store.quarantined == ("profile.db.corrupt-1",)
        store.append("shown", "new", 1, b"new", keep=10)
        assert [entry.name for entry in store.entries("shown")] == ["new"]


def test_of_two_that_meet_the_damage_one_moves_it_aside(path: Path) -> None:
    with closing(open_store(path)) as store:
        for number in range(200):
            store.append("shown", f"{number}", number, b"x" * 500, keep=1000)
    with closing(open_store(path)) as one, closing(open_store(path)) as other:
        for start in range(4096, path.stat().st_size, 4096):
            damage(path, start, b"\xff" * 4096)
        one.put("name", b"value")
        assert one.entries("shown") == []
        one.put("name", b"value")
        assert other.entries("shown") == []
        assert other.get("name") == b"value"
        assert other.quarantined == one.quarantined == ("profile.db.corrupt-1",)


def test_clearing_everything_deletes_what_was_moved_aside(path: Path) -> None:
    with closing(open_store(path)) as store:
        store.put("name", b"planted" * 100)
    damage(path)
    with closing(open_store(path)) as store:
        assert b"planted" in raw(path.parent)
        store.clear("shown")
        assert len(store.quarantined) == 1
        store.clear()
        assert not store.quarantined
    assert b"planted" not in raw(path.parent)


# Nothing is left of what was cleared


def test_no_byte_is_left_of_what_was_cleared(path: Path, store: ProfileStore) -> None:
    store.put("name", b"planted" * 1000)
    for n in range(300):
        store.append("shown", f"planted {n}", n, b"planted" * (n % 50), keep=100)
    store.clear()
    assert b"planted" not in raw(path.parent)


@pytest.mark.skipif(os.name != "posix", reason="the system has no limit of a file's size")
def test_a_disk_that_is_full_is_told_as_such_and_nothing_is_cleared(store: ProfileStore) -> None:
    import resource

    store.put("a", b"1")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(StorageError, match="disk I/O error"):
            store.clear()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert store.get("a") == b"1"
    store.clear()
    assert store.get("a") is None


def test_a_crash_while_clearing_leaves_the_wiping_due(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Breaking(sqlite3.Connection):
        left = -2

        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            Breaking.left -= 1
            if Breaking.left == -1:
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(sql, parameters)

    monkeypatch.setattr("nearhand.profile.store.sqlite3.connect", partial(sqlite3.connect, factory=Breaking))
    outcomes = []
    for n in range(100):
        Breaking.left = -2
        store = open_store(path)
        store.put("name", b"planted" * 1000)
        Breaking.left = n
        try:
            store.clear()
            outcomes.append("cleared")
        except StorageError:
            outcomes.append("failed")
        done = Breaking.left >= 0
        Breaking.left = -2
        crashed = tmp_path / str(n)
        shutil.copytree(path.parent, crashed)  # as it is before the store is closed, which would tidy up
        store.close()
        with closing(open_store(crashed / path.name)) as store:
            assert (store.get("name") is None) == (b"planted" not in raw(crashed)), n
            assert store.get("name") is None or outcomes[-1] == "failed"
        if done:
            break
    assert outcomes.count("cleared") == 1
    assert 5 < len(outcomes) < 100


# Destroying


def test_a_destroyed_profile_is_gone_and_can_be_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "profiles" / "anna"
    destroy_profile(folder)  # it is not there
    for _ in range(2):  # two quarantined files
        with open_log(folder / "events.db") as log:
            log.append_many([viewed(properties={"text": "x" * 100}) for _ in range(200)])
        spoil(folder / "events.db")
        with open_log(folder / "events.db") as log:
            assert log.since(0) == []
    with closing(open_store(folder / "profile.db", AesGcm(KEY))) as store:
        store.put("a", b"1")
    for name in ("pushed.db", "events.db-wal", "events.db-shm", "events.db.corrupt-7-wal", "keep.txt"):
        (folder / name).write_bytes(b"something")
    destroy_profile(folder)
    assert [file.name for file in folder.iterdir()] == ["keep.txt"]
    destroy_profile(folder)
    with closing(open_store(folder / "profile.db", AesGcm(OTHER_KEY))) as store:
        assert store.get("a") is None


def test_a_profile_that_cannot_be_destroyed_is_told(tmp_path: Path) -> None:
    (tmp_path / "pushed.db").mkdir()
    (tmp_path / "events.db").write_bytes(b"")
    with pytest.raises(StorageError, match="could not be deleted"):
        destroy_profile(tmp_path)


def test_what_is_no_folder_of_a_profile_is_not_destroyed(tmp_path: Path) -> None:
    folder = tmp_path / "profiles" / "anna"
    with closing(open_store(folder / "profile.db")) as store:
        store.put("a", b"1")
    wrong: list[Any] = [tmp_path, str(tmp_path), "", 5, None, "a\0b"]
    for place in wrong:
        with pytest.raises(UsageError) as caught:
            destroy_profile(place)
        assert caught.value.place == "destroy_profile(folder)"
        assert caught.value.remedy
    assert (folder / "profile.db").exists()
    destroy_profile(str(folder))
    assert list(folder.iterdir()) == []


def test_destroying_goes_on_where_it_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    unlink, left = Path.unlink, [0]

    def dying(self: Path, missing_ok: bool = False) -> None:
        left[0] -= 1
        if left[0] == -1:
            raise Killed
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", dying)
    names = [f"events.db.corrupt-{n}{suffix}" for n in (1, 2) for suffix in ("", "-wal", "-shm")]
    names += [name + suffix for name in ("events.db", "pushed.db", "profile.db") for suffix in ("", "-wal", "-shm")]
    for killed_after in range(len(names)):
        for name in names:
            (tmp_path / name).write_bytes(b"something")
        left[0] = killed_after
        with pytest.raises(Killed):
            destroy_profile(tmp_path)
        assert len([*tmp_path.iterdir()]) == len(names) - killed_after
        destroy_profile(tmp_path)
        assert [*tmp_path.iterdir()] == []
