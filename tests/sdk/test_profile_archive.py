"""A profile as one JSON document: the same on the other device, taken over whole or not at all."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nearhand import Event, Personalizer
from nearhand.errors import EventError, NearhandError, StorageError, UsageError
from nearhand.events import EventLog, RecordedEvent
from nearhand.privacy import Preferences
from nearhand.privacy.archive import Archive, encode_profile, read_profile
from nearhand.profile import Entry
from nearhand.testing import ManualClock
from tests.sdk.lives import (
    CALM,
    MARK,
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
    served,
    taste,
)
from tests.sdk.serving_factory import NOW, serving_bundle
from tests.sdk.test_privacy import Breaking


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With exploration: draws are part of what has to be the same."""
    return bundle_with_pushed(tmp_path_factory.mktemp("exploring"))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Path:
    """A data folder with the bundle, tried, and no profile."""
    folder = tmp_path_factory.mktemp("empty") / "data"
    with open_profile(bundle, folder) as p:
        taste(p, ManualClock(NOW), (1,))
        served(p)
    shutil.rmtree(folder / "profiles")
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, bundle: Path, empty: Path) -> tuple[Path, int]:
    """The document of a whole life, and when it ended."""
    clock = ManualClock(NOW)
    folder = tmp_path_factory.mktemp("exported")
    all_of(live(bundle, copied(empty, folder / "data"), clock, damage=False))
    with open_profile(bundle, folder / "data", clock) as p:
        p.privacy.export(folder / "profile.json")
    return folder / "profile.json", clock.now_ms()


@pytest.fixture
def data_dir(tmp_path: Path, empty: Path) -> Path:
    return copied(empty, tmp_path / "data")


def everything(p: Personalizer, clock: ManualClock) -> dict[str, Any]:
    """What a profile serves, and what it decides in the weeks to come."""
    found = served(p)
    decided = []
    for _ in range(12):
        clock.advance(2 * 86_400_000)
        decision = p.decide("retention")
        decided.append((decision.action, decision.reason, decision.propensity, decision.held_back, decision.holdout))
    return {**found, "decided": decided, "events": p.status().events, "learned": p.status().learned}


def undrawn(p: Personalizer) -> dict[str, Any]:
    """What does not depend on a draw, which is another one each time."""
    return served(p, 0)


# The same on the other device


@pytest.mark.parametrize(
    ("keys", "others"), [(None, None), (Keys(), None), (None, Keys(b"k" * 32))], ids=["plain", "opened", "sealed"]
)
def test_another_device_serves_the_same(
    bundle: Path, data_dir: Path, empty: Path, tmp_path: Path, keys: Keys | None, others: Keys | None
) -> None:
    clock = ManualClock(NOW)
    all_of(live(bundle, data_dir, clock, keys=keys, damage=False))
    path = tmp_path / "profile.json"
    with open_profile(bundle, data_dir, clock, keys=keys) as p:
        size = p.privacy.export(path)
        assert size == path.stat().st_size
        assert p.features.status().pushed.entries == 1
        events, drops = p.status().events, p.status().drops
    document = json.loads(path.read_text())
    assert (document["format"], document["kind"], document["exported_at"]) == (1, "nearhand profile", clock.now_ms())
    assert document["features"] is not None  # what was evicted has left a state
    assert "source" not in path.read_text()  # of a pushed feature
    assert drops["log_bytes"] > 0
    other_dir, other_clock = copied(empty, tmp_path / "other"), ManualClock(clock.now_ms())
    with open_profile(bundle, other_dir, other_clock, keys=others) as other:
        assert other.privacy.import_(path) == events == len(document["events"])
        assert other.privacy.audit() == []
        again = tmp_path / "again.json"
        other.privacy.export(again)
        second = json.loads(again.read_text())
        unlike = {name for name in document if document[name] != second[name]}
        assert unlike <= {"sha256", "events", "values"}  # their numbers, and the bandit's of the last one, are its own
        for one, same in zip(document["events"], second["events"], strict=True):
            assert {**one, "sequence": 0} == {**same, "sequence": 0}
    with open_profile(bundle, other_dir, other_clock, keys=others) as other:
        assert other.features.status().pushed.entries == 0
        other.features.push("ltv", [1.5, 2.5], ttl_seconds=10**6, source="again")
        found = everything(other, other_clock)
    with open_profile(bundle, data_dir, clock, keys=keys) as p:
        assert everything(p, clock) == found
        assert not p.privacy.forget(f"{MARK}-id-319")  # it stays forgotten
    assert found["preferences"].consent == "sync"
    assert found["learned"] == 8
    assert "frequency_cap" in {reason for _, reason, *_ in found["decided"]}
    if others is not None:
        assert MARK.encode() not in b"".join(contents(profile_folder(other_dir)).values())


