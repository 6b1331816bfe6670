"""What is prepared of a bundle is the bundle: the same from it and without it, whole or not used, and never needed."""

from __future__ import annotations

import dataclasses
import json
import shutil
from contextlib import suppress
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearhand import Config, Event, Personalizer
from nearhand.bundle import Items, Manifest, install_bundle, open_slot, prepare, schema, serving, tables
from nearhand.bundle import manifest as manifests
from nearhand.bundle.packing import pack, pack_document, pack_items, pack_numbers, pack_texts
from nearhand.bundle.prepared import PREPARED_PATH, Prepared, PreparedItems, unpack
from nearhand.errors import BundleIntegrityError, BundleVersionError, StorageError
from nearhand.features import ItemTable, compile_program, parts, read_program, views
from nearhand.features import program as programs_module
from nearhand.features.prepared import pack_program, prepared_program
from nearhand.testing import ManualClock
from nearhand.version import __version__
from tests.sdk import any_program, serving_factory
from tests.sdk.bundle_factory import SDK_VERSION, make_entries, make_items, write_bundle
from tests.sdk.failing_disk import Disk, linux

PLAIN = Config(durability="process", seed=5)
DIGEST = "0" * 64
MANIFEST_MODULES = (schema, tables, serving, manifests)
PROGRAM_MODULES = (programs_module, views, parts)

texts = st.text(st.characters(codec="utf-8"), max_size=6)


def through(sections: dict[str, bytes], digest: str = DIGEST) -> Prepared:
    """The sections as they are read again."""
    found = unpack(pack(digest, sections), digest, place="p")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that has everything: a catalogue, a program, rankers, predictors, a policy, decisions."""
    return serving_factory.serving_bundle(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def slot_of(data: Path) -> Path:
    (slot,) = (data / "slots").iterdir()
    return slot


def everything(source: Path, data: Path, profile: str) -> list[Any]:
    """What an app can see of a bundle's documents."""
    config = dataclasses.replace(PLAIN, profile=profile)
    with Personalizer.open(source, data, config=config, clock=ManualClock(serving_factory.NOW)) as one:
        seen: list[Any] = [plain(one.recommend(10, context={"device": "tv"}))]
        one.record_many([Event("item_liked", f"m_{row}") for row in (3, 9, 15)])
        seen += [plain(one.recommend(10, context={"device": "tv"}, user_age=12)), plain(one.similar("m_7", 5))]
        seen.append([(each.item_id, [e.item_id for e in each.explanation.evidence]) for each in one.recommend(5)])
        prediction = one.predict("churn")
        seen += [prediction.value, prediction.explanation.text, one.decide("retention").prediction]
        one.privacy.block(category="taste 3")
        one.privacy.less_like("m_3")
        seen += [plain(one.recommend(5)), one.features.vector().floats.tolist(), one.features.program.fingerprint]
        status = one.status()
        seen += [status.items, status.digest, status.bundle, status.bundle_version, status.precision]
        assert not status.degradations
    return seen


def plain(listed: Any) -> list[Any]:
    return [(each.item_id, each.title, each.score, each.explanation.text, each.source) for each in listed]


# --- the same with it and without it ---------------------------------------------------------------------------------


def test_a_bundle_is_the_same_from_what_was_prepared(bundle: Path, data: Path) -> None:
    first = everything(bundle, data, "first")
    slot = slot_of(data)
    assert (slot / PREPARED_PATH).is_file(), "the first opening has prepared it"
    assert open_slot(slot, __version__).prepared is not None
    assert everything(bundle, data, "second") == first
    assert everything(slot, data, "third") == first
    (slot / PREPARED_PATH).unlink()
    assert everything(slot, data, "fourth") == first
    assert not (slot / PREPARED_PATH).exists(), "into a slot that the app has given nothing is written"
    assert everything(bundle, data, "fifth") == first
    assert (slot / PREPARED_PATH).is_file()


def test_what_was_prepared_is_what_is_read(bundle: Path, data: Path) -> None:
    with Personalizer.open(bundle, data, config=PLAIN) as one:
        before = plain(one.recommend(10))
    for name in ("items.json", "features.json"):
        (slot_of(data) / name).write_bytes(b"?" * (slot_of(data) / name).stat().st_size)
    with Personalizer.open(bundle, data, config=PLAIN) as one:
        assert plain(one.recommend(10)) == before


