"""An encrypted log: nothing that was recorded is in any of its files, and only its key opens it."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearhand.cipher import AesGcm, Cipher
from nearhand.errors import EncryptionError, UsageError
from nearhand.events import RESET, Caps, Checkpointer, Event, EventLog, EventSchema, RecordedEvent, Snapshot
from nearhand.events.rows import COLUMNS, opened
from nearhand.events.schema import DamagedError
from nearhand.testing.clock import ManualClock
from tests.sdk.event_logs import START_MS, run, spoil, sql
from tests.sdk.event_logs import open_log as open_plain
from tests.sdk.test_event_log_schema import VERSION_1

KEY, OTHER_KEY = bytes(range(32)), b"k" * 32
MARK = "planted"
KIND = f"{MARK}_kind"
TYPES = {KIND: EventSchema(item=True)}


def open_log(
    path: Path,
    cipher: Cipher | None = None,
    *,
    caps: Caps = Caps(),  # noqa: B008 - frozen
    checkpointer: Checkpointer | None = None,
) -> EventLog:
    return EventLog(
        path,
        clock=ManualClock(START_MS),
        durability="process",
        event_types=TYPES,
        caps=caps,
        checkpointer=checkpointer,
        cipher=cipher or AesGcm(KEY),
    )


def planted(number: int = 0, **fields: Any) -> Event:
    """An event with a mark in each of its texts."""
    return Event(
        KIND,
        event_id=f"{MARK}-id-{number}",
        item_id=f"{MARK}-item",
        user=f"{MARK}-user",
        recommendation_id=f"{MARK}-recommendation",
        context={f"{MARK}-key": f"{MARK}-context"},
        properties={"text": f"{MARK}-properties", **fields},
    )


def raw(folder: Path) -> bytes:
    """All bytes of all files. By another process: closing a file here would drop SQLite's locks on it."""
    return subprocess.run(["cat", *sorted(folder.iterdir())], capture_output=True, check=True).stdout


def check_hidden(folder: Path) -> None:
    content = raw(folder)
    for text in (MARK, RESET, base64.b64encode(MARK.encode())[:8].decode()):
        assert text.encode() not in content, f"{text!r} is in the files"


