"""What the user takes back leaves the endpoint too: forgotten events, and all of an erased profile."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest

from nearhand import Config, Event, Personalizer
from nearhand.cipher import AesGcm
from nearhand.events import Caps
from nearhand.events.outbox import Outbox, Parcel
from nearhand.network import Call
from nearhand.privacy import Audit
from nearhand.profile import ERASING
from nearhand.sync import ERASURES, part
from nearhand.sync.identity import find_install
from nearhand.testing import LATE, LOST, UNANSWERED, Fault, FaultyTransport
from tests.sdk.killed import Dying, is_killed
from tests.sdk.lives import KEY as CIPHER_KEY
from tests.sdk.lives import raw
from tests.sdk.sync_device import CONFIG, Device, MemoryEndpoint, bodies, device, record, said
from tests.tiny import Tiny


def test_what_was_forgotten_before_it_was_sent_never_leaves(phone: Device, endpoint: MemoryEndpoint) -> None:
    ids = record(phone, 3)
    assert phone.log.forget(ids[1])
    report = phone.sync()
    assert (report.events_sent, report.erasures) == (2, 0)
    assert [*endpoint.seen] == [ids[0], ids[2]]


def test_what_was_forgotten_after_it_was_sent_goes_there_too(
    phone: Device, wire: FaultyTransport, endpoint: MemoryEndpoint
) -> None:
    ids = record(phone, 3)
    phone.sync()
    assert phone.log.forget(ids[1])
    assert phone.syncer.status().erasures == 1
    phone.consent("local")  # a wish of the user's is not a matter of this consent
    wire.fault = lambda number, call: LOST
    assert phone.sync().erasures == 0
    wire.fault = lambda number, call: None
    assert phone.sync().erasures == 1
    assert [*endpoint.stored] == [ids[0], ids[2]]
    assert phone.syncer.status().erasures == 0
    assert phone.sync().erasures == 0
    assert [entry.what for entry in Audit(phone.store, phone.clock).entries()][-1] == "request to erase"


@pytest.mark.parametrize("fault", [LOST, UNANSWERED, LATE], ids=["lost", "unanswered", "late"])
def test_what_was_forgotten_while_it_was_on_its_way(
    phone: Device, wire: FaultyTransport, endpoint: MemoryEndpoint, fault: Fault
) -> None:
    ids = record(phone, 3)

    def forget(number: int, call: Call) -> Fault | None:
        if number == 1:
            assert phone.log.forget(ids[1])
            return fault
        return None

    wire.fault = forget
    report = phone.sync()
    wire.deliver_late()
    assert (report.erasures, report.is_complete) == (1, True)
    assert [message["messageId"] for message in bodies(wire)[1]["batch"]] == [ids[0], ids[2]]
    assert {*endpoint.stored} == {ids[0], ids[2]}


def test_what_is_recorded_after_an_erasure_never_goes_under_the_erased_name(
    phone: Device, endpoint: MemoryEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sync knows the name already, and waits for the log while all of it is erased and recording goes on."""
    record(phone)
    phone.sync()
    record(phone)
    ids: list[str] = []
    take = Outbox.take

    def late(outbox: Outbox, limit: int, max_bytes: int) -> Parcel | None:
        if not ids:
            part(phone.store)
            phone.log.erase()
            ids.extend(record(phone, 3))
        return take(outbox, limit, max_bytes)

    monkeypatch.setattr(Outbox, "take", late)
    phone.sync()
    assert phone.sync().is_complete
    assert [*endpoint.stored] == ids
    assert len(endpoint.erased_installs) == 1


def test_what_was_evicted_after_it_was_sent_can_still_be_forgotten_there(
    tmp_path: Path, endpoint: MemoryEndpoint
) -> None:
    with device(tmp_path, endpoint, caps=Caps(max_bytes=20_000)) as phone:
        phone.consent("sync")
        ids = record(phone, 50)
        phone.sync()
        record(phone, 200)
        phone.log.enforce_caps()
        assert not phone.log.forget(ids[0])
        assert phone.sync().erasures == 1
        assert ids[0] not in endpoint.stored
        assert ids[1] in endpoint.stored


def test_many_deletions_are_several_requests(phone: Device, wire: FaultyTransport, endpoint: MemoryEndpoint) -> None:
    record(phone)
    phone.sync()
    rows = [(str(number), str(number).encode()) for number in range(1005)]
    phone.log.outbox._write(lambda connection: connection.executemany("INSERT INTO deletion VALUES (?, ?)", rows))
    assert phone.sync().erasures == 2
    assert [len(body["event_ids"]) for body in bodies(wire, "erasures")] == [1000, 5]
    assert len(endpoint.erased_ids) == 1005