def test_documents_are_the_same(bundle: Path, tmp_path: Path) -> None:
    folder = install_bundle(bundle, tmp_path, sdk_version=__version__)
    items = folder.items()
    program = read_program((folder.folder / "features.json").read_bytes(), place="p")
    prepare(folder, items, pack_program(compile_program(program, ItemTable.of_bundle(items))))
    again = open_slot(folder.folder, __version__)
    assert again.prepared is not None
    assert again == folder
    assert again.manifest == folder.manifest
    assert repr(again.manifest) == repr(folder.manifest)
    assert [*again.manifest.files()] == [*folder.manifest.files()]
    assert dataclasses.replace(again.manifest, name="other").models == folder.manifest.models
    same_items(again.items(), items)
    compiled = prepared_program(again.prepared, again.items())
    assert compiled is not None
    assert compiled.program == program
    fresh = compile_program(program, ItemTable.of_bundle(items))
    assert (compiled.program.digest, compiled.fingerprint) == (program.digest, fresh.fingerprint)
    assert compiled.columns == fresh.columns


def same_items(found: Items, items: Items) -> None:
    assert isinstance(found, PreparedItems)
    assert found == items
    assert items == found
    assert hash(found) == hash(items)
    if items.item_ids:
        assert found != dataclasses.replace(items, titles=("another", *items.titles[1:]))
    for field in dataclasses.fields(Items):
        assert getattr(found, field.name) == getattr(items, field.name)
    for name in ("years", "popularity", "min_ages", "added_at"):
        assert found.numbers(name).tolist() == list(getattr(items, name)) == items.numbers(name).tolist()
    same_lookups(found, items)
    fresh = PreparedItems(vars(found)["_prepared"])
    assert [fresh.title(row) for row in range(len(items.titles))] == list(items.titles)
    assert "titles" not in vars(fresh) or any("\n" in title for title in items.titles)
    assert found.grouped_genres.distinct == items.grouped_genres.distinct
    assert found.grouped_genres.places.tolist() == items.grouped_genres.places.tolist()
    theirs, ours = ItemTable.of_bundle(found), ItemTable.of_bundle(items)
    assert {name: list(cells) for name, cells in theirs.columns.items()} == dict(
        zip(ours.columns, map(list, ours.columns.values()), strict=True)
    )
    assert theirs.digest(["genres", "year"]) == ours.digest(["genres", "year"])


def same_lookups(found: PreparedItems, items: Items) -> None:
    """Of rows, ids and titles: one by one, and of all at once."""
    prepared = vars(found)["_prepared"]
    asked: list[Any] = [*items.item_ids, "", "m_", "\n", "\ud800", None, 3]
    for rows in (PreparedItems(prepared).rows, found.rows):
        assert [rows.get(each, -1) for each in asked] == [items.rows.get(each, -1) for each in asked]
        assert [each in rows for each in asked] == [each in items.rows for each in asked]
        assert [rows[each] for each in items.item_ids] == list(range(items.count))
        assert len(rows) == len(items.rows)
        assert rows == items.rows
        with pytest.raises(KeyError):
            rows["\n nothing"]
    fresh = PreparedItems(prepared)
    every = np.arange(items.count)
    assert [fresh.item_id(row) for row in range(items.count)] == fresh.ids_of(every) == list(items.item_ids)
    assert found.ids_of(every[::-1]) == items.ids_of(every[::-1]) == list(reversed(items.item_ids))
    assert "item_ids" not in vars(fresh) or any("\n" in item_id for item_id in items.item_ids)
    assert found.by_popularity.tolist() == items.by_popularity.tolist()
    assert found.by_popularity.dtype == items.by_popularity.dtype == np.int32
    assert found.count == items.count


@given(st.lists(texts, max_size=5), st.data())
def test_any_catalogue_goes_through(ids: list[str], data: st.DataObject) -> None:
    ids = list(dict.fromkeys(ids))
    integers = st.integers(-(2**53) + 1, 2**53 - 1)

    def column(cells: st.SearchStrategy[Any]) -> tuple[Any, ...]:
        return tuple(data.draw(st.lists(cells, min_size=len(ids), max_size=len(ids))))

    items = Items(
        item_ids=tuple(ids),
        titles=column(texts),
        years=column(integers),
        genres=column(st.lists(texts, max_size=3).map(tuple)),
        directors=column(texts),
        popularity=column(integers),
        min_ages=data.draw(st.sampled_from([(), column(integers)])),
        added_at=data.draw(st.sampled_from([(), column(integers)])),
    )
    same_items(PreparedItems(through(pack_items(items))), items)


