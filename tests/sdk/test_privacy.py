"""The user's control, at the app's door: what is erased, forgotten, blocked or not allowed, and where the key is."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nearhand import Config, Event, Personalizer
from nearhand.cipher import AesGcm
from nearhand.errors import EncryptionError, EventError, StorageError, UsageError
from nearhand.privacy import AuditEntry, Preferences
from nearhand.profile import destroy_profile
from nearhand.testing import ManualClock
from tests.sdk.killed import Dying, is_killed
from tests.sdk.lives import (
    CALM,
    CONFIG,
    KEY,
    MARK,
    PHONE,
    Keys,
    all_of,
    answered,
    bundle_with_pushed,
    contents,
    copied,
    live,
    open_profile,
    planted,
    profile_folder,
    raw,
    served,
    shown,
    taste,
)
from tests.sdk.serving_factory import NOW

PLANTED = MARK.encode()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without exploration: the same history gives the same list."""
    return bundle_with_pushed(tmp_path_factory.mktemp("calm"), CALM)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Path:
    """A data folder with the bundle, tried, and no profile."""
    folder = tmp_path_factory.mktemp("empty") / "data"
    with open_profile(bundle, folder) as p:
        p.predict("churn")
        p.segment()
        taste(p, ManualClock(NOW), (1,))
        p.recommend()
    shutil.rmtree(folder / "profiles")
    return folder


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, bundle: Path, empty: Path) -> tuple[Path, int]:
    """The data folder of a whole life, closed, and when it ended."""
    clock = ManualClock(NOW)
    folder = copied(empty, tmp_path_factory.mktemp("lived") / "data")
    all_of(live(bundle, folder, clock))
    assert raw(profile_folder(folder)).count(PLANTED) > 1000
    return folder, clock.now_ms()


@pytest.fixture
def data_dir(tmp_path: Path, empty: Path) -> Path:
    return copied(empty, tmp_path / "data")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def opened(bundle: Path, data_dir: Path, clock: ManualClock) -> Iterator[Personalizer]:
    with open_profile(bundle, data_dir, clock) as p:
        yield p


def of_a_new_profile(
    bundle: Path, empty: Path, folder: Path, now: int, prepare: Callable[[Personalizer], object] = lambda p: None
) -> dict[str, Any]:
    with open_profile(bundle, copied(empty, folder), ManualClock(now)) as p:
        prepare(p)
        return served(p)


def check_is_new(p: Personalizer) -> None:
    status = p.status()
    assert (status.events, status.learned, status.consent) == (0, 0, "local")
    assert (status.drops, status.quarantined) == ({"log_bytes": 0, "log_days": 0}, ())
    assert status.features is not None
    assert (status.features.events, status.features.ahead, status.features.pushed.entries) == (0, 0, 0)
    assert p.privacy.preferences == Preferences()
    assert p.privacy.audit() == []


# Erasing


@pytest.mark.parametrize("keys", [None, Keys()], ids=["plain", "encrypted"])
def test_nothing_is_left_of_a_life_and_the_profile_is_new(
    bundle: Path, data_dir: Path, empty: Path, tmp_path: Path, clock: ManualClock, keys: Keys | None
) -> None:
    all_of(live(bundle, data_dir, clock, keys=keys))
    folder = profile_folder(data_dir)
    with open_profile(bundle, data_dir, clock, keys=keys) as p:
        served(p)
        p.privacy.export(tmp_path / "out.json")
        assert p.privacy.audit()
        p.privacy.erase()
        assert PLANTED not in raw(folder)
        check_is_new(p)
        assert served(p) == of_a_new_profile(bundle, empty, tmp_path / "new", clock.now_ms())
        p.privacy.erase()
        assert p.record(planted(1)).event_id == f"{MARK}-id-1"
        p.privacy.erase()
        assert PLANTED not in raw(folder)
    assert PLANTED not in raw(data_dir)
    with open_profile(bundle, data_dir, clock, keys=keys) as p:
        check_is_new(p)
        assert served(p) == of_a_new_profile(bundle, empty, tmp_path / "another", clock.now_ms())