def test_what_was_learned_a_moment_ago_is_in_the_document(
    bundle: Path, data_dir: Path, empty: Path, tmp_path: Path
) -> None:
    clock = ManualClock(NOW)
    with open_profile(bundle, data_dir, clock) as p:
        taste(p, clock, (6, 12, 18))
        name = answered(p, clock, 3)[0].recommendation_id
        p.privacy.export(tmp_path / "profile.json")
        assert p.status().learned == 6
        with open_profile(bundle, copied(empty, tmp_path / "other"), clock) as other:
            other.recommend(3)  # what a new device has shown gives way
            other.privacy.import_(tmp_path / "profile.json")
            assert other.status().learned == 6
            listed = p._opened.store.find("exposure", name)
            assert listed is not None
            for each in (p, other):  # the list is known there, so what comes of it is learned
                item_id = json.loads(json.dumps(listed.content.decode(errors="replace").split('"m_')[1].split('"')[0]))
                each.record(Event("item_liked", f"m_{item_id}", recommendation_id=name))
            assert other.status().learned == p.status().learned
            assert other.privacy.forget(f"{MARK}-id-5001")
            assert p.privacy.forget(f"{MARK}-id-5001")
            assert other.status().learned == p.status().learned


def test_what_was_learned_from_events_that_are_gone_is_taken_along(
    bundle: Path, data_dir: Path, empty: Path, tmp_path: Path
) -> None:
    clock = ManualClock(NOW)
    with open_profile(bundle, data_dir, clock) as p:
        taste(p, clock, (6, 12, 18))
        answered(p, clock, 3)
        assert p.status().learned == 6
        for start in range(0, 512, 64):
            p.record_many([planted(10_000 + start + n) for n in range(64)])
        p.privacy.export(tmp_path / "profile.json")
        assert "m_6" not in {event.item_id for event in read_profile(tmp_path / "profile.json").events}
    with open_profile(bundle, copied(empty, tmp_path / "other"), clock) as other:
        other.privacy.import_(tmp_path / "profile.json")
        assert other.status().learned == 6
    with open_profile(bundle, tmp_path / "other", clock) as other:
        assert other.status().learned == 6


def test_no_event_is_in_the_document_and_in_the_state_of_the_evicted(
    bundle: Path, data_dir: Path, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_profile(bundle, data_dir) as p, open_profile(bundle, data_dir) as other:
        bursts = iter(range(10))

        def burst() -> None:
            if (number := next(bursts, None)) is not None:
                other.record_many([planted(10_000 + number * 128 + n) for n in range(128)])

        def evicting_first(work: Callable[..., Any]) -> Callable[..., Any]:
            def call(log: EventLog, *args: Any, **named: Any) -> Any:
                if log is p._opened.log:
                    burst()
                return work(log, *args, **named)

            return call

        burst()
        burst()
        for name in ("epoch", "since", "checkpoint", "read"):  # whenever something is read, another process evicts
            monkeypatch.setattr(EventLog, name, evicting_first(getattr(EventLog, name)))
        p.privacy.export(tmp_path / "profile.json")
        monkeypatch.undo()
        assert p.status().drops["log_bytes"] > 0
    document = read_profile(tmp_path / "profile.json")
    assert document.state is not None
    with open_profile(bundle, copied(empty, tmp_path / "other")) as there:
        there.privacy.import_(tmp_path / "profile.json")
        features = there.features.status()
        assert features.events + features.ahead == document.events[-1].sequence


def test_another_program_takes_over_what_is_still_an_event(exported: tuple[Path, int], tmp_path: Path) -> None:
    path, now = exported
    other_bundle = serving_bundle(tmp_path, listing=CALM)  # its program has no pushed view
    with open_profile(other_bundle, tmp_path / "data", ManualClock(now)) as p:
        count = p.privacy.import_(path)
        features = p.status().features
        assert features is not None
        assert p.status().events == features.events + features.ahead == count
        assert p.recommend(3)


_ROWS = st.integers(0, 60)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["item_viewed", "item_liked", "item_disliked", "item_saved"]), _ROWS),
        st.tuples(st.sampled_from(["answer", "less_like", "block", "advance"]), _ROWS),
        st.tuples(st.sampled_from(["reset", "forget", "decide", "off", "sync"]), st.just(0)),
    ),
    max_size=12,
)