def test_ids_are_looked_up_one_by_one_until_they_are_many() -> None:
    items = make_items(1200)
    rows = PreparedItems(through(pack_items(items))).rows
    for place, item_id in enumerate(reversed(items.item_ids)):
        assert rows.get(item_id) == rows[item_id] == items.count - 1 - place
        assert rows.get(f"x{place}") is None


@pytest.mark.parametrize("moment", ["while they are decoded", "when they are there"])
def test_another_thread_finds_an_item_while_all_of_them_are_put_into_a_dict(
    monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    items = make_items(600)
    prepared = PreparedItems(through(pack_items(items)))
    rows, found = prepared.rows, []
    decoded = PreparedItems._texts

    def texts_of(self: PreparedItems, name: str) -> tuple[str, ...]:
        if moment == "while they are decoded":
            found.append(rows.get(items.item_ids[599]))
        return decoded(self, name)

    monkeypatch.setattr(PreparedItems, "_texts", texts_of)
    for row in range(512):
        assert rows[items.item_ids[row]] == row
    if moment == "when they are there":  # it had looked before they were
        found.append(rows._find(items.item_ids[599]))  # type: ignore[attr-defined]
    assert found == [599]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4))
def test_any_numbers_go_through(numbers: list[int]) -> None:
    found = through({"a": b"x", "n": pack_numbers(np.array(numbers, np.int64))}).numbers("n")
    assert found.tolist() == numbers


@pytest.mark.parametrize(
    ("number", "width"), [(127, 1), (-128, 1), (128, 2), (-129, 2), (2**15, 4), (2**31 - 1, 4), (-(2**31) - 1, 8)]
)
def test_numbers_take_as_few_bytes_as_hold_them(number: int, width: int) -> None:
    section = pack_numbers(np.array([0, number, 1], np.int64))
    assert len(section) == 8 + 3 * width
    assert through({"n": section}).numbers("n").tolist() == [0, number, 1]


@given(st.lists(texts, max_size=5).map(tuple))
def test_any_texts_go_through(column: tuple[str, ...]) -> None:
    assert through({"a": b"x", "t": pack_texts(column)}).texts("t") == column


@given(any_program.programs())
def test_any_program_goes_through(content: dict[str, Any]) -> None:
    program = read_program(json.dumps(content).encode(), place="p")
    found = through({"program": pack_document(program)}).document("program", PROGRAM_MODULES)
    assert found == program
    assert found.digest == program.digest
    assert (
        compile_program(found, any_program.ITEMS).fingerprint == compile_program(program, any_program.ITEMS).fingerprint
    )


def test_decimals_keep_their_zeros() -> None:
    budget = schema.Budget(*map(Decimal, ("-0.020", "1E-7", "-0", "9E+2")))
    found = through({"d": pack_document(budget)}).document("d", MANIFEST_MODULES)
    assert [str(value) for value in vars(found).values()] == [str(value) for value in vars(budget).values()]


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_any_decimal_goes_through(number: Decimal) -> None:
    budget = schema.Budget(number, number, number, number)
    found = through({"d": pack_document(budget)}).document("d", MANIFEST_MODULES)
    assert {str(value) for value in vars(found).values()} == {str(number)}


# --- damage, other versions, other bundles ---------------------------------------------------------------------------

SMALL = {"manifest": pack_document(schema.ItemsReference(schema.FileReference("a", 1, DIGEST), 3)), "t": b"\nHeat\nRan"}


def test_whatever_byte_is_changed_it_is_noticed() -> None:
    good = pack(DIGEST, SMALL)
    for place in range(len(good)):
        for change in (1, 0x80):
            bad = bytearray(good)
            bad[place] ^= change
            if place in (6, 7):  # the format's number: it may be one to come
                assert unpack(bytes(bad), DIGEST, place="p") is None
                continue
            with pytest.raises(BundleIntegrityError):
                unpack(bytes(bad), DIGEST, place="p")