@pytest.mark.parametrize("code", ["erased", "signature"])
def test_an_endpoint_that_knows_better(
    phone: Device, wire: FaultyTransport, endpoint: MemoryEndpoint, code: str
) -> None:
    ids = record(phone, 2)
    phone.sync()
    phone.log.forget(ids[0])
    record(phone)
    wire.fault = lambda number, call: Fault(0, answer=said(403, code)) if "erasures" in call.url else None
    report = phone.sync()
    assert report.events_sent == 1  # a request that is not taken holds up no event
    assert report.errors == (() if code == "erased" else ("erasures: HTTP 403 signature",))
    assert phone.syncer.status().erasures == (0 if code == "erased" else 1)


def test_an_install_that_was_erased_elsewhere_gets_another_name(phone: Device, endpoint: MemoryEndpoint) -> None:
    """Such as by the other one of two devices with one cloned disk."""
    record(phone)
    phone.sync()
    first = find_install(phone.store)
    assert first is not None
    endpoint.erased_installs.add(first.install_id)
    ids = record(phone)
    report = phone.sync()
    assert (report.errors, report.pending) == (("batch: HTTP 403 erased",), 1)
    assert phone.sync().events_sent == 1
    assert ids[0] in endpoint.stored
    second = find_install(phone.store)
    assert second is not None
    assert (second.install_id != first.install_id, second.key != first.key) == (True, True)


def test_the_request_to_erase_is_encrypted_and_outlives_the_wipe(
    tmp_path: Path, wire: FaultyTransport, endpoint: MemoryEndpoint
) -> None:
    with device(tmp_path, wire, cipher=AesGcm(CIPHER_KEY)) as phone:
        phone.consent("sync")
        record(phone, 3)
        assert phone.sync().events_sent == 3
        install = find_install(phone.store)
        assert install is not None
        for _ in range(2):  # erasing again is no second request, and does not lose the first one
            phone.log.erase()
            part(phone.store)
            phone.store.clear(keep=[ERASURES])
        assert install.install_id.encode() not in raw(tmp_path)
        phone.preferences.fresh()
        assert phone.sync().erasures == 1
    assert endpoint.stored == {}
    assert len(bodies(wire, "erasures")) == 1


def opened(tiny: Tiny, data_dir: Path, endpoint: MemoryEndpoint) -> Personalizer:
    config = Config(runtime="onnx", durability="process")
    return Personalizer.open(tiny.slot.folder, data_dir, config=config, sync=CONFIG, transport=endpoint)


@pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL what it forked")
def test_an_erasure_that_was_killed_anywhere_reaches_the_endpoint(
    tiny: Tiny, tmp_path: Path, endpoint: MemoryEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what was forgotten before, and was still to be deleted there."""
    with opened(tiny, tmp_path / "lived", endpoint) as p:
        p.privacy.set_consent("sync")
        ids = [p.record(Event("item_viewed", "m_1")).event_id for _ in range(3)]
        assert p.sync().events_sent == 3
        assert p.privacy.forget(ids[1])
    was_killed, after, untouched = True, 0, 0
    while was_killed:
        folder, crashed, there = tmp_path / str(after), tmp_path / f"{after}-crashed", deepcopy(endpoint)
        shutil.copytree(tmp_path / "lived", folder)
        with monkeypatch.context() as patched:
            patched.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Dying))
            with opened(tiny, folder, there) as p:
                was_killed = is_killed(after, p.privacy.erase)
                shutil.copytree(folder, crashed)
        with opened(tiny, crashed, there) as p:
            is_erased = not p.events()
            untouched += not is_erased
            assert p.sync().is_complete
            assert [*there.stored] == ([] if is_erased else [ids[0], ids[2]]), after
        after += 2
    assert untouched < 4
    assert after > 20


def test_nothing_is_sent_while_the_profile_is_being_erased(phone: Device, endpoint: MemoryEndpoint) -> None:
    record(phone)
    phone.store.put(ERASING, b"1")
    report = phone.sync()
    assert (report.errors, report.is_complete, report.pending) == (("the profile is being erased",), False, 1)
    assert endpoint.stored == {}
    phone.store.put(ERASING, None)
    assert phone.sync().is_complete
    assert len(endpoint.stored) == 1


@pytest.mark.degrades
def test_an_erasure_that_cannot_be_finished_whole_is_counted_and_takes_nothing_of_what_comes_later(
    tiny: Tiny, tmp_path: Path, endpoint: MemoryEndpoint
) -> None:
    with opened(tiny, tmp_path, endpoint) as p:
        p.privacy.set_consent("sync")
        p.record(Event("item_viewed", "m_1"))
        assert p.sync().events_sent == 1
        p._opened.store.put(ERASING, b"1")  # as a kill right after it had begun leaves it
    (path,) = tmp_path.rglob("profile.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchall()
        with opened(tiny, tmp_path, endpoint) as p:
            assert [each for each in p.status().degradations if "an erasure that was begun is not finished" in each]
            assert not p.events()
            p.privacy.set_consent("sync")
            later = p.record(Event("item_viewed", "m_2")).event_id
            assert p.sync().erasures == 1
    assert [*endpoint.stored] == [later]
    with opened(tiny, tmp_path, endpoint) as p:
        assert p.status().degradations == {}
        assert [event.event_id for event in p.events()] == [later]