def act(p: Personalizer, clock: ManualClock, kind: str, row: int) -> None:
    item_id = f"m_{row}"
    if kind == "answer":
        first = p.recommend(4)[0]
        p.record(Event("item_liked", first.item_id, recommendation_id=first.recommendation_id))
    elif kind == "less_like":
        p.privacy.less_like(item_id)
    elif kind == "block":
        p.privacy.block(item_id=item_id)
    elif kind == "advance":
        clock.advance(row * 3_600_000)
    elif kind == "reset":
        p.privacy.reset()
    elif kind == "forget":
        p.privacy.forget("of this kind")
    elif kind == "decide":
        p.decide("retention")
    elif kind in ("off", "sync"):
        p.privacy.set_consent("off" if kind == "off" else "sync")
    else:
        p.record(Event(kind, item_id, event_id="of this kind" if row % 5 == 0 else None))


@pytest.fixture(scope="module")
def two(
    tmp_path_factory: pytest.TempPathFactory, empty: Path
) -> Iterator[tuple[Personalizer, Personalizer, ManualClock, Path]]:
    folder, clock = tmp_path_factory.mktemp("two"), ManualClock(NOW)
    calm = bundle_with_pushed(folder / "bundle", CALM)
    with (
        open_profile(calm, copied(empty, folder / "one"), clock) as one,
        open_profile(calm, copied(empty, folder / "other"), clock) as other,
    ):
        yield one, other, clock, folder / "profile.json"


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
def test_any_small_history_is_the_same_there(
    two: tuple[Personalizer, Personalizer, ManualClock, Path], steps: list[tuple[str, int]]
) -> None:
    one, other, clock, path = two
    for p in (one, other):
        p.privacy.erase()
    for kind, row in steps:
        act(one, clock, kind, row)
    one.privacy.export(path)
    other.privacy.import_(path)
    assert served(other, 2) == served(one, 2)
    assert other.status().events == one.status().events
    decisions = [p.decide("retention") for p in (one, other)]
    assert len({(each.action, each.reason, each.propensity) for each in decisions}) == 1


# Whole, or not at all


def test_a_profile_with_events_takes_nothing_over(bundle: Path, data_dir: Path, exported: tuple[Path, int]) -> None:
    path, now = exported
    with open_profile(bundle, data_dir, ManualClock(now)) as p:
        p.record(planted(1))
        p.privacy.block(item_id="m_5")
        before, files = undrawn(p), contents(profile_folder(data_dir))
        with pytest.raises(UsageError, match=r"import_: the profile has events; erase it"):
            p.privacy.import_(path)
        assert contents(profile_folder(data_dir)) == files
        assert undrawn(p) == before
        p.privacy.erase()
        assert p.privacy.import_(path) > 100


@pytest.fixture(scope="module")
def target(
    tmp_path_factory: pytest.TempPathFactory, bundle: Path, empty: Path
) -> Iterator[tuple[Personalizer, Path, Path]]:
    """A profile in use, without events; its folder; and a place for a document."""
    folder = tmp_path_factory.mktemp("target")
    with open_profile(bundle, copied(empty, folder / "data")) as p:
        p.recommend(3)
        p.decide("retention")
        p.privacy.block(item_id="m_5")
        p.privacy.set_consent("off")
        yield p, profile_folder(folder / "data"), folder / "profile.json"


