"""The outbox and what empties it: what leaves, what does not, and what becomes of every kind of answer."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nearhand.cipher import AesGcm
from nearhand.errors import StorageError, UsageError
from nearhand.events import DAY_MS, Caps, Event
from nearhand.network import Answer, Call, NetworkError
from nearhand.privacy import Audit
from nearhand.sync import SyncConfig, SyncReport, part
from nearhand.sync.identity import find_install
from nearhand.sync.lock import alone
from nearhand.testing import LATE, LOST, TWICE, UNANSWERED, Fault, FaultyTransport
from tests.sdk.event_logs import spoil
from tests.sdk.lives import KEY as CIPHER_KEY
from tests.sdk.lives import raw
from tests.sdk.sync_device import (
    CONFIG,
    KEY,
    URL,
    Device,
    MemoryEndpoint,
    always,
    answered,
    bodies,
    device,
    record,
    said,
)

# What leaves


def test_an_event_in_segments_shape(phone: Device, wire: FaultyTransport) -> None:
    phone.clock.jump_to(1_795_000_000_123)
    event = Event(
        "item_viewed",
        "m_1021",
        user="anna",
        context={"device": "phone", "screen": "home"},
        properties={"seconds": 41, "note": "é", "item_id": "other"},
        recommendation_id="r1",
    )
    kept = phone.log.append(event, sendable=True)
    report = phone.sync()
    (body,) = bodies(wire)
    assert body == {
        "sentAt": "2026-11-18T11:06:40.123Z",
        "batch": [
            {
                "type": "track",
                "messageId": kept.event_id,
                "anonymousId": body["batch"][0]["anonymousId"],
                "event": "item_viewed",
                "timestamp": "2026-11-18T11:06:40.123Z",
                "properties": {"item_id": "m_1021", "seconds": 41},
                "context": {
                    "device": "phone",
                    "nearhand": {
                        "sequence": kept.sequence,
                        "recorded_at": 1_795_000_000_123,
                        "utc_offset_minutes": 0,
                        "epoch": 0,
                        "recommendation_id": "r1",
                    },
                },
            }
        ],
    }
    assert report.left_out == {"note": 1, "item_id": 1, "screen": 1}
    assert (report.events_sent, report.duplicates, report.pending, report.is_complete) == (1, 0, 0, True)
    (call,) = [call for call in wire.calls if call.body]
    assert call.headers["authorization"] == "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()
    assert len(bytes.fromhex(call.headers["x-nearhand-install-key"])) == 32
    assert report.bytes_sent == len(call.body or b"")
    assert call.body == gzip.compress(gzip.decompress(call.body or b""), 6, mtime=0)  # no time in it


def test_an_event_as_a_cloud_event(tmp_path: Path, wire: FaultyTransport) -> None:
    with device(tmp_path, wire, config=replace(CONFIG, format="cloudevents", headers={"x-app": "films"})) as phone:
        phone.consent("sync")
        kept = phone.log.append(Event("search", properties={"query": "heat", "other": 1}), sendable=True)
        assert phone.sync().events_sent == 1
        install = find_install(phone.store)
    assert install is not None
    (body,) = bodies(wire, "events")
    assert body == [
        {
            "specversion": "1.0",
            "id": kept.event_id,
            "source": f"urn:nearhand:install:{install.install_id}",
            "type": "org.nearhand.event.search",
            "time": "2023-11-14T22:13:20.000Z",
            "datacontenttype": "application/json",
            "nearhandsequence": kept.sequence,
            "nearhandrecordedat": "2023-11-14T22:13:20.000Z",
            "nearhandoffset": 0,
            "nearhandepoch": 0,
            "data": {"properties": {"query": "heat"}, "context": {}},
        }
    ]
    assert wire.calls[0].headers["content-type"] == "application/cloudevents-batch+json"
    assert wire.calls[0].headers["x-app"] == "films"


def test_the_lists_of_what_may_leave_are_the_apps(tmp_path: Path, wire: FaultyTransport) -> None:
    with device(tmp_path, wire, config=replace(CONFIG, properties=("tags",), context=())) as phone:
        phone.consent("sync")
        record(phone, properties={"tags": ["a", {"b": 1}], "seconds": 3}, context={"device": "tv"})
        assert phone.sync().left_out == {"seconds": 1, "device": 1}
    (message,) = bodies(wire)[0]["batch"]
    assert message["properties"] == {"item_id": "m_1", "tags": ["a", {"b": 1}]}
    assert set(message["context"]) == {"nearhand"}


def test_a_reset_and_names_without_end_are_no_trouble(phone: Device, endpoint: MemoryEndpoint) -> None:
    phone.log.reset()
    for number in range(150):
        record(phone, properties={f"p{number}": 1})
    phone.log.outbox.allow_past()
    report = phone.sync()
    assert (report.events_sent, report.is_complete) == (150, True)
    assert len(report.left_out) == 101
    assert report.left_out["…"] == 50


# Consent


def test_only_what_was_recorded_with_consent_leaves(
    tmp_path: Path, wire: FaultyTransport, endpoint: MemoryEndpoint
) -> None:
    with device(tmp_path, wire) as phone:
        before = record(phone, 3)
        assert phone.sync() == SyncReport(is_complete=True)
        assert (wire.calls, find_install(phone.store)) == ([], None)
        phone.consent("sync")
        during = record(phone, 3)
        phone.consent("local")
        between = record(phone, 3)
        assert phone.sync() == SyncReport(is_complete=True, pending=3)
        assert wire.calls == []
        phone.consent("sync")
        after = record(phone, 2)
        assert phone.sync().events_sent == 5
        assert set(endpoint.seen) == {*during, *after}
        # and the past, once the user wants it: each part once, whenever it is asked for.
        assert phone.log.outbox.allow_past() == 6
        assert phone.sync().events_sent == 6
        phone.consent("local")
        later = record(phone, 2)
        phone.consent("sync")
        phone.log.outbox.allow_past()
        assert phone.sync().events_sent == 2
        assert endpoint.seen == dict.fromkeys([*before, *during, *between, *after, *later], 1)


@pytest.mark.parametrize("level", ["local", "off"])
def test_taking_consent_back_stops_in_the_middle(phone: Device, wire: FaultyTransport, level: str) -> None:
    record(phone, 1200)

    def withdraw(number: int, call: Call) -> None:
        if number == 1:
            phone.consent(level)

    wire.fault = withdraw
    report = phone.sync()
    assert (report.events_sent, report.pending) == (500, 700)
    assert [call.url for call in wire.calls] == [f"{URL}/v1/batch"]


def test_taking_consent_back_elsewhere_is_seen_before_the_next_batch(
    tmp_path: Path, phone: Device, wire: FaultyTransport
) -> None:
    """In another process; here: another opening of the same profile."""
    record(phone, 1200)
    with device(tmp_path, MemoryEndpoint()) as other:
        wire.fault = lambda number, call: other.consent("local")
        assert phone.sync().events_sent == 500


# Trouble on the way


@pytest.mark.parametrize("fault", [LOST, UNANSWERED, LATE, TWICE], ids=["lost", "unanswered", "late", "twice"])
def test_what_goes_wrong_once_is_made_good(
    phone: Device, wire: FaultyTransport, endpoint: MemoryEndpoint, fault: Fault
) -> None:
    ids = record(phone, 700)
    wire.fault = lambda number, call: fault if number in (1, 3) else None
    report = phone.sync()
    wire.deliver_late()
    assert (report.is_complete, report.pending, report.errors) == (True, 0, ())
    assert report.events_sent == 700
    assert report.duplicates == (700 if fault is UNANSWERED else 0)
    assert [*endpoint.stored] == ids


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Welcome to the hotel</html>",
        b"",
        b"[]",
        b"{}",
        b'{"accepted": 1, "duplicates": 0, "refused": []}',
        b'{"accepted": 2.0, "duplicates": 0, "refused": []}',
        b'{"accepted": 3, "duplicates": -1, "refused": []}',
        b'{"accepted": true, "duplicates": true, "refused": []}',
        b'{"accepted": 1, "duplicates": 0, "refused": [{}]}',
        b'{"accepted": "2", "duplicates": 0, "refused": []}',
        b'{"accepted": 2, "duplicates": 0, "refused": [], "cut',
        b"[" * 100_000,
    ],
    ids=range(12),
)
@pytest.mark.parametrize("status", [200, 202])
def test_a_success_that_is_not_the_endpoints_is_none(
    phone: Device, wire: FaultyTransport, endpoint: MemoryEndpoint, body: bytes, status: int
) -> None:
    ids = record(phone, 2)
    wire.fault = always(Answer(status, {}, body))
    report = phone.sync()
    assert (report.events_sent, report.pending, report.is_complete) == (0, 2, False)
    assert "not the endpoint's" in report.errors[0]
    wire.fault = lambda number, call: None
    assert phone.sync().is_complete
    assert [*endpoint.stored] == ids


def test_tries_end_and_the_report_says_when_to_come_again(phone: Device, wire: FaultyTransport) -> None:
    record(phone)
    wire.fault = lambda number, call: LOST
    report = phone.sync()
    assert len(wire.calls) == CONFIG.attempts
    assert phone.waits[-1] == pytest.approx(0.95 * (0 + 0.5 + 1 + 2))
    assert report.errors == ("batch: the call was lost as the test asked",)
    assert (report.retry_after_ms, report.pending) == (0.95 * 4000, 1)
    assert phone.syncer.status().last_error == report.errors[0]
    assert phone.syncer.status().last_success_at is None


@pytest.mark.parametrize("years", [-10, 10])
def test_a_clock_that_jumps_makes_no_difference(phone: Device, wire: FaultyTransport, years: int) -> None:
    ids = record(phone, 2)
    busy = said(503, retry_after="Wed, 18 Nov 2026 09:06:50 GMT", date="Wed, 18 Nov 2026 09:06:40 GMT")

    def jump(number: int, call: Call) -> Fault | None:
        phone.clock.jump_to(phone.clock.now_ms() + years * 365 * DAY_MS)
        return Fault(deliveries=0, answer=busy) if number == 1 else None

    wire.fault = jump
    report = phone.sync()
    assert report.is_complete
    assert phone.waits[-1] == pytest.approx(10)
    assert [message["messageId"] for message in bodies(wire)[-1]["batch"]] == ids
    assert phone.sync().events_sent == 0


def test_the_time_that_the_endpoint_names_does_not_count_as_a_try(phone: Device, wire: FaultyTransport) -> None:
    record(phone)
    wire.fault = lambda number, call: Fault(0, answer=said(429, retry_after="2")) if number <= 9 else None
    assert phone.sync().is_complete
    assert phone.waits[-1] == pytest.approx(9 * 2)
    assert len([call for call in wire.calls if call.body]) == 10


def test_a_long_named_time_ends_the_sync_and_holds_for_the_next(phone: Device, wire: FaultyTransport) -> None:
    record(phone)
    wire.fault = lambda number, call: Fault(0, answer=said(429, retry_after="600")) if number == 1 else None
    report = phone.sync()
    assert (report.retry_after_ms, len(wire.calls), phone.waits[-1]) == (600_000, 1, 0)
    phone.clock.advance(599_000)
    report = phone.sync()
    assert report.errors == ("the endpoint has asked to wait",)
    assert (report.retry_after_ms, report.pending, len(wire.calls)) == (1_001, 1, 1)
    phone.clock.advance(1_001)
    assert phone.sync().is_complete


def test_no_status_loses_an_event(phone: Device, wire: FaultyTransport, endpoint: MemoryEndpoint) -> None:
    ids = record(phone, 2)
    for status in (*range(100, 200), *range(300, 403), *range(404, 413), *range(414, 600)):
        wire.fault = always(said(status))
        wire.calls.clear()
        report = phone.sync()
        is_tried_again = status in (408, 410, 429, 460) or (status >= 500 and status not in (501, 505))
        assert len(wire.calls) == (CONFIG.attempts if is_tried_again else 1), status
        assert (report.pending, report.is_complete, len(report.errors)) == (2, False, 1), status
        assert f"HTTP {status}" in report.errors[0]
        assert KEY not in report.errors[0]
    wire.fault = always(said(403, "install-key"))
    assert phone.sync().errors == ("batch: HTTP 403 install-key",)
    wire.fault = lambda number, call: None
    assert phone.sync().events_sent == 2
    assert [*endpoint.stored] == ids


def test_a_wrong_write_key_stops_everything(tmp_path: Path, wire: FaultyTransport) -> None:
    with device(tmp_path, wire, config=replace(CONFIG, write_key="another")) as phone:
        phone.consent("sync")
        record(phone)
        report = phone.sync()
    assert report.errors == ("batch: HTTP 401 write-key: as the test asked",)
    assert (len(wire.calls), report.pending) == (1, 1)


def test_refused_events_are_counted_by_code_and_not_sent_again(
    phone: Device, wire: FaultyTransport, endpoint: MemoryEndpoint
) -> None:
    ids = record(phone, 5)
    endpoint.refusals = {ids[1]: "event-type", ids[2]: "event-type", ids[4]: "time"}
    report = phone.sync()
    assert (report.events_sent, report.refused) == (2, {"event-type": 2, "time": 1})
    assert (report.is_complete, report.pending) == (True, 0)
    assert report.dropped == {"refused: event-type": 2, "refused: time": 1}
    assert phone.sync().events_sent == 0
    assert max(endpoint.seen.values()) == 1


# Sizes, and the pace


def test_batches_keep_to_both_limits(tmp_path: Path, wire: FaultyTransport, endpoint: MemoryEndpoint) -> None:
    config = replace(CONFIG, max_events=40, max_batch_bytes=20_000, properties=("text",))
    with device(tmp_path, wire, config=config) as phone:
        phone.consent("sync")
        ids = record(phone, 90) + [record(phone, properties={"text": "é" * 40 * n})[0] for n in range(60)]
        assert phone.sync().is_complete
    found = [gzip.decompress(call.body) for call in wire.calls if call.body]
    assert max(map(len, found)) <= 20_000
    assert [len(json.loads(body)["batch"]) for body in found][:2] == [40, 40]
    assert [*endpoint.stored] == ids
    assert set(endpoint.seen.values()) == {1}


def test_what_is_too_large_is_halved_until_it_fits(
    phone: Device, wire: FaultyTransport, endpoint: MemoryEndpoint
) -> None:
    ids = record(phone, 100)
    endpoint.largest = 8_000
    assert phone.sync().is_complete
    assert [*endpoint.stored] == ids
    assert len(wire.calls) < 16


def test_one_event_that_is_too_large_is_dropped_and_counted(
    phone: Device, wire: FaultyTransport, endpoint: MemoryEndpoint
) -> None:
    ids = record(phone, 5)
    large = phone.log.append(Event("navigated", properties={"screen": "x" * 300}), sendable=True)
    ids += record(phone, 5)
    endpoint.largest = 480
    report = phone.sync()
    assert (report.events_sent, report.dropped, report.pending) == (10, {"too large": 1}, 0)
    assert [*endpoint.stored] == ids
    assert large.event_id not in endpoint.stored


def test_an_event_that_no_message_can_hold_is_dropped_and_counted(phone: Device, endpoint: MemoryEndpoint) -> None:
    phone.clock.jump_to(10**17)  # in the year 3,170,843
    record(phone, 600)
    phone.clock.jump_to(1_795_000_000_000)
    ids = record(phone)
    report = phone.sync()
    assert (report.dropped, report.is_complete) == ({"time": 600}, True)
    assert [*endpoint.stored] == ids


def test_a_long_time_without_network_is_made_good_politely(
    tmp_path: Path, wire: FaultyTransport, endpoint: MemoryEndpoint
) -> None:
    config = replace(CONFIG, events_per_second=100, deadline_ms=20_000)
    with device(tmp_path, wire, config=config) as phone:
        phone.consent("sync")
        record(phone, 3000)
        reports: list[SyncReport] = []
        while not reports or not reports[-1].is_complete:
            reports.append(phone.sync())
            assert reports[-1].errors == ()
            assert reports[-1].events_sent <= 100 * 20 + 500
        assert [report.events_sent for report in reports] == [2000, 1000]
        assert reports[0].pending == 1000
        assert phone.waits[:2] == pytest.approx([15, 5])
        record(phone, 10)
        assert phone.sync().is_complete
        assert phone.waits[-1] == 0


def test_the_deadline_bounds_a_sync(phone: Device, wire: FaultyTransport) -> None:
    record(phone, 5000)
    timeouts = []

    def slow(number: int, call: Call) -> None:
        timeouts.append(call.timeout_ms)
        phone.clock.advance(7_000)

    wire.fault = slow
    report = phone.sync()
    assert timeouts == [10_000, 10_000, 10_000, 9_000, 2_000]
    assert (report.events_sent, report.is_complete, report.errors) == (2500, False, ())


@pytest.mark.parametrize("by_the_app", [True, False])
def test_a_sync_is_cancelled(phone: Device, wire: FaultyTransport, by_the_app: bool) -> None:
    record(phone, 5000)
    cancelled = threading.Event()

    def cancel(number: int, call: Call) -> None:
        if number == 2:
            (cancelled.set if by_the_app else phone.syncer.interrupt)()

    wire.fault = cancel
    report = phone.sync(cancelled)
    assert (report.events_sent, report.is_complete, report.errors) == (1000, False, ())
    assert len(wire.calls) == 2
    cancelled.clear()
    assert phone.sync(cancelled).is_complete


def test_a_profile_that_is_closed_in_the_middle(
    tmp_path: Path, wire: FaultyTransport, endpoint: MemoryEndpoint
) -> None:
    with device(tmp_path, wire) as phone:
        phone.consent("sync")
        ids = record(phone, 700)
        wire.fault = lambda number, call: phone.close() if number == 1 else None
        report = phone.sync()
        assert (report.events_sent, report.is_complete) == (0, False)
    wire.fault = lambda number, call: None
    with device(tmp_path, wire) as phone:
        assert phone.sync().duplicates == 500
    assert [*endpoint.stored] == ids


def test_one_sync_at_a_time(tmp_path: Path, phone: Device, wire: FaultyTransport) -> None:
    record(phone)
    with alone(tmp_path / "sync.lock") as is_free:
        assert is_free
        report = phone.sync()
    assert (report.errors, report.pending) == (("another sync of this profile is running",), 1)
    assert wire.calls == []
    assert phone.sync().is_complete


def drained(folder: Path, count: int) -> int:
    """The most memory that the sync of so many events takes, bytes."""
    counted = 0

    class Counting:
        def send(self, call: Call) -> Answer:
            nonlocal counted
            sent = gzip.decompress(call.body).count(b'"messageId"') if call.body else 0
            counted += sent
            return answered({"accepted": sent, "duplicates": 0, "refused": [], "features": []})

        def close(self) -> None: ...

    config = replace(CONFIG, deadline_ms=3_600_000)
    with device(folder, Counting(), config=config, caps=Caps(max_bytes=10**12)) as phone:
        phone.consent("sync")
        for start in range(0, count, 5000):
            record(phone, min(5000, count - start), properties={"seconds": 41})
        tracemalloc.start()
        try:
            report = phone.sync()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert (report.events_sent, report.pending, report.is_complete) == (count, 0, True)
    assert counted == count
    return peak


@pytest.mark.parametrize("count", [4_000, pytest.param(1_000_000, marks=pytest.mark.torture)])
def test_memory_is_flat_however_many_events_there_are(tmp_path: Path, count: int) -> None:
    few, many = drained(tmp_path / "few", 1_000), drained(tmp_path / "many", count)
    assert many < 1.25 * few, (few, many)
    assert many < 8_000_000


# The log


def test_what_the_caps_evict_before_it_was_sent_is_counted(tmp_path: Path, endpoint: MemoryEndpoint) -> None:
    with device(tmp_path, endpoint, caps=Caps(max_bytes=20_000, max_age_ms=10 * DAY_MS)) as phone:
        record(phone, 40)  # without consent
        phone.consent("sync")
        record(phone, 30)
        assert phone.sync().events_sent == 30
        record(phone, 200)
        phone.log.enforce_caps()
        evicted = phone.log.drops()["log_bytes"]
        kept = phone.log.count()
        assert 0 < kept < 200
        assert evicted == 270 - kept
        report = phone.sync()
        assert report.dropped == {"log_bytes": 200 - kept}
        assert report.events_sent == kept
        record(phone, 60)
        phone.clock.advance(20 * DAY_MS)
        record(phone, 100)
        phone.log.enforce_caps()
        dropped = phone.syncer.status().dropped
        assert dropped["log_days"] > 0
        assert phone.sync().events_sent == 160 - dropped["log_days"] - (dropped["log_bytes"] - (200 - kept))


def test_a_log_that_was_replaced_begins_anew(tmp_path: Path, wire: FaultyTransport, endpoint: MemoryEndpoint) -> None:
    """No cursor of the old file is taken for one of the new: nothing that was recorded there is skipped."""
    with device(tmp_path, wire) as phone:
        phone.consent("sync")
        record(phone, 100)
        assert phone.sync().is_complete
        record(phone, 10)
        ids: list[str] = []

        def damage(number: int, call: Call) -> None:
            if not ids:
                phone.log.close()
                spoil(tmp_path / "events.db")
                with device(tmp_path, MemoryEndpoint()) as other:
                    ids.extend(record(other, 130))

        wire.fault = damage
        with pytest.raises(UsageError, match="closed"):
            phone.sync()
    wire.fault = lambda number, call: None
    with device(tmp_path, wire) as phone:
        assert phone.log.quarantined
        assert phone.sync().events_sent == 130
    assert set(ids) <= set(endpoint.stored)


def test_a_parcel_of_another_log_settles_nothing(tmp_path: Path, phone: Device) -> None:
    record(phone, 5)
    parcel = phone.log.outbox.take(10, 10_000)
    assert parcel is not None
    assert not phone.log.outbox.settle(replace(parcel, log=parcel.log + 1), parcel.through, {"too large": 1})
    assert not phone.log.outbox.settle(parcel, parcel.through + 1, {})  # never further than what was handed out
    assert phone.log.outbox.settle(parcel, parcel.through, {})
    assert not phone.log.outbox.settle(parcel, parcel.through - 2, {})  # never back
    assert (phone.log.outbox.pending(), phone.log.outbox.unsent()) == (0, {})


def test_nothing_leaves_without_an_entry_in_the_audit_log(
    phone: Device, wire: FaultyTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = record(phone, 600)
    audit = Audit(phone.store, phone.clock)

    def noted(number: int, call: Call) -> None:
        assert len(audit.entries()) == number

    wire.fault = noted
    report = phone.sync()
    sizes = [len(call.body or b"") for call in wire.calls]
    entries = audit.entries()
    assert [(each.what, each.count, each.to, each.why) for each in entries] == [
        ("events", 500, URL, "sync"),
        ("events", 100, URL, "sync"),
        ("request for features", 1, URL, "sync"),
    ]
    assert [each.bytes for each in entries] == sizes
    assert report.bytes_sent == sum(sizes)
    content = json.dumps([repr(entry) for entry in entries])
    assert not [event_id for event_id in ids if event_id in content]

    def fail(*arguments: Any, **named: Any) -> None:
        raise StorageError("full", place="audit")

    record(phone)
    monkeypatch.setattr(Audit, "note", fail)
    with pytest.raises(StorageError):
        phone.sync()
    assert len(wire.calls) == 3


def test_two_devices_with_one_cloned_disk(tmp_path: Path, endpoint: MemoryEndpoint) -> None:
    with device(tmp_path / "one", endpoint) as phone:
        phone.consent("sync")
        ids = record(phone, 3)
        phone.sync()
        ids += record(phone, 4)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for folder in ("one", "two"):
        with device(tmp_path / folder, endpoint) as phone:
            ids += record(phone, 5)  # with the same sequence numbers on both
            assert phone.sync().is_complete
    assert sorted(endpoint.stored) == sorted(ids)
    assert len(endpoint.keys) == 1


# Pushed features


def test_features_are_taken_over_once_and_again_when_they_grow_old(
    phone: Device, wire: FaultyTransport, endpoint: MemoryEndpoint
) -> None:
    record(phone)
    assert phone.sync().features == 0
    feature = {"name": "ltv", "values": [1.5, 2], "ttl_ms": DAY_MS, "source": "backend"}
    endpoint.features = ('"v1"', [feature, {"name": "broken"}])
    assert phone.sync().features == 1
    assert phone.pushed == {"ltv": ([1.5, 2], 86_400)}
    assert any("was not taken over" in reason for reason in phone.meter.degradations())
    phone.pushed.clear()
    assert phone.sync().features == 0
    assert wire.calls[-1].headers["if-none-match"] == '"v1"'
    phone.clock.advance(DAY_MS // 2)
    assert phone.sync().features == 1  # the same ones, whose time to live begins anew
    endpoint.features = ('"v2"', [feature, {**feature, "name": "age"}])
    assert phone.sync().features == 2
    phone.clock.jump_to(0)
    assert phone.sync().features == 2
    phone.consent("local")
    wire.calls.clear()
    phone.sync()
    assert wire.calls == []


def test_features_of_a_profile_that_was_erased_in_the_meantime(
    phone: Device, wire: FaultyTransport, endpoint: MemoryEndpoint
) -> None:
    record(phone)
    feature = {"name": "ltv", "values": [1.5, 2], "ttl_ms": DAY_MS, "source": "backend"}
    endpoint.features = ('"v1"', [feature])
    wire.fault = lambda number, call: part(phone.store) if call.method == "GET" else None
    assert phone.sync().features == 0
    assert phone.pushed == {}


def test_features_can_be_left_alone(tmp_path: Path, wire: FaultyTransport) -> None:
    with device(tmp_path, wire, config=replace(CONFIG, features=False)) as phone:
        phone.consent("sync")
        record(phone)
        assert phone.sync().is_complete
    assert len(wire.calls) == 1


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"features": {}}', b'{"features": [1]}', b"\xff"])
def test_features_that_are_none(phone: Device, wire: FaultyTransport, body: bytes) -> None:
    record(phone)
    wire.fault = lambda number, call: Fault(0, answer=Answer(200, {}, body)) if call.method == "GET" else None
    report = phone.sync()
    assert report.events_sent == 1
    assert "not the endpoint's" in report.errors[0]


# At rest


def test_what_the_outbox_keeps_is_encrypted(tmp_path: Path, wire: FaultyTransport, endpoint: MemoryEndpoint) -> None:
    with device(tmp_path, wire, cipher=AesGcm(CIPHER_KEY)) as phone:
        phone.consent("sync")
        phone.log.append(Event("item_liked", "m_1", event_id="secret-id"), sendable=True)
        assert phone.sync().events_sent == 1
        assert phone.log.forget("secret-id")
        install = find_install(phone.store)
        assert install is not None
        content = raw(tmp_path)
        assert not [text for text in ("secret-id", install.install_id, install.key) if text.encode() in content]
    with device(tmp_path, wire, cipher=AesGcm(CIPHER_KEY)) as phone:
        assert phone.sync().erasures == 1
        assert endpoint.stored == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("url", url) for url in ("", "events.test", "ftp://a", "http://a:b", "https://", "https://u:p@a", "https://a?b=c",
                                   "https://a#b", "http://events.test", "https://a\n", "https://a b", None, 3)),
        *((name, choice) for name in ("features", "allow_http") for choice in ("no", 1, None)),
        *(("write_key", key) for key in ("", " ", "a:b", "é", "a\nb", None)),
        ("format", "json"),
        *(("properties", names) for names in (["a"], "seconds", (1,), ("item_id",))),
        ("context", None),
        *(("max_events", n) for n in (0, 501, True, 1.0)),
        *(("max_batch_bytes", n) for n in (999, 475_001)),
        *(("timeout_ms", n) for n in (0, -1, float("nan"), "1", True)),
        ("deadline_ms", 10**9),
        ("events_per_second", 0),
        ("attempts", 0),
        *(("headers", headers) for headers in ({"x": 1}, {"x": "a\r\nb"}, [("x", "y")], {"": "a"})),
    ],
    ids=lambda value: repr(value)[:20].replace(" at 0x", ""),
)  # fmt: skip
def test_a_configuration_that_cannot_work_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"SyncConfig\.{field}"):
        SyncConfig(**{"url": URL, "write_key": KEY, field: value})


def test_secrets_are_not_shown() -> None:
    shown = repr(SyncConfig(URL, "the-key", headers={"x-gateway": "the-token"}))
    assert URL in shown
    assert "the-key" not in shown
    assert "the-token" not in shown
    for url in ("http://127.0.0.1:8700", "http://localhost/base/", "http://[::1]:1"):
        assert SyncConfig(url, KEY).url == url
    assert SyncConfig("http://10.0.2.2", KEY, allow_http=True)


def test_a_base_path_is_kept(tmp_path: Path) -> None:
    calls: list[Call] = []

    class Recorder:
        def send(self, call: Call) -> Answer:
            calls.append(call)
            raise NetworkError("none", place="", remedy="")

        def close(self) -> None: ...

    with device(tmp_path, Recorder(), config=replace(CONFIG, url="https://events.test/base/v1/x/")) as phone:
        phone.consent("sync")
        record(phone)
        assert phone.sync().errors == ("batch: none",)
    assert {call.url for call in calls} == {"https://events.test/base/v1/x/v1/batch"}


def test_a_transport_that_answers_nonsense_is_no_exception(phone: Device, wire: FaultyTransport) -> None:
    record(phone)
    wire.fault = always(answered(None, 500))
    assert phone.sync().errors == ("batch: HTTP 500",)