class Teller:
    """A checkpointer whose state is all that it was told."""

    fingerprint = "teller-1"

    def fold(self, state: bytes | None, events: Sequence[RecordedEvent], as_of: int) -> bytes:
        return b"".join([state or b"", *(f"{event.event_id} {event.item_id};".encode() for event in events)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log" / "events.db"


# Nothing is in the clear


def test_nothing_is_in_the_clear_after_any_operation(path: Path, tmp_path: Path) -> None:
    folder = path.parent
    caps = Caps(max_bytes=20_000)
    with open_log(path, caps=caps, checkpointer=Teller()) as log:
        check_hidden(folder)
        first = log.append(planted())
        check_hidden(folder)
        log.append_many([planted(n) for n in range(1, 20)])
        check_hidden(folder)
        assert log.append(planted()) == first
        assert log.append_many([planted(), planted(20)])[0] == first
        check_hidden(folder)
        marker = log.reset()
        check_hidden(folder)
        assert log.save_snapshot("f", Snapshot(f"{MARK}-state".encode(), marker.sequence, log.rewrites()))
        check_hidden(folder)
        assert log.forget(f"{MARK}-id-3")
        check_hidden(folder)
        assert log.save_snapshot("f", Snapshot(f"{MARK}-state".encode(), marker.sequence, log.rewrites()))
        before = log.count()
        for n in range(21, 90):
            log.append(planted(n))
        log.enforce_caps()
        assert log.count() < before + 69
        assert f"{MARK}-id-1 {MARK}-item;".encode() in (log.checkpoint("teller-1") or b"")
        check_hidden(folder)
        kept = log.since(0)
        crashed = tmp_path / "crashed"
        shutil.copytree(folder, crashed)
    check_hidden(folder)
    with open_log(path, caps=caps, checkpointer=Teller()) as log:
        assert log.since(0) == kept
        check_hidden(folder)
    check_hidden(crashed)
    with open_log(crashed / "events.db", caps=caps, checkpointer=Teller()) as log:
        assert log.since(0) == kept
        log.append(planted(90))
        check_hidden(crashed)


def test_nothing_is_in_the_clear_after_damage(path: Path) -> None:
    with open_log(path) as log:
        log.append_many([planted(n, filling="x" * 50) for n in range(200)])
    spoil(path)
    with open_log(path) as log:
        assert log.since(0) == []
        assert log.quarantined == ("events.db.corrupt-1",)
        log.append(planted(1))
        check_hidden(path.parent)
        with pytest.raises(EncryptionError):  # the fresh one is for the same key
            open_log(path, AesGcm(OTHER_KEY))


def test_what_is_looked_for_is_found_in_a_log_in_the_clear(path: Path) -> None:
    with EventLog(path, clock=ManualClock(START_MS), durability="process", event_types=TYPES) as log:
        log.append(planted())
        with pytest.raises(AssertionError, match="'planted' is in the files"):
            check_hidden(path.parent)


def test_the_memory_of_the_process_is_not_left_in_the_index(path: Path) -> None:
    # As if somebody had opened the log, and had been killed in the middle of the first write of a page: see the other
    # test of this, in tests/faults/test_story.py.
    with open_log(path) as log:
        log.append(planted())
    closed = path.read_bytes()
    write_ahead = path.with_name("events.db-wal")
    with open_log(path) as log:
        log.append(planted(1))
        torn = write_ahead.read_bytes()[: 32 + 12]
    path.write_bytes(closed)
    write_ahead.write_bytes(torn)
    memory = [MARK.encode() * 5_000 for _ in range(200)]
    del memory[::2]
    with open_log(path):
        check_hidden(path.parent)


# It is a log like any other


def test_it_keeps_what_a_log_in_the_clear_keeps(path: Path, tmp_path: Path) -> None:
    def tell(log: EventLog) -> list[Any]:
        told: list[Any] = [log.append(planted()), *log.append_many([planted(1), planted(), planted(2)])]
        told += [log.reset().event, log.append(planted(3)), log.forget(f"{MARK}-id-1"), log.forget("never was")]
        told += [log.append(planted(1)), log.count(), log.changed_elsewhere()]
        with pytest.raises(UsageError, match="is a reset"):
            log.forget(log.since(0)[2].event_id)
        return [*told, [event for event in log.since(0) if event.event != RESET], log.since(3, 1)]

    with (
        open_log(path) as sealed,
        EventLog(tmp_path / "plain.db", clock=ManualClock(START_MS), durability="process", event_types=TYPES) as plain,
    ):
        assert tell(sealed) == tell(plain)


texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=20).filter(
    lambda text: text.strip() == text and text.isprintable()
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared") / "events.db"


@settings(max_examples=60)
@given(
    item=texts,
    user=st.none() | texts,
    recommendation=st.none() | texts,
    context=st.dictionaries(texts, st.booleans() | texts, max_size=3),
    properties=st.dictionaries(texts, json_values, max_size=3),
)
def test_every_event_comes_back(
    shared: Path, item: str, user: str | None, recommendation: str | None, context: Any, properties: Any
) -> None:
    event = Event(
        KIND, item_id=item, user=user, recommendation_id=recommendation, context=context, properties=properties
    )
    with open_log(shared) as log:
        recorded = log.append(event)
    assert (recorded.item_id, recorded.user, recorded.recommendation_id) == (item, user, recommendation)
    assert (recorded.context, recorded.properties) == (event.context, event.properties)
    with open_log(shared) as log:
        assert log.since(recorded.sequence - 1) == [recorded]


WRITES = """
import sys
from pathlib import Path
from nearhand.cipher import AesGcm
from nearhand.clock import SystemClock
from nearhand.events import Event, EventLog
with EventLog(Path(sys.argv[1]), clock=SystemClock(), durability="process", cipher=AesGcm(bytes(range(32)))) as log:
    for n in range(50):
        log.append(Event("item_viewed", item_id="m", event_id=f"{sys.argv[2]}-{n}"))
"""


def test_several_processes_make_one_log_at_once(path: Path) -> None:
    children = [run(WRITES, path, name) for name in "abc"]
    assert [child.communicate(timeout=60)[1] for child in children] == ["", "", ""]
    with open_log(path) as log:
        assert sorted(event.event_id for event in log.since(0)) == sorted(f"{c}-{n}" for c in "abc" for n in range(50))


# Keys


@pytest.mark.parametrize("events", [0, 3])
def test_another_key_or_none_opens_nothing_and_changes_nothing(path: Path, events: int) -> None:
    with open_log(path) as log:
        kept = log.append_many([planted(n) for n in range(events)])
    before = path.read_bytes()
    with pytest.raises(EncryptionError, match=r"events\.db: was encrypted with another key"):
        open_log(path, AesGcm(OTHER_KEY))
    with pytest.raises(EncryptionError, match=r"events\.db: is encrypted, and no key was given"):
        open_plain(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["events.db"]
    with open_log(path) as log:
        assert log.since(0) == kept
        with pytest.raises(EncryptionError):  # not even while it is open
            open_log(path, AesGcm(OTHER_KEY))


@pytest.mark.parametrize("events", [0, 3])
def test_a_log_in_the_clear_stays_so(path: Path, events: int) -> None:
    with open_plain(path) as plain:
        kept = [plain.append(Event("item_viewed", item_id=f"m_{n}")) for n in range(events)]
    before = path.read_bytes()
    with pytest.raises(EncryptionError, match="is not encrypted, and a key was given"):
        open_log(path)
    assert path.read_bytes() == before
    with open_plain(path) as plain:
        assert plain.since(0) == kept


class Keystore:
    """A cipher whose key can be taken away."""

    def __init__(self) -> None:
        self.is_there = True
        self._cipher = AesGcm(KEY)

    def seal(self, value: bytes, place: str) -> bytes:
        return self._use().seal(value, place)

    def open(self, sealed: bytes, place: str) -> bytes:
        return self._use().open(sealed, place)

    def index(self, text: str) -> str:
        return self._cipher.index(text)

    def _use(self) -> AesGcm:
        if not self.is_there:
            raise EncryptionError("is locked", place="the keystore", remedy="unlock it")
        return self._cipher


def test_a_key_that_goes_away_is_not_damage(path: Path) -> None:
    keystore = Keystore()
    with open_log(path, keystore, caps=Caps(max_bytes=1_000), checkpointer=Teller()) as log:
        kept = [log.append(planted(n)) for n in range(3)]
        keystore.is_there = False
        for use in (
            lambda: log.since(0),
            lambda: log.append(planted(9)),
            lambda: log.append_many([planted(9)]),
            log.reset,
            lambda: log.forget(f"{MARK}-id-1"),
            log.enforce_caps,
            lambda: log.save_snapshot("f", Snapshot(b"state", 3, log.rewrites())),
        ):
            with pytest.raises(EncryptionError, match="is locked"):
                use()
        assert log.quarantined == ()
        keystore.is_there = True
        assert log.since(0) == kept


# Damage


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE event SET properties = (SELECT properties FROM event WHERE sequence = 1) WHERE sequence = 2",
        "UPDATE event SET event_id = '0123456789abcdef0123456789abcdef' WHERE sequence = 2",
        "UPDATE event SET properties = '' WHERE sequence = 2",
        "UPDATE event SET properties = '{}' WHERE sequence = 2",
        "UPDATE event SET properties = properties || ' ' WHERE sequence = 2",
    ],
)
def test_a_value_that_was_moved_or_altered_is_damage(path: Path, change: str) -> None:
    with open_log(path) as log:
        log.append_many([planted(n) for n in range(3)])
        sql(path, change)
        assert len(log.since(2)) == 1
        assert log.since(0) == []
        assert log.quarantined == ("events.db.corrupt-1",)
        check_hidden(path.parent)


@pytest.mark.parametrize("item", ["m", "mm", "mmm"])  # base64 ends in another way each time
def test_every_altered_character_of_an_event_is_refused(path: Path, item: str) -> None:
    with open_log(path) as log:
        log.append(Event(KIND, item_id=item))
    ((*row, value),) = sql(path, f"SELECT {', '.join(COLUMNS)} FROM event")
    assert opened((*row, value), AesGcm(KEY))[6] == item
    for position in range(len(value)):
        for other in {"A", "B", "=", "é", *(chr(ord(value[position]) ^ 1 << bit) for bit in range(7))} - {
            value[position]
        }:
            with pytest.raises((DamagedError, EncryptionError)):
                opened((*row, value[:position] + other + value[position + 1 :]), AesGcm(KEY))


@pytest.mark.parametrize(
    ("table", "change"),
    [
        *(
            (table, change)
            for table in ("checkpoint", "snapshot")
            for change in ("state = x'00'", "state = (SELECT value FROM seal)", "fingerprint = 'other'")
        ),
        ("snapshot", "through = 1"),
    ],
)
def test_a_state_that_was_moved_or_altered_is_damage(path: Path, table: str, change: str) -> None:
    with open_log(path, caps=Caps(max_bytes=3_000), checkpointer=Teller()) as log:
        last = log.append_many([planted(n) for n in range(20)])[-1]
        assert log.enforce_caps()
        assert log.save_snapshot("teller-1", Snapshot(b"state", last.sequence, log.rewrites()))
        fingerprint = "other" if "other" in change else "teller-1"
        sql(path, f"UPDATE {table} SET {change}")
        log.checkpoint(fingerprint) if table == "checkpoint" else log.snapshot(fingerprint)
        assert log.quarantined == ("events.db.corrupt-1",)


def test_a_duplicate_of_a_damaged_event_is_kept_anew(path: Path) -> None:
    with open_log(path) as log:
        log.append(planted())
        sql(path, "UPDATE event SET properties = 'AAAA'")
        assert log.append(planted()).sequence == 1
        assert log.quarantined == ("events.db.corrupt-1",)
        assert log.count() == 1


def test_a_log_whose_schema_is_old_cannot_become_encrypted(path: Path) -> None:
    path.parent.mkdir()
    sql(path, VERSION_1)
    with pytest.raises(EncryptionError, match="is not encrypted"):
        open_log(path)
    assert sql(path, "PRAGMA user_version") == [(1,)]