def test_wherever_it_is_cut_off_it_is_noticed() -> None:
    good = pack(DIGEST, SMALL)
    for length in range(len(good)):
        with pytest.raises(BundleIntegrityError):
            unpack(good[:length], DIGEST, place="p")
    with pytest.raises(BundleIntegrityError):
        unpack(good + b"\0", DIGEST, place="p")
    with pytest.raises(BundleIntegrityError, match="p: is no prepared file"):
        unpack(b"PK\x03\x04" + bytes(100), DIGEST, place="p")


def test_of_another_version_or_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    good = pack(DIGEST, SMALL)
    with pytest.raises(BundleIntegrityError, match="is of another bundle"):
        unpack(good, "1" * 64, place="p")
    monkeypatch.setattr("nearhand.bundle.prepared.__version__", "9.9.9")
    assert unpack(good, DIGEST, place="p") is None


def test_a_dataclass_that_has_changed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = through(SMALL)
    monkeypatch.setitem(schema.FileReference.__annotations__, "more", "int")
    with pytest.raises(BundleIntegrityError, match="FileReference has other fields"):
        found.document("manifest", MANIFEST_MODULES)
    with pytest.raises(BundleIntegrityError, match="ItemsReference"):
        found.document("manifest", (serving,))


def test_the_bytes_are_these(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of them has to change the format's number."""
    monkeypatch.setattr("nearhand.bundle.packing.__version__", "1.2.3")
    assert (
        SMALL["manifest"]
        == (
            b'{"fields": {"ItemsReference": ["file", "count"], "FileReference": ["path", "bytes", "sha256"]}, '
            b'"plain": ["FileReference"], "value": ["ItemsReference", ["FileReference", "a", 1, "%s"], 3]}'
        )
        % DIGEST.encode()
    )
    numbers = schema.Estimate(Decimal("0.50"), Decimal(3), Decimal("1E+2"))
    assert pack_document(numbers) == (
        b'{"fields": {"Estimate": ["value", "low", "high"]}, "plain": ["Estimate"], '
        b'"value": ["Estimate", 0.50, 3E0, 1E+2]}'
    )
    data = pack(DIGEST, {**SMALL, **pack_items(make_items(3))})
    assert data.startswith(b"NHPREP04")
    assert sha256(data).hexdigest() == "80b71047564ce9d7a98b35f35588c25cf72b8fd454c360d93cd36de5a264cdeb"


@pytest.mark.degrades
@pytest.mark.parametrize("damage", ["cut", "changed", "foreign", "of another bundle"])
def test_a_damaged_one_is_not_used_and_is_made_anew(bundle: Path, data: Path, tmp_path: Path, damage: str) -> None:
    with Personalizer.open(bundle, data, config=PLAIN) as one:
        before = plain(one.recommend(10))
    file = slot_of(data) / PREPARED_PATH
    good = file.read_bytes()
    at = len(good) // 2
    file.write_bytes(
        {
            "cut": good[:-1],
            "changed": good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :],
            "foreign": b"something else",
            "of another bundle": pack(DIGEST, {}),
        }[damage]
    )
    with Personalizer.open(slot_of(data), data, config=PLAIN) as one:
        assert plain(one.recommend(10)) == before
        (reason,) = one.status().degradations
        assert reason.startswith("what was prepared of the bundle is not used")
        assert PREPARED_PATH in reason
    assert file.read_bytes() != good
    with Personalizer.open(bundle, data, config=PLAIN) as one:
        assert plain(one.recommend(10)) == before
        assert one.status().degradations
    assert file.read_bytes() == good
    with Personalizer.open(bundle, data, config=PLAIN) as one:
        assert not one.status().degradations