def test_what_is_in_memory_is_not_written_when_it_is_closed(bundle: Path, data_dir: Path, clock: ManualClock) -> None:
    with open_profile(bundle, data_dir, clock) as p:
        taste(p, clock, (6, 12, 18))
        name = answered(p, clock, 3)[0].recommendation_id
        assert p.status().learned == 6
        p.privacy.erase()
    assert name.encode() not in raw(data_dir)
    with open_profile(bundle, data_dir, clock) as p:
        check_is_new(p)


class Breaking(sqlite3.Connection):
    """Fails at a statement, once or, as if the process were killed there, from it on: then no file changes any more."""

    left = -1
    once = False

    def _step(self) -> None:
        if Breaking.left == 0:
            Breaking.left -= Breaking.once
            raise sqlite3.OperationalError("disk I/O error")
        Breaking.left -= Breaking.left > 0

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        self._step()
        return super().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> sqlite3.Cursor:
        self._step()
        return super().executemany(sql, parameters)


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Breaking]]:
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Breaking))
    yield Breaking
    Breaking.left, Breaking.once = -1, False


@pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL what it forked")
def test_an_erasure_that_was_killed_anywhere_is_done_by_the_next_opening(
    bundle: Path, lived: tuple[Path, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it had not begun, and everything is there."""
    origin, now = lived
    was_killed, after, untouched = True, 0, 0
    while was_killed:
        folder, crashed = copied(origin, tmp_path / str(after)), tmp_path / f"{after}-crashed"
        with monkeypatch.context() as patched:
            patched.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Dying))
            with open_profile(bundle, folder, ManualClock(now)) as p:
                p.record(planted(9999))
                was_killed = is_killed(after, p.privacy.erase)
                shutil.copytree(profile_folder(folder), profile_folder(crashed))
        (crashed / "slots").symlink_to(origin / "slots")
        (crashed / "selftests").symlink_to(origin / "selftests")
        with open_profile(bundle, crashed, ManualClock(now)) as p:
            if events := p.events():
                untouched += 1
                assert events[-1].event_id == f"{MARK}-id-9999"
                assert p.status().consent == "sync"
                p.privacy.erase()
            check_is_new(p)
            assert PLANTED not in raw(profile_folder(crashed)), after
        after += 3
    assert untouched < 3
    assert after > 40


@pytest.mark.parametrize("name", ["profile.db", "pushed.db"])
def test_bytes_that_another_reader_holds_back_are_told(
    bundle: Path, lived: tuple[Path, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    origin, now = lived
    folder = copied(origin, tmp_path / "data")
    path = profile_folder(folder) / name
    with open_profile(bundle, folder, ManualClock(now)) as p:
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_master").fetchall()
            with pytest.raises(StorageError, match=rf"{name}: .*not yet every byte"):
                p.privacy.erase()
            check_is_new(p)  # all the rest was done
            reader.execute("ROLLBACK")
        p.privacy.erase()
        assert PLANTED not in raw(profile_folder(folder))


def test_a_list_that_was_being_made_is_not_noted_after_all_was_erased(
    bundle: Path, data_dir: Path, opened: Personalizer
) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow(item_id: str) -> bool:
        asked.set()
        return go_on.wait(20)

    listing = threading.Thread(target=lambda: opened.recommend(3, context=PHONE, predicate=slow))
    erasing = threading.Thread(target=opened.privacy.erase)
    listing.start()
    assert asked.wait(20)
    erasing.start()
    erasing.join(0.2)
    go_on.set()
    listing.join()
    erasing.join()
    assert PLANTED not in raw(profile_folder(data_dir))


# Forgetting


def test_a_forgotten_event_is_nowhere_and_lists_are_as_if_it_never_was(
    bundle: Path, empty: Path, tmp_path: Path
) -> None:
    lists, files, learned = [], [], []
    for has_it in (True, False):
        clock = ManualClock(NOW)
        folder = copied(empty, tmp_path / str(has_it))
        with open_profile(bundle, folder, clock) as p:
            taste(p, clock, (6, 12, 18))
            listed = answered(p, clock, 3)
            name = listed[0].recommendation_id
            if has_it:
                secret = {f"secret-{field}": "secret-text" for field in ("one", "two")}
                p.record(
                    Event(
                        "item_liked",
                        listed[4].item_id,
                        event_id="secret-id",
                        user="secret-user",
                        context={"secret-key": "secret-context"},
                        properties=secret,
                        recommendation_id=name,
                    )
                )
                assert p.status().learned == 7
        with open_profile(bundle, folder, clock) as p:  # there are a snapshot, and a saved bandit
            if has_it:
                assert p.recommend()
                assert p.privacy.forget("secret-id")
                content = raw(profile_folder(folder))
                assert b"secret" not in content
                credited = content.split(f'"{name}":'.encode())[1:]
                assert credited
                assert all(not found.startswith(b"[[0,") or b"[4," not in found[:80] for found in credited)
                assert not p.privacy.forget("secret-id")
            learned.append(p.status().learned)
            lists.append(served(p))
            path = tmp_path / f"{has_it}.json"
            p.privacy.export(path)
            files.append(path.read_text().count(f"{MARK}-id-"))
        assert b"secret" not in raw(profile_folder(folder))
    assert lists[0] == lists[1]
    assert files[0] == files[1] == 12
    assert learned == [6, 6]


def test_a_reset_is_not_forgotten(opened: Personalizer) -> None:
    marker = opened.privacy.reset()
    with pytest.raises(UsageError, match="is a reset"):
        opened.privacy.forget(marker.event_id)


# Consent


def test_without_consent_nothing_is_noted_and_everybody_gets_the_same(
    bundle: Path, lived: tuple[Path, int], empty: Path, tmp_path: Path
) -> None:
    origin, now = lived
    folder = copied(origin, tmp_path / "data")
    with open_profile(bundle, folder, ManualClock(now)) as p:
        before, events = served(p), p.status().events
        p.privacy.set_consent("off")
    for _ in range(2):  # it survives reopening
        with open_profile(bundle, folder, ManualClock(now)) as p:
            assert p.status().consent == "off"
            everybodys = served(p)
            files = contents(profile_folder(folder))
            recorded = p.record(planted(1, "m_6"))
            assert (recorded.sequence, recorded.event_id, recorded.item_id) == (0, f"{MARK}-id-1", "m_6")
            assert [each.sequence for each in p.record_many([planted(2), Event("session_started")])] == [0, 0]
            with pytest.raises(EventError):
                p.record(Event("no_such_event"))
            with pytest.raises(EventError) as caught:  # a burst is counted whole or not at all, as it would be kept
                p.record_many([planted(3), Event("no_such_event")])
            assert caught.value.field == "events[1].event"
            served(p)
            p.recommend(5, context=PHONE, pinned={0: "m_6"})
            decision = p.decide("retention", context=PHONE)
            assert (decision.action, decision.reason, decision.propensity) == ("none", "consent", 1.0)
            assert (decision.held_back, decision.holdout, decision.at) == (None, False, now)
            assert "does not consent" in decision.text
            with pytest.raises(UsageError, match="is not a decision"):
                p.decide("no such")
            status = p.status()
            assert (status.not_recorded, status.events) == (3, events)
            assert contents(profile_folder(folder)) == files
    assert all(one[3] == "fallback" for listed in everybodys["lists"] for one in listed)

    def choose(new: Personalizer) -> None:
        for item_id in (f"{MARK}-blocked", "m_31"):
            new.privacy.block(item_id=item_id)
        new.privacy.block(category="taste 3")
        new.privacy.less_like("m_2")
        new.privacy.set_consent("off")

    new = of_a_new_profile(bundle, empty, tmp_path / "new", now, choose)
    differ = {name for name in new if new[name] != everybodys[name]}
    assert differ == {"features", "learned"}  # what the app may still ask for: nothing that is shown
    with open_profile(bundle, folder, ManualClock(now)) as p:
        p.privacy.set_consent("sync")
        assert served(p) == before


@pytest.mark.parametrize("level", ["local", "sync", "off"])
def test_the_level_of_consent_is_kept(bundle: Path, data_dir: Path, level: Any) -> None:
    with open_profile(bundle, data_dir) as p:
        assert p.status().consent == "local"
        p.privacy.set_consent(level)
        unknown: list[Any] = ["", "OFF", None, []]
        for wrong in unknown:
            with pytest.raises(UsageError, match="no level of consent"):
                p.privacy.set_consent(wrong)
    with open_profile(bundle, data_dir) as p:
        assert p.status().consent == p.privacy.preferences.consent == level


def test_not_personalized_looks_at_no_history_and_keeps_recording(
    bundle: Path, empty: Path, tmp_path: Path, data_dir: Path, clock: ManualClock
) -> None:
    with open_profile(bundle, data_dir, clock) as p:
        taste(p, clock, [6 * n for n in range(12)])
        own = served(p)
        p.privacy.set_personalized(False)
    with open_profile(bundle, data_dir, clock) as p:
        assert not p.privacy.preferences.personalized
        found = served(p)
        new = of_a_new_profile(
            bundle, empty, tmp_path / "new", clock.now_ms(), lambda new: new.privacy.set_personalized(False)
        )
        assert {name for name in new if new[name] != found[name]} == {"features"}
        assert {name for name in new if own[name] != found[name]} >= {"lists", "prediction", "best time"}
        assert p.record(planted(1)).sequence == 25
        assert p.decide("retention").reason != "consent"
        p.privacy.set_personalized(True)
        assert p.privacy.forget(f"{MARK}-id-1")
        assert served(p) == own


# Blocking


@pytest.mark.parametrize("history", [(), (6, 12, 18)], ids=["fallback", "local"])
def test_what_is_blocked_is_nowhere(bundle: Path, data_dir: Path, clock: ManualClock, history: tuple[int, ...]) -> None:
    def everything(p: Personalizer) -> set[str]:
        lists = [
            p.recommend(300),
            p.recommend(3, pinned={0: first, 1: "m_1"}, candidates=[first, "m_1"], only=[first, "m_1", "m_2", "m_3"]),
            p.similar("m_6", 299),
        ]
        return {one.item_id for listed in lists for one in listed}

    with open_profile(bundle, data_dir, clock) as p:
        taste(p, clock, history)
        first = p.recommend(1)[0].item_id
        before = everything(p)
        assert {first, "m_1"} <= before
        p.privacy.block(item_id=first)
        p.privacy.block(category="taste 1")
        p.privacy.block(item_id="of another catalogue")
    with open_profile(bundle, data_dir, clock) as p:
        found = everything(p)
        assert first not in found
        assert found
        assert not [item_id for item_id in found if int(item_id[2:]) % 6 == 1]
        assert p.privacy.preferences.blocked_items == (first, "of another catalogue")
        assert p.privacy.unblock(item_id=first)
        assert p.privacy.unblock(category="taste 1")
        assert not p.privacy.unblock(category="taste 1")
        assert not p.privacy.unblock(category="no such")
        assert everything(p) == before


def test_a_wrong_block_is_named(opened: Personalizer) -> None:
    for wrong in ({}, {"item_id": "m_1", "category": "taste 1"}):
        with pytest.raises(UsageError, match="exactly one"):
            opened.privacy.block(**wrong)
    with pytest.raises(UsageError, match="no item is of the category 'taste 9'"):
        opened.privacy.block(category="taste 9")
    wrong_ids: list[Any] = [5, "", "\ud800", "a\n", "x" * 257]
    for item_id in wrong_ids:
        with pytest.raises(UsageError, match=r"block\(item_id\): .* is no identifier"):
            opened.privacy.block(item_id=item_id)
        assert not opened.privacy.unblock(item_id=item_id)
    for category in wrong_ids:
        with pytest.raises(UsageError, match="no item is of the category"):
            opened.privacy.block(category=category)
    with pytest.raises(UsageError, match="'m_999' is not in the catalogue"):
        opened.privacy.less_like("m_999")
    assert opened.privacy.preferences == Preferences()


def test_less_of_an_item_is_less_of_its_like(opened: Personalizer, clock: ManualClock) -> None:
    def places() -> int:
        return sum(one.position for one in opened.recommend(10) if int(one.item_id[2:]) % 6 == 0)

    taste(opened, clock, (6, 12, 7, 13))
    before, own = shown(opened.recommend(10)), places()
    opened.privacy.less_like("m_18")
    assert "m_18" not in [one.item_id for one in opened.recommend(300)]
    assert places() > own
    assert opened.privacy.undo_less_like("m_18")
    assert not opened.privacy.undo_less_like("m_18")
    assert shown(opened.recommend(10)) == before
    opened.privacy.less_like("m_18")
    opened.privacy.reset()
    assert opened.privacy.preferences.less_like == ()


def test_two_of_one_profile_do_not_undo_each_others_choices(bundle: Path, data_dir: Path) -> None:
    with open_profile(bundle, data_dir) as one, open_profile(bundle, data_dir) as other:
        one.privacy.block(item_id="m_1")
        other.privacy.block(item_id="m_2")
        other.privacy.set_personalized(False)
        one.privacy.set_consent("sync")
        assert one.privacy.preferences == Preferences("sync", False, ("m_1", "m_2"))


def test_what_another_process_chose_holds_within_a_second(bundle: Path, data_dir: Path, clock: ManualClock) -> None:
    with open_profile(bundle, data_dir, clock) as one, open_profile(bundle, data_dir, clock) as other:
        one.privacy.set_consent("off")
        clock.advance(1000)
        assert other.record(planted(1)).sequence == 0
        assert other.status().consent == "off"
        one.privacy.erase()
        clock.advance(1000)
        assert other.record(planted(1)).sequence > 0


def test_a_choice_after_the_data_were_deleted_under_an_open_profile_is_kept(bundle: Path, data_dir: Path) -> None:
    with open_profile(bundle, data_dir) as p:
        p.privacy.block(item_id="m_1")
        shutil.rmtree(data_dir / "profiles")
        p.privacy.set_consent("off")
        p.privacy.block(item_id="m_2")
        assert p.privacy.preferences == Preferences("off", blocked_items=("m_2",)), "those of a new profile, and these"
    with open_profile(bundle, data_dir) as p:
        assert p.privacy.preferences == Preferences("off", blocked_items=("m_2",))
        assert p.record(Event("item_liked", "m_3")).sequence == 0


@pytest.mark.skipif(os.name != "posix", reason="the system has no modes of files")
def test_nobody_else_on_the_device_may_read_a_profile(bundle: Path, tmp_path: Path) -> None:
    with open_profile(bundle, tmp_path / "data") as p:
        p.privacy.export(tmp_path / "mine.json")
    assert stat.S_IMODE(profile_folder(tmp_path / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "mine.json").stat().st_mode) == 0o600


def test_several_exports_into_one_file_at_once_are_each_whole(opened: Personalizer, tmp_path: Path) -> None:
    opened.record_many([planted(number) for number in range(200)])

    def export(_: int) -> None:
        for _ in range(5):
            opened.privacy.export(tmp_path / "mine.json")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(export, range(4)))
    assert [path.name for path in tmp_path.iterdir() if path.name != "data"] == ["mine.json"]
    opened.privacy.erase()
    assert opened.privacy.import_(tmp_path / "mine.json") == 200


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with a name")
def test_an_export_replaces_files_only(opened: Personalizer, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for place in (pipe, tmp_path):
        with pytest.raises(UsageError, match="is no ordinary file; give the path of a file"):
            opened.privacy.export(place)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert [path.name for path in tmp_path.iterdir() if path.name != "data"] == ["pipe"]
    assert opened.privacy.audit() == []


@pytest.mark.degrades
@pytest.mark.parametrize("keys", [None, Keys()], ids=["plain", "encrypted"])
def test_choices_that_are_damaged_allow_nothing_and_can_be_made_again(
    bundle: Path, data_dir: Path, keys: Keys | None
) -> None:
    with open_profile(bundle, data_dir, keys=keys) as p:
        p.record(planted(1))
        p.privacy.set_consent("sync")
    with closing(sqlite3.connect(profile_folder(data_dir) / "profile.db", isolation_level=None)) as connection:
        name = "preferences" if keys is None else AesGcm(KEY).index("preferences")
        changed = connection.execute(
            "UPDATE value SET content = CAST(content || x'00' AS BLOB) WHERE name = ?", (name,)
        )
        assert changed.rowcount == 1
    for _ in range(2):
        with open_profile(bundle, data_dir, keys=keys) as p:
            assert p.status().consent == "off"
            assert any("consent is off until it is given again" in reason for reason in p.status().degradations)
            assert p.record(planted(2)).sequence == 0
            assert {each.source for each in p.recommend(3)} == {"fallback"}
    with open_profile(bundle, data_dir, keys=keys) as p:
        p.privacy.set_consent("local")
        assert p.record(planted(2)).sequence == 2
    with open_profile(bundle, data_dir, keys=keys) as p:
        assert (p.status().consent, p.status().events, p.status().degradations) == ("local", 2, {})


@pytest.mark.degrades
def test_preferences_that_cannot_be_read_again_hold_as_before(
    bundle: Path, data_dir: Path, clock: ManualClock, breaking: type[Breaking]
) -> None:
    with open_profile(bundle, data_dir, clock) as p:
        p.privacy.set_consent("off")
        clock.advance(1000)
        breaking.left = 0
        assert p.record(planted(1)).sequence == 0
        breaking.left = -1
        assert [reason for reason in p.status().degradations if "preferences could not be read" in reason]


def test_a_choice_that_cannot_be_kept_is_as_before(bundle: Path, data_dir: Path, breaking: type[Breaking]) -> None:
    with open_profile(bundle, data_dir) as p:
        breaking.once = True
        for after in range(3):
            for choose in (
                lambda: p.privacy.set_consent("off"),
                lambda: p.privacy.set_personalized(False),
                lambda: p.privacy.block(item_id="m_1"),
                p.privacy.reset,
            ):
                breaking.left = after
                with pytest.raises(StorageError):
                    choose()
            assert p.privacy.preferences == Preferences()
            assert p.status().events == 0


# Resetting


def test_after_a_reset_all_begins_anew_and_the_history_stays(
    bundle: Path, data_dir: Path, empty: Path, tmp_path: Path, clock: ManualClock
) -> None:
    def choose(p: Personalizer) -> None:
        p.privacy.block(item_id="m_7")
        p.privacy.set_consent("sync")

    with open_profile(bundle, data_dir, clock) as p:
        taste(p, clock, [6 * n for n in range(12)])
        answered(p, clock, 4)
        choose(p)
        kept = p.status().events
        assert p.status().learned == 8
        assert p.best_time().reason == "rhythm"
        p.privacy.reset()
        found = served(p)
        assert found == of_a_new_profile(bundle, empty, tmp_path / "new", clock.now_ms(), choose)
        assert found["preferences"] == Preferences("sync", blocked_items=("m_7",))
        assert p.status().events == kept + 1
        p.privacy.export(tmp_path / "out.json")
        assert f"{MARK}-id-1000" in (tmp_path / "out.json").read_text()
    with open_profile(bundle, data_dir, clock) as p:
        assert served(p) == found


# What has left the device


def test_an_export_is_noted_without_any_identifier(
    bundle: Path, data_dir: Path, clock: ManualClock, tmp_path: Path
) -> None:
    with open_profile(bundle, data_dir, clock) as p:
        taste(p, clock, (6,))
        size = p.privacy.export(tmp_path / f"{MARK}.json")
        clock.advance(5)
        p.privacy.export(str(tmp_path / "again.json"))
    with open_profile(bundle, data_dir, clock) as p:
        first, second = p.privacy.audit()
        assert first == AuditEntry(clock.now_ms() - 5, "profile", 2, size, "a file", "export")
        assert size == (tmp_path / f"{MARK}.json").stat().st_size
        assert second.at == clock.now_ms()
        noted = p._opened.store.entries("audit")
        assert len(noted) == 2
        for secret in (PLANTED, b"m_6", b"item_", str(tmp_path).encode()):
            assert all(secret not in each.content and secret not in each.name.encode() for each in noted)
        p.privacy.forget(f"{MARK}-id-1000")
        assert p.privacy.audit() == [first, second]


# Encryption


def test_a_life_with_a_key_is_in_the_clear_at_no_time(
    bundle: Path, data_dir: Path, clock: ManualClock, tmp_path: Path
) -> None:
    folder = profile_folder(data_dir)
    for number, _ in enumerate(live(bundle, data_dir, clock, keys=Keys())):
        crashed = tmp_path / str(number)
        shutil.copytree(folder, crashed)
        content = raw(crashed)
        for text in (MARK, "item_liked", "retention", "taste 3", "m_31", "sync", "preferences_reset"):
            assert text.encode() not in content, (text, number)
    with open_profile(bundle, data_dir, clock, keys=Keys()) as p:
        assert p.status().is_encrypted
        assert p.status().learned == 8
        assert p.privacy.preferences.blocked_categories == ("taste 3",)


@pytest.mark.parametrize("made_with", [None, KEY], ids=["plain", "encrypted"])
def test_another_key_opens_nothing_and_changes_nothing(
    bundle: Path, data_dir: Path, clock: ManualClock, made_with: bytes | None
) -> None:
    keys = None if made_with is None else Keys(made_with)
    with open_profile(bundle, data_dir, clock, keys=keys) as p:
        taste(p, clock, (6, 12))
        answered(p, clock, 2)
        p.privacy.block(item_id="m_1")
    before = contents(data_dir)
    others = [
        Keys(b"k" * 32),
        Keys(None),
        Keys(error=RuntimeError("too much")),
        *([None] if made_with else [Keys()]),
    ]
    for other in others:
        with pytest.raises(EncryptionError) as refused:
            open_profile(bundle, data_dir, clock, keys=other)
        assert "too much" not in str(refused.value)  # what a keystore says may tell too much
        assert contents(data_dir) == before
    with pytest.raises(UsageError, match="not 32 bytes"):
        open_profile(bundle, data_dir, clock, keys=Keys(b"short"))
    assert contents(data_dir) == before
    with open_profile(bundle, data_dir, clock, keys=keys) as p:
        assert p.status().events == 8


def test_a_profile_whose_key_is_lost_is_destroyed_and_begins_anew(
    bundle: Path, data_dir: Path, empty: Path, tmp_path: Path, clock: ManualClock
) -> None:
    all_of(live(bundle, data_dir, clock, keys=Keys()))
    with pytest.raises(EncryptionError, match="destroy the profile"):
        open_profile(bundle, data_dir, clock, keys=Keys(None))
    destroy_profile(profile_folder(data_dir))
    assert list(profile_folder(data_dir).iterdir()) == []
    with open_profile(bundle, data_dir, clock, keys=Keys(b"k" * 32)) as p:
        check_is_new(p)
        assert served(p) == of_a_new_profile(bundle, empty, tmp_path / "new", clock.now_ms())


@pytest.mark.degrades
def test_a_profile_that_was_made_anew_with_another_key_meanwhile_gives_everybodys_lists(
    bundle: Path, data_dir: Path, clock: ManualClock
) -> None:
    with open_profile(bundle, data_dir, clock, keys=Keys()) as p:
        taste(p, clock, (6, 12))
        assert {each.source for each in p.recommend(5)} == {"local"}
        destroy_profile(profile_folder(data_dir))
        with open_profile(bundle, data_dir, clock, keys=Keys(b"k" * 32)) as other:
            other.record(planted(1))
        clock.advance(1000)
        with pytest.raises(EncryptionError):
            p.record(planted(2))
        for _ in range(2):
            assert {each.source for each in p.recommend(5)} == {"fallback"}
            assert len(p.similar("m_6", 5)) == 5
            p.pause()  # nothing of what is in memory can be written down, which is counted
        p.resume()
    with open_profile(bundle, data_dir, clock, keys=Keys(b"k" * 32)) as other:
        assert [event.event_id for event in other.events()] == [f"{MARK}-id-1"]


def test_a_key_of_one_profile_is_not_anothers(bundle: Path, data_dir: Path) -> None:
    other = Config(durability="process", profile="other", seed=CONFIG.seed)
    with open_profile(bundle, data_dir, keys=Keys()), open_profile(bundle, data_dir, config=other) as plain:
        assert not plain.status().is_encrypted