def check_refused(target: tuple[Personalizer, Path, Path], data: bytes, match: str | None = None) -> NearhandError:
    p, folder, path = target
    files = contents(folder)
    path.write_bytes(data)
    with pytest.raises((UsageError, EventError), match=match) as refused:
        p.privacy.import_(path)
    assert contents(folder) == files
    assert p.privacy.preferences == Preferences("off", blocked_items=("m_5",))
    assert p.status().events == 0
    return refused.value


def small(**changes: Any) -> bytes:
    """A document with everything in it."""
    event = RecordedEvent(
        "e", 3, 1, 2, 60, "item_liked", "m_1", "u", "r", 1, {"device": "tv"}, {"text": "ü\u2028", "n": 0.1}
    )
    archive: dict[str, Any] = {
        "exported_at": 5,
        "bundle": "serving",
        "bundle_version": "1.0.0",
        "preferences": Preferences("sync", True, ("m_1",)),
        "epoch": 2,
        "events": [event],
        "fingerprint": "f",
        "state": b"state",
        "values": {"bandit": b"{}"},
        "journals": {"exposure": [Entry(0, "name", 4, b"line")]},
    }
    return encode_profile(Archive(**{**archive, **changes}))


@settings(max_examples=70, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_document_is_refused_and_changes_nothing(
    target: tuple[Personalizer, Path, Path], data: st.DataObject
) -> None:
    whole = small()
    start = data.draw(st.integers(0, len(whole) - 1))
    kind = data.draw(st.sampled_from(["cut", "gap", "flip", "insert"]))
    if kind == "cut":
        damaged = whole[:start]
    elif kind == "gap":
        damaged = whole[:start] + whole[start + data.draw(st.integers(1, 40)) :]
    elif kind == "flip":
        damaged = whole[:start] + bytes([whole[start] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[start + 1 :]
    else:
        damaged = whole[:start] + data.draw(st.binary(min_size=1, max_size=5)) + whole[start:]
    try:
        same = json.loads(damaged) == json.loads(whole)  # another space, or digit for digit the same number
    except (ValueError, RecursionError):
        same = False
    if not same:
        check_refused(target, damaged)


def signed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """A document whose digest fits, and that is wrong all the same."""
    from nearhand.privacy.archive import _digest

    content = json.loads(small())
    change(content)
    content.pop("sha256", None)
    return json.dumps({**content, "sha256": _digest(content)}).encode()


_EVENT = {"event_id": "e", "sequence": 4}
WRONG: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "newer": (lambda c: c.update(format=2), r"has the format 2, and this SDK reads 1; update the app"),
    "no format": (lambda c: c.pop("format"), "has the format None"),
    "another kind": (lambda c: c.update(kind="shopping list"), "is not an exported profile"),
    "no epoch": (lambda c: c.pop("epoch"), "is damaged.*epoch"),
    "an epoch before its events": (lambda c: c.update(epoch=0), "the epoch is 0"),
    "a huge epoch": (lambda c: c.update(epoch=2**63), "64 bits"),
    "an epoch that nothing can follow": (lambda c: c.update(epoch=2**63 - 1), "the epoch is 9223372036854775807"),
    "a fraction of a time": (lambda c: c.update(exported_at=1.5), "64 bits"),
    "events as an object": (lambda c: c.update(events={}), "events is not a list"),
    "an event of another shape": (lambda c: c["events"].append({"event": "item_viewed"}), r"events\[1\]\.event_id"),
    "an event twice": (lambda c: c["events"].append({**c["events"][0], "sequence": 4}), "the same identifier"),
    "events out of order": (
        lambda c: c["events"].append({**c["events"][0], "event_id": "f"}),
        r"events\[1\]\.sequence",
    ),
    "an event of an earlier epoch": (
        lambda c: c["events"].append({**c["events"][0], "event_id": "f", "sequence": 4, "epoch": 0}),
        r"events\[1\]\.sequence",
    ),
    "a malformed event": (lambda c: c["events"][0].update(properties=[]), r"events\[0\]\.properties"),
    "unknown consent": (lambda c: c["preferences"].update(consent="maybe"), "is damaged.*consent"),
    "an unknown preference": (lambda c: c["preferences"].update(extra=1), "is damaged.*extra"),
    "no base64": (lambda c: c["values"].update(bandit="###"), "base64"),
    "a value that is no text": (lambda c: c["values"].update(bandit=5), "is damaged"),
    "values as a list": (lambda c: c.update(values=[]), "is damaged"),
    "a line without a time": (lambda c: c["journals"]["exposure"][0].pop("at"), "is damaged.*at"),
    "a huge time": (lambda c: c["journals"]["exposure"][0].update(at=2**64), "64 bits"),
    "a line twice": (lambda c: c["journals"]["exposure"].append(c["journals"]["exposure"][0]), "the same name"),
    "a state without a program": (lambda c: c["features"].pop("fingerprint"), "is damaged.*fingerprint"),
    "no features": (lambda c: c.pop("features"), "is damaged.*features"),
    "a bundle that is a text": (lambda c: c.update(bundle="serving"), "is damaged"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_document_is_refused_by_name(target: tuple[Personalizer, Path, Path], name: str) -> None:
    change, problem = WRONG[name]
    error = check_refused(target, signed(change), problem)
    assert error.remedy


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xfe", b"[]", b"null", b"[" * 100_000, b'{"kind": 1, "kind": 1}', b"PK\x03\x04", b"1" * 5000],
    ids=["empty", "no UTF-8", "list", "null", "deep", "twice", "a bundle", "a number"],
)
def test_a_foreign_file_is_refused(target: tuple[Personalizer, Path, Path], data: bytes) -> None:
    check_refused(target, data, "is no JSON document|is not an exported profile")


def test_a_document_that_was_edited_is_refused(target: tuple[Personalizer, Path, Path]) -> None:
    text = small().decode()
    assert "m_1" in text
    check_refused(target, text.replace("m_1", "m_2").encode(), "altered, or cut off")
    check_refused(target, text.replace('"m_1"', r'"\ud800"').encode(), "is damaged.*surrogate")


def test_a_file_that_cannot_be_read_is_a_storage_error(target: tuple[Personalizer, Path, Path], tmp_path: Path) -> None:
    p, _, _ = target
    for path in (tmp_path / "no such", tmp_path):
        with pytest.raises(StorageError, match="the file system refused"):
            p.privacy.import_(path)


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
_WHOLE = st.integers(-(2**63), 2**63 - 1)
_SCALARS = st.none() | st.booleans() | _WHOLE | st.floats(allow_nan=False, allow_infinity=False) | _TEXTS
_JSON = _SCALARS | st.lists(_SCALARS, max_size=2) | st.dictionaries(_TEXTS.filter(bool), _SCALARS, max_size=2)


@st.composite
def archives(draw: st.DrawFn) -> Archive:
    count = draw(st.integers(0, 4))
    sequences = sorted(draw(st.sets(st.integers(1, 2**63 - 1), min_size=count, max_size=count)))
    epochs = sorted(draw(st.lists(st.integers(0, 2**40), min_size=count, max_size=count)))
    ids = draw(st.lists(_NAMES, min_size=count, max_size=count, unique=True))
    optional = st.none() | _NAMES
    events = [
        RecordedEvent(
            event_id=event_id,
            sequence=sequence,
            timestamp=draw(_WHOLE),
            recorded_at=draw(_WHOLE),
            utc_offset_minutes=draw(st.integers(-1439, 1439)),
            event=draw(_NAMES),
            item_id=draw(optional),
            user=draw(optional),
            recommendation_id=draw(optional),
            epoch=epoch,
            context=draw(st.dictionaries(_TEXTS.filter(bool), _SCALARS, max_size=2)),
            properties=draw(st.dictionaries(_TEXTS.filter(bool), _JSON, max_size=2)),
        )
        for event_id, sequence, epoch in zip(ids, sequences, epochs, strict=True)
    ]
    state = draw(st.none() | st.binary(max_size=20))
    names = st.lists(_TEXTS, max_size=3, unique=True)
    return Archive(
        exported_at=draw(_WHOLE),
        bundle=draw(_TEXTS),
        bundle_version=draw(_TEXTS),
        preferences=draw(
            st.builds(
                Preferences,
                consent=st.sampled_from(["off", "local", "sync"]),
                personalized=st.booleans(),
                blocked_items=st.lists(_TEXTS, max_size=3).map(tuple),
                blocked_categories=st.lists(_TEXTS, max_size=3).map(tuple),
                less_like=st.lists(_TEXTS, max_size=3).map(tuple),
            )
        ),
        epoch=draw(st.integers(epochs[-1] if epochs else 0, 2**63 - 1)),
        events=events,
        fingerprint=None if state is None else draw(_TEXTS),
        state=state,
        values=draw(st.dictionaries(_TEXTS, st.binary(max_size=20), max_size=3)),
        journals={
            name: [Entry(0, line, draw(_WHOLE), draw(st.binary(max_size=9))) for line in draw(names)]
            for name in draw(names)
        },
    )


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(archive=archives())
def test_a_document_is_read_as_it_was_written(tmp_path: Path, archive: Archive) -> None:
    path = tmp_path / "profile.json"
    path.write_bytes(encode_profile(archive))
    assert read_profile(path) == archive
    pretty = json.dumps(json.loads(path.read_bytes()), indent=4, sort_keys=True)  # by another program
    path.write_text(pretty)
    assert read_profile(path) == archive


# Failing disks


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Breaking]]:
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Breaking))
    Breaking.once = True
    yield Breaking
    Breaking.left, Breaking.once = -1, False