def test_one_of_another_version_is_made_anew(bundle: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Personalizer.open(bundle, data, config=PLAIN).close()
    file = slot_of(data) / PREPARED_PATH
    good = file.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nearhand.bundle.prepared.__version__", "0.0.9")
        patch.setattr("nearhand.bundle.packing.__version__", "0.0.9")
        with Personalizer.open(bundle, data, config=PLAIN) as one:
            assert not one.status().degradations
    assert file.read_bytes() != good
    Personalizer.open(bundle, data, config=PLAIN).close()
    assert file.read_bytes() == good


def test_a_slot_is_looked_at_as_before(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "films.nearhand")
    folder = install_bundle(path, tmp_path / "slots", sdk_version=SDK_VERSION)
    prepare(folder, folder.items(), {})
    slot = folder.folder
    assert open_slot(slot, SDK_VERSION).prepared is not None
    with pytest.raises(BundleVersionError, match="min_sdk"):
        open_slot(slot, "0.0.9")
    model = slot / "models/index.int8.onnx"
    model.write_bytes(b"")
    with pytest.raises(BundleIntegrityError, match=r"models/index\.int8\.onnx: has 0 bytes, not the 15"):
        open_slot(slot, SDK_VERSION)
    model.unlink()
    with pytest.raises(BundleIntegrityError, match=r"models/index\.int8\.onnx: is missing"):
        open_slot(slot, SDK_VERSION)
    again = install_bundle(path, tmp_path / "slots", sdk_version=SDK_VERSION)
    assert not (again.folder / PREPARED_PATH).exists(), "what was prepared goes with the slot it was prepared of"


def test_another_manifest_makes_it_useless(tmp_path: Path) -> None:
    folder = install_bundle(write_bundle(tmp_path / "films.nearhand"), tmp_path / "slots", sdk_version=SDK_VERSION)
    prepare(folder, folder.items(), {})
    file = folder.folder / "manifest.json"
    file.write_bytes(file.read_bytes().replace(b"CC0-1.0", b"CC0-2.0"))
    opened = open_slot(folder.folder, SDK_VERSION)
    assert opened.manifest.licence == "CC0-2.0"
    assert opened.prepared is None
    assert "another bundle" in str(opened.unprepared)


# --- writing it ------------------------------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("forever", [False, True], ids=["one-refusal", "power-off"])
@pytest.mark.parametrize("old", [False, True], ids=["fresh", "in-the-place-of-another"])
def test_it_is_there_whole_or_not_at_all(tmp_path: Path, *, forever: bool, old: bool) -> None:
    path = write_bundle(tmp_path / "films.nearhand")
    for step in range(50):
        slots = tmp_path / f"slots-{step}"
        folder = install_bundle(path, slots, sdk_version=SDK_VERSION)
        before = pack(folder.digest, {"old": b"old"}) if old else None
        if before is not None:
            (folder.folder / PREPARED_PATH).write_bytes(before)
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, step, forever=forever)
            with suppress(StorageError):
                prepare(folder, folder.items(), {})
        file = folder.folder / PREPARED_PATH
        found = file.read_bytes() if file.exists() else None
        whole = open_slot(folder.folder, SDK_VERSION)
        if found != before:
            assert whole.prepared is not None
            assert whole.items() == make_items()
        rest = {name: (folder.folder / name).read_bytes() for name in make_entries()}
        assert rest == make_entries()
        if not forever:
            assert [path.name for path in slots.iterdir()] == [folder.folder.name], "no rubbish"
        if len(disk.log) <= step:
            break
    assert 3 < step < 49
    assert found != before


@pytest.mark.degrades
def test_a_slot_that_cannot_be_written_is_opened_all_the_same(
    bundle: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StorageError("the file system refused (Read-only file system)", place="slot")

    monkeypatch.setattr("nearhand.bundle.prepare", refuse)
    with Personalizer.open(bundle, data, config=PLAIN) as one:
        assert len(one.recommend(10)) == 10
        (reason,) = one.status().degradations
        assert reason.startswith("nothing was prepared of the bundle")
        assert "Read-only" in reason


def test_nothing_is_written_into_a_slot_that_is_given(bundle: Path, data: Path, tmp_path: Path) -> None:
    slot = install_bundle(bundle, tmp_path / "shipped", sdk_version=__version__).folder
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "shipped").rglob("*")}
    with Personalizer.open(slot, data, config=PLAIN) as one:
        assert one.recommend(3)
        assert not one.status().degradations
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "shipped").rglob("*")} == before


def test_a_slot_may_be_moved_with_what_was_prepared(bundle: Path, data: Path, tmp_path: Path) -> None:
    Personalizer.open(bundle, data, config=PLAIN).close()
    moved = tmp_path / "elsewhere"
    shutil.copytree(slot_of(data), moved)
    assert open_slot(moved, __version__).prepared is not None


def test_manifests_need_only_their_own_dataclasses(bundle: Path, tmp_path: Path) -> None:
    manifest = install_bundle(bundle, tmp_path, sdk_version=__version__).manifest
    found = through({"m": pack_document(manifest)}).document("m", MANIFEST_MODULES)
    assert isinstance(found, Manifest)
    assert found == manifest