@pytest.mark.degrades
def test_an_import_that_fails_anywhere_leaves_the_profile_as_it_was(
    bundle: Path, data_dir: Path, exported: tuple[Path, int], tmp_path: Path, breaking: type[Breaking]
) -> None:
    path, now = exported
    failed = 0
    with open_profile(bundle, data_dir, ManualClock(now)) as p:
        p.recommend(3)
        p.privacy.block(item_id="m_5")
        p.privacy.set_consent("off")
        before = undrawn(p)
        journal = [(line.name, line.at, line.content) for line in p._opened.store.entries("exposure")]
        for after in range(100):
            breaking.left = after
            try:
                p.privacy.import_(path)
                break
            except StorageError:
                failed += 1
            finally:
                breaking.left = -1
            assert undrawn(p) == before, after
            assert [(line.name, line.at, line.content) for line in p._opened.store.entries("exposure")] == journal
            assert p.status().consent == "off"
        assert p.status().events > 100
        assert p.status().consent == "sync"
    assert failed > 15
    with open_profile(bundle, data_dir, ManualClock(now)) as p:
        assert p.status().learned == 8


@pytest.mark.parametrize("failing", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.open"])
def test_a_document_that_cannot_be_written_leaves_the_old_one(
    bundle: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()

    def full(*args: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    with open_profile(bundle, data_dir) as p:
        p.record(planted(1))
        p.privacy.export(folder / "profile.json")
        before = contents(folder)
        p.record(planted(2))
        with monkeypatch.context() as patched:
            patched.setattr(failing, full)
            with pytest.raises(StorageError, match="No space left"):
                p.privacy.export(folder / "profile.json")
        assert contents(folder) == before
        with pytest.raises(StorageError):
            p.privacy.export(folder / "no such folder" / "profile.json")
        noted = len(p.privacy.audit())
        assert noted == 1 + (failing == "pathlib.Path.replace")  # at the last step it was noted already
        p.privacy.export(folder / "profile.json")
        assert len(read_profile(folder / "profile.json").events) == 2
        assert len(list(folder.iterdir())) == 1


def test_nothing_leaves_if_it_cannot_be_noted(
    bundle: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **named: object) -> None:
        raise StorageError("the disk is full")

    folder = tmp_path / "documents"
    folder.mkdir()
    with open_profile(bundle, data_dir) as p:
        monkeypatch.setattr("nearhand.profile.ProfileStore.append", full)
        with pytest.raises(StorageError, match="full"):
            p.privacy.export(folder / "profile.json")
        assert list(folder.iterdir()) == []
